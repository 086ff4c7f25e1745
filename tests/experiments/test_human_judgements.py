"""Judgements are read, checked and counted as the literature does, and tau is Kendall's by its definition."""

import json
from itertools import combinations

import numpy as np
import pytest

from experiments import RESULTS, find_data, human_judgements
from experiments.judgements import CROWD, EXPERT, Judged, Judgements, check_photos, read_judgements
from scnlm.rerank.score import weighted
from vse.data.datasets import Dataset, read_dataset
from vse.system.errors import InputError

CAPTIONS = [(f"{photo}.jpg#{i}", f"{photo} said {i}") for photo in "abc" for i in range(3)] + [("t.jpg#0", "trained")]
EXPERTS = ["a.jpg\ta.jpg#1\t4\t4\t4", "a.jpg\tb.jpg#0\t1\t2\t1", "b.jpg\tc.jpg#2\t3\t1\t2", "c.jpg\ta.jpg#0\t4\t3\t4"]
CROWDS = ["a.jpg\ta.jpg#1\t1\t3\t0", "a.jpg\tb.jpg#0\t0\t0\t3", "b.jpg\tc.jpg#1\t0.333333333333333\t1\t2",
          "c.jpg\tb.jpg#0\t0.25\t1\t3"]  # fmt: skip


@pytest.fixture
def texts(tmp_path):
    lines = {"Flickr8k.token.txt": ["\t".join(pair) for pair in CAPTIONS], EXPERT: EXPERTS, CROWD: CROWDS}
    for name, own in lines.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in own), encoding="utf-8")
    return tmp_path


@pytest.fixture
def dataset():
    photos = tuple(f"{photo}.jpg" for photo in "abct")
    owner = np.array([photos.index(caption_id[:5]) for caption_id, _ in CAPTIONS])
    texts = tuple(text for _, text in CAPTIONS)
    return Dataset("flickr8k", None, photos, ("test", "test", "test", "train"), texts, owner)


def tau(scores, ratings, variant: str) -> float:
    """Kendall's tau from its definition: concordant minus discordant pairs, over what each variant divides by."""
    n, m = len(scores), min(len(set(scores)), len(set(ratings)))
    pairs = list(combinations(range(n), 2))
    signs = [np.sign((scores[i] - scores[j]) * (ratings[i] - ratings[j])) for i, j in pairs]
    if variant == "c":
        return 100 * sum(signs) / (n * n * (m - 1) / (2 * m))
    untied = [sum(v[i] != v[j] for i, j in pairs) for v in (scores, ratings)]
    return 100 * sum(signs) / np.sqrt(untied[0] * untied[1])


def test_each_rating_is_a_judgement_and_own_captions_are_left_out_of_the_experts_list(texts, dataset):
    judged = Judged(dataset, texts)
    assert judged.counts() == {"expert": 9, "crowd": 4, "crowd_others": 3}
    assert judged.photos_in == {key: {"train": 0, "dev": 0, "test": 3} for key in ("expert", "crowd")}
    scores = {"expert": np.array([0.1, 0.7, 0.7]), "crowd": np.array([0.9, 0.2, 0.4, 0.4])}
    repeated, ratings = [0.1] * 3 + [0.7] * 6, [1, 2, 1, 3, 1, 2, 4, 3, 4]
    found = judged.agreement(scores)
    assert found["expert"] == pytest.approx(tau(repeated, ratings, "c"))
    assert found["crowd"] == pytest.approx(tau([0.9, 0.2, 0.4, 0.4], [1, 0, 1 / 3, 0.25], "b"))
    assert found["crowd_others"] == pytest.approx(tau([0.2, 0.4, 0.4], [0, 1 / 3, 0.25], "b"))


def test_a_caption_that_is_judged_is_no_reference_of_its_photo(texts, dataset):
    judged = Judged(dataset, texts)
    names = [[judged.caption_ids[c] for c in own] for own in judged.references("crowd")]
    assert names[0] == names[1] == ["a.jpg#0", "a.jpg#2"]  # a.jpg#1 is judged with a.jpg
    assert names[2] == ["b.jpg#0", "b.jpg#1", "b.jpg#2"]
    assert all(len(own) == 3 for own in judged.references("expert"))  # there the photos' own are left out


class Given:
    """A scorer of given points."""

    seed = 0

    def __init__(self, images, texts):
        self._points = images, texts

    def images(self, names):
        return self._points[0]

    def texts(self, texts):
        return self._points[1]


