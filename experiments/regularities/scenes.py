"""Arithmetic on pictures of scenes, where the truth is known: is the top hit exactly the scene in which one attribute
changed and all else was kept?

Two galleries: the data set itself, each scene once, most of it trained on; and fresh pictures, each scene four times.
`linear` and `paper` differ in two things, the recipe and the sum of words against the LSTM: so a third encoder, with
the recipe of `paper`, differs in the sum of words alone.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from tqdm import tqdm

from experiments import RUNS
from experiments.regularities.methods import METHODS, TOP, embedded, query_of, top_others
from experiments.results import changed
from vse.data.datasets import read_dataset
from vse.features.build import extract_features
from vse.features.store import Features
from vse.recipes import RECIPES
from vse.runs import checkpoint
from vse.scenes.scenes import COLOURS, PLACES, Scene, read_truth, render
from vse.search.index import Index
from vse.system.files import write_text
from vse.train import train

SEEDS = (0, 1, 2)
# Light trainings: 20 epochs of 4,000 captions in batches of 40, words from a random start.
_LIGHT = {"epochs": 20, "batch_size": 40}
SCENE_RUNS: dict[str, tuple[str, str, dict]] = {  # name -> (what it is, recipe, changes)
    "linear": ("sum of words (`linear`)", "linear", _LIGHT),
    "paper": ("LSTM (`paper`)", "paper", _LIGHT),
    "paper-sum": ("sum of words, rest as `paper`", "paper", _LIGHT | {"model.text.encoder": "bow"}),
}
SCENE_FEATURES = {"encoder": "efficientnet-lite2", "views": ("full",), "grid": 3, "precision": "bfloat16"}
# A second gallery, never trained on: a whole part of the world, each scene drawn four times anew.
FOUR = {
    "thing": ("car", "boat", "balloon", "umbrella", "bird"),
    "colour": COLOURS,
    "weather": ("sunny", "rainy", "snowy", "night"),
    "place": PLACES[:3] + PLACES[5:],
}
CHANGES = ("colour", "weather", "thing", "place")


@dataclass(frozen=True)
class Change:
    """A query on scenes: the picture, which attribute changes, the words for it, and the pictures that are right."""

    picture: int
    attribute: str
    minus: tuple[str, ...]
    plus: tuple[str, ...]
    right: tuple[int, ...]


def changes(truth: Sequence[Scene]) -> list[Change]:
    """Every change of one attribute of every scene (of several pictures the first) whose changed scene is there too."""
    pictures: dict[Scene, list[int]] = {}
    for i, scene in enumerate(truth):
        pictures.setdefault(scene, []).append(i)
    queries = []
    for scene, (i, *_) in pictures.items():
        for target, right in pictures.items():
            differing = [a for a in CHANGES if getattr(scene, a) != getattr(target, a)]
            if len(differing) == 1:
                before, after = (_words(s, differing[0]) for s in (scene, target))
                minus, plus = (tuple(w for w in a if w not in b) for a, b in ((before, after), (after, before)))
                queries.append(Change(i, differing[0], minus, plus, tuple(right)))
    return queries


def _words(scene: Scene, attribute: str) -> tuple[str, ...]:
    """What the grammar calls the value: one word, for a place its relation and the second thing."""
    if attribute != "place":
        return (getattr(scene, attribute),)
    relation = {"left of": "left", "right of": "right", "in front of": "front"}.get(scene.relation, scene.relation)
    return (relation, scene.second) if scene.second else (relation,)


def judge_scenes(images: np.ndarray, truth: Sequence[Scene], words: dict[str, np.ndarray]) -> dict[str, dict]:
    """attribute -> method -> shares in percent: `top1` right, `top4` (of the right ones that 4 can show), `all4`.

    "chance" is what a random order gives; "kept" is the share of top hits that keep all other attributes, "changed"
    of those that have the new value, right or not.
    """
    all_changes, index = changes(truth), Index(images, [str(i) for i in range(len(images))])
    result: dict[str, dict] = {}
    for attribute in CHANGES:
        of_attribute = [c for c in all_changes if c.attribute == attribute]
        if not of_attribute:
            continue
        result[attribute] = {"queries": len(of_attribute)}
        chance = [len(c.right) / (len(truth) - 1) for c in of_attribute]
        result[attribute]["chance"] = {"top1": 100 * float(np.mean(chance))}
        result[attribute]["chance"]["top4"] = float(
            np.mean([100 * _chance_top(c, len(truth) - 1) for c in of_attribute])
        )
        for method in METHODS:
            queries = np.stack([query_of(images[c.picture], c.minus, c.plus, words, method) for c in of_attribute])
            nearest = top_others(index, images, queries, [c.picture for c in of_attribute], method == "reranked")
            result[attribute][method] = _shares(of_attribute, nearest, truth, attribute)
    return result


def _chance_top(change: Change, others: int) -> float:
    """The expected share of the right ones that four random pictures show."""
    return TOP * len(change.right) / others / min(TOP, len(change.right))


def _shares(queries: list[Change], nearest: np.ndarray, truth: Sequence[Scene], attribute: str) -> dict[str, float]:
    right = np.array([np.isin(row, c.right) for row, c in zip(nearest, queries, strict=True)])
    possible = np.array([min(TOP, len(c.right)) for c in queries])
    goals = [truth[c.right[0]] for c in queries]
    firsts = [truth[i] for i in nearest[:, 0]]
    changed = [getattr(a, attribute) == getattr(b, attribute) for a, b in zip(firsts, goals, strict=True)]
    unchanged = [all(getattr(a, x) == getattr(b, x) for x in CHANGES if x != attribute)
            for a, b in zip(firsts, goals, strict=True)]  # fmt: skip
    return {
        "top1": 100 * float(right[:, 0].mean()),
        "top4": 100 * float((right.sum(1) / possible).mean()),
        "all4": 100 * float((right.sum(1) == TOP).mean()),
        "changed": 100 * float(np.mean(changed)),
        "kept": 100 * float(np.mean(unchanged)),
    }


def scene_features(folder: Path, images: Sequence[str], name: str) -> Features:
    """Features of pictures in a folder, extracted first where they are not there yet."""
    out = Path("features") / name / "lite2-grid3"
    return extract_features([folder / i for i in images], images, out=out, **SCENE_FEATURES)


def four_of_each() -> tuple[Path, dict[str, Scene]]:
    """The folder of the second gallery, drawn first where it is not there, and the scene of each picture."""
    folder = Path("data/scenes-four")
    scenes = [Scene(t, c, w, *p) for t, c, w, p in product(*(FOUR[a] for a in ("thing", "colour", "weather", "place")))]
    truth = {f"{i:03d}-{j}.png": scene for i, scene in enumerate(scenes) for j in range(4)}
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name, scene in tqdm(truth.items(), desc="scenes, four of each", unit="picture", disable=None):
            render(scene, random.Random(f"regularities {name}")).save(folder / name)
        write_text(folder / "done", f"{len(truth)} pictures\n")
    return folder, truth


def scenes() -> dict:
    """The result of the galleries of scenes for every encoder and seed."""
    dataset = read_dataset("scenes")
    features = scene_features(dataset.root, dataset.images, "scenes")
    folder, four = four_of_each()
    known = read_truth(dataset.root.parent)
    galleries = {
        "scenes": (features, list(dataset.images), [known[i] for i in dataset.images]),
        "four": (scene_features(folder, list(four), "scenes-four"), list(four), list(four.values())),
    }
    rows = []
    for name, (about, recipe, settings) in SCENE_RUNS.items():
        for seed in SEEDS:
            run = RUNS / f"regularities-{name}-{seed}"
            train(changed(RECIPES[recipe](), settings), dataset, features, run, seed=seed, resume=True)
            model = checkpoint.load(run)
            for gallery, (opened, order, truth) in galleries.items():
                words = embedded(model, {w for s in truth for a in CHANGES for w in _words(s, a)})
                judged = judge_scenes(model.encode_images(opened.take(order)), truth, words)
                rows.append({"encoder": name, "about": about, "seed": seed, "gallery": gallery, "judged": judged})
            print(name, seed, {a: round(judged[a]["arithmetic"]["top1"], 1) for a in CHANGES}, flush=True)
    return {"pictures": {name: len(order) for name, (_, order, _) in galleries.items()}, "rows": rows}
