"""The trained models of a row of `experiments.ranking`, and the points that they give images and sentences.

Trains nothing: `python -m experiments.ranking NAME` does. Shapes: n images, m sentences, d joint-space dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from experiments.ranking import EXPERIMENTS, features_of
from vse.features.build import Features
from vse.model import VSE
from vse.runs import checkpoint
from vse.system.errors import InputError

RUNS = Path("runs")


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
    found = []
    for member in EXPERIMENTS[name].members or (name,):
        for seed in EXPERIMENTS[member].seeds:
            if not (folder := RUNS / f"{member}-{seed}").is_dir():
                raise InputError(f"{folder}: not there; train it with: python -m experiments.ranking {member}")
        features = features_of(EXPERIMENTS[member])
        found += [Scorer([checkpoint.load(RUNS / f"{member}-{seed}")], [features], seed)
                  for seed in EXPERIMENTS[member].seeds]  # fmt: skip
    if EXPERIMENTS[name].members:
        return [Scorer([s.models[0] for s in found], [s.features[0] for s in found])]
    return found
