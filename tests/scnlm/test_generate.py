"""Decoding: log P is the model's own, a full beam is brute force; reranking: the parts of the score, their weights."""

import dataclasses
import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from scnlm import generate
from scnlm.generate import Decoder
from scnlm.language_model import LanguageModel
from scnlm.models import MODELS, LMConfig
from scnlm.rerank.kneser_ney import estimate
from scnlm.rerank.score import Candidate, Weights, measure, parts, repeats, score, weighted
from scnlm.rerank.trigram import Trigram
from scnlm.rerank.vote import VOTERS, overlaps, ranked
from scnlm.structure import StructureBank, TagVocabulary
from vse.data.vocabulary import EOS, EOS_ID, SPECIALS, Vocabulary
from vse.encoders.text import TextConfig
from vse.model import VSE, VSEConfig
from vse.system.errors import InputError

DIM, FOUR = 5, ("ball", "dog", "red", "the")
SIZES = LMConfig(word_dim=6, num_factors=8, context=3, gate_dim=10, tag_context=2, tag_dim=3)
BANK = [("DET", "ADJ", "NOUN", "VERB"), ("NOUN",) * 5]

every_model = pytest.mark.parametrize("kind", MODELS)


def make(kind="scnlm", words=FOUR, seed=0, **sizes) -> LanguageModel:
    """A language model of random numbers, biases too."""
    lm = LanguageModel.make(
        replace(SIZES, model=kind, **sizes), Vocabulary((*SPECIALS, *words)),
        StructureBank.from_tags(BANK, tag_set="coarse", spacy_model="m"), TagVocabulary.from_tags(BANK, "coarse"),
        DIM, "",
    )  # fmt: skip
    draw = torch.Generator().manual_seed(seed)
    for parameter in lm.model.eval().parameters():
        torch.nn.init.uniform_(parameter, -1.0, 1.0, generator=draw)
    return lm


def ask(lengths=(1, 2, 3), contents=3, seed=0):
    """(u, content_of, structures): each length with each content vector, in no order."""
    draw = np.random.default_rng(seed)
    asked = [(i, n) for i in range(contents) for n in lengths]
    asked = [asked[i] for i in draw.permutation(len(asked))]
    structures = [tuple(draw.choice(["DET", "ADJ", "NOUN", "VERB"], n)) for _, n in asked]
    u = draw.standard_normal((contents, DIM)).astype(np.float32)
    return u, np.array([i for i, _ in asked]), structures


def log_p(lm: LanguageModel, words, structure, u) -> float:
    """The model's own log P(words, end | structure, u), by its forward pass."""
    ids = [lm.vocabulary.ids[word] for word in words] + [EOS_ID]
    tags = torch.tensor([lm.tags.ids([*structure, EOS])])
    with torch.inference_mode():
        rows = lm.model(torch.tensor([ids]), tags, torch.from_numpy(u)[None])[0]
    return rows[range(len(ids)), ids].sum().item()


@every_model
@pytest.mark.parametrize("context", [1, 3, 8])
@pytest.mark.parametrize("beam", [1, 3])
def test_nats_are_the_models_own(kind, context, beam):
    lm, (u, content_of, structures) = make(kind, context=context), ask((1, 4, 12))
    sentences, nats = Decoder(lm).most_probable(u, content_of, structures, beam)
    assert nats.shape == (9,) and [len(s) for s in sentences] == [len(s) for s in structures]
    expected = [log_p(lm, s, t, u[i]) for s, t, i in zip(sentences, structures, content_of, strict=True)]
    assert nats == pytest.approx(expected, abs=1e-4)


@every_model
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_full_beam_is_brute_force(kind, seed):
    lm, (u, content_of, structures) = make(kind, seed=seed), ask(seed=seed)
    sentences, nats = Decoder(lm).most_probable(u, content_of, structures, beam=4**3)
    for found, n, structure, i in zip(sentences, nats, structures, content_of, strict=True):
        every = {words: log_p(lm, words, structure, u[i]) for words in itertools.product(FOUR, repeat=len(structure))}
        assert tuple(found) == max(every, key=every.get)
        assert n == pytest.approx(max(every.values()), abs=1e-4)


