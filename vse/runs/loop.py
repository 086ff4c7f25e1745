"""The skeleton of a training run: claim the folder, restore, train epochs, keep the best, log, finish.

Every system's training uses it; what an epoch does and what is measured on dev, the caller gives. A run that was
killed goes on from its last whole epoch: an epoch is to be a pure function of (config, seed, epoch, state before it).
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from vse.configs import OptimizerConfig
from vse.runs import checkpoint, distributed
from vse.runs.distributed import Place
from vse.runs.log import RunLog
from vse.runs.optimizer import make_optimizer, set_learning_rate
from vse.runs.resumed import check_modules, check_optimizer, counters_of, precision_for
from vse.system.errors import InputError
from vse.system.files import locked, write_json
from vse.system.precision import describe_device

SUMMARY = "metrics.json"  # written when a run is finished


@dataclass(frozen=True)
class Measured:
    """What dev says after an epoch: the number that chooses the best one, all of it for the log, a line for people."""

    figure: float
    dev: dict
    line: str


@runtime_checkable
class Loss(Protocol):
    """A tensor, or what carries its gradient back by itself."""

    def backward(self) -> None: ...


@contextlib.contextmanager
def claimed(out: Path, settings: dict, config: OptimizerConfig, resume: bool, place: Place) -> Iterator[dict]:
    """The settings with the precision of the run, while its folder is this process's own.

    Random numbers drawn inside do not change those of the caller. Raises InputError for a folder that is in use, or
    was made with other settings.
    """
    with contextlib.ExitStack() as stack:
        if place.rank == 0:
            stack.enter_context(locked(out))
        checkpoint.claim(out, settings, resume, dataclasses.asdict(type(config)()))
        resolved = precision_for(out, config.precision, place.device, place.rank)  # not compared
        distributed.wait(place.ranks)  # all have looked at the folder before the first one writes
        stack.enter_context(torch.random.fork_rng(devices=[place.device] if place.device.type == "cuda" else []))
        say(f"precision: {resolved}, on {describe_device(place.device)}", place)
        yield settings | {"precision": resolved}


def say(text: str, place: Place) -> None:
    """Prints a line beside a progress bar, once for all processes."""
    if place.rank == 0:
        tqdm.write(text)


def seed_of(*numbers: int) -> int:
    """One seed of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


