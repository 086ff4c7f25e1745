"""Points of the joint space kept small: principal components in 8 bits, 128 numbers a point, cosine 0.99 to the exact.

So that a model can be given away with what it knows of its training sentences and photos, without these themselves.
Shapes: n points, p components, d dimensions of the joint space.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int8

from vse.system.errors import InputError

_COMPONENTS = 128
_FORM = {"codes": ("int8", 2), "scale": ("float32", 1), "components": ("float32", 2), "mean": ("float32", 1)}


@dataclass(frozen=True, eq=False)
class Points:
    """Unit vectors, nearly: `codes * scale @ components + mean`, scaled to unit norm."""

    codes: Int8[np.ndarray, "n p"]
    scale: Float32[np.ndarray, " p"]
    components: Float32[np.ndarray, "p d"]
    mean: Float32[np.ndarray, " d"]

    @classmethod
    def from_embeddings(cls, embeddings: Float[np.ndarray, "n d"]) -> "Points":
        """The points of these unit vectors. Raises InputError for none."""
        if not len(embeddings):
            raise InputError("no embeddings to keep: expected at least one")
        mean = embeddings.mean(0, dtype=np.float64)
        centred = embeddings - mean
        variances, vectors = np.linalg.eigh(centred.T @ centred)
        components = vectors[:, ::-1][:, : min(_COMPONENTS, *embeddings.shape)].T
        projected = centred @ components.T
        scale = np.maximum(np.abs(projected).max(0), 1e-12) / 127
        codes = np.round(projected / scale).astype(np.int8)
        return cls(codes, scale.astype(np.float32), components.astype(np.float32), mean.astype(np.float32))

    def embeddings(self) -> Float32[np.ndarray, "n d"]:
        """The unit vectors, nearly."""
        return unit((self.codes * self.scale) @ self.components + self.mean)

    @property
    def dim(self) -> int:
        """The dimension of the space."""
        return len(self.mean)

    def tensors(self, prefix: str = "") -> dict[str, np.ndarray]:
        """What a file keeps."""
        return {prefix + key: np.ascontiguousarray(getattr(self, key)) for key in _FORM}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray], path: Path, way_out: str, prefix: str = "") -> "Points":
        """What `tensors` gave. Raises InputError with the file's path and the way out for anything else."""
        if missing := [prefix + key for key in _FORM if prefix + key not in tensors]:
            raise InputError(f"{path}: {missing[0]!r} is missing; {way_out}")
        parts = {key: tensors[prefix + key] for key in _FORM}
        for key, (kind, axes) in _FORM.items():
            if parts[key].dtype != kind or parts[key].ndim != axes:
                held = f"{parts[key].dtype} of {parts[key].ndim} axes"
                raise InputError(f"{path}: {prefix}{key} is {held}, expected {kind} of {axes}; {way_out}")
            if not np.isfinite(parts[key]).all():
                raise InputError(f"{path}: {prefix}{key} has a value that is NaN or infinite; {way_out}")
        codes, scale, components, mean = parts.values()
        fit = codes.shape[1:] == scale.shape and components.shape == (*scale.shape, *mean.shape)
        if not len(codes) or 0 in components.shape or not fit:
            raise InputError(f"{path}: damaged, its sizes do not fit together; {way_out}")
        return cls(**parts)


def unit(vectors: Float[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
    """The rows scaled to unit norm; a row of zeros stays."""
    return (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)).astype(np.float32)
