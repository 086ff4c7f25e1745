"""Whether a file is a whole ARPA text, found before native code sees it; gzipped ones are unpacked.

KenLM maps a *binary* model into memory and believes every offset in it, so that a foreign one can crash the process or
never end. Here only text passes, by its content, with as many n-grams as it says and numbers that are numbers.
"""

import contextlib
import gzip
import mmap
import re
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from vse.system.errors import InputError

_SWELLS = 200  # how many times its size a .gz may have when unpacked
_HEADER = re.compile(rb"\s*\\data\\[ \t]*\r?\n((?:\s*ngram[ \t]+\d{1,3}[ \t]*=[ \t]*\d{1,15}[ \t]*\r?\n)+)")
_SIZE = re.compile(rb"ngram[ \t]+(\d+)[ \t]*=[ \t]*(\d+)")
_NUMBER = rb"[-+]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][-+]?\d{1,3})?"
_SECTION = re.compile(rb"\s*\\(\d{1,3})-grams:[ \t]*\r?\n")
_END = re.compile(rb"\s*\\end\\")


@contextlib.contextmanager
def checked(path: Path) -> Iterator[Path]:
    """A path to the ARPA text while it is loaded: the file itself, or a temporary file with what a .gz holds.

    Raises InputError for anything that is not a whole ARPA.
    """
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with contextlib.ExitStack() as stack:
            text = path
            if packed:
                text = Path(stack.enter_context(tempfile.TemporaryDirectory()), "unpacked.arpa")
                _unpack(path, text)
            with open(text, "rb") as file:
                _check(file, path)
            yield text
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); expected an ARPA file") from None


def _unpack(path: Path, text: Path) -> None:
    """Writes what the gzipped file holds, where it starts as an ARPA does."""
    try:
        with gzip.open(path, "rb") as packed, open(text, "wb") as out:
            head = packed.read(1 << 16)
            if not head.lstrip().startswith(b"\\data\\"):
                raise _no_arpa(path)
            out.write(head)
            most = _SWELLS * path.stat().st_size + len(head)  # a small file of a stranger's may not fill the disk
            while block := packed.read(1 << 20):
                out.write(block)
                if out.tell() > most:
                    raise InputError(f"{path}: unpacked more than {_SWELLS} times as long; give the text that it holds")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: truncated or not an ARPA file ({error}); write it again") from None


def _no_arpa(path: Path) -> InputError:
    return InputError(
        f"{path}: not an ARPA file (no \\data\\ at its start); make one with: scnlm trigram, and give KenLM's binary "
        "models as the ARPA text that they were built from"
    )


def _check(file, path: Path) -> None:
    """Raises InputError where the text is not: a header, as many n-grams of each order as it says, and an end."""
    if not file.read(1 << 16).lstrip().startswith(b"\\data\\"):
        raise _no_arpa(path)
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        header = _HEADER.match(text)
        sizes = [(int(order), int(size)) for order, size in _SIZE.findall(header[1])] if header else []
        if not sizes or [order for order, _ in sizes] != list(range(1, len(sizes) + 1)):
            raise InputError(f"{path}: truncated or not an ARPA file (no sizes of orders 1, 2 ...); write it again")
        at = header.end()
        for order, size in sizes:
            section = _SECTION.match(text, at)
            if not section or int(section[1]) != order:
                raise InputError(f"{path}: truncated or not an ARPA file (no {order}-grams); write it again")
            at = _end_of_ngrams(text, section.end(), order, size, order == len(sizes), path)
        if not _END.match(text, at):
            raise InputError(f"{path}: truncated or not an ARPA file (no \\end\\, or n-grams too many); write it again")


def _end_of_ngrams(text: mmap.mmap, at: int, order: int, size: int, highest: bool, path: Path) -> int:
    """Where the `size` n-grams end that start at `at`: a number, words, and below the highest order a backoff."""
    word = rb"[^ \t\r\n\0]++"
    words = word + rb"(?:[ \t]" + word + rb"){%d}" % (order - 1)
    backoff = b"" if highest else rb"(?:\t" + _NUMBER + rb")?"
    line = re.compile(rb"(?:" + _NUMBER + rb"|-inf)\t" + words + backoff + rb"[ \t]*\r?\n")
    many = re.compile(rb"(?:(?:" + _NUMBER + rb"|-inf)\t" + words + backoff + rb"[ \t]*\r?\n){1000}+")
    whole = min(size // 1000, (len(text) - at) // 1000)
    for done in range(whole):
        match = many.match(text, at)
        if not match:
            size -= 1000 * done
            break
        at = match.end()
    else:
        size -= 1000 * whole
    for _ in range(size):
        match = line.match(text, at)
        if not match:
            number = 1 + text[:at].count(b"\n")
            raise InputError(
                f"{path}: truncated or not an ARPA file (line {number} is no {order}-gram: "
                f"{text[at : at + 40].split(bytes([10]))[0]!r}); write it again"
            )
        at = match.end()
    return at
