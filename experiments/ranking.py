"""Table 1 and its ablations: `python -m experiments.ranking NAME...` trains a recipe over seeds and writes its row.

NAME is a key of EXPERIMENTS, or `all`. A row that is marked `test` is read on the test split once, when all seeds are
trained; ablations are judged on dev alone. Features and runs that are already there are used again; a killed call
goes on where it stopped. `--seeds 1` only trains that seed: so several can be trained side by side.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments import RUNS, find_data, results
from experiments.noise import NOISE
from experiments.results import changed, mean_and_sd, origin
from experiments.rows import EXPERIMENTS, FEATURES, WORD_VECTORS, Experiment
from vse.configs import TrainConfig
from vse.data.datasets import Dataset, read_dataset
from vse.data.part_of_speech import tag_cache
from vse.evaluate import evaluate
from vse.features.build import extract_features
from vse.features.pictures import PhotoFiles, Photos
from vse.features.side_by_side import combine_features
from vse.features.store import Features, open_features
from vse.model import VSE
from vse.recipes import RECIPES
from vse.runs import checkpoint
from vse.system.errors import InputError
from vse.tags.imagenet import imagenet_tags
from vse.tags.nouns import noun_tags
from vse.tags.sentences import Tags
from vse.train import train

EXTRACTED = Path("features")
WORKERS = 2  # processes that decode photos, of models that learn from pixels


def features_of(experiment: Experiment) -> Photos:
    """The experiment's features, side by side, extracted first where they are not there yet; or the photos' files."""
    dataset = read_dataset(find_data(experiment.photos))
    if not experiment.features:
        return PhotoFiles.of(dataset)
    paths = [dataset.path(i) for i in range(len(dataset.images))]
    return extracted(dataset.name, experiment.features, paths, dataset.images)


def extracted(photos: str, names: Sequence[str], paths: Sequence[Path], images: Sequence[str]) -> Features:
    """Features of these names (rows.FEATURES), or a user's own matrices that came with the data, side by side."""
    opened = []
    for name in names:
        folder = EXTRACTED / photos / name
        if name in FEATURES:
            encoder, views, grid, precision = FEATURES[name]
            extract_features(paths, images, encoder, folder, views=views, grid=grid, precision=precision)
        elif not folder.exists():
            folder = find_data(photos) / "features" / name
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
        "config": None if experiment.members else dataclasses.asdict(config_of(experiment)),
        "rows": rows,
    }
    for split in ("dev", "test"):
        if split in rows[0]:
            result[f"{split}_rsum"] = mean_and_sd([row[split]["rsum"] for row in rows])
            for way in ("i2t", "t2i"):
                for key in ("r1", "r5", "r10", "med_r"):
                    result[f"{split}_{way}_{key}"] = mean_and_sd([row[split][way][key] for row in rows])
    return results.write(name, result)


def config_of(experiment: Experiment) -> TrainConfig:
    """The recipe with the changes of the experiment."""
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


def train_seeds(name: str, experiment: Experiment, dataset: Dataset, features: Photos, seeds: tuple[int, ...]) -> None:
    """Trains these seeds into runs/NAME-SEED, or goes on with what is there."""
    words = find_data(WORD_VECTORS) if experiment.words else None
    dataset = NOISE[experiment.captions](dataset)
    tags = tags_of(experiment, dataset, features)
    teachers = list(zip(*trained(experiment.teachers), strict=True))
    for seed in seeds:
        run_folder = RUNS / f"{name}-{seed}"
        print(f"{run_folder}: {experiment.about}", flush=True)
        start = checkpoint.load(_there(experiment.start, seed)) if experiment.start else None
        train(
            config_of(experiment), dataset, features, run_folder,
            seed=seed, word_vectors=words, teachers=teachers, start=start, tags=tags, resume=True,
            workers=WORKERS,
        )  # fmt: skip


def tags_of(experiment: Experiment, dataset: Dataset, features: Photos) -> Tags | None:
    """What the experiment's tagger finds in the training photos, learned from the captions that training reads."""
    train = dataset.split("train")
    if experiment.tagger == "nouns":
        return noun_tags(train, features, tag_cache(find_data(experiment.data)), progress=True)
    return imagenet_tags(features, train.images) if experiment.tagger == "imagenet" else None


def trained(names: tuple[str, ...]) -> tuple[list[VSE], list[Photos]]:
    """The models of all seeds of these experiments, and the features of each.

    Raises InputError where a run is not there.
    """
    models, features = [], []
    for name in names:
        runs = [_there(name, seed) for seed in EXPERIMENTS[name].seeds]
        features += [features_of(EXPERIMENTS[name])] * len(runs)
        models += map(checkpoint.load, runs)
    return models, features


def _there(name: str, seed: int) -> Path:
    """The run folder of a seed of an experiment. Raises InputError where it is not there."""
    run = RUNS / f"{name}-{seed}"
    if not run.is_dir():
        raise InputError(f"{run}: not there; train it with: python -m experiments.ranking {name}")
    return run


def _evaluated(models: list[VSE], features: list[Photos], experiment: Experiment, dataset: Dataset) -> dict:
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
