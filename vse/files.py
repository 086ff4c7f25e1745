"""Files written whole or not at all, and JSON read with a clear word for what is wrong with it."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from vse.errors import InputError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` on a neighbouring temporary path, then renames: a reader sees the old file or the whole new one.

    A full disk raises InputError with the path; the old file stays as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        way_out = "give another path" if path.is_dir() else "free some space, then run again"
        raise InputError(f"{path}: could not be written ({error}); {way_out}") from None
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Writes indented JSON atomically."""
    write_atomically(path, lambda p: p.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8"))


def read_json(path: Path) -> dict:
    """The object in a JSON file. Raises InputError with path and place for anything else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file atomically; its folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda p: p.write_bytes(content))


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically, line ends as they are."""
    write_bytes(path, text.encode("utf-8"))


def kept_beside(source: Path, name: str, program: str) -> Path:
    """Where what was computed from a file or folder is kept: `name` beside the file or in the folder.

    Where nobody may write, it is a folder of the user's cache, ~/.cache/PROGRAM/KEY. Nothing is made.
    """
    beside = source.parent if source.is_file() else source
    place = beside / name
    if _may_write(place if place.exists() else beside):
        return place
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return user_cache / program / digest_of_path(source)


def digest_of_path(path: Path) -> str:
    """16 hexadecimal digits of where a file or folder is."""
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]


def _may_write(folder: Path) -> bool:
    """True for a folder that is there and writable. One that is read-only for all is so for the superuser, too."""
    return folder.is_dir() and os.access(folder, os.W_OK) and bool(folder.stat().st_mode & 0o222)
