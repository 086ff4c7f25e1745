"""experiments/views: the gap of two clouds, and a photo's tag sentence as one more view."""

import math

import numpy as np
import pytest

from experiments.rows import EXPERIMENTS, INTRA, LADDERS, VIEWS
from experiments.views.gap import gap
from experiments.views.tag_sentences import Tagged
from vse.system.errors import InputError


def test_the_gap_is_the_log_cosine_of_the_means():
    angle = 0.7
    images = np.array([[1.0, 0.3], [1.0, -0.3]])
    texts = np.array([[math.cos(angle), math.sin(angle)]] * 3) * 5
    assert gap(images, texts) == pytest.approx(math.log(math.cos(angle)))
    assert gap(images, images * 2) == pytest.approx(0)
    with pytest.raises(InputError, match="cosine of -1.000"):
        gap(images, -images)


class _Scorer:
    def images(self, names):
        return np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)[: len(names)]

    def texts(self, texts):
        return np.array([[0.6, 0.8] if "dog" in text else [0.8, -0.6] for text in texts], np.float32)


class _Split:
    images, captions = ("a", "b"), ("a dog", "a cat", "a cow")


def test_a_tag_sentence_adds_its_score_with_the_caption_times_the_weight():
    everything, tagged = slice(None), Tagged(_Scorer(), _Split(), {"a": ("dog",), "b": ("cat",)})
    plain, moved = (tagged.scores(weight)(everything, everything) for weight in (0.0, 0.25))
    captions = _Scorer().texts(_Split.captions)
    np.testing.assert_allclose(plain, np.eye(2) @ captions.T, rtol=1e-6)
    expected = plain + 0.25 * np.array([[0.6, 0.8], [0.8, -0.6]]) @ captions.T
    np.testing.assert_allclose(moved, expected, rtol=1e-6)


def test_ladders_add_one_thing_a_step_and_read_test_with_three_seeds():
    assert len(VIEWS) == len(set(VIEWS)) == 14
    assert all(EXPERIMENTS[name].test and len(EXPERIMENTS[name].seeds) == 3 for name in VIEWS)
    for ladder in LADDERS.values():
        assert not any(key.startswith("views.") for key in EXPERIMENTS[ladder[0]].changes)
        sizes = [len(EXPERIMENTS[name].changes) for name in ladder]
        assert sizes == sorted(sizes)
    assert all(f"views-intra-{weight:g}" in EXPERIMENTS for weight in INTRA)
