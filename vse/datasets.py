"""A data set as everything else sees it: images, splits, captions, and which image a caption belongs to.

`read_dataset` recognises what a user has (Flickr8K, Karpathy JSON, CSV, scenes, a folder of photos; the
data of section 5) and joins the list, read by `vse.dataset_formats`, with the photos on disk. It opens no
photo and knows no features.
"""

import hashlib
import json
import os
import posixpath
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Bool, Int64

from vse.dataset_formats import (
    TOKEN_FILE,
    CaptionList,
    is_caption_csv,
    is_photo,
    read_csv,
    read_flickr8k,
    read_karpathy,
    read_photo_folder,
)
from vse.errors import InputError

SPLITS = ("train", "dev", "test")
KNOWN = (
    "a Flickr8K folder (Flickr8k_text + Flicker8k_Dataset), a Karpathy dataset_*.json, a CSV with columns "
    "image,caption[,split], the word scenes, or a folder of photos"
)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and their captions. An image has any number of captions, also none."""

    name: str  # "flickr8k", "flickr30k", "scenes", "csv:<stem>", "photos:<folder>"
    root: Path | None  # folder of the images; None when there are none (captions only)
    images: tuple[str, ...]  # image names, unique, as in the file list (relative to root)
    split_of_image: tuple[str, ...]  # "train" | "dev" | "test" | "" (in no split)
    captions: tuple[str, ...]  # raw text, in file order
    image_of_caption: Int64[np.ndarray, " captions"]  # index into images: the ownership list
    notes: tuple[str, ...] = ()  # one line each: what was odd

    def __post_init__(self):
        if len(set(self.images)) != len(self.images):
            raise ValueError("image names must be unique")
        if len(self.images) != len(self.split_of_image) or len(self.captions) != len(self.image_of_caption):
            raise ValueError("a split for each image and an image for each caption")
        if not all(0 <= i < len(self.images) for i in self.image_of_caption.tolist()):
            raise ValueError("image_of_caption must be indices of images")

    def split(self, name: str) -> "Dataset":
        """Only the images of split `name` and their captions, order kept. Raises InputError if none."""
        mask = np.array([split == name for split in self.split_of_image], dtype=bool)
        if name not in SPLITS or not mask.any():
            sizes = {s: self.split_of_image.count(s) for s in SPLITS}
            there = ", ".join(f"{s} ({n} images)" for s, n in sizes.items() if n) or "no split at all"
            none = self.split_of_image.count("")
            raise InputError(
                f"{self.name}: no split {name!r}; there is {there}, and {none} images in none; "
                "name another split, or give some images this one"
            )
        return self.select(mask)

    def select(self, mask: Bool[np.ndarray, " images"]) -> "Dataset":
        """Only the images where `mask` is true and their captions, order kept."""
        kept = np.flatnonzero(mask)
        owned = np.flatnonzero(mask[self.image_of_caption])
        return replace(
            self,
            images=tuple(self.images[i] for i in kept),
            split_of_image=tuple(self.split_of_image[i] for i in kept),
            captions=tuple(self.captions[j] for j in owned),
            image_of_caption=(np.cumsum(mask) - 1)[self.image_of_caption[owned]].astype(np.int64),
        )

    def path(self, i: int) -> Path:
        """The file of image `i`. Raises InputError where the data set has captions only."""
        if self.root is None:
            raise InputError(f"{self.name}: no photos, so no {self.images[i]}; say where they are: --images DIR")
        return self.root / self.images[i]

    def fingerprint(self) -> str:
        """12 hex digits that depend on image names, splits and captions: the same wherever the files lie."""
        content = [self.images, self.split_of_image, self.captions, self.image_of_caption.tolist()]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


def read_dataset(data: str | Path, images: Path | None = None) -> Dataset:
    """The data set found at `data`, recognised by what is there.

    `images`: the folder of its photos where they do not lie beside it. Where no photo is found the data set
    has captions only (root None), enough for a user with a feature matrix. Images that are listed but not in
    the photo folder are left out with their captions, and a note says so. Raises InputError for what is of no
    use.
    """
    path = Path(data)
    if str(data) == "scenes" and not path.exists():
        path = _scenes()
    if not path.exists():
        raise InputError(f"{path}: does not exist; expected {KNOWN} (to fetch one: vse download)")
    listed = _read_file(path) if path.is_file() else _read_folder(path)
    if listed.name.startswith("photos:"):
        if images is not None:
            raise InputError(f"{path}: is a folder of photos itself; leave out the other folder {images}")
        return _join(listed, path, set(listed.split_of))
    if not listed.split_of:
        raise InputError(f"{path}: lists no image; expected {KNOWN}")
    return _join(listed, *_find_photos(listed, images))


def _scenes() -> Path:
    """The folder of the embedded data set, made now if it is not there yet."""
    from vse.scenes import make_scenes  # here: drawing is needed by nobody else

    folder = Path("data/scenes")
    make_scenes(folder)  # does nothing where the very same scenes are there already
    return folder


def _read_file(path: Path) -> CaptionList:
    if path.suffix.lower() == ".json":
        return read_karpathy(path)
    if path.name == TOKEN_FILE:
        return read_flickr8k(path.parent)
    if path.suffix.lower() in (".csv", ".txt"):
        return read_csv(path)
    raise InputError(f"{path}: not a known kind of file; expected {KNOWN}")


def _read_folder(folder: Path) -> CaptionList:
    for texts in (folder / "Flickr8k_text", folder):
        if (texts / TOKEN_FILE).is_file():
            return read_flickr8k(texts)
    with os.scandir(folder) as entries:
        files = sorted(entry.name for entry in entries if entry.is_file())
    if "scenes.json" in files:
        listed = read_csv(folder / "captions.csv")
        listed.name = "scenes"
        return listed
    karpathy = [file for file in files if re.fullmatch(r"dataset_.*\.json", file)]
    tables = [file for file in files if file.lower().endswith(".csv") or file == "captions.txt"]
    lists = karpathy or [file for file in tables if is_caption_csv(folder / file)]
    if len(lists) > 1:
        raise InputError(
            f"{folder}: has {len(lists)} caption lists, give the one you mean: {', '.join(lists)}"
        )
    if lists:
        return _read_file(folder / lists[0])
    listed = read_photo_folder(folder)
    if not listed.split_of:
        if tables:
            return read_csv(folder / tables[0])  # says which columns it lacks
        raise InputError(f"{folder}: no photo and no caption list in it; expected {KNOWN}")
    if tables:
        listed.notes.append(
            f"{tables[0]} lacks the columns image,caption, so it is no caption list: photos only"
        )
    return listed


def _find_photos(listed: CaptionList, images: Path | None) -> tuple[Path | None, set[str]]:
    """The folder with the most of the listed images, and which are in it; (None, all of them) without one."""
    if images is not None and not images.is_dir():
        raise InputError(f"{images}: is not a folder; expected the one with the photos of {listed.name}")
    best, best_there, best_others = None, set(), []
    for folder in [images] if images is not None else listed.folders:
        files = _files_beside(folder, listed.split_of)
        there = files & listed.split_of.keys()
        if len(there) > len(best_there):
            best, best_there = folder, there
            best_others = [file for file in files - there if is_photo(posixpath.basename(file))]
    if best is None:
        first = next(iter(listed.split_of))
        if images is not None:
            raise InputError(f"{images}: has none of the images of {listed.name}; expected {first} and so on")
        listed.notes.append(f"no photos beside the list (not even {first}): captions only")
        return None, set(listed.split_of)
    if best_others:
        unlisted = f"{len(best_others)}, not used (first: {min(best_others)})"
        listed.notes.append(f"photos in {best} that the list does not have: {unlisted}")
    return best, best_there


def _files_beside(folder: Path, names: Iterable[str]) -> set[str]:
    """All that lies where `names` would lie below `folder`: one listing a folder, no look at single files."""
    files: set[str] = set()
    for parent in {posixpath.dirname(name) for name in names}:
        here = os.path.join(folder, parent)
        if os.path.isdir(here):
            with os.scandir(here) as entries:
                files |= {posixpath.join(parent, entry.name) for entry in entries}
    return files


def _join(listed: CaptionList, root: Path | None, there: set[str]) -> Dataset:
    """The listed images that are `there`, with their captions that are not empty; notes on the others."""
    notes = list(listed.notes)
    images = tuple(image for image in listed.split_of if image in there)
    missing = [image for image in listed.split_of if image not in there]
    index = {image: i for i, image in enumerate(images)}
    lost = sum(image not in index for image, _ in listed.captions)
    captions = [
        (image, " ".join(text.splitlines()).strip()) for image, text in listed.captions if image in index
    ]
    empty = [image for image, text in captions if not text]
    captions = [(image, text) for image, text in captions if text]
    bare = sorted(index.keys() - {image for image, _ in captions}, key=index.get)
    if missing:
        left_out = f"{len(missing)} of {len(listed.split_of)} images, left out with {lost} captions"
        notes.append(f"listed but not in {root}: {left_out} (first: {missing[0]})")
    if empty:
        notes.append(f"empty captions: {len(empty)}, left out (first: one of {empty[0]})")
    if bare and captions:
        notes.append(f"images without a caption: {len(bare)} (first: {bare[0]})")
    return Dataset(
        name=listed.name,
        root=root,
        images=images,
        split_of_image=tuple(listed.split_of[image] for image in images),
        captions=tuple(text for _, text in captions),
        image_of_caption=np.array([index[image] for image, _ in captions], dtype=np.int64),
        notes=tuple(notes),
    )


def photo_id(name: str) -> str:
    """The Flickr photo id of an image name: the digits before the first underscore, or the whole stem.

    Flickr8K's 1000268201_693b08cb0e.jpg and Flickr30K's 1000268201.jpg are the same photo.
    """
    stem = PurePosixPath(name).stem
    digits = re.match(r"(\d+)_", stem)
    return digits[1] if digits else stem


def without_photos(dataset: Dataset, photo_ids: Collection[str]) -> tuple[Dataset, int]:
    """`dataset` without the images whose `photo_id` is in `photo_ids`, and how many those were.

    Whoever trains on Flickr30K and reports on Flickr8K must leave Flickr8K's dev and test photos out: the
    training part of Flickr30K has 871 of the test photos and 867 of the dev photos.
    """
    left_out = set(photo_ids)
    mask = np.array([photo_id(name) not in left_out for name in dataset.images], dtype=bool)
    return dataset.select(mask), int((~mask).sum())


def without_evaluated(text: Dataset, dataset: Dataset) -> tuple[Dataset, int]:
    """`text` without the dev and test photos of `dataset`, by photo id, and how many images those were."""
    evaluated = zip(dataset.images, dataset.split_of_image, strict=True)
    return without_photos(text, {photo_id(name) for name, split in evaluated if split in ("dev", "test")})
