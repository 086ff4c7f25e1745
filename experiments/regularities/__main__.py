"""Arithmetic on images, measured: `python -m experiments.regularities NAME...` writes results/regularities-NAME.json.

`scenes`: where the truth is known (see scenes.py). `flickr8k`: a published list of queries; do human
captions of the top 4 name the added word and still the kept one? It needs `python -m experiments.ranking linear paper`.
`figures`: the PCA figures, after both (see figures.py).
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from experiments import RUNS, find_data, results
from experiments.ranking import features_of, train_seeds
from experiments.regularities.figures import figures
from experiments.regularities.methods import METHODS, embedded, query_of, top_others
from experiments.regularities.queries import QUERIES, Query, names, words_of_photos
from experiments.regularities.scenes import scenes
from experiments.results import mean_and_sd, origin
from experiments.rows import EXPERIMENTS, Experiment
from vse.data.datasets import read_dataset
from vse.metrics import bootstrap_sums, percentile_interval
from vse.runs import checkpoint
from vse.search.index import Index

SEEDS = (0, 1, 2)

# The third has `paper`'s recipe and its one CNN, and differs in the sum of words alone.
FLICKR_RUNS: dict[str, Experiment] = {
    "linear": EXPERIMENTS["linear"],
    "paper": EXPERIMENTS["paper"],
    "regularities-sum": Experiment(
        "sum of words, rest as `paper`", "paper", ("lite2-flip-grid3",), {"model.text.encoder": "bow"}
    ),
}


@dataclass(frozen=True)
class Analogy:
    """A query of the published list on the test photos: from where it starts, and which photos are right."""

    query: Query
    start: tuple[int, ...]
    right: np.ndarray  # (n,) bool


def analogies_of(captions: Sequence[str], owner: np.ndarray, photos: int) -> list[Analogy]:
    """The list's queries on these photos, by the words of all captions of a photo together."""
    words, analogies = words_of_photos(captions, owner, photos), []
    for q in QUERIES:
        kept, removed, added = (np.array([names(w, word) for w in words]) for word in (q.kept, q.removed, q.added))
        analogies.append(Analogy(q, tuple(np.flatnonzero(kept & removed & ~added).tolist()), kept & added))
    return analogies


def judge_flickr(
    images: np.ndarray, analogies: Sequence[Analogy], words: dict[str, np.ndarray]
) -> dict[str, list[list[float]]]:
    """method -> for each query of the list, for each photo it starts from: how many percent of the top 4 are right."""
    index = Index(images, [str(i) for i in range(len(images))])
    shares: dict[str, list[list[float]]] = {
        "chance": [[100 * float(a.right.sum()) / (len(images) - 1)] * len(a.start) for a in analogies]
    }
    for method in METHODS:
        shares[method] = []
        for a in analogies:
            minus, plus = [a.query.removed], [a.query.added]
            queries = np.stack([query_of(images[i], minus, plus, words, method) for i in a.start])
            nearest = top_others(index, images, queries, a.start, method == "reranked")
            shares[method].append((100 * a.right[nearest].mean(1)).tolist())
    return shares


def flickr8k() -> dict:
    """The result of the published list for every encoder, mean over seeds, with bootstrap intervals."""
    dataset = read_dataset(find_data("flickr8k"))
    split = dataset.split("test")
    analogies = analogies_of(split.captions, split.image_of_caption, len(split.images))
    needed = {w for q in QUERIES for w in (q.removed, q.added)}
    per_query: dict[str, dict[str, np.ndarray]] = {}  # encoder -> method -> (seeds, queries)
    for name, experiment in FLICKR_RUNS.items():
        opened = features_of(experiment)
        if name not in EXPERIMENTS:
            train_seeds(name, experiment, dataset, opened, SEEDS)
        features = opened.take(split.images)
        judged = []
        for seed in SEEDS:
            model = checkpoint.load(RUNS / f"{name}-{seed}")
            judged.append(judge_flickr(model.encode_images(features), analogies, embedded(model, needed)))
            print(name, seed, {m: round(float(np.mean([np.mean(s) for s in v])), 1) for m, v in judged[-1].items()})
        per_query[name] = {m: np.array([[np.mean(s) for s in j[m]] for j in judged]) for m in judged[0]}
    categories = {"all": np.arange(len(QUERIES))}
    for category in dict.fromkeys(q.category for q in QUERIES):
        categories[category] = np.array([i for i, q in enumerate(QUERIES) if q.category == category])
    rows = [
        {
            "encoder": name,
            "about": FLICKR_RUNS[name].about,
            "method": method,
            "categories": {c: _interval(values[:, which]) for c, which in categories.items()},
        }
        for name, methods in per_query.items()
        for method, values in methods.items()
    ]
    ours, theirs = ("linear", "arithmetic"), ("paper", "arithmetic")
    crossed = ("regularities-sum", "arithmetic")
    compared = [(ours, theirs), (crossed, theirs), (ours, crossed)]
    compared += [(pair, (pair[0], baseline)) for pair in (ours, theirs, crossed) for baseline in ("image", "word")]
    differences = [
        {"of": list(a), "less": list(b)} | _interval(per_query[a[0]][a[1]] - per_query[b[0]][b[1]]) for a, b in compared
    ]
    listed = [
        q._asdict() | {"photos": len(a.start), "right": int(a.right.sum())}
        | {name: round(float(per_query[name]["arithmetic"][:, i].mean()), 2) for name in FLICKR_RUNS}
        for i, (q, a) in enumerate(zip(QUERIES, analogies, strict=True))
    ]  # fmt: skip
    return {"photos": len(split.images), "rows": rows, "differences": differences, "queries": listed}


def _interval(values: np.ndarray) -> dict[str, float]:
    """The mean of (seeds, queries), the sd over seeds, and the 95 % bootstrap interval over the queries of the list."""
    low, high = percentile_interval(bootstrap_sums(values.mean(0)[:, None])[:, 0] / values.shape[1])
    return mean_and_sd(values.mean(1)) | {"low": low, "high": high}


WORK: dict[str, Callable[[], dict]] = {"scenes": scenes, "flickr8k": flickr8k, "figures": figures}


def _run(names: list[str]) -> None:
    for name in names:
        head = {"name": f"regularities-{name}", **origin(f"regularities {name}")}
        results.write(f"regularities-{name}", head | WORK[name]())


def main() -> int:
    names = {"nargs": "+", "choices": WORK, "metavar": "NAME", "help": ", ".join(WORK)}
    return results.main("regularities", __doc__, _run, {"names": names})


if __name__ == "__main__":
    sys.exit(main())
