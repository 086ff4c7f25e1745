"""Several features side by side, and whether features are those that a model was trained on (section 1).

Knows no CNN and no pixels; the shapes are matrix.py's. Axes: N images, V stored views (crops), R regions,
D feature_dim.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vse.features.info import VERSION, check_info, shape_of
from vse.features.matrix import SideBySide
from vse.features.store import Features, open_features
from vse.system.errors import InputError


def combine_features(sources: Sequence[Features], scales: Sequence[float] | None = None) -> Features:
    """Several features side by side, concatenated along D: rows, names and order of the first, matched by
    name; images that another source left out (`--skip-bad`) are left out.

    A source with one view or one region has it repeated for the others'. Each source is multiplied by its
    scale, so that none dominates: by default 1 / (the mean over images of the L2 norm of the mean feature),
    from at most 1,000 evenly spaced images; `info["scales"]` of a training goes back in as `scales` when it
    is used again. Raises InputError for a name that is missing in a source and for views or regions that do
    not go together.
    """
    sources = list(sources)
    if not sources:
        raise InputError("no features: expected one or more folders of features or .npy files")
    if scales is not None and len(scales) != len(sources):
        raise InputError(
            f"{len(sources)} features and {len(scales)} scales: expected one or more features, with a scale for each"
        )
    for axis, what in ((1, "views"), (2, "regions")):
        counts = {source.array.shape[axis] for source in sources} - {1}
        if len(counts) > 1:
            raise InputError(f"features with {sorted(counts)} {what} cannot stand side by side: expected as many, or 1")
    views = {tuple(source.info["views"]) for source in sources if len(source.info.get("views", ())) > 1}
    if len(views) > 1:
        raise InputError(
            f"features with views {' and '.join(map(str, sorted(views)))}: expected the same, in one order"
        )
    names = _in_all(sources)
    rows = [source.rows(names) for source in sources]
    if scales is None:
        scales = [_unit_scale(source, indices) for source, indices in zip(sources, rows, strict=True)]
    array = SideBySide([source.array for source in sources], rows, [float(scale) for scale in scales])
    info = {
        "version": VERSION,
        "sources": [source.info for source in sources],
        "scales": list(map(float, scales)),
    }
    if views:
        info["views"] = list(views.pop())
    return Features(array, names, info, sources[0].path)


def _in_all(sources: list[Features]) -> tuple[str, ...]:
    """The names of the first source without those that another one is known to have left out."""
    names = sources[0].names
    for source in sources[1:]:
        skipped = source.skipped()
        if skipped:
            missing = source.find(names) < 0
            names = tuple(n for n, bad in zip(names, missing.tolist(), strict=True) if not (bad and n in skipped))
    if not names:
        raise InputError("features of photos that the others left out: no photo is in all; extract the same photos")
    return names


def _unit_scale(source: Features, rows: np.ndarray) -> float:
    sample = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), 1000)).round().astype(int))]
    with np.errstate(over="ignore", invalid="ignore"):
        means = np.stack([np.asarray(source.array[row], np.float32).mean((0, 1)) for row in sample])
        norm = float(np.linalg.norm(means.astype(np.float64), axis=1).mean())
    if not np.isfinite(norm):
        raise InputError(f"{source.path or 'features'}: a value that is NaN or infinite; extract the photos again")
    return 1.0 / norm if norm > 1e-30 else 1.0


# --- the features of a model ----------------------------------------------------------------------------


def open_combined(paths: Sequence[str | Path], trained: dict | None = None) -> Features:
    """The features of several folders side by side; with `trained`, a model's feature_info, scaled as in its
    training.

    Raises InputError for other features than the model was trained on: their number and order, CNN, weights, grid
    or regions, and views that were not among its own. Fewer views are fine; another precision is noted on the error
    output.
    """
    sources = [open_features(path) for path in paths]
    if trained is None:
        return combine_features(sources)
    check_info(trained, "the model's feature_info")
    expected = trained.get("sources", [trained])
    if len(expected) != len(sources):
        raise InputError(
            f"{_listed(paths)}: {_folders(len(sources))}, the model was trained on {_folders(len(expected))} side by "
            f"side: give --features FOLDER{' FOLDER' * (len(expected) - 1)}, in this order: "
            f"{', '.join(map(_called, expected))}"
        )
    _require_encoders(paths, sources, expected)
    for source, told in zip(sources, expected, strict=True):
        _require_same_kind(source, told)
    if "scales" in trained or len(sources) > 1:
        return combine_features(sources, trained.get("scales"))
    return sources[0]  # trained on one matrix as it is


def _folders(count: int) -> str:
    return f"{count} folder{'s' * (count != 1)} of features"


def _listed(paths: Sequence[str | Path]) -> str:
    return " ".join(map(str, paths))


def _called(info: dict) -> str:
    return info.get("encoder", "your own matrix")


def _require_encoders(paths: Sequence[str | Path], sources: list[Features], expected: list[dict]) -> None:
    present, trained = [s.info.get("encoder") for s in sources], [told.get("encoder") for told in expected]
    if all(a is None or b is None or a == b for a, b in zip(present, trained, strict=True)):
        return
    names = ", ".join(map(_called, expected))
    if sorted(map(str, present)) == sorted(map(str, trained)):
        raise InputError(f"{_listed(paths)}: the model was trained on them in another order: give {names}")
    raise InputError(
        f"{_listed(paths)}: features of {', '.join(_called(s.info) for s in sources)}, the model was trained on those "
        f"of {names}; extract them with the same --encoder"
    )


_WORDS = {"weights_sha256": "weights (SHA-256)", "seed": "seed of its random weights", "weights": "weights"}


def _value(value: object) -> str:
    return "the published ones" if value in (None, "") else str(value)


def _require_same_kind(source: Features, told: dict) -> None:
    """Raises InputError for other weights, regions, dimensions or views than in training; notes other precision."""
    info, where = source.info, source.path or "features"
    _, v, r, d = source.array.shape
    if "encoder" in info and "encoder" in told:
        for key in ("weights_sha256", "seed", "weights"):
            # A file of the same digest may have moved.
            moved = key == "weights" and info.get("weights_sha256")
            if key in info and key in told and info[key] != told[key] and not moved:
                raise InputError(
                    f"{where}: {info['encoder']} with other {_WORDS[key]} than the model was trained on "
                    f"({_value(info[key])} here, {_value(told[key])} there); extract them as for the training"
                )
        if len({info.get("precision"), told.get("precision")} - {None}) > 1:
            print(f"note: {where}: extracted in {info['precision']}, the model was trained on {told['precision']}; "
                  "scores may differ slightly", file=sys.stderr)  # fmt: skip
    shape = shape_of(told)
    for what, there, trained, option in (("regions", r, shape[1], "--grid"), ("features a region", d, shape[2], "CNN")):
        if trained is not None and trained != there:
            raise InputError(
                f"{where}: {there:,} {what}, the model was trained on {trained:,}; extract them with the same {option}"
            )
    views = told.get("views")
    other = [view for view in info.get("views", ()) if views and view not in views]
    if other or shape[0] is not None and v > shape[0]:
        there = ", ".join(info["views"]) if "views" in info else str(v)
        raise InputError(
            f"{where}: views {there}, the model was trained on {', '.join(views) if views else shape[0]}; "
            "give these, or some of them (vse features --views)"
        )
