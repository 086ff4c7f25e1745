"""The patent's grid: `python -m experiments.combination [CELL...]` combines a images and b sentences of one scene.

Small fusion transformers are trained so, and re-rank what `best` finds. A CELL is READING-a-b: sum, concat or score;
a in 1, 2 stored views of the photo; b in 1, 2, 3 captions. Two protocols:

* standard: a query or an answer is one photo (a of its views) and one caption; b > 1 only in training.
* grouped: an item is b captions that are known to be of one photo. Not comparable with other tables.

Beside each the dual encoder, given the same: the mean of a views, the mean vector of b captions. k and lambda by dev,
test read once a cell, three seeds. CN114298158A says that (1, 3) is best from photo to text, (2, 3) from text to photo.
"""

import sys
from itertools import product

import numpy as np

from experiments import RUNS, find_data, results
from experiments.ranking import trained
from experiments.results import changed, mean_and_sd, origin
from experiments.rows import EXPERIMENTS
from vse.configs import FusionTrainConfig
from vse.data.datasets import Dataset, read_dataset
from vse.evaluate import row_of_ranks
from vse.features.store import Features
from vse.fusion import Fusion
from vse.metrics import Cosines, block_ranks
from vse.model import VSE
from vse.rerank import choose_from, read_with
from vse.runs import fusion
from vse.train_fusion import train_fusion

DUAL = "best"
SEEDS = EXPERIMENTS[DUAL].seeds
K = 10
LIGHT = {"model.width": 128, "model.heads": 8, "words": 0.0, "epochs": 3}
READINGS = ("sum", "concat", "score")
# Of one image and one sentence the three readings are one.
CELLS = {
    f"{reading}-{a}-{b}": (reading, a, b)
    for reading, a, b in product(READINGS, (1, 2), (1, 2, 3))
    if (a, b) != (1, 1) or reading == "sum"
}


def grouped(split: Dataset, b: int) -> tuple[Dataset, list[tuple[str, ...]]]:
    """(A split whose captions stand for groups, the groups): the first b captions of each photo that has as many."""
    own: dict[int, list[str]] = {}
    for caption, photo in zip(split.captions, split.image_of_caption.tolist(), strict=True):
        own.setdefault(photo, []).append(caption)
    groups = {photo: tuple(captions[:b]) for photo, captions in sorted(own.items()) if len(captions) >= b}
    captions = tuple(" ".join(group) for group in groups.values())
    names = split.name, split.root, split.images, split.split_of_image
    return Dataset(*names, captions, np.array(list(groups), np.int64)), list(groups.values())


def mean_vectors(model: VSE, groups: list[tuple[str, ...]]) -> np.ndarray:
    """The dual encoder's point of each group: the mean of its captions', of unit norm."""
    vectors = model.encode_texts([caption for group in groups for caption in group])
    means = vectors.reshape(len(groups), -1, vectors.shape[1]).mean(1)
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def measure(reader: Fusion, dual: VSE, features: Features, parts: dict[str, Dataset], b: int) -> dict:
    """{"plain", "reranked", "k", "lambda"} on test, with what dev chose, of groups of b captions."""
    a, best, rows = reader.config.images, {}, {}
    for part, whole in parts.items():
        split, groups = grouped(whole, b) if b > 1 else (whole, [(caption,) for caption in whole.captions])
        seen = features.take(split.images)[:, :a]
        scorer = Cosines(dual.encode_images(seen), mean_vectors(dual, groups))
        tokens = reader.photo_tokens(seen)
        best[part] = read_with(lambda pairs, t=tokens, g=groups: reader.logits(t, g, pairs), scorer, split, K)
        rows[part] = split, row_of_ranks(*block_ranks(scorer, split.image_of_caption), split)
    setting = choose_from(best["dev"], rows["dev"][0]).setting
    split, plain = rows["test"]
    reranked = row_of_ranks(*(way.reranked(setting) for way in best["test"]), split)
    return {"plain": plain.as_dict(), "reranked": reranked.as_dict(), "k": setting.k, "lambda": setting.weight}


def run(name: str) -> dict:
    """The result of one cell, written to results/combination-CELL.json."""
    reading, a, b = CELLS[name]
    dataset = read_dataset(find_data("flickr8k"))
    parts = {part: dataset.split(part) for part in ("dev", "test")}
    config = changed(
        FusionTrainConfig(), LIGHT | {"model.combination": reading, "model.images": a, "model.sentences": b}
    )
    seeds = []
    for seed, dual, features in zip(SEEDS, *trained((DUAL,)), strict=True):
        out = RUNS / f"combination-{name}-{seed}"
        print(f"{out}", flush=True)
        train_fusion(config, dataset, features, dual, out, seed=seed, resume=True)
        reader = fusion.load(out)
        row = {"seed": seed, "standard": measure(reader, dual, features, parts, 1)}
        if b > 1:
            row["grouped"] = measure(reader, dual, features, parts, b)
        seeds.append(row)
        print(name, seed, {p: (row[p]["plain"]["rsum"], row[p]["reranked"]["rsum"]) for p in row if p != "seed"})
    return results.write(f"combination-{name}", {
        "name": f"combination-{name}", **origin(f"combination {name}"), "reading": reading, "images": a, "sentences": b,
        "seeds": seeds, "means": {p: _means([row[p] for row in seeds]) for p in seeds[0] if p != "seed"},
    })  # fmt: skip


def _means(rows: list[dict]) -> dict:
    """rsum, and the sum of R@K of each way, over seeds."""
    return {
        which: {
            "rsum": mean_and_sd([row[which]["rsum"] for row in rows]),
            **{
                way: mean_and_sd([sum(row[which][way][r] for r in ("r1", "r5", "r10")) for row in rows])
                for way in ("i2t", "t2i")
            },
        }
        for which in ("plain", "reranked")
    }


def _run(names: list[str]) -> None:
    for name in results.asked(names, tuple(CELLS)):
        run(name)


def main() -> int:
    return results.main("combination", __doc__, _run, {"names": {"nargs": "*", "metavar": "CELL"}})


if __name__ == "__main__":
    sys.exit(main())
