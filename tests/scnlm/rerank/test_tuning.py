"""Tuning the weights of the score: the gradient is right, planted weights are found, what is left out stays out."""

import dataclasses

import numpy as np
import pytest
from scipy.optimize import check_grad

from scnlm.rerank.score import Weights, weighted
from scnlm.rerank.tuning import _NAMES, _Pool, tune
from vse.system.errors import InputError


def task(
    seed: int, images: int = 12, candidates: int = 15, least: float = 0.0
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Parts and gains of candidates, another number an image; cosines from `least` on."""
    draw = np.random.default_rng(seed)
    table = [
        np.stack([
            draw.uniform(least, 1, n), draw.uniform(least, 1, n), draw.integers(0, 3, n), draw.uniform(-40, -5, n),
            draw.integers(4, 13, n), draw.uniform(-20, 0, n), draw.uniform(-9, -2, n),
            draw.uniform(-4, 4, n), draw.uniform(-30, -5, n),
        ], 1)
        for n in draw.integers(1, candidates, images)
    ]  # fmt: skip
    return table, [draw.random(len(own)) for own in table]


def reached(table, gains, weights) -> float:
    """The mean gain of the best-scored candidate of each image, of equals the first, one image at a time."""
    return float(np.mean([g[np.argmax(weighted(t, weights))] for t, g in zip(table, gains, strict=True)]))


PLANTED = Weights(
    0.4, 0.6, repetition=0.8, trigram=0.01, length=0.05, decoder=0.02, structure=0.03, matching=0.05, git=0.01
)


@pytest.mark.parametrize("least", [0.0, -1.0])  # of the cosines
@pytest.mark.parametrize("seed", range(3))
def test_the_expected_gain_is_the_loops_and_its_gradient_is_right(seed, least):
    table, gains = task(seed, least=least)
    by_hand = []
    for own, worth in zip(table, gains, strict=True):
        odds = np.exp(weighted(own, PLANTED))
        by_hand.append((odds / odds.sum()) @ worth)
    pool = _Pool(table, gains)
    assert pool.expected_gain(PLANTED)[0] == pytest.approx(np.mean(by_hand))
    at = np.array(dataclasses.astuple(PLANTED))
    error = check_grad(
        lambda x: pool.expected_gain(Weights(*x))[0], lambda x: pool.expected_gain(Weights(*x))[1], at, epsilon=1e-6
    )
    assert error < 1e-4 and np.abs(pool.expected_gain(PLANTED)[1]).min() > 1e-5


@pytest.mark.parametrize("seed", range(3))
def test_tuning_finds_weights_that_were_planted(seed):
    table, _ = task(seed, images=300)
    gains = [(np.arange(len(own)) == np.argmax(weighted(own, PLANTED))).astype(float) for own in table]
    found, gain = tune(table, gains)
    assert gain == pytest.approx(reached(table, gains, found)) and gain >= 0.9
    assert reached(table, gains, tune(table, gains, without=("structure",))[0]) < gain
    assert found.translation + found.concepts == pytest.approx(1)  # scores in units of a cosine
    others, _ = task(seed + 100, images=300)  # which it has not seen
    worth = [(np.arange(len(own)) == np.argmax(weighted(own, PLANTED))).astype(float) for own in others]
    assert reached(others, worth, found) >= 0.85


@pytest.mark.parametrize("name", _NAMES)
def test_what_is_left_out_weighs_nothing(name):
    table, gains = task(1)
    found, gain = tune(table, gains, without=(name,))
    assert getattr(found, name) == (1.0 if name == "repetition" else 0.0)
    assert gain == pytest.approx(reached(table, gains, found))
    other = [own.copy() for own in table]
    for own in other:
        own[:, _NAMES.index(name)] = 7.0
    same, _ = tune(other, gains, without=(name,))
    assert dataclasses.astuple(same) == pytest.approx(dataclasses.astuple(found), rel=1e-3, abs=1e-3)


def test_without_cosines_the_rest_still_counts():
    table, _ = task(2, images=100)
    gains = [own[:, 3] for own in table]  # the trigram alone decides
    found, gain = tune(table, gains, without=("translation", "concepts"))
    assert found.trigram > 0 and gain == pytest.approx(np.mean([own.max() for own in gains]), abs=0.5)


def test_of_equal_scores_the_first_counts():
    """As in a caption: argsort is stable there."""
    same = np.array([[0.5, 0, 0, 0, 5, 0, 0, 0, 0]] * 3)
    assert tune([same, same[:1]], [np.array([1.0, 5.0, 3.0]), np.array([2.0])])[1] == pytest.approx(1.5)


def test_tuning_is_a_function_of_its_seed():
    table, gains = task(3)
    assert tune(table, gains, seed=5) == tune(table, gains, seed=5)


def test_an_unknown_weight_is_named():
    with pytest.raises(InputError, match="colour: no such weight; expected some of translation"):
        tune(*task(0), without=("colour",))


def test_a_part_that_never_differs_weighs_nothing():
    table, gains = task(4)
    for own in table:
        own[:, _NAMES.index("matching")] = 3.0
    found, _ = tune(table, gains)
    assert found.matching == 0.0 and found == tune(table, gains, without=("matching",))[0]
