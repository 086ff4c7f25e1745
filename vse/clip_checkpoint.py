"""A CLIP checkpoint that somebody has, on this project's splits: five captions a photo, ranked as every other row.

open_clip's own retrieval metric takes one caption a photo, which is another figure. Shapes: n photos, m captions,
d joint-space dimensions.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch.nn.functional import normalize
from tqdm import tqdm

from vse.data.datasets import Dataset
from vse.data.photos import read_photo
from vse.evaluate import Row, row_of
from vse.features.clip_models import import_open_clip, load_clip
from vse.features.pictures import PhotoFiles
from vse.metrics import Cosines
from vse.system.device import find_device


class ClipCheckpoint:
    """A model of open_clip, its preprocessing and its tokenizer."""

    def __init__(self, weights: str | Path, architecture: str, device: str = "cpu"):
        """Raises InputError for an unknown architecture and for a file that is not of it."""
        open_clip = import_open_clip()
        self.device = find_device(device)
        self._model = load_clip(architecture, weights).to(self.device)
        visual = self._model.visual
        size = visual.image_size if isinstance(visual.image_size, int) else visual.image_size[0]
        self._prepare = open_clip.image_transform(
            size, is_train=False, mean=getattr(visual, "image_mean", None), std=getattr(visual, "image_std", None)
        )
        self._tokenize = open_clip.get_tokenizer(architecture)
        self._shortest = 3 * size

    @torch.inference_mode()
    def encode_images(
        self, photos: Sequence[Path], batch_size: int = 64, progress: bool = False
    ) -> Float[np.ndarray, "n d"]:
        """Unit vectors of photo files. Raises BadPhoto."""
        blocks = []
        for start in _bar(range(0, len(photos), batch_size), "embed images", progress):
            batch = [self._prepare(read_photo(path, self._shortest)) for path in photos[start : start + batch_size]]
            vectors = self._model.encode_image(torch.stack(batch).to(self.device))
            blocks.append(normalize(vectors.float(), dim=1).cpu().numpy())
        return np.concatenate(blocks)

    @torch.inference_mode()
    def encode_texts(
        self, texts: Sequence[str], batch_size: int = 256, progress: bool = False
    ) -> Float[np.ndarray, "m d"]:
        """Unit vectors of sentences."""
        blocks = []
        for start in _bar(range(0, len(texts), batch_size), "embed captions", progress):
            tokens = self._tokenize(list(texts[start : start + batch_size])).to(self.device)
            blocks.append(normalize(self._model.encode_text(tokens).float(), dim=1).cpu().numpy())
        return np.concatenate(blocks)


def evaluate_checkpoint(model: ClipCheckpoint, split: Dataset, bootstrap: int = 1000, progress: bool = False) -> Row:
    """The row of a checkpoint on a split. Raises InputError where the data set has no photos."""
    images = model.encode_images(PhotoFiles.of(split).take(split.images), progress=progress)
    return row_of(Cosines(images, model.encode_texts(split.captions, progress=progress)), split, bootstrap)


def _bar(batches: Sequence, label: str, progress: bool):
    return tqdm(batches, desc=label, unit="batch", leave=False, disable=None if progress else True)
