"""Several processes through `torchrun`: the negatives of all ranks meet, and gradients add up.

Every rank holds rows rank::ranks of a batch. With one process every function here does nothing.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from vse.system.device import find_device


@dataclass(frozen=True)
class Place:
    """Where a process stands: its number among the `ranks` processes of a training, and its device."""

    rank: int
    ranks: int
    device: torch.device


def start(device: str) -> Place:
    """This process's place, after joining the process group when `torchrun` started us.

    Raises InputError for a device that is not there.
    """
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    target = find_device(device)
    if ranks == 1:
        return Place(0, 1, target)
    if target == torch.device("cuda"):
        target = torch.device(f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(target)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if target.type == "cuda" else "gloo")
    return Place(dist.get_rank(), ranks, target)


def wait(ranks: int) -> None:
    """Returns when every rank is here: what one has looked at or written, all may go by."""
    if ranks > 1:
        dist.barrier()


def gather_rows(rows: Float[Tensor, "share d"], total: int, place: Place) -> Float[Tensor, "total d"]:
    """The whole batch in its order; only this rank's own rows carry gradients."""
    if place.ranks == 1:
        return rows
    share = -(-total // place.ranks)
    padded = nn.functional.pad(rows, (0, 0, 0, share - len(rows)))
    shares = [torch.empty_like(padded) for _ in range(place.ranks)]
    dist.all_gather(shares, padded.detach().contiguous())
    shares[place.rank] = padded
    return torch.stack(shares, 1).flatten(0, 1)[:total]  # row i is row i // ranks of rank i % ranks


def added(value: Float[Tensor, ""], ranks: int) -> Float[Tensor, ""]:
    """The sum of a number over ranks."""
    if ranks > 1:
        dist.all_reduce(value)
    return value


def add_gradients(parameters: Mapping[str, nn.Parameter], ranks: int) -> None:
    """Sums gradients over ranks; each has its own rows' part for the encoders, but the whole for the objective."""
    for name, parameter in parameters.items():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        dist.all_reduce(parameter.grad)
        if name.startswith("objective."):
            parameter.grad *= 1.0 / ranks
