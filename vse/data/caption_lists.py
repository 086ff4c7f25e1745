"""Caption lists as text: tables with the columns image and caption, token files (NAME#N<tab>caption), a caption a line.

The content says what a file is, not its name. `read_captions` gives the captions of any list alone.
Whether the photos are there is not looked at here: `vse.data.datasets` joins the two.
"""

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vse.system.errors import InputError
from vse.system.terminal import is_storable

LIST_SUFFIXES = (".csv", ".tsv", ".txt", ".token", ".json")
# What the columns are called: here, and in Kaggle's copy of Flickr30K.
IMAGE_COLUMNS, CAPTION_COLUMNS = ("image", "image_name"), ("caption", "comment")
_TOKEN_LINE = re.compile(r"[^\t\n]*[^\s#]#\d+[ ]*\t")
_HEAD = 1 << 16  # bytes that tell what a file is
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
    home: Path = Path()  # the folder that the list is in


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without byte-order mark. Raises InputError with the line that is not."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a text file") from None
    if not data.removeprefix(b"\xef\xbb\xbf").strip():
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
        raise InputError(
            f"{where}: image name {name!r} has a line break or control character or is not UTF-8; rename the file"
        )
    return name


def kind_of(path: Path) -> str:
    """What a file is by its content: "json", "tokens" (NAME#N<tab>caption), "table" (image and caption), or ""."""
    head = file_head(path)
    first = next((line for line in head.splitlines() if line.strip()), "")
    if path.suffix.lower() == ".json" or re.match(r'\s*[{\[]\s*["{\[]', head):
        return "json"
    if _TOKEN_LINE.match(first):
        return "tokens"
    return "table" if _columns(first) else ""


def file_head(path: Path) -> str:
    """The first 64 kB of a file as text; "" where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_HEAD).decode("utf-8-sig", "replace")
    except OSError:
        return ""


def is_caption_list(path: Path) -> bool:
    """True for a file that says, by its first 64 kB, which photo a caption belongs to."""
    kind = kind_of(path)
    if kind != "json":
        return bool(kind)
    head = file_head(path)
    return '"images"' in head and any(key in head for key in ('"sentences"', '"annotations"', '"caption"'))


def read_tokens(path: Path) -> Iterator[tuple[str, str, str]]:
    """(image name, caption, place) of each line NAME#N<tab>caption. Raises InputError for other lines, doubled ids."""
    seen: set[str] = set()
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        caption_id, tab, text = line.partition("\t")
        image, mark, _ = caption_id.strip().rpartition("#")
        if not tab or not mark:
            raise InputError(f"{where}: expected NAME.jpg#0<tab>caption, found {line[:60]!r}")
        if caption_id in seen:
            raise InputError(f"{where}: {caption_id} is there twice; keep one of the two")
        seen.add(caption_id)
        yield check_name(image, where), text.strip(), where


def read_token_list(path: Path) -> CaptionList:
    """The captions of a token file of any name (as results_20130124.token), split by a hash of the names."""
    listed = CaptionList(f"tokens:{path.stem}", home=path.parent)
    for image, text, _ in read_tokens(path):
        listed.split_of[image] = ""
        listed.captions.append((image, text))
    return with_splits(listed)


def _header(line: str) -> tuple[list[str], str]:
    """The lower-case columns of a table, under the names image and caption, and what separates them."""
    tried = []
    for separator in (",", "\t", ";", "|"):
        try:
            cells = next(csv.reader([line.strip()], skipinitialspace=True, delimiter=separator), [])
        except csv.Error:
            continue
        cells = [cell.strip().lower() for cell in cells]
        cells = ["image" if cell in IMAGE_COLUMNS else "caption" if cell in CAPTION_COLUMNS else cell for cell in cells]
        tried.append((cells, separator))
    return max(tried, key=lambda reading: len({"image", "caption"} & set(reading[0])), default=([], ","))


