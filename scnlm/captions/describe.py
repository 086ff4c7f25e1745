"""What `scnlm caption` does: photos in, five sentences each out, as text, JSON lines or a page; bad photos are named.

A few photos are in memory at a time, and each is told as soon as it is described. Ranks nothing itself (see
captioner.py).
"""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from tqdm import tqdm

from scnlm.captions.captioner import WEIGHTS, CaptionConfig, Captioner, shipped_set
from scnlm.captions.git_captioner import GITCaptioner, is_git_run
from scnlm.captions.page import Described, caption_page
from scnlm.rerank.score import Candidate
from vse.data.datasets import Dataset, read_dataset
from vse.data.photo_files import walk_photos
from vse.data.photos import BadPhoto
from vse.system.device import find_device
from vse.system.errors import InputError
from vse.system.files import json_text
from vse.system.terminal import printable

_AT_ONCE = 4  # photos that go through the CNNs together: more are no faster on a CPU, and take more memory


def describe(
    words: Sequence[Path],
    config: CaptionConfig,
    *,
    as_json: bool = False,
    html: Path | None = None,
    data: str | None = None,
    cnns: Sequence[str] = (),
    seed: int = 0,
    device: str = "cpu",
) -> int:
    """The exit status, after printing the captions of the photos: 0, or 1 when one could not be read.

    `words`: [SET] PHOTO..., where a first folder with a weights.json is the caption set, or a run of `scnlm train-git`,
    and another folder stands for the photos in it. Raises InputError when no photo can be read.
    """
    folder, photos = _set_and_photos(list(words))
    kind = GITCaptioner if is_git_run(folder) else Captioner
    if data and kind is GITCaptioner:
        raise InputError(f"--data {data}: {folder} has no space to find the nearest sentence in; leave it out")
    captioner, dataset = kind.load(folder, str(find_device(device))), read_dataset(data) if data else None
    captioner.photos.cnns = cnns
    if dataset and not dataset.split("train").captions:
        raise InputError(f"{dataset.name}: no training captions, so none is the nearest; leave out --data")
    good, points, captions = [], [], []
    with tqdm(total=len(photos), unit="photo", disable=None if len(photos) > 1 else True, leave=False) as bar:
        for photo, seen in _seen(captioner, photos, bar):
            captions += captioner.describe(seen, config, seed)
            good.append(photo)
            if dataset:
                points.append(captioner.encoder.encode_images(seen))
            bar.clear()  # the terminal may be the same
            print(_json(photo, captions[-1]) if as_json else _text(photo, captions[-1]), flush=True)
            bar.update()
    if not good:
        raise InputError(f"none of the {len(photos)} photos can be read; give others")
    if html:
        known = _known(dataset, captioner, good, np.concatenate(points)) if dataset else [((), None)] * len(good)
        shown = [
            Described(photo, tuple(sentences), people, nearest)
            for photo, sentences, (people, nearest) in zip(good, captions, known, strict=True)
        ]
        print(f"page: {caption_page(html, shown)}", file=sys.stderr)
    return int(len(good) < len(photos))


def _set_and_photos(words: list[Path]) -> tuple[Path, list[Path]]:
    """The caption set, and the photos, those of folders included. Raises InputError where there is none."""
    first = words[0] if words else None
    if names_set := first is not None and ((first / WEIGHTS).is_file() or is_git_run(first)):
        words = words[1:]
    if not words:
        raise InputError(
            f"{first if names_set else 'nothing'}: no photos; expected [SET] PHOTO..., or a folder of photos"
        )
    photos = []
    for word in words:
        if not word.is_dir():
            photos.append(word)
            continue
        inside = walk_photos(word)
        names = sorted([*inside.photos, *inside.unstorable])
        if not names:
            hint = f"not a caption set (no {WEIGHTS}; make one with `scnlm assemble`), and no photo in it"
            raise InputError(f"{word}: {hint if word is first else 'no photo in it'}; expected [SET] PHOTO...")
        for note in inside.notes_on_pictures():
            print(f"note: {printable(str(word))}: {note}", file=sys.stderr)
        photos += [word / name for name in names]
    return first if names_set else shipped_set(), photos


def _seen(captioner: Captioner | GITCaptioner, photos: Sequence[Path], bar: tqdm) -> Iterator[tuple[Path, np.ndarray]]:
    """Each photo that can be read, with what is seen of it, (1, ...); the others are named on stderr."""
    for start in range(0, len(photos), _AT_ONCE):
        chunk = photos[start : start + _AT_ONCE]
        try:
            yield from zip(chunk, captioner.seen(chunk)[:, None], strict=True)
            continue
        except BadPhoto:
            pass
        for photo in chunk:
            try:
                yield photo, captioner.seen([photo])
            except BadPhoto as error:
                bar.clear()
                print(f"scnlm: {printable(str(error))}; left out", file=sys.stderr)
                bar.update()


def _known(
    dataset: Dataset, captioner: Captioner, photos: Sequence[Path], points: Float32[np.ndarray, "n d"]
) -> list[tuple[tuple[str, ...], str]]:
    """For each photo (what people wrote, the nearest training sentence)."""
    train = dataset.split("train").captions
    nearest = nearest_sentences(captioner, train, points)
    return [(_written(dataset, photo.name), train[i]) for photo, i in zip(photos, nearest, strict=True)]


def nearest_sentences(captioner: Captioner, captions: Sequence[str], points: Float32[np.ndarray, "n d"]) -> list[int]:
    """For each image the number of the caption that is nearest to it."""
    sentences = captioner.encoder.encode_texts(captions, progress=True)
    return [int(np.argmax(sentences @ point)) for point in points]


def _written(dataset: Dataset, name: str) -> tuple[str, ...]:
    image = next((i for i, other in enumerate(dataset.images) if Path(other).name == name), None)
    return tuple(c for c, owner in zip(dataset.captions, dataset.image_of_caption, strict=True) if owner == image)


def _text(photo: Path, captions: Sequence[Candidate]) -> str:
    return "\n".join([printable(str(photo)), *(f"  {c.agreement:5.3f}  {c.score:7.3f}  {c.text}" for c in captions)])


def _json(photo: Path, captions: Sequence[Candidate]) -> str:
    rows = []
    for c in captions:
        row = {"caption": c.text} | dataclasses.asdict(c) | {"structure": " ".join(c.structure)}
        del row["tokens"]
        rows.append({key: round(value, 6) if isinstance(value, float) else value for key, value in row.items()})
    return json_text({"photo": str(photo), "captions": rows})
