"""A feature matrix on disk: opened as a memory map, what made it, and its rows matched to images by name
(section 1).

DIR/features.npy (N, V, R, D), DIR/names.txt one image name a line, DIR/features.json what made it. A user's
own matrix needs only the first two; matrix.as_views_and_regions says which shapes. Writes no features;
several side by side are side_by_side.py. Axes: N images, V stored views (crops), R regions of the feature
map in row-major order, D feature_dim.
"""

import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int

from vse.data.datasets import Dataset
from vse.features.info import INFO, check_progress, read_info
from vse.features.matrix import SideBySide, as_views_and_regions, check_finite, open_matrix, read_names
from vse.system.errors import InputError
from vse.system.files import read_json, sha256_of

MATRIX, NAMES, PROGRESS = "features.npy", "names.txt", "progress.json"
_CHECKED_AT_OPENING = 2**30  # bytes; a larger matrix is checked when its rows are taken


@dataclass(frozen=True)
class Features:
    """An opened feature matrix: `array` (N, V, R, D), the images' names in row order, and what made it.

    `info` is features.json; for a user's own matrix its "shape" (V, R, D) alone.
    `FeatureExtractor.from_info(info)` treats new photos alike.
    """

    array: np.ndarray | SideBySide
    names: tuple[str, ...]
    info: dict = field(default_factory=dict)
    path: Path | None = None
    note: str = ""  # how a user's own array was read, where its shape had to tell

    def rows(self, names: Sequence[str]) -> Int[np.ndarray, " n"]:
        """The row number of each name: the same name, or the only one that differs by its writing alone (composed
        or decomposed accents, slashes), or else the only one with the same base name.

        Raises InputError with the first missing name and with how many there are.
        """
        rows = self.find(names)
        missing = list(dict.fromkeys(name for name, row in zip(names, rows, strict=True) if row < 0))
        if missing:
            total = len(set(names))
            raise InputError(
                f"{self.path or 'features'} has no row for {len(missing):,} of the {total:,} images that are needed: "
                f"{len(missing):,} missing, first {missing[0][:200]}{self._hint(missing[0])}; extract these photos"
            )
        return rows

    def find(self, names: Sequence[str]) -> Int[np.ndarray, " n"]:
        """`rows`, with -1 for what is missing."""
        return _match(self.names, names)

    def _hint(self, missing: str) -> str:
        """What the row of a missing name may be called."""
        stem = _stem(missing)
        near = [name for name in self.names if _stem(name) == stem][:1]
        if near:
            return f" (there is a row called {near[0][:200]}: rename it)"
        reason = self.skipped().get(missing)
        return f" (left out when the features were made: {reason})" if reason else ""

    def skipped(self) -> dict[str, str]:
        """The images that were left out when the features were made, with the reason; of all sources."""
        sources = self.info.get("sources", [self.info])
        return {name: why for source in sources for name, why in source.get("skipped", {}).items()}

    def take(self, names: Sequence[str]) -> np.ndarray:
        """The rows of these images in memory, (n, V, R, D), in their stored precision. Raises InputError as
        `rows` does, and for a value that is not finite."""
        array = np.ascontiguousarray(self.array[self.rows(names)])
        check_finite(array, names, self.path)
        return array

    def describe(self) -> str:
        """One line for people: shape, encoder, speed, and the photos that were left out with the reason."""
        n, v, r, d = self.array.shape
        line = f"{n:,} images x {v} views x {r} regions x {d:,}, {_encoder(self.info)}"
        if self.note:
            line += f" ({self.note})"
        if self.info.get("images_per_second"):
            line += f", {self.info['images_per_second']:.1f} images/s"
        skipped = self.skipped()
        return line + (f"; {len(skipped)} skipped: {_with_reasons(skipped)}" if skipped else "")


def _encoder(info: dict) -> str:
    if "sources" in info:
        return " + ".join(_encoder(source) for source in info["sources"])
    return info.get("encoder", "a user's own matrix")


def _with_reasons(skipped: dict[str, str]) -> str:
    told = ", ".join(f"{name} ({why})" for name, why in list(skipped.items())[:5])
    return told + (", ..." if len(skipped) > 5 else "")


# --- names ----------------------------------------------------------------------------------------------


