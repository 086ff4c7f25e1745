"""Pretrained word vectors from a word2vec (binary or text) or GloVe file (section 3.1: CBOW word2vec), also gzipped.

The content says which of them a file is, not its name.
"""

import gzip
import zlib
from collections.abc import Container
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from vse.system.errors import InputError

_PIECE = 1 << 22  # bytes read at once
_LONGEST_LINE = 1 << 20
_CONCEPTNET = "/c/en/"  # how ConceptNet's vectors (Numberbatch) name an English word
_DIGITS = frozenset(b"0123456789+-.eEnaifNAIF \t\r\n")


def read_word_vectors(path: Path, words: Container[str]) -> dict[str, np.ndarray]:
    """{word: (w,) float32} for the words of the file that are wanted; the first of equal words counts.

    A wanted word that the file has only as /c/en/WORD or with capitals gets that vector. Raises InputError for a
    file that is missing, truncated, of another form, or has a number that is not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such word vector file; expected word2vec (binary or text) or GloVe text")
    matches = _Matches(words)
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else open(path, "rb") as file:
            _read(file, matches)
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: not a whole word2vec or GloVe file ({error})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); expected word vectors") from None
    return matches.vectors


class _Matches:
    """The vectors of the wanted words. A word's own spelling counts before /c/en/WORD, and that before capitals."""

    def __init__(self, words: Container[str]):
        self.vectors: dict[str, np.ndarray] = {}
        self._wanted, self._rank = words, {}

    def word(self, written: str) -> tuple[str, int] | None:
        """The wanted word that `written` stands for and how far it is from it; None where there is none better."""
        bare = written.removeprefix(_CONCEPTNET)
        for rank, word in enumerate((written, bare, bare.lower())):
            if word in self._wanted:
                return (word, rank) if rank < self._rank.get(word, 3) else None
        return None

    def add(self, word: str, rank: int, vector: np.ndarray) -> None:
        """Keeps the vector. Raises ValueError for one that is not finite."""
        if not np.isfinite(vector).all():
            raise ValueError(f"the vector of {word!r} has a number that is not finite")
        self.vectors[word], self._rank[word] = vector, rank


def _read(file: BufferedIOBase, matches: _Matches) -> None:
    first = file.readline(_LONGEST_LINE).removeprefix(b"\xef\xbb\xbf").split()
    if len(first) != 2 or not all(field.isdigit() and len(field) < 16 for field in first):
        file.seek(0)
        return _read_text(file, matches)
    words, dim = map(int, first)
    if dim < 2:
        raise ValueError(f"vectors of {dim} numbers, expected 2 or more")
    start = file.tell()
    most = min(_LONGEST_LINE, 64 + 40 * dim)
    head = file.read(most)
    file.seek(start)
    read = _read_text if _is_text(head, dim, len(head) < most) else _read_binary
    return read(file, matches, words, dim)


def _is_text(head: bytes, dim: int, whole: bool) -> bool:
    """True where the first word of a word2vec file is followed by written numbers, not by 4 * dim bytes of floats."""
    line, end, _ = head.partition(b"\n")
    try:
        return len([float(field) for field in line.split()[-dim:]]) == dim and (bool(end) or whole)
    except ValueError:
        return _DIGITS.issuperset(head.partition(b" ")[2][: 4 * dim])


def _read_binary(file: BufferedIOBase, matches: _Matches, words: int, dim: int) -> None:
    size, buffer, at = 4 * dim, b"", 0
    for index in range(words):
        while (space := buffer.find(b" ", at)) < 0 or len(buffer) < space + 1 + size:
            piece = file.read(_PIECE)
            if not piece or space < 0 and len(buffer) - at > _LONGEST_LINE:
                raise EOFError(f"ends at word {index + 1} of {words}")
            buffer, at = buffer[at:] + piece, 0
        match = matches.word(buffer[at:space].strip().decode("utf-8", errors="replace"))
        if match:
            matches.add(*match, np.frombuffer(buffer, "<f4", dim, space + 1).copy())
        at = space + 1 + size


def _read_text(file: BufferedIOBase, matches: _Matches, words: int = 0, dim: int = 0) -> None:
    """`words` and `dim` are those of the header, 0 where there is none."""
    number = 0
    while line := file.readline(_LONGEST_LINE):
        number += 1
        text = line.decode("utf-8-sig" if number == 1 else "utf-8", errors="replace")
        fields = text.rstrip().replace("\t", " ").split(" ")
        dim = dim or len(fields) - 1
        if len(fields) < dim + 1 or dim < 2:
            raise ValueError(f"line {number} has {len(fields) - 1} numbers, expected {max(dim, 2)}")
        match = matches.word(" ".join(fields[:-dim]))  # GloVe's largest file has words like ". . ."
        if match:
            matches.add(*match, np.array(fields[-dim:], dtype=np.float32))
    if number < max(words, 1):
        raise EOFError(f"ends after word {number} of {max(words, 1)}")
