"""Candidates and the weighted score that orders them (supplement 5.2): translation score, trigram, and their weights.

Generates nothing. The weights are tuned on dev by CIDEr with a small search, `tune`; the paper set them by hand.
Shapes: c candidates of one image, d dimensions of the joint space.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float

from scnlm.trigram import Trigram
from vse.errors import InputError
from vse.model import VSE


@dataclass(frozen=True)
class Weights:
    """The score: (translation * cosine of image and sentence + concepts * cosine of bag and sentence)
    * repetition^repeats + trigram * nats + length * words + decoder * nats.
    """

    translation: float = 1.0  # of the cosine of image and sentence
    concepts: float = 1.0  # of the cosine of the image's bag of concepts and the sentence; not in the paper
    repetition: float = 0.95  # the cosines are multiplied by it for each non-stopword that was there before
    trigram: float = 0.008  # a nat of the trigram's log-probability
    length: float = 0.04  # a word: log-probabilities alone prefer short sentences
    decoder: float = 0.03  # a nat of the language model's log P(sentence | structure, content); not in the paper

    def __post_init__(self):
        if not all(map(math.isfinite, dataclasses.astuple(self))):
            raise InputError("every weight must be a finite number")
        if not 0 <= self.repetition <= 1 or min(
            self.trigram, self.translation, self.concepts, self.decoder
        ) < 0:
            raise InputError("repetition must be in [0, 1], translation, concepts, trigram and decoder 0 or more")


@dataclass(frozen=True)
class Candidate:
    """A sentence and every part of its score; log-probabilities in nats."""

    tokens: tuple[str, ...]
    content: str  # which content vector it was decoded from
    structure: tuple[str, ...]
    decoder: float  # log P(sentence | structure, content) under the language model
    draw: int = 0  # which of the sampled candidates it was first
    translation: float = 0.0  # cosine of the image and the sentence
    concepts: float = 0.0  # cosine of the image's bag of concepts and the sentence
    repeats: int = 0  # non-stopwords that were there before
    trigram: float = 0.0  # log P(sentence) under the trigram
    score: float = 0.0

    @property
    def text(self) -> str:
        return " ".join(self.tokens)


def score(candidates: Sequence[Candidate], weights: Weights) -> Float[np.ndarray, " c"]:
    """The weighted score of each candidate."""
    return weighted(parts(candidates), weights)


def parts(candidates: Sequence[Candidate]) -> Float[np.ndarray, "c 6"]:
    """translation, concepts, repeats, trigram, words, decoder of each candidate."""
    rows = [(c.translation, c.concepts, c.repeats, c.trigram, len(c.tokens), c.decoder) for c in candidates]
    return np.array(rows, np.float64).reshape(-1, 6)


def weighted(parts: Float[np.ndarray, "c 6"], weights: Weights) -> Float[np.ndarray, " c"]:
    """The score from its parts."""
    translation, concepts, repeats, trigram, words, decoder = parts.T
    translated = weights.translation * translation + weights.concepts * concepts
    fluent = weights.trigram * trigram + weights.length * words + weights.decoder * decoder
    return translated * weights.repetition**repeats + fluent


def measure(
    candidates: Sequence[Candidate],
    image: Float[np.ndarray, " d"],
    bag: Float[np.ndarray, " d"],
    encoder: VSE,
    trigram: Trigram,
) -> list[Candidate]:
    """The candidates with their cosines to the image and to its bag of concepts, repeats and trigram filled in."""
    with torch.autocast(encoder.device.type, torch.bfloat16):  # thousands of sentences; 0.001 of cosine does not matter
        cosines = encoder.encode_texts([c.text for c in candidates]) @ np.stack([image, bag], 1)
    nats = trigram.score([c.tokens for c in candidates])
    return [
        dataclasses.replace(c, translation=to_image, concepts=to_bag, trigram=n, repeats=repeats(c.tokens))
        for c, (to_image, to_bag), n in zip(candidates, cosines.tolist(), nats.tolist(), strict=True)
    ]


def repeats(tokens: Sequence[str]) -> int:
    """How many non-stopwords were there before in the sentence."""
    words = [token for token in tokens if token not in stopwords()]
    return len(words) - len(set(words))


@cache
def stopwords() -> frozenset[str]:
    """spaCy's English stopwords."""
    from spacy.lang.en.stop_words import STOP_WORDS

    return frozenset(STOP_WORDS)


# What `tune` tries of each weight. Scores are compared with each other alone, so `translation` sets the scale.
_STEPS = {
    "concepts": (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0),
    "trigram": (0.0, 0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1),
    "length": (0.0, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3),
    "repetition": (0.5, 0.7, 0.8, 0.9, 0.95, 1.0),
    "decoder": (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1),
}


def tune(
    images: Sequence[Float[np.ndarray, "_ 6"]],
    gains: Sequence[Float[np.ndarray, " _"]],
    start: Weights,
    fixed: Sequence[str] = (),
    restarts: int = 12,
    seed: int = 0,
) -> tuple[Weights, float]:
    """(weights, mean gain of the best-scored candidate of each image): the best of several coordinate searches.

    The first starts at `start`, `restarts` more at random. `images[i]`: the parts of image i's candidates; `gains[i]`:
    what each is worth (CIDEr). Weights in `fixed` stay as they are in `start`.
    """
    table, worth = np.concatenate(images), np.concatenate(gains)
    starts = np.cumsum([0, *(len(own) for own in images[:-1])])
    sizes = np.array([len(own) for own in images])
    free = [name for name in _STEPS if name not in fixed]
    draw = np.random.default_rng(seed)

    def gain(weights: Weights) -> float:
        scores = weighted(table, weights)
        best = np.flatnonzero(scores == np.repeat(np.maximum.reduceat(scores, starts), sizes))
        return float(worth[best[np.searchsorted(best, starts)]].mean())  # of equals the first

    def climb(best: Weights) -> tuple[Weights, float]:
        found, before = gain(best), -np.inf
        while found > before:
            before = found
            for name in free:
                for value in _STEPS[name]:
                    tried = dataclasses.replace(best, **{name: value})
                    if (now := gain(tried)) > found:
                        best, found = tried, now
        return best, found

    random = [{name: float(draw.choice(_STEPS[name])) for name in free} for _ in range(restarts)]
    return max((climb(dataclasses.replace(start, **own)) for own in ({}, *random)), key=lambda pair: pair[1])
