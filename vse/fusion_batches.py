"""What a fusion transformer learns from: photos and sentences that belong together, that do not, and words to guess.

A wrong sentence or photo is drawn from the whole training split, the likelier the nearer a dual encoder finds it.
Shapes: b true pairs, n = 3b pairs, a images and s sentences of a photo, r regions, f feature_dim, t words,
d joint-space dimensions.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vse.batches import TrainingSet
from vse.configs import FusionTrainConfig
from vse.data.datasets import Dataset
from vse.data.sentences import Sentences
from vse.data.vocabulary import EOS_ID
from vse.features.store import Features
from vse.model import VSE
from vse.system.errors import InputError

MASKED = 0.15  # of the words are to be guessed (Devlin 2019); of these
HIDDEN, OTHER = 0.8, 0.1  # so many are hidden, so many are another word, the rest stand as they are


@dataclass(frozen=True)
class Masked:
    """Sentences of which some words are to be guessed."""

    tokens: Int[Tensor, "b t"]  # as they are read
    hidden: Bool[Tensor, "b t"]  # words that are read as the mask
    guessed: Bool[Tensor, "b t"]  # words to guess, whether hidden or not


@dataclass(frozen=True)
class FusionBatch:
    """b true pairs, then b with the photo's sentence replaced, then b with the sentence's photo replaced.

    Of a rank's share the two counts are those of the whole batch.
    """

    photos: Int[Tensor, " n"]  # numbers of the photos in the split
    views: Int[Tensor, "n a"]  # which stored views of them are read
    captions: Int[Tensor, "n s"]  # numbers of the captions
    matching: Float[Tensor, " n"]  # 1 for true pairs
    masked: Masked  # first sentences of the true pairs
    pairs: int  # n
    guesses: Int[Tensor, ""]  # words to guess


class FusionSet:
    """A training split, and where a dual encoder puts it."""

    def __init__(
        self, dataset: Dataset, features: Features, encoder: VSE, images: int, sentences: int, device: torch.device,
        encoder_features: Features | None = None,
    ):  # fmt: skip
        """`images` views and `sentences` captions of a photo are read together; the encoder sees `encoder_features`.

        Raises InputError where photos have fewer, for photos without captions, and for a single photo.
        """
        self.data = TrainingSet(dataset, features, encoder.vocabulary, device)
        self._images, self._sentences, self._device = images, sentences, device
        self._words = len(encoder.vocabulary)
        counts = np.bincount(dataset.image_of_caption, minlength=len(dataset.images))
        self._few(dataset, features, counts)
        seen = encoder_features.take(dataset.images) if encoder_features else self.data.features.cpu().numpy()
        self.image_points = torch.from_numpy(encoder.encode_images(seen)).to(device)
        self.text_points = torch.from_numpy(encoder.encode_texts(dataset.captions, progress=True)).to(device)
        self._counts = torch.from_numpy(counts).to(device)
        self._starts = self._counts.cumsum(0) - self._counts
        self._by_photo = self.data.image_of_caption.argsort(stable=True)
        self._place = torch.empty_like(self._by_photo)  # of a caption among those of its photo
        self._place[self._by_photo] = torch.arange(len(self._by_photo), device=device)
        self._place -= self._starts[self.data.image_of_caption]

    def _few(self, dataset: Dataset, features: Features, counts: Int[np.ndarray, " photos"]) -> None:
        stored, wanted = features.array.shape[1], self._sentences
        if stored < self._images:
            raise InputError(f"model.images = {self._images}: the features have {stored} views of a photo; store more")
        if counts.min() < wanted:
            photo, least = dataset.images[int(counts.argmin())], counts.min()
            way_out = f"set it to {least} or less" if least else "leave the photo out of the training split"
            raise InputError(f"model.sentences = {wanted}: photo {photo} has {least} captions; {way_out}")
        if len(counts) < 2:
            raise InputError(f"{dataset.name}: one photo has no wrong sentence; expected two photos or more")

    def __len__(self) -> int:
        return len(self.data)

    def steps(self, batch_size: int) -> int:
        """Steps of an epoch; captions that would make a smaller last batch are left out of it."""
        return max(1, len(self) // batch_size)

    def epoch(
        self, config: FusionTrainConfig, seed: int, epoch: int, rank: int = 0, ranks: int = 1
    ) -> Iterator[FusionBatch]:
        """The batches of one epoch, a pure function of (seed, epoch); a rank has rows rank::ranks of the true pairs."""
        draw = torch.Generator(self._device)
        draw.manual_seed(int(np.random.default_rng((seed, epoch)).integers(2**63)))
        order = torch.randperm(len(self), generator=draw, device=self._device)
        shown = self._drawn_captions(torch.arange(len(self._counts), device=self._device), draw)  # one of each photo
        steps = self.steps(config.batch_size)
        for step, captions in enumerate(order[: steps * config.batch_size].split(config.batch_size)):
            rise = (epoch * steps + step) / (config.hardening * steps) if config.hardening else 1.0
            batch = self._batch(captions, shown, config.hardness * min(1.0, rise), draw)
            yield batch if ranks == 1 else _share(batch, len(captions), rank, ranks)

    def _batch(
        self, captions: Int[Tensor, " b"], shown: Int[Tensor, " photos"], hardness: float, draw: torch.Generator
    ) -> FusionBatch:
        own = self.data.image_of_caption[captions]
        wrong_photos = self.wrong(self.text_points[captions] @ self.image_points.T, own, hardness, draw)
        wrong_texts = self.wrong(self.image_points[own] @ self.text_points[shown].T, own, hardness, draw)
        groups = self._with_others(captions, draw)
        photos = torch.cat([own, own, wrong_photos])
        sentences = torch.cat([groups, self._with_others(shown[wrong_texts], draw), groups])
        stored = self.data.features.shape[1]
        views = torch.rand(len(photos), stored, generator=draw, device=self._device).argsort(1)[:, : self._images]
        views[len(own) : 2 * len(own)] = views[: len(own)]  # a wrong sentence changes nothing else
        matching = (torch.arange(len(photos), device=self._device) < len(own)).float()
        masked = self.masked(captions, draw)
        return FusionBatch(photos, views, sentences, matching, masked, len(photos), masked.guessed.sum())

    def wrong(
        self, scores: Float[Tensor, "b photos"], own: Int[Tensor, " b"], hardness: float, draw: torch.Generator
    ) -> Int[Tensor, " b"]:
        """A photo other than one's own, with chance proportional to exp(hardness x score)."""
        noise = torch.rand(scores.shape, generator=draw, device=self._device).clamp_(1e-12, 1 - 1e-7)
        return (hardness * scores - (-noise.log()).log()).scatter_(1, own[:, None], -torch.inf).argmax(1)

    def _drawn_captions(self, photos: Int[Tensor, " p"], draw: torch.Generator) -> Int[Tensor, " p"]:
        """A caption of each."""
        chosen = torch.rand(len(photos), generator=draw, device=self._device, dtype=torch.float64)
        return self._by_photo[self._starts[photos] + (chosen * self._counts[photos]).long()]

    def _with_others(self, captions: Int[Tensor, " b"], draw: torch.Generator) -> Int[Tensor, "b s"]:
        """Each caption and `sentences` - 1 others of its photo, none twice."""
        photos, groups = self.data.image_of_caption[captions], [captions]
        if self._sentences > 1:
            most = int(self._counts.max())
            ranks = torch.rand(len(captions), most, generator=draw, device=self._device)
            places = torch.arange(most, device=self._device)
            ranks[places >= self._counts[photos, None]] = 2.0  # not there
            ranks.scatter_(1, self._place[captions][:, None], 2.0)  # the caption itself
            others = ranks.argsort(1)[:, : self._sentences - 1]
            groups += (self._starts[photos][:, None] + others).unbind(1)
            groups[1:] = [self._by_photo[rows] for rows in groups[1:]]
        return torch.stack(groups, 1)

    def sentences(self, captions: Int[Tensor, "n s"]) -> Sentences:
        """The words of groups of captions (n, s, t), cut to the longest of them, and their lengths (n, s)."""
        lengths = self.data.lengths[captions]
        return Sentences(self.data.tokens[captions][..., : int(lengths.max())], lengths)

    def features_of(self, photos: Int[Tensor, " n"], views: Int[Tensor, "n a"]) -> Float[Tensor, "n a r f"]:
        """What a step reads of photos."""
        return self.data.features[photos[:, None], views].float()

    def masked(self, captions: Int[Tensor, " b"], draw: torch.Generator) -> Masked:
        """15 % of the words of these captions are to be guessed: 80 % hidden, 10 % another word, 10 % as they are."""
        tokens, lengths = self.sentences(captions[:, None])
        tokens, lengths = tokens.squeeze(1), lengths.squeeze(1)
        chance, kind = (torch.rand(tokens.shape, generator=draw, device=self._device) for _ in range(2))
        inside = torch.arange(tokens.shape[1], device=self._device) < lengths[:, None]
        guessed = inside & (chance < MASKED)
        others = torch.randint(EOS_ID + 1, self._words, tokens.shape, generator=draw, device=self._device)
        other = guessed & (kind >= HIDDEN) & (kind < HIDDEN + OTHER)
        return Masked(torch.where(other, others, tokens), guessed & (kind < HIDDEN), guessed)


def _share(batch: FusionBatch, pairs: int, rank: int, ranks: int) -> FusionBatch:
    """Rows rank::ranks of each third."""
    mine = torch.arange(rank, pairs, ranks, device=batch.photos.device)
    rows = torch.cat([mine, pairs + mine, 2 * pairs + mine])
    masked = Masked(batch.masked.tokens[mine], batch.masked.hidden[mine], batch.masked.guessed[mine])
    chosen = batch.photos[rows], batch.views[rows], batch.captions[rows], batch.matching[rows]
    return FusionBatch(*chosen, masked, batch.pairs, batch.guesses)
