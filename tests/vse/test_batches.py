"""vse.batches: every pair once an epoch, each row a true pair, drawn anew by (seed, epoch) alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vse.batches import TextPairs, TrainingSet
from vse.configs import ViewsConfig
from vse.data.sentences import pad
from vse.data.vocabulary import MOST_WORDS, PAD_ID, Vocabulary
from vse.features.store import Features
from vse.system.errors import InputError

TWO_CROPS = ViewsConfig(image_image=1.0)


@pytest.fixture
def split(dataset):
    return dataset.split("train")


@pytest.fixture
def data(split, features):
    return TrainingSet(split, features, Vocabulary.from_captions(split.captions), torch.device("cpu"))


def fields(batch):
    return batch.images[0], batch.texts[0].tokens, batch.texts[0].lengths, batch.image_ids


def test_pad():
    tokens, lengths = pad([[5, 6, 7], [8], [9, 9]])
    assert tokens.tolist() == [[5, 6, 7], [8, PAD_ID, PAD_ID], [9, 9, PAD_ID]] and lengths.tolist() == [3, 1, 2]


def test_every_caption_is_seen_once_an_epoch(data):
    owners = [int(i) for batch in data.epoch(7, seed=0, epoch=0) for i in batch.image_ids]
    assert len(owners) == len(data)
    assert sorted(owners) == sorted(data.image_of_caption.tolist())


def test_each_row_is_a_pair(split, features, data):
    """The photo and the caption of a row, found again in the data set, belong together."""
    words = Vocabulary.from_captions(split.captions).tokens
    stored = {name: features.array[row] for row, name in enumerate(features.names)}
    pairs = {(caption, int(owner)) for caption, owner in zip(split.captions, split.image_of_caption, strict=True)}
    for batch in data.epoch(9, seed=1, epoch=2):
        for row, token, length, owner in zip(*fields(batch), strict=True):
            assert (" ".join(words[i] for i in token[:length]), int(owner)) in pairs
            assert (token[length:] == PAD_ID).all()
            views = stored[split.images[owner]]
            assert any(np.array_equal(row.numpy(), view.astype(np.float32)) for view in views)


def test_every_stored_view_is_drawn(split, features, data):
    stored = {name: features.array[row] for row, name in enumerate(features.names)}
    drawn = set()
    for epoch in range(3):
        for batch in data.epoch(9, seed=0, epoch=epoch):
            for row, owner in zip(batch.images[0], batch.image_ids, strict=True):
                views = stored[split.images[owner]].astype(np.float32)
                drawn |= {(int(owner), v) for v in (0, 1) if np.array_equal(row.numpy(), views[v])}
    assert len({v for _, v in drawn}) == 2 and len(drawn) > 1.5 * len(split.images)


def test_an_epoch_depends_on_seed_and_epoch_alone(data):
    def epoch(seed, number):
        return [fields(batch) for batch in data.epoch(8, seed, number)]

    first, again = epoch(3, 1), epoch(3, 1)
    assert all(torch.equal(a, b) for x, y in zip(first, again, strict=True) for a, b in zip(x, y, strict=True))
    for other in (epoch(3, 2), epoch(4, 1)):
        assert first[0][3].tolist() != other[0][3].tolist()


def test_tokens_are_no_wider_than_the_longest_caption_of_the_batch(data):
    assert all(b.texts[0].tokens.shape[1] == b.texts[0].lengths.max() for b in data.epoch(3, seed=0, epoch=0))


@pytest.mark.parametrize("size", [2, 3, 5, 10, 36, 71, 72, 1000])
def test_a_last_batch_of_one_pair_is_left_out(data, size):
    """It has no negative."""
    sizes = [len(batch.image_ids) for batch in data.epoch(size, seed=0, epoch=0)]
    assert len(data) == 72
    left = len(data) % size
    assert sizes == [size] * (len(data) // size) + ([left] if left > 1 else [])
    assert len(sizes) == data.steps(size)


def test_same_image_is_true_for_captions_of_one_image(data):
    batch = next(data.epoch(40, seed=0, epoch=0))
    expected = [[a == b for b in batch.image_ids.tolist()] for a in batch.image_ids.tolist()]
    assert batch.same_image.tolist() == expected and batch.same_image.sum() > 40


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_the_shares_of_the_ranks_make_the_whole_batch(data, ranks):
    """Also where a last batch has fewer pairs than there are ranks: a surplus rank gets a row that is cut off."""
    size = len(data) - 2
    whole = list(data.epoch(size, seed=0, epoch=0))
    assert len(whole[-1].image_ids) == 2
    shares = [list(data.epoch(size, 0, 0, rank, ranks)) for rank in range(ranks)]
    for step, batch in enumerate(whole):
        for rank in range(ranks):
            share = shares[rank][step]
            assert torch.equal(share.image_ids, batch.image_ids)  # of all ranks
            mine = slice(rank, None, ranks) if rank < len(batch.image_ids) else slice(0, 1)
            assert torch.equal(share.images[0], batch.images[0][mine])
            assert torch.equal(share.texts[0].lengths, batch.texts[0].lengths[mine])
            width = share.texts[0].tokens.shape[1]
            assert torch.equal(share.texts[0].tokens, batch.texts[0].tokens[mine, :width])
            assert width == share.texts[0].lengths.max()


def test_a_photo_without_features_is_named(split, features):
    kept = [row for row, name in enumerate(features.names) if name != split.images[5]]
    fewer = Features(features.array[kept], tuple(features.names[row] for row in kept))
    with pytest.raises(InputError, match=split.images[5]):
        TrainingSet(split, fewer, Vocabulary.from_captions(split.captions), torch.device("cpu"))


def test_a_split_without_captions_is_a_users_mistake(dataset, features):
    bare = replace(dataset, captions=(), image_of_caption=np.zeros(0, np.int64))
    with pytest.raises(InputError, match="caption"):
        TrainingSet(bare, features, Vocabulary.from_captions([]), torch.device("cpu"))


def test_several_crops_of_a_photo_differ_and_the_first_is_that_of_one(split, features):
    data = TrainingSet(split, features, Vocabulary.from_captions(split.captions), torch.device("cpu"))
    for one, two in zip(data.epoch(9, 0, 1), data.epoch(9, 0, 1, views=TWO_CROPS), strict=True):
        first, second = two.images
        assert torch.equal(first, one.images[0]) and not (first == second).all((1, 2)).any()
        assert torch.equal(one.captions, two.captions)


def owners_of_pairs(split, words, batch):
    """[(owner, owner)] of the two sentences of each pair, by their text, which is unique in the tiny world."""
    owner = dict(zip(split.captions, split.image_of_caption.tolist(), strict=True))
    texts = [
        [" ".join(words[i] for i in row[:length]) for row, length in zip(tokens, lengths, strict=True)]
        for tokens, lengths in batch.texts
    ]
    assert all(a != b for a, b in zip(*texts, strict=True))
    return [(owner[a], owner[b]) for a, b in zip(*texts, strict=True)]


def test_text_pairs_are_two_captions_of_one_image_and_images_differ(split):
    vocabulary = Vocabulary.from_captions(split.captions)
    pairs = TextPairs(split, vocabulary, torch.device("cpu"))
    counts = np.bincount(split.image_of_caption)
    assert len(pairs) == (counts > 1).sum()
    seen = set()
    for batch in pairs.epoch(6, steps=40, seed=0, epoch=0):
        owners = owners_of_pairs(split, vocabulary.tokens, batch)
        assert len(owners) == 6 and all(a == b for a, b in owners) and len({a for a, _ in owners}) == 6
        seen |= {a for a, _ in owners}
    assert seen == set(np.flatnonzero(counts > 1))  # each has its turn
    whole = next(pairs.epoch(1000, steps=1, seed=0, epoch=0))
    assert len(whole.image_ids) == len(pairs)


def test_text_pairs_of_a_rank_are_its_share(split):
    pairs = TextPairs(split, Vocabulary.from_captions(split.captions), torch.device("cpu"))
    whole = next(pairs.epoch(5, 1, 3, 4))
    for rank in range(7):  # ranks 5 and 6 have none, and get one that is cut off
        share = next(pairs.epoch(5, 1, 3, 4, rank, 7))
        mine = min(rank, 5) % 5
        for (tokens, lengths), (own, own_lengths) in zip(whole.texts, share.texts, strict=True):
            assert own_lengths.tolist() == [lengths[mine]]
            assert own[0].tolist() == tokens[mine, : lengths[mine]].tolist()


@pytest.mark.parametrize("captions", [0, 5])
def test_text_without_a_pair_is_a_users_mistake(dataset, captions):
    bare = replace(dataset, captions=dataset.captions[:captions], image_of_caption=np.arange(captions))
    with pytest.raises(InputError, match="no image has two captions"):
        TextPairs(bare, Vocabulary.from_captions(bare.captions), torch.device("cpu"))


def test_an_endless_caption_pads_no_other(split, features):
    """One caption of 100,000 words wanted 28.8 GB: all others were padded to its length."""
    long = replace(split, captions=("a dog " * 50_000, *split.captions[1:]))
    words = Vocabulary.from_captions(split.captions)
    data = TrainingSet(long, features, words, torch.device("cpu"))
    pairs = TextPairs(long, words, torch.device("cpu"))
    assert data.tokens.shape[1] == pairs.tokens.shape[1] == MOST_WORDS


def test_by_photo_a_photos_captions_come_together_in_one_view(dataset, features):
    split = dataset.split("train")
    data = TrainingSet(split, features, Vocabulary.from_captions(split.captions), torch.device("cpu"))
    batches = list(data.epoch(8, 0, 0, by_photo=True))
    owners = torch.cat([batch.image_ids for batch in batches]).tolist()
    captions = sorted(int(c) for batch in batches for c in batch.captions)
    assert captions == list(range(len(data)))  # each once
    runs = [owner for owner, before in zip(owners, [None, *owners], strict=False) if owner != before]
    assert len(runs) == len(set(runs)) == len(split.images)
    seen = {}
    for batch in batches:
        for photo, image in zip(batch.image_ids.tolist(), batch.images[0], strict=True):
            assert torch.equal(seen.setdefault(photo, image), image)
    other = list(data.epoch(8, 0, 1, by_photo=True))
    assert [b.image_ids.tolist() for b in other] != [b.image_ids.tolist() for b in batches]
