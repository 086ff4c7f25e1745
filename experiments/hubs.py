"""Hub correction in figures: `python -m experiments.hubs NAME...` corrects trained rows of experiments.ranking.

NAME is a row that reads test; the runs must be there (`python -m experiments.ranking NAME`). k and weight are chosen on
dev and kept in each run's folder; the plain row of the same runs stands beside the corrected one, with the
paired bootstrap of their difference. The inverted softmax over the test queries, which needs them all at once, is
measured for a remark alone.
"""

import sys

import numpy as np

from experiments import RUNS, find_data, results
from experiments.compare import differences
from experiments.noise import NOISE
from experiments.per_image import ranking_row
from experiments.ranking import trained
from experiments.results import mean_and_sd, origin
from experiments.rows import EXPERIMENTS
from vse.data.datasets import Dataset, read_dataset
from vse.evaluate import Row, row_of, scorer_of
from vse.features.store import Features
from vse.hubs import Hubs, Joined, choose, make_banks, save_hubs
from vse.metrics import Scores, block_ranks
from vse.model import VSE

NAMES = tuple(name for name, experiment in EXPERIMENTS.items() if experiment.test)
BETAS = (5.0, 10.0, 20.0, 30.0, 40.0, 60.0, 80.0)


class InvertedSoftmax:
    """Each score as a share of what its gallery item scores over all queries of the split (Smith et al. 2017).

    Transductive: an answer depends on the other queries. `to_photos`: the items are photos, the queries captions.
    """

    def __init__(self, scores: Scores, beta: float, to_photos: bool):
        powers = np.exp(beta * scores.astype(np.float64))
        self._scores = (powers / powers.sum(1 if to_photos else 0, keepdims=True)).astype(np.float32) * len(scores)
        self.images, self.captions = scores.shape

    def __call__(self, rows: slice, columns: slice) -> Scores:
        return self._scores[rows, columns]


def corrected(name: str, dataset: Dataset) -> tuple[list[list[VSE]], list[list[Features]], list[Hubs]]:
    """Models and features of each seed of a row (one set for an ensemble), and their hubs, kept in the runs."""
    members = EXPERIMENTS[name].members
    models, features = trained(members or (name,))
    train, dev = NOISE[EXPERIMENTS[name].captions](dataset).split("train"), dataset.split("dev")
    banks = [make_banks(model, train, stored) for model, stored in zip(models, features, strict=True)]
    if members:
        joined = [Joined(list(kind)) for kind in zip(*banks, strict=True)]
        return [models], [features], [choose(*joined, models, dev, features)]
    hubs = [choose(*b, [m], dev, [f]) for b, m, f in zip(banks, models, features, strict=True)]
    for seed, model, correction in zip(EXPERIMENTS[name].seeds, models, hubs, strict=True):
        save_hubs(RUNS / f"{name}-{seed}", correction, model)
    return [[m] for m in models], [[f] for f in features], hubs


def transductive(models: list[VSE], features: list[Features], dataset: Dataset) -> dict[str, float]:
    """Test rsum of the inverted softmax over the test queries, its beta chosen on dev for each way; for a remark."""
    splits = [dataset.split(name) for name in ("dev", "test")]
    everything = slice(None)
    scores = [scorer_of(models, split, features)(everything, everything) for split in splits]
    total, betas = 0.0, {}
    for way, to_photos in (("t2i", True), ("i2t", False)):

        def recall(beta: float, i: int, way: str = way, to_photos: bool = to_photos) -> float:
            half = getattr(row_of(InvertedSoftmax(scores[i], beta, to_photos), splits[i], bootstrap=0), way)
            return half.r1 + half.r5 + half.r10

        betas[way] = max(BETAS, key=lambda beta: recall(beta, 0))
        total += recall(betas[way], 1)
    return {"test_rsum": total, "betas": betas}


def run(name: str) -> dict:
    """The result of one row, written to results/hubs-NAME.json."""
    dataset = read_dataset(find_data(EXPERIMENTS[name].data))
    sets, rows, ranks = corrected(name, dataset), [], {"plain": [], "hubs": []}
    for i, (models, features, hubs) in enumerate(zip(*sets, strict=True)):
        row = {"seed": None if EXPERIMENTS[name].members else EXPERIMENTS[name].seeds[i]}
        row |= {way: {"k": getattr(hubs, way).k, "weight": getattr(hubs, way).weight} for way in ("photos", "captions")}
        row |= {"plain": {}, "inverted_softmax": transductive(models, features, dataset)}
        for split in ("dev", "test"):
            part = dataset.split(split)
            scorers = {"plain": scorer_of(models, part, features), "hubs": scorer_of(models, part, features, hubs)}
            figures = {kind: row_of(scorer, part) for kind, scorer in scorers.items()}
            row[split], row["plain"][split] = figures["hubs"].as_dict(), figures["plain"].as_dict()
            if split == "test":
                for kind, scorer in scorers.items():
                    ranks[kind].append(block_ranks(scorer, part.image_of_caption))
            _say(name, split, row, figures)
        rows.append(row)
    owner = dataset.split("test").image_of_caption
    plain, hubs = (ranking_row(f"{name} {kind}", "test", *map(np.stack, zip(*ranks[kind], strict=True)), owner)
                   for kind in ("plain", "hubs"))  # fmt: skip
    result = {
        "name": f"hubs-{name}", "about": f"{EXPERIMENTS[name].about}, hubs", **origin(f"hubs {name}"),
        "data": dataset.name, "rows": rows, "difference": differences(hubs, plain),
    }  # fmt: skip
    for split in ("dev", "test"):
        result[f"{split}_rsum"] = mean_and_sd([row[split]["rsum"] for row in rows])
        result[f"plain_{split}_rsum"] = mean_and_sd([row["plain"][split]["rsum"] for row in rows])
        for way in ("i2t", "t2i"):
            for key in ("r1", "r5", "r10", "med_r"):
                result[f"{split}_{way}_{key}"] = mean_and_sd([row[split][way][key] for row in rows])
    return results.write(f"hubs-{name}", result)


def _say(name: str, split: str, row: dict, figures: dict[str, Row]) -> None:
    plain, hubs = (figures[kind].rsum for kind in ("plain", "hubs"))
    print(f"{name} {row['seed']} {split}: {plain:.1f} -> {hubs:.1f} {row['photos']} {row['captions']}", flush=True)


def _run(names: list[str]) -> None:
    for name in names:
        run(name)


def main() -> int:
    return results.main("hubs", __doc__, _run, {"names": {"nargs": "+", "choices": NAMES, "metavar": "NAME"}})


if __name__ == "__main__":
    sys.exit(main())
