"""What binds the files of a folder together: `manifest.json` has the SHA-256 of each, checked when they are read.

A folder without one, from before there was any, is believed. It is no seal against whoever means ill: it tells damage,
mixed up files and slips of an editor.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from vse.system.errors import InputError
from vse.system.files import read_json, sha256_of, write_json

MANIFEST = "manifest.json"
VERSION = 1


def bind(folder: Path, names: Sequence[str]) -> None:
    """Writes the manifest of these files of a folder: the last thing to be written."""
    digests = {name: sha256_of(folder / name) for name in sorted(names)}
    write_json(folder / MANIFEST, {"version": VERSION, "sha256": digests})


def unbind(folder: Path) -> None:
    """Removes the manifest before a file changes: a kill in between leaves a folder that is still read."""
    (folder / MANIFEST).unlink(missing_ok=True)


def check(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """The SHA-256 of each of these files of a folder. Raises InputError where the manifest, if any, has another one."""
    try:
        digests = {name: sha256_of(folder / name) for name in sorted(names)}
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}); restore the file") from None
    if (folder / MANIFEST).exists():
        told = _read(folder / MANIFEST)
        for name in names:
            if told.get(name) != digests[name]:
                raise InputError(
                    f"{folder / name}: not the file that was saved (its SHA-256 is another one than in {MANIFEST}); "
                    f"restore it, or delete {folder / MANIFEST} to accept it as it is"
                )
    return digests


def _read(path: Path) -> dict[str, str]:
    value = read_json(path)
    told = value.get("sha256")
    digests = told.values() if isinstance(told, dict) else [None]
    sound = all(isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)
    if type(value.get("version")) is not int or value["version"] > VERSION or not sound:
        raise InputError(f"{path}: not a manifest of version {VERSION}; restore it, or delete it to do without")
    return told
