"""A data set as everything else sees it: images, splits, captions, and which image a caption belongs to.

`read_dataset` recognises what a user has (Flickr8K, Karpathy JSON, CSV, scenes, a folder of photos; the
data of section 5) and joins the list, read by `vse.data.formats`, with the photos on disk. It opens no
photo and knows no features.
"""

import hashlib
import json
import os
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Bool, Int64

from vse.data.caption_lists import LIST_SUFFIXES, CaptionList, is_caption_list
from vse.data.formats import TOKEN_FILE, read_flickr8k, read_list, read_photo_folder
from vse.data.listed_photos import find_photos, keep_inside, notes_on_lists
from vse.data.photo_files import is_hidden
from vse.system.errors import InputError
from vse.system.terminal import is_first_process

# A run of letters of a script that puts no spaces between words: Thai to Tibetan, Burmese, Khmer, kana, Han.
UNSPACED = re.compile("[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]{5}")
SPLITS = ("train", "dev", "test")
KNOWN = (
    "a Flickr8K folder (Flickr8k_text + Flicker8k_Dataset), a Karpathy dataset_*.json, COCO's captions_*.json, "
    "a CSV with columns image,caption[,split], lines NAME#N<tab>caption, the word scenes, or a folder of photos"
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
        rows = np.flatnonzero(mask)
        owned = np.flatnonzero(mask[self.image_of_caption])
        return replace(
            self,
            images=tuple(self.images[i] for i in rows),
            split_of_image=tuple(self.split_of_image[i] for i in rows),
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
    keep_inside(listed, images)
    return _join(listed, *find_photos(listed, images))


def _scenes() -> Path:
    """The folder of the embedded data set, made now if it is not there yet."""
    from vse.scenes.scenes import make_scenes  # here: drawing is needed by nobody else

    folder = Path("data/scenes")
    make_scenes(folder)  # does nothing where the very same scenes are there already
    return folder


def _read_file(path: Path) -> CaptionList:
    if path.name == TOKEN_FILE:
        return read_flickr8k(path.parent)
    if path.suffix.lower() in LIST_SUFFIXES or is_caption_list(path):
        return read_list(path)
    raise InputError(f"{path}: not a known kind of file; expected {KNOWN}")


def _read_folder(folder: Path) -> CaptionList:
    with os.scandir(folder) as entries:
        listing = sorted((entry.name, entry.is_dir()) for entry in entries if not is_hidden(entry.name))
    folders = [name for name, is_folder in listing if is_folder]
    files = [name for name, is_folder in listing if not is_folder]
    for texts in (folder / "Flickr8k_text", folder, *(folder / name for name in folders)):
        if (texts / TOKEN_FILE).is_file():  # in the folder Flickr_TextData of Kaggle's copy
            return read_flickr8k(texts)
    if "scenes.json" in files:
        listed = read_list(folder / "captions.csv")
        listed.name = "scenes"
        return listed
    lists = [name for name in files if re.fullmatch(r"dataset_.*\.json", name)]
    lists = lists or [name for name in files if name == "dataset.json" and is_caption_list(folder / name)]
    lists = lists or _coco_lists(folder)
    tables = [name for name in files if name.lower().endswith((".csv", ".tsv")) or name == "captions.txt"]
    texts = [name for name in files if name.lower().endswith((".txt", ".token", *(".csv", ".tsv")))]
    lists = lists or [name for name in texts if is_caption_list(folder / name)]
    if len(lists) > 1:
        raise InputError(f"{folder}: has {len(lists)} caption lists, give the one you mean: {', '.join(lists)}")
    if lists:
        return _read_file(folder / lists[0])
    listed, others = read_photo_folder(folder)
    if not listed.split_of:
        if tables:
            return read_list(folder / tables[0])  # says which columns it lacks
        raise InputError(f"{folder}: no photo and no caption list in it; expected {KNOWN}")
    if tables:
        listed.notes.append(f"{tables[0]} lacks the columns image,caption, so it is no caption list: photos only")
    listed.notes += notes_on_lists(folder, listed.split_of, others)
    return listed


def _coco_lists(folder: Path) -> list[str]:
    """COCO's caption files, in the folder or in its annotations/, by their paths from the folder."""
    paths = [path for top in (folder, folder / "annotations") for path in sorted(top.glob("captions_*.json"))]
    return [path.relative_to(folder).as_posix() for path in paths if is_caption_list(path)]


def _join(listed: CaptionList, root: Path | None, there: set[str]) -> Dataset:
    """The listed images that are `there`, with their captions that are not empty; notes on the others."""
    notes = list(listed.notes)
    images = tuple(image for image in listed.split_of if image in there)
    missing = [image for image in listed.split_of if image not in there]
    index = {image: i for i, image in enumerate(images)}
    lost = sum(image not in index for image, _ in listed.captions)
    captions = [(image, " ".join(text.splitlines()).strip()) for image, text in listed.captions if image in index]
    empty = [image for image, text in captions if not text]
    captions = [(image, text) for image, text in captions if text]
    bare = sorted(index.keys() - {image for image, _ in captions}, key=index.get)
    if missing:
        left_out = f"{len(missing)} of {len(listed.split_of)} images, left out with {lost} captions"
        notes.append(f"listed but not in {root}: {left_out} (first: {missing[0]})")
    unspaced = sum(bool(UNSPACED.search(text)) for _, text in captions)
    if unspaced > len(captions) / 2:
        notes.append(
            f"captions without spaces between words (Chinese, Japanese, Thai ...): {unspaced} of {len(captions)}; "
            "a run of letters counts as one word, so put spaces between the words first"
        )
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


def read_extra_text(data: str | None, dataset: Dataset) -> Dataset | None:
    """The captions of `data` without the photos that `dataset` evaluates on, None for None; says how many that were."""
    if data is None:
        return None
    text, left_out = without_evaluated(read_dataset(data), dataset)
    if is_first_process():
        print(f"extra text: {len(text.captions)} captions; left out {left_out} images, evaluated in {dataset.name}")
    return text
