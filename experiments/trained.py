"""The trained models of a row of `experiments.ranking`, and the points that they give images and sentences.

Trains nothing: `python -m experiments.ranking NAME` does. Shapes: n images, m sentences, d joint-space dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from experiments.ranking import trained
from experiments.rows import EXPERIMENTS
from vse.features.store import Features
from vse.model import VSE
from vse.system.errors import InputError


@dataclass(frozen=True, eq=False)
class Scorer:
    """What scores an image and a sentence: one model, or several whose mean score counts."""

    models: list[VSE]
    features: list[Features]  # of each model
    seed: int | None = None  # None: an ensemble

    def images(self, names: Sequence[str]) -> Float[np.ndarray, "n d"]:
        """Unit vectors of images by name; those of several models stand side by side."""
        pairs = zip(self.models, self.features, strict=True)
        return self._joined([model.encode_images(features.take(names)) for model, features in pairs])

    def texts(self, texts: Sequence[str]) -> Float[np.ndarray, "m d"]:
        """Unit vectors of sentences, in the space of `images`."""
        return self._joined([model.encode_texts(texts) for model in self.models])

    def _joined(self, blocks: list[np.ndarray]) -> np.ndarray:
        return np.hstack(blocks) * np.float32(len(blocks) ** -0.5)


def scorers(name: str) -> list[Scorer]:
    """One scorer a seed of the row `name`, or the one of an ensemble. Raises InputError where a run is not there."""
    if name not in EXPERIMENTS:
        raise InputError(f"{name}: no such row; expected one of {', '.join(EXPERIMENTS)}")
    experiment = EXPERIMENTS[name]
    models, features = trained(experiment.members or (name,))
    if experiment.members:
        return [Scorer(models, features)]
    return [Scorer([m], [f], seed) for m, f, seed in zip(models, features, experiment.seeds, strict=True)]
