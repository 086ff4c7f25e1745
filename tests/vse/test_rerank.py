"""vse.rerank: what re-ranking may change and what it may not, against ranks of whole score matrices."""

import numpy as np
import pytest

from vse.data.datasets import Dataset
from vse.metrics import i2t_ranks, t2i_ranks
from vse.rerank import Best, Setting, choose_from, read_with, row_of
from vse.system.errors import InputError

N, M = 30, 90


class Given:
    """Scores that are there."""

    def __init__(self, scores):
        self.scores = scores
        self.images, self.captions = scores.shape

    def __call__(self, rows, columns):
        return self.scores[rows, columns]


class Pairs:
    """In place of a fusion transformer: the logit of a pair is looked up; counts what it is asked."""

    def __init__(self, logits):
        self.values, self.asked = logits, []

    def __call__(self, pairs):
        self.asked.append(len(pairs))
        assert len({tuple(pair) for pair in pairs.tolist()}) == len(pairs)
        return self.values[pairs[:, 0], pairs[:, 1]]


@pytest.fixture(scope="module")
def split():
    draw = np.random.default_rng(0)
    owner = draw.permutation(np.concatenate([np.arange(N), draw.integers(N, size=M - N)]))
    return Dataset("toy", None, tuple(f"{i}.jpg" for i in range(N)), ("test",) * N, tuple(f"c {i}" for i in range(M)),
                   owner)  # fmt: skip


def made(split, k, seed=1):
    """(scores, logits, both ways' best)"""
    draw = np.random.default_rng(seed)
    right = split.image_of_caption[None, :] == np.arange(N)[:, None]
    scores = (draw.standard_normal((N, M)) + 1.2 * right).astype(np.float32)
    logits = (draw.standard_normal((N, M)) + 1.5 * right).astype(np.float32)
    model = Pairs(logits)
    return scores, logits, read_with(model, Given(scores), split, k), model


def whole(scores, logits, k, weight, split):
    """The ranks by sorting whole matrices: each query's k best lifted above all others."""
    ways = []
    for of_photos in (True, False):
        s, z = (scores, logits) if of_photos else (scores.T, logits.T)
        best = np.argsort(-s, axis=1, kind="stable")[:, :k]
        new = s.astype(np.float64)
        for query, items in enumerate(best):
            new[query, items] = 1e3 + z[query, items] + weight * s[query, items].astype(np.float64)
        ways.append(new if of_photos else new.T)
    return i2t_ranks(ways[0], split.image_of_caption), t2i_ranks(ways[1], split.image_of_caption)


@pytest.mark.parametrize("k", [1, 4, 30])
@pytest.mark.parametrize("weight", [0.0, 0.7, 20.0])
def test_the_ranks_are_those_of_whole_matrices(split, k, weight):
    scores, logits, ways, _ = made(split, k)
    expected = whole(scores, logits, k, weight, split)
    for way, ranks in zip(ways, expected, strict=True):
        assert np.array_equal(way.reranked(Setting(k, weight)), ranks)


def test_a_smaller_k_needs_no_other_reading(split):
    scores, logits, ways, _ = made(split, 20)
    for way, ranks in zip(ways, whole(scores, logits, 6, 1.0, split), strict=True):
        assert np.array_equal(way.reranked(Setting(6, 1.0)), ranks)


def test_recall_from_k_on_is_untouched(split):
    scores, _, ways, _ = made(split, 5)
    for way, plain in zip(ways, (i2t_ranks(scores, split.image_of_caption), t2i_ranks(scores, split.image_of_caption)),
                          strict=True):  # fmt: skip
        ranks = way.reranked(Setting(5, 0.3))
        assert np.array_equal(ranks <= 5, plain <= 5) and np.array_equal(ranks[plain > 5], plain[plain > 5])
        assert not np.array_equal(ranks, plain)


def test_a_large_lambda_gives_the_dual_order(split):
    scores, _, ways, _ = made(split, 30)
    for way, ranks in zip(ways, (i2t_ranks(scores, split.image_of_caption), t2i_ranks(scores, split.image_of_caption)),
                          strict=True):  # fmt: skip
        assert np.array_equal(way.reranked(Setting(30, 1e7)), ranks)


def test_equal_scores_count_against_the_model():
    same = np.zeros((1, 3), np.float32)
    best = Best(np.array([[0, 1, 2]]), np.array([[False, True, False]]), same, np.array([2]), same)
    assert best.reranked(Setting(3, 1.0)).tolist() == [3]


def test_a_pair_is_read_once(split):
    *_, model = made(split, 10)
    assert model.asked[0] < 10 * (N + M)


def test_dev_chooses_the_best_of_the_grid(split):
    *_, ways, _ = made(split, 30)
    chosen = choose_from(ways, split)
    for k in (5, 10, 20, 30):
        for weight in (0.0, 2.0, 40.0):
            assert row_of(ways, Setting(k, weight), split, bootstrap=0).rsum <= chosen.row.rsum
    assert row_of(ways, chosen.setting, split, bootstrap=0).as_dict() == chosen.row.as_dict()
    unsure = tuple(Best(w.items, w.right, w.scores, w.ranks, np.zeros_like(w.logits)) for w in ways)
    assert choose_from(unsure, split).setting == Setting(5, 200.0)  # nothing helps: what costs least


def test_more_than_there_are(split):
    with pytest.raises(InputError, match=r"-k 31: expected 1 to 30"):
        made(split, 31)
