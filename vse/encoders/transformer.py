"""The transformer's block (Vaswani 2017), once for all systems: before or after its norms, causal or not.

Knows neither words nor photos. Shapes: b batch, t positions, w width, h heads; where k sequences of each of n items
look at the same s positions beside their own, those are computed once an item.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, linear, scaled_dot_product_attention

from vse.encoders.dropout import Dropout
from vse.system.errors import InputError

States = Float[Tensor, "b t w"]
# True where the position of the row may look at that of the column; for all of a batch, or for each of it, where one
# row may be for all positions.
Mask = Bool[Tensor, "t s"] | Bool[Tensor, "b #t s"]
Shared = tuple[Float[Tensor, "n s w"], Float[Tensor, "n s w"]]  # keys and values
Own = tuple[Float[Tensor, "n k p w"], Float[Tensor, "n k p w"]]
Longer = tuple[Float[Tensor, "n k q w"], Float[Tensor, "n k q w"]]  # with those of new rows
EPS = 1e-5  # of the norms


def quick_gelu(x: Tensor) -> Tensor:
    """x sigmoid(1.702 x), the GELU of OpenAI's weights."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS = {"gelu": gelu, "quick_gelu": quick_gelu}


class SelfAttention(nn.Module):
    """Every position looks at those that the mask leaves it, `heads` times; its weights are shaped as PyTorch's."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0):
        """Raises InputError for a width that the heads do not divide."""
        super().__init__()
        if width % heads:
            raise InputError(f"heads = {heads}: expected a divisor of the width, {width}")
        self.heads, self.dropout = heads, dropout
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: States, mask: Mask | None = None) -> States:
        return self._attend(*self.qkv(x).chunk(3, dim=2), mask)

    def at(
        self, x: States, positions: Int[Tensor, " b"], mask: Bool[Tensor, "b 1 t"] | None = None
    ) -> Float[Tensor, "b 1 w"]:
        """What attention gives one position of each sequence: no other looks. Without a mask it is causal."""
        width = x.shape[2]
        q = linear(take_positions(x, positions), self.qkv.weight[:width], self.qkv.bias[:width])
        if mask is None:
            mask = (torch.arange(x.shape[1], device=x.device) <= positions[:, None])[:, None]
        return self._attend(q, *self.keys(x), mask)

    def keys(self, x: States) -> tuple[States, States]:
        """The keys and values of positions, for others to look at."""
        width = x.shape[2]
        return linear(x, self.qkv.weight[width:], self.qkv.bias[width:]).chunk(2, dim=2)

    def beside(
        self, x: Float[Tensor, "n k t w"], shared: Shared | None, past: Own | None, mask: Bool[Tensor, "t q"] | None
    ) -> tuple[Float[Tensor, "n k t w"], Longer]:
        """(What rows see of `shared` and of their own sequence, its keys and values): those of `past`, then of `x`.

        `mask`: which positions of its own sequence a row looks at; at all without one.
        """
        q, *own = self.qkv(x).chunk(3, dim=3)
        if past is not None:
            own = [torch.cat(parts, 2) for parts in zip(past, own, strict=True)]
        chance = self.dropout if self.training else 0.0
        return self.out(look(q, shared, tuple(own), self.heads, mask, chance)), tuple(own)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask | None) -> States:
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        mask = mask[:, None] if mask is not None and mask.ndim == 3 else mask
        chance = self.dropout if self.training else 0.0
        mixed = scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=chance)
        return self.out(mixed.transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    """Every position looks at those of something else, `heads` times."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.q, self.kv, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)

    def keys(self, x: Float[Tensor, "n s w"]) -> Shared:
        """The keys and values of what is looked at."""
        return self.kv(x).chunk(2, dim=2)

    def forward(self, x: Float[Tensor, "n k t w"], shared: Shared) -> Float[Tensor, "n k t w"]:
        """What rows see of `shared`."""
        return self.out(look(self.q(x), shared, None, self.heads, None, self.dropout if self.training else 0.0))


def look(
    q: Float[Tensor, "n k t w"], shared: Shared | None, own: Own | None, heads: int,
    mask: Bool[Tensor, "t p"] | None, chance: float,
) -> Float[Tensor, "n k t w"]:  # fmt: skip
    """softmax(q K / sqrt(d)) V over what k sequences share and what each has of its own; one of the two may be None.

    Shared keys are not copied for each sequence. `chance` is that of dropout of the softmax.
    """
    q = q.unflatten(3, (heads, -1))
    scores, split = [], 0
    if shared is not None:
        keys, seen = (part.unflatten(2, (heads, -1)) for part in shared)
        scores, split = [torch.einsum("nkthd,nshd->nhkts", q, keys)], keys.shape[1]
    if own is not None:
        own_keys, own_seen = (part.unflatten(3, (heads, -1)) for part in own)
        between = torch.einsum("nkthd,nkphd->nhktp", q, own_keys)
        scores.append(between if mask is None else between.masked_fill(~mask, -torch.inf))
    share = dropout((torch.cat(scores, 4) * q.shape[4] ** -0.5).softmax(4), chance).to(q.dtype)
    found = []
    if shared is not None:
        found.append(torch.einsum("nhkts,nshd->nkthd", share[..., :split], seen))
    if own is not None:
        found.append(torch.einsum("nhktp,nkphd->nkthd", share[..., split:], own_seen))
    return sum(found).flatten(3)


def take_positions(x: States, positions: Int[Tensor, " b"]) -> Float[Tensor, "b 1 w"]:
    """One position of each sequence."""
    return x.gather(1, positions[:, None, None].expand(-1, 1, x.shape[2]))


