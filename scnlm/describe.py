"""What `scnlm caption` does: photos in, five sentences each out, as text, JSON lines or a page; bad photos are named.

Ranks nothing itself (see caption.py).
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from scnlm.caption import WEIGHTS, CaptionConfig, Captioner, shipped_set
from scnlm.caption_page import Described, caption_page
from scnlm.rerank import Candidate
from vse.datasets import Dataset, read_dataset
from vse.distributed import find_device
from vse.errors import InputError
from vse.photos import BadPhoto, read_photo


def describe(
    words: Sequence[Path],
    config: CaptionConfig,
    *,
    as_json: bool = False,
    html: Path | None = None,
    data: str | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> int:
    """The exit status, after printing the captions of the photos: 0, or 1 when one could not be read.

    `words`: [SET] PHOTO..., where a first folder is the caption set. Raises InputError when no photo can be read.
    """
    photos = list(words)
    folder = photos.pop(0) if photos and photos[0].is_dir() else shipped_set()
    if not photos:
        hint = "a folder of photos is not captioned whole" if not (folder / WEIGHTS).is_file() else "no photos"
        raise InputError(f"{' '.join(map(str, words)) or 'nothing'}: {hint}; expected [SET] PHOTO...")
    good, bad = [], {}
    for photo in photos:
        try:
            read_photo(photo)
            good.append(photo)
        except (BadPhoto, InputError) as error:
            bad[photo] = str(error)
    for error in bad.values():
        print(f"scnlm: {error}; left out", file=sys.stderr)
    if not good:
        raise InputError(f"none of the {len(photos)} photos can be read; give others")
    captioner, dataset = Captioner.load(folder, str(find_device(device))), read_dataset(data) if data else None
    points = captioner.encoder.encode_images(good)
    known = _known(dataset, captioner, good, points) if dataset else [((), None)] * len(good)
    captions = []
    for photo, point in zip(good, points, strict=True):
        captions += captioner.captions(point[None], config, seed)
        print(_json(photo, captions[-1]) if as_json else _text(photo, captions[-1]), flush=True)
    if html:
        shown = [
            Described(photo, tuple(own), people, nearest)
            for photo, own, (people, nearest) in zip(good, captions, known, strict=True)
        ]
        print(f"page: {caption_page(html, shown)}", file=sys.stderr)
    return int(bool(bad))


def _known(
    dataset: Dataset, captioner: Captioner, photos: Sequence[Path], points: Float32[np.ndarray, "n d"]
) -> list[tuple[tuple[str, ...], str]]:
    """For each photo (what people wrote, the nearest training sentence)."""
    train = dataset.split("train").captions
    if not train:
        raise InputError(f"{dataset.name}: no training captions, so none is the nearest; leave out --data")
    nearest = nearest_sentences(captioner, train, points)
    return [(_written(dataset, photo.name), train[i]) for photo, i in zip(photos, nearest, strict=True)]


def nearest_sentences(captioner: Captioner, captions: Sequence[str], points: Float32[np.ndarray, "n d"]) -> list[int]:
    """For each image the number of the caption that is nearest to it."""
    best, where = np.full(len(points), -np.inf), np.zeros(len(points), int)
    for start in range(0, len(captions), 5000):
        cosines = points @ captioner.encoder.encode_texts(captions[start : start + 5000]).T
        top = cosines.argmax(1)
        better = cosines.max(1) > best
        best[better], where[better] = cosines.max(1)[better], start + top[better]
    return where.tolist()


def _written(dataset: Dataset, name: str) -> tuple[str, ...]:
    image = next((i for i, other in enumerate(dataset.images) if Path(other).name == name), None)
    return tuple(c for c, own in zip(dataset.captions, dataset.image_of_caption, strict=True) if own == image)


def _text(photo: Path, captions: Sequence[Candidate]) -> str:
    return "\n".join([str(photo), *(f"  {c.agreement:5.3f}  {c.score:7.3f}  {c.text}" for c in captions)])


def _json(photo: Path, captions: Sequence[Candidate]) -> str:
    rows = []
    for c in captions:
        row = {"caption": c.text} | dataclasses.asdict(c) | {"structure": " ".join(c.structure)}
        del row["tokens"]
        rows.append({key: round(value, 6) if isinstance(value, float) else value for key, value in row.items()})
    return json.dumps({"photo": str(photo), "captions": rows})
