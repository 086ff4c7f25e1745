"""What a training that goes on asks of its folder: the precision it was begun in, and state that is this run's own.

Trains nothing and writes nothing. Shared by both trainings.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch

from vse.runs.checkpoint import CONFIG, check_tensors, read_config
from vse.system.errors import InputError
from vse.system.precision import precision_of_run

_OF_ADAM = {"step", "exp_avg", "exp_avg_sq"}


def precision_for(out: Path, requested: str, device: torch.device, rank: int = 0) -> Literal["float32", "bfloat16"]:
    """What a folder's training runs in on this device, see `vse.system.precision`; rank 0 says a change."""
    begun = read_config(out).get("precision") if (out / CONFIG).is_file() else None
    precision = precision_of_run(requested, begun, device)
    if rank == 0 and begun in ("float32", "bfloat16") and begun != precision:
        print(f"{out}: begun in {begun}, goes on in {precision}, which this machine is fast in")
    return precision


def check_optimizer(state: Mapping[str, torch.Tensor], parameters: Mapping[str, torch.Tensor], path: Path) -> None:
    """Nothing, where the state of an optimizer, PARAMETER/KEY, is one of these parameters.

    Raises InputError with the first tensor that is not: another run's, or of a file that was changed.
    """
    keys: dict[str, set[str]] = {}
    for name, tensor in state.items():
        parameter, _, key = name.rpartition("/")
        known = parameter in parameters and key in _OF_ADAM
        shape = () if key == "step" else parameters[parameter].shape if known else None
        if not known or tensor.shape != torch.Size(shape):
            raise InputError(f"{path}: damaged, {name[:80]!r} is no state of this run; delete the folder to train anew")
        keys.setdefault(parameter, set()).add(key)
    for parameter, entries in keys.items():
        if entries != _OF_ADAM:
            lost = sorted(_OF_ADAM - entries)[0]
            raise InputError(f"{path}: damaged, {parameter}/{lost} is missing; delete the folder to train anew")


def check_modules(
    saved: Mapping[str, Mapping[str, torch.Tensor]], modules: Mapping[str, torch.nn.Module], path: Path
) -> None:
    """Nothing, where each module's saved tensors have its names, shapes and types. Raises InputError."""
    for name, module in modules.items():
        check_tensors(saved.get(name, {}), module.state_dict(), path)


def counters_of(counters: Mapping[str, int | float], names: Sequence[str], path: Path) -> tuple[int | float, ...]:
    """The saved counters of these names. Raises InputError for one that is missing."""
    if missing := [name for name in names if name not in counters]:
        raise InputError(f"{path}: damaged, the counter {missing[0]!r} is missing; delete the folder to train anew")
    return tuple(counters[name] for name in names)
