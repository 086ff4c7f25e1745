"""Tagger A, the faithful one: an external recognizer, the ImageNet classes of the CNN that the features are of.

EfficientNet-Lite's published weights have their classifier still on: p = softmax(W q + b) of the mean feature q. No
caption is read, so no tag can leak from one. Shapes: n photos, d feature_dim, c 1000 classes.
"""

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from vse.features._torchvision import import_torchvision
from vse.features.networks import published_lite
from vse.features.store import Features
from vse.features.weights import read_weights
from vse.system.errors import InputError

MOST, LEAST = 5, 0.1  # tags a photo, and the probability of one; a photo without any gets its likeliest class
_BLOCK = 500  # photos at once
_HEADS = tuple(f"efficientnet-lite{i}" for i in (2, 1, 0))  # the best classifier first


def imagenet_tags(features: Features, images: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The names of the classes that the CNN sees in each photo, by its whole view.

    Raises InputError for features without an EfficientNet-Lite, whole or in equal regions.
    """
    encoder, columns, scale = _classified(features.info)
    stored = features.info.get("views", [])
    view = stored.index("full") if "full" in stored else 0
    names, tags = class_names(), {}
    for start in range(0, len(images), _BLOCK):
        block = list(images[start : start + _BLOCK])
        inputs = features.take(block)[:, view, :, columns].astype(np.float32).mean(1) / scale
        for image, row in zip(block, probabilities(encoder, inputs), strict=True):
            order = np.argsort(-row, kind="stable")[:MOST]
            tags[image] = tuple(names[c] for c in order if row[c] >= LEAST) or (names[order[0]],)
    return tags


def class_names() -> tuple[str, ...]:
    """The thousand names, as torchvision has them."""
    return tuple(import_torchvision().models.AlexNet_Weights.IMAGENET1K_V1.meta["categories"])


def probabilities(encoder: str, inputs: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n c"]:
    """Of each class, from mean features."""
    weight, bias = _head(encoder)
    logits = inputs @ weight.T + bias
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@functools.cache
def _head(encoder: str) -> tuple[Float[np.ndarray, "c d"], Float[np.ndarray, " c"]]:
    """W and b of the published classifier."""
    state = read_weights(published_lite(encoder))
    return state["_fc.weight"].float().numpy(), state["_fc.bias"].float().numpy()


def _classified(info: dict) -> tuple[str, slice, float]:
    """(CNN, its columns, its scale) among features side by side, of the best one whose mean is the classifier's input.

    The mean of regions is the map's mean only where they are equal blocks of it.
    """
    found, start = {}, 0
    sources = info.get("sources", [info])
    for source, scale in zip(sources, info.get("scales", [1.0] * len(sources)), strict=True):
        end = start + source.get("feature_dim", 0)
        grid, side = source.get("grid", 1), source.get("map_size", 0)
        if source.get("weights") is None and (grid == 1 or side and side % grid == 0):
            found.setdefault(source.get("encoder"), (slice(start, end), float(scale)))
        start = end
    for encoder in _HEADS:
        if encoder in found:
            return encoder, *found[encoder]
    raise InputError(
        f"features of {', '.join(str(source.get('encoder', 'a user matrix')) for source in sources)}: expected"
        " efficientnet-lite2 among them, or -lite1 or -lite0 with --grid 1, whose classes the tags are"
    )
