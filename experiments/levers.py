"""Cheap levers of retrieval: `python -m experiments.levers` measures two that train nothing.

* The bag of concepts, as in captions' score: cos(photo, sentence) + w cos(bag, sentence), the bag the mean of the
  photo's nearest training captions. w by dev, test read once, three seeds of `best`.
* Views at test time: a photo as the mean of the first 1, 2 or 6 of six stored crops, on dev, three seeds of a model
  that was trained on all.
"""

import sys

import numpy as np

from experiments import find_data, results
from experiments.compare import differences
from experiments.per_image import ranking_row
from experiments.ranking import trained
from experiments.results import mean_and_sd, origin
from experiments.rows import EXPERIMENTS
from scnlm.rerank.concepts import Concepts, SentenceBank
from vse.data.datasets import Dataset, read_dataset
from vse.evaluate import row_of, row_of_ranks
from vse.features.store import Features
from vse.metrics import Cosines, block_ranks
from vse.model import VSE

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0)
MODEL, OF_VIEWS = "best", "views-windows-text"
VIEWS = (1, 2, 6)


def with_bag(model: VSE, features: Features, bank: SentenceBank, split: Dataset, weight: float) -> Cosines:
    """The scores of a split's photos and captions; both cosines are one product."""
    images = model.encode_images(features.take(split.images))
    return Cosines(images + np.float32(weight) * Concepts(model, bank).bags(images), model.encode_texts(split.captions))


def bag(dataset: Dataset) -> dict:
    """The row of the bag of concepts, the plain one of the same runs beside it."""
    train, dev, test = (dataset.split(part) for part in ("train", "dev", "test"))
    seeds, ranks = [], {"plain": [], "bag": []}
    for seed, model, features in zip(EXPERIMENTS[MODEL].seeds, *trained((MODEL,)), strict=True):
        bank = SentenceBank.from_embeddings(model.encode_texts(train.captions))
        rows = [row_of(with_bag(model, features, bank, dev, w), dev, bootstrap=0).as_dict() for w in WEIGHTS]
        best = max(range(len(WEIGHTS)), key=lambda i: rows[i]["rsum"])
        row = {"seed": seed, "weight": WEIGHTS[best], "dev": rows[best]["rsum"], "plain_dev": rows[0]["rsum"]}
        for kind, weight in (("plain", 0.0), ("bag", WEIGHTS[best])):
            ranks[kind].append(block_ranks(with_bag(model, features, bank, test, weight), test.image_of_caption))
        row |= {kind: row_of_ranks(*ranks[kind][-1], test).as_dict() for kind in ranks}
        seeds.append(row)
        print("bag", seed, row["weight"], row["plain_dev"], row["dev"], row["plain"]["rsum"], row["bag"]["rsum"])
    bagged, plain = (
        ranking_row(kind, "test", *map(np.stack, zip(*ranks[kind], strict=True)), test.image_of_caption)
        for kind in ("bag", "plain")
    )
    return {
        "seeds": seeds, "difference": differences(bagged, plain),
        "dev_rsum": {k: mean_and_sd([s[n] for s in seeds]) for k, n in (("bag", "dev"), ("plain", "plain_dev"))},
        "test_rsum": {kind: mean_and_sd([seed[kind]["rsum"] for seed in seeds]) for kind in ("bag", "plain")},
    }  # fmt: skip


def views(dataset: Dataset) -> dict:
    """Dev rsum by the number of views of a photo."""
    dev, rows = dataset.split("dev"), {}
    models = list(zip(*trained((OF_VIEWS,)), strict=True))
    for count in VIEWS:
        sums = []
        for model, features in models:
            images = model.encode_images(features.take(dev.images)[:, :count])
            sums.append(row_of(Cosines(images, model.encode_texts(dev.captions)), dev, bootstrap=0).rsum)
        rows[str(count)] = mean_and_sd(sums)
        print("views", count, rows[str(count)], flush=True)
    return rows


def _run() -> None:
    dataset = read_dataset(find_data("flickr8k"))
    results.write("levers", {"name": "levers", **origin("levers"), "bag": bag(dataset), "views": views(dataset)})


def main() -> int:
    return results.main("levers", __doc__, _run)


if __name__ == "__main__":
    sys.exit(main())