def test_cosines_and_references_are_those_of_the_pairs(texts, dataset):
    judged = Judged(dataset, texts)
    points = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    scorer = Given(points[:3], points[3:])  # a, b, c; their nine captions
    image, text = dict(zip("abc", points[:3], strict=True)), dict(zip(judged.caption_ids, points[3:], strict=True))
    pairs = [("a", "b.jpg#0"), ("b", "c.jpg#2"), ("c", "a.jpg#0")]
    expected = [image[photo] @ text[caption] for photo, caption in pairs]
    np.testing.assert_allclose(human_judgements.cosines(judged, scorer)["expert"], expected, rtol=1e-5)
    with_references = []
    for (photo, caption), to_photo in zip(pairs, expected, strict=True):
        nearest = max(text[caption] @ text[f"{photo}.jpg#{i}"] for i in range(3))
        with_references.append(2 / (1 / max(to_photo, 1e-6) + 1 / max(nearest, 1e-6)))
    got = human_judgements.referenced(judged, scorer)["expert"]
    np.testing.assert_allclose(got, with_references, rtol=1e-4)


def test_the_row_of_photo_and_concepts_is_their_sum():
    parts = np.array([[0.5, 0.25, 2, -30.0, 9, 0.0, 0.0, 0.0, 0.0]])
    assert weighted(parts, human_judgements.SCORES["concepts"][1]) == pytest.approx([0.75])
    assert weighted(parts, human_judgements.SCORES["trigram"][1]) != pytest.approx([0.75])


@pytest.mark.parametrize(
    ("name", "line", "says"),
    [
        (EXPERT, "z.jpg\ta.jpg#0\t1\t1\t1", "unknown photo 'z.jpg'.*Flickr8k.token.txt"),
        (EXPERT, "a.jpg\ta.jpg#7\t1\t1\t1", "unknown caption 'a.jpg#7'.*NAME.jpg#0"),
        (CROWD, "a.jpg\tz.jpg#0\t0\t0\t3", "unknown caption 'z.jpg#0'"),
        (EXPERT, "a.jpg\tc.jpg#0\t1\t5\t1", "1 5 1.*from 1 to 4"),
        (EXPERT, "a.jpg\tc.jpg#0\t1\tx\t1", "1 x 1.*three numbers"),
        (EXPERT, "a.jpg c.jpg#0 1 1 1", "1 columns"),
        (CROWD, "a.jpg\tc.jpg#0\t0.5\t0\t3", "0.5 0 3.*share of yes"),
        (CROWD, "a.jpg\tc.jpg#0\tnan\t0\t0", "nan 0 0.*share of yes"),
        (EXPERT, EXPERTS[1], "judged twice"),
    ],
)
def test_a_line_that_is_no_judgement_is_named(texts, name, line, says):
    with open(texts / name, "a", encoding="utf-8") as file:
        file.write(f"{line}\n")
    with pytest.raises(InputError, match=f"{name}, line 5: .*{says}"):
        read_judgements(texts / name, dict(CAPTIONS))


def test_an_empty_or_missing_list_is_refused(texts):
    (texts / EXPERT).write_text("\n")
    with pytest.raises(InputError, match=f"{EXPERT}: is empty"):
        read_judgements(texts / EXPERT, dict(CAPTIONS))
    (texts / CROWD).unlink()
    with pytest.raises(InputError, match=CROWD):
        read_judgements(texts / CROWD, dict(CAPTIONS))


@pytest.mark.parametrize("pair", [("t.jpg", "a.jpg#0"), ("a.jpg", "t.jpg#0")])
def test_a_judged_photo_or_caption_of_training_is_refused(dataset, pair):
    judgements = Judgements((pair[0],), (pair[1],), np.ones((1, 3)))
    with pytest.raises(InputError, match="t.jpg is judged, but in split train; expected test"):
        check_photos(judgements, dataset)


def test_flickr8k_has_the_judgements_of_the_literature_and_all_are_of_test_photos():
    try:
        folder = find_data("flickr8k")
        judged = Judged(read_dataset(folder), folder / "Flickr8k_text")
    except InputError as error:
        pytest.skip(f"Flickr8K is not there ({error})")
    assert judged.lists["expert"].ratings.shape == (5664, 3)
    assert judged.counts() == {"expert": 16992, "crowd": 47830, "crowd_others": 47109}
    assert all(own == {"train": 0, "dev": 0, "test": 1000} for own in judged.photos_in.values())
    assert {len(own) for own in judged.references("expert")} == {5}
    assert min(len(own) for own in judged.references("crowd")) >= 1


def test_the_committed_rows_are_of_these_judgements_and_the_metrics_agree_with_the_printed_ones():
    rows = {path.stem[6:]: json.loads(path.read_text()) for path in RESULTS.glob("human-*.json")}
    assert rows, "run: python -m experiments.human_judgements"
    for name, row in rows.items():
        assert row["judgements"] == {"expert": 16992, "crowd": 47830, "crowd_others": 47109}, name
        assert all(own["train"] == own["dev"] == 0 for own in row["judged_photos_in"].values()), name
    printed = {"bleu4": (30.8, 16.9), "meteor": (41.8, 22.2), "cider": (43.9, 24.6)}
    for metric, (expert, crowd) in printed.items():
        figures = rows[metric]["tau"]
        assert figures["expert"]["mean"] == pytest.approx(expert, abs=0.15)
        assert figures["crowd"]["mean"] == pytest.approx(crowd, abs=0.15)
