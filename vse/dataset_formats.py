"""Caption lists as they lie on disk: Flickr8K's text files, Karpathy's JSON, CSV, a bare folder of photos.

Each reader returns a `CaptionList`: what the file says, checked for sense, and where its photos may be.
Whether the photos are there is not looked at here: `vse.datasets` joins the two.
"""

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vse.errors import InputError

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
SPLIT_FILES = {
    "train": "Flickr_8k.trainImages.txt",
    "dev": "Flickr_8k.devImages.txt",
    "test": "Flickr_8k.testImages.txt",
}
TOKEN_FILE = "Flickr8k.token.txt"
FLICKR8K_PHOTOS = ("Flicker8k_Dataset", "Flickr8k_Dataset/Flicker8k_Dataset", "Flickr8k_Dataset")
# How a split is spelt in the wild -> how it is spelt here ("restval" is Karpathy's extra training part).
SPLIT_NAMES = {
    "train": "train", "training": "train", "restval": "train", "dev": "dev", "val": "dev", "valid": "dev",
    "validation": "dev", "test": "test", "": "",
}  # fmt: skip


@dataclass
class CaptionList:
    """What a caption file says. `folders`: where its photos may be, the likeliest first."""

    name: str
    split_of: dict[str, str] = field(default_factory=dict)  # image name -> split, "" = none; in file order
    captions: list[tuple[str, str]] = field(default_factory=list)  # (image name, text), in file order
    folders: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without byte-order mark. Raises InputError with the line that is not."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a text file") from None
    if not data.strip():
        raise InputError(f"{path}: is empty; fetch or write it again")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        old = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin1"
        raise InputError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8; convert the file first, "
            f"for example: iconv -f {old} -t utf-8 {path.name} > utf8.txt"
        ) from None


def check_name(name: str, where: str) -> str:
    """`name` itself. Raises InputError for a name that cannot be kept one a line in a UTF-8 file."""
    if not name:
        raise InputError(f"{where}: the image name is empty; expected a file name such as 1000268201.jpg")
    if not is_storable(name):
        raise InputError(f"{where}: image name {name!r} has a line break or is not UTF-8; rename the file")
    return name


def is_storable(name: str) -> bool:
    """True for a name that survives in a list of one name a line, UTF-8."""
    return name.splitlines() == [name] and not any("\ud800" <= c <= "\udfff" for c in name)


def read_flickr8k(texts: Path) -> CaptionList:
    """The official Flickr8K lists in the folder `texts`. Raises InputError for doubled ids, split overlap."""
    top = texts.parent if texts.name == "Flickr8k_text" else texts
    found = CaptionList("flickr8k", folders=[top / f for f in (*FLICKR8K_PHOTOS, "Images", "images", ".")])
    split_of: dict[str, str] = {}
    for split, file in SPLIT_FILES.items():
        if not (texts / file).is_file():
            raise InputError(f"{texts}: has {TOKEN_FILE} but no {file}; unpack Flickr8k_text.zip whole")
        for number, line in enumerate(read_text(texts / file).split("\n"), 1):
            if not (image := line.strip()):
                continue
            if image in split_of:
                also = "twice" if split_of[image] == split else f"and in {split_of[image]} too"
                raise InputError(
                    f"{texts / file}, line {number}: {image} is in {split} {also}; keep one of the two"
                )
            split_of[image] = split
    seen: set[str] = set()
    path = texts / TOKEN_FILE
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        caption_id, tab, text = line.partition("\t")
        image, mark, _ = caption_id.strip().rpartition("#")
        if not tab or not mark:
            raise InputError(f"{path}, line {number}: expected NAME.jpg#0<tab>caption, found {line[:60]!r}")
        if caption_id in seen:
            raise InputError(f"{path}, line {number}: {caption_id} is there twice; keep one of the two")
        seen.add(caption_id)
        found.split_of.setdefault(check_name(image, f"{path}, line {number}"), split_of.get(image, ""))
        found.captions.append((image, text))
    found.split_of |= {image: split for image, split in split_of.items() if image not in found.split_of}
    return found


def read_karpathy(path: Path) -> CaptionList:
    """The images and raw sentences of a Karpathy JSON (`dataset_*.json`). Raises InputError if it is none."""
    try:
        content = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not whole JSON ({error}); was the transfer cut? fetch it again") from None
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise InputError(f'{path}: no list "images"; expected a Karpathy file such as dataset_flickr30k.json')
    name = content.get("dataset")
    name = name if isinstance(name, str) and name else path.stem.removeprefix("dataset_")
    found = CaptionList(name)
    for number, entry in enumerate(content["images"]):
        where = f"{path}, images[{number}]"
        try:
            image, split = str(entry["filename"]), str(entry["split"])
            texts = [sentence["raw"] for sentence in entry["sentences"]]
        except (KeyError, TypeError) as error:
            raise InputError(
                f'{where}: expected the keys "filename", "split" and "sentences" (each with "raw"); {error!r}'
            ) from None
        if not all(isinstance(text, str) for text in texts):
            raise InputError(f'{where}: a "raw" sentence is not text; expected a string')
        image = check_name(f"{entry['filepath']}/{image}" if entry.get("filepath") else image, where)
        if image in found.split_of:
            raise InputError(f"{where}: {image} is there twice; keep one of the two entries")
        found.split_of[image] = _split_name(split, where)
        found.captions += [(image, text) for text in texts]
    own = (f"{name}_images", f"{name}-images", name, f"{name}/images")
    usual = (".", "images", "Images", *own, "flickr30k-images", "flickr30k_images", *FLICKR8K_PHOTOS)
    found.folders = [path.parent / folder for folder in usual]
    return found


