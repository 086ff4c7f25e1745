"""vse.fusion_batches: what is wrong is wrong, what is near comes oftener, words to guess are those that were hidden."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from vse.configs import FusionTrainConfig, TextConfig, VSEConfig
from vse.data.vocabulary import EOS_ID, Vocabulary
from vse.fusion_batches import MASKED, FusionSet
from vse.model import VSE
from vse.system.errors import InputError

CPU = torch.device("cpu")
CONFIG = FusionTrainConfig(batch_size=7, hardness=20.0, hardening=1.0)


@pytest.fixture(scope="module")
def split(dataset):
    return dataset.split("train")


@pytest.fixture(scope="module")
def encoder(split, features):
    torch.manual_seed(0)
    text = TextConfig(encoder="bow", word_dim=5)
    return VSE(VSEConfig(embed_dim=6, text=text), Vocabulary.from_captions(split.captions), 12, {"shape": [2, 3, 12]})


@pytest.fixture(scope="module")
def data(split, features, encoder):
    return FusionSet(split, features, encoder, 1, 1, CPU)


def batches(data, config, epochs=1, **more):
    return [batch for epoch in range(epochs) for batch in data.epoch(config, 0, epoch, **more)]


def test_true_pairs_are_true_and_wrong_ones_wrong(data, split):
    """More than a thousand batches: no photo is its own negative."""
    owner, count = torch.from_numpy(split.image_of_caption), 0
    for batch in batches(data, replace(CONFIG, batch_size=2), epochs=30):
        right = owner[batch.captions[:, 0]] == batch.photos
        assert torch.equal(right, batch.matching == 1)
        true, wrong_text, wrong_photo = batch.photos.chunk(3)
        assert torch.equal(true, wrong_text) and not (true == wrong_photo).any()
        captions = batch.captions.chunk(3)
        assert torch.equal(captions[0], captions[2])
        assert torch.equal(*batch.views.chunk(3)[:2])
        count += 1
    assert count > 1000


def test_every_caption_is_once_in_a_true_pair(data):
    seen = torch.cat([batch.captions[: len(batch.captions) // 3, 0] for batch in batches(data, CONFIG)])
    assert len(seen) == len(data) // 7 * 7 == len(seen.unique())


def test_an_epoch_is_a_function_of_seed_and_epoch(data):
    torch.manual_seed(5)
    first, again = (next(iter(data.epoch(CONFIG, 1, 2))) for _ in range(2))
    assert torch.equal(first.photos, again.photos) and torch.equal(first.masked.tokens, again.masked.tokens)
    other = next(iter(data.epoch(CONFIG, 1, 3)))
    assert not torch.equal(first.captions[:, 0], other.captions[:, 0])


def test_the_near_are_drawn_by_their_chance(data):
    """1 / Z exp(hardness s), over many draws; at hardness 0 all others alike."""
    scores = torch.tensor([0.9, 0.1, 0.5, 0.3, 0.45])
    draw = torch.Generator().manual_seed(0)
    for hardness in (0.0, 6.0):
        own = torch.full((20_000,), 0)
        found = data.wrong(scores.expand(20_000, -1), own, hardness, draw)
        chances = np.exp(hardness * scores[1:].double().numpy())
        expected = 20_000 * chances / chances.sum()
        counts = np.bincount(found, minlength=5)
        assert counts[0] == 0
        assert stats.chisquare(counts[1:], expected).pvalue > 1e-3


def test_hardness_rises(data):
    """Wrong photos lie nearer to the sentence when they are drawn by nearness."""

    def nearness(epoch):
        found = []
        for batch in data.epoch(replace(CONFIG, hardness=60.0, hardening=3.0), 0, epoch):
            photos, captions = (part.chunk(3)[2] for part in (batch.photos, batch.captions[:, 0]))
            found.append((data.text_points[captions] * data.image_points[photos]).sum(1))
        return torch.cat(found).mean().item()

    assert nearness(0) < nearness(1) < nearness(3)
    easy = replace(CONFIG, hardness=0.0)
    assert torch.equal(next(iter(data.epoch(easy, 0, 0))).captions[:, 0].chunk(3)[0],
                       next(iter(data.epoch(CONFIG, 0, 0))).captions[:, 0].chunk(3)[0])  # fmt: skip


def test_words_to_guess(data):
    guessed = hidden = changed = inside = 0
    for batch in batches(data, CONFIG, epochs=40):
        tokens, lengths = data.sentences(batch.captions[: len(batch.masked.tokens)])
        tokens, lengths = tokens[:, 0], lengths[:, 0]
        masked = batch.masked
        within = torch.arange(tokens.shape[1]) < lengths[:, None]
        assert not (masked.guessed & ~within).any() and not (masked.hidden & ~masked.guessed).any()
        other = masked.tokens != tokens
        assert not (other & ~masked.guessed).any() and not (other & masked.hidden).any()
        assert (masked.tokens[other] > EOS_ID).all()
        assert int(batch.guesses) == int(masked.guessed.sum())
        guessed, hidden = guessed + masked.guessed.sum(), hidden + masked.hidden.sum()
        changed, inside = changed + other.sum(), inside + within.sum()
    assert guessed / inside == pytest.approx(MASKED, abs=0.01)
    assert hidden / guessed == pytest.approx(0.8, abs=0.03)
    assert changed / guessed == pytest.approx(0.1, abs=0.03)  # 1 in 20 of them drew the word itself


def test_groups_are_captions_of_one_photo_and_none_twice(split, features, encoder):
    few = np.bincount(split.image_of_caption)
    keep = few >= 2
    names = [name for name, kept in zip(split.images, keep, strict=True) if kept]
    number = np.cumsum(keep) - 1
    chosen = [i for i, owner in enumerate(split.image_of_caption) if keep[owner]]
    rich = replace(
        split, images=tuple(names), split_of_image=("train",) * len(names),
        captions=tuple(split.captions[i] for i in chosen), image_of_caption=number[split.image_of_caption[chosen]],
    )  # fmt: skip
    data = FusionSet(rich, features, encoder, 2, 2, CPU)
    owner = torch.from_numpy(rich.image_of_caption)
    seen = set()
    for batch in batches(data, CONFIG, epochs=5):
        owners = owner[batch.captions]
        assert torch.equal(owners[:, 0], owners[:, 1]) and (batch.captions[:, 0] != batch.captions[:, 1]).all()
        assert (batch.views.sort(1).values == torch.tensor([0, 1])).all()
        assert torch.equal(owners[:, 0] == batch.photos, batch.matching == 1)
        seen |= {tuple(row) for row in batch.captions.tolist()}
    assert {b for _, b in seen} == set(range(len(rich.captions)))


def test_what_cannot_be_drawn_is_said_in_a_line(split, features, encoder):
    with pytest.raises(InputError, match=r"images = 3.*2 views"):
        FusionSet(split, features, encoder, 3, 1, CPU)
    with pytest.raises(InputError, match=r"sentences = 2.*1 captions"):
        FusionSet(split, features, encoder, 1, 2, CPU)


def test_ranks_share_a_batch(data):
    whole = next(iter(data.epoch(CONFIG, 0, 0)))
    parts = [next(iter(data.epoch(CONFIG, 0, 0, rank, 2))) for rank in range(2)]
    rows = sorted(zip(whole.photos.tolist(), whole.captions[:, 0].tolist(), strict=True))
    shared = [pair for part in parts for pair in zip(part.photos.tolist(), part.captions[:, 0].tolist(), strict=True)]
    assert sorted(shared) == rows
    assert all(part.pairs == 21 and part.guesses == whole.guesses for part in parts)
