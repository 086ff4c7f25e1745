"""vse.metrics: the protocol of section 3.1, against hand-written matrices, loops, and pytrec_eval."""

import numpy as np
import pytest
import pytrec_eval
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vse import metrics
from vse.metrics import Cosines, Recall, block_ranks, bootstrap_rsum, i2t_ranks, rsum, t2i_ranks
from vse.system.errors import InputError


def unit(draw, rows, dim=7):
    vectors = draw.standard_normal((rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@st.composite
def score_matrices(draw):
    """Few values, so that ties are common; captions in any order, 0 to many an image; some NaN."""
    n, m = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    values = st.sampled_from([0.0, 0.25, 0.5, -0.5, 1.0, float("nan")])
    scores = draw(hnp.arrays(np.float32, (n, m), elements=values))
    return scores, draw(hnp.arrays(np.int64, m, elements=st.integers(0, n - 1)))


def test_hand_written_matrix():
    #                 captions of image:   0    0    1    1    2
    scores = np.array([[0.1, 0.9, 0.8, 0.2, 0.0],
                       [0.7, 0.1, 0.6, 0.3, 0.9],
                       [0.5, 0.4, 0.3, 0.2, 0.3]])  # fmt: skip
    owner = np.array([0, 0, 1, 1, 2])
    # Image 0: its 0.9 leads. Image 1: 0.6 behind 0.9 and 0.7. Image 2: 0.3 behind 0.5, 0.4, tied 0.3.
    assert i2t_ranks(scores, owner).tolist() == [1, 3, 4]
    assert t2i_ranks(scores, owner).tolist() == [3, 1, 2, 1, 2]


def test_the_best_of_several_captions_counts_and_its_sisters_do_not_stand_in_the_way():
    scores = np.array([[0.9, 0.9, 0.8, 0.7], [0.0, 0.0, 0.0, 0.1]])
    assert i2t_ranks(scores, np.array([0, 0, 0, 1])).tolist() == [1, 1]


def test_an_image_without_captions_has_no_rank_but_competes():
    scores = np.array([[0.5], [0.6], [0.4]])
    owner = np.array([2])
    assert i2t_ranks(scores, owner).tolist() == [1]
    assert t2i_ranks(scores, owner).tolist() == [3]


@settings(max_examples=150, deadline=None)
@given(score_matrices())
def test_ranks_equal_the_loops(case):
    scores, owner = case
    n, m = scores.shape
    expected = [r for r in (reference.i2t_rank(scores, owner, i) for i in range(n)) if r is not None]
    assert i2t_ranks(scores, owner).tolist() == expected
    assert t2i_ranks(scores, owner).tolist() == [reference.t2i_rank(scores, owner, j) for j in range(m)]


@settings(max_examples=50, deadline=None)
@given(score_matrices(), st.randoms(use_true_random=False))
def test_the_order_of_captions_and_images_does_not_matter(case, random):
    scores, owner = case
    n, m = scores.shape
    captions, images = random.sample(range(m), m), random.sample(range(n), n)
    moved = scores[images][:, captions]
    moved_owner = np.argsort(images)[owner[captions]]
    assert sorted(i2t_ranks(moved, moved_owner)) == sorted(i2t_ranks(scores, owner))
    assert t2i_ranks(moved, moved_owner).tolist() == t2i_ranks(scores, owner)[captions].tolist()


def test_all_tied_scores_score_nothing():
    owner = np.repeat(np.arange(20), 5)
    scores = np.full((20, 100), 0.3, np.float32)
    assert set(i2t_ranks(scores, owner)) == {96}  # behind all 95 wrong captions
    assert set(t2i_ranks(scores, owner)) == {20}
    assert Recall.of(t2i_ranks(scores, owner)) == Recall(0.0, 0.0, 0.0, 20.0)


@pytest.mark.parametrize("images", [19, 33, 100])
@pytest.mark.parametrize("dim", [16, 300])
@pytest.mark.parametrize("block_mb", [0, 512])
def test_a_collapsed_model_scores_nothing(images, dim, block_mb):
    """Equal embeddings are ties, although the last bits of a product depend on their place in the matrix."""
    draw = np.random.default_rng(images)
    owner = np.repeat(np.arange(images), 5)
    image, caption = unit(draw, 1, dim), unit(draw, 1, dim)
    i2t, t2i = block_ranks(Cosines(np.repeat(image, images, 0), np.repeat(caption, len(owner), 0)), owner, block_mb)
    assert set(i2t) == {len(owner) - 4} and set(t2i) == {images}


def test_nan_counts_against_the_model():
    owner = np.array([0, 1, 2])
    scores = np.full((3, 3), np.nan, np.float32)
    assert i2t_ranks(scores, owner).tolist() == t2i_ranks(scores, owner).tolist() == [3, 3, 3]
    broken = np.full((3, 4), np.nan, np.float32)
    assert block_ranks(Cosines(broken, broken), owner)[0].tolist() == [3, 3, 3]
    one = np.array([[0.9, np.nan], [0.1, 0.8]])  # a NaN of a wrong one is not less either
    assert i2t_ranks(one, np.array([0, 1])).tolist() == [2, 1]


@pytest.mark.parametrize("step", [1, 3, 50])
def test_blocks_equal_the_whole(monkeypatch, step):
    draw = np.random.default_rng(0)
    images, captions, owner = unit(draw, 23), unit(draw, 61), draw.integers(0, 23, 61)
    whole = block_ranks(Cosines(images, captions), owner)
    assert whole[0].tolist() == i2t_ranks(images @ captions.T, owner).tolist()
    tiny = lambda total, *_: (slice(a, a + step) for a in range(0, total, step))  # noqa: E731
    monkeypatch.setattr(metrics, "_blocks", tiny)
    blocks = block_ranks(Cosines(images, captions), owner, block_mb=0)
    assert [r.tolist() for r in blocks] == [r.tolist() for r in whole]


def test_blocks_cover_everything_within_the_memory_asked_for():
    slices = list(metrics._blocks(1000, 5000, 1))
    assert [i for s in slices for i in range(s.start, s.stop)] == list(range(1000))
    assert all((s.stop - s.start) * 5000 * 5 <= 2**20 for s in slices)


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.int64, st.integers(1, 30), elements=st.integers(1, 40)))
def test_recall_is_monotone_in_k_and_in_percent(ranks):
    recall = Recall.of(ranks)
    assert 0 <= recall.r1 <= recall.r5 <= recall.r10 <= 100
    assert recall.r5 == pytest.approx(100 * sum(r <= 5 for r in ranks) / len(ranks))
    assert 0 <= rsum(recall, recall) <= 600


