"""Candidates and their weighted score (supplement 5.2): translation score, trigram, and their weights.

Generates nothing. Shapes: c candidates of one image, d dimensions of the joint space.
"""

import dataclasses
import importlib.util
import math
import runpy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float

from scnlm.rerank.trigram import Trigram
from vse.model import VSE
from vse.system.errors import InputError


@dataclass(frozen=True)
class Weights:
    """The score: cosines * repetition^repeats + trigram * nats + length * words + decoder * nats + structure * nats
    + matching * logit + git * nats, where

    cosines = translation * cosine of image and sentence + concepts * cosine of bag and sentence.
    Where the cosines are negative the factor would raise the score: they lose the same share of their size instead.

    Decoder and structure together are the model's log P(sentence, structure | content): without the structure's own
    probability an unusual one, which few sentences fit, makes any of them look probable.
    """

    translation: float = 0.3  # of the cosine of image and sentence
    concepts: float = 0.7  # of the cosine of the image's bag of concepts and the sentence; not in the paper
    repetition: float = 0.8  # the cosines keep so much for each non-stopword that was there before
    trigram: float = 0.01  # a nat of the trigram's log-probability
    length: float = 0.04  # a word: log-probabilities alone prefer short sentences
    decoder: float = 0.02  # a nat of the language model's log P(sentence | structure, content); not in the paper
    structure: float = 0.02  # a nat of log P(structure), its share of the bank; not in the paper
    matching: float = 0.0  # of the logit of a model that reads photo and sentence together; not in the paper
    git: float = 0.0  # a nat of a GIT's log P(sentence | photo); not in the paper

    def __post_init__(self):
        if not all(map(math.isfinite, dataclasses.astuple(self))):
            raise InputError("every weight must be a finite number")
        negative = [name for name, value in dataclasses.asdict(self).items() if value < 0 and name != "length"]
        if negative or self.repetition > 1:
            wrong = f"{negative[0]} is below 0" if negative else f"repetition is {self.repetition:g}"
            raise InputError(f"{wrong}: repetition must be in [0, 1], all other weights but length 0 or more")


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
    log_share: float = 0.0  # log P(structure): the structure's share of the bank
    matching: float = 0.0  # log P(match) - log P(no match) of photo and sentence, where the set has a model of it
    git: float = 0.0  # log P(sentence | photo) of a GIT, where the set has one
    score: float = 0.0
    agreement: float = 0.0  # with the other best-scored ones, itself left out, see vote.py
    expected: float = 0.0  # overlap with a caption drawn from the best-scored ones, itself among them, see vote.py

    @property
    def text(self) -> str:
        return " ".join(self.tokens)


def score(candidates: Sequence[Candidate], weights: Weights) -> Float[np.ndarray, " c"]:
    """The weighted score of each candidate."""
    return weighted(parts(candidates), weights)


def parts(candidates: Sequence[Candidate]) -> Float[np.ndarray, "c 9"]:
    """translation, concepts, repeats, trigram, words, decoder, log_share, matching, git of each candidate."""
    rows = [
        (c.translation, c.concepts, c.repeats, c.trigram, len(c.tokens), c.decoder, c.log_share, c.matching, c.git)
        for c in candidates
    ]
    return np.array(rows, np.float64).reshape(-1, 9)


def weighted(parts: Float[np.ndarray, "c 9"], weights: Weights) -> Float[np.ndarray, " c"]:
    """The score from its parts."""
    translation, concepts, repeats, trigram, words, decoder, log_share, matching, git = parts.T
    cosines = weights.translation * translation + weights.concepts * concepts
    fluent = weights.trigram * trigram + weights.length * words
    probable = weights.decoder * decoder + weights.structure * log_share
    looked = weights.matching * matching + weights.git * git
    return cosines * factor(cosines, weights.repetition**repeats) + fluent + probable + looked


def factor(cosines: Float[np.ndarray, " c"], share: Float[np.ndarray, " c"]) -> Float[np.ndarray, " c"]:
    """What the cosines are multiplied by so that they lose 1 - `share` of their size, whatever their sign."""
    return np.where(cosines < 0, 2 - share, share)


def measure(
    candidates: Sequence[Candidate],
    image: Float[np.ndarray, " d"],
    bag: Float[np.ndarray, " d"],
    encoder: VSE,
    trigram: Trigram,
) -> list[Candidate]:
    """The candidates with their cosines to the image and to its bag of concepts, repeats and trigram filled in."""
    # In float32 everywhere, so that every machine gives the same sentences; bfloat16 would save 5 % of a photo's time.
    cosines = encoder.encode_texts([c.text for c in candidates], len(candidates)) @ np.stack([image, bag], 1)
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
    # Its file alone: all of spaCy takes half a second to import, and a list of words needs none of it.
    spacy = importlib.util.find_spec("spacy")
    path = Path(spacy.submodule_search_locations[0], "lang", "en", "stop_words.py")
    return frozenset(runpy.run_path(str(path))["STOP_WORDS"])
