"""A run folder: `model.safetensors`, `config.json`, `vocabulary.txt`, `metrics.json(l)`, all plain, all atomic.

`manifest.json` binds what a model is made of. `resume.safetensors` is there while a training is under way: everything
needed to go on bit for bit. Nothing is ever unpickled. Knows nothing of training itself.
"""

import contextlib
import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch.overrides import TorchFunctionMode

from vse.data.tokens import load_tokens
from vse.data.vocabulary import Tokens
from vse.features.info import check_info
from vse.features.matrix import SideBySide
from vse.model import VSE, VSEConfig
from vse.system import manifest
from vse.system.errors import InputError
from vse.system.files import LOCK, json_text, parse_json, read_json, write_atomically, write_json
from vse.system.settings import config_from_dict

VERSION = 1  # of the folder's format
KIND = "embedding"  # what its model is; folders from before there were others do not say it
CONFIG, WEIGHTS, WORDS, RESUME = "config.json", "model.safetensors", "vocabulary.txt", "resume.safetensors"
PARTS = (CONFIG, WEIGHTS, WORDS)  # what a model is made of
Model = TypeVar("Model", bound=torch.nn.Module)


@runtime_checkable
class Saved(Protocol):
    """What a model of photos and sentences is saved with."""

    config: object  # a dataclass
    vocabulary: Tokens
    feature_dim: int
    feature_info: dict
    fingerprint: str

    def state_dict(self) -> dict[str, torch.Tensor]: ...


def save_run(out: Path, model: Saved, extra: dict, kind: str = KIND) -> None:
    """Writes what `load` needs, the manifest last; `extra` (training settings, data) goes into config.json."""
    manifest.unbind(out)
    write_atomically(out / WORDS, model.vocabulary.save)
    config = {
        "version": VERSION,
        "kind": kind,
        "model": dataclasses.asdict(model.config),
        "feature_dim": model.feature_dim,
        "feature_info": model.feature_info,
        **extra,
    }
    write_json(out / CONFIG, config)
    save_weights(out, model)
    manifest.bind(out, PARTS)


def save_weights(out: Path, model: torch.nn.Module) -> None:
    """Writes model.safetensors atomically."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_atomically(out / WEIGHTS, lambda path: save_file(weights, path))


class _WithoutStart(TorchFunctionMode):
    """Leaves out the functions of torch.nn.init: on "meta" they import half a second of compiler to do nothing."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def outline() -> Iterator[None]:
    """A context in which modules have shapes but no memory, whatever sizes a config asks for."""
    with torch.device("meta"), _WithoutStart():
        yield


def load_weights(run: Path, model: torch.nn.Module) -> None:
    """Nothing, after a model on the device "meta" got the weights of a run folder, on the CPU.

    On "meta" a config that is out of its mind costs no memory before it is compared with the file.
    Raises InputError for weights that are damaged, not finite, or another model's.
    """
    path = run / WEIGHTS
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path}: damaged weights ({error}); train again or restore the file") from None
    check_tensors(weights, model.state_dict(), path, f"does not fit {CONFIG} and {WORDS}")
    # Copies: the file is mapped, and its tensors stand at any address, where products may round otherwise.
    model.load_state_dict({name: tensor.clone() for name, tensor in weights.items()}, assign=True)


def check_tensors(
    state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], path: Path, wrong: str = "damaged"
) -> None:
    """Nothing, where a file's tensors have the names, shapes and types that are expected and are finite numbers.

    Raises InputError in one line, with the first tensor that has not.
    """
    for name in sorted(state.keys() | expected.keys()):
        if name not in state or name not in expected:
            raise InputError(f"{path}: {wrong} ({name[:80]!r} is {'missing' if name in expected else 'too many'})")
        shapes = [tuple(tensors[name].shape) for tensors in (state, expected)]
        types = [str(tensors[name].dtype).removeprefix("torch.") for tensors in (state, expected)]
        if shapes[0] != shapes[1]:
            raise InputError(f"{path}: {wrong} ({name!r} is of shape {shapes[0]}, expected {shapes[1]})")
        if types[0] != types[1]:
            raise InputError(f"{path}: {wrong} ({name!r} is {types[0]}, expected {types[1]})")
    check_finite(state, path)


