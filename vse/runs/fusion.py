"""The run folder of a fusion transformer: that of every run (checkpoint.py), and what dev chose for re-ranking."""

import dataclasses
from pathlib import Path

from vse.configs import FusionConfig
from vse.fusion import Fusion
from vse.rerank import Setting
from vse.runs import checkpoint
from vse.system.errors import InputError
from vse.system.files import read_json, write_json
from vse.system.settings import config_from_dict

KIND = "fusion transformer"
SETTING = "rerank.json"


def save(out: Path, model: Fusion, extra: dict) -> None:
    """Writes what `load` needs; see `checkpoint.save_run`."""
    checkpoint.save_run(out, model, extra, KIND)


def load(run: str | Path, device: str = "cpu") -> Fusion:
    """The fusion transformer of a run folder, in evaluation mode; errors as of `checkpoint.load`."""
    model, _ = checkpoint.load_as(Path(run), KIND, "vse train-fusion", FusionConfig, Fusion)
    return model.to(device).eval()


def save_setting(run: Path, setting: Setting) -> None:
    """Writes what dev chose."""
    write_json(run / SETTING, dataclasses.asdict(setting))


def load_setting(run: Path) -> Setting:
    """What dev chose. Raises InputError where it is not there or damaged."""
    if not (run / SETTING).is_file():
        raise InputError(f"{run}: no {SETTING}, its training was not finished; repeat `vse train-fusion` with --resume")
    return config_from_dict(Setting, read_json(run / SETTING), str(run / SETTING), complete=True)


def encoder_of(run: Path) -> str:
    """The fingerprint of the dual encoder that it was trained beside."""
    return str(checkpoint.read_config(run).get("encoder", ""))


def check_start(model: Fusion, start: Fusion, same_words: bool = True) -> None:
    """Raises InputError where a model cannot begin where another one ended; `same_words`: both must have the same."""
    way_out = "give the settings it was trained with"
    for name in ("width", "layers", "heads", "combination"):
        ours, theirs = getattr(model.config, name), getattr(start.config, name)
        if ours != theirs:
            raise InputError(f"--start: its model.{name} is {theirs}, expected {ours}; {way_out}")
    if feature_names(model.feature_info) != feature_names(start.feature_info):
        names = [" + ".join(feature_names(one.feature_info)) for one in (start, model)]
        raise InputError(f"--start: its features are of {names[0]}, expected {names[1]}; give those of its training")
    theirs = start.state_dict()
    for name, tensor in model.state_dict().items():
        if name not in ("words.weight", "word_bias") and tensor.shape != theirs[name].shape:
            shapes = [tuple(shape) for shape in (theirs[name].shape, tensor.shape)]
            raise InputError(f"--start: its {name} is of shape {shapes[0]}, expected {shapes[1]}; {way_out}")
    if same_words and model.vocabulary.tokens != start.vocabulary.tokens:
        raise InputError("--start: it has other words; give one that was trained beside the same --encoder")


def feature_names(info: dict) -> list[str]:
    """The CNNs that features are of, with the beginnings of their weights' SHA-256 where that is told."""
    return [
        f"{source.get('encoder', 'a user matrix')} {source.get('weights_sha256', '')}".strip()
        for source in info.get("sources", [info])
    ]