@pytest.mark.parametrize("ranks, median", [([1], 1.0), ([1, 2], 1.5), ([3, 1, 8], 3.0), ([1, 1, 9, 11], 5.0)])
def test_the_median_rank_is_the_median_of_one_based_ranks(ranks, median):
    assert Recall.of(np.array(ranks)).med_r == median


def test_no_ranks_is_a_users_mistake():
    with pytest.raises(InputError, match="no image with a caption"):
        Recall.of(np.array([], np.int64))


def test_recall_equals_success_at_k_of_pytrec_eval():
    """An outside oracle; scores without ties, since trec_eval breaks ties by name."""
    draw = np.random.default_rng(3)
    n, m = 30, 83
    scores, owner = draw.permutation(n * m).reshape(n, m) / (n * m), draw.integers(0, n, m)
    for ranks, matrix, right in (
        (i2t_ranks(scores, owner), scores, [np.flatnonzero(owner == i) for i in range(n)]),
        (t2i_ranks(scores, owner), scores.T, [[i] for i in owner]),
    ):
        asked = [q for q in range(len(matrix)) if len(right[q])]
        qrel = {f"q{q}": {f"d{d}": 1 for d in right[q]} for q in asked}
        run = {f"q{q}": {f"d{d}": float(s) for d, s in enumerate(matrix[q])} for q in asked}
        answers = pytrec_eval.RelevanceEvaluator(qrel, {"success.1,5,10", "recip_rank"}).evaluate(run)
        ours = Recall.of(ranks)
        for k, value in ((1, ours.r1), (5, ours.r5), (10, ours.r10)):
            assert value == pytest.approx(100 * np.mean([a[f"success_{k}"] for a in answers.values()]))
        assert [1 / r for r in ranks] == pytest.approx([answers[f"q{q}"]["recip_rank"] for q in asked])


def bootstrap_case(seed=0):
    draw = np.random.default_rng(seed)
    owner = draw.permutation(np.repeat(np.arange(0, 80, 2), 3))  # every second image has no caption
    return draw.integers(1, 15, 40), draw.integers(1, 15, 120), owner


def test_the_bootstrap_interval_is_deterministic_and_holds_the_estimate():
    i2t, t2i, owner = bootstrap_case()
    low, high = bootstrap_rsum(i2t, t2i, owner)
    assert (low, high) == bootstrap_rsum(i2t, t2i, owner)
    assert (low, high) != bootstrap_rsum(i2t, t2i, owner, seed=1)
    assert low < rsum(Recall.of(i2t), Recall.of(t2i)) < high
    assert 20 < high - low < 200


def test_the_bootstrap_weighs_an_image_by_its_captions():
    """Images own 1 to 9 captions: drawn again in a loop, every drawn image brings all its captions' ranks along."""
    draw = np.random.default_rng(5)
    owner = draw.permutation(np.repeat(np.arange(12), draw.integers(1, 10, 12)))
    # Images with many captions are found well, those with few are not: equal weights would give another interval.
    many = np.bincount(owner)[owner] > 4
    i2t, t2i = draw.integers(1, 15, 12), np.where(many, 1, 20)
    sums = []
    for drawn in np.random.default_rng(7).integers(12, size=(400, 12)):
        found = np.concatenate([t2i[owner == image] for image in drawn])
        sums.append(rsum(Recall.of(i2t[drawn]), Recall.of(found)))
    expected = np.percentile(sums, [2.5, 97.5])
    assert bootstrap_rsum(i2t, t2i, owner, draws=400, seed=7) == pytest.approx(expected)
    by_image = [300 * (t2i[owner == image] == 1).mean() for image in range(12)]  # a mean of means
    assert abs(300 * many.mean() - np.mean(by_image)) > 20


def test_the_bootstrap_interval_collapses_when_every_image_is_right():
    ones = np.ones(6, np.int64)
    assert bootstrap_rsum(ones[:3], ones, np.array([0, 1, 2, 2, 1, 0])) == (600.0, 600.0)


def test_the_bootstrap_draws_images_with_all_their_captions():
    """Captions of an image are right or wrong together here: drawing captions alone would be too narrow."""
    owner = np.repeat(np.arange(40), 5)
    right = np.arange(40) % 2 == 0
    i2t = np.where(right, 1, 99)
    low, high = bootstrap_rsum(i2t, i2t[owner], owner, draws=4000)
    # rsum = 600 p, p the share of right images among 40 drawn: a binomial with p = 1/2
    assert high - low == pytest.approx(2 * 1.96 * 600 * 0.5 / 40**0.5, rel=0.1)
