"""The layouts that users have, written into a folder, and what is read from them."""

import json
from pathlib import Path

import pytest
from PIL import Image

from vse.data.datasets import Dataset, read_dataset
from vse.system.errors import InputError


def write(path: Path, content: str | bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def photos(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / name)
    return folder


def flickr8k(top: Path, texts="Flickr8k_text", images="Flicker8k_Dataset", **changed: str) -> Path:
    """Four photos: one a split, one in no split; d has one caption, the others two."""
    lists = {
        "Flickr8k.token.txt": "c.jpg#0\tC zero .\nc.jpg#1\tC one .\na.jpg#0\tA zero .\nb.jpg#0\tB zero .\n"
        "a.jpg#1\tA one .\nb.jpg#1\tB one .\nd.jpg#0\tD zero .\nlost.jpg.1#0\tNo photo .\n",
        "Flickr_8k.trainImages.txt": "a.jpg\n",
        "Flickr_8k.devImages.txt": "b.jpg\r\n",
        "Flickr_8k.testImages.txt": "c.jpg",
    } | {f"Flickr_8k.{key}Images.txt" if key != "token" else "Flickr8k.token.txt": v for key, v in changed.items()}
    for name, text in lists.items():
        write(top / texts / name, text)
    photos(top / images, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    return top


def karpathy(path: Path, *entries: dict, **changed) -> Path:
    entries = entries or (entry("a.jpg", "train", "One.", "Two."), entry("b.jpg", "restval", "Three."),
                          entry("c.jpg", "val"), entry("d.jpg", "test", "Four."))  # fmt: skip
    return write(path, json.dumps({"images": list(entries), "dataset": "tiny"} | changed))


def entry(filename: str, split: str, *raw: str, **more) -> dict:
    sentences = [{"raw": text, "tokens": ["not", "used"]} for text in raw]
    return {"filename": filename, "split": split, "sentences": sentences} | more


def owned(dataset: Dataset) -> dict[str, list[str]]:
    """The captions of each image, through the ownership list."""
    captions = {image: [] for image in dataset.images}
    for caption, i in zip(dataset.captions, dataset.image_of_caption, strict=True):
        captions[dataset.images[i]].append(caption)
    return captions


def splits(dataset: Dataset) -> dict[str, str]:
    return dict(zip(dataset.images, dataset.split_of_image, strict=True))


def fails(data, *parts: str, **kwargs) -> None:
    """`read_dataset` must raise an InputError of one line that has all `parts`."""
    with pytest.raises(InputError) as caught:
        read_dataset(data, **kwargs)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)
