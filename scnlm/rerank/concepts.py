"""Content vectors of an image: its own, and bags of concepts, the mean of its nearest sentences or words (supplement).

The bank of training sentences is kept as points only (see vse/search/points.py), so that a caption set can be given
away without the captions. Shapes: n images, s sentences, d dimensions of the joint space.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from scnlm.configs import CONTENTS
from vse.model import VSE
from vse.search.points import Points, unit
from vse.system.errors import InputError
from vse.system.files import write_atomically

NEAREST = 5  # N, sentences or words of a bag of concepts (supplement)
NEIGHBOURS = 60  # sentences of the bag that a caption is compared with; chosen on Flickr8K dev
_AGAIN = "make it with `scnlm assemble`"


class SentenceBank(Points):
    """Points of training sentences, enough for a bag of concepts."""

    @classmethod
    def from_embeddings(cls, embeddings: Float[np.ndarray, "s d"]) -> "SentenceBank":
        """The bank of these sentences. Raises InputError for fewer than a bag of concepts needs."""
        if len(embeddings) < NEAREST:
            raise InputError(f"{len(embeddings)} training sentences: a bag of concepts needs {NEAREST} or more")
        return super().from_embeddings(embeddings)

    def save(self, path: Path) -> None:
        """Writes safetensors."""
        write_atomically(path, lambda p: save_file(self.tensors(), p))

    @classmethod
    def load(cls, path: Path) -> "SentenceBank":
        """Reads what `save` wrote. Raises InputError for anything else."""
        try:
            bank = cls.from_tensors(load_file(path), path, _AGAIN)
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; {_AGAIN}") from None
        except (SafetensorError, KeyError, OSError, ValueError, TypeError, AttributeError) as error:
            # bfloat16, which NumPy lacks, is a KeyError or an AttributeError, as the version has it.
            raise InputError(f"{path}: not a bank of sentences ({error}); {_AGAIN}") from None
        if len(bank.codes) < NEAREST:
            raise InputError(f"{path}: damaged, {len(bank.codes)} sentences, expected {NEAREST} or more; {_AGAIN}")
        return bank


class Concepts:
    """Maps points of images to content vectors."""

    def __init__(self, encoder: VSE, bank: SentenceBank):
        """Words are the encoder's whole vocabulary. Raises InputError for a bank of another dimension."""
        if bank.dim != encoder.config.embed_dim:
            raise InputError(
                f"a bank of {bank.dim} dimensions, the encoder has {encoder.config.embed_dim}; "
                "make the set again with `scnlm assemble`"
            )
        words = encoder.encode_texts(encoder.vocabulary.words)
        self._nearest = {"sentences": bank.embeddings(), "words": words}

    def contents(
        self, images: Float32[np.ndarray, "n d"], kinds: Sequence[str] = CONTENTS
    ) -> Float32[np.ndarray, "n kinds d"]:
        """Unit content vectors of each image, in the order of `kinds`."""
        points = [images if kind == "image" else _bag(images, self._nearest[kind], NEAREST) for kind in kinds]
        return np.stack(points, 1)

    def bags(self, images: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
        """What a caption of each image is compared with beside the image: the mean of its NEIGHBOURS sentences."""
        return _bag(images, self._nearest["sentences"], NEIGHBOURS)


def _bag(images: np.ndarray, points: np.ndarray, count: int) -> np.ndarray:
    """The mean of the `count` points nearest to each image (all where there are fewer), scaled to unit norm."""
    nearest = np.argpartition(-(images @ points.T), min(count, len(points)) - 1, axis=1)[:, :count]
    return unit(points[nearest].mean(1))
