"""Photos as square pictures of bytes, for a model that learns from pixels: whole ones, and crops for training.

Axes: n photos, s side in pixels.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from vse.configs import PixelConfig
from vse.data.datasets import Dataset
from vse.data.photos import read_photo
from vse.features._torchvision import import_torchvision
from vse.features.store import Features

Picture = UInt8[np.ndarray, "s s 3"]


@dataclass(frozen=True)
class PhotoFiles:
    """The photos of a data set by name, where features stand otherwise: `take` gives their paths."""

    root: Path

    @classmethod
    def of(cls, dataset: Dataset) -> "PhotoFiles":
        """Raises InputError where the data set has captions only."""
        return cls(dataset.path(0).parents[len(Path(dataset.images[0]).parts) - 1])

    def take(self, names: Sequence[str]) -> list[Path]:
        """The files of these photos."""
        return [self.root / name for name in names]


Photos = Features | PhotoFiles  # what `take` gives a model to encode, by the names of photos


def whole_picture(photo: Image.Image, size: int) -> Picture:
    """The middle square of the photo."""
    side = min(photo.size)
    left, top = (photo.width - side) // 2, (photo.height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(photo.resize((size, size), Image.Resampling.BICUBIC, box))


def training_picture(photo: Image.Image, config: PixelConfig, seed: int) -> Picture:
    """A random square crop, mirrored or not, its colours changed; a pure function of photo, config and seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return np.asarray(_augmentation(config)(photo))


@cache
def _augmentation(config: PixelConfig):
    """What happens to a training photo, by torchvision.transforms.v2."""
    import_torchvision()
    from torchvision.transforms import v2

    cubic = v2.InterpolationMode.BICUBIC  # as `whole_picture`
    steps = [v2.RandomResizedCrop(config.size, (config.crop, 1.0), (1.0, 1.0), cubic)]
    if config.flip:
        steps.append(v2.RandomHorizontalFlip())
    if config.jitter:
        steps.append(v2.ColorJitter(config.jitter, config.jitter, config.jitter))
    return v2.Compose(steps)


def read_pictures(paths: Sequence[str | Path], size: int) -> UInt8[np.ndarray, "n s s 3"]:
    """The whole pictures of photo files, decoded by several threads. Raises BadPhoto for the first unreadable one."""

    def read(path: str | Path) -> Picture:
        return whole_picture(read_photo(path, 3 * size), size)

    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        return np.stack(list(pool.map(read, paths))) if paths else np.empty((0, size, size, 3), np.uint8)
