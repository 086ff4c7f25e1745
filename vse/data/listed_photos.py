"""Where the photos of a caption list are: which folder, which of its files, and lists that lie near a folder of photos.

Folders are listed; single files are not asked one by one, and none is opened but lists, to tell what they are.
"""

import os
import posixpath
import re
import unicodedata
from collections.abc import Collection, Iterable
from itertools import islice
from pathlib import Path

from vse.data.caption_lists import LIST_SUFFIXES, CaptionList, file_head, is_caption_list
from vse.data.formats import PHOTO_FOLDERS
from vse.data.photo_files import is_hidden, is_photo
from vse.system.errors import InputError

_MOST = 100  # folders or lists that are looked at where none is named


def keep_inside(listed: CaptionList, images: Path | None) -> None:
    """Leaves out names that lead out of the photo folder (absolute, ../), with a note. Raises InputError if none stays.

    An absolute name below the list's folder, or below `images`, becomes the path from there.
    """
    if not any(_is_absolute(name) or ".." in name for name in listed.split_of):
        return
    inside = {}
    for name in listed.split_of:
        below = name
        if os.path.isabs(name):
            below = os.path.relpath(name, os.path.abspath(images or listed.home)).replace(os.sep, "/")
        path = posixpath.normpath(below.replace("\\", "/"))
        if not _is_absolute(below) and path != ".." and not path.startswith("../"):
            inside[name] = below
    outside = [name for name in listed.split_of if name not in inside]
    if not inside:
        raise InputError(
            f"{listed.name}: all image names lead out of its folder (first: {outside[0]!r}); "
            "write them from the photo folder on, and say where that is: --images DIR"
        )
    if outside:
        listed.notes.append(
            f"image names that lead out of the photo folder: {len(outside)}, left out (first: {outside[0]!r})"
        )
    _rename(listed, inside)


def _is_absolute(name: str) -> bool:
    return bool(re.match(r"[/\\]|[A-Za-z]:[/\\]", name))


def _rename(listed: CaptionList, names: dict[str, str]) -> None:
    """Calls the images by their values in `names`; those that are not in it are left out. Of equal ones one stays."""
    split_of: dict[str, str] = {}
    for image, split in listed.split_of.items():
        if image in names:
            split_of.setdefault(names[image], split)
    listed.split_of = split_of
    listed.captions = [(names[image], text) for image, text in listed.captions if image in names]


def find_photos(listed: CaptionList, images: Path | None) -> tuple[Path | None, set[str]]:
    """The folder with the most of the listed images, and which are in it; (None, all of them) without one."""
    if images is not None and not images.is_dir():
        raise InputError(f"{images}: is not a folder; expected the one with the photos of {listed.name}")
    folder, there, files = _best([images] if images is not None else listed.folders, listed.split_of)
    if folder is None and images is None:
        folder, there, files = _best(_others_near(listed.home), listed.split_of)
        if folder is not None:
            listed.notes.append(f"photos found in {folder}; if those are others, say where they are: --images DIR")
    if folder is None:
        first = next(iter(listed.split_of))
        if images is not None:
            raise InputError(f"{images}: has none of the images of {listed.name}; expected {first} and so on")
        listed.notes.append(
            f"no photos beside the list (not even {first}): captions only; say where they are with --images DIR"
        )
        return None, set(listed.split_of)
    others = [name for name in files - set(there.values()) if is_photo(posixpath.basename(name))]
    if others:
        unlisted = f"{len(others)}, not used (first: {min(others)})"
        listed.notes.append(f"photos in {folder} that the list does not have: {unlisted}")
    spelt = [(name, file) for name, file in there.items() if name != file]
    if spelt:
        listed.notes.append(
            f"names that the files spell otherwise (accents, capitals, backslashes): {len(spelt)}, "
            f"taken as the same (first: {spelt[0][0]!r} is {spelt[0][1]!r})"
        )
        _rename(listed, {name: there.get(name, name) for name in listed.split_of})
    return folder, set(there.values())


def _best(folders: Iterable[Path], names: Collection[str]) -> tuple[Path | None, dict[str, str], set[str]]:
    """The folder with the most of `names`, listed name -> file there, and all files where those would lie."""
    best: tuple[Path | None, dict[str, str], set[str]] = (None, {}, set())
    for folder in dict.fromkeys(folders):
        files = _files_beside(folder, names)
        there = _matched(names, files)
        if len(there) > len(best[1]):
            best = folder, there, files
        if len(there) == len(names):
            break
    return best


def _others_near(home: Path) -> list[Path]:
    """Folders where photos may be besides the usual ones: any in the list's own, the usual names beside that."""
    try:
        with os.scandir(home) as entries:
            subfolders = sorted(e.name for e in islice(entries, 10_000) if e.is_dir() and not is_hidden(e.name))
    except OSError:
        subfolders = []
    return [home / name for name in subfolders[:_MOST]] + [home.parent / name for name in PHOTO_FOLDERS]


def _files_beside(folder: Path, names: Iterable[str]) -> set[str]:
    """All that lies where `names` would lie below `folder`: one listing a folder, no look at single files."""
    files: set[str] = set()
    for parent in {posixpath.dirname(spelt) for name in names for spelt in (name, name.replace("\\", "/"))}:
        here = os.path.join(folder, parent)
        if os.path.isdir(here):
            with os.scandir(here) as entries:
                files |= {posixpath.join(parent, entry.name) for entry in entries}
    return files


def _matched(names: Collection[str], files: set[str]) -> dict[str, str]:
    """Listed name -> the file of that name, else the only one that differs in form of accents, capitals, slashes."""
    there = {name: name for name in names if name in files}
    if len(there) < len(names) and len(files) > len(there):
        alike: dict[str, list[str]] = {}
        for file in files - there.keys():
            alike.setdefault(_plain(file), []).append(file)
        for name in names:
            if name not in there and len(same := alike.get(_plain(name), [])) == 1:
                there[name] = same.pop()
    return {name: there[name] for name in names if name in there}


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name.replace("\\", "/")).casefold()


def notes_on_lists(folder: Path, photos: Collection[str], others: Iterable[str]) -> list[str]:
    """Notes on caption lists below (among `others`) or beside a folder that is read as photos alone."""
    below = [name for name in others if name.lower().endswith(LIST_SUFFIXES)][:_MOST]
    lists = [name for name in below if is_caption_list(folder / name)]
    notes = []
    if lists:
        more = f" and {len(lists) - 3} more" if len(lists) > 3 else ""
        notes.append(
            f"caption lists that were not used: {', '.join(lists[:3])}{more}; to use one, give the file as DATA, "
            f"with --images {folder}"
        )
    bare = {posixpath.basename(name) for name in photos}
    try:
        beside = sorted(path for path in folder.resolve().parent.iterdir() if path.suffix.lower() in LIST_SUFFIXES)
    except OSError:
        beside = []
    for path in beside[:_MOST]:
        if path.is_file() and is_caption_list(path) and bare & set(re.findall(r"[^\s,;|\"/\\#]+", file_head(path))):
            notes.append(f"a caption list beside the folder was not used: {path}; to use it, give it as DATA")
    return notes
