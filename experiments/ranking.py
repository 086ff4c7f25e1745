"""Table 1 and its ablations: `python -m experiments.ranking NAME...` trains a recipe over seeds and writes its row.

NAME is a key of EXPERIMENTS, or `all`. A row that is marked `test` is read on the test split once, when all seeds are
trained; ablations are judged on dev alone. Features and runs that are already there are used again; a killed call
goes on where it stopped. `--seeds 1` only trains that seed: so several can be trained side by side.
"""

import dataclasses
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

from experiments import RUNS, find_data, results
from experiments.results import changed, mean_and_sd, origin
from vse.configs import TrainConfig
from vse.data.datasets import Dataset, read_dataset
from vse.evaluate import evaluate
from vse.features.build import extract_features
from vse.features.side_by_side import combine_features
from vse.features.store import Features, open_features
from vse.model import VSE
from vse.recipes import RECIPES
from vse.runs import checkpoint
from vse.system.errors import InputError
from vse.train import train

WORD_VECTORS = "word2vec/google-news-300d-26k.bin"
# What `vse features` is asked for: encoder, views, grid, precision.
FLIP = ("full", "full-flip")
FEATURES = {
    "lite2-flip-grid3": ("efficientnet-lite2", FLIP, 3, "bfloat16"),
    "lite1-flip-grid3": ("efficientnet-lite1", FLIP, 3, "bfloat16"),
    "lite0-flip-grid3": ("efficientnet-lite0", FLIP, 3, "bfloat16"),
}
SUBSET = "flickr30k/dataset_flickr30k_subset.json"
THREE_CNNS = ("lite2-flip-grid3", "lite1-flip-grid3", "lite0-flip-grid3")


@dataclass(frozen=True)
class Experiment:
    """One row: a recipe with changes, over seeds; or the ensemble of other experiments' runs."""

    about: str
    recipe: str = "best"
    features: tuple[str, ...] = THREE_CNNS
    changes: dict = field(default_factory=dict)  # {"loss.margin": 0.3}
    data: str = "flickr8k"
    photos: str = "flickr8k"  # the data set whose photos these are; rows are matched by name
    seeds: tuple[int, ...] = (0, 1, 2)
    test: bool = False  # read the test split; only for what was settled on dev
    words: bool = True  # start from word2vec
    members: tuple[str, ...] = ()  # an ensemble of these experiments' runs, all seeds
    teachers: tuple[str, ...] = ()  # distilled from these experiments' runs, all seeds


def _ablation(about: str, changes: dict | None = None, **others) -> Experiment:
    """`best` with one change, one seed, judged on dev."""
    return Experiment(about, changes=changes or {}, seeds=(0,), **others)


EXPERIMENTS: dict[str, Experiment] = {
    "paper": Experiment("the paper's recipe", "paper", ("lite2-flip-grid3",), test=True),
    "linear": Experiment("sum of word vectors, three CNNs", "linear", test=True),
    "best": Experiment("one model, three CNNs", test=True),
    "ensemble": Experiment("ensemble of the three seeds of `best`", members=("best",), test=True),
    # The Flickr30K photos that are among Flickr8K's: a second real data set, not the official split.
    "flickr30k-paper": Experiment(
        "the paper's recipe", "paper", ("lite2-flip-grid3",), {"batch_size": 100}, data=SUBSET, test=True
    ),
    "flickr30k-linear": Experiment("sum of word vectors, three CNNs", "linear", data=SUBSET, test=True),
    "flickr30k-best": Experiment("one model, three CNNs", data=SUBSET, test=True),
    # What each part of `best` brings, beside its seed 0.
    "ablation-one-cnn": _ablation("Lite2 alone", features=THREE_CNNS[:1]),
    "ablation-resnet152": _ablation("beside a ResNet-152 matrix", features=(*THREE_CNNS, "resnet152-resmem")),
    "ablation-mean-pooling": _ablation("mean of the regions", {"model.image.pooling": "mean"}),
    "ablation-no-dropout": _ablation(
        "no dropout", {"model.text.dropout": 0.0, "model.text.word_dropout": 0.0, "model.image.dropout": 0.0}
    ),
    "ablation-bow": _ablation("sum of words", {"model.text.encoder": "bow"}),
    "ablation-gru": _ablation("bidirectional GRU-512", {"model.text.encoder": "gru", "model.text.bidirectional": True}),
    "ablation-hardest": _ablation(
        "hardest negatives after an epoch", {"loss.name": "hardest", "loss.warmup_epochs": 1}
    ),
    "ablation-random-words": _ablation("word vectors from a random start", words=False),
    "ablation-no-average": _ablation("no running mean of the weights", {"average": 0.0}),
    "ablation-distilled": _ablation("distilled from the ensemble", {"loss.distill": 0.7}, teachers=("best",)),
}


