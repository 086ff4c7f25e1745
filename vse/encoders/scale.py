"""How large features become: a matrix that looks at them is scaled by a sample, whatever their own size.

Shapes: n photos, v views, r regions, f feature_dim, w width.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn


@torch.no_grad()
def mean_and_spread(W: nn.Linear, features: Float[np.ndarray, "n v r f"]) -> tuple[Float[Tensor, " w"], float]:
    """(The mean of W q over all regions of a sample, the root mean square of what differs from it, 1e-6 at least)."""
    regions = torch.from_numpy(np.array(features)).to(W.weight).flatten(0, 2) @ W.weight.T
    mean = regions.mean(0)
    return mean, max(1e-6, float((regions - mean).square().mean().sqrt()))