@every_model
def test_a_beam_of_one_takes_the_most_probable_word_each_time(kind):
    lm, (u, content_of, structures) = make(kind), ask((1, 5))
    sentences, _ = Decoder(lm).most_probable(u, content_of, structures)
    for found, structure, i in zip(sentences, structures, content_of, strict=True):
        taken = []
        for n in range(len(structure)):
            ids = [lm.vocabulary.ids[w] for w in taken] + [0] * (len(structure) + 1 - n)  # what comes is not seen
            tags = torch.tensor([lm.tags.ids([*structure, EOS])])
            with torch.inference_mode():
                row = lm.model(torch.tensor([ids]), tags, torch.from_numpy(u[i])[None])[0, n]
            taken.append(FOUR[int(row[len(SPECIALS) :].argmax())])
        assert found == taken


def test_a_wider_beam_finds_more_probable_sentences():
    """No sentence of a full beam is less probable than greedy's; on the way there, the mean grows."""
    decoder, (u, content_of, structures) = Decoder(make(seed=3)), ask((3,), contents=60)
    nats = [decoder.most_probable(u, content_of, structures, beam)[1] for beam in (1, 2, 4, 64)]
    assert (nats[-1] >= nats[0] - 1e-5).all() and (nats[-1] > nats[0] + 0.01).any()
    assert np.all(np.diff([n.mean() for n in nats]) >= -1e-6)


@every_model
@pytest.mark.parametrize("beam", [1, 3, 64])
def test_many_in_one_call_equal_one_by_one(kind, beam, monkeypatch):
    """Of mixed lengths and contents, also when one call is more than fits at once."""
    decoder, (u, content_of, structures) = Decoder(make(kind)), ask((1, 2, 3, 7, 12), contents=4)
    sentences, nats = decoder.most_probable(u, content_of, structures, beam)
    for j, (i, structure) in enumerate(zip(content_of, structures, strict=True)):
        alone, own = decoder.most_probable(u[i : i + 1], np.array([0]), [structure], beam)
        assert alone == [sentences[j]] and own == pytest.approx(nats[j : j + 1], abs=1e-4)
    for at_once in (1, 7 * beam):
        monkeypatch.setattr(generate, "_AT_ONCE", at_once)
        again, nats_again = decoder.most_probable(u, content_of, structures, beam)
        assert again == sentences and nats_again == pytest.approx(nats, abs=1e-4)


@pytest.mark.parametrize("beam", [1, 4])
def test_the_order_of_candidates_does_not_matter(beam):
    decoder, (u, content_of, structures) = Decoder(make()), ask((2, 3, 9), contents=7)
    sentences, nats = decoder.most_probable(u, content_of, structures, beam)
    order = np.random.default_rng(1).permutation(len(structures))
    mixed, own = decoder.most_probable(u, content_of[order], [structures[i] for i in order], beam)
    assert mixed == [sentences[i] for i in order] and own == pytest.approx(nats[order], abs=1e-4)


@every_model
@pytest.mark.parametrize("beam", [1, 3, 100])
def test_nothing_but_words_is_chosen(kind, beam):
    """However probable <unk>, <pad>, <s> and the end are; what they take is not given to the words."""
    lm, (u, content_of, structures) = make(kind), ask((1, 2, 6))
    with torch.no_grad():
        lm.model.b[: len(SPECIALS)] += 8.0
    sentences, nats = Decoder(lm).most_probable(u, content_of, structures, beam)
    assert {word for s in sentences for word in s} <= set(FOUR)
    expected = [log_p(lm, s, t, u[i]) for s, t, i in zip(sentences, structures, content_of, strict=True)]
    assert nats == pytest.approx(expected, abs=1e-4)
    assert (nats < -3 * np.array([len(s) for s in structures])).all()


def test_structure_and_content_change_the_sentence():
    decoder, words = Decoder(make(words=[f"w{i}" for i in range(50)])), 6
    u, content_of, structures = ask((words,), contents=30)
    same = [structures[0]] * 30
    assert len(set(map(tuple, decoder.most_probable(u, content_of, same)[0]))) > 5
    assert len(set(map(tuple, decoder.most_probable(u, 0 * content_of, structures)[0]))) > 5
    assert len(set(map(tuple, decoder.most_probable(u, 0 * content_of, same)[0]))) == 1


