"""The trigram is KenLM's own: loops from the equations, lmplz's printed ARPA, and KenLM's queries agree with it."""

import contextlib
import gzip
import io
import math
import re
from pathlib import Path

import kenlm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_trigram import NoDiscounts, kneser_ney, log_prob

from scnlm import __version__
from scnlm.__main__ import main
from scnlm.rerank.trigram import Trigram, estimate
from vse.system import command_line
from vse.system.errors import InputError

GOLDEN = Path(__file__).parents[4] / "shared" / "reference"
FALLBACK = (0.5, 1.0, 1.5)


def text(seed: int, sentences: int = 500, tail: tuple = ()) -> list[list[str]]:
    """Sentences whose words follow Zipf's law and each other, so that discounts can be estimated."""
    draw = np.random.default_rng(seed)
    made = []
    for length in draw.integers(1, 9, sentences):
        words = np.minimum(draw.zipf(1.5, length), 3000)
        words[1::2] = np.where(draw.random(length // 2) < 0.6, words[: length // 2 * 2 : 2] + 1, words[1::2])
        made.append(made[draw.integers(len(made))] if draw.random() < 0.15 and made else [f"w{w}" for w in words])
    return [*made, *(list(sentence) for sentence in tail)]


def table(model) -> dict:
    """{n-gram: (log10 probability, log10 backoff)} of the arrays."""
    return {
        tuple(model.words[i] for i in ids): (p, b)
        for level in model.ngrams
        for ids, p, b in zip(level.ids.tolist(), level.log_probs.tolist(), level.backoffs.tolist(), strict=True)
    }


def read_arpa(path: Path) -> dict:
    """{n-gram as one text: numbers} of an ARPA file, in its order."""
    lines = [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n")]
    return {line[1]: (float(line[0]), *map(float, line[2:])) for line in lines if len(line) > 1}


def agree(found: dict, expected: dict, tolerance: float = 1e-9):
    assert found.keys() == expected.keys()
    for gram, numbers in expected.items():
        assert found[gram] == pytest.approx(numbers, abs=tolerance), gram


@pytest.fixture(scope="module")
def arpa(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("trigram") / "lm.arpa"
    estimate(text(0)).write_arpa(path)
    return path


# --- The estimate ----------------------------------------------------------------------------------------------------


def test_every_number_is_that_of_lmplz(tmp_path):
    if not (GOLDEN / "trigram_lmplz.arpa").is_file():
        pytest.skip(f"lmplz's own output is not there: {GOLDEN}/trigram_lmplz.arpa, trigram_corpus.txt")
    corpus = (GOLDEN / "trigram_corpus.txt").read_text(encoding="utf-8").splitlines()
    estimate([line.split() for line in corpus]).write_arpa(tmp_path / "ours.arpa")
    ours, theirs = read_arpa(tmp_path / "ours.arpa"), read_arpa(GOLDEN / "trigram_lmplz.arpa")
    assert list(ours) == list(theirs)  # in the same order, too
    agree(ours, theirs, tolerance=1e-6)


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("prune", [(0, 0, 0, 0), (0, 0, 1, 1), (1, 2, 2, 3)], ids=str)
@pytest.mark.parametrize("seed", [1, 2])
def test_it_is_the_loops_from_the_equations(order, prune, seed):
    sentences = text(seed)
    model = estimate(sentences, order, prune[:order])
    assert model.fell_back == ()
    agree(table(model), kneser_ney(sentences, order, prune))


def test_the_last_ngram_is_counted_as_lmplz_counts_it():
    """Its words occur three times but after one word only, and lmplz takes three for the counts of counts."""
    tail = [("w1", "w2", "last"), ("w1", "w2", "last"), ("w1", "w2", "last")]
    sentences = text(9, tail=tail)
    agree(table(estimate(sentences)), kneser_ney(sentences))
    elsewhere = estimate([list(t) for t in tail] + text(9))
    assert np.abs(elsewhere.discounts - estimate(sentences).discounts)[:2].min() > 1e-4


small_texts = st.lists(st.lists(st.sampled_from("abcdef"), max_size=6), min_size=1, max_size=40)


@settings(max_examples=120, deadline=None)
@given(
    small_texts.filter(any),
    st.integers(2, 4),
    st.sampled_from([None, FALLBACK, (0.0, 0.0, 0.0), (1.0, 2.0, 3.0)]),
    st.sampled_from([(0, 0, 0, 0), (0, 0, 1, 2), (0, 1, 1, 1)]),
)
def test_any_small_text_is_as_in_the_loops_or_refused_by_both(sentences, order, fallback, prune):
    try:
        expected = kneser_ney(sentences, order, prune, fallback)
    except NoDiscounts as refused:
        with pytest.raises(InputError, match=rf"^order {refused}: .*--discount-fallback"):
            estimate(sentences, order, prune[:order], fallback)
    else:
        agree(table(estimate(sentences, order, prune[:order], fallback)), expected)


@pytest.mark.parametrize("prune", [(0,), (0, 0, 1), (0, 2, 2), (2,)], ids=str)
def test_probabilities_sum_to_one_after_any_context(prune, tmp_path):
    """Through KenLM: after seen words, unseen pairs, unknown words, and at the beginning of a sentence."""
    model = estimate(text(4), prune=prune)
    model.write_arpa(tmp_path / "lm.arpa")
    lm, out = kenlm.Model(str(tmp_path / "lm.arpa")), kenlm.State()
    pairs = [model.words[i] for ids in model.ngrams[1].ids[::25] for i in ids]
    for before in [(), *zip(pairs[::2], pairs[1::2], strict=True), ("w3", "w3"), ("unseen", "w1"), ("w1", "unseen")]:
        state, after = kenlm.State(), kenlm.State()
        lm.BeginSentenceWrite(state) if not before or before[0] == "<s>" else lm.NullContextWrite(state)
        for word in before[before[:1] == ("<s>",) :]:
            lm.BaseScore(state, word, after)
            state, after = after, state
        if before[-1:] != ("</s>",):
            words = [model.words[i] for i in model.ngrams[0].ids[:, 0] if i != 1]
            assert sum(10 ** lm.BaseScore(state, word, out) for word in words) == pytest.approx(1, abs=2e-6)


def test_sentences_begin_and_end():
    found = table(estimate([["a", "b"]] * 4 + [["b"], []] * 3, discount_fallback=FALLBACK))
    assert found["<s>",][0] == 0.0 and found["</s>",][1] == found["<unk>",][1] == found["b", "</s>"][1] == 0.0
    assert ("<s>", "</s>") in found and ("<s>", "b", "</s>") in found
    assert all("<s>" not in gram[1:] and "</s>" not in gram[:-1] for gram in found)
    # After <s> occurrences count, not the different words in front: 4 of 10 begin with a, 3 with b, 3 end at once.
    assert 10 ** found["<s>", "a"][0] > 10 ** found["<s>", "b"][0] > 0.2


def test_unknown_words_get_what_the_uniform_distribution_leaves():
    sentences = text(5)
    model = estimate(sentences)
    preceded = np.bincount(model.ngrams[1].ids[:, 1])
    left = sum(model.discounts[0][min(n, 3) - 1] for n in preceded if n) / preceded.sum()
    assert 10 ** table(model)["<unk>",][0] == pytest.approx(left / (len(model.words) - 1))


def test_pruning_drops_what_is_rare_and_nothing_else():
    sentences = text(6)
    whole, pruned = table(estimate(sentences)), table(estimate(sentences, prune=(0, 0, 1)))
    gone = whole.keys() - pruned.keys()
    seen = [tuple(t[i : i + 3]) for s in sentences for t in [["<s>", *s, "</s>"]] for i in range(len(t) - 2)]
    assert gone == {gram for gram in seen if seen.count(gram) == 1} and len(gone) > 100
    assert estimate(sentences, prune=(0, 0, 1)).ngrams[0].ids.tolist() == estimate(sentences).ngrams[0].ids.tolist()
    again = table(estimate(sentences, prune=[0, 1])), table(estimate(sentences, prune=[0, 1, 1]))
    assert again[0] == again[1]  # the last threshold holds for higher orders


def test_a_tiny_text_is_refused_and_can_be_forced():
    tiny = [["a", "dog", "runs"], ["a", "cat"]]
    with pytest.raises(InputError, match=r"order 1: .*with 4, 1, 0, 0 1-grams.*--discount-fallback") as refused:
        estimate(tiny)
    assert "\n" not in str(refused.value)
    model = estimate(tiny, discount_fallback=())
    assert model.fell_back == (1, 2, 3) and model.discounts.tolist() == [list(FALLBACK)] * 3
    assert estimate(tiny, discount_fallback=(0.4,)).discounts.tolist() == [[0.4, 0.4, 0.4]] * 3
    assert estimate(text(1), discount_fallback=FALLBACK).fell_back == ()  # not where they can be estimated


def test_zero_probability_can_be_read_and_stays_bad(tmp_path):
    """Discounts of 0 leave nothing for unseen words: lmplz writes -inf, which KenLM refuses."""
    estimate([["a", "b"], ["a"]], discount_fallback=(0.0,)).write_arpa(tmp_path / "lm.arpa")
    model = Trigram(tmp_path / "lm.arpa")
    assert -500 < model.log_prob(["b", "a"]) < -200 < -5 < model.log_prob(["a"]) < 0


@pytest.mark.parametrize("word", ["<s>", "</s>", "<unk>"])
def test_words_of_the_model_are_refused_in_a_text_or_left_out(word):
    sentences = text(7)
    marked = [*sentences[:2], [*sentences[2], word, "w1"], *sentences[3:]]
    with pytest.raises(InputError, match=rf"^sentence 3: .*{word}.*--skip-symbols"):
        estimate(marked)
    without = [*sentences[:2], [*sentences[2], "w1"], *sentences[3:]]
    assert table(estimate(marked, skip_symbols=True)) == table(estimate(without))


@pytest.mark.parametrize(
    ("sentences", "options", "says"),
    [
        ([], {}, "no word"),
        ([[], []], {}, "no word"),
        (["a dog"], {}, "sentence 1: 'a dog' is a text"),
        ([["a"], ["a dog"]], {}, "sentence 2: the token 'a dog'"),
        ([["a", ""]], {}, "sentence 1: the token ''"),
        ([["\ud800"]], {}, "UTF-8"),
        ([["a"]], {"order": 1}, "order 1"),
        ([["a"]], {"order": 7}, "order 7"),
        ([["a"]], {"prune": (0, 0, 0, 0)}, "prune 0 0 0 0"),
        ([["a"]], {"prune": (0, 2, 1)}, "prune 0 2 1"),
        ([["a"]], {"prune": (-1,)}, "prune -1"),
        ([["a"]], {"discount_fallback": (0.5, 2.5)}, "discount fallback 0.5 2.5"),
        ([["a"]], {"discount_fallback": (0.5, 1.0, 1.0, 1.0)}, "one to three"),
        ([["a"]], {"discount_fallback": (math.nan,)}, "nan"),
    ],
    ids=str,
)
def test_bad_input_is_refused_in_one_line(sentences, options, says):
    with pytest.raises(InputError, match=re.escape(says)) as refused:
        estimate(sentences, **options)
    assert "\n" not in str(refused.value)


# --- The file --------------------------------------------------------------------------------------------------------


def test_the_file_has_the_arrays_numbers(tmp_path):
    model = estimate([["größe", "日本", "a\x0bb"], ["größe"]], discount_fallback=FALLBACK)
    model.write_arpa(tmp_path / "new" / "lm.arpa")
    lines = (tmp_path / "new" / "lm.arpa").read_bytes().decode("utf-8").split("\n")
    assert lines[:5] == ["\\data\\", "ngram 1=6", "ngram 2=5", "ngram 3=4", ""] and lines[-3:] == ["", "\\end\\", ""]
    written = read_arpa(tmp_path / "new" / "lm.arpa")
    agree(written, {" ".join(gram): n[: 2 - (len(gram) == 3)] for gram, n in table(model).items()}, tolerance=1e-6)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    (tmp_path / "lm.arpa").write_text("old")
    model = estimate(text(1))
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(InputError, match="no space left"):
        model.write_arpa(tmp_path / "lm.arpa")
    assert [p.name for p in tmp_path.iterdir()] == ["lm.arpa"] and (tmp_path / "lm.arpa").read_text() == "old"


# --- Queries ---------------------------------------------------------------------------------------------------------


def test_log_probabilities_are_backed_off_by_hand(arpa):
    model, expected = Trigram(arpa), table(estimate(text(0)))
    others = [[], ["w1"], ["unseen"], ["w1", "unseen", "w2"], ["w3", "a w", "w1"], ["", "w1"], ["<unk>", "w1"]]
    sentences = [*text(0)[:40], *text(8)[:40], *others]
    scores = model.score(sentences)
    assert scores.shape == (len(sentences),) and scores.dtype == np.float64
    assert scores == pytest.approx([log_prob(expected, 3, s) for s in sentences], abs=1e-3)
    assert scores.tolist() == [model.log_prob(s) for s in sentences] and model.score([]).shape == (0,)
    assert np.isfinite(scores).all() and (scores < 0).all()
    words = sum(len(s) + 1 for s in sentences)
    assert model.perplexity(sentences) == pytest.approx(math.exp(-scores.sum() / words))
    assert "w1" in model and "unseen" not in model


def test_real_text_is_likelier_than_shuffled_and_unknown_text(arpa):
    model, draw = Trigram(arpa), np.random.default_rng(0)
    sentences = [s for s in text(0) if len(s) > 3]
    shuffled = [[s[i] for i in draw.permutation(len(s))] for s in sentences]
    unknown = [["unseen"] * len(s) for s in sentences]
    assert model.perplexity(sentences) < model.perplexity(shuffled) < model.perplexity(unknown)


def test_sentences_that_cannot_be_scored_are_refused(arpa):
    model = Trigram(arpa)
    for tokens in (["w1", "</s>"], ["<s>", "w1"]):
        with pytest.raises(InputError, match=f"{tokens[tokens[0] == 'w1']} cannot stand in a sentence"):
            model.log_prob(tokens)
    with pytest.raises(InputError, match="a list of tokens"):
        model.score(["w1 w2"])
    with pytest.raises(InputError, match="at least one"):
        model.perplexity([])


def test_an_arpa_cut_anywhere_is_refused(arpa, tmp_path):
    whole, cut = arpa.read_bytes(), tmp_path / "cut.arpa"
    for end in [0, 3, *range(20, len(whole) - 8, len(whole) // 40), len(whole) - 8]:
        cut.write_bytes(whole[:end])
        with pytest.raises(InputError, match=r"cut\.arpa: (truncated|not an ARPA)") as refused:
            Trigram(cut)
        assert "\n" not in str(refused.value)


def test_other_files_are_refused(arpa, tmp_path):
    with pytest.raises(InputError, match="order 3; expected order 2"):
        Trigram(arpa, order=2)
    estimate(text(0), order=2).write_arpa(tmp_path / "bigram.arpa")
    with pytest.raises(InputError, match="order 2; expected order 3"):
        Trigram(tmp_path / "bigram.arpa")
    assert Trigram(tmp_path / "bigram.arpa", order=None).order == 2
    (tmp_path / "other.arpa").write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\0" + bytes(100))
    for path in (tmp_path / "other.arpa", tmp_path / "none.arpa", tmp_path):
        with pytest.raises(InputError, match=re.escape(str(path))):
            Trigram(path)


BINARY = b"mmap lm http://kheafield.com/code format version 5\n\0"


@pytest.mark.parametrize(
    "content",
    [
        BINARY + b"\\data\\\nngram 1=3\n" + bytes(200),
        b"\n" + BINARY + b"\\data\\\n",
        b"a text\n\\data\\\nngram 1=3\n",
        gzip.compress(BINARY + b"\\data\\\n", mtime=0),
    ],
)
def test_a_binary_model_never_reaches_kenlm(tmp_path, monkeypatch, content):
    """Also one that has \\data\\ somewhere at its start: it would be mapped into memory and believed."""
    monkeypatch.setattr("kenlm.Model", lambda *_: pytest.fail("KenLM was called"))
    (tmp_path / "lm.arpa").write_bytes(content)
    with pytest.raises(InputError, match=r"lm\.arpa: not an ARPA file") as refused:
        Trigram(tmp_path / "lm.arpa")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "old, new",
    [
        (r"ngram 2=\d+", "ngram 2=99999999999"),
        (r"ngram 2=\d+", "ngram 2=1"),
        (r"ngram 2=\d+", "ngram 2=-1"),
        (r"ngram 2=", "ngram 4="),
        (r"\\2-grams:\n[-.e\d]+", r"\\2-grams:\nnan"),
        (r"\\2-grams:\n[-.e\d]+", r"\\2-grams:\ninf"),
        (r"\\1-grams:\n[-.e\d]+", r"\\1-grams:\n-" + "9" * 5000),
        (r"\\3-grams:\n([-.e\d]+)\t\S+ ", r"\\3-grams:\n\1\t"),
        (r"\\3-grams:", r"\\2-grams:"),
        (r"\\end\\", ""),
    ],
)
def test_an_arpa_that_contradicts_itself_never_reaches_kenlm(arpa, tmp_path, monkeypatch, old, new):
    monkeypatch.setattr("kenlm.Model", lambda *_: pytest.fail("KenLM was called"))
    changed, count = re.subn(old, new, arpa.read_text(encoding="utf-8"), count=1)
    assert count == 1
    (tmp_path / "lm.arpa").write_text(changed, encoding="utf-8")
    with pytest.raises(InputError, match=r"lm\.arpa: truncated or not an ARPA") as refused:
        Trigram(tmp_path / "lm.arpa")
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400


def test_a_small_gz_does_not_fill_the_disk(tmp_path):
    (tmp_path / "lm.arpa.gz").write_bytes(gzip.compress(b"\\data\\\n" + b"\n" * (8 << 20)))
    with pytest.raises(InputError, match="lm.arpa.gz: unpacked more than 200 times as long"):
        Trigram(tmp_path / "lm.arpa.gz")


def test_a_gzipped_arpa_is_read(arpa, tmp_path):
    packed = gzip.compress(arpa.read_bytes())
    (tmp_path / "lm.arpa.gz").write_bytes(packed)
    assert Trigram(tmp_path / "lm.arpa.gz").score(text(8)[:20]).tolist() == Trigram(arpa).score(text(8)[:20]).tolist()
    (tmp_path / "lm.arpa.gz").write_bytes(packed[:-20])
    with pytest.raises(InputError, match="truncated"):
        Trigram(tmp_path / "lm.arpa.gz")


def test_other_writers_arpas_are_read(tmp_path):
    """SRILM's: an empty line first, a space after numbers left out, carriage returns."""
    lines = ["", "\\data\\", "ngram 1=4", "ngram  2=1", "", "\\1-grams:", "-99\t<s>\t-0.3", "-0.5\t</s>", "-.7\t<unk>",
             "-1e-1\ta\t0", "", "\\2-grams:", "-0.25\t<s> a", "", "\\end\\"]  # fmt: skip
    for end in ("\n", "\r\n"):
        (tmp_path / "lm.arpa").write_text(end.join([*lines, ""]), newline="")
        assert Trigram(tmp_path / "lm.arpa", order=2).log_prob(["a"]) == pytest.approx(-0.75 * math.log(10), abs=1e-4)


# --- The command line ------------------------------------------------------------------------------------------------


def call(*argv: object) -> tuple[int, str, str]:
    """Exit status, output and what was said on stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(a) for a in argv])
    return status, out.getvalue(), err.getvalue()


def write_text(path: Path, sentences) -> Path:
    path.write_text("".join(f"{' '.join(s)}\n" for s in sentences), encoding="utf-8")
    return path


def test_a_text_becomes_a_model_that_scores(tmp_path):
    corpus, lm = write_text(tmp_path / "corpus.txt", text(0)), tmp_path / "lm.arpa"
    status, out, err = call("trigram", corpus, "--out", lm, "--prune", 0, 0, 1)
    assert (status, err) == (0, "") and "500 sentences" in out
    estimate(text(0), prune=(0, 0, 1)).write_arpa(tmp_path / "same.arpa")
    assert lm.read_bytes() == (tmp_path / "same.arpa").read_bytes()

    status, out, err = call("score", lm, write_text(tmp_path / "some.txt", [["w1", "w2"], [], ["unseen"]]))
    assert (status, err) == (0, "")
    model, lines = Trigram(lm), [line.split("\t") for line in out.splitlines()]
    scores = model.score([["w1", "w2"], [], ["unseen"]])
    assert [line[2] for line in lines[:3]] == ["w1 w2", "", "unseen"]
    assert [float(line[0]) for line in lines[:3]] == pytest.approx(scores, abs=1e-4)
    assert [float(line[1]) for line in lines[:3]] == pytest.approx(np.exp(-scores / [3, 1, 2]), abs=0.01)
    assert f"total {scores.sum():.4f} nats" in lines[3][0] and "3 sentences, 3 words, 1 of them" in lines[3][0]


def test_of_a_data_set_only_training_captions_are_taken(tmp_path):
    """A CSV, also one called .txt: its captions are tokenised, its dev captions left out."""
    rows = [f'{i}.jpg,"{"A Dog, a CAT!" if i % 2 else "Zebras."}",{"train" if i % 2 else "dev"}' for i in range(9)]
    for name in ("captions.csv", "captions.txt"):
        (tmp_path / name).write_text("\n".join(["image,caption,split", *rows]), encoding="utf-8")
        status, out, err = call("trigram", tmp_path / name, "--out", tmp_path / "lm.arpa", "--discount-fallback")
        assert (status, err) == (0, "") and "4 sentences" in out and "(fallback)" in out
        estimate([["a", "dog", "a", "cat"]] * 4, discount_fallback=FALLBACK).write_arpa(tmp_path / "same.arpa")
        assert (tmp_path / "lm.arpa").read_bytes() == (tmp_path / "same.arpa").read_bytes()


def test_lines_are_split_as_lmplz_splits_them(tmp_path):
    """At space, tab, return and NUL; a no-break space, a form feed or a line separator is part of a word."""
    (tmp_path / "odd.txt").write_bytes('"a\xa0b  c\td\x0c \r\n\n\u2028 e\0f'.encode())
    sentences = [['"a\xa0b', "c", "d\x0c"], [], ["\u2028", "e", "f"]]
    assert call("trigram", tmp_path / "odd.txt", "--out", tmp_path / "lm.arpa", "--discount-fallback")[0] == 0
    estimate(sentences, discount_fallback=FALLBACK).write_arpa(tmp_path / "same.arpa")
    assert (tmp_path / "lm.arpa").read_bytes() == (tmp_path / "same.arpa").read_bytes()
    model = Trigram(tmp_path / "lm.arpa")
    expected = kneser_ney(sentences, fallback=FALLBACK)
    assert model.score(sentences) == pytest.approx([log_prob(expected, 3, s) for s in sentences], abs=1e-4)


def test_mistakes_on_the_command_line_are_one_line(tmp_path, arpa):
    tiny = write_text(tmp_path / "tiny.txt", [["a", "b"]])
    marked = write_text(tmp_path / "marked.txt", [["a"], ["a", "</s>"]])
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"a caf\xe9\n")
    empty = write_text(tmp_path / "empty.txt", [[], []])
    out = ("--out", tmp_path / "no.arpa")
    for says, *argv in (
        ("--discount-fallback", "trigram", tiny, *out),
        ("marked.txt, line 2: the word </s>", "trigram", marked, *out),
        ("line 1: byte 0xe9", "trigram", latin, *out),
        ("empty", "trigram", empty, *out),
        ("does not exist", "trigram", tmp_path / "none.txt", *out),
        ("--out", "trigram", tiny),
        ("prune 0 1 0", "trigram", tiny, *out, "--prune", 0, 1, 0),
        ("not an ARPA file", "score", tiny, tiny),
        ("no such file", "score", arpa, tmp_path / "none.txt"),
        ("</s> cannot stand", "score", arpa, marked),
        ("trigram, score", "trigrams"),
    ):
        status, printed, said = call(*argv)
        assert (status, printed, said.count("\n")) == (1, "", 1) and said.startswith("scnlm: "), said
        assert says in said and "Error" not in said
    assert not (tmp_path / "no.arpa").exists()
    assert call("--version") == (0, f"scnlm {__version__}\n", "")


def test_one_subcommand_alone_is_still_called_by_its_name():
    heard = []

    def only(count: int = 1) -> None:
        heard.append(count)

    command_line.call("scnlm", {"only": only}, ["only", "--count", "2"], {})
    assert heard == [2]


def test_a_text_has_no_photos(tmp_path):
    (tmp_path / "t.txt").write_text("a b\n")
    status, out, err = call("trigram", tmp_path / "t.txt", "--out", tmp_path / "o.arpa", "--images", tmp_path)
    assert (status, out) == (1, "") and "t.txt is a text, which has no photos" in err
    assert not (tmp_path / "o.arpa").exists()
