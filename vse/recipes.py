"""The named recipes: functions that return a `TrainConfig`. What each reaches stands in docs/results/ranking.md."""

import dataclasses
from collections.abc import Callable

from vse.configs import ImageConfig, LossConfig, TextConfig, TrainConfig, ViewsConfig, VSEConfig


def paper() -> TrainConfig:
    """Kiros et al. 2014: LSTM-300, ranking loss at margin 0.2, SGD from 1, batch 40: the defaults."""
    return TrainConfig()


def linear() -> TrainConfig:
    """The DeViSE-like row and the model of the regularities (section 4): a sum of word vectors."""
    text = TextConfig(encoder="bow", dropout=0.3, word_dropout=0.1)
    return TrainConfig(
        model=VSEConfig(embed_dim=512, init_range=0.0, text=text, image=ImageConfig(dropout=0.4)),
        loss=LossConfig(name="infonce"),
        epochs=12, batch_size=256, optimizer="adamw", learning_rate=1e-3, schedule="cosine", warmup_steps=100,
        gradient_norm=2.0, average=0.99, min_count=2,
    )  # fmt: skip


def best() -> TrainConfig:
    """One model on frozen CNNs, chosen on Flickr8K dev with three CNNs side by side in 3 x 3 regions."""
    text = TextConfig(encoder="conv", hidden=512, pooling="max", dropout=0.4, word_dropout=0.1, length_groups=4)
    image = ImageConfig(pooling="attention", heads=8, dropout=0.4)
    return TrainConfig(
        model=VSEConfig(embed_dim=896, init_range=0.0, text=text, image=image),
        loss=LossConfig(name="infonce"),
        epochs=15, batch_size=256, optimizer="adamw", learning_rate=1e-3, schedule="cosine", warmup_steps=100,
        weight_decay=1e-4, gradient_norm=2.0, average=0.995, min_count=2,
    )  # fmt: skip


def clip() -> TrainConfig:
    """CLIP (Radford 2021) on frozen CNNs: pieces of words from a random start, read by a causal transformer.

    Smaller than the source's, with many small heads and with dropout, which 30,000 captions need; photos are pooled as
    in `best`, which dev prefers to CLIP's own pooling. `--model.text.tokens words` and `--word-vectors` start it from
    word2vec.
    """
    text = TextConfig(
        encoder="transformer", tokens="bpe", word_dim=300, hidden=512, layers=1, heads=64, dropout=0.2,
        word_dropout=0.3, length_groups=4,
    )  # fmt: skip
    image = ImageConfig(pooling="attention", heads=8, dropout=0.4)
    return TrainConfig(
        model=VSEConfig(embed_dim=896, init_range=0.0, text=text, image=image),
        loss=LossConfig(name="infonce", temperature=0.07),
        epochs=18, batch_size=256, optimizer="adamw", learning_rate=1e-3, schedule="cosine", warmup_steps=100,
        weight_decay=1e-4, gradient_norm=2.0, average=0.995, min_count=2,
    )  # fmt: skip


def ernie() -> TrainConfig:
    """ERNIE-ViL 2.0 (Shan 2022) with the towers of `best`: two crops, two passes of a caption or of a tag sentence."""
    views = ViewsConfig(
        image_image=0.3, text_text=0.3, image_text=1.0, second_image_text=1.0, tags=0.1, temperatures="own"
    )
    return dataclasses.replace(best(), views=views)


RECIPES: dict[str, Callable[[], TrainConfig]] = {
    "paper": paper,
    "linear": linear,
    "best": best,
    "clip": clip,
    "ernie": ernie,
}
