"""`Answerer`: a fusion transformer that reads a photo and a question and picks one of the answers it was trained on.

The patent's fine-tuning for question answering (CN114298158A, S4): the pooled state Y_p, and a matrix to the answers.
Trains nothing (train_answers.py). Shapes: b batch, a images and s sentences of one scene, n tokens, w width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor, nn

from vse.configs import FusionConfig
from vse.data.vocabulary import UNK_ID, Tokens
from vse.encoders.dropout import Dropout
from vse.features.given import Images
from vse.fusion import Fusion
from vse.system.errors import InputError
from vse.system.precision import autocast


@dataclass(frozen=True)
class AnswererConfig:
    """The transformer, and the answers that it tells apart."""

    fusion: FusionConfig = field(default_factory=FusionConfig)
    answers: tuple[str, ...] = ()

    def __post_init__(self):
        if self.fusion.combination == "score":
            raise InputError('model.combination = "score" adds logits of matching; expected sum or concat for answers')
        if not self.answers or len(set(self.answers)) != len(self.answers):
            raise InputError(f"{len(self.answers)} answers: expected one or more, each once")


class Answerer(nn.Module):
    """softmax(W_a Y_p + b_a) over the answers."""

    def __init__(self, config: AnswererConfig, vocabulary: Tokens, feature_dim: int, feature_info: dict):
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        self.feature_dim, self.feature_info = feature_dim, feature_info
        self.fusion = Fusion(config.fusion, vocabulary, feature_dim, feature_info)
        self.dropout = Dropout(config.fusion.dropout)
        self.head = nn.Linear(config.fusion.width, len(config.answers))
        nn.init.zeros_(self.head.weight)  # the first loss is that of chance
        nn.init.zeros_(self.head.bias)
        self.fingerprint = ""  # set when it is loaded

    @property
    def answers(self) -> tuple[str, ...]:
        return self.config.answers

    def check_question(self, text: str) -> None:
        """Raises InputError for a question of which the model knows no word."""
        if set(self.vocabulary.encode(text)) <= {UNK_ID}:
            raise InputError(f"{text[:80]!r}: the model knows none of its words; ask in words of its training")

    def forward(
        self, images: Float[Tensor, "b a r w"], texts: Float[Tensor, "b s t w"], inside: Bool[Tensor, "b s t"]
    ) -> Float[Tensor, "b answers"]:
        """The logits of the answers to embedded photos and questions, see `Fusion.embed_images` and `embed_texts`."""
        pooled = self.fusion.pooled(*self.fusion.combine(images, texts, inside))
        return self.head(self.dropout(pooled)).float()

    def ask(self, images: Images, questions: Sequence[str | Sequence[str]]) -> Float32[np.ndarray, "n answers"]:
        """The probabilities of all answers to question i about photo i.

        `images` as in `Fusion.photo_tokens`; a question comes with the sentence beside it where the model was trained
        with one. Raises InputError for other numbers of photos and questions, and of sentences.
        """
        if len(images) != len(questions):
            raise InputError(f"{len(images)} photos, {len(questions)} questions: expected one question a photo")
        return self.probabilities(self.fusion.photo_tokens(images), np.arange(len(questions)), questions)

    @torch.inference_mode()
    def probabilities(
        self, photos: Float[Tensor, "p a r w"], which: Int[np.ndarray, " n"], questions: Sequence[str | Sequence[str]]
    ) -> Float32[np.ndarray, "n answers"]:
        """`ask`, question i about the photo whose tokens are row `which[i]` of `photos`."""
        expected = self.config.fusion.sentences
        for question in questions:
            found = 1 if isinstance(question, str) else len(question)
            if found != expected:
                raise InputError(f"{question!r}: the model reads {expected} sentences at once, these are {found}")
        self.eval()
        out = np.empty((len(questions), len(self.answers)), np.float32)
        pairs = np.stack([which, np.arange(len(questions))], 1)
        for rows, embedded in self.fusion.embedded(photos, questions, pairs):
            with autocast(self.fusion.precision, self.fusion.device):
                out[rows] = self(*embedded).softmax(1).cpu().numpy()
        return out
