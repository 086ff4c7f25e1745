"""A run folder: `model.safetensors`, `config.json`, `vocabulary.txt`, `metrics.json(l)`, all plain, all atomic.

`resume.safetensors` is there while a training is under way: everything needed to go on bit for bit. Nothing is ever
unpickled. Knows nothing of training itself.
"""

import dataclasses
import hashlib
import json
import typing
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from vse.errors import InputError
from vse.files import read_json, write_atomically, write_json
from vse.model import VSE, VSEConfig
from vse.vocabulary import Vocabulary

VERSION = 1  # of the folder's format
CONFIG, WEIGHTS, WORDS, RESUME = "config.json", "model.safetensors", "vocabulary.txt", "resume.safetensors"


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


def save_weights(out: Path, model: torch.nn.Module) -> None:
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


def claim(out: Path, settings: dict, resume: bool) -> None:
    """Sees that the run folder is free, or holds a run with the same `settings` and is to be resumed.

    Raises InputError that names the setting that differs.
    """
    out.mkdir(parents=True, exist_ok=True)
    if not any(out.iterdir()):
        return
    if not resume:
        raise InputError(f"{out}: not empty; give another --out, or --resume to go on with the run in it")
    if (out / CONFIG).is_file():
        before = read_config(out)
        for key, value in json.loads(json.dumps(settings)).items():
            if before.get(key) != value:
                what = f"another {key} ({_difference(before.get(key), value)})"
                raise InputError(f"{out}: was trained with {what}; repeat its command, or give another --out")


def _difference(before: object, now: object) -> str:
    """The first setting that differs, in words."""
    if isinstance(before, dict) and isinstance(now, dict):
        key = next(k for k in (*before, *now) if before.get(k) != now.get(k))
        return f"{key} {_difference(before.get(key), now.get(key))}"
    return f"{before} there, {now} asked for"


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
            if counters["version"] != VERSION:
                way_out = "delete the folder to train from the start, or go on with the version that wrote it"
                raise InputError(f"{out / RESUME}: of version {counters['version']}, expected {VERSION}; {way_out}")
            return {name: handle.get_tensor(name) for name in handle.keys()}, counters  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError) as error:
        raise InputError(f"{out / RESUME}: damaged ({error}); delete the folder to train from the start") from None
