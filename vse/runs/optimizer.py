"""The optimizer that a training's settings name, and the learning rate of each of its steps."""

import math
from collections.abc import Mapping

import torch
from torch import nn

from vse.configs import OptimizerConfig


def make_optimizer(
    config: OptimizerConfig,
    parameters: Mapping[str, nn.Parameter],
    rates: Mapping[str, float] = {},  # noqa: B006
) -> torch.optim.Optimizer:
    """The optimizer that `config` names; weight decay is for matrices, not for gains, biases and a temperature.

    `rates`: factors on the learning rate of the parameters whose names begin so.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        factor = next((rate for start, rate in rates.items() if name.startswith(start)), 1.0)
        groups.setdefault((factor, parameter.ndim > 1), []).append(parameter)
    decay = config.weight_decay if config.optimizer == "adamw" else 0.0
    options = [
        {"params": group, "factor": factor, "weight_decay": decay if matrices else 0.0}
        for (factor, matrices), group in sorted(groups.items(), key=lambda item: (-item[0][0], not item[0][1]))
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(options, config.learning_rate)
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(options, config.learning_rate, (0.9, config.beta2))


def set_learning_rate(optimizer: torch.optim.Optimizer, config: OptimizerConfig, step: int, steps: int) -> None:
    """Gives the optimizer the learning rate of `step`, counted from 0 over all epochs of `steps` steps each."""
    rate = {
        "exponential": config.decay ** (step // steps),
        "cosine": 0.5 * (1 + math.cos(math.pi * step / (config.epochs * steps))),
        "constant": 1.0,
    }[config.schedule]
    rise = min(1.0, (step + 1) / max(1, config.warmup_steps))
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * rate * rise * group["factor"]
