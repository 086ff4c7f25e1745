"""The running mean of a model's weights, which is evaluated and kept in place of the last ones."""

import torch
from torch import nn


def follow(mean: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Moves `mean` toward `model` after step `step` of the whole training, counted from 0.

    A mean over few steps at first: the random start must not linger in it. Batch norms keep a running mean of their
    own, which is taken as it is; at its start it would spoil every figure.
    """
    weight = 1 - min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        torch._foreach_lerp_(list(mean.parameters()), list(model.parameters()), weight)
        for kept, now in zip(mean.buffers(), model.buffers(), strict=True):
            kept.copy_(now)
