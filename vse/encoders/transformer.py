"""The transformer's block (Vaswani 2017), once for all systems: before or after its norms, causal or not.

Knows neither words nor photos. Shapes: b batch, t positions, w width, h heads.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, scaled_dot_product_attention

from vse.encoders.dropout import Dropout
from vse.system.errors import InputError

States = Float[Tensor, "b t w"]
# True where the position of the row may look at that of the column; for all of a batch, or for each of it, where one
# row may be for all positions.
Mask = Bool[Tensor, "t s"] | Bool[Tensor, "b #t s"]
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
        weight, bias = self.qkv.weight, self.qkv.bias
        q = linear(take_positions(x, positions), weight[:width], bias[:width])
        k, v = linear(x, weight[width:], bias[width:]).chunk(2, dim=2)
        if mask is None:
            mask = (torch.arange(x.shape[1], device=x.device) <= positions[:, None])[:, None]
        return self._attend(q, k, v, mask)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask | None) -> States:
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        mask = mask[:, None] if mask is not None and mask.ndim == 3 else mask
        dropout = self.dropout if self.training else 0.0
        mixed = scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        return self.out(mixed.transpose(1, 2).flatten(2))


def take_positions(x: States, positions: Int[Tensor, " b"]) -> Float[Tensor, "b 1 w"]:
    """One position of each sequence."""
    return x.gather(1, positions[:, None, None].expand(-1, 1, x.shape[2]))


class Block(nn.Module):
    """h += A(LN h), h += W2 g(W1 LN h) (pre-norm), or h = LN(h + A h), h = LN(h + W2 g(W1 h)) (post-norm)."""

    def __init__(
        self, width: int, heads: int, activation: str = "gelu", dropout: float = 0.0, post_norm: bool = False,
        eps: float = EPS,
    ):  # fmt: skip
        super().__init__()
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

    def _mlp(self, h: States) -> States:
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
