"""The weights of the score, tuned on dev by CIDEr; the paper set them by hand.

Shapes: c candidates of one image, a of all images.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

from scnlm.rerank.score import Weights, factor, weighted
from vse.system.errors import InputError

_NAMES = tuple(field.name for field in dataclasses.fields(Weights))
_IS_FACTOR = np.array(_NAMES) == "repetition"  # a factor of the cosines; all other weights are of a part each
_LIMITS = {"length": (-np.inf, np.inf), "repetition": (0.0, 1.0)}
_SMOOTHING = 1e-4  # what a unit of a squared weight costs; keeps the softmax of `tune` soft; chosen on Flickr8K dev


def tune(
    images: Sequence[Float[np.ndarray, "_ 9"]],
    gains: Sequence[Float[np.ndarray, " _"]],
    without: Sequence[str] = (),
    restarts: int = 3,
    seed: int = 0,
) -> tuple[Weights, float]:
    """(weights, mean gain of the best-scored candidate of each image).

    `images[i]`: the parts of image i's candidates; `gains[i]`: what each is worth (CIDEr). What is climbed is the
    expected gain of a candidate drawn from the softmax of the scores: other than that of the best one it is smooth in
    the weights, and less of an accident of these images. `without`: weights to leave out (0; repetition: 1), as are
    those of parts that never differ.
    `restarts` more climbs start from random weights, drawn by `seed`. Raises InputError for an unknown name.
    """
    if unknown := set(without) - set(_NAMES):
        raise InputError(f"{sorted(unknown)[0]}: no such weight; expected some of {', '.join(_NAMES)}")
    pool = _Pool(images, gains)
    spread = pool.parts.std(0)
    idle = ~_IS_FACTOR & (spread < 1e-9)
    scale = 1 / np.where(_IS_FACTOR | idle, 1.0, spread)  # weights are sought in units of a part's spread
    smoothing = np.where(_IS_FACTOR, 0.0, _SMOOTHING)
    left_out = {name: (0.0, 0.0) for name in without} | ({"repetition": (1.0, 1.0)} if "repetition" in without else {})
    bounds = np.array([(_LIMITS | left_out).get(name, (0.0, np.inf)) for name in _NAMES])
    bounds[idle] = 0.0
    free = bounds[:, 0] < bounds[:, 1]

    def loss(x: Float[np.ndarray, " 9"]) -> tuple[float, Float[np.ndarray, " 9"]]:
        expected, gradient = pool.expected_gain(_named(x * scale))
        return smoothing @ x**2 - expected, np.where(free, 2 * smoothing * x - gradient * scale, 0.0)

    draw = np.random.default_rng(seed)
    starts = [np.ones(len(_NAMES)), *(draw.uniform(0, np.where(_IS_FACTOR, 1, 2)) for _ in range(restarts))]
    climbs = [minimize(loss, start.clip(*bounds.T), jac=True, method="L-BFGS-B", bounds=bounds) for start in starts]
    values = min(climbs, key=lambda climb: climb.fun).x * scale
    # Scores are compared with each other alone: in units of a cosine they can be read.
    if (cosines := values[0] + values[1]) > 0:
        values = np.where(_IS_FACTOR, values, values / cosines)
    return _named(values), pool.gain_of_best(_named(values))


def _named(values: Float[np.ndarray, " 9"]) -> Weights:
    return Weights(*values.tolist())


class _Pool:
    """The candidates of all images in one table; those of an image are neighbours."""

    def __init__(self, images: Sequence[Float[np.ndarray, "_ 9"]], gains: Sequence[Float[np.ndarray, " _"]]):
        self.parts, self.gains = np.concatenate(images), np.concatenate(gains)
        self.sizes = np.array([len(image) for image in images])
        self.starts = np.cumsum([0, *self.sizes[:-1]])

    def expected_gain(self, weights: Weights) -> tuple[float, Float[np.ndarray, " 9"]]:
        """The mean over images of sum_c softmax(score)_c gain_c, and its gradient by the weights."""
        scores = weighted(self.parts, weights)
        odds = np.exp(scores - self._of_image(np.maximum.reduceat(scores, self.starts)))
        chance = odds / self._of_image(np.add.reduceat(odds, self.starts))
        expected = np.add.reduceat(chance * self.gains, self.starts)
        by_score = chance * (self.gains - self._of_image(expected)) / len(self.sizes)
        translation, concepts, repeats, *others = self.parts.T
        cosines = weights.translation * translation + weights.concepts * concepts
        by_cosine = by_score * factor(cosines, weights.repetition**repeats)
        by_repetition = by_score @ (np.abs(cosines) * repeats * weights.repetition ** np.maximum(repeats - 1, 0))
        gradient = [by_cosine @ translation, by_cosine @ concepts, by_repetition, *(by_score @ part for part in others)]
        return float(expected.mean()), np.array(gradient)

    def gain_of_best(self, weights: Weights) -> float:
        """The mean over images of what the best-scored candidate is worth, of equals the first."""
        scores = weighted(self.parts, weights)
        best = np.flatnonzero(scores == self._of_image(np.maximum.reduceat(scores, self.starts)))
        return float(self.gains[best[np.searchsorted(best, self.starts)]].mean())

    def _of_image(self, values: Float[np.ndarray, " images"]) -> Float[np.ndarray, " a"]:
        """Each candidate's image's value."""
        return np.repeat(values, self.sizes)
