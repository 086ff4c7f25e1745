"""The image half of the space (section 2.2): `ImageEncoder`, W_I q scaled to unit norm; `AttentionPoolEncoder`.

Features come from a frozen CNN elsewhere; nothing here reads a file.
Shapes: b batch, r regions of a photo, f feature_dim, d embed_dim.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from vse.configs import ImageConfig
from vse.encoders.dropout import Dropout
from vse.encoders.transformer import AttentionPool
from vse.system.errors import InputError

Features = Float[Tensor, "b r f"]
Unit = Float[Tensor, "b d"]


class AttentionPoolEncoder(nn.Module):
    """x = A(W q_1 .. W q_R) scaled to unit norm, A CLIP's attention pooling, over the regions of a frozen CNN.

    W stands between because A's matrices at the width of the features themselves would be tens of millions of weights.
    """

    def __init__(self, config: ImageConfig, feature_dim: int, regions: int, embed_dim: int):
        super().__init__()
        self.dropout = Dropout(config.dropout)
        self.W_I = nn.Linear(feature_dim, config.width, bias=False)
        self.pool = AttentionPool(config.width, config.heads, regions, embed_dim)

    def start(self) -> None:
        """CLIP's random start of the pooling, after the general initialisation."""
        self.pool.start()

    def forward(self, features: Features) -> Unit:
        if features.shape[1] + 1 != len(self.pool.positions):
            count = len(self.pool.positions) - 1
            raise InputError(f"features of {features.shape[1]} regions: expected {count}, one for each position")
        return normalize(self.pool(self.dropout(self.W_I(self.dropout(features)))).float(), dim=1)


class ImageEncoder(nn.Module):
    """x = W_I q / |W_I q|, q the mean of the regions or, part by part, their attention-weighted mean."""

    def __init__(self, config: ImageConfig, feature_dim: int, embed_dim: int):
        super().__init__()
        heads = config.heads if config.pooling == "attention" else 0
        if heads and feature_dim % heads:
            raise InputError(f"image.heads = {heads}: expected a divisor of the {feature_dim} feature dimensions")
        self.attention = nn.Linear(feature_dim, heads) if heads else None
        self.dropout = Dropout(config.dropout)
        self.W_I = nn.Linear(feature_dim, embed_dim, bias=False)
        self.mlp = None
        if config.hidden:
            self.mlp = nn.Sequential(
                nn.Linear(feature_dim, config.hidden), nn.GELU(), Dropout(config.dropout),
                nn.Linear(config.hidden, embed_dim),
            )  # fmt: skip

    def start(self) -> None:
        """What the attention begins at, after the general initialisation: zero weights, the mean of the regions."""
        if self.attention is not None:
            nn.init.zeros_(self.attention.weight)
            nn.init.zeros_(self.attention.bias)

    def forward(self, features: Features) -> Unit:
        if self.attention is None:
            q = features.mean(1)
        else:
            weights = self.attention(features).softmax(1).to(features.dtype)[..., None]  # (b, r, heads, 1)
            parts = features.unflatten(2, (weights.shape[2], -1))  # (b, r, heads, f / heads)
            # Region by region: all weighted regions at once are larger than the cache, and three times as slow.
            q = sum(weights[:, i] * parts[:, i] for i in range(parts.shape[1])).flatten(1)
        q = self.dropout(q)
        x = self.W_I(q)
        if self.mlp is not None:
            x = x + self.mlp(q)
        return normalize(x.float(), dim=1)