def is_caption_csv(path: Path) -> bool:
    """True for a CSV whose header has the columns image and caption, in any case and order."""
    return {"image", "caption"} <= set(_lower(next(_csv_rows(path))[1]))


def _lower(header: list[str]) -> list[str]:
    return [column.strip().lower() for column in header]


def read_csv(path: Path) -> CaptionList:
    """The rows of a CSV with the columns image, caption and optionally split; a row is one caption.

    Where no row says a split, the images are split 80 / 10 / 10 by a hash of their names. Raises InputError
    for rows that make no sense.
    """
    rows = _csv_rows(path)
    header = _lower(next(rows)[1])
    if not {"image", "caption"} <= set(header) or len(set(header)) != len(header):
        raise InputError(f"{path}: its columns are {','.join(header)[:80]!r}; expected image,caption[,split]")
    column = {name: header.index(name) for name in ("image", "caption", "split") if name in header}
    found = CaptionList(f"csv:{path.stem}", folders=[path.parent / f for f in (".", "images", "Images")])
    joined = 0
    for line, row in rows:
        where = f"{path}, line {line}"
        if len(row) > len(header) and column["caption"] == len(header) - 1:
            # A comma in a caption that was not quoted: nothing follows the caption, so the rest is its.
            row, joined = [*row[: len(header) - 1], ", ".join(row[len(header) - 1 :])], joined + 1
        if len(row) != len(header):
            raise InputError(
                f"{where}: {len(row)} fields, expected {len(header)} ({','.join(header)}); "
                'put a caption with a comma in "double quotes"'
            )
        image = check_name(row[column["image"]].strip(), where)
        split = _split_name(row[column["split"]], where) if "split" in column else ""
        known = found.split_of.setdefault(image, split)
        if split and known and split != known:
            raise InputError(f"{where}: {image} is in {split} and further up in {known}; keep one")
        found.split_of[image] = known or split
        found.captions.append((image, row[column["caption"]]))
    if joined:
        found.notes.append(f'captions with commas but no "quotes": {joined}, each read as one caption')
    if found.split_of and not any(found.split_of.values()):
        found.split_of = hashed_splits(found.split_of)
        found.notes.append(
            "no split is given: 80 / 10 / 10 by a hash of the image name (the same every time)"
        )
    return found


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV that are not blank, each with the number of its last line; first the header."""
    # strict: a quote that is never closed would otherwise swallow the rest of the file in silence.
    reader = csv.reader(io.StringIO(read_text(path), newline=""), skipinitialspace=True, strict=True)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num, row
    except csv.Error as error:
        raise InputError(
            f'{path}, line {reader.line_num}: not CSV ({error}); write a quote in a "quoted" caption twice'
        ) from None


def hashed_splits(names: Iterable[str]) -> dict[str, str]:
    """A split for each name, about 80 / 10 / 10, from the SHA-256 of the name alone.

    So an image keeps its split when others are added or the order changes. Only where a split stays empty (a
    few dozen images) the two highest hashes become test and dev, and the rest train.
    """
    share = {name: int(hashlib.sha256(name.encode()).hexdigest()[:15], 16) / 16**15 for name in names}
    split_of = {name: "train" if s < 0.8 else "dev" if s < 0.9 else "test" for name, s in share.items()}
    if len(set(split_of.values())) < 3 <= len(share):
        *_, dev, test = sorted(share, key=lambda name: (share[name], name))
        split_of = {name: "test" if name == test else "dev" if name == dev else "train" for name in share}
    return split_of


def read_photo_folder(folder: Path) -> CaptionList:
    """Every photo below `folder`, by its path from there (with /), sorted; no captions and no splits."""
    names, odd, visited = [], [], set()
    for here, folders, files in os.walk(folder, followlinks=True):
        status = os.stat(here)
        if (status.st_dev, status.st_ino) in visited:  # a link that leads back up
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = sorted(f for f in folders if not is_hidden(f))
        prefix = Path(here).relative_to(folder).as_posix() + "/"
        for file in files:
            if is_photo(file):
                name = file if prefix == "./" else prefix + file
                (names if is_storable(name) else odd).append(name)
    found = CaptionList(f"photos:{folder.resolve().name}", dict.fromkeys(sorted(names), ""), folders=[folder])
    if odd:
        found.notes.append(
            f"names with a line break or not in UTF-8: {len(odd)}, left out; rename {min(odd)!r}"
        )
    return found


def is_photo(file: str) -> bool:
    """True for the file name of a photo; archives made on a Mac bring `._x.jpg` files that are none."""
    return file.lower().endswith(PHOTO_SUFFIXES) and not is_hidden(file)


def is_hidden(file: str) -> bool:
    """True for names that are not the user's: `.x` and the `__MACOSX` of archives made on a Mac."""
    return file.startswith(".") or file == "__MACOSX"


def _split_name(text: str, where: str) -> str:
    """`text` as "train", "dev", "test" or "". Raises InputError for anything else."""
    try:
        return SPLIT_NAMES[text.strip().lower()]
    except KeyError:
        known = ", ".join(name for name in SPLIT_NAMES if name)
        raise InputError(f"{where}: unknown split {text!r}; expected one of {known}, or nothing") from None
