"""Captions and features -> `Batch`: how training pairs meet (supplement: minibatches drawn anew every epoch).

Knows nothing of folders or pixels. Shapes: b batch, r regions, f feature_dim, s side in pixels, t words of the longest
caption.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from vse.configs import ViewsConfig
from vse.data.datasets import Dataset
from vse.data.sentences import Sentences, pad
from vse.data.vocabulary import Tokens
from vse.features.store import Features
from vse.system.errors import InputError


@dataclass(frozen=True)
class Batch:
    """Pairs in one or more views: row b of every view tells of the same image.

    `images`: crops of the photo, features (b, r, f) or pixels (b, s, s, 3) each; none in a batch of sentences alone.
    `texts`: what is said of it, the same sentence again for a second pass, or another one.
    """

    images: tuple[Float[Tensor, "b r f"] | UInt8[Tensor, "b s s 3"], ...]
    texts: tuple[Sentences, ...]
    image_ids: Int[Tensor, " b_all"]  # of the batch of all ranks, as the next one
    captions: Int[Tensor, " b_all"]  # row numbers of the captions (of the first view) in the split
    tag_sentences: Int[Tensor, " b_all"] | None = None  # where tags are read, their sentence's number; -1: a caption

    @property
    def same_image(self) -> Tensor:
        """(B, B) bool: true where caption j belongs to the image of row i."""
        return self.image_ids[:, None] == self.image_ids[None, :]

    @property
    def alike(self) -> Tensor:
        """(B, B) bool: true for pairs that are no negatives of each other: of one image, or of one tag sentence."""
        tags = self.tag_sentences
        if tags is None:
            return self.same_image
        return self.same_image | ((tags[:, None] == tags[None, :]) & (tags >= 0))


def _share(rows: int, rank: int, ranks: int) -> slice:
    """Rows rank::ranks; where there are fewer rows than ranks, row 0, which `gather_rows` cuts off again."""
    return slice(rank, None, ranks) if rank < rows else slice(0, 1)


class TextPairs:
    """Captions without photos, for the sentence encoder alone: two captions of one image are a pair."""

    def __init__(self, dataset: Dataset, vocabulary: Tokens, device: torch.device):
        """Images with fewer than two captions are left out. Raises InputError when none is left."""
        self._by_image = np.argsort(dataset.image_of_caption, kind="stable")
        counts = np.bincount(dataset.image_of_caption, minlength=len(dataset.images))
        starts = np.cumsum(counts) - counts
        self._starts, self._counts = starts[counts > 1], counts[counts > 1]
        if not len(self._counts):
            raise InputError(f"{dataset.name}: no image has two captions; expected pairs of captions of one image")
        tokens, lengths = pad(vocabulary.encode_all(dataset.captions))
        self.tokens, self.lengths = tokens.to(device), lengths.to(device)
        self._lengths = lengths.numpy()

    def __len__(self) -> int:
        """The number of images that have two captions or more."""
        return len(self._counts)

    def epoch(self, pairs: int, steps: int, seed: int, epoch: int, rank: int = 0, ranks: int = 1) -> Iterator[Batch]:
        """`steps` batches of `pairs` different images, two views each; a pure function of (seed, epoch).

        Each rank gets its share, rows rank::ranks.
        """
        draw = np.random.default_rng((seed, epoch, 1))
        for _ in range(steps):
            images = draw.choice(len(self), min(pairs, len(self)), replace=False)
            starts, counts = self._starts[images], self._counts[images]
            first = draw.integers(counts)
            second = (first + draw.integers(1, counts)) % counts
            mine = _share(len(images), rank, ranks)
            rows = [self._by_image[starts + which] for which in (first, second)]
            texts = tuple(_sentences(self, of_view[mine]) for of_view in rows)
            yield Batch((), texts, *(torch.from_numpy(ids).to(self.tokens.device) for ids in (images, rows[0])))


def _sentences(source: "TextPairs | CaptionedSet", rows: Int[np.ndarray, " b"]) -> Sentences:
    """These captions of a source, cut to the longest of them."""
    index = torch.from_numpy(rows).to(source.tokens.device)
    return Sentences(source.tokens[index, : source._lengths[rows].max()], source.lengths[index])


class CaptionedSet:
    """The captions of a split in memory, on the training device: token ids and whose they are."""

    def __init__(self, dataset: Dataset, vocabulary: Tokens, device: torch.device, tags: Sequence[str] = ()):
        """`dataset` is one split; `tags`: the tag sentence of each of its images. Raises InputError without captions.

        The rows of `tokens` are the captions, then the tag sentences.
        """
        if not dataset.captions:
            raise InputError(f"{dataset.name}: no training captions; a folder of photos alone cannot be learned from")
        self.image_of_caption = torch.from_numpy(dataset.image_of_caption).to(device)
        tokens, lengths = pad(vocabulary.encode_all([*dataset.captions, *tags]))
        self.tokens, self.lengths = tokens.to(device), lengths.to(device)
        self._lengths = lengths.numpy()  # copies on the host: asking the device would wait for it
        self._owner = dataset.image_of_caption
        self._tag_sentence = np.unique(np.array(tags, dtype=object), return_inverse=True)[1] if tags else None

    def __len__(self) -> int:
        return len(self._owner)

    def steps(self, batch_size: int) -> int:
        """Steps of an epoch: every caption once; a last batch of a single pair, which has no negative, is left out."""
        return (len(self) + batch_size - 2) // batch_size

    def places(
        self, batch_size: int, rank: int, ranks: int
    ) -> Iterator[tuple[Int[np.ndarray, " b"], Int[np.ndarray, " share"]]]:
        """For each step of an epoch the places in its order that the batch has, and the share of them of a rank.

        With several ranks every rank draws the same batches and gets its share of each, rows rank::ranks.
        """
        for start in range(0, self.steps(batch_size) * batch_size, batch_size):
            whole = np.arange(start, min(start + batch_size, len(self)))
            yield whole, whole[_share(len(whole), rank, ranks)]

    def coins(self, views: ViewsConfig, batch_size: int, seed: int, epoch: int) -> Bool[np.ndarray, " captions"]:
        """For each place of an epoch's order whether the tag sentence is read: one draw for each step, or each pair.

        A pure function of (seed, epoch).
        """
        draw = np.random.default_rng((seed, epoch, 2))
        if views.coin == "pair":
            return draw.random(len(self)) < views.tags
        steps = draw.random(-(-len(self) // batch_size)) < views.tags
        return steps.repeat(batch_size)[: len(self)]

    def batch_of(
        self, images: tuple[Tensor, ...], order: Int[np.ndarray, " captions"], whole: Int[np.ndarray, " b"],
        mine: Int[np.ndarray, " share"], passes: int = 1, tagged: Bool[np.ndarray, " captions"] | None = None,
    ) -> Batch:  # fmt: skip
        """The batch of the places `whole` of `order`, of which this rank has `mine`, and their photos.

        `tagged`: at which places the tag sentence is read in place of the caption.
        """
        device = self.tokens.device
        captions = torch.from_numpy(order[whole]).to(device)
        said, tags = order, None
        if tagged is not None:
            owner = self._owner[order]
            said = np.where(tagged, len(self) + owner, order)
            tags = torch.from_numpy(np.where(tagged, self._tag_sentence[owner], -1)[whole]).to(device)
        texts = (_sentences(self, said[mine]),) * passes
        return Batch(images, texts, self.image_of_caption[captions], captions, tags)


class TrainingSet(CaptionedSet):
    """A split in memory, on the training device: features (float16, as stored), token ids, ownership."""

    def __init__(
        self, dataset: Dataset, features: Features, vocabulary: Tokens, device: torch.device, tags: Sequence[str] = ()
    ):
        """As of `CaptionedSet`. Raises InputError also when a photo has no row in `features`."""
        super().__init__(dataset, vocabulary, device, tags)
        self.features = torch.from_numpy(features.take(dataset.images)).to(device)  # (N, V, R, F)

    def epoch(
        self, batch_size: int, seed: int, epoch: int, rank: int = 0, ranks: int = 1,
        views: ViewsConfig = ViewsConfig(), by_photo: bool = False,  # noqa: B008  frozen
    ) -> Iterator[Batch]:  # fmt: skip
        """The batches of one epoch, a pure function of (seed, epoch); a rank has its share of each, see `places`.

        `views`: how many there are; those of a photo are drawn from the stored ones and differ as long as there are
        others. `by_photo`: a photo's captions come together, with the same views.
        """
        draw = np.random.default_rng((seed, epoch))
        order, stored = draw.permutation(len(self)), self.features.shape[1]
        first = draw.integers(stored, size=len(self))
        if by_photo:
            owner = self._owner[order]
            places = np.argsort(draw.permutation(len(self.features))[owner], kind="stable")
            order, first = order[places], first[owner[places]]
        if views.crops == 2 and stored > 1:  # any other one
            second = (first + np.random.default_rng((seed, epoch, 3)).integers(1, stored, len(self))) % stored
        else:
            second = first
        crops = np.stack([first, second][: views.crops], 1)
        tagged = self.coins(views, batch_size, seed, epoch) if views.tags else None
        for whole, mine in self.places(batch_size, rank, ranks):
            photos = self._photos(order[mine], crops[mine])
            yield self.batch_of(photos, order, whole, mine, views.passes, tagged)

    def batch(self, captions: Int[np.ndarray, " b"], views: Int[np.ndarray, "b v"]) -> Batch:
        """The pairs of these captions, each photo in the given stored views."""
        every = np.arange(len(captions))
        return self.batch_of(self._photos(captions, views), captions, every, every)

    def _photos(self, captions: Int[np.ndarray, " b"], views: Int[np.ndarray, "b v"]) -> tuple[Tensor, ...]:
        """Each caption's photo, view by view."""
        image_ids = self.image_of_caption[torch.from_numpy(captions).to(self.tokens.device)]
        return tuple(self.features[image_ids, torch.from_numpy(view).to(image_ids)].float() for view in views.T)
