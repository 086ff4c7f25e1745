"""vse.regularities: the paper's arithmetic, its order and its errors; and what experiments/regularities counts.

The model is a stand-in whose space is colour (red, green, blue) and shape: exact answers can be worked out by hand.
"""

import json
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.regularities import __main__ as flickr
from experiments.regularities import methods
from experiments.regularities import scenes as on_scenes
from experiments.regularities.queries import QUERIES, names
from vse.data.vocabulary import Vocabulary, tokenize
from vse.regularities import analogy, arithmetic, by_mean_distance, check_known, embed_words, nearest
from vse.scenes.scenes import Scene, sample_scenes
from vse.search.index import Index
from vse.system.errors import InputError

pytest.register_assert_rewrite("coloured_shapes")
from coloured_shapes import TINY, call, colour_cnn_in, contents, refused, works  # noqa: E402

pytest_plugins = ["coloured_shapes"]

WORDS = {"red": (1, 0, 0, 0), "green": (0, 1, 0, 0), "blue": (0, 0, 1, 0), "wide": (0, 0, 0, 1)}
INKS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def unit(rows) -> np.ndarray:
    rows = np.atleast_2d(np.array(rows, np.float64))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class ColourModel:
    """A photo is its mean colour, and wider than high or not; a sentence the sum of its words."""

    fingerprint = "colours-1"

    def __init__(self):
        self.vocabulary = Vocabulary.from_captions([" ".join(WORDS)])
        self.encoded: list[str] = []

    def encode_images(self, paths) -> np.ndarray:
        self.encoded += [Path(path).name for path in paths]
        rows = []
        for path in paths:
            picture = Image.open(path).convert("RGB")
            rows.append([*np.asarray(picture, float).mean((0, 1)) / 255, float(picture.width > picture.height)])
        return unit(rows)

    def encode_texts(self, texts) -> np.ndarray:
        if not texts:
            return np.empty((0, 4), np.float32)
        return unit([np.sum([WORDS[w] for w in tokenize(t)], axis=0) for t in texts])


@pytest.fixture
def album(tmp_path) -> Path:
    """Six photos: each colour once wide, once high."""
    folder = tmp_path / "album"
    folder.mkdir()
    for colour, ink in INKS.items():
        Image.new("RGB", (12, 8), ink).save(folder / f"{colour}-wide.png")
        Image.new("RGB", (8, 12), ink).save(folder / f"{colour}-high.png")
    return folder


def found(*args, **kwargs) -> list[str]:
    return [hit.name for hit in arithmetic(*args, **kwargs).hits]


def test_the_formula_of_the_paper():
    """(q - w_neg + w_pos) . x / |...|, from loops in float64."""
    draw = np.random.default_rng(0)
    q, minus, plus, xs = (unit(draw.standard_normal((n, 7))) for n in (1, 2, 3, 9))
    total = [q[0][j] - sum(float(w[j]) for w in minus) + sum(float(w[j]) for w in plus) for j in range(7)]
    length = sum(t * t for t in total) ** 0.5
    expected = [sum(t * float(x[j]) for j, t in enumerate(total)) / length for x in xs]
    scores, ids = nearest(Index(xs, list("abcdefghi")), analogy(q[0], minus, plus), k=9)
    assert ids.tolist() == np.argsort(expected)[::-1].tolist()
    np.testing.assert_allclose(scores, sorted(expected, reverse=True), atol=1e-6)


@pytest.mark.parametrize("start, goal", [(a, b) for a in INKS for b in INKS if a != b])
@pytest.mark.parametrize("form", ["wide", "high"])
def test_a_colour_is_changed_and_the_form_kept(album, start, goal, form):
    photo = album / f"{start}-{form}.png"
    assert found(ColourModel(), album, photo, [start], [goal], k=1) == [f"{goal}-{form}.png"]


def test_several_words_on_each_side(album):
    got = found(ColourModel(), album, album / "blue-wide.png", ["blue", "wide"], ["red"], k=2)
    assert got[0] == "red-high.png"
    got = found(ColourModel(), album, album / "blue-high.png", ["blue"], ["red", "wide"], k=1)
    assert got == ["red-wide.png"]


def test_only_adding_or_only_taking_away(album):
    model = ColourModel()
    assert found(model, album, album / "red-high.png", plus=["wide"], k=1) == ["red-wide.png"]
    assert "wide" not in found(model, album, album / "red-wide.png", minus=["wide"], k=1)[0]
    with pytest.raises(InputError, match="--minus blue --plus red"):
        arithmetic(model, album, album / "red-high.png")


