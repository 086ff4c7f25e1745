"""A matrix of features and the list of its rows' names, read strictly from files (section 1).

A header is believed only where the file is as long as it says. Knows no CNN and not what made the numbers.
Axes: N images, V stored views (crops), R regions of the feature map in row-major order, D feature_dim.
"""

import io
import math
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vse.system.errors import InputError

_TYPES = ("float16", "float32", "float64")
_LARGEST_ARCHIVE = 2**32  # bytes of an array in a .npz
_LARGEST_MAP = 64  # regions a side of a CNN's feature map
_FEWEST_CHANNELS = 32  # of a CNN's feature map, where its side alone does not tell


class SideBySide:
    """Several (N_i, V_i, R_i, D_i) memory maps read as one float16 (N, V, R, sum D) array, nothing copied
    before.

    `array[rows]` (one number, a slice, a list, a mask) gives a NumPy array, and so does `np.asarray(array)`.
    """

    dtype, ndim = np.dtype(np.float16), 4

    def __init__(self, arrays: Sequence[np.ndarray], rows: Sequence[np.ndarray], scales: Sequence[float]):
        """`rows[i]`: the row of `arrays[i]` for each row of the whole; `scales[i]` multiplies `arrays[i]`."""
        self._sources = list(zip(arrays, rows, scales, strict=True))
        shapes = [array.shape for array in arrays]
        views, regions = (max(shape[axis] for shape in shapes) for axis in (1, 2))
        self.shape = (len(rows[0]), views, regions, sum(shape[3] for shape in shapes))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index) -> np.ndarray:
        index, rest = (index[0], index[1:]) if isinstance(index, tuple) else (index, ())
        positions = np.arange(len(self))[index]
        rows = np.atleast_1d(positions)
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for first in range(0, len(rows), 256):  # float32 copies of a block, not of everything
            block, start = rows[first : first + 256], 0
            for array, own_rows, scale in self._sources:
                end = start + array.shape[3]
                values = np.asarray(array[own_rows[block]], np.float32) * np.float32(scale)
                with np.errstate(over="ignore"):  # infinite: Features.take says whose row it is
                    out[first : first + 256, ..., start:end] = values
                start = end
        return out[(slice(None), *rest)] if positions.ndim else out[0][rest]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)


