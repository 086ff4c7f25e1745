"""The optimizer that a training's settings name, and the learning rate of each of its steps."""

import math

import torch
from torch import nn

from vse.configs import OptimizerConfig


def make_optimizer(config: OptimizerConfig, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer that `config` names; weight decay is for matrices, not for gains, biases and a temperature."""
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, config.learning_rate)
    if config.optimizer == "adam":
        return torch.optim.Adam(parameters, config.learning_rate, (0.9, config.beta2))
    matrices = [p for p in parameters if p.ndim > 1]
    others = [p for p in parameters if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, config.learning_rate, (0.9, config.beta2))


def set_learning_rate(optimizer: torch.optim.Optimizer, config: OptimizerConfig, step: int, steps: int) -> None:
    """Gives the optimizer the learning rate of `step`, counted from 0 over all epochs of `steps` steps each."""
    rate = {
        "exponential": config.decay ** (step // steps),
        "cosine": 0.5 * (1 + math.cos(math.pi * step / (config.epochs * steps))),
        "constant": 1.0,
    }[config.schedule]
    rise = min(1.0, (step + 1) / max(1, config.warmup_steps))
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * rate * rise
