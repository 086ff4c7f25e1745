"""Re-ranking: the k that a dual encoder finds best, in the order of a model that reads photo and sentence together.

The order is that of logit + lambda s, s the dual encoder's score; what is not among the k keeps its place behind them.
Knows no command. Shapes: q queries, g gallery items.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int

from vse.data.datasets import Dataset
from vse.evaluate import Row, row_of_ranks, scorer_of
from vse.features.store import Features
from vse.fusion import Fusion
from vse.metrics import TIE, Scorer, block_ranks
from vse.model import VSE
from vse.search.queries import Hit, stored_rows
from vse.system.errors import InputError
from vse.system.settings import check_settings

LAMBDAS = (0.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0, 120.0, 200.0)
KS = (5, 10, 20, 50, 100)
_BLOCK = 256  # queries whose best are looked for at once


@dataclass(frozen=True)
class Setting:
    """How many of the best are re-ranked, and the weight of the dual encoder's score beside the logit."""

    k: int
    weight: float  # lambda

    def __post_init__(self):
        check_settings(self, k=">= 1", weight=">= 0")


@dataclass(frozen=True, eq=False)
class Best:
    """Of each query of one way the dual encoder's k best, best first, and what it and the logit say of them."""

    items: Int[np.ndarray, "q k"]
    right: Bool[np.ndarray, "q k"]
    scores: Float[np.ndarray, "q k"]
    ranks: Int[np.ndarray, " q"]  # of the right item in the dual encoder's order, 1-based
    logits: Float32[np.ndarray, "q k"]

    def reranked(self, setting: Setting) -> Int[np.ndarray, " q"]:
        """The rank of the best right item of each query. If none is among the k, as it was.

        Ties count against it, as in the dual encoder's order, which also says what is among the k.
        """
        k = min(setting.k, self.items.shape[1])
        right = self.right[:, :k] & (self.ranks[:, None] <= k)
        new = self.logits[:, :k] + setting.weight * self.scores[:, :k].astype(np.float64)
        best = np.where(right, new, -np.inf).max(1)
        ahead = np.count_nonzero(~right & ~(new < best[:, None] - TIE * max(1.0, setting.weight)), axis=1)
        return np.where(right.any(1), 1 + ahead, self.ranks)


@dataclass(frozen=True, eq=False)
class Chosen:
    """What dev chose, and its row."""

    setting: Setting
    row: Row


def _best_of(scorer: Scorer, split: Dataset, k: int) -> tuple[Best, Best]:
    """(of photos their best captions, of captions their best photos), with logits of 0."""
    owner, every = split.image_of_caption, slice(None)
    i2t, t2i = block_ranks(scorer, owner)
    photos, captions = [], []
    for start in range(0, scorer.images, _BLOCK):
        photos.append(_highest(scorer(slice(start, start + _BLOCK), every), k))
    for start in range(0, scorer.captions, _BLOCK):
        captions.append(_highest(scorer(every, slice(start, start + _BLOCK)).T, k))
    with_captions = np.unique(owner)
    items, scores = (np.concatenate(parts)[with_captions] for parts in zip(*photos, strict=True))
    of_photos = Best(items, owner[items] == with_captions[:, None], scores, i2t, np.zeros(items.shape, np.float32))
    items, scores = (np.concatenate(parts) for parts in zip(*captions, strict=True))
    return of_photos, Best(items, items == owner[:, None], scores, t2i, np.zeros(items.shape, np.float32))


def _highest(scores: Float[np.ndarray, "q g"], k: int) -> tuple[np.ndarray, np.ndarray]:
    """(The k best of each row, their scores), best first; of equal ones the first."""
    items = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return items, np.take_along_axis(scores, items, 1)


def read_best(
    model: Fusion, scorer: Scorer, split: Dataset, features: Features, k: int, progress: bool = False
) -> tuple[Best, Best]:
    """(of photos, of captions) the dual encoder's k best of a split, read by the fusion transformer.

    Raises InputError where a gallery has fewer than k.
    """
    _check(scorer, split, k)
    tokens = model.photo_tokens(features.take(split.images))
    return read_with(lambda pairs: model.logits(tokens, split.captions, pairs, progress), scorer, split, k)