class Run:
    """What is trained and how far it is: modules, optimizer, epoch, best epoch; all of it is in the resume file."""

    def __init__(
        self,
        out: Path,
        config: OptimizerConfig,
        modules: Mapping[str, nn.Module],
        parameters: Mapping[str, nn.Parameter],
        place: Place,
        *,
        figure: str,
        higher_is_better: bool,
        parts: Iterable[str],
        rates: Mapping[str, float] = {},  # noqa: B006  nothing changes it
    ):
        """`figure` is the name of what chooses the best epoch; `parts`: the files that a saved model is made of.

        `rates`: factors on the learning rate, by the beginnings of parameters' names.
        Parameters are named as in the resume file; those of "objective." have the whole gradient on every rank.
        """
        self.out, self.config, self.place = out, config, place
        self.modules, self.parameters = dict(modules), dict(parameters)
        self.optimizer = make_optimizer(config, self.parameters, rates)
        self._higher_is_better, self._parts = higher_is_better, (*parts, SUMMARY)
        self._counters = ("epoch", f"best_{figure}", "best_epoch")
        self.epoch, self.best_epoch = 0, 0
        self.best: float | None = None

    def fit(
        self,
        train_epoch: Callable[[], float],
        measure: Callable[[], Measured],
        save_best: Callable[[], None],
        captions: int,
        stop_after: int | None = None,
    ) -> None:
        """Trains the epochs that are missing, `stop_after` in all at most; the best one's model is saved.

        `train_epoch` gives the mean loss of an epoch over so many `captions`. Raises InputError where it diverges.
        """
        self._restore()
        first = self.place.rank == 0
        log = RunLog(self.out) if first and self.epoch < self.config.epochs else None
        while self.epoch < self.config.epochs and (stop_after is None or self.epoch < stop_after):
            start = time.perf_counter()
            loss = train_epoch()
            seconds = time.perf_counter() - start
            self._check_finite("loss", loss)
            measured = measure()
            self._check_finite(self._counters[1].removeprefix("best_"), measured.figure)
            self.epoch += 1
            if first:
                log.epoch({
                    "epoch": self.epoch, "loss": loss, "seconds": seconds, "captions_per_s": captions / seconds,
                    "learning_rate": self.optimizer.param_groups[0]["lr"], "dev": measured.dev,
                })  # fmt: skip
                say(f"epoch {self.epoch:3d}  loss {loss:7.4f}  dev {measured.line}"
                    f"  {seconds:.0f} s, {captions / seconds:.0f} captions/s", self.place)  # fmt: skip
                if self._is_best(measured.figure):
                    self.best, self.best_epoch = measured.figure, self.epoch
                    save_best()
                self._save()  # last, so that a kill before it repeats the epoch
        if log:
            log.close()
        distributed.wait(self.place.ranks)  # the first one has written

    def finish(self, dev: dict) -> None:
        """Writes the dev figures of the best epoch; a finished run keeps no resume state."""
        resume = self.out / checkpoint.RESUME
        if self.place.rank == 0 and self.epoch >= self.config.epochs and resume.is_file():
            write_json(self.out / SUMMARY, {"best_epoch": self.best_epoch, "dev": dev})
            resume.unlink()

    def progress(self, batches: Iterable, steps: int) -> Iterator:
        """The batches of an epoch under a progress bar."""
        hidden = None if self.place.rank == 0 else True  # None: hidden where the output is no terminal
        label = f"epoch {self.epoch + 1}/{self.config.epochs}"
        return iter(tqdm(batches, desc=label, total=steps, unit="step", leave=False, disable=hidden))

    def step(self, loss: Loss, step: int, steps: int) -> None:
        """Moves the parameters down the gradient of `loss`, in step `step` of an epoch of `steps`."""
        self.optimizer.zero_grad()
        loss.backward()
        if self.place.ranks > 1:
            distributed.add_gradients(self.parameters, self.place.ranks)
        if self.config.gradient_norm:
            nn.utils.clip_grad_norm_(self.parameters.values(), self.config.gradient_norm)
        set_learning_rate(self.optimizer, self.config, self.epoch * steps + step, steps)
        self.optimizer.step()

    def _is_best(self, figure: float) -> bool:
        if self.best is None:
            return True
        return figure > self.best if self._higher_is_better else figure < self.best

    def _check_finite(self, name: str, value: float) -> None:
        if np.isfinite(value):
            return
        remains = f"its best epoch, {self.best_epoch}, is kept" if self.best_epoch else "nothing was saved"
        raise InputError(
            f"{self.out}: the training diverged in epoch {self.epoch + 1} ({name} {value}); {remains}; "
            f"give a lower learning_rate {self.config.learning_rate:g}"
        )

    def _save(self) -> None:
        tensors = {f"{part}/{n}": t for part, module in self.modules.items() for n, t in module.state_dict().items()}
        for name, parameter in self.parameters.items():
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer/{name}/{key}"] = value
        counters = dict(zip(self._counters, (self.epoch, self.best, self.best_epoch), strict=True))
        checkpoint.save_resume(self.out, tensors, counters)

    def _restore(self) -> None:
        saved = checkpoint.load_resume(self.out)
        if saved is None:
            if all((self.out / name).is_file() for name in self._parts):  # else it is trained anew, to the same bits
                self.epoch = self.config.epochs
            return
        tensors, counters = saved
        parts: dict[str, dict[str, torch.Tensor]] = {name: {} for name in (*self.modules, "optimizer")}
        for name, tensor in tensors.items():
            part, _, rest = name.partition("/")
            parts.setdefault(part, {})[rest] = tensor.to(self.place.device)
        path = self.out / checkpoint.RESUME
        check_modules(parts, self.modules, path)
        check_optimizer(parts["optimizer"], self.parameters, path)
        for name, module in self.modules.items():
            module.load_state_dict(parts[name])
        for name, tensor in parts["optimizer"].items():
            parameter, _, key = name.rpartition("/")
            # Adam's step counter lives on the CPU, whatever the device
            self.optimizer.state[self.parameters[parameter]][key] = tensor.cpu() if key == "step" else tensor
        self.epoch, self.best, self.best_epoch = counters_of(counters, self._counters, path)
        say(f"resumed after epoch {self.epoch}", self.place)
