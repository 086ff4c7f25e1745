"""Which files are photos, by name, and the photos of a folder: one list of suffixes and one walker for every command.

Opens no photo: `vse.data.photos` does, and reads exactly the formats of this list.
"""

import importlib.util
import os
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

from vse.system.terminal import is_storable

# Pillow's name of a format -> the suffixes of its files. None of these starts another program (EPS would).
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "AVIF": (".avif", ".avifs"),
}
HEIF_SUFFIXES = (".heic", ".heif", ".hif")  # photos of iPhones: Pillow reads them with a plugin only
HEIF_PLUGIN = "pillow_heif" if importlib.util.find_spec("pillow_heif") else ""
if HEIF_PLUGIN:
    _SUFFIXES["HEIF"] = HEIF_SUFFIXES
_OTHER_PICTURES = (
    *HEIF_SUFFIXES, ".jxl", ".tga", ".ico", ".psd", ".svg", ".eps",
    ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf",
)  # fmt: skip
PHOTO_FORMATS = tuple(_SUFFIXES)
PHOTO_SUFFIXES = tuple(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)


def is_photo(file: str) -> bool:
    """True for the file name of a photo; archives made on a Mac bring `._x.jpg` files that are none."""
    return file.lower().endswith(PHOTO_SUFFIXES) and not is_hidden(file)


def is_hidden(file: str) -> bool:
    """True for names that are not the user's: `.x` and the `__MACOSX` of archives made on a Mac."""
    return file.startswith(".") or file == "__MACOSX"


@dataclass
class PhotoFolder:
    """What lies below a folder: all paths from there, with /, sorted."""

    photos: list[str] = field(default_factory=list)
    unstorable: list[str] = field(default_factory=list)  # photos whose names cannot be kept in a list
    others: list[str] = field(default_factory=list)  # files that are no photos by their suffix
    closed: list[str] = field(default_factory=list)  # folders that may not be read

    def notes(self) -> list[str]:
        """One line for each kind of file that was left out."""
        notes = self.notes_on_pictures(self.others)
        if self.unstorable:
            names = f"{len(self.unstorable)}, left out; rename {min(self.unstorable)!r}"
            notes.append(f"names with a line break or control character or not in UTF-8: {names}")
        return notes

    def notes_on_pictures(self, files: list[str] | None = None) -> list[str]:
        """One line for folders that may not be read, and one for `files`, by default the pictures of other kinds."""
        notes = []
        if self.closed:
            notes.append(f"folders that may not be read: {len(self.closed)} (first: {self.closed[0]!r})")
        if files is None:
            files = [name for name in self.others if name.lower().endswith(_OTHER_PICTURES)]
        if files:
            suffixes = Counter(os.path.splitext(name)[1].lower() or "without suffix" for name in files)
            kinds = ", ".join(f"{n} {suffix!r}"[:30] for suffix, n in suffixes.most_common(5)).replace("'", "")
            more = ", and other kinds" if len(suffixes) > 5 else ""
            heif = any(suffix in HEIF_SUFFIXES for suffix in suffixes)
            hint = "; HEIC is read with a plugin: pip install pillow-heif" if heif else ""
            notes.append(f"files left out, no photos by their suffix: {kinds}{more}{hint}")
        return notes


def walk_photos(folder: Path) -> PhotoFolder:
    """Every photo below `folder`, linked folders included, each folder once: a link that leads back ends there."""
    result, visited, waiting = PhotoFolder(), set(), deque([(str(folder), "")])
    while waiting:
        here, prefix = waiting.popleft()
        try:
            status = os.stat(here)
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            with os.scandir(here) as entries:
                listing = [(entry.name, entry.is_dir(), entry.is_symlink()) for entry in entries]
        except OSError:
            result.closed.append(prefix)
            continue
        for name, is_folder, is_link in listing:
            if is_hidden(name):
                continue
            path = prefix + name
            if is_folder:  # links last: a folder is known by its own place, not by that of a link to it
                put = waiting.append if is_link else waiting.appendleft
                put((os.path.join(here, name), f"{path}/"))
            elif not is_photo(name):
                result.others.append(path)
            else:
                (result.photos if is_storable(path) else result.unstorable).append(path)
    for names in (result.photos, result.unstorable, result.others, result.closed):
        names.sort()
    return result
