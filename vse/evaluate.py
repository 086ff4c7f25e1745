"""A model and a split -> one row of Table 1: both directions, Med r, rsum, bootstrap interval.

The ensemble of several models is their mean score (section 3.1's protocol for every row).
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vse.data.datasets import Dataset
from vse.features.build import Features
from vse.metrics import Recall, block_ranks, bootstrap_rsum, rsum
from vse.model import VSE
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


def row_of(
    images: Float[np.ndarray, "n d"], captions: Float[np.ndarray, "m d"], dataset: Dataset, bootstrap: int = 1000
) -> Row:
    """The row of embeddings of a split; `bootstrap` draws for the interval, 0 for none."""
    if not len(captions):
        raise InputError(f"{dataset.name}: this split has no captions, so nothing to rank; add some or name another")
    i2t, t2i = block_ranks(images, captions, dataset.image_of_caption)
    interval = (float("nan"), float("nan"))
    if bootstrap:
        interval = bootstrap_rsum(i2t, t2i, dataset.image_of_caption, bootstrap)
    left, right = Recall.of(i2t), Recall.of(t2i)
    return Row(left, right, rsum(left, right), interval, len(images), len(captions))


def evaluate(models: Sequence[VSE], split: Dataset, features: Sequence[Features], bootstrap: int = 1000) -> Row:
    """The row of one model, or of the ensemble of several: the mean of their scores.

    `features[i]` are those of `models[i]`. The mean score is one dot product of the models' vectors side by side.
    """
    images = [m.encode_images(f.take(split.images)) for m, f in zip(models, features, strict=True)]
    captions = [m.encode_texts(split.captions) for m in models]
    scale = np.float32(len(models) ** -0.5)
    return row_of(np.hstack(images) * scale, np.hstack(captions) * scale, split, bootstrap)
