"""vse.zero_shot: classes from sentences equal retrieval with these sentences, whatever the order they come in."""

import numpy as np
import pytest
import torch

from vse.data.vocabulary import Vocabulary
from vse.encoders.text import TextConfig
from vse.model import TEMPERATURE, VSE, VSEConfig
from vse.system.errors import InputError
from vse.zero_shot import NAME_ALONE, TEMPLATES, ZeroShot, check_templates, read_labels, sentence

LABELS = ("dog", "ball", "orange boat", "house")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    words = Vocabulary.from_captions(["a dog a ball the orange boat a house photo of there is an"])
    return VSE(VSEConfig(embed_dim=6, text=TextConfig(encoder="gru", word_dim=5, hidden=6)), words, 12)


def photos(count=7, dim=6):
    vectors = np.random.default_rng(0).standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_a_class_is_the_unit_mean_of_its_unit_sentences(model):
    classifier = ZeroShot(model, LABELS, ["a {}", "a photo of a {}"])
    for label, ours in zip(LABELS, classifier.vectors, strict=True):
        article = "an" if label.startswith("o") else "a"
        vectors = model.encode_texts([f"{article} {label}", f"a photo of {article} {label}"]).astype(np.float64)
        mean = vectors.mean(0) / np.linalg.norm(vectors.mean(0))
        assert ours == pytest.approx(mean, abs=1e-6)


def test_one_template_is_retrieval_with_these_captions(model):
    classifier = ZeroShot(model, LABELS, NAME_ALONE)
    assert classifier.scores(photos()) == pytest.approx(photos() @ model.encode_texts(LABELS).T, abs=1e-6)


def test_the_order_of_labels_and_templates_does_not_matter(model):
    there, back = ZeroShot(model, LABELS), ZeroShot(model, LABELS[::-1], TEMPLATES[::-1])
    assert back.probabilities(photos())[:, ::-1] == pytest.approx(there.probabilities(photos()), abs=1e-6)
    named = [[c.labels[i] for i in row] for c in (there, back) for row in c.ranked(photos())]
    assert named[:7] == named[7:]


def test_probabilities_are_the_softmax_of_the_scaled_cosines(model):
    classifier = ZeroShot(model, LABELS, scale=12.0)
    probabilities = classifier.probabilities(photos())
    powers = np.exp(12.0 * classifier.scores(photos()).astype(np.float64))
    assert probabilities == pytest.approx(powers / powers.sum(1, keepdims=True), abs=1e-9)
    assert ZeroShot(model, LABELS).scale == 1 / TEMPERATURE
    assert np.isfinite(ZeroShot(model, LABELS, scale=1e6).probabilities(photos())).all()


def test_of_equals_the_first_named(model):
    classifier = ZeroShot(model, LABELS)
    classifier.vectors = np.tile(classifier.vectors[:1], (4, 1))
    assert classifier.ranked(photos(1)).tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize(
    "template, label, expected",
    [("a {}", "dog", "a dog"), ("a {}", "apple", "an apple"), ("A {}", "Owl", "An Owl"), ("the {}", "owl", "the owl"),
     ("a photo of a {}", "egg", "a photo of an egg"), ("{}", "owl", "owl")],
)  # fmt: skip
def test_articles(template, label, expected):
    assert sentence(template, label) == expected


@pytest.mark.parametrize("wrong", ["", "a dog", "{} {}", "{0}", "{label}", "{", "{!r}"])
def test_templates_without_a_place_for_the_label(wrong):
    with pytest.raises(InputError, match="expected one {}"):
        check_templates(["a {}", wrong])
    with pytest.raises(InputError, match="no templates"):
        check_templates([])


@pytest.mark.parametrize(
    "labels, says",
    [(["dog"], "1 label: expected two"), ([], "0 labels"), (["dog", " "], "label 2 of 2 is empty"),
     (["dog", "ball", " dog"], "'dog' comes twice"), (["dog", "bal"], "'bal': the model does not know"),
     (["dog", "!!"], "no word in it")],
)  # fmt: skip
def test_labels_that_cannot_be_asked_for(model, labels, says):
    with pytest.raises(InputError, match=says):
        ZeroShot(model, labels)


def test_labels_come_as_a_list_or_a_file(tmp_path):
    file = tmp_path / "labels.txt"
    file.write_text("dog\norange boat\n")
    assert read_labels("dog,ball") == ["dog", "ball"] and read_labels(str(file)) == ["dog", "orange boat"]
    with pytest.raises(InputError, match="no such file"):
        read_labels(str(tmp_path / "none.txt"))
