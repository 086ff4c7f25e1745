"""Nearest neighbours in the joint space, and linear combinations of its vectors (PAPER.md, section 4).

Exact search by brute force; equal scores are ordered by id. It knows neither photos nor captions nor models:
vse/search/queries.py decides what is indexed and when an index on disk is out of date.
Axes: n items, q queries, d dimensions of the space, k results.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int64
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from vse.system.errors import InputError
from vse.system.files import parse_json, write_bytes

INDEX_FILE = "index.safetensors"
_VERSION = 2
_QUERIES_AT_ONCE = 256  # bounds memory when a collapsed model ties everything with everything


class Index:
    """Unit vectors with a name each, and on request a label each (any text, kept beside the name)."""

    def __init__(
        self,
        vectors: Float[np.ndarray, "n d"],
        names: Sequence[str],
        labels: Sequence[str] = (),
        penalties: Float[np.ndarray, " n"] | None = None,
    ):
        """Row i of `vectors` is called `names[i]`; `penalties[i]` is taken from its scores (vse/hubs.py), not saved.

        Raises InputError for rows that are not of unit norm.
        """
        vectors = _unit_rows(vectors, "vector")
        if len(vectors) == 0:
            raise InputError("an index needs at least one vector, got none")
        if len(names) != len(vectors) or len(labels) not in (0, len(vectors)):
            counts = f"{len(vectors)} vectors, {len(names)} names, {len(labels)} labels"
            raise InputError(f"{counts}: expected a name for each vector, and a label for each or none")
        self.names, self.labels = tuple(names), tuple(labels)
        self._vectors = vectors
        self._penalties = np.zeros(len(vectors), np.float32) if penalties is None else penalties.astype(np.float32)

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def dim(self) -> int:
        """The dimension of the space."""
        return self._vectors.shape[1]

    @property
    def vectors(self) -> Float32[np.ndarray, "n d"]:
        """A copy of the vectors, in the order of `names`."""
        return self._vectors.copy()

    def vector(self, row: int) -> Float32[np.ndarray, " d"]:
        """A copy of one vector."""
        return self._vectors[row].copy()

    def top(
        self, queries: Float[np.ndarray, "q d"], k: int
    ) -> tuple[Float32[np.ndarray, "q k"], Int64[np.ndarray, "q k"]]:
        """Cosines less penalties, and ids, of the `k` items highest for each unit query; of equals the lower id first.

        An answer does not depend on which other queries are asked with it: scores are sums in float64,
        rounded once. Raises InputError for another dimension and for `k` outside 1..n.
        """
        queries = _unit_rows(queries, "query")
        if queries.shape[1] != self.dim:
            mismatch = f"queries have {queries.shape[1]} dimensions, the index {self.dim}"
            raise InputError(f"{mismatch}: encode both with one model")
        if not 1 <= k <= len(self):
            raise InputError(f"k = {k}: expected 1 to {len(self)}, the number of items in the index")
        scores = np.empty((len(queries), k), np.float32)
        ids = np.empty((len(queries), k), np.int64)
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            rows = slice(start, start + _QUERIES_AT_ONCE)
            self._top_block(queries[rows], k, scores[rows], ids[rows])
        return scores, ids

    def _top_block(self, queries: np.ndarray, k: int, scores: np.ndarray, ids: np.ndarray) -> None:
        """Fills `scores` and `ids`. A matrix product in float32 rules out all but a few candidates; these are scored
        exactly, so that of equals none is lost at the k-th place."""
        rough = queries @ self._vectors.T - self._penalties
        doubt = (self.dim + 8) * np.finfo(np.float32).eps  # twice the error bound of a sum of `dim` products
        lowest = np.partition(rough, -k, axis=1)[:, -k] - doubt
        for row, query in enumerate(queries.astype(np.float64)):
            candidates = np.flatnonzero(rough[row] >= lowest[row])
            cosines = (self._vectors[candidates] * query).sum(axis=1)
            exact = (cosines - self._penalties[candidates]).astype(np.float32)
            best = np.lexsort((candidates, -exact))[:k]
            scores[row], ids[row] = exact[best], candidates[best]

    def penalized(self, penalties: Float[np.ndarray, " n"]) -> "Index":
        """The same index with these penalties."""
        return Index(self._vectors, self.names, self.labels, penalties)

    @property
    def checksum(self) -> str:
        """Of vectors, names and labels, hexadecimal."""
        return _checksum(self._vectors, self._items())

    def save(self, folder: Path) -> None:
        """Writes index.safetensors into `folder`, made if absent: one file, replaced whole.

        It holds a checksum over vectors, names and labels together, so that `load` believes no other pairing.
        """
        items, vectors = self._items(), self.vectors
        about = {"version": str(_VERSION), "sha256": _checksum(vectors, items)}
        tensors = {"vectors": vectors, "items": np.frombuffer(items, np.uint8)}
        write_bytes(Path(folder) / INDEX_FILE, save(tensors, about))

    def _items(self) -> bytes:
        return json.dumps({"names": self.names, "labels": self.labels}).encode("ascii")

    @classmethod
    def load(cls, folder: Path) -> "Index":
        """What `save` wrote. Raises InputError with the folder for anything else: absent, damaged, foreign."""
        path = Path(folder) / INDEX_FILE
        try:
            with safe_open(path, "np") as file:
                about, names = file.metadata() or {}, set(file.keys())
                if about.get("version") != str(_VERSION) or names != {"vectors", "items"}:
                    raise ValueError(f"version {about.get('version')}, expected {_VERSION}")
                vectors, items = file.get_tensor("vectors"), file.get_tensor("items")
            if vectors.dtype != np.float32 or vectors.ndim != 2 or items.dtype != np.uint8 or items.ndim != 1:
                raise ValueError(f"vectors of type {vectors.dtype} and shape {vectors.shape}")
            if about.get("sha256") != _checksum(vectors, items.tobytes()):
                raise ValueError("its vectors and names are not those that were written together")
            told = parse_json(items.tobytes().decode("ascii"), path)
            names, labels = (told[key] for key in ("names", "labels"))
            if not all(isinstance(text, str) for part in (names, labels) for text in part):
                raise ValueError("names that are no text")
            return cls(vectors, names, labels)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"{folder}: not a saved index ({reason}); delete it and index again") from None


def _checksum(vectors: np.ndarray, items: bytes) -> str:
    digest = hashlib.sha256(np.int64(vectors.shape).tobytes())
    digest.update(np.ascontiguousarray(vectors))
    digest.update(items)
    return digest.hexdigest()


def combine(vectors: Float[np.ndarray, "n d"], weights: Float[np.ndarray, " n"]) -> Float32[np.ndarray, " d"]:
    """The sum of `weights[i] * vectors[i]`, scaled to unit norm (PAPER.md, section 4: image - word + word).

    Raises InputError when the terms cancel: a zero vector has no direction.
    """
    terms = vectors.astype(np.float64) * weights.astype(np.float64)[:, None]
    total = terms.sum(axis=0)
    norm, size = np.linalg.norm(total), np.linalg.norm(terms, axis=1).sum()
    # What is left of float32 vectors that cancel is their rounding error, about 1e-7 of the terms.
    if not norm > 1e-6 * size:
        raise InputError(f"weights {weights.tolist()}: the vectors cancel to zero; change a weight or a word")
    return (total / norm).astype(np.float32)


def _unit_rows(vectors: np.ndarray, what: str) -> np.ndarray:
    """A copy of the rows as contiguous float32. Raises InputError for the first that is not of unit norm."""
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    wrong = np.flatnonzero(~(np.abs(norms - 1) < 1e-3))  # "not <" finds NaN too
    if len(wrong):
        problem = f"{what} {wrong[0]} ({len(wrong)} in all) has norm {norms[wrong[0]]:.4g}"
        raise InputError(f"{problem}, expected 1: divide each row by its norm")
    return np.array(vectors, np.float32, order="C")
