"""PCA, its figure and its labels: the projection by an outside oracle, fixed signs, and nothing covered."""

import builtins
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import rc_context
from PIL import Image

from vse.pages.figure import Panel, draw, place
from vse.pca import Projection, nearest_in_turns, pca, split_words, umap
from vse.system.errors import InputError

pytest.register_assert_rewrite("coloured_shapes")
from coloured_shapes import TINY, call, colour_cnn_in, refused, works  # noqa: E402

pytest_plugins = ["coloured_shapes"]


def unit(rows) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


# --- the projection -------------------------------------------------------------------------------------------


def test_points_on_a_line_have_all_their_variance_on_it():
    got = pca(np.array([[0, 0, 0], [1, 2, 2], [2, 4, 4]], np.float32))
    np.testing.assert_allclose(got.points, [[-3, 0], [0, 0], [3, 0]], atol=1e-6)
    np.testing.assert_allclose(got.explained, [1, 0], atol=1e-12)


def test_the_axes_are_the_eigenvectors_of_the_covariance():
    vectors = unit(np.random.default_rng(0).standard_normal((40, 6)) * [5, 3, 2, 1, 1, 1])
    got = pca(vectors)
    values, directions = np.linalg.eigh(np.cov(vectors.astype(np.float64).T))
    centred = vectors - vectors.astype(np.float64).mean(0)
    for axis in (0, 1):
        direction = directions[:, -1 - axis]
        direction = direction * np.sign(direction[np.abs(direction).argmax()])  # its largest entry is positive
        np.testing.assert_allclose(got.points[:, axis], centred @ direction, atol=1e-6)
        assert got.explained[axis] == pytest.approx(values[-1 - axis] / values.sum())
    assert got.axis_labels()[0] == f"component 1 ({100 * got.explained[0]:.1f} % of the variance)"


def test_the_signs_do_not_depend_on_order_or_copies():
    vectors = unit(np.random.default_rng(1).standard_normal((25, 8)))
    order = np.random.default_rng(2).permutation(25)
    first, shuffled, twice = pca(vectors), pca(vectors[order]), pca(np.concatenate([vectors, vectors]))
    np.testing.assert_allclose(shuffled.points, first.points[order], atol=1e-8)
    np.testing.assert_allclose(twice.points[:25], first.points, atol=1e-8)
    assert np.array_equal(pca(vectors).points, first.points)


def test_what_cannot_be_projected():
    with pytest.raises(InputError, match="2 words and photos: expected at least 3"):
        pca(unit(np.eye(2, 5)))
    with pytest.raises(InputError, match="in one point"):
        pca(unit(np.ones((6, 5))))


def test_photos_are_drawn_in_turns_for_the_words():
    words = np.eye(2, 3, dtype=np.float32)
    images = unit(np.array([[1, 0, 0.1], [1, 0, 0.2], [1, 0, 0.3], [0, 1, 0.5], [1, 1, 0]]))
    assert nearest_in_turns(words, images, 3).tolist() == [0, 3, 1]
    assert sorted(nearest_in_turns(words, images, 99).tolist()) == [0, 1, 2, 3, 4]


def test_a_list_of_words():
    assert split_words(" red, blue,,red ,sky ") == ("red", "blue", "sky")
    with pytest.raises(InputError, match="no word"):
        split_words(" , ")


def test_umap_goes_through_its_library(monkeypatch):
    vectors = unit(np.random.default_rng(3).standard_normal((9, 4)))
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "umap":
            raise ImportError
        return real(name, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "__import__", without)
        with pytest.raises(InputError, match="pip install umap-learn"):
            umap(vectors)

    asked = {}

    class UMAP:
        def __init__(self, **settings):
            asked.update(settings)

        def fit_transform(self, rows):
            return rows[:, :2]

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=UMAP))
    got = umap(vectors, seed=5)
    assert asked["random_state"] == 5 and asked["metric"] == "cosine" and asked["n_neighbors"] == 8
    assert got.explained is None and got.axis_labels() == ("UMAP 1", "UMAP 2")
    with pytest.raises(InputError, match="at least 5"):
        umap(vectors[:4])


