"""What re-ranking costs: `python -m experiments.fusion_speed` writes results/fusion-speed.json.

The cost model is the multiply-adds of the matrix products over the measured rate of a large one; beside it what a
training on a part of Flickr8K and the re-ranking of one query's 50 best take. Run it alone on the machine.
"""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from experiments import find_data, results
from experiments.ranking import trained
from experiments.reranking import DUAL, READER, READERS, K, milliseconds
from experiments.results import changed, origin
from experiments.speed import machine, product_rate
from vse.configs import FusionConfig, FusionTrainConfig
from vse.data.datasets import Dataset, read_dataset
from vse.data.vocabulary import tokenize
from vse.fusion import Fusion
from vse.runs import fusion
from vse.system.precision import resolve_precision
from vse.train_fusion import train_fusion

PHOTOS = 600  # of the training that is timed


def operations(config: FusionConfig, regions: int, feature_dim: int, words: float) -> dict[str, float]:
    """Floating point operations to read a pair once: of its photo's tokens, and of the blocks.

    Of one image and one sentence; of the last block only [CLS] is read on.
    """
    n, w = 1 + regions + words, config.width
    attention = 4 * n * n * w
    whole = n * 24 * w * w + attention  # q, k, v and out 8 w^2, the MLP 16 w^2
    last = n * 4 * w * w + 20 * w * w + 4 * n * w  # k and v of all, the rest of [CLS] alone
    return {"photo": 2.0 * regions * feature_dim * w, "blocks": (config.layers - 1) * whole + last}


def training_operations(config: FusionTrainConfig, regions: int, feature_dim: int, words: float) -> float:
    """Of a true pair with its two wrong ones: forward, and twice as much backward; no gradient goes into the features.

    Masked words are read once more in the true pair, all blocks whole, with all words of the vocabulary left out.
    """
    one = operations(config.model, regions, feature_dim, words)
    n, w = 1 + regions + words, config.model.width
    whole = config.model.layers * (n * 24 * w * w + 4 * n * n * w)
    matching = 3 * (2 * one["photo"] + 3 * one["blocks"]) * bool(config.matching)
    return matching + (2 * one["photo"] + 3 * whole) * bool(config.words)


def part_of(dataset: Dataset, photos: int) -> Dataset:
    """The first training photos, and as many of dev as re-ranking needs."""
    splits, most = np.array(dataset.split_of_image), {"train": photos, "dev": K}
    kept = np.zeros(len(splits), bool)
    for split, count in most.items():
        kept[np.flatnonzero(splits == split)[:count]] = True
    return dataset.select(kept)


def run() -> dict:
    """The cost model beside the clock."""
    dataset = read_dataset(find_data("flickr8k"))
    (dual, *_), (features, *_) = trained((DUAL,))
    config = replace(changed(FusionTrainConfig(), READERS[READER].changes), epochs=2, hardening=0.0)
    words = float(np.mean([len(tokenize(caption)) for caption in dataset.split("train").captions]))
    precision = resolve_precision("auto")
    rate = product_rate(precision)
    regions, feature_dim = features.array.shape[2:]
    pairs = len(dataset.split("train").captions)
    each = training_operations(config, regions, feature_dim, words)
    with tempfile.TemporaryDirectory() as scratch:
        small, out = part_of(dataset, PHOTOS), Path(scratch) / "run"
        train_fusion(config, small, features, dual, out)
        epochs = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        reader: Fusion = fusion.load(out)
    seconds = min(epoch["seconds"] for epoch in epochs) / len(small.split("train").captions)
    one = operations(config.model, regions, feature_dim, words)
    query_ms = milliseconds(reader, dataset, features)
    epochs_of_a_seed = changed(FusionTrainConfig(), READERS[READER].changes).epochs
    return results.write("fusion-speed", {
        "name": "fusion-speed", **origin("fusion_speed"), **machine(precision), "threads": torch.get_num_threads(),
        "gflop_per_s": rate,
        "training": {
            "tflop_a_seed": each * pairs * epochs_of_a_seed / 1e12, "epochs": epochs_of_a_seed,
            "minutes_by_model": each * pairs * epochs_of_a_seed / (rate * 1e9) / 60,
            "minutes": seconds * pairs * epochs_of_a_seed / 60,
        },
        "query": {
            "k": K, "gflop": K * sum(one.values()) / 1e9, "ms_by_model": K * sum(one.values()) / (rate * 1e6),
            "ms": query_ms,
        },
    })  # fmt: skip


def _run() -> None:
    print(json.dumps(run(), indent=1))


def main() -> int:
    return results.main("fusion_speed", __doc__, _run)


if __name__ == "__main__":
    sys.exit(main())
