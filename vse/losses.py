"""Objectives over a batch: `objective(images (B, D), captions (B, D), same_image (B, B)) -> scalar`.

Row b of both is a pair; `same_image[i, j]` is true where caption j belongs to the image of row i (its diagonal is
true), and such a pair is never a negative. Embeddings are unit vectors. Later objectives go beside these.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vse.configs import LossConfig

Embeddings = Float[Tensor, "b d"]
SameImage = Bool[Tensor, "b b"]
_LARGEST_LOG_SCALE = math.log(100)  # CLIP's


class RankingLoss(nn.Module):
    """Pairwise ranking loss (section 2.2), summed over contrastive items, both ways; mean over pairs.

    Paper: contrastive items are drawn from the training set and redrawn every epoch. Here they are the other pairs of
    the batch: batches are drawn anew every epoch, which is the same draw, and their embeddings are already there.
    """

    def __init__(
        self,
        margin: float,
        num_contrastive: int = 0,
        generator: torch.Generator | None = None,
        reduction: str = "sum",
    ):
        super().__init__()
        self.margin, self.num_contrastive, self.generator = margin, num_contrastive, generator
        self.reduction = reduction

    def forward(self, images: Embeddings, captions: Embeddings, same_image: SameImage) -> Float[Tensor, ""]:
        scores = images @ captions.T
        right = scores.diagonal()
        wrong_caption = (self.margin - right[:, None] + scores).clamp(min=0)  # a - s(x, v) + s(x, v_k)
        wrong_image = (self.margin - right[None, :] + scores).clamp(min=0)  # a - s(v, x) + s(v, x_k)
        negatives = ~same_image
        if self.num_contrastive:
            wrong_caption = wrong_caption * self._draw(negatives)
            wrong_image = wrong_image * self._draw(negatives.T).T
        items = 1 if self.reduction == "sum" else self.num_contrastive or max(1, len(images) - 1)
        return ((wrong_caption + wrong_image) * negatives).sum() / (len(images) * items)

    def _draw(self, allowed: SameImage) -> Bool[Tensor, "b b"]:
        """In each row, `num_contrastive` of the allowed columns at random (all of them where there are fewer)."""
        noise = torch.rand(allowed.shape, generator=self.generator).to(allowed.device).masked_fill(~allowed, -1.0)
        chosen = noise.topk(min(self.num_contrastive, len(allowed)), dim=1).indices
        return torch.zeros_like(allowed).scatter_(1, chosen, True) & allowed


class HardestNegativeLoss(nn.Module):
    """The ranking loss with only the hardest contrastive item each way (VSE++); mean over pairs."""

    def __init__(self, margin: float):
        super().__init__()
        self.margin = margin

    def forward(self, images: Embeddings, captions: Embeddings, same_image: SameImage) -> Float[Tensor, ""]:
        scores = images @ captions.T
        right = scores.diagonal()
        wrong = scores.masked_fill(same_image, -torch.inf)
        caption_cost = (self.margin - right + wrong.amax(1)).clamp(min=0)
        image_cost = (self.margin - right + wrong.amax(0)).clamp(min=0)
        return (caption_cost + image_cost).mean()


class InfoNCELoss(nn.Module):
    """Symmetric cross-entropy over the batch at a temperature (CLIP's loss); mean over pairs and directions.

    The temperature has a lower bound, 0.01: below it one pair would decide the step. As in CLIP it is the parameter
    that is held there, by `clamp_` after every step: a bound in `forward` would take its gradient away for good.
    """

    def __init__(self, temperature: float, learn_temperature: bool = True):
        super().__init__()
        log_scale = torch.tensor(-1.0) * torch.tensor(temperature).log()
        self.log_scale = nn.Parameter(log_scale, requires_grad=learn_temperature)
        self.register_load_state_dict_post_hook(lambda module, _: module.clamp_())
        self.clamp_()

    @torch.no_grad()
    def clamp_(self) -> None:
        """Puts the temperature back to its bound where a step, or a state of before, has it below."""
        self.log_scale.clamp_(max=_LARGEST_LOG_SCALE)

    def forward(self, images: Embeddings, captions: Embeddings, same_image: SameImage) -> Float[Tensor, ""]:
        logits = (images @ captions.T) * self.log_scale.exp()
        right = torch.eye(len(images), dtype=torch.bool, device=images.device)
        logits = logits.masked_fill(same_image & ~right, -torch.inf)
        target = torch.arange(len(images), device=images.device)
        return (nn.functional.cross_entropy(logits, target) + nn.functional.cross_entropy(logits.T, target)) / 2


def make_objective(config: LossConfig, generator: torch.Generator | None = None) -> nn.Module:
    """The objective that `config` names; `generator` draws its contrastive items."""
    objectives: dict[str, Callable[[], nn.Module]] = {
        "ranking": lambda: RankingLoss(config.margin, config.num_contrastive, generator, config.reduction),
        "hardest": lambda: HardestNegativeLoss(config.margin),
        "infonce": lambda: InfoNCELoss(config.temperature, config.learn_temperature),
    }
    return objectives[config.name]()
