"""Image folder -> feature matrix of a frozen CNN, one row an image (section 1): the extraction loop.

Interrupted at any moment, the same call goes on. The matrix once made is feature_store.py, the CNN and its
crops feature_extractor.py; their public names are also here.
"""

import errno
import hashlib
import json
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from vse.distributed import find_device
from vse.errors import InputError
from vse.feature_extractor import DEFAULT_ENCODER, CombinedExtractor, FeatureExtractor, configuration, decoded
from vse.feature_store import INFO, MATRIX, NAMES, PROGRESS, Features, combine_features, open_combined

from vse.feature_store import open_features, read_info  # isort: skip
from vse.files import read_json, write_text
from vse.photos import VIEWS, BadPhoto, bad_photos, check_photos
from vse.precision import PRECISIONS, describe_device, resolve_precision

__all__ = [
    "DEFAULT_ENCODER",
    "VIEWS",
    "CombinedExtractor",
    "FeatureExtractor",
    "Features",
    "combine_features",
    "open_combined",
    "extract_features",
    "open_features",
]

PARTIAL = "features.npy.partial"
_FLUSH_EVERY = 8  # batches; a kill costs at most these
_NOT_COMPARED = {"grid", "version"}  # asked_grid says the same


def extract_features(
    paths: Sequence[Path],
    names: Sequence[str],
    encoder: str = DEFAULT_ENCODER,
    out: str | Path = "features",
    *,
    views: Sequence[str] = ("full",),
    grid: int | str = 1,
    batch_size: int = 32,
    skip_bad: bool = False,
    device: str = "cpu",
    precision: str = "auto",
    weights: str | Path | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> Features:
    """The features (float16) of the photos `paths`, called `names`, opened from the folder `out`.

    A folder that is finished is only opened; one that was interrupted goes on where it stopped, to the same
    bits. `skip_bad`: photos that cannot be read are left out and listed in `info["skipped"]` (name ->
    reason); without it they raise InputError, most of them before anything is computed, and the rows done so
    far stay. `workers`: threads that decode photos (None: one a core, 16 at most). The rest as in
    FeatureExtractor; `precision` "auto" takes what is there as it is, and where the machine has no units for
    bfloat16, float32 stands in for it, which is said. Raises InputError for a folder that holds something
    else: another encoder, other views, another list of photos.
    """
    paths, names, out = [Path(path) for path in paths], list(names), Path(out)
    place = find_device(device)
    precision, computed_in = _precisions(out, precision, place)
    config = configuration(encoder, views, grid, precision, weights, seed, place) | _photo_list(paths, names)
    if _is_finished(out, config):
        return open_features(out)
    if computed_in != precision:
        _note(f"{out}: begun in {precision}, which this machine has no units for; goes on in {computed_in}")
    state = _resume(out, config)
    try:
        if not skip_bad:
            check_photos(paths, names, state["done"], workers)
        extractor = FeatureExtractor(
            encoder, views=views, grid=grid, device=device, precision=computed_in, weights=weights, seed=seed,
            batch_size=batch_size,
        )  # fmt: skip
        out.mkdir(parents=True, exist_ok=True)
        if not _only_to_be_sealed(out, state):
            # Pillow warns of oddities that it reads all the same.
            with warnings.catch_warnings(action="ignore", category=UserWarning):
                _fill(extractor, paths, names, out, state, skip_bad, workers, progress)
        _seal(out, names, config | extractor.info | {"precision": precision}, state)
    except OSError as error:
        if error.errno is None:
            raise
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else f"cannot be written ({error.strerror})"
        raise InputError(f"{out}: {reason}; mend that and run again, the rows done are kept") from error
    return open_features(out)


def _precisions(out: Path, asked: str, device: torch.device) -> tuple[str, str]:
    """(what the features of the folder are in, what this call computes in)."""
    here = resolve_precision("auto", device)
    if asked == "bfloat16" != here:
        _note(f"precision bfloat16: {describe_device(device)} has no units for it, float32 is faster and taken")
        asked = "auto"
    progress = read_json(out / PROGRESS).get("config") if (out / PROGRESS).exists() else None
    there = (read_info(out) or (progress if isinstance(progress, dict) else {})).get("precision")
    said = resolve_precision(there if asked == "auto" and there in PRECISIONS else asked, device)
    return said, said if said == "float32" else here


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def _photo_list(paths: list[Path], names: list[str]) -> dict:
    """What identifies the list of photos. Raises InputError for one that cannot be stored."""
    if len(paths) != len(names) or not names:
        raise InputError(
            f"{len(paths)} photos with {len(names)} names: expected one or more, each with its name"
        )
    seen: set[str] = set()
    for name in names:
        if name in seen or not name.strip():
            raise InputError(f"image name {name!r}: expected each name once, and none empty")
        if "\n" in name or "\r" in name or not name.isascii() and not _is_utf8(name):
            raise InputError(f"image name {name!r}: expected one line of UTF-8; rename the file")
        seen.add(name)
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
    return {"photos": len(names), "names_sha256": digest}


def _is_utf8(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:  # Python's stand-ins for the bytes of another encoding in a file name
        return False


# --- the folder: new, half done, finished ---------------------------------------------------------------


def _is_finished(out: Path, config: dict) -> bool:
    """True for a folder that holds what `config` asks for. Raises InputError when it holds something else."""
    info = read_info(out)
    if info:
        if info.get("grid") == info.get("map_size") and config["asked_grid"] in (0, info["grid"]):
            info["asked_grid"] = config["asked_grid"]  # the whole map, asked for by its size or as 0
        _require_same(out, info, config)
        (out / PROGRESS).unlink(missing_ok=True)
    elif (out / MATRIX).exists() and not (out / PROGRESS).exists():
        raise InputError(
            f"{out} holds a {MATRIX} that was not extracted here: choose another folder with --out"
        )
    return bool(info)


def _require_same(out: Path, there: dict, config: dict) -> None:
    if config["weights_sha256"]:  # a weights file may have moved
        there = there | {"weights": config["weights"]}
    for key in sorted(config.keys() - _NOT_COMPARED):
        if there.get(key) != config[key]:
            what = "list of photos" if key in ("photos", "names_sha256") else key.removeprefix("asked_")
            values = "" if key == "names_sha256" else f" ({there.get(key)} there, {config[key]} asked for)"
            raise InputError(
                f"{out} has features with another {what}{values}: choose another --out or delete it"
            )


def _resume(out: Path, config: dict) -> dict:
    """The state of an interrupted extraction, or a new one."""
    if (out / PROGRESS).exists():
        state = read_json(out / PROGRESS)
        _require_same(out, state.get("config", {}), config)
        return state
    return {"config": config, "done": 0, "skipped": {}}


def _only_to_be_sealed(out: Path, state: dict) -> bool:
    """True if the kill came after the renaming of the full matrix, before features.json was written."""
    done = state["done"] == state["config"]["photos"]
    return done and not (out / PARTIAL).exists() and (out / MATRIX).exists()


# --- the loop -------------------------------------------------------------------------------------------


def _fill(
    extractor: FeatureExtractor,
    paths: list[Path],
    names: list[str],
    out: Path,
    state: dict,
    skip_bad: bool,
    workers: int | None,
    progress: bool,
) -> None:
    """Writes the rows that are missing into out/PARTIAL and keeps `state` on disk in step, never ahead."""
    matrix = _open_partial(out, extractor, state)
    start = warm = state["done"], time.perf_counter()
    bar = tqdm(
        total=len(paths),
        initial=start[0],
        unit=" images",
        desc=extractor.info["encoder"],
        disable=not progress,
    )
    try:
        with bar:
            for batch, (first, photos) in enumerate(decoded(extractor, paths, start[0], workers)):
                bad = {names[first + i]: p.reason for i, p in enumerate(photos) if isinstance(p, BadPhoto)}
                if bad and not skip_bad:
                    raise bad_photos(bad, len(paths))
                matrix[first : first + len(photos)] = _as_float16(
                    extractor.encode_batch(photos), names[first:]
                )
                state["skipped"].update(bad)
                state["done"] = first + len(photos)
                bar.update(len(photos))
                if batch == 0:  # the first batch compiles the CNN
                    warm = state["done"], time.perf_counter()
                elif batch % _FLUSH_EVERY == 0:
                    _save(out, matrix, state)
    finally:
        photos, begin = warm if state["done"] > warm[0] else start
        if state["done"] > photos:
            state["images_per_second"] = round((state["done"] - photos) / (time.perf_counter() - begin), 2)
        _save(out, matrix, state)


def _open_partial(out: Path, extractor: FeatureExtractor, state: dict) -> np.memmap:
    """The matrix being filled, (photos, v, r, d) float16; a new one unless `state` has rows in it."""
    info, path = extractor.info, out / PARTIAL
    shape = (state["config"]["photos"], len(info["views"]), info["grid"] ** 2, extractor.feature_dim)
    if state["done"] and path.exists():
        matrix = np.lib.format.open_memmap(path, mode="r+")
        if matrix.shape == shape:
            return matrix
    state |= {"done": 0, "skipped": {}}
    write_text(out / PROGRESS, json.dumps(state))
    return _new_matrix(path, shape)


def _new_matrix(path: Path, shape: tuple[int, ...]) -> np.memmap:
    matrix = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    if hasattr(os, "posix_fallocate"):  # a full disk says so now, instead of killing the process at some page
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return matrix


def _as_float16(features: np.ndarray, names: list[str]) -> np.ndarray:
    with np.errstate(over="ignore"):
        halves = features.astype(np.float16)
    finite = np.isfinite(halves).reshape(len(halves), -1).all(1)
    if not finite.all():
        raise InputError(
            f"{names[int(np.argmin(finite))]}: values that float16 cannot hold; check the weights of the CNN"
        )
    return halves


def _save(out: Path, matrix: np.memmap, state: dict) -> None:
    matrix.flush()  # the rows first: what progress.json promises must be there
    write_text(out / PROGRESS, json.dumps(state))


def _seal(out: Path, names: list[str], info: dict, state: dict) -> None:
    """Turns the filled matrix into a finished folder; each step can be repeated, features.json is last."""
    skipped, partial = state["skipped"], out / PARTIAL
    kept = [row for row, name in enumerate(names) if name not in skipped]
    if not kept:
        partial.unlink(missing_ok=True)
        (out / PROGRESS).unlink(missing_ok=True)  # so that the next run looks at repaired photos
        raise InputError(
            f"none of the {len(names):,} photos can be read, the first is {names[0]} ({skipped[names[0]]})"
        )
    write_text(out / NAMES, "".join(f"{names[row]}\n" for row in kept))
    if partial.exists() and skipped:
        _without_rows(partial, out / MATRIX, kept)
        partial.unlink()
    elif partial.exists():
        os.replace(partial, out / MATRIX)
    info = info | {"skipped": skipped, "images_per_second": state.get("images_per_second", 0.0)}
    write_text(out / INFO, json.dumps(info, indent=2, ensure_ascii=False) + "\n")
    (out / PROGRESS).unlink(missing_ok=True)


def _without_rows(source: Path, target: Path, kept: list[int]) -> None:
    """Writes the matrix `target` with the rows `kept` of `source`, atomically."""
    matrix = np.load(source, mmap_mode="r", allow_pickle=False)
    temporary = target.with_name(f".{target.name}.tmp")
    smaller = _new_matrix(temporary, (len(kept), *matrix.shape[1:]))
    for start in range(0, len(kept), 1024):
        smaller[start : start + 1024] = matrix[kept[start : start + 1024]]
    smaller.flush()
    os.replace(temporary, target)
