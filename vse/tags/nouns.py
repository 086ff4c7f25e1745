"""Tagger B, learned: the nouns that people use of such photos, predicted from the features alone, cross-fitted.

Ridge regression from the mean feature to the share of a photo's captions that name a noun, so that a score is the
share to be expected. The tags of a training photo come from a regression that saw none of the captions of its fold,
the list of nouns included: else the tag sentence were the caption again. Shapes: n photos, f feature_dim, c nouns.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.linalg
from jaxtyping import Float, Int
from tqdm import tqdm

from vse.data.datasets import Dataset
from vse.data.part_of_speech import tag_captions
from vse.data.vocabulary import tokenize
from vse.features.store import Features
from vse.system.errors import InputError

FOLDS = 5
PHOTOS = 30  # a noun has so many among those that a regression sees
MOST, LEAST = 8, 0.2  # tags a photo, and the share of captions expected to name one; a photo without gets the likeliest
PENALTY = 1.0  # in units of the mean squared input; what Flickr8K dev chose for its 60 most frequent nouns
_BLOCK = 500  # photos at once


@dataclass(frozen=True)
class NounTagger:
    """A regression and the nouns that it knows."""

    nouns: tuple[str, ...]
    weights: Float[np.ndarray, "f c"]
    mean_input: Float[np.ndarray, " f"]
    mean_share: Float[np.ndarray, " c"]

    def shares(self, inputs: Float[np.ndarray, "n f"]) -> Float[np.ndarray, "n c"]:
        """The share of captions expected to name each noun."""
        return (inputs - self.mean_input) @ self.weights + self.mean_share

    def tags(self, inputs: Float[np.ndarray, "n f"]) -> list[tuple[str, ...]]:
        """Of each photo, the likeliest first."""
        shares = self.shares(inputs)
        order = np.argsort(-shares, axis=1, kind="stable")[:, :MOST]
        return [
            tuple(self.nouns[c] for c in best if row[c] >= LEAST) or (self.nouns[best[0]],)
            for row, best in zip(shares, order, strict=True)
        ]


def noun_tags(
    dataset: Dataset, features: Features, cache: Path | None = None, seed: int = 0, progress: bool = False
) -> dict[str, tuple[str, ...]]:
    """The tags of every photo of `dataset`: of training photos by cross-fitting, of the others by all training photos.

    `cache`: a folder for the captions' parts of speech. Raises InputError where captions are too few to learn from.
    """
    train = dataset.split("train")
    inputs = mean_features(features, dataset.images)
    row = {image: i for i, image in enumerate(dataset.images)}
    nouns = nouns_of(train, cache, progress)
    x = inputs[[row[image] for image in train.images]]
    fold = folds(len(train.images), seed)
    tags: dict[str, tuple[str, ...]] = {}
    for k in tqdm(range(FOLDS), desc="tags", unit="fold", leave=False, disable=None if progress else True):
        held = np.flatnonzero(fold == k)
        found = fit(train, nouns, x, np.flatnonzero(fold != k)).tags(x[held])
        tags |= {train.images[i]: names for i, names in zip(held, found, strict=True)}
    if others := [image for image in dataset.images if image not in tags]:
        whole = fit(train, nouns, x, np.arange(len(x)))
        tags |= dict(zip(others, whole.tags(inputs[[row[image] for image in others]]), strict=True))
    return {image: tags[image] for image in dataset.images}


def folds(photos: int, seed: int = 0) -> Int[np.ndarray, " n"]:
    """The fold of each training photo: as equal as they can be, drawn without a look at captions."""
    return np.random.default_rng((seed, photos)).permutation(photos) % FOLDS


def nouns_of(split: Dataset, cache: Path | None = None, progress: bool = False) -> list[frozenset[str]]:
    """The nouns of each caption, as spaCy tags it."""
    words = [tokenize(caption) for caption in split.captions]
    tags = tag_captions(words, "coarse", cache=cache, progress=progress)
    return [
        frozenset(word for word, tag in zip(*pair, strict=True) if tag == "NOUN" and len(word) > 1)
        for pair in zip(words, tags, strict=True)
    ]


def fit(
    split: Dataset, nouns: Sequence[frozenset[str]], inputs: Float[np.ndarray, "n f"], photos: Int[np.ndarray, " m"]
) -> NounTagger:
    """The tagger that sees only these photos of the split and their captions.

    Raises InputError where no noun has enough photos.
    """
    place = {photo: i for i, photo in enumerate(photos.tolist())}
    named: list[Counter[str]] = [Counter() for _ in photos]
    captions = np.zeros(len(photos))
    for photo, words in zip(split.image_of_caption.tolist(), nouns, strict=True):
        if photo in place:
            named[place[photo]].update(words)
            captions[place[photo]] += 1
    counts = Counter(word for counted in named for word in counted)
    least = min(PHOTOS, max(2, len(photos) // 20))  # small data have their nouns, too
    kept = sorted((word for word, n in counts.items() if n >= least), key=lambda word: (-counts[word], word))
    if not kept:
        raise InputError(f"{split.name}: no noun comes in the captions of {least} photos; give a file of tags (--tags)")
    column = {word: c for c, word in enumerate(kept)}
    shares = np.zeros((len(photos), len(kept)))
    for i, counted in enumerate(named):
        for word, n in counted.items():
            if word in column:
                shares[i, column[word]] = n / captions[i]
    told = captions > 0
    x, y = inputs[photos][told], shares[told]
    return NounTagger(tuple(kept), ridge(x - x.mean(0), y, [PENALTY])[PENALTY], x.mean(0), y.mean(0))


def ridge(
    x: Float[np.ndarray, "n f"], y: Float[np.ndarray, "n c"], penalties: Sequence[float]
) -> dict[float, Float[np.ndarray, "f c"]]:
    """The weights of ridge regression from centered inputs for each penalty, in units of the mean squared input."""
    gram, cross = x.T @ x, x.T @ (y - y.mean(0))
    scale = np.trace(gram) / len(gram)
    return {
        penalty: scipy.linalg.solve(gram + penalty * scale * np.eye(len(gram)), cross, assume_a="pos")
        for penalty in penalties
    }


def mean_features(features: Features, names: Sequence[str]) -> Float[np.ndarray, "n f"]:
    """The mean over views and regions, block by block: all features at once may not fit."""
    blocks = [names[i : i + _BLOCK] for i in range(0, len(names), _BLOCK)]
    return np.concatenate([features.take(block).astype(np.float32).mean((1, 2)) for block in blocks]).astype(np.float64)
