"""Ranks, R@K and median rank of a score matrix, both ways (the protocol of section 3.1).

Pure functions. Rows are images, columns are captions, `image_of_caption` says who owns a caption.
Shapes: n images, m captions, d joint-space dimensions, q images that own a caption, k sums.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float64, Int

from vse.system.errors import InputError

Scores = Float[np.ndarray, "n m"]
Owner = Int[np.ndarray, " m"]

# In cosine. The last bits of a float32 product depend on where in the matrix it stands, so scores of equal
# embeddings differ by about 1e-7: closer than this is a tie, or else a collapsed model would win some.
TIE = 1e-6
KS = (1, 5, 10)


def i2t_ranks(scores: Scores, image_of_caption: Owner, first_image: int = 0, tie: float = 0.0) -> Int[np.ndarray, " q"]:
    """Image annotation: for each image, the 1-based rank of the best of its captions among all captions.

    Ties count against the model: rank = 1 + number of wrong captions that do not score less than the best
    right one by more than `tie` (a NaN does not). Row r belongs to image `first_image + r`; images without
    captions have no rank.
    """
    image = np.arange(first_image, first_image + len(scores))
    order = np.argsort(image_of_caption, kind="stable")
    start, end = np.searchsorted(image_of_caption[order], [image, image + 1])
    ranks = []
    for row, columns in ((row, order[a:b]) for row, (a, b) in enumerate(zip(start, end, strict=True)) if b > a):
        best = scores[row, columns].max()  # NaN if one of them is NaN: then every wrong caption counts
        not_less = ~(scores[row] < best - tie)
        ranks.append(1 + np.count_nonzero(not_less) - np.count_nonzero(not_less[columns]))
    return np.array(ranks, dtype=np.int64)


def t2i_ranks(scores: Scores, image_of_caption: Owner, tie: float = 0.0) -> Int[np.ndarray, " m"]:
    """Image search: for each caption (column), the 1-based rank of its image among all images; ties as above."""
    right = scores[image_of_caption, np.arange(scores.shape[1])]
    not_less = ~(scores < right - tie)
    return np.count_nonzero(not_less, axis=0).astype(np.int64)  # the right image itself is the "1 +"


@runtime_checkable
class Scorer(Protocol):
    """The scores between `images` images and `captions` captions, computed block by block."""

    images: int
    captions: int

    def __call__(self, rows: slice, columns: slice) -> Scores:
        """The scores of these images and captions; higher is nearer."""


class Cosines:
    """The scores of a dual encoder: dot products of unit vectors."""

    def __init__(self, images: Float[np.ndarray, "n d"], captions: Float[np.ndarray, "m d"]):
        self._images, self._captions = images, captions
        self.images, self.captions = len(images), len(captions)

    def __call__(self, rows: slice, columns: slice) -> Scores:
        return self._images[rows] @ self._captions[columns].T


def block_ranks(
    scorer: Scorer, image_of_caption: Owner, block_mb: int = 512
) -> tuple[Int[np.ndarray, " q"], Int[np.ndarray, " m"]]:
    """(i2t ranks, t2i ranks), never holding more than about `block_mb` MB of scores at once.

    When all scores fit they are computed once; else rows and columns are computed in blocks, each once, and every
    rank is decided inside one block. Scores closer than `TIE` are ties.
    """
    n, m, everything = scorer.images, scorer.captions, slice(None)
    if n * m * 5 <= block_mb * 2**20:  # float32 scores and one boolean matrix
        scores = scorer(everything, everything)
        return i2t_ranks(scores, image_of_caption, tie=TIE), t2i_ranks(scores, image_of_caption, TIE)
    rows = [i2t_ranks(scorer(s, everything), image_of_caption, s.start, TIE) for s in _blocks(n, m, block_mb)]
    columns = [t2i_ranks(scorer(everything, s), image_of_caption[s], TIE) for s in _blocks(m, n, block_mb)]
    return np.concatenate(rows), np.concatenate(columns)


def _blocks(total: int, width: int, block_mb: int) -> Iterator[slice]:
    step = max(1, block_mb * 2**20 // (5 * width))
    return (slice(a, min(a + step, total)) for a in range(0, total, step))


@dataclass(frozen=True)
class Recall:
    """One direction of a table row: R@K in percent, Med r 1-based."""

    r1: float
    r5: float
    r10: float
    med_r: float

    @classmethod
    def of(cls, ranks: Int[np.ndarray, " q"]) -> "Recall":
        """R@1, R@5, R@10 and the median of 1-based ranks. Raises InputError for no ranks at all."""
        if not len(ranks):
            raise InputError("no ranks: the split has no image with a caption; see the splits with `vse data DATA`")
        r1, r5, r10 = (100.0 * float(np.mean(ranks <= k)) for k in KS)
        return cls(r1, r5, r10, float(np.median(ranks)))


def rsum(i2t: Recall, t2i: Recall) -> float:
    """The sum of the six recalls, 0 to 600."""
    return i2t.r1 + i2t.r5 + i2t.r10 + t2i.r1 + t2i.r5 + t2i.r10


def hits(i2t: Int[np.ndarray, " q"], t2i: Int[np.ndarray, " m"], image_of_caption: Owner) -> Float64[np.ndarray, "q 8"]:
    """What each image that owns a caption adds to the sums that `recalls` is of.

    Of its 1-based i2t rank whether it is within each of `KS`, and 1; of its captions' t2i ranks how many are, and all.
    """
    owner = np.unique(image_of_caption, return_inverse=True)[1]
    captions = [np.bincount(owner, t2i <= k, minlength=len(i2t)) for k in KS]
    return np.stack([*(i2t <= k for k in KS), np.ones(len(i2t)), *captions, np.bincount(owner)], 1).astype(np.float64)


def recalls(sums: Float64[np.ndarray, "draws 8"]) -> dict[str, Float64[np.ndarray, " draws"]]:
    """R@K both ways in percent, and rsum, of sums of rows of `hits`."""
    ways = {"i2t": sums[:, :4], "t2i": sums[:, 4:]}
    figures = {f"{way} R@{k}": 100 * part[:, i] / part[:, 3] for way, part in ways.items() for i, k in enumerate(KS)}
    return figures | {"rsum": np.sum(list(figures.values()), axis=0)}


def bootstrap_sums(
    units: Float64[np.ndarray, "*rows n k"], draws: int = 1000, seed: int = 0
) -> Float64[np.ndarray, "*rows draws k"]:
    """The sums over n units drawn again with replacement; of the same seed and n the same units in each draw.

    So what two rows of the same units give can be compared in pairs. The float64 sums of counts are exact.
    """
    draw, n = np.random.default_rng(seed), units.shape[-2]
    return np.stack([np.bincount(draw.integers(n, size=n), minlength=n) @ units for _ in range(draws)], axis=-2)


def percentile_interval(values: Float64[np.ndarray, " draws"]) -> tuple[float, float]:
    """The 95 % interval of a figure's bootstrap draws."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def bootstrap_rsum(
    i2t: Int[np.ndarray, " n"], t2i: Int[np.ndarray, " m"], image_of_caption: Owner, draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The 95 % percentile interval of rsum when the images are drawn again with replacement.

    The images are the units: an image brings its i2t rank and the t2i ranks of all its captions along. The
    candidates stay the full split. `i2t` has one rank for each image that owns a caption, in order.
    """
    sums = bootstrap_sums(hits(i2t, t2i, image_of_caption), draws, seed)
    return percentile_interval(recalls(sums)["rsum"])
