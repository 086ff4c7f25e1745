"""Objectives over a batch: `objective(images (B, D), captions (B, D), same_image (B, B)) -> scalar`.

Row b of both is a pair; `same_image[i, j]` is true where caption j belongs to the image of row i (its diagonal is
true), and such a pair is never a negative. Embeddings are unit vectors. `MultiViewLoss` has them between more views.
Later objectives go beside these.
"""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vse.configs import LossConfig, ViewsConfig

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

    def of_both(self, first: Embeddings, second: Embeddings, same_image: SameImage) -> Float[Tensor, ""]:
        """Between views of one kind, with the rows of both as negatives, 2 B - 2 of each row (SimCLR, Chen 2020)."""
        rows = torch.cat([first, second])
        target = torch.arange(len(rows), device=rows.device).roll(len(first))
        right = torch.zeros(len(rows), len(rows), dtype=torch.bool, device=rows.device)
        right[torch.arange(len(rows)), target] = True
        logits = (rows @ rows.T) * self.log_scale.exp()
        return nn.functional.cross_entropy(logits.masked_fill(same_image.repeat(2, 2) & ~right, -torch.inf), target)

    @property
    def temperature(self) -> float:
        """As learned so far, in cosine."""
        return (-self.log_scale).exp().item()


class MultiViewLoss(nn.Module):
    """The weighted sum of an objective over pairs of views of the same batch (ERNIE-ViL 2.0, Shan 2022).

    Its pairs are (I1, I2), (T1, T2), (I1, T1) and (I2, T2), as `ViewsConfig` weighs them; of sentences alone it is the
    objective of (T1, T2). The defaults are the plain objective of photo and sentence.
    """

    def __init__(self, views: ViewsConfig, make: Callable[[], nn.Module]):
        """`make` gives the objective of one kind of pair, each with a temperature of its own where views want that."""
        super().__init__()
        self.views, own = views, views.temperatures == "own"
        self.image_text = make()
        self.image_image = make() if own and views.image_image else None
        self.text_text = make() if own and views.text_text else None

    def forward(
        self, images: Sequence[Embeddings], texts: Sequence[Embeddings], same_image: SameImage
    ) -> Float[Tensor, ""]:
        if not images:
            return self._within(self.text_text, texts, same_image)
        weights, across = self.views, list(zip(images, texts, strict=False))
        pairs = [
            (weights.image_image, lambda: self._within(self.image_image, images, same_image)),
            (weights.text_text, lambda: self._within(self.text_text, texts, same_image)),
            (weights.image_text, lambda: self.image_text(*across[0], same_image)),
            (weights.second_image_text, lambda: self.image_text(*across[1], same_image)),
        ]
        return sum(weight * loss() for weight, loss in pairs if weight)

    def _within(self, own: nn.Module | None, views: Sequence[Embeddings], same_image: SameImage) -> Float[Tensor, ""]:
        """The objective between two views of one kind."""
        objective = own or self.image_text
        return (objective.of_both if self.views.negatives == "both" else objective)(*views, same_image)

    def clamp_(self) -> None:
        """Puts temperatures back to their bound."""
        for objective in (self.image_text, self.image_image, self.text_text):
            if isinstance(objective, InfoNCELoss):
                objective.clamp_()

    @property
    def temperature(self) -> float | None:
        """Of photo and sentence, learned so far; None of objectives without one."""
        return self.image_text.temperature if isinstance(self.image_text, InfoNCELoss) else None


def make_objective(config: LossConfig, generator: torch.Generator | None = None) -> nn.Module:
    """The objective that `config` names; `generator` draws its contrastive items."""
    objectives: dict[str, Callable[[], nn.Module]] = {
        "ranking": lambda: RankingLoss(config.margin, config.num_contrastive, generator, config.reduction),
        "hardest": lambda: HardestNegativeLoss(config.margin),
        "infonce": lambda: InfoNCELoss(config.temperature, config.learn_temperature),
    }
    return objectives[config.name]()
