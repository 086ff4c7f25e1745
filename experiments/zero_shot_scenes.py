"""Zero-shot classes of drawn scenes: `python -m experiments.zero_shot_scenes` trains and asks light models.

Ten things, five colors, six weathers, and the fifty phrases such as "red car", with five of these fifty left out of
training and dev: what is right about a pair that was never seen together was put together from its parts. Every scene
of a held-out pair is asked for, whatever its split, since none was trained on. Light trainings of 20 epochs, 3 seeds.
"""

import sys
from pathlib import Path

import numpy as np

from experiments import RUNS, results
from experiments.regularities.scenes import SCENE_FEATURES
from experiments.results import changed, mean_and_sd, origin
from vse.data.datasets import Dataset, read_dataset
from vse.features.build import extract_features
from vse.features.store import Features
from vse.model import VSE
from vse.recipes import RECIPES
from vse.runs import checkpoint
from vse.scenes.scenes import COLOURS, THING_NAMES, WEATHERS, read_truth
from vse.scenes.sentences import WHEN
from vse.train import train
from vse.zero_shot import NAME_ALONE, TEMPLATES, ZeroShot

SEEDS = (0, 1, 2)
HELD_OUT = tuple((THING_NAMES[2 * i], COLOURS[i]) for i in range(5))
_LIGHT = {"epochs": 20, "batch_size": 40}
MODELS: dict[str, tuple[str, str, dict]] = {  # name -> (what it is, recipe, changes)
    "paper": ("LSTM, ranking loss (`paper`)", "paper", _LIGHT),
    "linear": ("sum of words, InfoNCE (`linear`)", "linear", _LIGHT),
    "best": ("windows of words, InfoNCE (`best`)", "best", _LIGHT | {"model.image.heads": 1}),
    "clip": ("transformer, pieces of words, InfoNCE (`clip`)", "clip", _LIGHT | {"model.text.merges": 300}),
}
LABELS = {
    "thing": list(THING_NAMES),
    "colour": list(COLOURS),
    "weather": [WHEN[weather][0] for weather in WEATHERS],
    "phrase": [f"{colour} {thing}" for thing in THING_NAMES for colour in COLOURS],
}
OF_WEATHER = ("{}", "a picture {}", "a scene {}")


def without_pairs(dataset: Dataset, truth: dict) -> tuple[Dataset, list[str]]:
    """(the data set without the scenes of held-out pairs, these scenes' names)."""
    held = [(truth[name].thing, truth[name].colour) in HELD_OUT for name in dataset.images]
    names = [name for name, out in zip(dataset.images, held, strict=True) if out]
    return dataset.select(~np.array(held)), names


def answers(truth: dict, names: list[str]) -> dict[str, np.ndarray]:
    """The number of the right label of each kind for each scene."""
    scenes = [truth[name] for name in names]
    of_scene = {
        "thing": [s.thing for s in scenes], "colour": [s.colour for s in scenes],
        "weather": [WHEN[s.weather][0] for s in scenes], "phrase": [f"{s.colour} {s.thing}" for s in scenes],
    }  # fmt: skip
    return {kind: np.array([LABELS[kind].index(label) for label in of_scene[kind]]) for kind in LABELS}


def accuracies(model: VSE, features: Features, truth: dict, names: list[str]) -> dict[str, dict[str, float]]:
    """Top-1 in percent of each kind of label, with templates and with the label alone."""
    images, right = model.encode_images(features.take(names)), answers(truth, names)
    shares = {}
    for kind, labels in LABELS.items():
        templates = {"templates": OF_WEATHER if kind == "weather" else TEMPLATES, "name_alone": NAME_ALONE}
        shares[kind] = {
            which: 100 * float(np.mean(ZeroShot(model, labels, t).ranked(images)[:, 0] == right[kind]))
            for which, t in templates.items()
        }
    return shares


def run() -> dict:
    """All models and seeds, written to results/scenes-zero-shot.json."""
    dataset = read_dataset("scenes")
    truth = read_truth(Path(dataset.root).parent)
    paths = [dataset.path(i) for i in range(len(dataset.images))]
    features = extract_features(
        paths, dataset.images, out=Path("features") / "scenes" / "lite2-grid3", **SCENE_FEATURES
    )
    smaller, unseen = without_pairs(dataset, truth)
    seen, rows = list(smaller.split("test").images), []
    for name, (about, recipe, changes) in MODELS.items():
        config, of_seeds = changed(RECIPES[recipe](), changes), []
        for seed in SEEDS:
            folder = RUNS / f"zero-shot-scenes-{name}-{seed}"
            train(config, smaller, features, folder, seed=seed, resume=True)
            model = checkpoint.load(folder)
            asked = {"seen": seen, "unseen": unseen}
            of_seeds.append({which: accuracies(model, features, truth, names) for which, names in asked.items()})
        rows.append({"name": name, "about": about, "seeds": of_seeds, "accuracy": _summary(of_seeds)})
        print(name, {w: {k: round(v["templates"]["mean"], 1) for k, v in kinds.items()}
                     for w, kinds in rows[-1]["accuracy"].items()}, flush=True)  # fmt: skip
    return results.write("scenes-zero-shot", {
        "name": "scenes-zero-shot", **origin("zero_shot_scenes"), "held_out": HELD_OUT,
        "scenes": {"seen": len(seen), "unseen": len(unseen)},
        "chance": {kind: 100 / len(labels) for kind, labels in LABELS.items()}, "rows": rows,
    })  # fmt: skip


def _summary(of_seeds: list[dict]) -> dict:
    return {
        which: {
            kind: {t: mean_and_sd([seed[which][kind][t] for seed in of_seeds]) for t in ("templates", "name_alone")}
            for kind in LABELS
        }
        for which in ("seen", "unseen")
    }


def _run() -> None:
    run()


def main() -> int:
    return results.main("zero_shot_scenes", __doc__, _run)


if __name__ == "__main__":
    sys.exit(main())