def check_finite(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Nothing, where every number of a file's tensors is finite. Raises InputError with the first that is not."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.float().isfinite().all():
            raise InputError(f"{path}: damaged, {name[:80]!r} has numbers that are not finite; restore it")


def read_config(run: Path) -> dict:
    """config.json of a run folder, checked. Raises InputError for a folder that is no run or from a future version."""
    if not (run / CONFIG).is_file():
        raise InputError(f"{run}: not a run folder (no {CONFIG}); expected one that `vse train --out` made")
    config = read_json(run / CONFIG)
    version = config.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise InputError(f"{run}: format version {str(version)[:40]}, this software reads up to {VERSION}; upgrade it")
    return config


def load(run: str | Path, device: str = "cpu") -> VSE:
    """The model of a run folder, in evaluation mode.

    Raises InputError for a folder that is no run, half written, from a future version or damaged.
    """
    run = Path(run)
    model, config = load_as(run, KIND, "vse train", VSEConfig, VSE)
    temperature = config.get("temperature")
    if temperature is not None:
        if type(temperature) not in (int, float) or not 0 < temperature < math.inf:
            raise InputError(f"{run / CONFIG}: temperature must be a number above 0; restore the file")
        model.temperature = float(temperature)
    return model.to(device).eval()


def load_as(
    run: Path, kind: str, command: str, config_type: type, make: Callable[[object, Tokens, int, dict], Model]
) -> tuple[Model, dict]:
    """(the model that a `command` made, on the CPU; all of config.json).

    `make` builds it of its config, its tokens and what config.json tells of features. Raises InputError as `load`.
    """
    config = read_config(run)
    if (found := config.get("kind", KIND)) != kind:
        raise InputError(f"{run}: a run of kind {str(found)[:40]!r}, expected {kind!r}; give one that `{command}` made")
    for name in (WORDS, WEIGHTS):
        if not (run / name).is_file():
            raise InputError(f"{run}: half-written run ({name} is missing); repeat its `{command}` with --resume")
    if missing := [key for key in ("model", "feature_dim", "feature_info") if key not in config]:
        raise InputError(f"{run / CONFIG}: key {missing[0]!r} is missing; restore the file or train again")
    if not is_size(config["feature_dim"]) or not isinstance(config["feature_info"], dict):
        raise InputError(f"{run / CONFIG}: feature_dim must be a number, feature_info an object; restore the file")
    check_info(config["feature_info"], f"{run / CONFIG}: feature_info")
    model_config = config_from_dict(config_type, config["model"], f"{run / CONFIG}: model")
    tokens = load_tokens(run / WORDS)
    with outline():
        model = make(model_config, tokens, config["feature_dim"], config["feature_info"])
    load_weights(run, model)
    model.fingerprint = manifest.check(run, PARTS)[WEIGHTS][:16]
    return model, config


def is_size(value: object) -> bool:
    """True for a number of dimensions that may be read from a file."""
    return type(value) is int and 0 < value < 2**31


def claim(out: Path, settings: dict, resume: bool, defaults: dict | None = None) -> None:
    """Sees that the run folder is free, or holds a run with the same `settings` and is to be resumed.

    A setting that the run did not save, of before there was it, is not compared, but one of "train" was its value of
    `defaults`. Raises InputError that names the setting that differs, and what to give instead.
    """
    out.mkdir(parents=True, exist_ok=True)
    if all(path.name == LOCK or path.name.endswith(".tmp") for path in out.iterdir()):
        return
    if not resume:
        raise InputError(f"{out}: not empty; give another --out, or --resume to go on with the run in it")
    if (out / CONFIG).is_file():
        before = read_config(out)
        if defaults and isinstance(before.get("train"), dict):
            before["train"] = _filled(before["train"], parse_json(json_text(defaults), "settings"))
        for key, value in parse_json(json_text(settings), "settings").items():
            if before.get(key) != value and (key in before or key in _ALWAYS):
                what = _difference(_NAMES.get(key, key), before.get(key), value)
                raise InputError(f"{out}: {what}; repeat the command that began the run, or give another --out")


def _filled(values: dict, defaults: dict) -> dict:
    """The settings, those that are missing at their defaults."""
    filled = defaults | values
    for key, default in defaults.items():
        if isinstance(default, dict) and isinstance(filled[key], dict):
            filled[key] = _filled(filled[key], default)
    return filled


_ALWAYS = ("train", "data_fingerprint")  # every training saves them: what lacks them is no run of this kind
# What the settings are called where a user meets them; those of "train" are options of that name.
_NAMES = {
    "train": "", "seed": "--seed", "data": "DATA", "data_fingerprint": "the captions or splits of DATA",
    "word_vectors": "--word-vectors", "word_vectors_file": "--word-vectors", "merges": "--merges",
    "extra_text": "--extra-text", "encoder": "--encoder", "teachers": "--teachers", "feature_identity": "--features",
    "start": "--start", "tags": "--tags",
}  # fmt: skip


def _difference(name: str, before: object, now: object) -> str:
    """The first setting that differs, in words."""
    if isinstance(before, dict) and isinstance(now, dict):
        key = next(k for k in (*before, *now) if before.get(k) != now.get(k))
        option = str(key).replace("_", "-")
        inner = f"{name}.{option}" if name.strip("-") else f"--{option}"
        return _difference(inner, before.get(key), now.get(key))
    told = [("none" if value is None else str(value))[:80] for value in (before, now)]
    return f"the run in it was begun with {name} {told[0]}, now it is {told[1]}"


def feature_identity(info: dict, array: np.ndarray | SideBySide) -> dict:
    """What makes features other ones, for `claim`: CNN, its weights, precision, views, regions, scales.

    Nobody knows the CNN of a user's own matrix: then the digest of 64 rows, too. Which photos there are, and on which
    day they were made, does not count.
    """
    sources = info.get("sources", [info])
    identity = {
        "sources": [{key: source.get(key) for key in _OF_A_SOURCE} for source in sources],
        "scales": info.get("scales"), "views": info.get("views"),
    }  # fmt: skip
    if not all("encoder" in source for source in sources):
        rows = np.unique(np.linspace(0, max(0, len(array) - 1), 64).astype(int))
        sample = b"".join(np.ascontiguousarray(array[row : row + 1]).tobytes() for row in rows)
        identity["rows_sha256"] = hashlib.sha256(sample).hexdigest()
    return identity


_OF_A_SOURCE = ("encoder", "views", "grid", "precision", "weights", "weights_sha256", "seed", "map_size", "feature_dim")


def save_resume(out: Path, tensors: dict[str, torch.Tensor], counters: dict) -> None:
    """Writes everything a training needs to go on, in one atomic file."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    metadata = {"counters": json_text({"version": VERSION, **counters})}
    write_atomically(out / RESUME, lambda path: save_file(tensors, path, metadata))


def load_resume(out: Path) -> tuple[dict[str, torch.Tensor], dict] | None:
    """(tensors, counters) of `save_resume`, or None where nothing had been saved yet.

    All are finite; that they are those of the model, `check_tensors` tells. Raises InputError for a damaged file.
    """
    path, way_out = out / RESUME, "delete the folder to train from the start"
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as handle:
            counters = parse_json((handle.metadata() or {})["counters"], f"{path}: damaged, its counters")
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError) as error:
        raise InputError(f"{path}: damaged ({error}); {way_out}") from None
    if not isinstance(counters, dict) or not all(_is_number(value) for value in counters.values()):
        raise InputError(f"{path}: damaged (its counters are no numbers); {way_out}")
    if counters.get("version") != VERSION:
        version = counters.get("version")
        raise InputError(f"{path}: of version {version}, expected {VERSION}; {way_out}")
    check_finite(tensors, path)
    return tensors, counters


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) < 2**63