class Block(nn.Module):
    """h += A(LN h), h += W2 g(W1 LN h) (pre-norm), or h = LN(h + A h), h = LN(h + W2 g(W1 h)) (post-norm).

    `cross`: between the two a second attention, to something else, with a norm of its own.
    """

    def __init__(
        self, width: int, heads: int, activation: str = "gelu", dropout: float = 0.0, post_norm: bool = False,
        eps: float = EPS, cross: bool = False,
    ):  # fmt: skip
        super().__init__()
        if cross:
            self.cross, self.norm_3 = CrossAttention(width, heads, dropout), nn.LayerNorm(width, eps)
        self.attention = SelfAttention(width, heads, dropout)
        self.norm_1, self.norm_2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout, self.post_norm = Dropout(dropout), post_norm
        self._activation = ACTIVATIONS[activation]

    def forward(self, h: States, mask: Mask | None = None) -> States:
        if self.post_norm:
            h = self.norm_1(h + self.dropout(self.attention(h, mask)))
            return self.norm_2(h + self.dropout(self._mlp(h)))
        h = h + self.dropout(self.attention(self.norm_1(h), mask))
        return h + self.dropout(self._mlp(self.norm_2(h)))

    def at(
        self, h: States, positions: Int[Tensor, " b"], mask: Bool[Tensor, "b 1 t"] | None = None
    ) -> Float[Tensor, "b 1 w"]:
        """`forward` at one position of each sequence, under a causal mask or the one given.

        Of a last block often nothing else is read.
        """
        read = take_positions(h, positions)
        if self.post_norm:
            read = self.norm_1(read + self.dropout(self.attention.at(h, positions, mask)))
            return self.norm_2(read + self.dropout(self._mlp(read)))
        read = read + self.dropout(self.attention.at(self.norm_1(h), positions, mask))
        return read + self.dropout(self._mlp(self.norm_2(read)))

    def keys(self, h: Float[Tensor, "n s w"]) -> Shared:
        """The keys and values of positions that rows in `beside` look at: in their own attention, or in the second."""
        if hasattr(self, "cross"):
            return self.cross.keys(h)
        return self.attention.keys(h if self.post_norm else self.norm_1(h))

    def beside(
        self, h: Float[Tensor, "n k t w"], shared: Shared | None, past: Own | None = None,
        mask: Bool[Tensor, "t q"] | None = None,
    ) -> tuple[Float[Tensor, "n k t w"], Longer]:  # fmt: skip
        """`forward` of sequences beside what k share, or nothing, see `SelfAttention.beside`; post-norm alone."""
        assert self.post_norm
        crosses = hasattr(self, "cross")
        seen, own = self.attention.beside(h, None if crosses else shared, past, mask)
        h = self.norm_1(h + self.dropout(seen))
        if crosses and shared is not None:
            h = self.norm_3(h + self.dropout(self.cross(h, shared)))
        return self.norm_2(h + self.dropout(self._mlp(h))), own

    def _mlp(self, h: Float[Tensor, "*b w"]) -> Float[Tensor, "*b w"]:
        return self.outer(self._activation(self.inner(h)))

    def start(self, layers: int) -> None:
        """CLIP's random start: the residual branches of `layers` blocks add up to the width of one.

        in-projection w^-1/2, both outputs w^-1/2 (2 layers)^-1/2, first matrix of the MLP (2w)^-1/2; biases of the
        attention 0, those of the MLP PyTorch's own.
        """
        width = self.attention.out.out_features
        residual = width**-0.5 * (2 * layers) ** -0.5
        nn.init.normal_(self.attention.qkv.weight, std=width**-0.5)
        nn.init.normal_(self.attention.out.weight, std=residual)
        nn.init.normal_(self.inner.weight, std=(2 * width) ** -0.5)
        nn.init.normal_(self.outer.weight, std=residual)
        nn.init.zeros_(self.attention.qkv.bias)
        nn.init.zeros_(self.attention.out.bias)


class AttentionPool(nn.Module):
    """CLIP's attention pooling: one query, the mean of the regions, looks at the mean and at all regions.

    u_0 = mean_r z_r, u_r = z_r, plus learned positions; separate q, k, v matrices with biases, one output matrix.
    """

    def __init__(self, width: int, heads: int, regions: int, out_dim: int):
        """Raises InputError for a width that the heads do not divide."""
        super().__init__()
        if width % heads:
            raise InputError(f"heads = {heads}: expected a divisor of the width, {width}")
        self.heads = heads
        self.positions = nn.Parameter(torch.empty(regions + 1, width))
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, out_dim)
        self.start()

    def start(self) -> None:
        """CLIP's random start: width^-1/2 for positions and matrices, biases PyTorch's own."""
        for weight in (self.positions, self.q.weight, self.k.weight, self.v.weight, self.out.weight):
            nn.init.normal_(weight, std=self.positions.shape[1] ** -0.5)

    def forward(self, regions: Float[Tensor, "b r w"]) -> Float[Tensor, "b d"]:
        u = torch.cat([regions.mean(1, keepdim=True), regions], 1) + self.positions
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (self.q(u[:, :1]), self.k(u), self.v(u))
        )
        return self.out(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(1))


def causal_mask(length: int, device: torch.device | None = None) -> Bool[Tensor, "t t"]:
    """Position i looks at positions up to i."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


def default_heads(width: int) -> int:
    """One head for 64 numbers of the width, as CLIP's; fewer where they do not divide it."""
    return math.gcd(width, max(1, width // 64))