# --- places for labels ----------------------------------------------------------------------------------------


def overlaps(centres: np.ndarray, sizes: np.ndarray) -> list[tuple[int, int]]:
    """The pairs of boxes that cover each other; boxes that only touch do not."""
    apart = np.abs(centres[:, None] - centres[None]) - (sizes[:, None] + sizes[None]) / 2
    covering = (apart < -1e-9).all(2)
    return [(int(i), int(j)) for i, j in zip(*np.nonzero(np.triu(covering, 1)), strict=True)]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 25), st.floats(0, 3))
def test_no_box_covers_another_and_none_leaves_the_page(seed, count, spread):
    """Also for points that all coincide (spread 0), the hardest case."""
    draw_ = np.random.default_rng(seed)
    points = 300 + spread * 100 * draw_.uniform(-1, 1, (count, 2))
    sizes = draw_.uniform(10, 60, (count, 2))
    centres = place(points, sizes, np.array([600.0, 600]), gap=1.0)
    assert overlaps(centres, sizes + 0.99) == []
    assert (centres - sizes / 2 >= -1e-9).all() and (centres + sizes / 2 <= 600 + 1e-9).all()


def test_a_free_point_keeps_its_box_and_a_taken_one_moves_little():
    points = np.array([[50.0, 50], [200, 50], [52, 50]])
    sizes = np.full((3, 2), 20.0)
    centres = place(points, sizes, np.array([400.0, 100]))
    assert centres[:2].tolist() == points[:2].tolist()
    moved = np.abs(centres[2] - points[2]).max()
    assert 18 <= moved <= 26
    assert place(points, sizes, np.array([400.0, 100])).tolist() == centres.tolist()


def test_overlaps_are_those_of_all_pairs():
    centres = np.array([[0.0, 0], [10, 0], [5, 5], [100, 100]])
    assert overlaps(centres, np.full((4, 2), 10.0)) == [(0, 2), (1, 2)]  # 0 and 1 only touch


def test_what_does_not_fit_is_said():
    with pytest.raises(InputError, match="no free place"):
        place(np.full((5, 2), 50.0), np.full((5, 2), 60.0), np.array([100.0, 100]))
    with pytest.raises(InputError, match="smaller"):
        place(np.full((1, 2), 50.0), np.array([[300.0, 10]]), np.array([100.0, 100]))


# --- the figure -----------------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path) -> list[Path]:
    paths = []
    for i, size in enumerate([(60, 40), (30, 90), (500, 500), (64, 64)]):
        paths.append(tmp_path / f"{i}.png")
        Image.new("RGB", size, (250, 60 * i, 0)).save(paths[-1])
    return paths


def panel(photos, points=None, **others) -> Panel:
    points = np.random.default_rng(4).standard_normal((6, 2)) if points is None else points
    return Panel("a title", Projection(points, np.array([0.5, 0.25])), ("red", "blue"), photos, **others)


def test_a_figure_is_the_same_file_each_time(photos, tmp_path):
    made = [draw([panel(photos)], tmp_path / name).read_bytes() for name in ("a.png", "b.png")]
    assert made[0] == made[1] and Image.open(tmp_path / "a.png").size[0] == 720
    draw([panel(photos), panel(photos)], tmp_path / "new folder" / "two.jpg")
    assert Image.open(tmp_path / "new folder" / "two.jpg").size[0] == 1440
    text = draw([panel(photos)], tmp_path / "a.svg").read_text()
    assert "50.0 % of the variance" in text or "<svg" in text


