"""What is trained and what is kept: the last weights, or their running mean, which is then evaluated and saved."""

import copy

import torch
from torch import nn


class Kept:
    """The model that is evaluated and saved, beside the one that is trained; `modules` are what a resume file needs."""

    def __init__(self, model: nn.Module, decay: float):
        """`decay` per step of the running mean of the weights; 0: the last weights are kept."""
        self._trained, self._decay = model, decay
        self.model = copy.deepcopy(model) if decay else model
        self.modules: dict[str, nn.Module] = {"model": model} | ({"mean": self.model} if decay else {})

    def follow(self, step: int) -> None:
        """Moves the running mean, if there is one, after step `step` of the whole training, counted from 0.

        A mean over few steps at first: the random start must not linger in it. Batch norms keep a running mean of their
        own, which is taken as it is; at its start it would spoil every figure.
        """
        if not self._decay:
            return
        weight = 1 - min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.model.parameters()), list(self._trained.parameters()), weight)
            for kept, now in zip(self.model.buffers(), self._trained.buffers(), strict=True):
                kept.copy_(now)
