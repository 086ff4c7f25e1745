"""experiments.combination: which cells there are, groups of captions, and what the dual encoder is given."""

import numpy as np
import pytest

from experiments import combination
from experiments.combination import CELLS, grouped, mean_vectors
from experiments.results import changed
from vse.configs import FusionTrainConfig
from vse.data.datasets import Dataset


def test_every_cell_of_the_grid_is_there_once():
    assert len(CELLS) == 6 + 5 + 5 and len(set(CELLS.values())) == len(CELLS)
    for reading, a, b in CELLS.values():
        config = changed(FusionTrainConfig(), combination.LIGHT | {"model.combination": reading, "model.images": a})
        assert config.model.combination == reading and a in (1, 2) and b in (1, 2, 3)


def test_groups_are_of_one_photo_and_photos_with_too_few_captions_have_none():
    owner = np.array([1, 0, 1, 0, 0, 2])
    split = Dataset("toy", None, ("a", "b", "c"), ("test",) * 3, ("b0", "a0", "b1", "a1", "a2", "c0"), owner)
    pairs, groups = grouped(split, 2)
    assert groups == [("a0", "a1"), ("b0", "b1")]
    assert pairs.image_of_caption.tolist() == [0, 1] and pairs.captions == ("a0 a1", "b0 b1")
    assert pairs.images == split.images
    assert grouped(split, 3)[1] == [("a0", "a1", "a2")]


def test_the_dual_encoder_is_given_the_mean_of_a_groups_captions():
    class Model:
        def encode_texts(self, texts):
            rows = np.array([[len(text), 1.0, 0.0] for text in texts], np.float32)
            return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    groups = [("a", "abc"), ("ab", "abcd")]
    found = mean_vectors(Model(), groups)
    for group, vector in zip(groups, found, strict=True):
        mean = Model().encode_texts(group).mean(0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), rtol=1e-6)
    one = [("a",), ("abc",)]
    np.testing.assert_allclose(mean_vectors(Model(), one), Model().encode_texts(["a", "abc"]), rtol=1e-6)


def test_an_unknown_cell_is_named():
    with pytest.raises(combination.results.InputError, match="sum-3-1: no such row"):
        combination._run(["sum-3-1"])
