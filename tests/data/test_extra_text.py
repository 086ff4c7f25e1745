"""Captions without photos: which are left out, how pairs are drawn, and that training uses them."""

import numpy as np
import torch

from vse.batches import TextPairs
from vse.data.datasets import Dataset, without_evaluated
from vse.data.vocabulary import Vocabulary


def _dataset(images, splits, owners) -> Dataset:
    captions = tuple(f"image {i} caption {n}" for n, i in enumerate(owners))
    return Dataset("csv:x", None, tuple(images), tuple(splits), captions, np.array(owners, np.int64))


def test_dev_and_test_photos_are_left_out_by_photo_id():
    evaluated = _dataset(["1_a.jpg", "2_b.jpg", "3_c.jpg"], ["train", "dev", "test"], [0, 1, 2])
    text = _dataset(["1.jpg", "2.jpg", "3.jpg", "4.jpg"], ["train"] * 4, [0, 0, 1, 1, 2, 3])
    kept, left_out = without_evaluated(text, evaluated)
    assert kept.images == ("1.jpg", "4.jpg")
    assert left_out == 2


def test_pairs_are_two_different_captions_of_one_image():
    owners = [0, 1, 0, 2, 1, 0, 3]  # images 2 and 3 have one caption only
    dataset = _dataset("abcd", ["train"] * 4, owners)
    vocabulary = Vocabulary.from_captions(dataset.captions)
    pairs = TextPairs(dataset, vocabulary, torch.device("cpu"))
    assert len(pairs) == 2
    text = {tuple(vocabulary.encode(c)): n for n, c in enumerate(dataset.captions)}
    for batch in pairs.epoch(2, 20, seed=0, epoch=0):
        (first, lengths), (second, _) = batch.texts
        for a, b, length in zip(first.tolist(), second.tolist(), lengths.tolist(), strict=True):
            i, j = text[tuple(a[:length])], text[tuple(t for t in b if t)]
            assert i != j
            assert owners[i] == owners[j]


def test_ranks_share_one_draw():
    dataset = _dataset("abcd", ["train"] * 4, [0, 0, 1, 1, 2, 2, 3, 3])
    pairs = TextPairs(dataset, Vocabulary.from_captions(dataset.captions), torch.device("cpu"))
    whole = next(pairs.epoch(3, 1, 5, 0))
    shares = [next(pairs.epoch(3, 1, 5, 0, rank, 2)) for rank in (0, 1)]
    assert torch.equal(whole.texts[0].tokens[0::2], shares[0].texts[0].tokens)
    assert torch.equal(whole.texts[1].tokens[1::2], shares[1].texts[1].tokens)
