"""`TrainConfig`: everything that decides the weights of a run, and the optimizer and learning rate it names."""

import math
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import nn

from vse.losses import LossConfig
from vse.model import VSEConfig
from vse.precision import Precision
from vse.settings import check_settings


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the weights, apart from data and seed; the defaults are the paper's."""

    model: VSEConfig = field(default_factory=VSEConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    epochs: int = 12  # open in the paper; chosen on Flickr8K dev
    batch_size: int = 40  # pairs (supplement: 40 on Flickr8K, 100 on Flickr30K)
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"  # "sgd": without momentum (supplement)
    learning_rate: float = 1.0  # at the start (supplement)
    schedule: Literal["exponential", "cosine", "constant"] = "exponential"  # (supplement); "cosine": to 0
    decay: float = 0.85  # of "exponential": factor an epoch (open in the paper; chosen on Flickr8K dev)
    warmup_steps: int = 0  # steps of linear rise to the learning rate
    weight_decay: float = 0.0  # of "adamw"
    gradient_norm: float = 0.5  # gradients are clipped to it, 0 = never (open in the paper; chosen on Flickr8K dev)
    extra_pairs: int = 0  # pairs of captions of one image a step, from the extra text; 0 = none
    average: float = 0.0  # decay of the running mean of the weights that is evaluated and kept, a step; 0 = none
    min_count: int = 1  # a word enters the vocabulary when training captions have it as often
    precision: Precision = "auto"  # of the encoders' products; "auto": bfloat16 (autocast) where it runs and pays

    def __post_init__(self):
        own = {"batch_size": ">= 2", "extra_pairs": ">= 0", "average": "[0, 1)", "min_count": ">= 1"}
        check_settings(self, **OPTIMIZER_RANGES, **own)


OPTIMIZER_RANGES = {
    "epochs": ">= 1", "learning_rate": "> 0", "decay": "> 0", "warmup_steps": ">= 0", "weight_decay": ">= 0",
    "gradient_norm": ">= 0",
}  # fmt: skip


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
    """The optimizer that `config` names; weight decay is for matrices, not for gains, biases and a temperature."""
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, config.learning_rate)
    if config.optimizer == "adam":
        return torch.optim.Adam(parameters, config.learning_rate)
    matrices = [p for p in parameters if p.ndim > 1]
    others = [p for p in parameters if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], config.learning_rate)


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
