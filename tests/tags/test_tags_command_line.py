"""`vse tags`, and `vse train --recipe ernie` with a file of tags and without one."""

import json

import pytest
from coloured_shapes import SHAPES, TINY, contents, refused, works

from vse.tags import nouns

pytest_plugins = ["coloured_shapes"]


@pytest.fixture(autouse=True)
def tagged_by_a_list(monkeypatch):
    """Shapes are nouns; what spaCy says is another file's test."""
    monkeypatch.setattr(
        nouns, "tag_captions",
        lambda sentences, *_, **__: [tuple("NOUN" if word in SHAPES else "X" for word in s) for s in sentences],
    )  # fmt: skip


@pytest.fixture
def two_views(world, colour_cnn, tmp_path):
    """Features of the photos and of their mirror images."""
    works("features", world.csv, "--out", tmp_path / "features", "--views", "full", "full-flip")
    return tmp_path / "features"


def train(world, matrix, out):
    options = ("--recipe", "ernie", "--views.tags", 0.5, "--model.image.heads", 3)
    return ("train", world.csv, "--features", matrix, "--out", out, *TINY, *options)


def test_tags_are_written_shown_and_learned_from(world, two_views, tmp_path):
    file = tmp_path / "tags.txt"
    said = works("tags", world.csv, "--features", two_views, "--out", file)
    assert "32 photos" in said and f"--recipe ernie --tags {file}" in said
    lines = dict(line.split("\t") for line in file.read_text().splitlines())
    assert set(lines) == set(world.names) and set(", ".join(lines.values()).split(", ")) <= set(SHAPES)
    works(*train(world, two_views, tmp_path / "from file"), "--tags", file)
    works(*train(world, two_views, tmp_path / "from features"))
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("from file", "from features")]
    assert weights[0] == weights[1]
    config = json.loads((tmp_path / "from file" / "config.json").read_text())
    assert config["train"]["views"]["image_image"] > 0 and len(config["tags"]) == 16


def test_what_does_not_go_together_is_one_line(world, two_views, tmp_path):
    out, file = tmp_path / "run", tmp_path / "tags.txt"
    works("tags", world.csv, "--features", two_views, "--out", file)
    other = tmp_path / "other.txt"
    other.write_text(file.read_text() + "zebra.jpg\tzebra\n")
    fewer = tmp_path / "fewer.txt"
    fewer.write_text("".join(file.read_text().splitlines(True)[:5]))
    call = train(world, two_views, out)
    for options, says in (
        (("--tags", tmp_path / "no.txt"), ("no.txt", "no such file", "vse tags DATA")),
        (("--tags", other), (other, "line 33", "zebra.jpg")),
        (("--tags", fewer), ("has no tags", "of 22 photos")),
        (("--views.tags", 0, "--tags", file), ("views.tags = 0", "given tags")),
        (("--views.tags", 2), ("views.tags = 2.0",)),
        (("--model.text.dropout", 0, "--model.text.word-dropout", 0), ("two passes", "model.text.dropout")),
        (("--views.image-text", 0, "--views.second-image-text", 0, "--views.image-image", 0, "--views.text-text", 0),
         ("all weights are 0",)),
    ):  # fmt: skip
        refused(*call, *options, says=says, keeps=tmp_path)
    refused(*train(world, world.matrix, out), says=("two crops", "one view", "--views"), keeps=tmp_path)
    refused(
        "tags", world.csv, "--features", world.matrix, "--out", file, "--tagger", "imagenet", says=("efficientnet",)
    )
    assert not out.exists() or not contents(out)
