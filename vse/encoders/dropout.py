"""Dropout (Srivastava et al. 2014) whose mask is quick to draw on a CPU, where PyTorch draws a number an element."""

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

_STEPS = 1 << 16  # a mask's chance is a multiple of 1 / _STEPS


class Dropout(nn.Module):
    """In training zeroes each element with chance p and divides the others by 1 - p; else the identity.

    The mask comes from PyTorch's generator, 16 bits an element, so p is right to 1 / 131,072.
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p:
            return x
        if x.device.type != "cpu":
            return dropout(x, self.p)
        draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        kept = draws[: x.numel()].view(x.shape) >= round(self.p * _STEPS) - _STEPS // 2
        return x * kept.to(x.dtype).mul_(1 / (1 - self.p))

    def extra_repr(self) -> str:
        return f"p={self.p}"