def test_drawn_words_are_as_frequent_as_the_model_says():
    """Sentences of two words, against P(w1) P(w2 | w1) over words; log P stays the model's own."""
    lm, count = make("multiplicative"), 8000
    u, structure = np.random.default_rng(0).standard_normal((1, DIM)).astype(np.float32), ("DET", "NOUN")
    draw, content_of = torch.Generator().manual_seed(0), np.zeros(count, np.int64)
    sentences, nats = Decoder(lm).most_probable(u, content_of, [structure] * count, draw=draw)
    every = list(itertools.product(FOUR, repeat=2))
    ids = torch.tensor([[lm.vocabulary.ids[w] for w in words] + [EOS_ID] for words in every])
    tags = torch.tensor([lm.tags.ids([*structure, EOS])] * len(every))
    with torch.inference_mode():
        rows = lm.model(ids, tags, torch.from_numpy(u).expand(len(every), -1))[:, :2]
        chances = rows[..., len(SPECIALS) :].double().softmax(-1).gather(2, ids[:, :2, None] - len(SPECIALS)).prod(1)
    found, expected = Counter(map(tuple, sentences)), chances[:, 0].numpy() * count
    assert min(expected) > 5 and chisquare([found[words] for words in every], expected).pvalue > 0.01
    for words, n in list(zip(sentences, nats, strict=True))[:20]:
        assert n == pytest.approx(log_p(lm, words, structure, u[0]), abs=1e-4)


def test_no_candidates_and_tags_the_model_lacks():
    decoder, u = Decoder(make()), np.ones((1, DIM), np.float32)
    sentences, nats = decoder.most_probable(u, np.zeros(0, np.int64), [])
    assert sentences == [] and nats.shape == (0,)
    with pytest.raises(InputError, match="tag 'NN' is none of the coarse tags"):
        decoder.most_probable(u, np.array([0]), [("NN",)])


# --- The score -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", 0),
        ("a dog and a cat on a mat", 0),  # stopwords may come again
        ("a dog and a dog", 1),
        ("a dog dog dog", 2),
        ("red dog red dog", 2),
    ],
)
def test_repeats_are_non_stopwords_that_were_there_before(text, expected):
    assert repeats(text.split()) == expected


def candidate(text="a dog", **values) -> Candidate:
    return Candidate(tuple(text.split()), "image", ("DET", "NOUN"), **({"decoder": -3.0} | values))


def test_the_score_is_the_weighted_sum_by_hand():
    first = candidate("a dog and a dog", translation=0.5, concepts=0.2, repeats=1, trigram=-10.0, log_share=-5.0)
    second = candidate("a red dog", translation=0.4, concepts=0.6, trigram=-6.0, decoder=-2.0, matching=1.5, git=-4.0)
    weights = Weights(
        2.0, 0.5, repetition=0.5, trigram=0.01, length=0.03, decoder=0.1, structure=0.02, matching=0.2, git=0.05
    )
    by_hand = [
        (2 * 0.5 + 0.5 * 0.2) * 0.5 - 0.1 + 0.15 - 0.3 - 0.1,
        2 * 0.4 + 0.5 * 0.6 - 0.06 + 0.09 - 0.2 + 0.3 - 0.2,
    ]
    assert score([first, second], weights) == pytest.approx(by_hand)
    assert weighted(parts([first, second]), weights) == pytest.approx(by_hand)
    assert parts([first]).tolist() == [[0.5, 0.2, 1, -10.0, 5, -3.0, -5.0, 0.0, 0.0]]
    assert parts([]).shape == (0, 9) and score([], weights).shape == (0,)
    assert first.text == "a dog and a dog"


def test_every_repeat_costs_and_none_without_the_penalty():
    twice = [candidate(translation=0.4, concepts=0.1, repeats=n) for n in range(4)]
    assert np.all(np.diff(score(twice, Weights(repetition=0.7))) < 0)
    assert np.ptp(score(twice, Weights(repetition=1.0))) == 0
    bare = Weights(1.0, 1.0, repetition=0.0, trigram=0.0, length=0.0, decoder=0.0, structure=0.0)
    assert score(twice, bare).tolist() == [0.5, 0, 0, 0]


