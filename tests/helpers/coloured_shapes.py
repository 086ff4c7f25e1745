"""A world of 32 little photos for the command line's tests: shapes in colours, captions, features by hand.

A pytest plugin: a test file names it in `pytest_plugins`. Everything is driven through `vse.__main__.main`.
"""

import contextlib
import io
import itertools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from vse.__main__ import main
from vse.features import extractor as feature_extractor
from vse.features.networks import CNN, Preprocessing
from vse.search import kept_index

COLOURS = {
    "red": (220, 30, 30), "green": (30, 180, 40), "blue": (30, 50, 220), "yellow": (230, 220, 40),
    "black": (20, 20, 20), "grey": (128, 128, 128), "orange": (250, 140, 20), "purple": (130, 30, 150),
}  # fmt: skip
SHAPES = ("circle", "square", "bar", "frame")
TINY = (
    "--epochs", 3, "--batch-size", 20, "--device", "cpu",
    "--model.embed-dim", 8, "--model.text.word-dim", 6, "--model.text.hidden", 6,
)  # fmt: skip


@dataclass(frozen=True)
class Said:
    """What a call of the command line left: its exit status, its output, the lines of stderr but progress bars."""

    status: int
    out: str
    err: list[str]


def call(*argv: object) -> Said:
    """One call of the command line, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(a) for a in argv])
    lines = [line.rsplit("\r", 1)[-1].strip() for line in err.getvalue().split("\n")]
    return Said(status, out.getvalue(), [line for line in lines if line and not re.search(r"\d+%\|", line)])


def works(*argv: object) -> str:
    """The output of a call that must succeed without a word on stderr."""
    said = call(*argv)
    assert (said.status, said.err) == (0, [])
    return said.out


def refused(*argv: object, says: tuple[str, ...], keeps: Path | None = None) -> str:
    """The one line of a call that must fail, with all of `says` in it and the folder `keeps` left as it was."""
    before = contents(keeps) if keeps else {}
    said = call(*argv)
    assert said.status == 1 and len(said.err) == 1 and said.err[0].startswith("vse: "), said
    assert "Traceback" not in said.err[0] and not re.search(r"\w+Error", said.err[0]), said.err[0]
    for part in says:
        assert str(part) in said.err[0]
    assert not keeps or contents(keeps) == before
    return said.err[0]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def draw(colour: str, shape: str) -> Image.Image:
    """A 48 x 36 picture of a shape."""
    picture = Image.new("RGB", (48, 36), "white")
    pen, ink = ImageDraw.Draw(picture), COLOURS[colour]
    if shape == "circle":
        pen.ellipse((12, 6, 36, 30), fill=ink)
    elif shape == "square":
        pen.rectangle((2, 2, 26, 26), fill=ink)
    elif shape == "bar":
        pen.rectangle((0, 24, 47, 35), fill=ink)
    else:
        pen.rectangle((0, 0, 47, 35), outline=ink, width=6)
    return picture


def write_table(path: Path, rows: list[tuple[str, str, str]]) -> Path:
    """A caption CSV of (image, caption, split)."""
    path.write_text("image,caption,split\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows), encoding="utf-8")
    return path


def mean_colours(path: Path) -> np.ndarray:
    """(12,): the mean colour of each quarter of a photo, around 0."""
    pixels = np.asarray(Image.open(path).convert("RGB"), np.float32) / 127.5 - 1
    h, w = pixels.shape[0] // 2, pixels.shape[1] // 2
    quarters = (pixels[:h, :w], pixels[:h, w:], pixels[h:, :w], pixels[h:, w:])
    return np.concatenate([q.mean((0, 1)) for q in quarters])


def write_matrix(path: Path, array: np.ndarray, names: list[str]) -> Path:
    """A user's own features: X.npy with X.txt beside it."""
    np.save(path, array)
    path.with_suffix(".txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return path


@dataclass(frozen=True)
class World:
    """Where the tiny data set lies; nothing may change it."""

    photos: Path
    csv: Path
    rows: list[tuple[str, str, str]]  # of the CSV
    names: list[str]
    array: np.ndarray  # (32, 12) of mean_colours
    matrix: Path

    def of_split(self, split: str) -> list[str]:
        return list(dict.fromkeys(name for name, _, s in self.rows if s == split))


@pytest.fixture(scope="session", autouse=True)
def user_cache(tmp_path_factory):
    """Indexes of the tests' photos do not go into the cache folder of whoever runs them."""
    folder = tmp_path_factory.mktemp("user cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept_index, "user_cache", lambda program: folder / program)
        yield folder


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> World:
    """32 photos, 22 / 5 / 5, two or three captions each."""
    folder = tmp_path_factory.mktemp("shapes")
    photos = folder / "images"
    photos.mkdir()
    things = list(itertools.product(COLOURS, SHAPES))
    order = np.random.default_rng(0).permutation(len(things))
    rows = []
    for place, i in enumerate(order):
        colour, shape = things[i]
        name, split = f"{colour}_{shape}.png", "train" if place < 22 else "dev" if place < 27 else "test"
        draw(colour, shape).save(photos / name)
        texts = [f"a {colour} {shape}", f"the {shape} is {colour}", f"{colour} {shape} on white"][: 2 + i % 2]
        rows += [(name, text, split) for text in texts]
    names = [f"{colour}_{shape}.png" for colour, shape in things]
    array = np.stack([mean_colours(photos / name) for name in names])
    matrix = write_matrix(folder / "colours.npy", array, names)
    return World(photos, write_table(folder / "shapes.csv", rows), rows, names, array, matrix)


@pytest.fixture(scope="session")
def run(world, tmp_path_factory) -> Path:
    """A finished run of the tiny paper recipe on the matrix of mean colours; nothing may change it."""
    out = tmp_path_factory.mktemp("runs") / "paper"
    assert call("train", world.csv, "--features", world.matrix, "--out", out, *TINY).status == 0
    return out


class ColourNet(torch.nn.Module):
    """A CNN of no weights: the mean colours of 4 x 4 fields."""

    def map(self, x):
        return torch.nn.functional.avg_pool2d(x, 8)

    def vector(self, x):
        return self.map(x).mean((2, 3))


def colour_cnn_in(patch: pytest.MonkeyPatch) -> None:
    """Makes every encoder ColourNet; what a real one gives is test_networks.py's."""

    def load(name, weights=None, seed=0):
        look = Preprocessing(32, (127.0,) * 3, (128.0,) * 3)
        return CNN(name, ColourNet(), look, feature_dim=3, map_size=4, map_dim=3, source="a test")

    patch.setattr(feature_extractor, "load_cnn", load)


@pytest.fixture
def colour_cnn(monkeypatch):
    colour_cnn_in(monkeypatch)
