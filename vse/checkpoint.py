"""A run folder: `model.safetensors`, `config.json`, `vocabulary.txt`, `metrics.json(l)`, all plain, all atomic.

`resume.safetensors` is there while a training is under way: everything needed to go on bit for bit. Nothing is ever
unpickled. Knows nothing of training itself.
"""

import dataclasses
import hashlib
import json
import os
import typing
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from vse.errors import InputError
from vse.model import VSE, VSEConfig
from vse.vocabulary import Vocabulary

VERSION = 1  # of the folder's format
CONFIG, WEIGHTS, WORDS, RESUME = "config.json", "model.safetensors", "vocabulary.txt", "resume.safetensors"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` on a neighbouring temporary path, then renames: a reader sees the old file or the whole new one.

    A full disk raises InputError with the path; the old file stays as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        way_out = "give another path" if path.is_dir() else "free some space, then run again"
        raise InputError(f"{path}: could not be written ({error}); {way_out}") from None
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Writes indented JSON atomically."""
    write_atomically(path, lambda p: p.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8"))


def read_json(path: Path) -> dict:
    """The object in a JSON file. Raises InputError with path and place for anything else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def config_from_dict(kind: type, values: object, where: str = "config"):
    """A dataclass `kind` from the dictionary `dataclasses.asdict` made of it; anything else raises InputError."""
    if not isinstance(values, dict):
        raise InputError(f"{where}: expected a JSON object, found {values!r}")
    types = typing.get_type_hints(kind)
    unknown = sorted(set(values) - set(types))
    if unknown:
        raise InputError(f"{where}: unknown key {unknown[0]!r}; expected some of {', '.join(types)}")
    nested = {
        key: config_from_dict(types[key], value, f"{where}.{key}") if dataclasses.is_dataclass(types[key]) else value
        for key, value in values.items()
    }
    try:
        return kind(**nested)
    except (InputError, TypeError) as error:
        raise InputError(f"{where}: {str(error).splitlines()[0]}") from None


def save_run(out: Path, model: VSE, extra: dict) -> None:
    """Writes what `load` needs, the weights last; `extra` (training settings, data) goes into config.json."""
    write_atomically(out / WORDS, model.vocabulary.save)
    config = {
        "version": VERSION,
        "model": dataclasses.asdict(model.config),
        "feature_dim": model.feature_dim,
        "feature_info": model.feature_info,
        **extra,
    }
    write_json(out / CONFIG, config)
    save_weights(out, model)


def save_weights(out: Path, model: VSE) -> None:
    """Writes model.safetensors atomically."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_atomically(out / WEIGHTS, lambda path: save_file(weights, path))


def read_config(run: Path) -> dict:
    """config.json of a run folder, checked. Raises InputError for a folder that is no run or from a future version."""
    if not (run / CONFIG).is_file():
        raise InputError(f"{run}: not a run folder (no {CONFIG}); expected one that `vse train --out` made")
    config = read_json(run / CONFIG)
    version = config.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise InputError(f"{run}: format version {version}, this software reads up to {VERSION}; upgrade it")
    return config


def load(run: str | Path, device: str = "cpu") -> VSE:
    """The model of a run folder, in evaluation mode.

    Raises InputError for a folder that is no run, half written, from a future version or damaged.
    """
    run = Path(run)
    config = read_config(run)
    for name in (WORDS, WEIGHTS):
        if not (run / name).is_file():
            raise InputError(f"{run}: half-written run ({name} is missing); repeat its `vse train` with --resume")
    try:
        weights = load_file(run / WEIGHTS)
        if not isinstance(config["feature_dim"], int) or not isinstance(config["feature_info"], dict):
            raise InputError(f"{run / CONFIG}: feature_dim must be a number, feature_info an object; restore the file")
        model_config = config_from_dict(VSEConfig, config["model"], f"{run / CONFIG}: model")
        model = VSE(model_config, Vocabulary.load(run / WORDS), config["feature_dim"], config["feature_info"])
        model.load_state_dict(weights)
    except SafetensorError as error:
        raise InputError(f"{run / WEIGHTS}: damaged weights ({error}); train again or restore the file") from None
    except KeyError as error:
        raise InputError(f"{run / CONFIG}: key {error} is missing; restore the file or train again") from None
    except RuntimeError as error:
        raise InputError(
            f"{run}: {WEIGHTS} does not fit {CONFIG} and {WORDS} ({str(error).splitlines()[-1].strip()})"
        ) from None
    model.fingerprint = hashlib.sha256((run / WEIGHTS).read_bytes()).hexdigest()[:16]
    return model.to(device).eval()


def save_resume(out: Path, tensors: dict[str, torch.Tensor], counters: dict) -> None:
    """Writes everything a training needs to go on, in one atomic file."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    metadata = {"counters": json.dumps({"version": VERSION, **counters})}
    write_atomically(out / RESUME, lambda path: save_file(tensors, path, metadata))


def load_resume(out: Path) -> tuple[dict[str, torch.Tensor], dict] | None:
    """(tensors, counters) of `save_resume`, or None where nothing had been saved yet."""
    if not (out / RESUME).is_file():
        return None
    try:
        with safe_open(out / RESUME, "pt") as handle:
            counters = json.loads(handle.metadata()["counters"])
            return {name: handle.get_tensor(name) for name in handle.keys()}, counters  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError) as error:
        raise InputError(f"{out / RESUME}: damaged ({error}); delete the folder to train from the start") from None
