"""scnlm.beam: exhaustive on a toy, greedy of width 1, the rule of length by hand, a trie that is never left."""

import itertools
import math

import numpy as np
import pytest
import torch
from reference_git import git_of_transformers
from torch import nn

from scnlm.beam import NEVER, Trie, beam_search, length_score, sample
from scnlm.configs import GITConfig
from scnlm.git import GIT, texts_of
from vse.data.vocabulary import BOS_ID, EOS_ID, PAD_ID, SPECIALS, UNK_ID, Vocabulary
from vse.system.errors import InputError

WORDS = Vocabulary((*SPECIALS, "red", "dog", "runs"))
F = 5


def make(seed=0, vocabulary=WORDS, positions=5, spread=0.6, **settings):
    torch.manual_seed(seed)
    config = GITConfig(**({"width": 8, "layers": 2, "heads": 2, "positions": positions} | settings))
    model = GIT(config, vocabulary, F, {"encoder": "tiny", "feature_dim": F}).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=spread)
    model.precision = "float32"
    return model


def memory_of(model, n=3, seed=0):
    features = torch.randn(n, 1, 4, F, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        return model.memory(model.image_tokens(features))


def only(memory, photo):
    return [tuple(part[photo : photo + 1] for part in layer) for layer in memory]


def log_p_of(model, memory, words, given=()):
    """log P of words and their end by one pass over all of them."""
    texts = texts_of([[list(words)]], [[list(given)]], EOS_ID)
    with torch.inference_mode():
        return float(model.log_p(memory, texts).sum())


def every_sentence(model, room):
    for size in range(room + 1):
        yield from itertools.product(range(len(SPECIALS), len(model.vocabulary)), repeat=size)


@pytest.mark.parametrize("attention", ["self", "cross"])
@pytest.mark.parametrize("given", [None, [[4], [6], [5]]])
def test_a_width_that_holds_all_is_exhaustive(attention, given):
    model = make(attention=attention)
    memory, before = memory_of(model), 1 + (given is not None)
    room = model.config.positions - 1 - before
    found = beam_search(model, memory, 200, given)
    for photo in range(3):
        prefix = given[photo] if given else ()
        scored = {words: log_p_of(model, only(memory, photo), words, prefix) for words in every_sentence(model, room)}
        best = max(scored, key=lambda words: length_score(scored[words], before + len(words)))
        top = found[photo][0]
        assert top.words == best and top.log_p == pytest.approx(scored[best], abs=1e-4)
        assert top.score == pytest.approx(length_score(scored[best], before + len(best)), abs=1e-4)
        assert len(found[photo]) == len(scored) == len({one.words for one in found[photo]})
        assert all(one.log_p == pytest.approx(scored[one.words], abs=1e-4) for one in found[photo])


def test_width_1_is_greedy():
    model = make(seed=2, positions=9)
    memory = memory_of(model)
    for photo, (found,) in enumerate(beam_search(model, memory, 1)):
        words, nats = [], 0.0
        while True:
            logits = torch.tensor([log_p_next(model, only(memory, photo), words, word) for word in range(len(WORDS))])
            logits[list(NEVER)] = -math.inf
            best = EOS_ID if len(words) == 7 else int(logits.argmax())
            nats += float(logits[best])
            if best == EOS_ID:
                break
            words.append(best)
        assert found.words == tuple(words) and found.log_p == pytest.approx(nats, abs=1e-4)


def log_p_next(model, memory, words, word):
    with torch.inference_mode():
        states, _ = model.states(torch.tensor([[[BOS_ID, *words]]]), memory)
        return float(model.logits(states[0, 0, -1]).log_softmax(0)[word])


def test_the_rule_of_length_by_hand():
    assert length_score(-6.0, 1) == -6.0
    assert length_score(-6.0, 7) == pytest.approx(-6.0 / 2**0.6)
    assert length_score(-6.0, 7, 0.0) == -6.0


def test_a_photos_sentences_do_not_depend_on_the_others():
    model = make(seed=1, positions=8)
    memory = memory_of(model)
    together = beam_search(model, memory, 3)
    for photo in range(3):
        (alone,) = beam_search(model, only(memory, photo), 3)
        assert [one.words for one in alone] == [one.words for one in together[photo]]


def test_a_wider_beam_finds_no_worse_sentence_here():
    model = make(seed=3, positions=8)
    memory = memory_of(model, 8)
    scores = [[own[0].score for own in beam_search(model, memory, width)] for width in (1, 4, 64)]
    assert np.mean(scores[0]) <= np.mean(scores[1]) <= np.mean(scores[2])


@pytest.mark.parametrize("seed", range(3))
def test_without_a_rule_of_length_it_is_transformers(seed):
    """Their rule is another one, so 0 is its power."""
    model = make(seed=seed, positions=9)
    with torch.no_grad():
        model.bias[list(NEVER)] = -50.0  # theirs would say them
    theirs = git_of_transformers(model)
    features = torch.randn(3, 1, 5, F, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        memory = model.memory(model.image_tokens(features))
        for photo, own in enumerate(beam_search(model, memory, 4, power=0.0)):
            found = theirs.generate(
                pixel_values=features[photo : photo + 1], input_ids=torch.tensor([[BOS_ID]]), num_beams=4,
                length_penalty=0.0, max_length=9, early_stopping=False, do_sample=False,
            )[0].tolist()  # fmt: skip
            words = found[1 : found.index(EOS_ID)] if EOS_ID in found else found[1:]
            assert own[0].words == tuple(words)


ANSWERS = ("red", "dog", "red dog", "dog runs red", "runs")


def test_what_a_trie_lets_through_is_in_the_list():
    for seed in range(4):
        model = make(seed=seed, positions=6)
        memory = memory_of(model, 4, seed)
        trie = Trie.of(ANSWERS, WORDS)
        ids = {tuple(WORDS.encode(answer)) for answer in ANSWERS}
        for photo, own in enumerate(beam_search(model, memory, 10, trie=trie)):
            assert {one.words for one in own} == ids  # all, the prefix of another among them
            scored = {words: log_p_of(model, only(memory, photo), words) for words in ids}
            assert all(one.log_p == pytest.approx(scored[one.words], abs=1e-4) for one in own)
            (greedy,) = beam_search(model, only(memory, photo), 1, trie=trie)[0]
            assert greedy.words in ids and greedy.log_p <= max(scored.values()) + 1e-4


def test_of_labels_of_one_word_a_trie_is_the_plain_argmax():
    model = make(seed=5)
    memory = memory_of(model)
    for photo, (best,) in enumerate(beam_search(model, memory, 1, trie=Trie.of(("red", "dog", "runs"), WORDS))):
        logits = [log_p_next(model, only(memory, photo), [], word) for word in (4, 5, 6)]
        assert best.words == (4 + int(np.argmax(logits)),)


def test_drawn_sentences_come_as_often_as_the_model_says():
    model = make(seed=1, positions=3, spread=0.4)
    memory = memory_of(model, 1)
    (drawn,) = sample(model, memory, 4000, torch.Generator().manual_seed(0))
    counts = {words: sum(one.words == words for one in drawn) for words in {one.words for one in drawn}}
    kept = np.exp(np.array([log_p_next(model, memory, [], word) for word in range(len(WORDS))]))
    kept[list(NEVER)] = 0.0
    kept /= kept.sum()
    assert counts.get((), 0) / 4000 == pytest.approx(kept[EOS_ID], abs=0.03)
    for word in (4, 5, 6):
        share = sum(n for words, n in counts.items() if words[:1] == (word,)) / 4000
        assert share == pytest.approx(kept[word], abs=0.03)
    again = sample(model, memory, 4000, torch.Generator().manual_seed(0))
    assert again[0] == drawn
    for one in drawn[:20]:
        assert not set(one.words) & {PAD_ID, UNK_ID, BOS_ID, EOS_ID}
        if len(one.words) == 1:
            assert one.log_p == pytest.approx(log_p_of(model, memory, one.words), abs=1e-4)


def test_what_cannot_be_searched_is_said_in_a_line():
    model = make()
    memory = memory_of(model)
    with pytest.raises(InputError, match="no answers"):
        Trie.of((), WORDS)
    with pytest.raises(InputError, match="'blue': the model does not know it"):
        Trie.of(("red", "blue"), WORDS)
    with pytest.raises(InputError, match="'Red' and 'red' are one answer"):
        Trie.of(("red", "Red"), WORDS)
    with pytest.raises(InputError, match="5 tokens are given: the model has 5 positions"):
        beam_search(model, memory, 2, [[4, 4, 4, 4]] * 3)
    with pytest.raises(InputError, match="2 prefixes for 3 photos"):
        beam_search(model, memory, 2, [[4], [4]])
