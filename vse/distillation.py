"""What a student learns from: the mean score of trained models (distillation, Hinton 2015; not in the paper)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float

from vse.batches import Batch
from vse.data.datasets import Dataset
from vse.features.store import Features
from vse.model import VSE, side_by_side


class Teacher:
    """The mean score of trained models between the images and the captions of the training split."""

    def __init__(self, models: Sequence[VSE], features: Sequence[Features], split: Dataset, device: torch.device):
        """Model i reads `features[i]`. Embeddings are made once, in evaluation mode."""
        vectors = side_by_side(models, split, features)
        self.images, self.captions = (torch.from_numpy(array).to(device) for array in vectors)

    def scores(self, batch: Batch) -> torch.Tensor:
        """(B, B) scores of the pairs of a batch."""
        return self.images[batch.image_ids] @ self.captions[batch.captions].T


def distillation(
    scores: Float[torch.Tensor, "b b"], teacher: Float[torch.Tensor, "b b"], temperature: float
) -> Float[torch.Tensor, ""]:
    """Cross-entropy of the student's softmax with the teacher's, both ways (Hinton 2015); mean over pairs.

    The teacher's scores say how near every wrong pair of the batch is, which the objective takes as all alike.
    """
    loss = scores.new_zeros(())
    for s, t in ((scores, teacher), (scores.T, teacher.T)):
        loss = loss - ((t / temperature).softmax(1) * (s / temperature).log_softmax(1)).sum(1).mean() / 2
    return loss
