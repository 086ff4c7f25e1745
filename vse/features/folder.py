"""The folder that an extraction fills: new, half done, finished; each step on disk can be repeated (section 1).

One process writes in it at a time (files.locked is the caller's). Knows no CNN and no pixels.
Axes: n photos, v views, r regions, d feature_dim.
"""

import contextlib
import os
from pathlib import Path

import numpy as np

from vse.features.info import INFO, check_progress, read_info
from vse.features.matrix import open_matrix
from vse.features.store import MATRIX, NAMES, PROGRESS
from vse.system.errors import InputError
from vse.system.files import json_text, read_json, sha256_of, write_text

PARTIAL = "features.npy.partial"
_NOT_COMPARED = {"grid", "version"}  # asked_grid says the same


def is_finished(out: Path, config: dict) -> bool:
    """True for a folder that holds what `config` asks for. Raises InputError when it holds something else."""
    info = read_info(out)
    if info:
        if info.get("grid") == info.get("map_size") and config["asked_grid"] in (0, info.get("grid")):
            info["asked_grid"] = config["asked_grid"]  # the whole map, asked for by its size or as 0
        _require_same(out, info, config)
        with contextlib.suppress(OSError):  # left by a kill; stays where nobody may write
            (out / PROGRESS).unlink(missing_ok=True)
    elif (out / MATRIX).exists() and not (out / PROGRESS).exists():
        raise InputError(f"{out} holds a {MATRIX} that was not extracted here: choose another folder with --out")
    return bool(info)


def _require_same(out: Path, there: dict, config: dict) -> None:
    if config["weights_sha256"]:  # a weights file may have moved
        there = there | {"weights": config["weights"]}
    for key in sorted(config.keys() - _NOT_COMPARED):
        if there.get(key) != config[key]:
            what = "list of photos" if key in ("photos", "names_sha256") else key.removeprefix("asked_")
            values = "" if key == "names_sha256" else f" ({there.get(key)} there, {config[key]} asked for)"
            raise InputError(f"{out} has features with another {what}{values}: choose another --out or delete it")


def resume(out: Path, config: dict) -> dict:
    """The state of an interrupted extraction, or a new one. Raises InputError for another one's or a damaged one."""
    if (out / PROGRESS).exists():
        state = check_progress(read_json(out / PROGRESS), out / PROGRESS)
        _require_same(out, state["config"], config)
        return {"zeros": []} | state
    return {"config": config, "done": 0, "skipped": {}, "zeros": []}


def only_to_be_sealed(out: Path, state: dict) -> bool:
    """True if the kill came after the renaming of the full matrix, before features.json was written."""
    done = state["done"] == state["config"]["photos"]
    return done and not (out / PARTIAL).exists() and (out / MATRIX).exists()


def open_partial(out: Path, shape: tuple[int, int, int, int], state: dict, names: list[str]) -> np.memmap:
    """The matrix being filled, (n, v, r, d) float16; a new one unless `state` has rows in it.

    Rows that were promised and are empty (a power cut, a copy cut short) are computed again.
    """
    path = out / PARTIAL
    if state["done"] and path.exists():
        with contextlib.suppress(InputError):  # damaged: begun anew
            there = open_matrix(path)
            if there.shape == shape and there.dtype == np.float16:
                matrix = np.lib.format.open_memmap(path, mode="r+")
                empty = _never_written(matrix[: state["done"]], range(state["done"]), names, state)
                if empty:
                    state["done"] = empty[0]
                    state["zeros"] = [row for row in state["zeros"] if row < empty[0]]
                    before = set(names[: empty[0]])
                    state["skipped"] = {n: why for n, why in state["skipped"].items() if n in before}
                return matrix
    state |= {"done": 0, "skipped": {}, "zeros": []}
    write_text(out / PROGRESS, json_text(state))
    return _new_matrix(path, shape)


def _never_written(matrix: np.ndarray, rows: range | list[int], names: list[str], state: dict) -> list[int]:
    """Which photos of `rows`, in the order of the matrix, have nothing but zeros that their features are not."""
    known, empty = set(state["zeros"]), []
    for start in range(0, len(matrix), 256):
        zeros = np.flatnonzero(~matrix[start : start + 256].any((1, 2, 3)))
        empty += [rows[start + int(i)] for i in zeros]
    return [row for row in empty if row not in known and names[row] not in state["skipped"]]


def _new_matrix(path: Path, shape: tuple[int, ...]) -> np.memmap:
    matrix = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    if hasattr(os, "posix_fallocate"):  # a full disk says so now, instead of killing the process at some page
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return matrix


def save(out: Path, matrix: np.memmap, state: dict) -> None:
    """Brings the rows and then how far they are to the disk: what progress.json promises must be there."""
    matrix.flush()
    write_text(out / PROGRESS, json_text(state))


def seal(out: Path, names: list[str], info: dict, state: dict) -> None:
    """Turns the filled matrix into a finished folder; each step can be repeated, features.json is last.

    Raises InputError where no photo could be read, and where a row was never written.
    """
    skipped, partial = state["skipped"], out / PARTIAL
    rows = [row for row, name in enumerate(names) if name not in skipped]
    if not rows:
        partial.unlink(missing_ok=True)
        (out / PROGRESS).unlink(missing_ok=True)  # so that the next run looks at repaired photos
        raise InputError(
            f"none of the {len(names):,} photos can be read, the first is {names[0]} ({skipped[names[0]]})"
        )
    write_text(out / NAMES, "".join(f"{names[row]}\n" for row in rows))
    if partial.exists() and skipped:
        _without_rows(partial, out / MATRIX, rows)
        partial.unlink()
    elif partial.exists():
        os.replace(partial, out / MATRIX)
    empty = rows
    with contextlib.suppress(InputError):  # damaged: as good as never written
        matrix = open_matrix(out / MATRIX)
        if matrix.ndim == 4 and len(matrix) == len(rows):
            empty = _never_written(matrix, rows, names, state)
    if empty:
        (out / PROGRESS).unlink(missing_ok=True)
        (out / MATRIX).unlink()
        raise InputError(f"{out}: the row of {names[empty[0]]} was never written; run the same command again")
    info = info | {"skipped": skipped, "images_per_second": state.get("images_per_second", 0.0)}
    info |= {"shape": list(matrix.shape[1:]), "names_file_sha256": sha256_of(out / NAMES)}
    info["matrix_sha256"] = sha256_of(out / MATRIX)
    write_text(out / INFO, json_text(info, indent=2) + "\n")
    (out / PROGRESS).unlink(missing_ok=True)


def _without_rows(source: Path, target: Path, rows: list[int]) -> None:
    """Writes the matrix `target` with only these `rows` of `source`, atomically."""
    matrix = np.load(source, mmap_mode="r", allow_pickle=False)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        smaller = _new_matrix(temporary, (len(rows), *matrix.shape[1:]))
        for start in range(0, len(rows), 1024):
            smaller[start : start + 1024] = matrix[rows[start : start + 1024]]
        smaller.flush()
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
