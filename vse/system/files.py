"""Files written whole or not at all, JSON read strictly, one writer a folder, and where caches go."""

import contextlib
import hashlib
import json
import math
import os
import re
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from safetensors import SafetensorError

from vse.system.errors import InputError

LOCK = ".lock"
_FOREIGN_LOCK_S = 24 * 3600  # a lock of another host, which cannot be asked, counts for as long
_MOST_DIGITS = 400  # of a number in JSON; a float64 written out has fewer
_DEEPEST = 100  # levels of nesting in JSON


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` on a neighbouring temporary path, then renames: a reader sees the old file or the whole new one.

    The file gets the mode that the umask gives. A full disk raises InputError with the path; the old file stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # safetensors writes for the owner alone
        os.replace(temporary, path)
    except PermissionError:
        raise InputError(f"{path}: permission denied; give a path where you may write") from None
    except (OSError, SafetensorError) as error:
        way_out = "give another path" if path.is_dir() else "free some space, then run again"
        raise InputError(f"{path}: could not be written ({error}); {way_out}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    """What the process keeps from others. Linux tells; elsewhere it can only be read by setting it."""
    try:
        return int(re.search(r"^Umask:\s*(\d+)", Path("/proc/self/status").read_text(), re.M)[1], 8)
    except (OSError, TypeError):
        os.umask(mask := os.umask(0o022))
        return mask


def clean_temporaries(folder: Path) -> None:
    """Removes what `write_atomically` left in a folder when its process was killed; files of living ones stay."""
    for path in folder.glob(".*.tmp"):
        told = re.fullmatch(r"\..+\.(\d+)\.tmp", path.name)
        if told and not _is_alive(int(told[1])):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _is_alive(pid: int, started: str = "") -> bool:
    """True for a living process, of that start where one is given: numbers are used again, in containers at once."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        pass
    return not started or _started(pid) in ("", started)


def _started(pid: int) -> str:
    """When a process started, in ticks since the machine did; "" where the system does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One writer in a folder at a time: FOLDER/.lock says which process; the folder is made where it is missing.

    The lock of a process that is gone is taken over. Raises InputError, with that process, when another one writes.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path, owner = folder / LOCK, f"{os.getpid()} {_started(os.getpid()) or '-'} {socket.gethostname()}"
    for _ in range(3):
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            _remove_stale(folder, path)
            continue
        except PermissionError:
            raise InputError(f"{folder}: permission denied; give a folder where you may write") from None
        with os.fdopen(handle, "w") as file:
            file.write(owner)
        break
    else:
        raise InputError(f"{folder}: another process is writing there; wait for it, or give another --out")
    clean_temporaries(folder)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if path.read_text() == owner:
                path.unlink()


def _remove_stale(folder: Path, path: Path) -> None:
    """Removes a lock that nobody holds any more. Raises InputError for one that is held."""
    try:
        pid, started, host = path.read_text().split(" ", 2)
        age = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return  # just released
    except (OSError, ValueError):  # not written to its end: being made now, or by a process that was killed then
        pid, started, host, age = "?", "-", "", time.time() - path.stat().st_mtime
    here = host == socket.gethostname() and pid.isdigit()
    held = _is_alive(int(pid), started.strip("-")) if here else age < (_FOREIGN_LOCK_S if host else 5)
    if held:
        raise InputError(
            f"{folder}: process {pid} on {host or 'this host'} is writing there; wait for it or give another --out "
            f"(if it is gone, delete {path})"
        )
    # Renamed first: of two that find it stale only one may remove it, and never the other's new one.
    aside = path.with_name(f"{LOCK}.{os.getpid()}.tmp")
    with contextlib.suppress(OSError):
        os.rename(path, aside)
        aside.unlink()


# --- JSON -----------------------------------------------------------------------------------------------


def json_text(value: object, indent: int | None = None) -> str:
    """`value` as JSON that every reader takes: numbers that are not finite become null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, (list, tuple)) else value


def write_json(path: Path, value: object) -> None:
    """Writes indented JSON atomically; NaN and infinities become null."""
    text = json_text(value, indent=2) + "\n"
    write_atomically(path, lambda p: p.write_text(text, encoding="utf-8"))


def parse_json(text: str, where: str | Path) -> object:
    """The value of a JSON text. Raises InputError, starting with `where`, for anything that is not strict JSON."""

    def number(digits: str) -> int:
        if len(digits) > _MOST_DIGITS:
            raise ValueError(f"a number of {len(digits)} digits")
        return int(digits)

    def real(digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            raise ValueError(f"{digits[:20]} is no finite number")
        return value

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no JSON number")

    try:
        value = json.loads(text, parse_int=number, parse_float=real, parse_constant=refuse)
        _check_depth(value)
        return value
    except (ValueError, RecursionError) as error:  # JSONDecodeError is a ValueError
        raise InputError(f"{where}: not valid JSON ({error or 'nested too deeply'})") from None


def _check_depth(value: object) -> None:
    level, depth = [value], 0
    while level := [
        part
        for outer in level
        if isinstance(outer, (dict, list))
        for part in (outer.values() if isinstance(outer, dict) else outer)
    ]:
        depth += 1
        if depth > _DEEPEST:
            raise ValueError(f"nested more than {_DEEPEST} levels deep")


def read_json(path: Path) -> dict:
    """The object in a JSON file. Raises InputError with path and place for anything else."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a JSON file") from None
    value = parse_json(text, path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


# --- bytes, text, digests -------------------------------------------------------------------------------


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file atomically; its folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda p: p.write_bytes(content))


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically, line ends as they are."""
    write_bytes(path, text.encode("utf-8"))


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- where caches go ------------------------------------------------------------------------------------


def user_cache(program: str) -> Path:
    """The user's cache folder for a program; where there is no home to write in, a private one of the system's.

    Nothing is made.
    """
    with contextlib.suppress(RuntimeError):  # no home at all
        place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        there = next(folder for folder in (place, *place.parents) if folder.exists())
        if place.is_absolute() and _may_write(there):
            return place / program
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"{program}-cache-{user}"


def kept_beside(source: Path, name: str, program: str) -> Path:
    """Where what was computed from a file or folder is kept: `name` beside the file or in the folder.

    Where nobody may write, it is a folder of the user's cache, PROGRAM/KEY. Nothing is made.
    """
    beside = source.parent if source.is_file() else source
    place = beside / name
    if _may_write(place if place.exists() else beside):
        return place
    return user_cache(program) / digest_of_path(source)


def digest_of_path(path: Path) -> str:
    """16 hexadecimal digits of where a file or folder is."""
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]


def _may_write(folder: Path) -> bool:
    """True for a folder that is there and writable. One that is read-only for all is so for the superuser, too."""
    return folder.is_dir() and os.access(folder, os.W_OK) and bool(folder.stat().st_mode & 0o222)
