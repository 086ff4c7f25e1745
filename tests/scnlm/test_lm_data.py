"""Batches of the language models' training: n-gram instances, and the score of a text."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scnlm.data import TaggedText
from scnlm.models import MODELS, LMConfig, make_model
from scnlm.structure import TagVocabulary
from scnlm.train import nats_per_word, noisy
from vse.data.vocabulary import EOS_ID, SPECIALS, UNK_ID, Vocabulary
from vse.system.errors import InputError

DIM, CPU = 8, torch.device("cpu")
SIZES = LMConfig(word_dim=8, num_factors=10, context=3, gate_dim=16, tag_context=1, tag_dim=4)


def small_text(sentences, seed=0, tags=None) -> TaggedText:
    """Sentences of the words a, b, c with their u drawn at random."""
    u = np.random.default_rng(seed).standard_normal((len(sentences), DIM)).astype(np.float32)
    tags = [["X"] * len(words) for words in sentences] if tags is None else tags
    return TaggedText(
        sentences, tags, u, Vocabulary((*SPECIALS, "a", "b", "c")), TagVocabulary.from_tags([("X", "Y")], "coarse"), CPU
    )


def random_sentences(count, seed=0, longest=12):
    draw = np.random.default_rng(seed)
    return [list(draw.choice(list("abc"), n)) for n in draw.integers(1, longest + 1, count)]


def test_a_batch_is_sentences_with_their_end_tags_and_content():
    text = small_text([["a", "zebra"], ["c", "b", "a"]], tags=[["X", "Y"], ["Y", "unseen", "X"]])
    batch = text.batch(np.array([1, 0]))
    assert batch.tokens.tolist() == [[6, 5, 4, EOS_ID], [4, UNK_ID, EOS_ID, 0]]
    assert batch.tags.tolist() == [[3, 0, 2, 1], [2, 3, 1, 0]]  # </s> has a tag; an unseen tag is as none
    assert batch.inside.tolist() == [[True] * 4, [True] * 3 + [False]]
    u = np.random.default_rng(0).standard_normal((2, DIM))
    assert batch.u.dtype == torch.float32 and batch.u.numpy() == pytest.approx(u[::-1], abs=2e-3)
    assert (len(text), text.words) == (2, 7)
    assert text.batch(np.array([0])).tokens.shape == (1, 3)  # no wider than its own longest


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 130), st.integers(1, 7), st.integers(0, 3), st.integers(0, 3))
def test_an_epoch_has_every_sentence_once(count, batch_size, seed, epoch):
    text = small_text(random_sentences(count, longest=3))
    text.u[:, 0] = torch.arange(count)  # names the sentence
    batches = list(text.epoch(batch_size, seed, epoch))
    assert len(batches) == text.steps(batch_size)
    assert max(len(b.u) for b in batches) <= batch_size
    assert sorted(int(i) for b in batches for i in b.u[:, 0]) == list(range(count))
    assert sorted(int(i) for b in text.in_order(batch_size) for i in b.u[:, 0]) == list(range(count))
    for b in batches:
        rows = b.u[:, 0].long()
        assert torch.equal(b.inside.sum(1), text.lengths[rows]) and not b.tokens[~b.inside].any()
        assert torch.equal(b.tokens[b.inside], text.tokens[rows, : b.tokens.shape[1]][b.inside])


def test_an_epoch_is_a_function_of_seed_and_number_alone():
    text = small_text(random_sentences(300))

    def order(seed, epoch):
        return [b.u[:, 0].tolist() for b in text.epoch(7, seed, epoch)]

    first = order(0, 0)
    np.random.seed(3), torch.manual_seed(3)
    assert order(0, 0) == first
    assert len({json.dumps(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4
    # Neither together nor one after the other as in another epoch: sentences meet others, lengths are mixed.
    together = [{frozenset(b) for b in order(0, epoch)} for epoch in (0, 1)]
    assert len(together[0] & together[1]) < 10
    few = small_text(random_sentences(130))  # sorted by length together
    lengths = [b.tokens.shape[1] for b in few.epoch(7, 0, 0)]
    assert lengths != sorted(lengths) and lengths != sorted(lengths)[::-1]


def test_sentences_of_a_batch_are_of_like_length():
    text = small_text(random_sentences(2000))
    inside = [b.inside for b in text.epoch(20, 0, 0)]
    assert sum(int((~i).sum()) for i in inside) < 0.05 * text.words


@pytest.mark.parametrize(
    "sentences, tags, says",
    [
        ([], [], "no sentences"),
        ([["a", "b"]], [["X"]], "'a b': 1 tags for 2 words"),
        ([["a"], ["a"]], [["X"], ["X", "X"]], "'a': 2 tags for 1 words"),
        ([["a"], []], [["X"], []], "0 words"),
    ],
)
def test_a_text_that_cannot_be_learned_is_refused(sentences, tags, says):
    with pytest.raises(InputError) as error:
        small_text(sentences, tags=tags)
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("kind", MODELS)
def test_nats_per_word_is_the_loop_over_sentences(kind):
    """More sentences than are evaluated at once; every end counts as a word, no padding does."""
    sentences = random_sentences(700, longest=6)
    text, longest = small_text(sentences), max(map(len, sentences)) + 1
    torch.manual_seed(0)
    model = make_model(replace(SIZES, model=kind, dropout=0.5), 7, DIM, 4).train()
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -1, 1)
    found, total = nats_per_word(model, text), 0.0
    with torch.inference_mode():
        for i, words in enumerate(sentences):
            ids = text.tokens[i : i + 1, : len(words) + 1]
            rows = model.eval()(ids, text.tags[i : i + 1, : len(words) + 1], text.u[i : i + 1].float())[0]
            total -= sum(rows[n, word].item() for n, word in enumerate(ids[0].tolist()))
    assert longest == text.tokens.shape[1]
    assert found == pytest.approx(total / sum(len(words) + 1 for words in sentences), abs=1e-5)


def test_noise_has_the_norm_it_is_given():
    torch.manual_seed(0)
    u = torch.nn.functional.normalize(torch.randn(500, 300), dim=1)
    for size in (0.1, 0.5, 1.0):
        moved = noisy(u, size)
        assert torch.allclose(moved.norm(dim=1), torch.ones(500), atol=1e-5)
        assert (moved * u).sum(1).mean().item() == pytest.approx((1 + size**2) ** -0.5, abs=0.01)