def _columns(line: str) -> bool:
    return {"image", "caption"} <= set(_header(line)[0])


def read_csv(path: Path) -> CaptionList:
    """The rows of a table with the columns image, caption and optionally split; a row is one caption.

    Where no row says a split, the images are split 80 / 10 / 10 by a hash of their names. Raises InputError
    for rows that make no sense.
    """
    rows = _csv_rows(path)
    header = next(rows)[1]
    if not {"image", "caption"} <= set(header) or len(set(header)) != len(header):
        raise InputError(f"{path}: its columns are {','.join(header)[:80]!r}; expected image,caption[,split]")
    column = {name: header.index(name) for name in ("image", "caption", "split") if name in header}
    listed = CaptionList(f"csv:{path.stem}", home=path.parent)
    joined = 0
    for line, row, commas in rows:
        where = f"{path}, line {line}"
        joined += commas
        if len(row) != len(header):
            raise InputError(
                f"{where}: {len(row)} fields, expected {len(header)} ({','.join(header)}); "
                'put a caption with a comma in "double quotes"'
            )
        image = check_name(row[column["image"]].strip(), where)
        split = split_name(row[column["split"]], where) if "split" in column else ""
        known = listed.split_of.setdefault(image, split)
        if split and known and split != known:
            raise InputError(f"{where}: {image} is in {split} and further up in {known}; keep one")
        listed.split_of[image] = known or split
        listed.captions.append((image, row[column["caption"]]))
    if joined:
        listed.notes.append(f'captions with commas but no "quotes": {joined}, each read as one caption')
    return with_splits(listed)


def table_captions(path: Path) -> list[str]:
    """The column caption of a table, whatever its other columns. Raises InputError without that column."""
    rows = _csv_rows(path)
    header = next(rows)[1]
    if "caption" not in header:
        raise InputError(f"{path}: its columns are {','.join(header)[:80]!r}, expected one called 'caption'")
    column = header.index("caption")
    return [row[column] for _, row, _ in rows if len(row) > column]


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str], bool]]:
    """The rows of a table that are not blank, each with the number of its last line; first the header.

    A comma in a caption that was not quoted: where nothing follows the caption, the rest is its, and the third is true.
    """
    text = read_text(path)
    header, separator = _header(next((line for line in text.split("\n") if line.strip()), ""))
    # strict: a quote that is never closed would otherwise swallow the rest of the file in silence.
    quoting = csv.QUOTE_NONE if separator == "|" else csv.QUOTE_MINIMAL  # Flickr30K's table quotes nothing
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, skipinitialspace=True, strict=True, delimiter=separator, quoting=quoting)
    first = True
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if first:
                first = False
                yield reader.line_num, header, False
            else:
                commas = len(row) > len(header) and header[-1] == "caption"
                if commas:
                    at = len(header) - 1
                    row = [*row[:at], f"{separator} ".join(row[at:])]
                yield reader.line_num, row, commas
    except csv.Error as error:
        raise InputError(
            f'{path}, line {reader.line_num}: not a CSV file ({error}); write a quote in a "quoted" caption twice'
        ) from None
    if first:
        raise InputError(f"{path}: has no word; expected columns such as image,caption[,split]")


def with_splits(listed: CaptionList) -> CaptionList:
    """The list itself; where it gives no split, its images get one by a hash of their names, and a note says so."""
    if listed.split_of and not any(listed.split_of.values()):
        listed.split_of = hashed_splits(listed.split_of)
        listed.notes.append("no split is given: 80 / 10 / 10 by a hash of the image name (the same every time)")
    return listed


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


def split_name(text: str, where: str) -> str:
    """`text` as "train", "dev", "test" or "". Raises InputError for anything else."""
    try:
        return SPLIT_NAMES[text.strip().lower()]
    except KeyError:
        known = ", ".join(name for name in SPLIT_NAMES if name)
        raise InputError(f"{where}: unknown split {text!r}; expected one of {known}, or nothing") from None
