"""Candidates and the weighted score that orders them (supplement 5.2): translation score, trigram, and their weights.

Generates nothing. The weights are tuned on dev by CIDEr, `tune`; the paper set them by hand. Shapes: c candidates of
one image, a of all images, d dimensions of the joint space.
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
from scipy.optimize import minimize
from scipy.special import softmax

from scnlm.rerank.trigram import Trigram
from vse.model import VSE
from vse.system.errors import InputError

VOTERS = 100  # best-scored candidates that agree on the best among them


@dataclass(frozen=True)
class Weights:
    """The score: cosines * repetition^repeats + trigram * nats + length * words + decoder * nats + structure * nats,
    with cosines = translation * cosine of image and sentence + concepts * cosine of bag and sentence.

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

    def __post_init__(self):
        if not all(map(math.isfinite, dataclasses.astuple(self))):
            raise InputError("every weight must be a finite number")
        positive = (self.translation, self.concepts, self.trigram, self.decoder, self.structure)
        if not 0 <= self.repetition <= 1 or min(positive) < 0:
            raise InputError(
                "repetition must be in [0, 1]; translation, concepts, trigram, decoder and structure 0 or more"
            )


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
    score: float = 0.0
    agreement: float = 0.0  # with the other best-scored ones, itself left out, see `ranked`
    expected: float = 0.0  # overlap with a caption drawn from the best-scored ones, itself among them, see `ranked`

    @property
    def text(self) -> str:
        return " ".join(self.tokens)


def score(candidates: Sequence[Candidate], weights: Weights) -> Float[np.ndarray, " c"]:
    """The weighted score of each candidate."""
    return weighted(parts(candidates), weights)


def parts(candidates: Sequence[Candidate]) -> Float[np.ndarray, "c 7"]:
    """translation, concepts, repeats, trigram, words, decoder, log_share of each candidate."""
    rows = [
        (c.translation, c.concepts, c.repeats, c.trigram, len(c.tokens), c.decoder, c.log_share) for c in candidates
    ]
    return np.array(rows, np.float64).reshape(-1, 7)


def weighted(parts: Float[np.ndarray, "c 7"], weights: Weights) -> Float[np.ndarray, " c"]:
    """The score from its parts."""
    translation, concepts, repeats, trigram, words, decoder, log_share = parts.T
    cosines = weights.translation * translation + weights.concepts * concepts
    fluent = weights.trigram * trigram + weights.length * words
    probable = weights.decoder * decoder + weights.structure * log_share
    return cosines * _factor(cosines, weights.repetition**repeats) + fluent + probable


def _factor(cosines: Float[np.ndarray, " c"], kept: Float[np.ndarray, " c"]) -> Float[np.ndarray, " c"]:
    """What the cosines are multiplied by so that they lose 1 - `kept` of their size, whatever their sign."""
    return np.where(cosines < 0, 2 - kept, kept)


def ranked(candidates: Sequence[Candidate], weights: Weights, vote: float = 0.0) -> list[Candidate]:
    """The candidates with their scores, best first; of equals the first.

    `vote` > 0: the VOTERS best-scored are ordered by their `expected` overlap of n-grams with a caption drawn from the
    softmax of the scores at a temperature of `vote` standard deviations of the scores (minimum Bayes risk: Kumar and
    Byrne 2004; not in the paper). A candidate may be the one that is drawn: without that its own score would not count
    for it, and `python -m experiments.captions vote` shows the cost. Its `agreement` is the same with one of the
    others; 0 where there is none.
    """
    scores = score(candidates, weights)
    order = np.argsort(-scores, kind="stable")
    agreements, expected = np.zeros((2, len(candidates)))
    if vote > 0 and scores.std() > 0:
        voters = order[:VOTERS]
        logits = (scores[voters] - scores[voters[0]]) / (vote * scores.std())
        alike = overlaps([candidates[i].tokens for i in voters])
        others = np.tile(logits, (len(voters), 1))
        np.fill_diagonal(others, -np.inf)
        agreements[voters] = (softmax(others, axis=1) * alike).sum(1)
        expected[voters] = alike @ softmax(logits)
        order[: len(voters)] = voters[np.argsort(-expected[voters], kind="stable")]
    values = zip(candidates, scores.tolist(), agreements.tolist(), expected.tolist(), strict=True)
    rows = [dataclasses.replace(c, score=s, agreement=a, expected=e) for c, s, a, e in values]
    return [rows[i] for i in order]


def overlaps(sentences: Sequence[Sequence[str]]) -> Float[np.ndarray, "c c"]:
    """2 |A and B| / (|A| + |B|) of the sets of n-grams of every two sentences, mean over n = 1 to 4."""
    found = np.zeros((len(sentences), len(sentences)))
    for n in range(1, 5):
        grams = [{tuple(own[i : i + n]) for i in range(len(own) - n + 1)} for own in sentences]
        column = {gram: i for i, gram in enumerate(sorted(set().union(*grams)))}
        has = np.zeros((len(sentences), len(column)), np.float32)
        for row, own in zip(has, grams, strict=True):
            row[[column[gram] for gram in own]] = 1
        sizes = has.sum(1)
        found += (has @ has.T) / np.maximum(sizes[:, None] + sizes, 1) / 2  # 2 / 4 orders
    return found


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


