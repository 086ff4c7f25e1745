"""Single queries on a user's own photos or captions, with the embeddings kept on disk between calls.

`search_images` finds the photos of a folder for a sentence, `search_captions` the captions of a file for a photo,
`photo_index` is a folder's index itself. It lives in FOLDER/.vse-index/<model fingerprint>/ (of FOLDER/FILE in the
folder FILE there), so that models never mix. Only what is new or changed is encoded. The model is whatever has
`encode_images`, `encode_texts`, `fingerprint` and `vocabulary`; ranking is vse/index.py's.
"""

import csv
import io
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from vse.dataset_formats import is_hidden, is_photo, read_text
from vse.errors import InputError
from vse.files import digest_of_path, kept_beside
from vse.index import Index
from vse.photos import BadPhoto, read_photo
from vse.vocabulary import Vocabulary, tokenize

INDEX_FOLDER = ".vse-index"
_BATCH = 32
_BATCHES_A_SAVE = 32  # a search of many new photos that is killed loses at most 1024 of them

Encode = Callable[[list[str]], np.ndarray]  # names -> (n, d) unit vectors
Check = Callable[[str], str]  # name -> why it cannot be encoded, "" if it can
Vectors = list[tuple[str, np.ndarray]]  # name, its unit vector
Built = tuple[Index, tuple[str, ...], int]  # an index, the names left out of it, how many items were encoded now


@runtime_checkable
class Model(Protocol):
    """What a search needs of a model: unit vectors of one space, and a name that changes with its weights."""

    fingerprint: str
    vocabulary: Vocabulary

    def encode_images(self, paths: Sequence[Path]) -> Float[np.ndarray, "n d"]: ...

    def encode_texts(self, texts: Sequence[str]) -> Float[np.ndarray, "m d"]: ...


@dataclass(frozen=True)
class Hit:
    """One answer: a photo's path below the folder, or a caption; its cosine; its 1-based rank."""

    name: str
    score: float
    rank: int


@dataclass(frozen=True)
class SearchResult:
    """The hits, best first; the names of what was left out; how many photos or captions this call encoded."""

    hits: tuple[Hit, ...]
    skipped: tuple[str, ...]
    encoded: int


