"""What a student learns from: the mean score of trained models (distillation, Hinton 2015; not in the paper)."""

from collections.abc import Sequence

import numpy as np
import torch

from vse.batches import Batch
from vse.data.datasets import Dataset
from vse.features.build import Features
from vse.model import VSE


class Teacher:
    """The mean score of trained models between the images and the captions of the training split."""

    def __init__(self, models: Sequence[VSE], features: Sequence[Features], split: Dataset, device: torch.device):
        """Model i reads `features[i]`. Embeddings are made once, in evaluation mode."""
        images = [m.encode_images(f.take(split.images)) for m, f in zip(models, features, strict=True)]
        captions = [m.encode_texts(split.captions) for m in models]
        scale = np.float32(len(models) ** -0.5)  # vectors side by side: their dot product is the mean score
        self.images = torch.from_numpy(np.hstack(images) * scale).to(device)
        self.captions = torch.from_numpy(np.hstack(captions) * scale).to(device)

    def scores(self, batch: Batch) -> torch.Tensor:
        """(B, B) scores of the pairs of a batch."""
        return self.images[batch.image_ids] @ self.captions[batch.captions].T