_NAMES = tuple(field.name for field in dataclasses.fields(Weights))
_IS_FACTOR = np.array(_NAMES) == "repetition"  # a factor of the cosines; all other weights are of a part each
_LIMITS = {"length": (-np.inf, np.inf), "repetition": (0.0, 1.0)}
_SMOOTHING = 1e-4  # what a unit of a squared weight costs; keeps the softmax of `tune` soft; chosen on Flickr8K dev


def tune(
    images: Sequence[Float[np.ndarray, "_ 7"]],
    gains: Sequence[Float[np.ndarray, " _"]],
    without: Sequence[str] = (),
    restarts: int = 3,
    seed: int = 0,
) -> tuple[Weights, float]:
    """(weights, mean gain of the best-scored candidate of each image).

    `images[i]`: the parts of image i's candidates; `gains[i]`: what each is worth (CIDEr). What is climbed is the
    expected gain of a candidate drawn from the softmax of the scores: other than that of the best one it is smooth in
    the weights, and less of an accident of these images. `without`: names of weights to leave out (0; repetition: 1).
    `restarts` more climbs start from random weights, drawn by `seed`. Raises InputError for an unknown name.
    """
    if unknown := set(without) - set(_NAMES):
        raise InputError(f"{sorted(unknown)[0]}: no such weight; expected some of {', '.join(_NAMES)}")
    pool = _Pool(images, gains)
    spread = pool.parts.std(0)
    scale = 1 / np.where(_IS_FACTOR | (spread < 1e-9), 1.0, spread)  # weights are sought in units of a part's spread
    smoothing = np.where(_IS_FACTOR, 0.0, _SMOOTHING)
    left_out = {name: (0.0, 0.0) for name in without} | ({"repetition": (1.0, 1.0)} if "repetition" in without else {})
    bounds = np.array([(_LIMITS | left_out).get(name, (0.0, np.inf)) for name in _NAMES])
    free = bounds[:, 0] < bounds[:, 1]

    def loss(x: Float[np.ndarray, " 7"]) -> tuple[float, Float[np.ndarray, " 7"]]:
        expected, gradient = pool.expected_gain(_named(x * scale))
        return smoothing @ x**2 - expected, np.where(free, 2 * smoothing * x - gradient * scale, 0.0)

    draw = np.random.default_rng(seed)
    starts = [np.ones(len(_NAMES)), *(draw.uniform(0, np.where(_IS_FACTOR, 1, 2)) for _ in range(restarts))]
    climbs = [minimize(loss, start.clip(*bounds.T), jac=True, method="L-BFGS-B", bounds=bounds) for start in starts]
    found = min(climbs, key=lambda climb: climb.fun).x * scale
    # Scores are compared with each other alone: in units of a cosine they can be read.
    if (cosines := found[0] + found[1]) > 0:
        found = np.where(_IS_FACTOR, found, found / cosines)
    return _named(found), pool.gain_of_best(_named(found))


def _named(values: Float[np.ndarray, " 7"]) -> Weights:
    return Weights(*values.tolist())


class _Pool:
    """The candidates of all images in one table; those of an image are neighbours."""

    def __init__(self, images: Sequence[Float[np.ndarray, "_ 7"]], gains: Sequence[Float[np.ndarray, " _"]]):
        self.parts, self.gains = np.concatenate(images), np.concatenate(gains)
        self.sizes = np.array([len(own) for own in images])
        self.starts = np.cumsum([0, *self.sizes[:-1]])

    def expected_gain(self, weights: Weights) -> tuple[float, Float[np.ndarray, " 7"]]:
        """The mean over images of sum_c softmax(score)_c gain_c, and its gradient by the weights."""
        scores = weighted(self.parts, weights)
        odds = np.exp(scores - self._of_image(np.maximum.reduceat(scores, self.starts)))
        chance = odds / self._of_image(np.add.reduceat(odds, self.starts))
        expected = np.add.reduceat(chance * self.gains, self.starts)
        by_score = chance * (self.gains - self._of_image(expected)) / len(self.sizes)
        translation, concepts, repeats, *others = self.parts.T
        cosines = weights.translation * translation + weights.concepts * concepts
        kept = by_score * _factor(cosines, weights.repetition**repeats)
        by_repetition = by_score @ (np.abs(cosines) * repeats * weights.repetition ** np.maximum(repeats - 1, 0))
        gradient = [kept @ translation, kept @ concepts, by_repetition, *(by_score @ part for part in others)]
        return float(expected.mean()), np.array(gradient)

    def gain_of_best(self, weights: Weights) -> float:
        """The mean over images of what the best-scored candidate is worth, of equals the first."""
        scores = weighted(self.parts, weights)
        best = np.flatnonzero(scores == self._of_image(np.maximum.reduceat(scores, self.starts)))
        return float(self.gains[best[np.searchsorted(best, self.starts)]].mean())

    def _of_image(self, values: Float[np.ndarray, " images"]) -> Float[np.ndarray, " a"]:
        """Each candidate's image's value."""
        return np.repeat(values, self.sizes)
