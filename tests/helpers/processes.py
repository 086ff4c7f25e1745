"""Other processes for tests: trainings that are killed, and several ranks of one.

They are forked by a server that has only imported torch and the package, which is quick, and safe where forking the
test process itself is not.
"""

import contextlib
import importlib
import multiprocessing
import os
import socket
import time
import traceback
from pathlib import Path

import torch

from vse import train as train_module


def start(target, *args) -> multiprocessing.Process:
    """A running process that calls `target(*args)`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["vse.train", "torch.distributed"])
    process = context.Process(target=target, args=args, daemon=True)
    process.start()
    return process


def train_quietly(said: Path, *args, system=train_module, **settings) -> None:
    """The training of a system, the module `vse.train` or another; what it prints or raises goes into `said`."""
    torch.set_num_threads(1)
    with open(said, "a", buffering=1) as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        try:
            getattr(system, system.__name__.rsplit(".", 1)[1])(*args, device="cpu", **settings)
        except BaseException:
            traceback.print_exc()
            raise


def run_training(said: Path, args: tuple, settings: dict) -> None:
    """A training in a process of its own."""
    train_quietly(said, *args, **settings)


def run_rank(said: Path, rank: int, ranks: int, port: int, args: tuple, settings: dict) -> None:
    """One rank of a training, slow where a rank that relies on luck would be found out."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    system = importlib.import_module(settings.pop("system", train_module.__name__))
    if rank == 0:
        _delay(system._Training, "save")  # the others must not look at the folder before
    else:
        _delay(train_module.checkpoint, "claim")  # the first must not fill the folder before
    train_quietly(said, *args, system=system, **settings)


def _delay(owner, name: str) -> None:
    call = getattr(owner, name)

    def late(*args, **kwargs):
        time.sleep(0.7)
        return call(*args, **kwargs)

    setattr(owner, name, late)


def train_in_ranks(said: Path, ranks: int, args: tuple, settings: dict) -> None:
    """The same training in `ranks` processes on this machine, to its end; `system` in settings names its module."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    files = [said / f"rank{rank}.txt" for rank in range(ranks)]
    processes = [start(run_rank, file, rank, ranks, port, args, settings) for rank, file in enumerate(files)]
    try:
        for process in processes:
            process.join(timeout=60)
        assert [p.exitcode for p in processes] == [0] * ranks, "\n".join(f.read_text() for f in files)
    finally:
        for process in processes:
            process.kill()