def test_the_photo_itself_is_no_answer_but_a_copy_elsewhere_is_asked_of_all(album, tmp_path):
    photo = album / "red-wide.png"
    got = found(ColourModel(), album, photo, ["wide"], ["wide", "red"], k=6)
    assert photo.name not in got and len(got) == 5
    copy = tmp_path / "mine.png"
    copy.write_bytes(photo.read_bytes())
    assert photo.name in found(ColourModel(), album, copy, [], ["red"], k=6)
    link = tmp_path / "link.png"
    link.symlink_to(photo)
    assert photo.name not in found(ColourModel(), album, link, [], ["red"], k=6)


def test_fewer_photos_than_k_gives_all_of_them(album):
    result = arithmetic(ColourModel(), album, album / "red-wide.png", ["red"], ["blue"], k=50, rerank=60)
    assert len(result.hits) == 5 and [hit.rank for hit in result.hits] == [1, 2, 3, 4, 5]


def test_the_index_of_the_folder_is_the_one_that_search_keeps(album):
    from vse.search.queries import search_images

    model = ColourModel()
    search_images(model, album, "red")
    model.encoded.clear()
    assert arithmetic(model, album, album / "red-wide.png", ["red"], ["blue"]).encoded == 0
    assert model.encoded == []  # not even the photo that is asked about, which is one of them


def test_reranking_pushes_an_outlier_down():
    """Of the four nearest the nearest one is alone; the others lie together: it becomes the last."""
    group = [(0.80, 0.60, 0.0), (0.80, 0.59, 0.05), (0.80, 0.60, 0.05)]
    vectors = unit([(0.9, -0.3, 0.0), *group, (-1, 0, 0)])
    index, query = Index(vectors, list("oabcz")), unit((1, 0, 0))[0]
    assert nearest(index, query, 4)[1][0] == 0
    scores, ids = nearest(index, query, 4, rerank=4)
    assert ids[-1] == 0 and set(ids[:3].tolist()) == {1, 2, 3}
    np.testing.assert_allclose(scores, vectors[ids] @ query, atol=1e-6)  # still the cosines to the query
    assert 0 not in nearest(index, query, 3, rerank=4)[1]
    assert set(nearest(index, query, 2, rerank=3, without=[1])[1].tolist()) == {2, 3}


def test_the_mean_distance_is_that_of_all_pairs():
    vectors = unit(np.random.default_rng(3).standard_normal((12, 5)))
    means = [np.mean([1 - float(a.astype(float) @ b.astype(float)) for b in vectors]) for a in vectors]
    assert by_mean_distance(vectors).tolist() == np.argsort(means).tolist()
    same = unit(np.ones((4, 3)))
    assert by_mean_distance(same).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "k, rerank, says", [(0, 0, "k = 0"), (-1, 0, "k = -1"), (4, 3, "rerank = 3"), (4, -2, "rerank = -2")]
)
def test_wrong_numbers_are_refused(album, k, rerank, says):
    with pytest.raises(InputError, match=says):
        arithmetic(ColourModel(), album, album / "red-wide.png", ["red"], ["blue"], k=k, rerank=rerank)


def test_an_unknown_word_is_named_with_near_ones():
    vocabulary = Vocabulary.from_captions(["red blue green purple a"])
    with pytest.raises(InputError, match="'bleu'.*blue"):
        check_known(vocabulary, "bleu")
    with pytest.raises(InputError, match="'zzzz'.*another word"):
        check_known(vocabulary, "zzzz")
    with pytest.raises(InputError, match="'purpel'.*purple"):
        check_known(vocabulary, "red purpel")
    with pytest.raises(InputError, match="no word in it"):
        check_known(vocabulary, "?!")
    with pytest.raises(InputError, match="'unk'"):
        check_known(vocabulary, "<unk>")
    check_known(vocabulary, "Red")
    with pytest.raises(InputError, match="'bleu'.*blue"):
        embed_words(ColourModel(), ["red", "bleu"])
    assert embed_words(ColourModel(), ["red", "blue"]).tolist() == [[1, 0, 0, 0], [0, 0, 1, 0]]


def test_folders_and_photos_that_cannot_be_used(album, tmp_path):
    model, photo = ColourModel(), album / "red-wide.png"
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="empty: no photo in it"):
        arithmetic(model, empty, photo, plus=["red"])
    with pytest.raises(InputError, match="nowhere: not a folder"):
        arithmetic(model, tmp_path / "nowhere", photo, plus=["red"])
    with pytest.raises(InputError, match="no such photo"):
        arithmetic(model, album, tmp_path / "none.png", plus=["red"])
    (empty / "only.png").write_bytes(photo.read_bytes())
    with pytest.raises(InputError, match="but only.png itself"):
        arithmetic(model, empty, empty / "only.png", plus=["red"])
    with pytest.raises(InputError, match="cancel"):
        arithmetic(model, album, album / "red-high.png", minus=["red"])


