"""experiments.noise: fewer or wrong training captions, and nothing else that changes."""

import numpy as np
import pytest

from experiments.noise import NOISE, SHARE, one_caption, shuffled


def rest(dataset):
    """[(photo, caption)] of dev and test."""
    pairs = zip(dataset.image_of_caption.tolist(), dataset.captions, strict=True)
    return [(i, text) for i, text in pairs if dataset.split_of_image[i] != "train"]


@pytest.mark.parametrize("kind", NOISE)
def test_dev_and_test_stay_and_the_same_seed_gives_the_same(dataset, kind):
    once, again = NOISE[kind](dataset), NOISE[kind](dataset)
    assert once.fingerprint() == again.fingerprint() and rest(once) == rest(dataset)
    assert (once.fingerprint() == dataset.fingerprint()) == (kind == "all")


def test_one_caption_of_each_training_photo_is_kept_and_any_may_be(dataset):
    kept = set()
    for seed in range(20):
        one = one_caption(dataset, seed).split("train")
        assert one.image_of_caption.tolist().count(0) == 1 and len(one.captions) == len(one.images) == 36
        assert set(zip(one.image_of_caption.tolist(), one.captions, strict=True)) <= set(
            zip(dataset.split("train").image_of_caption.tolist(), dataset.split("train").captions, strict=True)
        )
        kept |= set(one.captions)
    assert kept == set(dataset.split("train").captions)


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_captions_leave_their_photo_for_another_of_training(dataset, seed):
    after = shuffled(dataset, seed)
    moved = np.flatnonzero(after.image_of_caption != dataset.image_of_caption)
    train = dataset.split("train")
    assert len(moved) == round(SHARE * len(train.captions)) and after.captions == dataset.captions
    for ownership in (after.image_of_caption, dataset.image_of_caption):
        assert {dataset.split_of_image[i] for i in ownership[moved]} == {"train"}
    assert np.array_equal(np.bincount(after.image_of_caption), np.bincount(dataset.image_of_caption))
