"""Single queries on a user's own photos or captions, with the embeddings kept on disk between calls.

`search_images` finds the photos of a folder for a sentence, `similar_photos` those for a photo, `search_captions` the
captions of a file for a photo; `photo_index` is a folder's index itself, kept by kept_index.py. The model is whatever
has `encode_images`, `encode_texts`, `fingerprint` and `vocabulary`; ranking is vse/search/index.py's.
"""

import hashlib
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from vse.data.formats import read_captions
from vse.data.photo_files import is_photo, walk_photos
from vse.data.photos import BadPhoto, read_photo
from vse.data.vocabulary import Tokens, tokenize
from vse.features.store import Features
from vse.search.index import Index
from vse.search.kept_index import Built, Correction, index_home, updated
from vse.system.errors import InputError
from vse.system.terminal import printable


@runtime_checkable
class Model(Protocol):
    """What a search needs of a model: unit vectors of one space, and a name that changes with its weights."""

    fingerprint: str
    vocabulary: Tokens

    def encode_images(self, images: Sequence[Path] | np.ndarray) -> Float[np.ndarray, "n d"]: ...

    def encode_texts(self, texts: Sequence[str]) -> Float[np.ndarray, "m d"]: ...


@dataclass(frozen=True)
class Hit:
    """One answer: a photo's path below the folder, or a caption; its cosine, less the correction; its 1-based rank."""

    name: str
    score: float
    rank: int


@dataclass(frozen=True)
class SearchResult:
    """The hits, best first; the names of what was left out; how many photos or captions this call encoded."""

    hits: tuple[Hit, ...]
    skipped: tuple[str, ...]
    encoded: int


