"""Training captions made fewer, or wrong, on purpose: how an objective fares where data are not as clean as Flickr8K's.

Dev and test stay as they are. A pure function of the data set and the seed.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from vse.data.datasets import Dataset

SHARE = 0.3  # of the training captions that are shuffled


def one_caption(dataset: Dataset, seed: int = 0) -> Dataset:
    """One caption of each training photo, drawn."""
    train, owner = _training(dataset), dataset.image_of_caption
    order = np.random.default_rng(seed).permutation(np.flatnonzero(train))
    drawn = order[np.unique(owner[order], return_index=True)[1]]
    kept = np.sort(np.concatenate([np.flatnonzero(~train), drawn]))
    return replace(dataset, captions=tuple(dataset.captions[i] for i in kept), image_of_caption=owner[kept])


def shuffled(dataset: Dataset, seed: int = 0) -> Dataset:
    """SHARE of the training captions go to other training photos, as many to each as it gave away."""
    draw, owner = np.random.default_rng(seed), dataset.image_of_caption
    captions = draw.permutation(np.flatnonzero(_training(dataset)))
    chosen = captions[: round(SHARE * len(captions))]
    # By photo, the photos in a drawn order; shifted by the most of one photo, none comes back to its own.
    place = draw.permutation(len(dataset.images))
    chosen = chosen[np.argsort(place[owner[chosen]], kind="stable")]
    most = np.bincount(owner[chosen]).max(initial=0)
    moved = owner.copy()
    moved[chosen] = np.roll(owner[chosen], most)
    return replace(dataset, image_of_caption=moved)


def _training(dataset: Dataset) -> np.ndarray:
    """True for each caption of a training photo."""
    return np.array([split == "train" for split in dataset.split_of_image])[dataset.image_of_caption]


NOISE: dict[str, Callable[[Dataset], Dataset]] = {
    "all": lambda dataset: dataset, "one": one_caption, "shuffled": shuffled,
}  # fmt: skip
