"""A caption set for the world of coloured shapes, made by the command line alone, and that command line itself.

A pytest plugin beside coloured_shapes: a test file names both in `pytest_plugins`. Captions are tagged by a list.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import coloured_shapes
import pytest
from coloured_shapes import COLOURS, SHAPES, TINY, Said, colour_cnn_in, contents

import scnlm.train
from scnlm.__main__ import main

TAG_OF = {**dict.fromkeys(COLOURS, "ADJ"), **dict.fromkeys((*SHAPES, "white"), "NOUN")}
TAG_OF |= {"a": "DET", "the": "DET", "is": "AUX", "on": "ADP"}
PLAIN = ("--average", 0, "--model.text.dropout", 0, "--model.text.word-dropout", 0, "--model.image.dropout", 0)
TINY_LM = (
    "--epochs", 6, "--batch-size", 5, "--learning-rate", 0.02, "--warmup-steps", 5, "--precision", "float32",
    "--min-count", 1, "--content-noise", 0.3, "--device", "cpu", "--lm.word-dim", 12, "--lm.num-factors", 12,
    "--lm.gate-dim", 24, "--lm.tag-dim", 6, "--lm.context", 3,
)  # fmt: skip
FEW = ("--candidates", 40)


def call(*argv: object) -> Said:
    """One call of `scnlm` in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coloured_shapes, "main", main)
        return coloured_shapes.call(*argv)


def works(*argv: object) -> str:
    """The output of a call that must succeed without a word on stderr."""
    said = call(*argv)
    assert (said.status, said.err) == (0, [])
    return said.out


def refused(*argv: object, says: tuple, keeps: Path | None = None) -> str:
    """The one line of a call that must fail, with all of `says` in it and the folder `keeps` left as it was."""
    before = contents(keeps) if keeps else {}
    said = call(*argv)
    assert said.status == 1 and len(said.err) == 1 and said.err[0].startswith("scnlm: "), said
    assert all(line.startswith("precision: ") for line in said.out.splitlines())
    assert not re.search(r"Traceback|\w+Error", said.err[0]), said
    for part in says:
        assert str(part) in said.err[0]
    assert not keeps or contents(keeps) == before
    return said.err[0]


def tag(sentences, *_, **__):
    """A tag a word, as spaCy would but by a list."""
    return [tuple(TAG_OF.get(word, "X") for word in words) for words in sentences]


@dataclass(frozen=True)
class Parts:
    """What a caption set is made of, and the set; nothing may change them."""

    features: Path
    encoder: Path
    decoder: Path
    trigram: Path
    set: Path
    said: Said  # what assembling it left

    def assemble(self, csv: Path, out: Path, **changes: object) -> tuple:
        """The arguments that make a set of these parts, with other options where `changes` has them."""
        options = {"features": self.features, "encoder": self.encoder, "decoder": self.decoder,
                   "trigram": self.trigram, "out": out, "candidates": 40} | changes  # fmt: skip
        named = [(f"--{key.replace('_', '-')}", value) for key, value in options.items()]
        return ("assemble", csv, *(word for pair in named for word in pair))


@pytest.fixture(scope="session")
def parts(world, tmp_path_factory) -> Parts:
    """A finished set on features of ColourNet, and its parts."""
    folder = tmp_path_factory.mktemp("captions")
    made = Parts(*(folder / name for name in ("f", "vse", "scnlm", "trigram.arpa", "set")), Said(0, "", []))
    with pytest.MonkeyPatch.context() as patch:
        colour_cnn_in(patch)
        assert coloured_shapes.call("features", world.csv, "--out", made.features, "--grid", "2").status == 0
        coloured_shapes.works(
            "train", world.csv, "--features", made.features, "--out", made.encoder, "--recipe", "linear", *TINY, *PLAIN,
            "--warmup-steps", 0, "--epochs", 15, "--batch-size", 10, "--learning-rate", 0.03,
        )  # fmt: skip
        patch.setattr(scnlm.train, "tag_captions", tag)
        works("train", world.csv, "--encoder", made.encoder, "--out", made.decoder, *TINY_LM)
        works("trigram", world.csv, "--out", made.trigram, "--discount-fallback")
        said = call(*made.assemble(world.csv, made.set))
    return Parts(made.features, made.encoder, made.decoder, made.trigram, made.set, said)
