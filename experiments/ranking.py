"""Table 1 and its ablations: `python -m experiments.ranking NAME...` trains a recipe over seeds and writes its row.

NAME is a key of EXPERIMENTS, or `all`. A row that is marked `test` is read on the test split once, when all seeds are
trained; ablations are judged on dev alone. Features and runs that are already there are used again; a killed call
goes on where it stopped.
"""

import argparse
import dataclasses
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from experiments import RESULTS, find_data
from vse import checkpoint
from vse.datasets import Dataset, read_dataset
from vse.errors import InputError
from vse.evaluate import evaluate
from vse.image_features import Features, combine_features, extract_features, open_features
from vse.recipes import RECIPES
from vse.train import train
from vse.train_config import TrainConfig

WORD_VECTORS = "word2vec/google-news-300d-26k.bin"
# What `vse features` is asked for: encoder, views, grid, precision.
FLIP = ("full", "full-flip")
FEATURES = {
    "lite2": ("efficientnet-lite2", ("full",), 1, "float32"),
    "lite2-flip-grid3": ("efficientnet-lite2", FLIP, 3, "bfloat16"),
    "lite1-flip-grid3": ("efficientnet-lite1", FLIP, 3, "bfloat16"),
    "lite0-flip-grid3": ("efficientnet-lite0", FLIP, 3, "bfloat16"),
}
THREE_CNNS = ("lite2-flip-grid3", "lite1-flip-grid3", "lite0-flip-grid3")


@dataclass(frozen=True)
class Experiment:
    """One row: a recipe with changes, over seeds; or the ensemble of other experiments' runs."""

    about: str
    recipe: str = "best"
    features: tuple[str, ...] = THREE_CNNS
    changes: dict = field(default_factory=dict)  # {"loss.margin": 0.3}
    data: str = "flickr8k"
    seeds: tuple[int, ...] = (0, 1, 2)
    test: bool = False  # read the test split; only for what was settled on dev
    words: bool = True  # start from word2vec
    members: tuple[str, ...] = ()  # an ensemble of these experiments' runs, all seeds


EXPERIMENTS: dict[str, Experiment] = {
    "paper": Experiment("the paper's recipe", "paper", ("lite2",), test=True),
    "linear": Experiment("sum of word vectors", "linear", ("lite2",), test=True),
    "best": Experiment("one model, whatever is best", test=True),
}


def changed(config: TrainConfig, changes: dict) -> TrainConfig:
    """`config` with dotted fields replaced; unknown ones raise InputError."""
    values = dataclasses.asdict(config)
    for path, value in changes.items():
        *parents, last = path.split(".")
        node = values
        for parent in parents:
            node = node[parent]
        if last not in node:
            raise InputError(f"{path}: no such setting")
        node[last] = value
    return checkpoint.config_from_dict(TrainConfig, values)


def features_of(experiment: Experiment, dataset: Dataset, scales: list[float] | None = None) -> Features:
    """The experiment's features, side by side, extracted first where they are not there yet."""
    opened = []
    for name in experiment.features:
        folder = Path("features") / dataset.name / name
        if name in FEATURES:
            encoder, views, grid, precision = FEATURES[name]
            paths = [dataset.path(i) for i in range(len(dataset.images))]
            extract_features(
                paths, dataset.images, encoder, folder, views=views, grid=grid, precision=precision
            )
        elif not folder.exists():  # a user's own matrix that came with the data
            folder = find_data(experiment.data) / "features" / name
        opened.append(open_features(folder))
    return combine_features(opened, scales)


def run(name: str) -> dict:
    """The result of one experiment, written to results/NAME.json."""
    experiment = EXPERIMENTS[name]
    dataset = read_dataset(find_data(experiment.data))
    rows = _ensemble_rows(experiment, dataset) if experiment.members else _trained_rows(name, experiment, dataset)
    result = {
        "name": name,
        "about": experiment.about,
        "command": f"python -m experiments.ranking {name}",
        "commit": _commit(),
        "data": dataset.name,
        "features": list(experiment.features),
        "members": list(experiment.members),
        "config": None if experiment.members else dataclasses.asdict(_config(experiment)),
        "rows": rows,
    }
    for split in ("dev", "test"):
        if split in rows[0]:
            sums = [row[split]["rsum"] for row in rows]
            result[f"{split}_rsum"] = {"mean": float(np.mean(sums)), "sd": _sd(sums)}
            for way in ("i2t", "t2i"):
                for key in ("r1", "r5", "r10", "med_r"):
                    values = [row[split][way][key] for row in rows]
                    result[f"{split}_{way}_{key}"] = {"mean": float(np.mean(values)), "sd": _sd(values)}
    RESULTS.mkdir(exist_ok=True)
    checkpoint.write_json(RESULTS / f"{name}.json", result)
    return result


def _config(experiment: Experiment) -> TrainConfig:
    return changed(RECIPES[experiment.recipe](), experiment.changes)


def _trained_rows(name: str, experiment: Experiment, dataset: Dataset) -> list[dict]:
    """Trains every seed, then evaluates them all."""
    features = features_of(experiment, dataset)
    words = find_data(WORD_VECTORS) if experiment.words else None
    runs = [Path("runs") / f"{name}-{seed}" for seed in experiment.seeds]
    seconds = []
    for run_folder, seed in zip(runs, experiment.seeds, strict=True):
        print(f"{run_folder}: {experiment.about}", flush=True)
        train(_config(experiment), dataset, features, run_folder, seed=seed, word_vectors=words, resume=True)
        lines = (run_folder / "metrics.jsonl").read_text().splitlines()
        seconds.append(sum(__import__("json").loads(line)["seconds"] for line in lines))
    rows = []
    for run_folder, seed, spent in zip(runs, experiment.seeds, seconds, strict=True):
        model = checkpoint.load(run_folder)
        row = {"seed": seed, "training_seconds": round(spent)}
        for split in ("dev", "test") if experiment.test else ("dev",):
            row[split] = evaluate([model], dataset.split(split), [features]).as_dict()
        rows.append(row)
    return rows


def _ensemble_rows(experiment: Experiment, dataset: Dataset) -> list[dict]:
    """One row: the mean score of all the members' runs."""
    models, features = [], []
    for member in experiment.members:
        opened = features_of(EXPERIMENTS[member], dataset)
        for seed in EXPERIMENTS[member].seeds:
            models.append(checkpoint.load(Path("runs") / f"{member}-{seed}"))
            features.append(opened)
    row = {"models": len(models)}
    for split in ("dev", "test") if experiment.test else ("dev",):
        row[split] = evaluate(models, dataset.split(split), features).as_dict()
    return [row]


def _sd(values: list[float]) -> float | None:
    """The sample standard deviation, None for a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _commit() -> str:
    """The commit the code is at, with + when files differ from it."""
    got = subprocess.run(["git", "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=False)
    return got.stdout.strip() or "unknown"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.ranking", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", choices=[*EXPERIMENTS, "all"], metavar="NAME")
    names = parser.parse_args().names
    try:
        for name in EXPERIMENTS if "all" in names else names:
            result = run(name)
            for split in ("dev", "test"):
                if f"{split}_rsum" in result:
                    print(f"{name}: {split} rsum {result[f'{split}_rsum']['mean']:.1f}", flush=True)
    except InputError as error:
        print(f"experiments.ranking: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