def photo_index(model: Model, folder: Path, cache: Path | None = None) -> Built:
    """The index of all readable photos below `folder`, the names of the others, the number encoded by this call.

    Photos that cannot be read are named on stderr. `cache` is a folder for the index, by default `folder` itself, or
    the user's cache folder where `folder` cannot be written. Raises InputError for a folder without a readable photo.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; give the folder that holds the photos")
    photos = _photos(folder)
    if not photos:
        raise InputError(f"{folder}: no photo in it; give the folder that holds the photos")

    def encode(names: list[str]) -> np.ndarray:
        return model.encode_images([folder / name for name in names])

    home = _index_home(folder, model.fingerprint, cache)
    return _update(home, photos, encode, lambda name: _why_bad(folder / name), "photos")


def search_images(model: Model, folder: Path, query: str, k: int = 5, cache: Path | None = None) -> SearchResult:
    """The `k` photos below `folder` (all, if it has fewer) nearest to the sentence `query`.

    The photos and `cache` as in `photo_index`. Raises InputError also for a query without a known word.
    """
    if not _knows(model, query):
        words = ", ".join(tokenize(query)) or "it has none"
        raise InputError(f"{query!r}: the model knows none of its words ({words}); use others")
    index, skipped, encoded = photo_index(model, folder, cache)
    return SearchResult(_hits(index, model.encode_texts([query]), k), skipped, encoded)


def search_captions(
    model: Model, captions_file: Path, photo: Path, k: int = 5, cache: Path | None = None
) -> SearchResult:
    """The `k` captions of `captions_file` (all, if it has fewer) nearest to `photo`; each caption once.

    The file is UTF-8 text with a caption a line, or a CSV with a column `caption`. Captions without a known
    word are named on stderr and in `skipped`. `cache` as in `photo_index`.
    Raises InputError for an unreadable photo and for a file without a usable caption.
    """
    captions_file, photo = Path(captions_file), Path(photo)
    if not photo.is_file():
        raise InputError(f"{photo}: no such photo; give the path of one")
    captions = dict.fromkeys(read_captions(captions_file))
    usable = {text: "" for text in captions if _knows(model, text)}
    unknown = tuple(text for text in captions if text not in usable)
    if not usable:
        raise InputError(f"{captions_file}: no caption has a word that the model knows; give others")
    query = model.encode_images([photo])
    for text in unknown:
        print(f"skipped {text!r}: the model knows none of its words", file=sys.stderr)
    home = _index_home(captions_file, model.fingerprint, cache)
    index, _, encoded = _update(home, usable, model.encode_texts, lambda text: "", "captions")
    return SearchResult(_hits(index, query, k), unknown, encoded)


def read_captions(path: Path) -> list[str]:
    """The captions of a text file, one a line, or of the column `caption` of a .csv; blank ones dropped.

    Raises InputError for a file that is absent, not UTF-8, without that column or without a caption.
    """
    text = read_text(path)
    if path.suffix.lower() == ".csv":
        rows = csv.DictReader(io.StringIO(text, newline=""))
        if "caption" not in (rows.fieldnames or ()):
            raise InputError(f"{path}: its columns are {rows.fieldnames}, expected one called 'caption'")
        try:
            lines = [row["caption"] or "" for row in rows]
        except csv.Error as error:
            raise InputError(f"{path}: not a CSV file ({error}); close its quotes") from None
    else:
        lines = text.splitlines()
    captions = [line.strip() for line in lines if line.strip()]
    if not captions:
        raise InputError(f"{path}: no caption in it, expected one a line")
    return captions


def _update(home: Path | None, wanted: dict[str, str], encode: Encode, check: Check, what: str) -> Built:
    """The index of exactly the `wanted` items (name -> stamp), the names left out, the number encoded.

    An item of the stored index is kept if its name and stamp are the same; the rest is encoded. The index is
    stored again if it changed. Raises InputError if nothing can be encoded, with the first reason.
    """
    known = _stored(home)
    rows = {name: row for name, row in known.items() if name in wanted and wanted[name] == row[0]}
    changed = len(rows) < len(known)
    todo = [name for name in wanted if name not in rows]
    reasons: dict[str, str] = {}
    encoded = 0
    with tqdm(total=len(todo), desc=what, unit=what[:-1], disable=not todo, file=sys.stderr) as bar:
        for number, start in enumerate(range(0, len(todo), _BATCH), 1):
            batch = todo[start : start + _BATCH]
            for name, vector in _encode_what_can(encode, check, batch, reasons):
                rows[name] = (wanted[name], vector)
                encoded += 1
            bar.update(len(batch))
            if number % _BATCHES_A_SAVE == 0 and rows:
                home = _store(home, _index_of(rows, wanted))
    if not rows:
        name, reason = next(iter(reasons.items()))
        raise InputError(f"none of the {len(wanted)} {what} can be used; the first, {name}: {reason}")
    for name, reason in reasons.items():
        print(f"skipped {name}: {reason}", file=sys.stderr)
    index = _index_of(rows, wanted)
    if encoded or changed:
        _store(home, index)
    return index, tuple(reasons), encoded


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


def _index_of(rows: dict[str, tuple[str, np.ndarray]], wanted: dict[str, str]) -> Index:
    """In the order of `wanted`, so that ties do not depend on what was encoded when."""
    names = [name for name in wanted if name in rows]
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


def _index_home(source: Path, fingerprint: str, cache: Path | None) -> Path | None:
    """The folder for the index of `source`, made; None if none can be written, or for a nameless model."""
    if not fingerprint:  # not of a saved run: nothing would tell its embeddings from another model's
        return None
    part = Path(fingerprint, source.name) if source.is_file() else Path(fingerprint)
    place = Path(cache) / digest_of_path(source) if cache else kept_beside(source, INDEX_FOLDER, "vse")
    try:
        (place / part).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"index not kept, the next search starts anew: {place}: {error.strerror}", file=sys.stderr)
        return None
    return place / part


def _photos(folder: Path) -> dict[str, str]:
    """Path below `folder` -> stamp (size, time of last change) of each photo, sorted; none that is hidden."""
    found = {}
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(name)]
        for path in (Path(parent, name) for name in files if is_photo(name)):
            try:
                status = path.stat()
                stamp = f"{status.st_size} bytes, {status.st_mtime_ns} ns"
            except OSError:
                stamp = "absent"  # a link to nothing: encoding will say so by name
            found[path.relative_to(folder).as_posix()] = stamp
    return dict(sorted(found.items()))


def _why_bad(path: Path) -> str:
    """Why the photo cannot be read, in one line; "" if it can."""
    try:
        read_photo(path)
    except BadPhoto as error:
        return error.reason
    return ""


def _hits(index: Index, query: np.ndarray, k: int) -> tuple[Hit, ...]:
    scores, ids = index.top(query, min(k, len(index)))
    ranked = enumerate(zip(ids[0], scores[0], strict=True), 1)
    return tuple(Hit(index.names[i], float(score), rank) for rank, (i, score) in ranked)


def _knows(model: Model, text: str) -> bool:
    """True if the model knows a word of `text`; otherwise its embedding would say nothing."""
    return any(word in model.vocabulary for word in tokenize(text))
