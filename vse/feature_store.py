"""A feature matrix on disk: opened as a memory map, matched to images by name, several put side by side
(section 1).

DIR/features.npy (N, V, R, D), DIR/names.txt one image name a line, DIR/features.json what made it. A user's
own matrix needs only the first two, (N, D) or (N, V, R, D). Knows no CNN and no pixels; writes no features.
Axes: N images, V stored views (crops), R regions of the feature map in row-major order, D feature_dim.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int

from vse.errors import InputError
from vse.files import read_json
from vse.side_by_side import SideBySide

VERSION = 1  # of features.json
MATRIX, NAMES, INFO, PROGRESS = "features.npy", "names.txt", "features.json", "progress.json"
_CHECKED_AT_OPENING = 2**30  # bytes; a larger matrix is checked when its rows are taken


@dataclass(frozen=True)
class Features:
    """An opened feature matrix: `array` (N, V, R, D), the images' names in row order, and what made it.

    `info` is features.json, {} for a user's own matrix; `FeatureExtractor.from_info(info)` treats new photos
    alike.
    """

    array: np.ndarray | SideBySide
    names: tuple[str, ...]
    info: dict = field(default_factory=dict)
    path: Path | None = None

    def rows(self, names: Sequence[str]) -> Int[np.ndarray, " n"]:
        """The row number of each name: the same name, or else the only one with the same base name.

        Raises InputError with the first missing name and with how many there are.
        """
        row_of = {name: row for row, name in enumerate(self.names)}
        rows = [row_of.get(name, -1) for name in names]
        if -1 in rows:
            self._fill_by_base_name(names, rows)
        if -1 in rows:
            missing = [name for name, row in zip(names, rows, strict=True) if row < 0]
            raise InputError(
                f"{self.path or 'features'} has rows for {len(self.names):,} images, DATA needs "
                f"{len(names):,}: {len(set(missing)):,} missing, first {missing[0]}; extract these photos"
            )
        return np.array(rows, np.int64)

    def _fill_by_base_name(self, names: Sequence[str], rows: list[int]) -> None:
        """Sets the rows that are -1 where the base name leaves no doubt on either side."""
        base = {name: PurePosixPath(name).name for name in (*self.names, *names)}
        stored = Counter(base[name] for name in self.names)
        asked = Counter(base[name] for name in set(names))
        row_of = {base[name]: row for row, name in enumerate(self.names) if stored[base[name]] == 1}
        for i, name in enumerate(names):
            if rows[i] < 0 and asked[base[name]] == 1:
                rows[i] = row_of.get(base[name], -1)

    def take(self, names: Sequence[str]) -> np.ndarray:
        """The rows of these images in memory, (n, V, R, D), in their stored precision. Raises InputError as
        `rows` does, and for a value that is not finite."""
        array = np.ascontiguousarray(self.array[self.rows(names)])
        _check_finite(array, names, self.path)
        return array

    def describe(self) -> str:
        """One line for people: shape, encoder, speed, and the photos that were left out with the reason."""
        n, v, r, d = self.array.shape
        line = f"{n:,} images x {v} views x {r} regions x {d:,}, {_encoder(self.info)}"
        if self.info.get("images_per_second"):
            line += f", {self.info['images_per_second']:.1f} images/s"
        skipped = self.info.get("skipped", {})
        if skipped:
            line += f"; {len(skipped)} skipped: " + ", ".join(
                f"{n} ({why})" for n, why in list(skipped.items())[:5]
            )
        return line + (", ..." if len(skipped) > 5 else "")


def _encoder(info: dict) -> str:
    if "sources" in info:
        return " + ".join(_encoder(source) for source in info["sources"])
    return info.get("encoder", "a user's own matrix")


# --- opening --------------------------------------------------------------------------------------------


def open_features(path: str | Path, *, check: bool | None = None) -> Features:
    """The features in a folder, or in a .npy file with its names in a .txt beside it, as a memory map.

    `check`: look at every value now (None: up to 1 GB). Raises InputError for what is missing, half-written,
    of another shape or type, with NaN or infinite values, with names that are not unique or not as many as
    the rows.
    """
    path = Path(path)
    if path.is_file() and path.name == MATRIX:
        path = path.parent
    if path.is_dir():
        matrix, names_file, info = path / MATRIX, path / NAMES, read_info(path)
        _refuse_half_done(path)
    elif path.is_file():
        matrix, names_file, info = path, path.with_suffix(".txt"), {}
        if not names_file.exists() and path.with_name(NAMES).exists():
            names_file = path.with_name(NAMES)
    else:
        raise InputError(
            f"{path}: no such folder of features and no such .npy file; make it with `vse features`"
        )
    array = _open_matrix(matrix)
    names = _read_names(names_file)
    if len(names) != len(array):
        raise InputError(
            f"{matrix} has {len(array):,} rows, {names_file.name} {len(names):,} names: expected as many"
        )
    if check or (check is None and array.nbytes <= _CHECKED_AT_OPENING):
        _check_finite(array, names, matrix)
    return Features(array, names, info, path)


def _refuse_half_done(folder: Path) -> None:
    progress = folder / PROGRESS
    if progress.exists() and not (folder / INFO).exists():
        state = read_json(progress)
        done, photos = state.get("done", 0), state.get("config", {}).get("photos", 0)
        raise InputError(
            f"{folder}: extracted only {done:,} of {photos:,} photos; "
            "run the same `vse features` command again to go on"
        )
    if not (folder / MATRIX).exists():
        raise InputError(f"{folder}: no {MATRIX} in it; make it with `vse features`")


def _open_matrix(matrix: Path) -> np.ndarray:
    """The memory map, seen as (N, V, R, D). Raises InputError."""
    try:
        array = np.load(matrix, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"{matrix}: not a NumPy .npy file of numbers ({' '.join(str(error).split())})"
        ) from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{matrix}: an .npz archive, expected a .npy file with one matrix")
    if array.dtype not in (np.float16, np.float32, np.float64):
        raise InputError(f"{matrix}: values of type {array.dtype}, expected float16, float32 or float64")
    if array.ndim not in (2, 4) or 0 in array.shape:
        raise InputError(
            f"{matrix}: shape {array.shape}, expected (images, D) or (images, views, regions, D)"
        )
    return array if array.ndim == 4 else array[:, None, None]


def _read_names(path: Path) -> tuple[str, ...]:
    try:
        names = [line.rstrip("\r") for line in path.read_text(encoding="utf-8").split("\n")]
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; rows are matched by name: one image name a line, in row order"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    while names and not names[-1]:
        names.pop()
    if len(set(names)) < len(names):
        twice, times = Counter(names).most_common(1)[0]
        raise InputError(f"{path}: {twice!r} is there {times} times; each image has one name and one row")
    return tuple(names)


def _check_finite(array: np.ndarray, names: Sequence[str], path: Path | None) -> None:
    """Raises InputError with the first image that has a NaN or an infinite value."""
    rows = max(1, 2**24 // (array[:1].nbytes or 1))  # 16 MB at a time
    for start in range(0, len(array), rows):
        finite = np.isfinite(array[start : start + rows])
        if not finite.all():
            bad = start + np.flatnonzero(~finite.reshape(len(finite), -1).all(1))
            raise InputError(
                f"{path or 'features'}: a value that is NaN or infinite in the row of {names[bad[0]]}; "
                "extract that photo again or leave it out"
            )


def read_info(folder: Path) -> dict:
    """features.json of the folder, {} where there is none. Raises InputError for a later version."""
    info = read_json(folder / INFO) if (folder / INFO).exists() else {}
    if info.get("version", VERSION) != VERSION:
        raise InputError(
            f"{folder / INFO}: version {info['version']}, this program reads {VERSION}; update it"
        )
    return info


# --- several CNNs ---------------------------------------------------------------------------------------


def combine_features(sources: Sequence[Features], scales: Sequence[float] | None = None) -> Features:
    """Several features side by side, concatenated along D: rows, names and order of the first, matched by
    name.

    A source with one view or one region has it repeated for the others'. Each source is multiplied by its
    scale, so that none dominates: by default 1 / (the mean over images of the L2 norm of the mean feature),
    from at most 1,000 evenly spaced images; `info["scales"]` of a training goes back in as `scales` when it
    is used again. Raises InputError for a name that is missing in a source and for views or regions that do
    not go together.
    """
    sources = list(sources)
    if not sources or (scales is not None and len(scales) != len(sources)):
        raise InputError(
            f"{len(sources)} features with {len(scales or ())} scales: expected one or more, a scale each"
        )
    for axis, what in ((1, "views"), (2, "regions")):
        counts = {source.array.shape[axis] for source in sources} - {1}
        if len(counts) > 1:
            raise InputError(
                f"features with {sorted(counts)} {what} cannot stand side by side: expected as many, or 1"
            )
    views = {tuple(source.info["views"]) for source in sources if len(source.info.get("views", ())) > 1}
    if len(views) > 1:
        raise InputError(
            f"features with views {' and '.join(map(str, sorted(views)))}: expected the same, in one order"
        )
    rows = [source.rows(sources[0].names) for source in sources]
    if scales is None:
        scales = [_unit_scale(source.array, own) for source, own in zip(sources, rows, strict=True)]
    array = SideBySide([source.array for source in sources], rows, [float(scale) for scale in scales])
    info = {
        "version": VERSION,
        "sources": [source.info for source in sources],
        "scales": list(map(float, scales)),
    }
    if views:
        info["views"] = list(views.pop())
    return Features(array, sources[0].names, info, sources[0].path)


def _unit_scale(array: np.ndarray, rows: np.ndarray) -> float:
    sample = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), 1000)).round().astype(int))]
    means = np.stack([np.asarray(array[row], np.float32).mean((0, 1)) for row in sample])
    norm = float(np.linalg.norm(means, axis=1).mean())
    return 1.0 / norm if norm > 0 else 1.0


def open_combined(paths: Sequence[str | Path], trained: dict | None = None) -> Features:
    """The features of several folders side by side; with `trained`, a model's feature_info, scaled as in its
    training.

    Raises InputError for features of other CNNs than the model was trained on.
    """
    sources = [open_features(path) for path in paths]
    if trained is None:
        return combine_features(sources)
    if "scales" in trained or len(sources) > 1:
        combined = combine_features(sources, trained.get("scales"))
    else:  # trained on one matrix as it is
        combined = sources[0]
    asked, given = _encoders(trained), _encoders(combined.info)
    if asked and given and asked != given:
        raise InputError(
            f"{' '.join(map(str, paths))}: features of {', '.join(given)}, the model was trained on those of "
            f"{', '.join(asked)}; extract them with the same --encoder"
        )
    return combined


def _encoders(info: dict) -> list[str]:
    """The CNNs that made features; [] where one is not known, as of a user's own matrix."""
    sources = info.get("sources", [info])
    return [source["encoder"] for source in sources] if all("encoder" in source for source in sources) else []
