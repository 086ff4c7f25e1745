"""Photos with all their texts in batches, for a GIT: of each photo a stored view, or all frames of a video.

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
from vse.data.questions import Questions
from vse.data.vocabulary import EOS_ID, UNK_ID, Tokens
from vse.features.store import Features
from vse.system.errors import InputError

_BUCKET = 16  # batches that are drawn together, then sorted by length


class Photos(NamedTuple):
    """Photos that come together: their stored features of one view, their numbers, their texts."""

    features: Float[Tensor, "n f r d"]
    numbers: Int[Tensor, " n"]
    texts: Texts


Pair = tuple[list[int], list[int]]  # ids that are given, ids that are predicted


class TextsOfPhotos:
    """Photos in memory: the stored features of each, and its captions, or its questions with their answers."""

    def __init__(self, own: dict[str, list[Pair]], features: Features, frames: int):
        """`own`: by photo. Raises InputError for fewer stored views than frames."""
        self.images = list(own)
        pairs = [sorted(texts, key=lambda pair: len(pair[0]) + len(pair[1])) for texts in own.values()]  # see GIT.loss
        given, said = ([[pair[which] for pair in texts] for texts in pairs] for which in (0, 1))
        self.texts = texts_of(said, given, EOS_ID)
        self.stored = torch.from_numpy(features.take(self.images))
        self._frames = frames
        if self.stored.shape[1] < frames:
            raise InputError(f"model.frames = {frames}: the features have {self.stored.shape[1]} views; store more")

    @classmethod
    def of_captions(
        cls, dataset: Dataset, features: Features, vocabulary: Tokens, positions: int, frames: int
    ) -> "TextsOfPhotos":
        """Captions of more than `positions` tokens, with start and end, are cut. Raises InputError for no caption."""
        if not dataset.captions:
            raise InputError(f"{dataset.name}: no captions in this split; expected some")
        own: dict[str, list[Pair]] = {}
        encoded = vocabulary.encode_all(dataset.captions)
        for ids, photo in sorted(zip(encoded, dataset.image_of_caption.tolist(), strict=True), key=lambda row: row[1]):
            own.setdefault(dataset.images[photo], []).append(([], list(ids)[: positions - 2]))
        return cls(own, features, frames)

    @classmethod
    def of_questions(
        cls, questions: Questions, features: Features, vocabulary: Tokens, positions: int, frames: int
    ) -> "TextsOfPhotos":
        """Raises InputError for an answer with a word that the vocabulary lacks, and where `positions` are too few."""
        own: dict[str, list[Pair]] = {}
        for image, text, answer in zip(questions.images, questions.texts, questions.answers, strict=True):
            given, said = list(vocabulary.encode(text)), list(vocabulary.encode(answer))
            if UNK_ID in said:
                raise InputError(f"the answer {answer!r} has a word that the model does not know; set min_count to 1")
            if len(given) + len(said) + 2 > positions:
                tokens = len(given) + len(said) + 2
                raise InputError(f"{text[:80]!r}: {tokens} tokens with its answer; set model.positions to as many")
            own.setdefault(image, []).append((given, said))
        return cls(own, features, frames)

    def __len__(self) -> int:
        return len(self.images)

    def steps(self, batch_size: int) -> int:
        """Steps of an epoch."""
        return -(-len(self) // batch_size)

    def epoch(self, batch_size: int, seed: int, epoch: int, rank: int = 0, ranks: int = 1) -> Iterator[Photos]:
        """Batches in a drawn order, of each photo a drawn view; a rank has photos rank::ranks of each.

        Photos whose texts are as long come together, of some batches that were drawn.
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
