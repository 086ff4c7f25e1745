"""Sentences as padded token ids. Shapes: b sentences, t words of the longest."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from vse.data.vocabulary import PAD_ID


class Sentences(NamedTuple):
    """Token ids, each row padded with <pad> to the longest or beyond."""

    tokens: Int[Tensor, "b t"]
    lengths: Int[Tensor, " b"]


def pad(sentences: Sequence[Sequence[int]]) -> Sentences:
    """The sentences, padded to the longest."""
    lengths = torch.tensor([len(s) for s in sentences])
    tokens = torch.full((len(sentences), int(lengths.max())), PAD_ID)
    for row, sentence in enumerate(sentences):
        tokens[row, : len(sentence)] = torch.tensor(sentence)
    return Sentences(tokens, lengths)
