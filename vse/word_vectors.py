"""Pretrained word vectors from a word2vec (binary or text) or GloVe file (section 3.1: CBOW word2vec)."""

import mmap
from collections.abc import Container
from pathlib import Path

import numpy as np

from vse.errors import InputError


def read_word_vectors(path: Path, wanted: Container[str]) -> dict[str, np.ndarray]:
    """{word: (w,) float32} for the words of the file that are wanted; the first of equal words counts.

    Raises InputError for a file that is missing, truncated, or of another form.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such word vector file; expected word2vec (.bin, .txt) or GloVe text")
    with open(path, "rb") as handle:
        first = handle.readline(1 << 20).split()
        header = len(first) == 2 and all(field.isdigit() for field in first)
        try:
            if header and path.suffix == ".bin":
                return _read_binary(handle, int(first[0]), int(first[1]), wanted)
            if header:
                return _read_text(handle, wanted, int(first[0]), int(first[1]))
            handle.seek(0)
            return _read_text(handle, wanted)
        except (ValueError, EOFError) as error:
            raise InputError(f"{path}: not a whole word2vec or GloVe file ({error})") from None


def _read_binary(handle, words: int, dim: int, wanted: Container[str]) -> dict[str, np.ndarray]:
    vectors: dict[str, np.ndarray] = {}
    with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = handle.tell()
        for index in range(words):
            space = data.find(b" ", at)
            if space < 0 or space + 1 + 4 * dim > len(data):
                raise EOFError(f"ends at word {index + 1} of {words}")
            word = data[at:space].strip().decode("utf-8", errors="replace")
            if word in wanted and word not in vectors:
                vectors[word] = np.frombuffer(data[space + 1 : space + 1 + 4 * dim], "<f4").copy()
            at = space + 1 + 4 * dim
    return vectors


def _read_text(handle, wanted: Container[str], words: int = 0, dim: int = 0) -> dict[str, np.ndarray]:
    """`words` and `dim` are those of the header, 0 where there is none."""
    vectors: dict[str, np.ndarray] = {}
    number = 0
    for number, line in enumerate(handle, 1):
        fields = line.decode("utf-8", errors="replace").rstrip().split(" ")
        dim = dim or len(fields) - 1
        if len(fields) < dim + 1 or dim < 2:
            raise ValueError(f"line {number} has {len(fields) - 1} numbers, expected {max(dim, 2)}")
        word = " ".join(fields[:-dim])  # GloVe's largest file has words like ". . ."
        if word in wanted and word not in vectors:
            vectors[word] = np.array(fields[-dim:], dtype=np.float32)
    if number < max(words, 1):
        raise EOFError(f"ends after word {number} of {max(words, 1)}")
    return vectors
