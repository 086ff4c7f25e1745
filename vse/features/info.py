"""What made a matrix of features (features.json) and how far an extraction is (progress.json), read strictly.

Knows the fields and their types, not what is in the matrix.
"""

import math
from collections.abc import Callable
from pathlib import Path

from vse.system.errors import InputError
from vse.system.files import read_json

VERSION = 1  # of features.json
INFO = "features.json"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _are_names(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_text, value)) and len(set(value)) == len(value)


def _are_reasons(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


def _are_scales(value: object) -> bool:
    return isinstance(value, list) and all(_is_number(scale) and scale > 0 for scale in value)


def _is_shape(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(_is_count(length) and length > 0 for length in value)


_COUNT = _is_count, "a whole number, 0 or more"
_TEXT = _is_text, "a string"
_FIELDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "version": _COUNT,
    "encoder": _TEXT,
    "views": (_are_names, "a list of different names"),
    "grid": (lambda value: _is_count(value) and value <= 10_000, "a whole number, 0 to 10,000"),
    "asked_grid": _COUNT,
    "map_size": _COUNT,
    "feature_dim": _COUNT,
    "precision": (lambda value: value in ("float32", "bfloat16"), "float32 or bfloat16"),
    "weights": (lambda value: value is None or _is_text(value), "a string or null"),
    "weights_sha256": _TEXT,
    "names_sha256": _TEXT,
    "names_file_sha256": _TEXT,
    "matrix_sha256": _TEXT,
    "source": _TEXT,
    "seed": _COUNT,
    "photos": _COUNT,
    "skipped": (_are_reasons, "an object: image name, reason"),
    "images_per_second": (_is_number, "a number, 0 or more"),
    "scales": (_are_scales, "a list of numbers above 0"),
    "shape": (_is_shape, "a list of three whole numbers"),
}


def check_info(info: dict, where: str | Path) -> dict:
    """`info`, after a look at every known field. Raises InputError for one of another type, saying which."""
    _check_fields(info, where)
    if "sources" in info:
        sources = info["sources"]
        if not isinstance(sources, list) or not sources or not all(isinstance(source, dict) for source in sources):
            raise InputError(f"{where}: sources: expected a list of objects, one for each CNN")
        for i, source in enumerate(sources):
            _check_fields(source, f"{where}: sources[{i}]")
            if "sources" in source:
                raise InputError(f"{where}: sources[{i}] has sources itself, expected one CNN; restore the file")
        if len(info.get("scales", ())) != len(sources):
            raise InputError(f"{where}: scales: expected {len(sources)} numbers, one for each of sources")
    return info


def _check_fields(info: dict, where: str | Path) -> None:
    for key, value in info.items():
        fits, expected = _FIELDS.get(key, (None, ""))
        if fits and not fits(value):
            raise InputError(f"{where}: {key} is {str(value)[:60]!r}, expected {expected}; restore the file")
    if info.get("version", VERSION) != VERSION:
        raise InputError(f"{where}: version {info['version']}, this program reads {VERSION}; update it")


def shape_of(info: dict) -> tuple[int | None, int | None, int | None]:
    """(V, R, D) of the features that `info` tells of, side by side where they are several; None for what it does not
    tell."""
    if "sources" in info:
        axes = zip(*map(shape_of, info["sources"]), strict=True)
        return tuple(None if None in axis else whole(axis) for axis, whole in zip(axes, (max, max, sum), strict=True))
    if "shape" in info:
        return tuple(info["shape"])
    grid, views = info.get("grid"), info.get("views")
    return len(views) if views else None, grid**2 if grid else None, info.get("feature_dim")


def grid_of(info: dict) -> int:
    """How many regions a side the features that `info` tells of have; 0 where it does not tell."""
    grids = [source.get("grid") for source in info.get("sources", [info])]
    return 0 if None in grids else max(grids)


def read_info(folder: Path) -> dict:
    """features.json of the folder, {} where there is none. Raises InputError for a later version or a damaged one."""
    return check_info(read_json(folder / INFO), folder / INFO) if (folder / INFO).exists() else {}


def check_progress(state: dict, where: str | Path) -> dict:
    """The state of an extraction, after a look at every field. Raises InputError for a damaged one."""
    config = state.get("config")
    if not isinstance(config, dict) or not _is_count(config.get("photos")):
        raise InputError(f"{where}: damaged, config is not that of an extraction; delete the folder and extract again")
    _check_fields(config, where)
    for key, fits, expected in (
        ("done", lambda value: _is_count(value) and value <= config["photos"], f"0 to {config['photos']}"),
        ("skipped", _are_reasons, "an object: image name, reason"),
        ("zeros", lambda value: isinstance(value, list) and all(map(_is_count, value)), "a list of row numbers"),
        ("images_per_second", _is_number, "a number, 0 or more"),
    ):
        default = {"zeros": [], "images_per_second": 0.0}.get(key)
        if not fits(state.get(key, default)):
            raise InputError(
                f"{where}: {key} is {str(state.get(key))[:60]!r}, expected {expected}; delete the folder, extract again"
            )
    return state
