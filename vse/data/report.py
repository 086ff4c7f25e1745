"""What `vse data DATA` prints: a data set in a page of text, and which of its photos cannot be opened.

It only looks: nothing is repaired or left out here.
"""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from vse.data.datasets import SPLITS, Dataset
from vse.data.photos import BadPhoto, read_photo
from vse.data.vocabulary import tokenize

SHOWN = 10  # names listed before "and so on"


def describe(dataset: Dataset, check_images: bool = False) -> str:
    """The report on `dataset`, several lines without a final line break.

    With `check_images` every photo is read to its end (with a progress bar); those that cannot be are listed.
    """
    lines = [f"{dataset.name}: {len(dataset.images)} images, {len(dataset.captions)} captions"]
    lines.append(f"photos: {dataset.root if dataset.root is not None else 'none (captions only)'}")
    lines.append(f"fingerprint: {dataset.fingerprint()}")
    lines += ["", *_splits(dataset)]
    if dataset.captions:
        lines += ["", *_vocabulary(dataset)]
    if check_images and dataset.root is not None:
        bad = unreadable_images(dataset)
        lines += ["", f"missing or unreadable photos: {len(bad)} of {len(dataset.images)}"]
        lines += [f"  {name}: {reason}" for name, reason in bad[:SHOWN]]
        lines += [f"  and {len(bad) - SHOWN} more"] if len(bad) > SHOWN else []
    if dataset.notes:
        lines += ["", "notes:", *(f"- {note}" for note in dataset.notes)]
    return "\n".join(lines)


def _splits(dataset: Dataset) -> list[str]:
    """A table: images, captions and captions per image (min / mean / max) of each split and of all."""
    per_image = np.bincount(dataset.image_of_caption, minlength=len(dataset.images))
    split_of = np.array(dataset.split_of_image)
    rows = [(name or "(none)", split_of == name) for name in (*SPLITS, "") if name or (split_of == "").any()]
    rows.append(("all", np.ones(len(split_of), dtype=bool)))
    lines = [f"{'split':<8}{'images':>8}{'captions':>10}   captions per image (min / mean / max)"]
    for name, mask in rows:
        counts = per_image[mask]
        spread = f"{counts.min()} / {counts.mean():.2f} / {counts.max()}" if len(counts) else "-"
        lines.append(f"{name:<8}{mask.sum():>8}{counts.sum():>10}   {spread}")
    return lines


def _vocabulary(dataset: Dataset) -> list[str]:
    """Words and lengths of the training captions: the only ones a vocabulary may be built from."""
    in_train = np.array([split == "train" for split in dataset.split_of_image])[dataset.image_of_caption]
    tokens = [tokenize(dataset.captions[j]) for j in np.flatnonzero(in_train)]
    if not tokens:
        return ["vocabulary: no training captions"]
    counts = Counter(token for caption in tokens for token in caption)
    lengths = [len(caption) for caption in tokens]
    frequent = sum(n >= 5 for n in counts.values())
    lines = [
        f"vocabulary (training captions): {len(counts)} words, {frequent} seen >= 5 times",
        f"caption length in words: mean {np.mean(lengths):.1f}, max {max(lengths)}",
    ]
    if 0 in lengths:
        lines.append(f"captions without a single word: {lengths.count(0)}")
    return lines


def unreadable_images(dataset: Dataset) -> list[tuple[str, str]]:
    """(name, reason) of each photo that is missing or cannot be read to its end, in data set order."""
    paths = [dataset.path(i) for i in range(len(dataset.images))]
    bar = {"total": len(paths), "desc": "photos", "unit": "photo"}
    # Four readers at most: each may hold a whole photo, and some photos have 100 megapixels.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        reasons = list(tqdm(pool.map(_why_unreadable, paths), **bar))
    return [(name, reason) for name, reason in zip(dataset.images, reasons, strict=True) if reason]


def _why_unreadable(path: Path) -> str:
    """Why the file cannot be read as a photo, "" where it can be: as features and search say it."""
    try:
        # Only decoding sees that a file ends early; a small photo will do, and is quick.
        read_photo(path, shortest=1)
    except BadPhoto as bad:
        return bad.reason
    return ""