@pytest.mark.parametrize("repetition", [0.0, 0.4, 0.8, 1.0])
@pytest.mark.parametrize("cosine", [-0.7, -0.1, 0.0, 0.1, 0.7])
def test_a_repeat_never_raises_the_score(cosine, repetition):
    weights = Weights(1.0, 0.5, repetition, trigram=0.0, length=0.0, decoder=0.0, structure=0.0)
    found = score([candidate(translation=cosine, concepts=cosine / 2, repeats=n) for n in range(6)], weights)
    steps = np.diff(found)
    assert found[0] == 1.25 * cosine and np.all(steps <= 0)
    assert np.all(steps < 0) or cosine == 0 or repetition in (0.0, 1.0)
    lost = 1.25 * abs(cosine) * (1 - repetition ** np.arange(6))  # the same share of its size, whatever its sign
    assert found[0] - found == pytest.approx(lost)


@pytest.mark.parametrize(
    "wrong",
    [
        {"repetition": 1.1},
        {"repetition": -0.1},
        {"trigram": -1.0},
        {"translation": -1.0},
        {"concepts": -1.0},
        {"decoder": -0.1},
        {"structure": -0.1},
    ],
    ids=str,
)
def test_weights_without_sense_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))) as error:
        Weights(**wrong)
    assert "\n" not in str(error.value)


# --- The vote --------------------------------------------------------------------------------------------------------


def overlap(a: tuple[str, ...], b: tuple[str, ...]) -> float:
    """Of two sentences, by hand."""
    shares = []
    for n in range(1, 5):
        left, right = ({own[i : i + n] for i in range(len(own) - n + 1)} for own in (a, b))
        shares.append(2 * len(left & right) / max(1, len(left) + len(right)))
    return sum(shares) / 4


def test_overlaps_are_the_loops():
    draw = np.random.default_rng(0)
    sentences = [tuple(draw.choice(list("abcde"), size)) for size in (1, 2, 3, 4, 7, 9, 12)]
    by_hand = [[overlap(a, b) for b in sentences] for a in sentences]
    assert overlaps(sentences) == pytest.approx(np.array(by_hand), abs=1e-6)


def by_hand(pool: list[Candidate], scores: np.ndarray, vote: float) -> list[tuple[float, float]]:
    """(agreement, expected) of each candidate, one pair of sentences at a time."""
    odds, pairs = [float(np.exp(s / (vote * scores.std()))) for s in scores], []
    for j, own in enumerate(pool):
        others = [(odds[i], overlap(own.tokens, other.tokens)) for i, other in enumerate(pool) if i != j]
        left = sum(p * alike for p, alike in others)
        pairs.append((left / sum(p for p, _ in others), (left + odds[j] * overlap(own.tokens, own.tokens)) / sum(odds)))
    return pairs


ALIKE = {"a dog runs here": 0.5, "a dog runs there": 0.49, "a dog runs on": 0.48}
COSINE_ALONE = Weights(1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0)


def pool_of_four() -> list[Candidate]:
    """The best-scored has nothing in common with the others, which are alike."""
    return [candidate("the cat", translation=0.51), *(candidate(t, translation=cosine) for t, cosine in ALIKE.items())]


@pytest.mark.parametrize("vote", [0.3, 1.0, 5.0])  # another temperature, other agreements
def test_the_vote_is_won_by_what_is_most_like_a_drawn_caption(vote):
    pool = pool_of_four()
    voted, scores = ranked(pool, COSINE_ALONE, vote), score(pool, COSINE_ALONE)
    of = dict(zip((c.text for c in pool), by_hand(pool, scores, vote), strict=True))
    assert {c.score for c in voted} == set(scores.tolist())
    for c in voted:
        assert (c.agreement, c.expected) == pytest.approx(of[c.text], abs=1e-6)
    assert [c.expected for c in voted] == sorted((c.expected for c in voted), reverse=True)


def test_the_temperature_of_the_vote_decides_how_many_count():
    pool = pool_of_four()
    by_score = [c.text for c in pool]
    assert [c.text for c in ranked(pool, COSINE_ALONE)] == by_score
    assert ranked(pool, COSINE_ALONE, vote=1e-9)[0].text == "the cat"  # a vote of one
    assert ranked(pool, COSINE_ALONE, vote=5.0)[-1].text == "the cat"  # of all alike
    two = [candidate("a dog", translation=0.6), candidate("the cat", translation=0.4)]  # the sd of the scores is 0.1
    for vote in (0.5, 2.0):
        first, second = ranked(two, COSINE_ALONE, vote)
        assert first.expected / second.expected == pytest.approx(np.exp(0.2 / (vote * 0.1)))