# --- the command line ---------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def colour_run(world, tmp_path_factory) -> Path:
    """A run whose CNN is ColourNet, so that photos can be encoded."""
    with pytest.MonkeyPatch.context() as patch:
        colour_cnn_in(patch)
        folder = tmp_path_factory.mktemp("regularities")
        assert call("features", world.csv, "--out", folder / "f").status == 0
        command = ("train", world.csv, "--features", folder / "f", "--out", folder / "run", "--recipe", "linear")
        assert call(*command, *TINY).status == 0
    return folder / "run"


def test_arithmetic_on_the_command_line(world, colour_run, colour_cnn, tmp_path):
    photo, page = world.photos / "blue_square.png", tmp_path / "page.html"
    asked = ("arithmetic", colour_run, "--images", world.photos, photo, "--minus", "blue", "--plus", "red")
    cache = ("--cache", tmp_path / "cache")
    first = call(*asked, *cache, "-k", 4)
    lines = re.findall(r"^ *(\d)  +(-?\d\.\d+)  (\S+)$", first.out, re.M)
    assert first.status == 0 and [rank for rank, *_ in lines] == list("1234")
    assert photo.name not in first.out
    said = works(*asked, *cache, "-k", 3, "--rerank", 10, "--html", page)
    assert said.splitlines()[-1] == str(page)
    text = page.read_text()
    assert text.count("<img") == 4 and "“blue”" in text and "“red”" in text
    assert "smallest mean distance" in text
    rows = [json.loads(line) for line in works(*asked, *cache, "--json").splitlines()]
    assert [row["name"] for row in rows] == [name for *_, name in lines]
    many = call(*asked, *cache, "-k", 99)
    assert many.status == 0 and len(many.out.splitlines()) == 31 and "31 other photos" in many.err[0]
    assert contents(tmp_path / "cache")
    several = works(*asked, "square", "--minus", "blue", "circle", *cache)
    assert len(several.splitlines()) == 4


def test_mistakes_on_the_command_line_are_one_line(world, colour_run, colour_cnn, tmp_path):
    photo = world.photos / "blue_square.png"
    start = ("arithmetic", colour_run, photo, "--cache", tmp_path / "cache", "--images")
    refused(*start, world.photos, "--minus", "bleu", says=("'bleu'", "blue"))
    refused(*start, world.photos, says=("--minus blue --plus red",))
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(*start, empty, "--plus", "red", says=("empty", "no photo in it"))
    refused(*start, world.photos, "--plus", "red", "-k", 0, says=("-k 0", "1 or more"))
    refused(*start, world.photos, "--plus", "red", "--rerank", 2, says=("rerank = 2", "k = 4"))


# --- what the experiment counts ------------------------------------------------------------------------------