def _match(stored: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """The index in `stored` of each name, -1 where there is none or a doubt."""
    index = {name: i for i, name in enumerate(stored)}
    rows = [index.get(name, -1) for name in names]
    for key in (_written_alike, _base_name):
        if -1 in rows:
            _fill(stored, names, rows, key)
    return np.array(rows, np.int64)


def _fill(stored: Sequence[str], names: Sequence[str], rows: list[int], key: Callable[[str], str]) -> None:
    """Sets the rows that are -1 where the key of a name leaves no doubt on either side."""
    keys = [key(name) for name in stored]
    times, requests = Counter(keys), Counter(map(key, set(names)))
    row_of = {k: row for row, k in enumerate(keys) if times[k] == 1}
    for i, name in enumerate(names):
        if rows[i] < 0 and requests[key(name)] == 1:
            rows[i] = row_of.get(key(name), -1)


def _written_alike(name: str) -> str:
    """A name with composed accents (macOS stores decomposed ones), forward slashes, and no ./ before it."""
    return unicodedata.normalize("NFC", name).replace("\\", "/").removeprefix("./")


def _base_name(name: str) -> str:
    return PurePosixPath(_written_alike(name)).name


def _stem(name: str) -> str:
    return PurePosixPath(_base_name(name).strip().lower()).stem


def without_skipped(dataset: Dataset, features: Features) -> Dataset:
    """`dataset` without the images that were left out when the features were made (`--skip-bad`), and a note of them.

    The note is also printed, on the error output. Images that are missing for no known reason stay: `Features.rows`
    refuses them.
    """
    skipped = features.skipped()
    if not skipped:
        return dataset
    left_out = (features.find(dataset.images) < 0) & (_match(tuple(skipped), dataset.images) >= 0)
    if not left_out.any():
        return dataset
    smaller = dataset.select(~left_out)
    names = [name for name, bad in zip(dataset.images, left_out.tolist(), strict=True) if bad]
    why = list(skipped.values())
    reasons = {name: why[row] for name, row in zip(names, _match(tuple(skipped), names).tolist(), strict=True)}
    note = (
        f"{len(names):,} of {len(dataset.images):,} images have no features (left out with --skip-bad) and are left "
        f"out with their {len(dataset.captions) - len(smaller.captions):,} captions: {_with_reasons(reasons)}"
    )
    print(f"note: {note}", file=sys.stderr)
    return replace(smaller, notes=(*smaller.notes, note))


# --- opening --------------------------------------------------------------------------------------------


def open_features(path: str | Path, *, check: bool | None = None) -> Features:
    """The features in a folder, or in a .npy or .npz file with its names in a .txt beside it, as a memory map.

    `check`: look at every value now (None: up to 1 GB). Raises InputError for what is missing, half-written, changed
    since it was made, of another shape or type, with NaN or infinite values, with names that are not unique or not
    as many as the rows. How an own array of more than two axes was read is said on the error output.
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
        raise InputError(f"{path}: no such folder of features and no such .npy file; make it with `vse features`")
    array, note = as_views_and_regions(open_matrix(matrix), matrix, bool(info.keys() & {"encoder", "views"}))
    names = read_names(names_file)
    if len(names) != len(array):
        raise InputError(f"{matrix} has {len(array):,} rows, {names_file.name} {len(names):,} names: expected as many")
    _require_fitting(array, info, matrix)
    _require_unchanged(names_file, info, "names_file_sha256", "which row belongs to which image")
    if check or (check is None and array.nbytes <= _CHECKED_AT_OPENING):
        _require_unchanged(matrix, info, "matrix_sha256", "the numbers")
        check_finite(array, names, matrix)
    if note:
        print(f"note: {matrix}: {note}", file=sys.stderr)
    return Features(array, names, info | {"shape": list(array.shape[1:])}, path, note)


def _refuse_half_done(folder: Path) -> None:
    progress = folder / PROGRESS
    if progress.exists() and not (folder / INFO).exists():
        state = check_progress(read_json(progress), progress)
        raise InputError(
            f"{folder}: extracted only {state['done']:,} of {state['config']['photos']:,} photos; "
            "run the same `vse features` command again to go on"
        )
    if not (folder / MATRIX).exists():
        raise InputError(f"{folder}: no {MATRIX} in it; make it with `vse features`")


def _require_fitting(array: np.ndarray, info: dict, matrix: Path) -> None:
    """Raises InputError where features.json tells of another matrix than the one beside it."""
    _, v, r, d = array.shape
    for what, told, there in (
        ("views", len(info["views"]) if "views" in info else v, v),
        ("regions", info["grid"] ** 2 if info.get("grid") else r, r),
        ("numbers a region", info.get("feature_dim", d), d),
    ):
        if told != there:
            raise InputError(
                f"{matrix}: {there:,} {what}, its {INFO} says {told:,}: one of the two is not from this extraction; "
                "restore it, or extract again into another folder"
            )


def _require_unchanged(file: Path, info: dict, key: str, what: str) -> None:
    if info.get(key) and sha256_of(file) != info[key]:
        raise InputError(
            f"{file}: changed since it was made, and it says {what}: restore it or extract again; if you changed it "
            f'yourself, delete the line "{key}" of {INFO}'
        )
