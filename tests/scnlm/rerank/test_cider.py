"""CIDEr is pycocoevalcap's, caption by caption, on captions of every odd kind and on those of people."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocoevalcap.cider.cider import Cider as Pycocoevalcap

from experiments import find_data
from scnlm.rerank.cider import Cider
from vse.data.datasets import read_dataset
from vse.data.vocabulary import tokenize
from vse.system.errors import InputError


def theirs(references, captions) -> tuple[float, np.ndarray]:
    """pycocoevalcap's score of the corpus and of each image, for one caption an image."""
    expected = {i: [" ".join(tokens) for tokens in own] for i, own in enumerate(references)}
    return Pycocoevalcap().compute_score(expected, {i: [" ".join(own)] for i, own in enumerate(captions)})


def agree(references, candidates):
    """Candidates: images x c x tokens, the same c for every image."""
    cider = Cider(references)
    ours = np.array([cider.scores(i, own) for i, own in enumerate(candidates)])
    for c in range(ours.shape[1]):
        corpus, images = theirs(references, [own[c] for own in candidates])
        np.testing.assert_allclose(ours[:, c], images, rtol=0, atol=1e-9)
        assert ours[:, c].mean() == pytest.approx(corpus, abs=1e-9)
    return ours


def sentence(words: str, most: int):
    return st.lists(st.sampled_from(words), max_size=most)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_small_corpus_scores_as_in_pycocoevalcap(data):
    """Repeated and unseen n-grams, n-grams of all images, empty sentences, different numbers of references."""
    some = st.lists(st.lists(sentence("abcd", 8), min_size=1, max_size=4), min_size=1, max_size=6)
    references = data.draw(some.filter(lambda images: any(map(any, images))))
    candidates = data.draw(st.lists(sentence("abcdxy", 12), min_size=3, max_size=3))
    agree(references, [candidates] * len(references))


@pytest.mark.parametrize("seed", range(4))
def test_a_random_corpus_scores_as_in_pycocoevalcap(seed):
    draw = np.random.default_rng(seed)

    def sentences(count: int, words: int) -> list[list[str]]:
        return [[f"w{w}" for w in draw.zipf(1.4, n) % words] for n in draw.integers(0, 16, count)]

    references = [sentences(draw.integers(1, 6), 40) for _ in range(60)]
    scores = agree(references, [sentences(4, 60) for _ in references])
    assert 0.01 < scores.mean() < scores.max() < 10


@pytest.fixture(scope="module")
def people() -> list[list[list[str]]]:
    """The five captions of each Flickr8K test image."""
    try:
        dataset = read_dataset(find_data("flickr8k")).split("test")
    except InputError as error:
        pytest.skip(f"Flickr8K is not there ({error})")
    captions = [[] for _ in dataset.images]
    for text, image in zip(dataset.captions, dataset.image_of_caption, strict=True):
        captions[image].append(tokenize(text))
    return captions


def test_captions_of_people_score_as_in_pycocoevalcap(people):
    """The first caption of each image against its other four, and that of the image after it."""
    first = [own[0] for own in people]
    scores = agree([own[1:] for own in people], list(zip(first, first[1:] + first[:1], strict=True)))
    assert scores.mean(0)[0] == pytest.approx(0.7925, abs=1e-4) and scores.mean(0)[1] < 0.05


def test_a_thousand_candidates_take_no_time(people):
    """At least ten times as fast as pycocoevalcap's loops (70 times when this was written)."""
    candidates = [tokens for own in people for tokens in own][:1000]
    cider, ours = Cider(people), []
    for _ in range(3):
        start = time.perf_counter()
        cider.scores(0, candidates)
        ours.append(time.perf_counter() - start)
    start = time.perf_counter()
    theirs([people[i % 1000] for i in range(1000)], candidates)
    assert min(ours) * 10 < time.perf_counter() - start


REFERENCES = [[["a", "dog", "runs", "fast"]], [["a", "red", "boat", "sails", "away"], ["the", "boat"]]]


def test_references_without_a_word_give_zero():
    assert Cider([[[]], [[], []]]).scores(1, [["a"], []]).tolist() == [0, 0]  # pycocoevalcap cannot


def test_a_reference_itself_scores_ten_and_strangers_zero():
    scores = Cider(REFERENCES).scores(0, [["a", "dog", "runs", "fast"], ["the", "boat"], ["a"], [], ["new"]])
    assert scores.tolist() == pytest.approx([10, 0, 0, 0, 0])  # "a" is in all images: it says nothing


def test_a_score_does_not_depend_on_its_neighbours_or_on_the_order_of_references():
    candidates = [["dog", "dog"], ["new", "dog"], ["dog", "new", "new", "new"], ["newer", "new", "dog"], ["boat"]]
    cider, turned = Cider(REFERENCES), Cider([own[::-1] for own in REFERENCES])
    for image in range(2):
        together = cider.scores(image, candidates)
        assert together.tolist() == [cider.scores(image, [own])[0] for own in candidates]
        assert together.tolist() == pytest.approx(turned.scores(image, candidates[::-1])[::-1])
    assert cider.scores(0, []).shape == (0,)


@pytest.mark.parametrize(
    ("references", "says"),
    [([], "no images"), ([[["a"]], []], "image 1 has no references"), (["a dog"], "image 0"), ([["a dog"]], "'a dog'")],
)
def test_references_of_no_use_are_refused(references, says):
    with pytest.raises(InputError, match=says):
        Cider(references)


@pytest.mark.parametrize(("image", "candidates"), [(2, [["a"]]), (-1, [["a"]]), (0, [["a"], "a dog"])])
def test_candidates_of_no_use_are_refused(image, candidates):
    with pytest.raises(InputError, match=rf"image {image}: there are references of 2 images|sentence 1, 'a dog'"):
        Cider(REFERENCES).scores(image, candidates)