@pytest.mark.parametrize("spread, longest", [(1.0, 72), (0.0, 52)])
def test_thumbnails_are_seen_whole(photos, tmp_path, spread, longest):
    """Each photo has its own plain colour: all four are on the page, at their share of the size, also where all points
    coincide and they have to be small to lie near them."""
    corners = np.array([[0, 0], [4, 4], [0, 4], [4, 0], [2, 1], [1, 3]])
    draw([panel(photos, spread * corners)], tmp_path / "a.png")
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"), int)
    for i, (width, height) in enumerate([(1, 2 / 3), (1 / 3, 1), (1, 1), (1, 1)]):
        seen = (np.abs(pixels - [250, 60 * i, 0]).max(2) <= 3).sum()
        assert seen == pytest.approx(longest**2 * width * height, rel=0.08)


def test_dots_stand_for_photos(tmp_path):
    dotted = panel((), groups=("x", "y", "x", "x"))
    draw([dotted], tmp_path / "dots.png", {"x": "#00ff00", "y": "#ff00ff"})
    pixels = np.asarray(Image.open(tmp_path / "dots.png").convert("RGB"), int)
    green, pink = ((np.abs(pixels - ink).max(2) <= 3).sum() for ink in ([0, 255, 0], [255, 0, 255]))
    assert green == pytest.approx(2 * pink, rel=0.1) and pink > 20  # three dots and one, and one each in the legend
    with pytest.raises(InputError, match="6 points for 5"):
        panel((), groups=("x", "y", "x"))


def test_labels_are_labels(tmp_path, capsys):
    """Not formulas, not secrets of the legend, not commands of a terminal; what the font lacks is said in one line."""
    points = Projection(np.random.default_rng(4).standard_normal((6, 2)), np.array([0.5, 0.25]))
    words, groups = ("$dog_$", "a\x1b[2J"), ("_hidden", "$y", "$y", "_hidden")
    with rc_context({"svg.fonttype": "none"}):
        text = draw([Panel("$\\frac$ title", points, words, groups=groups)], tmp_path / "a.svg").read_text()
    for label in ("$\\frac$ title", "_hidden", "$y"):  # words with a halo are outlines
        assert f">{label}<" in text, label
    draw([Panel("", points, ("\u72ac", "\u732b"), groups=groups)], tmp_path / "b.png")
    assert capsys.readouterr().err.splitlines()[-1].endswith("the font lacks 2 characters, drawn as boxes")


def test_names_that_no_figure_has(photos, tmp_path):
    with pytest.raises(InputError, match="a.txt: a figure ends in .png"):
        draw([panel(photos)], tmp_path / "a.txt")


# --- the command line -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def colour_run(world, tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        colour_cnn_in(patch)
        folder = tmp_path_factory.mktemp("pca")
        assert call("features", world.csv, "--out", folder / "f").status == 0
        assert call("train", world.csv, "--features", folder / "f", "--out", folder / "run", *TINY).status == 0
    return folder / "run"


def test_pca_on_the_command_line(world, colour_run, colour_cnn, tmp_path):
    out = tmp_path / "fig.png"
    asked = ("pca", colour_run, "--images", world.photos, "--cache", tmp_path / "cache", "--out")
    assert call(*asked, out, "--words", "red,blue,square").status == 0
    first = out.read_bytes()
    assert works(*asked, out, "--words", "red,blue,square").strip() == str(out)
    assert out.read_bytes() == first and Image.open(out).size[0] == 720
    works(*asked, tmp_path / "few.pdf", "--words", "red", "--photos", 3)
    refused(*asked, out, "--words", "rad,blue", says=("'rad'", "red"))
    refused(*asked, out, "--words", ",", says=("no word",))
    refused(*asked, tmp_path / "fig.txt", "--words", "red", says=("fig.txt", ".png"))
    refused(*asked, out, "--words", "red", "--photos", 0, says=("--photos 0",))
    empty = tmp_path / "empty"
    empty.mkdir()
    refused("pca", colour_run, "--images", empty, "--words", "red", "--out", out, says=("empty", "no photo in it"))