def photo_index(
    model: Model,
    folder: Path,
    cache: Path | None = None,
    features: Features | None = None,
    correction: Correction | None = None,
) -> Built:
    """The index of all readable photos below `folder`, the names of the others, the number encoded by this call.

    Photos that cannot be read are named on stderr. `cache` is a folder for the index, by default the user's cache
    folder. `features`: those of (some of) the photos, as the model knows them; the CNN sees the others alone.
    `correction`: takes its penalties from the scores. Raises InputError for a folder without a readable photo.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; give the folder that holds the photos")
    photos = _photos(folder)
    if not photos:
        raise InputError(f"{folder}: no photo in it; give the folder that holds the photos")
    stored = _stored_rows(features, list(photos), folder) if features else {}
    if features:  # nothing tells that a row is of this very photo: a search without the features must not take it
        photos |= {name: f"{photos[name]}, row {_digest(features, row)}" for name, row in stored.items()}

    def encode(names: list[str]) -> np.ndarray:
        inside, outside = ([name for name in names if (name in stored) == there] for there in (True, False))
        vectors = {}
        if outside:
            vectors |= zip(outside, model.encode_images([folder / name for name in outside]), strict=True)
        if inside:
            rows = features.take([features.names[stored[name]] for name in inside])
            vectors |= zip(inside, model.encode_images(rows), strict=True)
        return np.stack([vectors[name] for name in names])

    home = index_home(folder, model.fingerprint, cache)
    return updated(home, photos, encode, lambda name: _why_bad(folder / name), "photos", correction)


def stored_rows(features: Features, folder: Path) -> dict[str, int]:
    """The row of each photo below `folder` that has one, found among all of them."""
    photos = list(_photos(folder))
    return {name: int(row) for name, row in zip(photos, features.find(photos), strict=True) if row >= 0}


def _stored_rows(features: Features, photos: list[str], folder: Path) -> dict[str, int]:
    """The row of each photo that has one. Says how many have none; raises InputError where that is all of them."""
    rows = {name: row for name, row in zip(photos, features.find(photos), strict=True) if row >= 0}
    left = [name for name in photos if name not in rows]
    if not rows:
        where = features.path or "features"
        raise InputError(f"{where} have none of the photos in {folder} (not even {left[0]}); give others")
    if left:
        first = printable(left[0])
        print(f"note: {len(left)} of {len(photos)} photos are not in the features (first: {first})", file=sys.stderr)
    return {name: int(row) for name, row in rows.items()}


def _digest(features: Features, row: int) -> str:
    return hashlib.sha256(np.ascontiguousarray(features.array[row : row + 1]).tobytes()).hexdigest()[:16]


def search_images(
    model: Model,
    folder: Path,
    query: str,
    k: int = 5,
    cache: Path | None = None,
    features: Features | None = None,
    correction: Correction | None = None,
) -> SearchResult:
    """The `k` photos below `folder` (all, if it has fewer) nearest to the sentence `query`.

    The photos, `cache`, `features` and `correction` (a model's `hubs.photos`) as in `photo_index`. Raises InputError
    also for a query without a known word.
    """
    if not _knows(model, query):
        words = ", ".join(tokenize(query)) or "it has none"
        raise InputError(f"{query!r}: the model knows none of its words ({words}); use others")
    index, skipped, encoded = photo_index(model, folder, cache, features, correction)
    return SearchResult(_hits(index, model.encode_texts([query]), k), skipped, encoded)


def similar_photos(
    model: Model, folder: Path, photo: Path, k: int = 5, cache: Path | None = None, features: Features | None = None
) -> SearchResult:
    """The `k` photos below `folder` (all, if it has fewer) nearest to `photo`, itself among them if it lies there.

    The photos, `cache` and `features` as in `photo_index`. Raises InputError also for an unreadable `photo`.
    """
    point, index, skipped, encoded = photo_and_index(model, folder, photo, cache, features)
    return SearchResult(_hits(index, point[None], k), skipped, encoded)


def photo_and_index(
    model: Model, folder: Path, photo: Path, cache: Path | None = None, features: Features | None = None
) -> tuple[Float[np.ndarray, " d"], Index, tuple[str, ...], int]:
    """The unit vector of `photo`, and what `photo_index` gives. One that lies in the folder is encoded once."""
    folder, photo = Path(folder), Path(photo)
    if not photo.is_file():
        raise InputError(f"{photo}: no such photo; give the path of one")
    name = os.path.relpath(photo.resolve(), folder.resolve()).replace(os.sep, "/")
    inside = folder.is_dir() and not name.startswith("../")
    if reason := _why_bad(photo) if inside else "":
        raise InputError(f"{photo}: {reason}; give another photo")
    point = None if inside else model.encode_images([photo])[0]  # said before an hour of encoding, not after
    index, skipped, encoded = photo_index(model, folder, cache, features)
    if point is None:
        row = {name: row for row, name in enumerate(index.names)}.get(name)
        point = model.encode_images([photo])[0] if row is None else index.vector(row)  # None: behind a link
    return point, index, skipped, encoded


def is_photo_query(query: str) -> bool:
    """True for a query that names a file, or a photo that is not there: nobody searches with the words of a path."""
    path = "." in query or os.sep in query  # a word may be the name of a file that happens to be here, too
    return path and os.path.isfile(query) or is_photo(query) and not re.search(r"\s", query)


def search_captions(
    model: Model,
    captions_file: Path,
    photo: Path,
    k: int = 5,
    cache: Path | None = None,
    correction: Correction | None = None,
) -> SearchResult:
    """The `k` captions of `captions_file` (all, if it has fewer) nearest to `photo`; each caption once.

    The file is UTF-8 text with a caption a line, or a CSV with a column `caption`. Captions without a known
    word are named on stderr and in `skipped`. `cache` and `correction` (a model's `hubs.captions`) as in `photo_index`.
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
        print(f"skipped {printable(text)!r}: the model knows none of its words", file=sys.stderr)
    home = index_home(captions_file, model.fingerprint, cache)
    index, _, encoded = updated(home, usable, model.encode_texts, lambda text: "", "captions", correction)
    return SearchResult(_hits(index, query, k), unknown, encoded)


def _photos(folder: Path) -> dict[str, str]:
    """Path below `folder` -> stamp (size, time of last change) of each photo, sorted; none that is hidden.

    Pictures that are left out by their suffix, and folders that may not be read, are named on stderr.
    """
    files = walk_photos(folder)
    for note in files.notes_on_pictures():
        print(f"note: {note}", file=sys.stderr)
    stamps = {}
    for name in sorted(files.photos + files.unstorable):
        try:
            status = (folder / name).stat()
            stamps[name] = f"{status.st_size} bytes, {status.st_mtime_ns} ns"
        except OSError:
            stamps[name] = "absent"  # a link to nothing: encoding will say so by name
    return stamps


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
