"""The figures of captions are pycocoevalcap's own, with Java and without."""

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from experiments import find_data
from experiments.caption_metrics import (
    METRICS,
    evaluate_captions,
    has_java,
    per_image_captions,
    score_captions,
    tokenize,
)
from vse.data.datasets import read_dataset
from vse.system.errors import InputError

needs_java = pytest.mark.skipif(not has_java(), reason="needs Java, which is not found here")

REFERENCES = [
    ["A dog is running through the grass .", "The brown dog runs fast.", "A hound (brown) sprints"],
    ["Two kids play in a café.", "Children playing at the coffee-shop; it's sunny"],
    ["A man's red bike", "red bicycle", "He rides!", "the man rides his bicycle , quickly"],
    ["mountain view"],
    ["..."],
]
CAPTIONS = [
    "A brown dog runs through grass.",
    "two children are playing in a café",
    "a man riding a bike",
    "",
    "a bird",
]
# What pycocoevalcap 1.2's PTBTokenizer, Bleu, Meteor, Rouge and Cider gave for them.
CORPUS = {
    "bleu1": 75.0,
    "bleu2": 48.41229182,
    "bleu3": 33.93022020,
    "bleu4": 0.00456435,
    "meteor": 33.44788325,
    "rouge_l": 36.99363893,
    "cider": 86.24117768,
}
IMAGES = {
    "bleu1": [100, 85.71428570, 60, 0, 0],
    "bleu2": [63.24555323, 53.45224837, 38.72983346, 0, 0],
    "bleu3": [46.41588832, 38.51713570, 0.00036840, 0, 0],
    "bleu4": [0.00759836, 0.00614788, 0.00000126, 0, 0],
    "meteor": [34.68546890, 84.70588235, 26.38942423, 0, 0],
    "rouge_l": [62.56410256, 62.40409207, 60, 0, 0],
    "cider": [181.84390352, 180.48301752, 68.87896734, 0, 0],
}
ODD = [
    'He said "hi" -- it\'s OK... yes; no: what? 5/6 t-shirt',
    "A dog (big) runs",
    "gonna cannot don't",
    "it cost $5.00 & 50% #1",
    "a girl's and two girls' toys , [x] {y}",
    "a line\nand another\u2028and\x0bmore",
    "",
    " . ",
    "Café",
    "",
]


@pytest.fixture
def no_java(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def a_java(folder, script: str):
    """Puts a program named java into a folder."""
    (folder / "java").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "java").chmod(0o755)


@needs_java
def test_every_figure_is_that_of_pycocoevalcap(capfd):
    """Different numbers of references, an empty caption, a reference without a word; and nothing is printed."""
    corpus, images = score_captions(REFERENCES, CAPTIONS)
    assert tuple(corpus) == METRICS and corpus == pytest.approx(CORPUS, abs=1e-7)
    assert images.keys() == IMAGES.keys()
    for name, own in IMAGES.items():
        np.testing.assert_allclose(images[name], own, rtol=0, atol=1e-7, err_msg=name)
    assert capfd.readouterr() == ("", "")


def test_without_java_all_but_meteor_is_the_same_and_one_line_says_so(no_java, capfd):
    corpus, images = evaluate_captions(REFERENCES, CAPTIONS), per_image_captions(REFERENCES, CAPTIONS)
    out, err = capfd.readouterr()
    assert out == "" and len(err.splitlines()) == 2 and "METEOR" in err.splitlines()[0]
    assert corpus.pop("meteor") is images.pop("meteor") is None
    assert corpus == pytest.approx({name: CORPUS[name] for name in corpus}, abs=1e-7)
    for name, own in images.items():
        np.testing.assert_allclose(own, IMAGES[name], rtol=0, atol=1e-7, err_msg=name)


def test_a_caption_that_is_its_reference_has_the_best_figures(no_java):
    references = [["a dog runs on the beach"], ["Two red boats sail away ."]]
    corpus, images = score_captions(references, ["A dog runs on the beach.", "two red boats sail away"])
    assert [corpus[name] for name in METRICS if name != "meteor"] == pytest.approx([100] * 5 + [1000])
    assert images["rouge_l"].tolist() == [100, 100] and images["cider"] == pytest.approx([1000, 1000])


@needs_java
def test_tokens_are_those_of_pycocoevalcap():
    lines = [{"caption": " ".join(text.split())} for text in ODD]
    assert tokenize(ODD, java=True) == PTBTokenizer().tokenize({0: lines})[0]
    assert tokenize(ODD, java=False) == tokenize(ODD, java=True)


def test_punctuation_is_left_out_as_pycocoevalcap_leaves_it_out():
    kept = ["he said hi it 's ok yes no what 5/6 t-shirt", "a dog -lrb- big -rrb- runs"]  # brackets stay
    assert tokenize(ODD[:2], java=False) == kept


@needs_java
def test_people_have_the_same_bleu_with_both_tokenizers():
    """The first caption of each Flickr8K test image against its other four."""
    try:
        dataset = read_dataset(find_data("flickr8k")).split("test")
    except InputError as error:
        pytest.skip(f"Flickr8K is not there ({error})")
    own = [np.flatnonzero(dataset.image_of_caption == i) for i in range(len(dataset.images))]
    bleus = []
    for java in (True, False):
        words = tokenize(dataset.captions, java)
        expected = {i: [words[j] for j in captions[1:]] for i, captions in enumerate(own)}
        given = {i: [words[captions[0]]] for i, captions in enumerate(own)}
        bleu, _ = Bleu(4).compute_score(expected, given, verbose=0)
        bleus.append(100 * np.array(bleu))
    assert np.abs(bleus[0] - bleus[1]).max() < 0.1
    assert bleus[0] == pytest.approx([63.64, 44.58, 30.55, 20.95], abs=0.01)


@pytest.mark.parametrize(
    ("references", "captions", "says"),
    [
        ([], [], "0 captions"),
        ([["a"]], ["a", "b"], "2 captions, 1 images"),
        ([["a"], []], ["a", "b"], "image 1 has no references"),
        (["a dog"], ["a"], "image 0 has no references"),
    ],
)
def test_captions_of_no_use_are_refused(references, captions, says):
    with pytest.raises(InputError, match=says):
        evaluate_captions(references, captions)


def test_a_java_that_is_only_a_hint_is_none(no_java):
    assert not has_java()
    a_java(no_java, "echo 'No Java runtime present, requesting install.' >&2; exit 1")
    assert not has_java()


COPY_OR = 'case "$*" in *corenlp*) while read -r line; do echo "$line"; done;; *)'  # a tokenizer, but METEOR ...


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo 'Could not reserve enough space' >&2; exit 1", "corenlp.*Could not reserve enough space"),
        ("exit 134", "corenlp.*134 .it said nothing"),
        ("echo one line", "1 lines of 4 captions"),
        (f"{COPY_OR} exit 3;; esac", "meteor.*stopped with 3"),
        (f"{COPY_OR} echo odd;; esac", "METEOR scored 0 of 2"),
    ],
)
def test_a_java_program_that_fails_is_said_in_one_line(script, says, no_java):
    a_java(no_java, f'[ "$1" = -version ] && exit 0\n{script}')
    with pytest.raises(InputError, match=says) as refused:
        evaluate_captions([["a dog"], ["a cat"]], ["a dog", "a cat"])
    assert "\n" not in str(refused.value)


@needs_java
def test_java_reads_utf8_whatever_the_locale(monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    assert tokenize(["Café 日本 1.5"], java=True) == ["café 日本 1.5"]
