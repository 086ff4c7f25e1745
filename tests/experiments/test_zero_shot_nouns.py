"""Nouns of photos are counted as said, and the figures of zero-shot classes are those of their definitions."""

import gzip

import numpy as np
import pytest
from PIL import Image

from experiments import find_data, zero_shot, zero_shot_fashion, zero_shot_scenes
from experiments.hubs import InvertedSoftmax
from experiments.nouns import EXCLUSIVE, MEET, NOUNS, exclusive, frequent, mentions
from vse.data.datasets import Dataset, read_dataset
from vse.system.errors import InputError
from vse.tags.nouns import ridge


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_the_mean_precision_at_each_positive(seed):
    rng = np.random.default_rng(seed)
    scores, positive = rng.permutation(30).astype(float), rng.random(30) < 0.3
    positive[0] = True
    order = sorted(range(30), key=lambda i: -scores[i])
    expected = [
        np.mean([positive[j] for j in order[: rank + 1]]) for rank, i in enumerate(order) if positive[i]
    ]  # fmt: skip
    assert zero_shot.average_precision(scores, positive) == pytest.approx(100 * np.mean(expected))


def test_equal_scores_count_against_the_model():
    positive = np.array([True, False, False, False])
    assert zero_shot.average_precision(np.zeros(4), positive) == 25
    assert zero_shot.average_precision(np.array([1.0, 0, 0, 0]), positive) == 100


def test_accuracy_is_the_mean_over_classes():
    scores = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1]])
    assert zero_shot.accuracy(scores, np.array([0, 0, 0, 1])) == 50


def test_photos_that_one_caption_names_are_left_out():
    scores, counts = np.array([[3.0], [2.0], [1.0]]), np.array([[1], [2], [0]])
    assert zero_shot.mean_average_precision(scores, counts, [0]) == 100


def test_a_noun_is_counted_once_a_caption_and_by_whole_words():
    captions = ("A dog and two dogs.", "Dogs!", "a hotdog", "a man and his puppy", "a guy", "nothing here")
    dataset = Dataset("few", None, ("a.jpg", "b.jpg"), ("test",) * 2, captions, np.array([0, 0, 0, 1, 1, 1]))
    counts = mentions(dataset)
    column = [words[0] for words in NOUNS].index("dog")
    assert counts[:, column].tolist() == [2, 1]
    assert counts[:, column + 1].tolist() == [0, 2]  # man, guy


def test_no_word_names_two_nouns_and_every_exclusive_one_is_a_noun():
    words = [word for noun in NOUNS for word in noun]
    assert len(words) == len(set(words))
    assert set(EXCLUSIVE) <= {noun[0] for noun in NOUNS}


def test_exclusive_photos_show_one_of_the_twelve_and_no_caption_names_another(rng):
    counts = rng.integers(0, 6, (400, len(NOUNS))) * (rng.random((400, len(NOUNS))) < 0.05)
    columns, photos, classes = exclusive(counts)
    assert [NOUNS[column][0] for column in columns] == list(EXCLUSIVE)
    for photo in range(400):
        named = [c for c in columns if counts[photo, c]]
        alone = len(named) == 1 and counts[photo, named[0]] >= 2
        assert alone == (photo in photos)
    assert all(counts[photo, columns[c]] >= 2 for photo, c in zip(photos, classes, strict=True))
    assert all((counts[:, c] >= 2).sum() >= 8 for c in frequent(counts))


def test_the_inverted_softmax_divides_by_what_an_item_scores_over_all_queries(rng):
    scores, beta = rng.normal(size=(4, 6)).astype(np.float32), 3.0
    everything = slice(None), slice(None)
    powers = np.exp(beta * scores.astype(float))
    for to_photos in (True, False):
        expected = powers.copy()
        for photo in range(4):
            for caption in range(6):
                rival = powers[photo] if to_photos else powers[:, caption]
                expected[photo, caption] /= rival.sum()
        got = InvertedSoftmax(scores, beta, to_photos)(*everything)
        np.testing.assert_allclose(got / got.sum(), expected / expected.sum(), rtol=1e-4)


def test_scenes_are_split_so_that_no_pair_of_unseen_ones_is_trained_on():
    pairs = [("dog", "red"), ("cat", "blue")]
    held = zero_shot_scenes.HELD_OUT[0]
    scene = type("Scene", (), {})
    truth = {}
    for i, (thing, color) in enumerate([held, *pairs, held]):
        truth[f"{i}.png"] = scene()
        truth[f"{i}.png"].thing, truth[f"{i}.png"].colour = thing, color
    names = tuple(truth)
    dataset = Dataset("four", None, names, ("train",) * 4, tuple("abcd"), np.arange(4))
    smaller, unseen = zero_shot_scenes.without_pairs(dataset, truth)
    assert unseen == ["0.png", "3.png"] and list(smaller.images) == ["1.png", "2.png"]
    assert list(smaller.captions) == ["b", "c"]


def test_ridge_regression_is_the_minimum_of_its_loss(rng):
    x, y = rng.normal(size=(40, 5)), rng.normal(size=(40, 3))
    x -= x.mean(0)
    weights = ridge(x, y, (0.1,))[0.1]
    penalty = 0.1 * np.trace(x.T @ x) / 5
    gradient = x.T @ (x @ weights - (y - y.mean(0))) + penalty * weights
    np.testing.assert_allclose(gradient, 0, atol=1e-9)


def test_fashion_pictures_are_read_and_drawn_class_by_class(tmp_path, rng):
    images, labels = rng.integers(0, 256, (20, 28, 28), np.uint8), np.repeat(np.arange(10, dtype=np.uint8), 2)[::-1]
    for name, array in (("t10k-images-idx3", images), ("t10k-labels-idx1", labels)):
        head = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
        (tmp_path / f"{name}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes()))
    names, classes = zero_shot_fashion.pictures(tmp_path, "test", tmp_path / "out")
    assert classes.tolist() == sorted(labels.tolist()) and names[0] == "test-00018.png"
    for name in names:
        read = np.asarray(Image.open(tmp_path / "out" / name))
        assert np.array_equal(read, images[int(name[5:10])])


@pytest.mark.parametrize("content", [b"", b"\0\0\x08\x01\0\0\0\x05abc", b"PNG?"])
def test_a_file_that_is_no_idx_file_is_said(tmp_path, content):
    path = tmp_path / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(InputError, match="IDX"):
        zero_shot_fashion.read_idx(path)


def test_a_file_that_is_not_gzipped_is_said(tmp_path):
    (tmp_path / "labels.gz").write_bytes(b"PNG?")
    with pytest.raises(InputError, match="gzipped"):
        zero_shot_fashion.read_idx(tmp_path / "labels.gz")


def test_the_exclusive_nouns_are_those_that_the_training_captions_give():
    try:
        dataset = read_dataset(find_data("flickr8k"))
    except InputError:
        pytest.skip("Flickr8K is not here")
    shown = mentions(dataset.split("train")) >= 2
    meet = shown.T.astype(float) @ shown
    columns = [[words[0] for words in NOUNS].index(label) for label in EXCLUSIVE]
    often = [meet[c, c] for c in columns]
    assert often == sorted(often, reverse=True)
    for i, a in enumerate(columns):
        assert all(meet[a, b] <= MEET * min(meet[a, a], meet[b, b]) for b in columns[:i])
