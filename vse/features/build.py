"""Image folder -> feature matrix of a frozen CNN, one row an image (section 1): the extraction loop.

Interrupted at any moment, the same call goes on. What is on disk meanwhile is folder.py, the matrix
once made store.py, the CNN and its crops extractor.py.
"""

import contextlib
import errno
import hashlib
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from vse.data.photos import BadPhoto, bad_photos, check_photos
from vse.features import folder
from vse.features.extractor import DEFAULT_ENCODER, FeatureExtractor, configuration, decoded
from vse.features.info import read_info
from vse.features.store import PROGRESS, Features, open_features
from vse.system.device import find_device
from vse.system.errors import InputError
from vse.system.files import locked, read_json
from vse.system.precision import PRECISIONS, describe_device, resolve_precision

_FLUSH_EVERY = 8  # batches; a kill costs at most these


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
    if folder.is_finished(out, config):
        return open_features(out)
    made_here = not out.exists()
    try:
        with locked(out):
            if not folder.is_finished(out, config):  # by another process, just now
                _extract(paths, names, out, config, computed_in, place, batch_size, skip_bad, workers, progress)
    except OSError as error:
        if error.errno is None:
            raise
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else f"cannot be written ({error.strerror})"
        raise InputError(f"{out}: {reason}; mend that and run again, the rows done are kept") from error
    finally:
        if made_here:
            with contextlib.suppress(OSError):  # not empty: something was done
                out.rmdir()
    return open_features(out)


def _extract(
    paths: list[Path],
    names: list[str],
    out: Path,
    config: dict,
    computed_in: str,
    device: torch.device,
    batch_size: int,
    skip_bad: bool,
    workers: int | None,
    progress: bool,
) -> None:
    """Makes or finishes the features of a folder that this process has locked."""
    if computed_in != config["precision"]:
        _note(f"{out}: begun in {config['precision']}, which this machine has no units for; goes on in {computed_in}")
    state = folder.resume(out, config)
    if not skip_bad:
        check_photos(paths, names, state["done"], workers)
    extractor = FeatureExtractor(
        config["encoder"], views=config["views"], grid=config["grid"], device=str(device), precision=computed_in,
        weights=config["weights"], seed=config["seed"], batch_size=batch_size,
    )  # fmt: skip
    if not folder.only_to_be_sealed(out, state):
        # Pillow warns of oddities that it reads all the same.
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            _fill(extractor, paths, names, out, state, skip_bad, workers, progress)
    folder.seal(out, names, config | extractor.info | {"precision": config["precision"]}, state)


def _precisions(out: Path, requested: str, device: torch.device) -> tuple[str, str]:
    """(what the features of the folder are in, what this call computes in)."""
    here = resolve_precision("auto", device)
    if requested == "bfloat16" != here:
        _note(f"precision bfloat16: {describe_device(device)} has no units for it, float32 is faster and taken")
        requested = "auto"
    progress = read_json(out / PROGRESS).get("config") if (out / PROGRESS).exists() else None
    there = (read_info(out) or (progress if isinstance(progress, dict) else {})).get("precision")
    precision = resolve_precision(there if requested == "auto" and there in PRECISIONS else requested, device)
    return precision, precision if precision == "float32" else here


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def _photo_list(paths: list[Path], names: list[str]) -> dict:
    """What identifies the list of photos. Raises InputError for one that cannot be stored."""
    if len(paths) != len(names) or not names:
        raise InputError(f"{len(paths)} photos with {len(names)} names: expected one or more, each with its name")
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
    info = extractor.info
    shape = (len(paths), len(info["views"]), info["grid"] ** 2, extractor.feature_dim)
    matrix = folder.open_partial(out, shape, state, names)
    start = warm = state["done"], time.perf_counter()
    bar = tqdm(
        total=len(paths),
        initial=start[0],
        unit=" images",
        desc=info["encoder"],
        disable=not progress,
    )
    try:
        with bar:
            for batch, (first, photos) in enumerate(decoded(extractor, paths, start[0], workers)):
                bad = {names[first + i]: p.reason for i, p in enumerate(photos) if isinstance(p, BadPhoto)}
                if bad and not skip_bad:
                    raise bad_photos(bad, len(paths))
                rows = _as_float16(extractor.encode_batch(photos), names[first:])
                matrix[first : first + len(photos)] = rows
                state["skipped"].update(bad)
                state["zeros"] += [first + int(i) for i in np.flatnonzero(~rows.any((1, 2, 3)))]
                state["done"] = first + len(photos)
                bar.update(len(photos))
                if batch == 0:  # the first batch compiles the CNN
                    warm = state["done"], time.perf_counter()
                elif batch % _FLUSH_EVERY == 0:
                    folder.save(out, matrix, state)
    finally:
        photos, begin = warm if state["done"] > warm[0] else start
        if state["done"] > photos:
            state["images_per_second"] = round((state["done"] - photos) / (time.perf_counter() - begin), 2)
        folder.save(out, matrix, state)


def _as_float16(features: np.ndarray, names: list[str]) -> np.ndarray:
    with np.errstate(over="ignore"):
        halves = features.astype(np.float16)
    finite = np.isfinite(halves).reshape(len(halves), -1).all(1)
    if not finite.all():
        raise InputError(
            f"{names[int(np.argmin(finite))]}: values that float16 cannot hold; check the weights of the CNN"
        )
    return halves
