"""Words and images of the joint space in two dimensions (section 5.1): PCA with fixed signs, UMAP beside it.

Draws nothing: see pca_figure.py. Axes: n words and images together, d dimensions of the space, c components.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from vse.system.errors import InputError


@dataclass(frozen=True, eq=False)
class Projection:
    """A point for each vector, and how much of the variance each axis holds (fractions; None where it has no sense)."""

    points: Float[np.ndarray, "n c"]
    explained: Float[np.ndarray, " c"] | None

    def axis_labels(self) -> tuple[str, ...]:
        """What stands at the axes."""
        if self.explained is None:
            return tuple(f"UMAP {i + 1}" for i in range(self.points.shape[1]))
        return tuple(f"component {i + 1} ({100 * e:.1f} % of the variance)" for i, e in enumerate(self.explained))


def pca(vectors: Float[np.ndarray, "n d"], components: int = 2) -> Projection:
    """The coordinates of the vectors, less their mean, on the directions of largest variance.

    Of each direction and its negative the one is taken whose largest entry by size is positive: so the same vectors
    give the same picture on every machine and in any order. Raises InputError for fewer vectors than axes + 1, and
    for vectors that are all the same.
    """
    if len(vectors) <= components:
        raise InputError(f"{len(vectors)} words and photos: expected at least {components + 1}; give more")
    centred = vectors.astype(np.float64) - vectors.mean(0, dtype=np.float64)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    if sizes[0] < 1e-6 * np.sqrt(len(vectors)):  # float32 rounding of unit vectors
        raise InputError(f"{len(vectors)} words and photos in one point: there is nothing to project; give others")
    directions = directions[:components]
    largest = np.abs(directions).argmax(1)
    directions = directions * np.sign(directions[np.arange(len(directions)), largest])[:, None]
    return Projection(centred @ directions.T, (sizes**2 / (sizes**2).sum())[:components])


def umap(vectors: Float[np.ndarray, "n d"], seed: int = 0) -> Projection:
    """The two coordinates that UMAP gives, by its library; distances and axes have no unit.

    Raises InputError where the library is not installed.
    """
    try:
        from umap import UMAP
    except ImportError:
        raise InputError("UMAP needs its library: pip install umap-learn; or leave --method at pca") from None
    if len(vectors) < 5:
        raise InputError(f"{len(vectors)} words and photos: UMAP expects at least 5; give more, or --method pca")
    neighbours = min(15, len(vectors) - 1)
    fitted = UMAP(n_neighbors=neighbours, metric="cosine", init="random", random_state=seed).fit_transform(vectors)
    return Projection(np.asarray(fitted, np.float64), None)


def nearest_in_turns(
    words: Float[np.ndarray, "m d"], images: Float[np.ndarray, "n d"], count: int
) -> Int64[np.ndarray, " count"]:
    """At most `count` images: the nearest to each word in turn, then the second nearest, and so on; each once."""
    order = np.argsort(-(words.astype(np.float64) @ images.T.astype(np.float64)), axis=1, kind="stable")
    return np.array(list(dict.fromkeys(order.T.flatten().tolist()))[:count], np.int64)


def split_words(text: str) -> Sequence[str]:
    """The words of a list such as "red,blue, green", each once. Raises InputError for none."""
    words = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not words:
        raise InputError(f"--words {text!r}: no word in it; give some, such as red,blue,green")
    return words
