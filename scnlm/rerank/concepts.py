"""Content vectors of an image: its own, and bags of concepts, the mean of its nearest sentences or words (supplement).

The bank of training sentences is kept as points only (principal components in 8 bits: 128 numbers a sentence, cosine
0.99 to the exact ones), so that a caption set can be given away without the captions. Shapes: n images,
s sentences, p components, d dimensions of the joint space.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int8
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from scnlm.configs import CONTENTS
from vse.data.vocabulary import SPECIALS
from vse.model import VSE
from vse.system.errors import InputError
from vse.system.files import write_atomically

NEAREST = 5  # N, sentences or words of a bag of concepts (supplement)
NEIGHBOURS = 60  # sentences of the bag that a caption is compared with; chosen on Flickr8K dev
_COMPONENTS = 128
_KEYS = ("codes", "scale", "components", "mean")


@dataclass(frozen=True, eq=False)
class SentenceBank:
    """Points of training sentences: `codes * scale @ components + mean`, scaled to unit norm."""

    codes: Int8[np.ndarray, "s p"]
    scale: Float32[np.ndarray, " p"]
    components: Float32[np.ndarray, "p d"]
    mean: Float32[np.ndarray, " d"]

    @classmethod
    def from_embeddings(cls, embeddings: Float[np.ndarray, "s d"]) -> "SentenceBank":
        """The bank of these sentences. Raises InputError for fewer than a bag of concepts needs."""
        if len(embeddings) < NEAREST:
            raise InputError(f"{len(embeddings)} training sentences: a bag of concepts needs {NEAREST} or more")
        mean = embeddings.mean(0, dtype=np.float64)
        centred = embeddings - mean
        variances, vectors = np.linalg.eigh(centred.T @ centred)
        components = vectors[:, ::-1][:, : min(_COMPONENTS, *embeddings.shape)].T
        projected = centred @ components.T
        scale = np.maximum(np.abs(projected).max(0), 1e-12) / 127
        codes = np.round(projected / scale).astype(np.int8)
        return cls(codes, scale.astype(np.float32), components.astype(np.float32), mean.astype(np.float32))

    def embeddings(self) -> Float32[np.ndarray, "s d"]:
        """The sentences' unit vectors, nearly."""
        return _unit((self.codes * self.scale) @ self.components + self.mean)

    def save(self, path: Path) -> None:
        """Writes safetensors."""
        tensors = {key: np.ascontiguousarray(getattr(self, key)) for key in _KEYS}
        write_atomically(path, lambda p: save_file(tensors, p))

    @classmethod
    def load(cls, path: Path) -> "SentenceBank":
        """Reads what `save` wrote. Raises InputError for anything else."""
        again = "make it with `scnlm assemble`"
        try:
            tensors = load_file(path)
            codes, scale, components, mean = (tensors[key] for key in _KEYS)
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; {again}") from None
        except (SafetensorError, KeyError, OSError, ValueError, TypeError, AttributeError) as error:
            # bfloat16, which NumPy lacks, is a KeyError or an AttributeError, as the version has it.
            raise InputError(f"{path}: not a bank of sentences ({error}); {again}") from None
        for key, type_, axes in (("codes", "int8", 2), ("scale", "float32", 1), ("components", "float32", 2),
                                 ("mean", "float32", 1)):  # fmt: skip
            tensor = tensors[key]
            if tensor.dtype != type_ or tensor.ndim != axes:
                raise InputError(
                    f"{path}: {key} is {tensor.dtype} of {tensor.ndim} axes, expected {type_} of {axes}; {again}"
                )
            if not np.isfinite(tensor).all():
                raise InputError(f"{path}: {key} has a value that is NaN or infinite; {again}")
        sizes = codes.shape[1:] == scale.shape and components.shape == (*scale.shape, *mean.shape)
        if len(codes) < NEAREST or 0 in components.shape or not sizes:
            raise InputError(f"{path}: damaged, its sizes do not fit together; {again}")
        return cls(codes, scale, components, mean)


class Concepts:
    """Maps points of images to content vectors."""

    def __init__(self, encoder: VSE, bank: SentenceBank):
        """Words are the encoder's whole vocabulary. Raises InputError for a bank of another dimension."""
        if bank.components.shape[1] != encoder.config.embed_dim:
            raise InputError(
                f"a bank of {bank.components.shape[1]} dimensions, the encoder has {encoder.config.embed_dim}; "
                "make the set again with `scnlm assemble`"
            )
        words = encoder.vocabulary.tokens[len(SPECIALS) :]
        self._nearest = {"sentences": bank.embeddings(), "words": encoder.encode_texts(words)}

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
    return _unit(points[nearest].mean(1))


def _unit(vectors: np.ndarray) -> Float32[np.ndarray, "n d"]:
    return (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)).astype(np.float32)
