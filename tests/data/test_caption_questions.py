"""vse.data.caption_questions: what captions say, and when two of them are one answer."""

import numpy as np
import pytest

from vse.data import caption_questions as module
from vse.data.caption_questions import caption_questions, claims
from vse.data.datasets import Dataset
from vse.system.errors import InputError

# Penn tags of the words below, as spaCy has them.
TAGS = {
    "a": "DT", "the": "DT", "two": "CD", "three": "CD", "black": "JJ", "white": "JJ", "brown": "JJ", "red": "JJ",
    "orange": "NN", "small": "JJ", "and": "CC", "dog": "NN", "dogs": "NNS", "man": "NN", "ball": "NN", "tennis": "NN",
    "water": "NN", "shoes": "NNS", "people": "NNS", "with": "IN", "in": "IN", "through": "IN", "is": "VBZ",
    "carries": "VBZ", "carrying": "VBG", "runs": "VBZ", "running": "VBG", "run": "VBP", "sleeps": "VBZ", "gray": "JJ",
    "grey": "JJ", "2": "CD",
}  # fmt: skip


def said(caption):
    words = caption.split()
    return {(about[0], question, answer) for about, question, answer in claims(words, [TAGS[w] for w in words])}


@pytest.mark.parametrize(
    "caption, expected",
    [
        ("a small black dog sleeps", {("color", "what color is the dog?", "black")}),
        ("a man with red tennis shoes", {("color", "what color are the shoes?", "red")}),
        ("a orange ball", {("color", "what color is the ball?", "orange")}),
        ("two small dogs", {("number", "how many dogs are there?", "two")}),
        ("two people", {("number", "how many people are there?", "two")}),
        ("a dog carrying a red tennis ball", {
            ("color", "what color is the ball?", "red"), ("object", "what is the dog carrying?", "ball"),
        }),
        ("the dogs running through the water", {("object", "what are the dogs running through?", "water")}),
        ("a dog is carrying a ball", {("object", "what is the dog carrying?", "ball")}),
        ("a dog carries a ball", {("object", "", "ball")}),
        ("a dog sleeps", set()),
        ("a man is two", set()),
        ("black and white", set()),
    ],
)  # fmt: skip
def test_what_a_caption_says(caption, expected):
    assert said(caption) == expected


def test_two_colors_are_two_answers():
    expected = {("color", "what color is the dog?", color) for color in ("black", "white")}
    assert said("a black and white dog") == said("a black white dog") == expected


def asked(monkeypatch, *photos):
    """The questions about photos, each a list of captions."""
    monkeypatch.setattr(module, "tag_captions", lambda words, *_, **__: [tuple(TAGS[w] for w in one) for one in words])
    images = tuple(f"{i}.jpg" for i in range(len(photos)))
    captions = tuple(caption for photo in photos for caption in photo)
    owner = np.repeat(np.arange(len(photos)), [len(photo) for photo in photos])
    found = caption_questions(Dataset("toy", None, images, ("train",) * len(images), captions, owner))
    return list(zip(found.images, found.kinds, found.texts, found.answers, strict=True))


def test_two_captions_must_agree_and_none_contradict(monkeypatch):
    agree = ["a black dog sleeps", "the black dog runs", "a dog"]
    once = ["a black dog sleeps", "the dog runs"]
    contradict = [*agree, "a brown dog"]
    twice_in_one = ["a black dog and a black dog", "a dog"]
    assert asked(monkeypatch, once, agree, contradict, twice_in_one) == [
        ("1.jpg", "color", "what color is the dog?", "black")
    ]


def test_a_verb_in_another_form_supports_an_answer_but_asks_nothing(monkeypatch):
    found = asked(monkeypatch, ["a dog carries a ball", "the dog carrying a red ball"], ["a dog carries a ball"] * 2)
    assert found == [("0.jpg", "object", "what is the dog carrying?", "ball")]


def test_spellings_of_one_answer_are_one(monkeypatch):
    found = asked(monkeypatch, ["2 grey dogs", "two gray dogs"])
    assert [row[1:] for row in found] == [
        ("color", "what color are the dogs?", "gray"),
        ("number", "how many dogs are there?", "two"),
    ]


def test_captions_that_agree_on_nothing_are_an_error(monkeypatch):
    with pytest.raises(InputError, match="toy: no two captions of a photo give one answer"):
        asked(monkeypatch, ["a black dog"], ["a red ball"])
