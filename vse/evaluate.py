"""A model and a split -> one row of Table 1: both directions, Med r, rsum, bootstrap interval.

The ensemble of several models is their mean score (section 3.1's protocol for every row).
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from vse.data.datasets import Dataset
from vse.features.pictures import Photos
from vse.hubs import Hubs
from vse.metrics import Cosines, Recall, Scorer, block_ranks, bootstrap_rsum, rsum
from vse.model import VSE, side_by_side
from vse.system.errors import InputError

# What a row's numbers mean, in the order they are printed.
HEADER = ("", "i2t R@1", "R@5", "R@10", "Med r", "t2i R@1", "R@5", "R@10", "Med r", "rsum")


@dataclass(frozen=True)
class Row:
    """One row of a ranking table; recalls in percent, ranks 1-based."""

    i2t: Recall  # image annotation
    t2i: Recall  # image search
    rsum: float
    interval: tuple[float, float]  # 95 % bootstrap over images, of rsum; (nan, nan) when not asked for
    images: int
    captions: int

    def cells(self) -> list[str]:
        """The numbers of `HEADER`, as text."""
        halves = [f"{value:.1f}" for r in (self.i2t, self.t2i) for value in dataclasses.astuple(r)]
        return [*halves, f"{self.rsum:.1f}"]

    def summary(self) -> str:
        """The row in one short line, for a log."""
        i2t, t2i = ("/".join(f"{v:.1f}" for v in (r.r1, r.r5, r.r10)) for r in (self.i2t, self.t2i))
        return f"i2t {i2t}  t2i {t2i}  rsum {self.rsum:.1f}"

    def as_dict(self) -> dict:
        """For JSON: an interval that was not asked for is None."""
        interval = None if any(map(math.isnan, self.interval)) else self.interval
        return dataclasses.asdict(self) | {"interval": interval}


def row_of(scorer: Scorer, dataset: Dataset, bootstrap: int = 1000) -> Row:
    """The row of the scores of a split; `bootstrap` draws for the interval, 0 for none."""
    if not scorer.captions:
        raise InputError(f"{dataset.name}: this split has no captions, so nothing to rank; add some or name another")
    return row_of_ranks(*block_ranks(scorer, dataset.image_of_caption), dataset, bootstrap)


def row_of_ranks(
    i2t: Int[np.ndarray, " q"], t2i: Int[np.ndarray, " m"], dataset: Dataset, bootstrap: int = 1000
) -> Row:
    """The row of 1-based ranks: of each image that owns a caption, and of each caption."""
    interval = (float("nan"), float("nan"))
    if bootstrap:
        interval = bootstrap_rsum(i2t, t2i, dataset.image_of_caption, bootstrap)
    left, right = Recall.of(i2t), Recall.of(t2i)
    return Row(left, right, rsum(left, right), interval, len(dataset.images), len(dataset.captions))


def evaluate(
    models: Sequence[VSE], split: Dataset, features: Sequence[Photos], bootstrap: int = 1000, hubs: Hubs | None = None
) -> Row:
    """The row of one model, or of the ensemble of several: the mean of their scores; see `scorer_of`."""
    return row_of(scorer_of(models, split, features, hubs), split, bootstrap)


def scorer_of(models: Sequence[VSE], split: Dataset, features: Sequence[Photos], hubs: Hubs | None = None) -> Scorer:
    """The mean score of models, corrected where `hubs` are given; `features[i]` are those of `models[i]`."""
    points = side_by_side(models, split, features)
    scorer = Cosines(*points)
    return hubs.correct(scorer, *points) if hubs else scorer
