"""Photos with all their captions in batches, for a GIT: of each photo a stored view, or all frames of a video.

Shapes: n photos, f frames, r regions, d feature_dim, k texts of each photo, t positions.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scnlm.git import Texts, texts_of
from vse.data.datasets import Dataset
from vse.data.vocabulary import EOS_ID, Tokens, tokenize
from vse.features.store import Features
from vse.system.errors import InputError

_BUCKET = 16  # batches that are drawn together, then sorted by length


class Photos(NamedTuple):
    """Photos that come together: their stored features of one view, their numbers, their captions."""

    features: Float[Tensor, "n f r d"]
    numbers: Int[Tensor, " n"]
    texts: Texts


class CaptionedPhotos:
    """A split in memory: stored features by photo, and the captions of each."""

    def __init__(self, dataset: Dataset, features: Features, vocabulary: Tokens, positions: int, frames: int):
        """Captions of more than `positions` tokens, with start and end, are cut. Raises InputError for no caption."""
        if not dataset.captions:
            raise InputError(f"{dataset.name}: no captions in this split; expected some")
        own: list[list[list[int]]] = [[] for _ in dataset.images]
        encoded = vocabulary.encode_all(dataset.captions)
        for ids, photo in zip(encoded, dataset.image_of_caption.tolist(), strict=True):
            own[photo].append(list(ids)[: positions - 2])
        for texts in own:
            texts.sort(key=len)  # see GIT.loss
        kept = [i for i, texts in enumerate(own) if texts]
        self.images = [dataset.images[i] for i in kept]
        self.texts = texts_of([own[i] for i in kept], None, EOS_ID)
        self.stored = torch.from_numpy(features.take(self.images))
        self._frames = frames
        if self.stored.shape[1] < frames:
            raise InputError(f"model.frames = {frames}: the features have {self.stored.shape[1]} views; store more")
        references = [[] for _ in dataset.images]
        for caption, photo in zip(dataset.captions, dataset.image_of_caption.tolist(), strict=True):
            references[photo].append(tokenize(caption) or ["<none>"])
        self.references = [references[i] for i in kept]

    def __len__(self) -> int:
        return len(self.images)

    def steps(self, batch_size: int) -> int:
        """Steps of an epoch."""
        return -(-len(self) // batch_size)

    def epoch(self, batch_size: int, seed: int, epoch: int, rank: int = 0, ranks: int = 1) -> Iterator[Photos]:
        """Batches in a drawn order, of each photo a drawn view; a rank has photos rank::ranks of each.

        Photos whose captions are as long come together, of some batches that were drawn.
        """
        draw = np.random.default_rng((seed, epoch))
        order, views = draw.permutation(len(self)), draw.integers(self.stored.shape[1], size=len(self))
        words = self.texts.lengths.sum(1).numpy()
        for start in range(0, len(self), _BUCKET * batch_size):
            part = order[start : start + _BUCKET * batch_size]
            order[start : start + len(part)] = part[np.argsort(words[part], kind="stable")]
        for step in draw.permutation(self.steps(batch_size)):
            rows = order[step * batch_size : (step + 1) * batch_size]
            yield self.of(rows[rank::ranks], views[rows[rank::ranks]])

    def of(self, numbers: Int[np.ndarray, " n"], views: Int[np.ndarray, " n"] | None = None) -> Photos:
        """These photos, in these stored views (default: the first); of a video all frames."""
        rows = torch.from_numpy(np.array(numbers))
        if self._frames > 1 or views is None:
            features = self.stored[rows, : self._frames]
        else:
            features = self.stored[rows, torch.from_numpy(views)][:, None]
        lengths = self.texts.lengths[rows]
        longest = int(lengths.max()) if len(rows) else 1
        return Photos(features, rows, Texts(self.texts.tokens[rows][..., :longest], lengths, self.texts.prefixes[rows]))
