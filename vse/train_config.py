"""`TrainConfig`: everything that decides the weights of a run, and the optimizer and learning rate it names."""

import math
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from vse.errors import InputError
from vse.losses import LossConfig
from vse.model import VSEConfig
from vse.precision import PRECISIONS, Precision


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the weights, apart from data and seed; the defaults are the paper's."""

    model: VSEConfig = field(default_factory=VSEConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    epochs: int = 12  # open in the paper; chosen on Flickr8K dev
    batch_size: int = 40  # pairs (supplement: 40 on Flickr8K, 100 on Flickr30K)
    optimizer: str = "sgd"  # "sgd" without momentum (supplement), "adam", "adamw"
    learning_rate: float = 1.0  # at the start (supplement)
    schedule: str = "exponential"  # "exponential" (supplement), "cosine" (to 0), "constant"
    decay: float = 0.85  # of "exponential": factor an epoch (open in the paper; chosen on Flickr8K dev)
    warmup_steps: int = 0  # steps of linear rise to the learning rate
    weight_decay: float = 0.0  # of "adamw"
    gradient_norm: float = 0.5  # gradients are clipped to it, 0 = never (open in the paper; chosen on Flickr8K dev)
    extra_pairs: int = 0  # pairs of captions of one image a step, from the extra text; 0 = none
    average: float = 0.0  # decay of the running mean of the weights that is evaluated and kept, a step; 0 = none
    min_count: int = 1  # a word enters the vocabulary when training captions have it as often
    precision: Precision = "auto"  # of the encoders' products; "auto": bfloat16 (autocast) where it runs and pays

    def __post_init__(self):
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} = {getattr(self, name)!r}: expected {' or '.join(allowed)}")
        if self.epochs < 1 or self.batch_size < 2 or self.learning_rate <= 0 or self.min_count < 1:
            raise InputError("epochs and min_count must be 1 or more, batch_size 2 or more, learning_rate positive")
        if not 0 <= self.average < 1:
            raise InputError(f"average = {self.average}: expected a decay in [0, 1), 0 for no averaging")


_CHOICES = {
    "optimizer": ("sgd", "adam", "adamw"),
    "schedule": ("exponential", "cosine", "constant"),
    "precision": PRECISIONS,
}


@runtime_checkable
class OptimizerSettings(Protocol):
    """The settings of `TrainConfig` that the two functions below read."""

    epochs: int
    optimizer: str
    learning_rate: float
    schedule: str
    decay: float
    warmup_steps: int
    weight_decay: float


def make_optimizer(config: OptimizerSettings, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer that `config` names."""
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, config.learning_rate)
    if config.optimizer == "adam":
        return torch.optim.Adam(parameters, config.learning_rate)
    return torch.optim.AdamW(parameters, config.learning_rate, weight_decay=config.weight_decay)


def set_learning_rate(optimizer: torch.optim.Optimizer, config: OptimizerSettings, step: int, steps: int) -> None:
    """Gives the optimizer the learning rate of `step`, counted from 0 over all epochs of `steps` steps each."""
    rate = {
        "exponential": config.decay ** (step // steps),
        "cosine": 0.5 * (1 + math.cos(math.pi * step / (config.epochs * steps))),
        "constant": 1.0,
    }[config.schedule]
    rise = min(1.0, (step + 1) / max(1, config.warmup_steps))
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * rate * rise