def ideal_space(truth: list[Scene]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A space in which arithmetic is exact: a direction of its own for each word, a picture the sum of its words."""
    words = sorted({w for s in truth for a in on_scenes.CHANGES for w in on_scenes._words(s, a)})
    directions = dict(zip(words, np.eye(len(words), dtype=np.float32), strict=True))
    of = [sum(directions[w] for a in on_scenes.CHANGES for w in on_scenes._words(s, a)) for s in truth]
    # Words of the length that they have inside a picture: then a picture - word + word is the other picture exactly.
    return unit(of), directions


def test_changes_are_all_pairs_of_scenes_that_differ_in_one_attribute():
    truth = sample_scenes(seed=0, count=120)
    asked = on_scenes.changes(truth)
    pairs = {
        (i, j) for a, b in combinations(range(len(truth)), 2) for i, j in ((a, b), (b, a))
        if sum(getattr(truth[i], x) != getattr(truth[j], x) for x in ("thing", "colour", "weather", "place")) == 1
    }  # fmt: skip
    assert {(c.picture, c.right[0]) for c in asked} == pairs and len(asked) == len(pairs)
    assert sum(c.attribute == "colour" for c in asked) == 120 * 4  # whole families of five colours
    for c in asked:
        assert not set(c.minus) & set(c.plus) and c.minus and c.plus


def test_an_ideal_space_is_right_everywhere_and_the_baselines_are_not():
    truth = sample_scenes(seed=0, count=200)
    images, words = ideal_space(truth)
    judged = on_scenes.judge_scenes(images, truth, words)
    for attribute in on_scenes.CHANGES:
        row = judged[attribute]
        assert row["arithmetic"]["changed"] > 90 and row["arithmetic"]["kept"] > 90
        assert row["arithmetic"]["top1"] > 90 > row["image"]["top1"] and row["word"]["top1"] < 50
        assert row["chance"]["top1"] == pytest.approx(100 / 199)
        assert row["chance"]["top4"] == pytest.approx(400 / 199)


def test_four_pictures_of_a_scene_are_all_found():
    truth = [scene for scene in sample_scenes(seed=0, count=50) for _ in range(4)]
    judged = on_scenes.judge_scenes(*(lambda s: (s[0], truth, s[1]))(ideal_space(truth)))
    row = judged["colour"]
    assert row["queries"] == 200 and row["chance"]["top1"] == pytest.approx(100 * 4 / 199)
    assert row["arithmetic"]["all4"] == row["arithmetic"]["top4"] == row["arithmetic"]["top1"] == 100


def test_top_others_is_nearest_for_many():
    draw = np.random.default_rng(1)
    images, queries = unit(draw.standard_normal((40, 6))), unit(draw.standard_normal((5, 6)))
    index, own = Index(images, [str(i) for i in range(40)]), [3, 9, 0, 39, 7]
    for rerank in (False, True):
        got = methods.top_others(index, images, queries, own, rerank)
        for row, query, i in zip(got, queries, own, strict=True):
            wanted = nearest(index, query, 4, rerank=methods.RERANKED if rerank else 0, without=[i])[1]
            assert row.tolist() == wanted.tolist()


def test_the_published_list():
    assert len(QUERIES) == len(set(QUERIES)) >= 40
    assert {q.category for q in QUERIES} == {"colours", "animals", "clothes", "places", "weather"}
    assert all(len({q.kept, q.removed, q.added}) == 3 for q in QUERIES)


def test_captions_name_a_word_or_another_form_of_it():
    assert names({"dogs"}, "dog") and names({"dresses"}, "dress") and names({"snowy"}, "snow")
    assert not names({"hotdog"}, "dog") and not names(set(), "dog") and not names({"t"}, "shirt")


def test_right_photos_name_the_added_and_the_kept_word(monkeypatch):
    monkeypatch.setattr(flickr, "QUERIES", (flickr.Query("colours", "dog", "black", "white"),))
    captions = ["a black dog", "it runs", "two white dogs", "a white cat", "a black and white dog"]
    (asked,) = flickr.analogies_of(captions, np.array([0, 0, 1, 2, 3]), 4)
    assert asked.start == (0,) and asked.right.tolist() == [False, True, False, True]
    images = unit([(1, 0, 0.1), (0, 1, 0.1), (0, 1, -1), (1, 1, 0)])
    words = {"black": np.eye(3, dtype=np.float32)[0], "white": np.eye(3, dtype=np.float32)[1]}
    monkeypatch.setattr(methods, "TOP", 1)
    monkeypatch.setattr(methods, "RERANKED", 2)
    judged = flickr.judge_flickr(images, [asked], words)
    assert judged["arithmetic"] == [[100.0]] and judged["chance"] == [[pytest.approx(200 / 3)]]


def test_an_interval_holds_the_mean_and_narrows_with_more_queries():
    values = np.random.default_rng(0).normal(50, 10, (3, 400))
    few, many = flickr._interval(values[:, :25]), flickr._interval(values)
    assert few["low"] < few["mean"] < few["high"]
    assert many["high"] - many["low"] < few["high"] - few["low"]
    assert flickr._interval(values) == many


def test_the_tables_show_the_results_as_they_are():
    from experiments.regularities.tables import flickr_rows, scene_rows

    judged = {"colour": {"queries": 1234, "chance": {"top1": 0.1, "top4": 0.4}}}
    judged["colour"] |= {method: {"top1": 10.0 + i, "top4": 50.0} for i, method in enumerate(methods.METHODS)}
    rows = [{"encoder": e, "about": e, "seed": 0, "gallery": "g", "judged": judged} for e in ("linear", "other")]
    header, lines = scene_rows({"pictures": {"g": 1000}, "rows": rows}, "g")
    assert header == ["1,000 pictures", "colour (1,234)"] and lines[0] == ["chance", "0.1 / 0.4"]
    assert [line[1] for line in lines[1:]] == [f"{top}.0 / 50.0" for top in (10, 11, 12, 13, 12)]

    share = {"all": {"mean": 34.26, "sd": 0.2, "low": 27.1, "high": 42.3}, "weather": {"mean": 19.0}}
    rows = [{"encoder": "linear", "method": method, "categories": share} for method in ("chance", *methods.METHODS)]
    header, lines = flickr_rows({"queries": [0] * 61, "rows": rows + rows})
    assert header[0].startswith("61 queries") and len(lines) == 1 + 2 * len(methods.METHODS)
    assert lines[3][1:] == ["34.3 [27.1, 42.3]", "19.0"]
