"""Several processes through `torchrun`: the negatives of all ranks meet, and gradients add up.

Every rank holds rows rank::ranks of a batch. With one process every function here does nothing.
"""

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from vse.system.device import find_device


def start(device: str) -> tuple[int, int, torch.device]:
    """(rank, ranks, this rank's device), after joining the process group when `torchrun` started us.

    Raises InputError for a device that is not there.
    """
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    found = find_device(device)
    if ranks == 1:
        return 0, 1, found
    if found == torch.device("cuda"):
        found = torch.device(f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(found)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if found.type == "cuda" else "gloo")
    return dist.get_rank(), ranks, found


def wait(ranks: int) -> None:
    """Returns when every rank is here: what one has looked at or written, all may go by."""
    if ranks > 1:
        dist.barrier()


def gather_rows(
    rows: Float[Tensor, "share d"], total: int, rank: int, ranks: int
) -> Float[Tensor, "total d"]:
    """The whole batch in its order; only this rank's own rows carry gradients."""
    if ranks == 1:
        return rows
    share = -(-total // ranks)
    padded = nn.functional.pad(rows, (0, 0, 0, share - len(rows)))
    shares = [torch.empty_like(padded) for _ in range(ranks)]
    dist.all_gather(shares, padded.detach().contiguous())
    shares[rank] = padded
    return torch.stack(shares, 1).flatten(0, 1)[:total]  # row i is row i // ranks of rank i % ranks


def add_gradients(encoders: Iterable[nn.Parameter], objective: Iterable[nn.Parameter], ranks: int) -> None:
    """Sums gradients over ranks; each has its own rows' part for the encoders, but the whole for the objective."""
    if ranks == 1:
        return
    for parameters, scale in ((encoders, 1.0), (objective, 1.0 / ranks)):
        for parameter in parameters:
            if parameter.requires_grad:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                dist.all_reduce(parameter.grad)
                parameter.grad *= scale