def features_of(experiment: Experiment) -> Features:
    """The experiment's features, side by side, extracted first where they are not there yet."""
    dataset, opened = read_dataset(find_data(experiment.photos)), []
    for name in experiment.features:
        folder = Path("features") / dataset.name / name
        if name in FEATURES:
            encoder, views, grid, precision = FEATURES[name]
            paths = [dataset.path(i) for i in range(len(dataset.images))]
            extract_features(paths, dataset.images, encoder, folder, views=views, grid=grid, precision=precision)
        elif not folder.exists():  # a user's own matrix that came with the data
            folder = find_data(experiment.photos) / "features" / name
        opened.append(open_features(folder))
    return combine_features(opened)


def run(name: str) -> dict:
    """The result of one experiment, written to results/NAME.json."""
    experiment = EXPERIMENTS[name]
    dataset = read_dataset(find_data(experiment.data))
    if experiment.members:
        models, features = trained(experiment.members)
        rows = [{"models": len(models)} | _evaluated(models, features, experiment, dataset)]
    else:
        rows = _trained_rows(name, experiment, dataset)
    result = {
        "name": name,
        "about": experiment.about,
        **origin(f"ranking {name}"),
        "data": dataset.name,
        "features": list(experiment.features),
        "members": list(experiment.members),
        "config": None if experiment.members else dataclasses.asdict(_config(experiment)),
        "rows": rows,
    }
    for split in ("dev", "test"):
        if split in rows[0]:
            result[f"{split}_rsum"] = mean_and_sd([row[split]["rsum"] for row in rows])
            for way in ("i2t", "t2i"):
                for key in ("r1", "r5", "r10", "med_r"):
                    result[f"{split}_{way}_{key}"] = mean_and_sd([row[split][way][key] for row in rows])
    return results.write(name, result)


def _config(experiment: Experiment) -> TrainConfig:
    return changed(RECIPES[experiment.recipe](), experiment.changes)


def _trained_rows(name: str, experiment: Experiment, dataset: Dataset) -> list[dict]:
    """Trains every seed, then evaluates them all."""
    features = features_of(experiment)
    train_seeds(name, experiment, dataset, features, experiment.seeds)
    rows = []
    for seed in experiment.seeds:
        run_folder = RUNS / f"{name}-{seed}"
        epochs = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
        row = {"seed": seed, "training_seconds": round(sum(epoch["seconds"] for epoch in epochs))}
        rows.append(row | _evaluated([checkpoint.load(run_folder)], [features], experiment, dataset))
    return rows


def train_seeds(
    name: str, experiment: Experiment, dataset: Dataset, features: Features, seeds: tuple[int, ...]
) -> None:
    """Trains these seeds into runs/NAME-SEED, or goes on with what is there."""
    words = find_data(WORD_VECTORS) if experiment.words else None
    teachers = list(zip(*trained(experiment.teachers), strict=True))
    for seed in seeds:
        run_folder = RUNS / f"{name}-{seed}"
        print(f"{run_folder}: {experiment.about}", flush=True)
        train(
            _config(experiment), dataset, features, run_folder,
            seed=seed, word_vectors=words, teachers=teachers, resume=True,
        )  # fmt: skip


def trained(names: tuple[str, ...]) -> tuple[list[VSE], list[Features]]:
    """The models of all seeds of these experiments, and the features of each.

    Raises InputError where a run is not there.
    """
    models, features = [], []
    for name in names:
        runs = [RUNS / f"{name}-{seed}" for seed in EXPERIMENTS[name].seeds]
        if missing := [run for run in runs if not run.is_dir()]:
            raise InputError(f"{missing[0]}: not there; train it with: python -m experiments.ranking {name}")
        features += [features_of(EXPERIMENTS[name])] * len(runs)
        models += map(checkpoint.load, runs)
    return models, features


def _evaluated(models: list[VSE], features: list[Features], experiment: Experiment, dataset: Dataset) -> dict:
    """{"dev": row, "test": row}, the test row only where the experiment reads it."""
    splits = ("dev", "test") if experiment.test else ("dev",)
    return {split: evaluate(models, dataset.split(split), features).as_dict() for split in splits}


def _run(names: list[str], seeds: list[int] | None) -> None:
    for name in EXPERIMENTS if "all" in names else names:
        if seeds:
            dataset = read_dataset(find_data(EXPERIMENTS[name].data))
            train_seeds(name, EXPERIMENTS[name], dataset, features_of(EXPERIMENTS[name]), tuple(seeds))
            continue
        result = run(name)
        for split in ("dev", "test"):
            if f"{split}_rsum" in result:
                print(f"{name}: {split} rsum {result[f'{split}_rsum']['mean']:.1f}", flush=True)


def main() -> int:
    return results.main("ranking", __doc__, _run, {
        "names": {"nargs": "+", "choices": [*EXPERIMENTS, "all"], "metavar": "NAME"},
        "--seeds": {"nargs": "+", "type": int, "metavar": "SEED", "help": "only train these seeds, no row yet"},
    })  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