def test_nobody_agrees_with_itself():
    strange = [candidate("the cat", translation=0.9), candidate("a dog", translation=0.1)]
    for vote in (1e-9, 0.15, 5.0):  # the first has nearly all the odds, and no company
        first, second = ranked(strange, COSINE_ALONE, vote)
        assert first.text == "the cat" and (first.agreement, second.agreement) == (0.0, 0.0) and first.expected > 0.25
    (alone,) = ranked(strange[:1], COSINE_ALONE, 0.15)
    assert (alone.agreement, alone.expected) == (0.0, 0.0)
    twins = ranked([candidate("a dog runs here", translation=t) for t in (0.9, 0.1)], COSINE_ALONE, 1e-9)
    assert [c.agreement for c in twins] == [1.0, 1.0]  # the one that has no odds agrees, and is agreed with


def test_only_the_best_scored_vote_and_the_rest_follow_by_score():
    pool = [candidate(f"w{i} x", translation=1 - i / 1000) for i in range(VOTERS + 20)]
    weights = COSINE_ALONE
    voted = ranked(pool, weights, vote=0.5)
    assert {c.text for c in voted[:VOTERS]} == {c.text for c in pool[:VOTERS]}
    assert [c.text for c in voted[VOTERS:]] == [c.text for c in pool[VOTERS:]]
    assert all(c.agreement == 0 for c in voted[VOTERS:])
    equal = [candidate(f"w{i}", translation=0.5) for i in range(3)]  # no spread, no vote
    assert [c.text for c in ranked(equal, weights, vote=0.5)] == ["w0", "w1", "w2"] and ranked([], weights) == []


# --- Measuring -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trigram(tmp_path_factory) -> Trigram:
    path = tmp_path_factory.mktemp("trigram") / "lm.arpa"
    text = ["a dog runs", "a red ball", "the dog and the ball", "a dog and a red ball"]
    estimate([line.split() for line in text], discount_fallback=()).write_arpa(path)
    return Trigram(path)


class Counting(VSE):
    """An encoder whose vectors are counts of dogs and balls."""

    def __init__(self):
        torch.nn.Module.__init__(self)

    device = torch.device("cpu")

    def encode_texts(self, texts, batch_size=512):
        return np.array([[text.split().count(word) for word in ("dog", "ball")] for text in texts], np.float32)


def test_measuring_fills_in_each_part(trigram):
    candidates = [candidate("a dog and a dog", decoder=-9.0), candidate("a red ball"), candidate("a bird")]
    image, bag = np.array([[0.25, 0.5], [0.125, 0.0]], np.float32)
    measured = measure(candidates, image, bag, Counting(), trigram)
    assert [c.translation for c in measured] == [0.5, 0.5, 0.0] and [c.repeats for c in measured] == [1, 0, 0]
    assert [c.concepts for c in measured] == [0.25, 0.0, 0.0]
    assert [c.trigram for c in measured] == [trigram.log_prob(c.tokens) for c in candidates]
    for before, after in zip(candidates, measured, strict=True):
        filled = {name: getattr(after, name) for name in ("translation", "concepts", "repeats", "trigram")}
        assert dataclasses.replace(before, **filled) == after  # and nothing else


def test_the_translation_score_is_the_encoders_cosine(trigram):
    torch.manual_seed(0)
    config = VSEConfig(embed_dim=8, text=TextConfig(encoder="lstm", word_dim=8, hidden=8), init_range=0.5)
    encoder = VSE(config, Vocabulary((*SPECIALS, *FOUR)), 3)
    texts = [" ".join(words) for n in (1, 2, 3) for words in itertools.permutations(FOUR, n)]
    image, bag = encoder.encode_texts(["the red dog", "ball"])
    measured = measure([candidate(text) for text in texts], image, bag, encoder, trigram)
    found = [c.translation for c in measured]
    assert [c.concepts for c in measured] == pytest.approx((encoder.encode_texts(texts) @ bag).tolist(), abs=0.02)
    assert found == pytest.approx((encoder.encode_texts(texts) @ image).tolist(), abs=0.02)
    assert texts[int(np.argmax(found))] == "the red dog" and max(found) == pytest.approx(1, abs=0.02)
    assert min(found) < 0.9  # so that the tolerance says something
