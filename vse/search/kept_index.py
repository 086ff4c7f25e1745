"""An index that is kept on disk between searches: only what is new or changed is encoded, and a kill costs little.

It lies in the user's cache folder, never among the user's own files, and what is found there is believed only where it
is whole (see index.py). Knows neither photos nor captions.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from tqdm import tqdm

from vse.search.index import Index
from vse.system.errors import InputError
from vse.system.files import digest_of_path, user_cache, write_bytes
from vse.system.terminal import printable

_BATCH = 32
_BATCHES_A_SAVE = 32  # a search of many new photos that is killed loses at most 1024 of them

Encode = Callable[[list[str]], np.ndarray]  # names -> (n, d) unit vectors
Check = Callable[[str], str]  # name -> why it cannot be encoded, "" if it can
Vectors = list[tuple[str, np.ndarray]]  # name, its unit vector
Built = tuple[Index, tuple[str, ...], int]  # an index, the names left out of it, how many items were encoded now
_PENALTIES = "penalties.safetensors"


@runtime_checkable
class Correction(Protocol):
    """What is taken from the scores of items, by where they lie (vse/hubs.py); the fingerprint tells which."""

    fingerprint: str

    def __call__(self, gallery: Float[np.ndarray, "g d"]) -> Float[np.ndarray, " g"]: ...


def updated(
    home: Path | None,
    stamps: dict[str, str],
    encode: Encode,
    check: Check,
    what: str,
    correction: Correction | None = None,
) -> Built:
    """The index of exactly the items of `stamps` (name -> stamp), the names left out, the number encoded.

    An item of the stored index is kept if its name and stamp are the same; the rest is encoded. The index is
    stored again if it changed, and the penalties of `correction` beside it. Raises InputError if nothing can be
    encoded, with the first reason.
    """
    known = _stored(home)
    rows = {name: row for name, row in known.items() if name in stamps and stamps[name] == row[0]}
    changed = len(rows) < len(known)
    todo = [name for name in stamps if name not in rows]
    reasons: dict[str, str] = {}
    encoded = 0
    with tqdm(total=len(todo), desc=what, unit=what[:-1], disable=not todo, file=sys.stderr) as bar:
        for number, start in enumerate(range(0, len(todo), _BATCH), 1):
            batch = todo[start : start + _BATCH]
            for name, vector in _encode_what_can(encode, check, batch, reasons):
                rows[name] = (stamps[name], vector)
                encoded += 1
            bar.update(len(batch))
            if number % _BATCHES_A_SAVE == 0 and rows:
                home = _store(home, _index_of(rows, stamps))
    if not rows:
        name, reason = next(iter(reasons.items()))
        raise InputError(f"none of the {len(stamps)} {what} can be used; the first, {name}: {reason}")
    for name, reason in reasons.items():
        print(f"skipped {printable(name)}: {reason}", file=sys.stderr)
    index = _index_of(rows, stamps)
    if encoded or changed:
        home = _store(home, index)
    if correction:
        index = index.penalized(_penalties(home, index, correction))
    return index, tuple(reasons), encoded


def index_home(source: Path, fingerprint: str, cache: Path | None) -> Path | None:
    """The folder for the index of `source`, made; None if none can be written, or for a nameless model.

    It is CACHE/<hash of where the source is>/<fingerprint>, so that neither sources nor models mix.
    """
    if not fingerprint:  # not of a saved run: nothing would tell its embeddings from another model's
        return None
    home = Path(cache or user_cache("vse")) / digest_of_path(source) / fingerprint
    try:
        home.mkdir(parents=True, exist_ok=True)
        if cache is None:
            os.chmod(home.parent, 0o700)  # names of photos and captions are the user's own; fails in another's folder
    except OSError as error:
        print(f"index not kept, the next search starts anew: {home}: {error.strerror}", file=sys.stderr)
        return None
    return home


def _encode_what_can(encode: Encode, check: Check, batch: list[str], reasons: dict[str, str]) -> Vectors:
    """Names and vectors of those that can be encoded; the others go to `reasons`.

    What fails for another reason than one of its items (absent CNN weights) is raised: it would fail for all.
    """
    try:
        return list(zip(batch, encode(batch), strict=True))
    except InputError:
        bad = {name: reason for name in batch if (reason := check(name))}
        if not bad:
            raise
    reasons |= bad
    good = [name for name in batch if name not in bad]
    return list(zip(good, encode(good), strict=True)) if good else []


def _index_of(rows: dict[str, tuple[str, np.ndarray]], stamps: dict[str, str]) -> Index:
    """In the order of `stamps`, so that ties do not depend on what was encoded when."""
    names = [name for name in stamps if name in rows]
    return Index(np.stack([rows[n][1] for n in names]), names, [rows[n][0] for n in names])


def _stored(home: Path | None) -> dict[str, tuple[str, np.ndarray]]:
    """name -> (stamp, vector) of the index in `home`; empty if there is none that can be trusted."""
    try:
        index = Index.load(home) if home else None
    except InputError:
        index = None
    if index is None or not index.labels:
        return {}
    return dict(zip(index.names, zip(index.labels, index.vectors, strict=True), strict=True))


def _store(home: Path | None, index: Index) -> Path | None:
    """`home`, or None after a failure, which is told once: a full disk must not cost the user the answer."""
    try:
        if home:
            index.save(home)
        return home
    except (OSError, InputError) as error:
        print(f"index not kept, the next search starts anew: {error}", file=sys.stderr)
        return None


def _penalties(home: Path | None, index: Index, correction: Correction) -> np.ndarray:
    """What `correction` gives the items; kept in `home`, taken from there where items and correction are the same."""
    path, made_of = home and home / _PENALTIES, f"{index.checksum} {correction.fingerprint}"
    if path:
        try:
            with safe_open(path, "np") as file:
                penalties = file.get_tensor("penalties") if (file.metadata() or {}).get("made_of") == made_of else None
            if penalties is not None and penalties.shape == (len(index),) and np.isfinite(penalties).all():
                return penalties
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError):
            pass  # none there, or damaged: made anew
    penalties = correction(index.vectors).astype(np.float32)
    if path:
        try:
            write_bytes(path, save({"penalties": penalties}, {"made_of": made_of}))
        except (OSError, InputError) as error:
            print(f"penalties not kept, the next search counts anew: {error}", file=sys.stderr)
    return penalties