def open_matrix(path: Path) -> np.ndarray:
    """The array of numbers in a .npy file, as a memory map, or the only one in a .npz file. Raises InputError."""
    try:
        with path.open("rb") as file:
            if file.read(2) == b"PK":
                return _read_archive(path)
            file.seek(0)
            shape, fortran_order, dtype = _read_header(file, path)
            offset = file.tell()
        _check_length(path, shape, dtype, path.stat().st_size - offset)
        return np.memmap(path, dtype, "r", offset, shape, "F" if fortran_order else "C")
    except (OSError, ValueError, EOFError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise _no_matrix(path, str(error) or type(error).__name__) from None


def _no_matrix(path: Path, reason: str) -> InputError:
    return InputError(f"{path}: not a NumPy .npy file of numbers ({' '.join(reason.split())[:200]})")


def _read_archive(path: Path) -> np.ndarray:
    """The only array of a .npz file, in memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) != 1 or not members[0].filename.endswith(".npy"):
                raise InputError(
                    f"{path}: an .npz archive with {len(members)} files, expected one array; "
                    "save the features alone with np.save"
                )
            with archive.open(members[0]) as file:
                shape, fortran_order, dtype = _read_header(file, path)
                _check_length(path, shape, dtype, members[0].file_size - file.tell())
                if members[0].file_size > _LARGEST_ARCHIVE:
                    raise InputError(
                        f"{path}: {members[0].file_size:,} bytes in an .npz archive must be unpacked in memory; "
                        "save the array with np.save, which is read from the disk piece by piece"
                    )
                content = file.read()
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, MemoryError) as error:
        raise _no_matrix(path, str(error)) from None
    except Exception as error:  # each compression has its own for damaged content
        if isinstance(error, (InputError, OSError)):
            raise
        raise _no_matrix(path, str(error)) from None
    _check_length(path, shape, dtype, len(content))
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran_order else "C")


def _read_header(file: io.BufferedIOBase, path: Path) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, whether columns come first, type) of a .npy file. Raises InputError for types that are no numbers."""
    try:
        version = np.lib.format.read_magic(file)
        read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[version[0]]
        shape, fortran_order, dtype = read(file)
    except Exception as error:  # the header is a Python literal: whatever its parser may raise
        reason = str(error) or type(error).__name__
        raise _no_matrix(path, reason) from None
    if dtype.hasobject:
        raise _no_matrix(path, "Python objects, which are never loaded")
    if dtype.fields or dtype.subdtype or dtype.name not in _TYPES or not dtype.isnative:
        kind = dtype.str if dtype.name in _TYPES else str(dtype)
        raise InputError(
            f"{path}: values of type {kind[:60]}, expected {', '.join(_TYPES[:2])} or {_TYPES[2]}; "
            "save array.astype(np.float32)"
        )
    if not all(type(length) is int and length >= 0 for length in shape) or len(shape) > 16:
        raise _no_matrix(path, f"shape {str(shape)[:100]}")
    return shape, fortran_order, dtype


def _check_length(path: Path, shape: tuple[int, ...], dtype: np.dtype, length: int) -> None:
    if 0 in shape:
        raise InputError(f"{path}: shape {shape}: expected one row or more, and one number or more in each")
    expected = math.prod(shape) * dtype.itemsize
    if length != expected:
        shape = str(shape)[:100]
        raise _no_matrix(
            path, f"its header says {shape}, {expected:,} bytes, there are {length:,}: save or copy it again"
        )


# --- axes -----------------------------------------------------------------------------------------------


def as_views_and_regions(array: np.ndarray, path: Path, declared: bool) -> tuple[np.ndarray, str]:
    """(the array as (N, V, R, D), how it was read in words, "" where there was nothing to decide).

    `declared`: its features.json says what the axes are. For a user's own array the shape must tell: (N, D);
    (N, R, D); (N, V, R, D) with V = 1, or R a square other than V; a CNN's map (N, D, H, H), or (N, H, H, D)
    where H is no square, whose H * H places become regions. Axes of 1 at the end are dropped.
    Raises InputError for what might be something else.
    """
    shape = array.shape
    if declared:
        if len(shape) == 2:
            return array[:, None, None], ""
        if len(shape) == 4:
            return array, ""
        raise InputError(f"{path}: shape {shape}, expected (images, views, regions, D) beside a features.json")
    while array.ndim > 2 and array.shape[-1] == 1:
        array = array[..., 0]
    read = {2: _vectors, 3: _regions, 4: _four_axes}.get(array.ndim)
    if read is None:
        raise InputError(
            f"{path}: shape {shape}, expected (images, D), (images, regions, D) or (images, views, regions, D)"
        )
    array = read(array, path)
    n, v, r, d = array.shape
    told = f"shape {shape} read as {n:,} images x {v} views x {r} regions x {d:,} features"
    return array, told if len(shape) > 2 else ""


def _vectors(array: np.ndarray, path: Path) -> np.ndarray:
    return array[:, None, None]


def _regions(array: np.ndarray, path: Path) -> np.ndarray:
    _, r, d = array.shape
    if r > d:
        raise _unclear(array, path, f"{r} regions of {d} features, or {r} features of {d} regions", "(0, 2, 1)")
    return array[:, None]


def _four_axes(array: np.ndarray, path: Path) -> np.ndarray:
    n, a, b, c = array.shape
    if a == 1:
        return array
    if b == c and b <= _LARGEST_MAP and a > b and (a >= _FEWEST_CHANNELS or math.isqrt(b) ** 2 != b):
        return array.reshape(n, a, b * c).transpose(0, 2, 1)[:, None]  # (N, D, H, H)
    if a == b and a <= _LARGEST_MAP and c > a and math.isqrt(b) ** 2 != b:
        return array.reshape(n, 1, a * b, c)  # (N, H, H, D)
    if c < max(a, b):
        raise _unclear(array, path, f"a map of {a} channels, or {a} views x {b} regions of {c}", "(0, 2, 3, 1)")
    if math.isqrt(b) ** 2 != b or b == c or a == b:
        raise _unclear(array, path, f"{a} views x {b} regions, or a map of {a} x {b} places", "")
    return array


def _unclear(array: np.ndarray, path: Path, meanings: str, order: str) -> InputError:
    n, d = array.shape[0], array.shape[-1]
    turned = f"array.transpose{order}" if order else "array"
    reshaped = f"{turned}.reshape({n}, 1, -1, {array.shape[1] if order else d})"
    return InputError(
        f"{path}: shape {array.shape} may be {meanings}: save {reshaped} where it is one view of regions, "
        'or in a folder with features.json {"views": [a name for each view]} where it is (images, views, regions, D)'
    )


# --- values and names -----------------------------------------------------------------------------------


def check_finite(array: np.ndarray | SideBySide, names: Sequence[str], path: Path | None) -> None:
    """Raises InputError with the first image that has a NaN, an infinite value or one that float32 cannot hold."""
    rows = max(1, 2**24 // (array[:1].nbytes or 1))  # 16 MB at a time
    for start in range(0, len(array), rows):
        with np.errstate(over="ignore"):
            finite = np.isfinite(array[start : start + rows].astype(np.float32, copy=False))
        if not finite.all():
            bad = start + np.flatnonzero(~finite.reshape(len(finite), -1).all(1))
            raise InputError(
                f"{path or 'features'}: a value that is NaN or infinite in the row of {names[bad[0]]}; "
                "extract that photo again or leave it out"
            )


def read_names(path: Path) -> tuple[str, ...]:
    """The image names of a text, one a line; a byte order mark and Windows' line ends are no part of them.

    Raises InputError.
    """
    try:
        names = [line.rstrip("\r") for line in path.read_bytes().decode("utf-8-sig").split("\n")]
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; rows are matched by name: one image name a line, in row order"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected one image name a line") from None
    while names and not names[-1]:
        names.pop()
    check_unique(names, path)
    return tuple(names)


def check_unique(names: Sequence[str], path: Path) -> None:
    """Raises InputError for a name that is empty or there twice."""
    if "" in names:
        raise InputError(f"{path}: line {names.index('') + 1} is empty; expected one image name a line, in row order")
    if len(set(names)) < len(names):
        twice, times = Counter(names).most_common(1)[0]
        raise InputError(f"{path}: {twice!r} is there {times} times; each image has one name and one row")