def read_with(
    logits: Callable[[Int[np.ndarray, "p 2"]], Float32[np.ndarray, " p"]], scorer: Scorer, split: Dataset, k: int
) -> tuple[Best, Best]:
    """`read_best` where something else gives the logits of pairs (photo, caption); no pair is asked for twice."""
    _check(scorer, split, k)
    ways = _best_of(scorer, split, k)
    queries = np.unique(split.image_of_caption), np.arange(scorer.captions)
    pairs = np.concatenate([
        np.stack([np.repeat(queries[0], k), ways[0].items.ravel()], 1),
        np.stack([ways[1].items.ravel(), np.repeat(queries[1], k)], 1),
    ])  # fmt: skip
    once, which = np.unique(pairs @ np.array([scorer.captions, 1]), return_inverse=True)
    found = logits(np.stack(np.divmod(once, scorer.captions), 1))[which]
    parts = np.split(found, [ways[0].items.size])
    return tuple(replace(way, logits=part.reshape(-1, k)) for way, part in zip(ways, parts, strict=True))


def _check(scorer: Scorer, split: Dataset, k: int) -> None:
    if not split.captions:
        raise InputError(f"{split.name}: this split has no captions, so nothing to rank; add some or name another")
    for name, size in (("photos", scorer.images), ("captions", scorer.captions)):
        if not 1 <= k <= size:
            raise InputError(f"-k {k}: expected 1 to {size}, the number of {name}")


def row_of(ways: tuple[Best, Best], setting: Setting, split: Dataset, bootstrap: int = 1000) -> Row:
    """The table row of a split, re-ranked."""
    return row_of_ranks(*(way.reranked(setting) for way in ways), split, bootstrap)


def choose(
    model: Fusion, encoder: VSE, dev: Dataset, features: Features, k: int, encoder_features: Features | None = None,
    progress: bool = False,
) -> Chosen:  # fmt: skip
    """The k (up to the one given) and lambda that rank dev best; the encoder sees `encoder_features` where given."""
    scorer = scorer_of([encoder], dev, [encoder_features or features])
    k = min(k, scorer.images, scorer.captions)
    return choose_from(read_best(model, scorer, dev, features, k, progress), dev)


def choose_from(ways: tuple[Best, Best], dev: Dataset, ks: Sequence[int] | None = None) -> Chosen:
    """The k (one of `ks`) and lambda that rank dev best; of equal ones the smaller k and the larger lambda."""
    most = ways[0].items.shape[1]
    settings = [
        Setting(k, weight) for k in sorted({min(k, most) for k in ks or KS}) for weight in sorted(LAMBDAS)[::-1]
    ]
    rows = [row_of(ways, setting, dev, bootstrap=0) for setting in settings]
    best = max(range(len(rows)), key=lambda i: rows[i].rsum)
    return Chosen(settings[best], rows[best])


def rerank_photos(
    model: Fusion, folder: Path, query: str, hits: Sequence[Hit], setting: Setting, features: Features | None = None
) -> tuple[Hit, ...]:
    """The photos of a folder that a sentence found, the first `setting.k` of them re-ranked.

    `features`: those of (some of) the photos; the CNN sees the others. What is re-ranked has logit + lambda x score for
    its score.
    """
    names = [hit.name for hit in hits[: setting.k]]
    known = stored_rows(features, folder) if features else {}
    rows = np.array([known.get(name, -1) for name in names])
    inside, outside = (np.flatnonzero((rows >= 0) == there) for there in (True, False))
    tokens = []
    if len(inside):
        tokens.append(model.photo_tokens(features.take([features.names[row] for row in rows[inside]])))
    if len(outside):
        tokens.append(model.photo_tokens([folder / names[i] for i in outside]))
    pairs = np.stack([np.argsort(np.concatenate([inside, outside])), np.zeros(len(names), int)], 1)
    return _reordered(hits, model.logits(torch.cat(tokens), [query], pairs), setting)


def rerank_captions(model: Fusion, photo: Path, hits: Sequence[Hit], setting: Setting) -> tuple[Hit, ...]:
    """The captions that a photo found, the first `setting.k` of them re-ranked, as in `rerank_photos`."""
    texts = [hit.name for hit in hits[: setting.k]]
    pairs = np.stack([np.zeros(len(texts), int), np.arange(len(texts))], 1)
    return _reordered(hits, model.logits(model.photo_tokens([photo]), texts, pairs), setting)


def _reordered(hits: Sequence[Hit], logits: Float32[np.ndarray, " k"], setting: Setting) -> tuple[Hit, ...]:
    scores = [float(logit) + setting.weight * hit.score for hit, logit in zip(hits, logits, strict=False)]
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    first = [replace(hits[i], score=scores[i]) for i in order]
    return tuple(replace(hit, rank=rank) for rank, hit in enumerate([*first, *hits[len(scores) :]], 1))
