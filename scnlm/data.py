"""Captions, their tags and their points of the joint space as batches for a language model (section 2.5).

Tags nothing and embeds nothing itself: `TaggedText` is given tags and u. Shapes: n captions, b captions of a batch,
t positions (words and the end of the sentence), d dimensions of u.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scnlm.models import NO_TAG
from scnlm.structure import TagVocabulary
from vse.data.sentences import pad
from vse.data.vocabulary import EOS, EOS_ID, UNK_ID, Vocabulary, cut_long
from vse.system.errors import InputError

_SORTED_TOGETHER = 20  # batches drawn at random are sorted by length among as many: little padding, still random


@dataclass(frozen=True)
class TextBatch:
    """Sentences with their end: word t of row b is to be predicted where `inside` is true."""

    tokens: Int[Tensor, "b t"]
    tags: Int[Tensor, "b t"]
    inside: Bool[Tensor, "b t"]
    u: Float[Tensor, "b d"]


class TaggedText:
    """Tokenized sentences with one tag per word, or none, and a content vector each, in memory on a device."""

    def __init__(
        self,
        sentences: Sequence[Sequence[str]],
        tags: Sequence[Sequence[str]] | None,
        u: Float[np.ndarray, "n d"],
        vocabulary: Vocabulary,
        tag_vocabulary: TagVocabulary | None,
        device: torch.device,
    ):
        """Raises InputError without a sentence, and for a sentence with another number of tags than words."""
        if not len(sentences):
            raise InputError("no sentences; expected at least one caption with a word")
        for words, tags_of_words in zip(sentences, sentences if tags is None else tags, strict=True):
            if len(words) != len(tags_of_words) or not words:
                raise InputError(
                    f"{' '.join(words)[:80]!r}: {len(tags_of_words)} tags for {len(words)} words, expected one each"
                )
        ids = [[vocabulary.ids.get(w, UNK_ID) for w in words] + [EOS_ID] for words in cut_long(sentences)]
        self.tokens, lengths = (x.to(device) for x in pad(ids))
        self.tags = torch.full_like(self.tokens, NO_TAG)
        if tags is not None:
            tag_ids = [tag_vocabulary.ids([*sequence, EOS], unseen=NO_TAG) for sequence in cut_long(tags)]
            self.tags = pad(tag_ids).tokens.to(device)
        self.lengths = lengths
        self._lengths = lengths.cpu().numpy()  # on the host: asking the device would wait for it
        self.u = torch.from_numpy(np.asarray(u, np.float16)).to(device)

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def words(self) -> int:
        """How many words are predicted, ends of sentences included."""
        return int(self._lengths.sum())

    def epoch(self, batch_size: int, seed: int, epoch: int) -> Iterator[TextBatch]:
        """Every sentence once, in batches of like length in random order; a pure function of (seed, epoch)."""
        draw = np.random.default_rng((seed, epoch))
        order, batches = draw.permutation(len(self)), []
        for start in range(0, len(self), _SORTED_TOGETHER * batch_size):
            group = order[start : start + _SORTED_TOGETHER * batch_size]
            group = group[np.argsort(self._lengths[group], kind="stable")]
            batches += [group[i : i + batch_size] for i in range(0, len(group), batch_size)]
        return (self.batch(batches[i]) for i in draw.permutation(len(batches)))

    def steps(self, batch_size: int) -> int:
        """Batches of an epoch."""
        whole, rest = divmod(len(self), _SORTED_TOGETHER * batch_size)
        return whole * _SORTED_TOGETHER + -(-rest // batch_size)

    def in_order(self, batch_size: int = 500) -> Iterator[TextBatch]:
        """Every sentence once, by length."""
        order = np.argsort(self._lengths, kind="stable")
        return (self.batch(order[i : i + batch_size]) for i in range(0, len(self), batch_size))

    def batch(self, rows: Int[np.ndarray, " b"]) -> TextBatch:
        """These sentences."""
        index, longest = torch.from_numpy(rows).to(self.tokens.device), int(self._lengths[rows].max())
        inside = torch.arange(longest, device=self.tokens.device)[None, :] < self.lengths[index][:, None]
        return TextBatch(self.tokens[index, :longest], self.tags[index, :longest], inside, self.u[index].float())
