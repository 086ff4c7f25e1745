"""Zero-shot classes in figures: `python -m experiments.zero_shot NAME...` asks trained rows of experiments.ranking.

Of the nouns of Flickr8K's test photos (experiments/nouns.py): mean average precision over up to 60, and accuracy among
12 that exclude each other, mean per class; with the templates and with the class name alone, beside chance and a
supervised tagger on the same features (ridge regression on the training photos, its penalty chosen on dev).
"""

import sys

import numpy as np
from jaxtyping import Bool, Float, Int

from experiments import find_data, results
from experiments.nouns import EXCLUSIVE, NOUNS, exclusive, frequent, mentions
from experiments.ranking import features_of
from experiments.results import mean_and_sd, origin
from experiments.rows import EXPERIMENTS
from experiments.trained import Scorer, scorers
from vse.data.datasets import Dataset, read_dataset
from vse.features.store import Features
from vse.search.points import unit
from vse.tags.nouns import mean_features, ridge
from vse.zero_shot import NAME_ALONE, TEMPLATES, sentence

PENALTIES = tuple(10.0**power for power in range(-2, 5))
LABELS = [words[0] for words in NOUNS]
Scores = Float[np.ndarray, "n c"]


def average_precision(scores: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> float:
    """The mean over the positives of the precision at their rank, in percent; ties count against the model."""
    order = np.lexsort((positive, -scores))  # of equals the negatives first
    hits = positive[order]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return 100 * float(precision[hits].mean())


def mean_average_precision(scores: Scores, counts: Int[np.ndarray, "n c"], columns: list[int]) -> float:
    """Over these classes; photos whose class is in doubt, named by one caption, are left out of it."""
    each = []
    for column in columns:
        sure = counts[:, column] != 1
        each.append(average_precision(scores[sure, column], counts[sure, column] >= 2))
    return float(np.mean(each))


def accuracy(scores: Float[np.ndarray, "n c"], classes: Int[np.ndarray, " n"]) -> float:
    """The mean over the classes of the share of their photos that get the highest score, in percent."""
    right = scores.argmax(1) == classes
    return 100 * float(np.mean([right[classes == c].mean() for c in np.unique(classes)]))


def class_vectors(scorer: Scorer, templates: tuple[str, ...]) -> Float[np.ndarray, "c d"]:
    """Of each noun the unit mean of its sentences, in the space of an ensemble as well."""
    texts = [sentence(template, label) for label in LABELS for template in templates]
    return unit(scorer.texts(texts).reshape(len(LABELS), len(templates), -1).mean(1))


def figures(scores: Scores, counts: Int[np.ndarray, "n c"]) -> dict[str, float]:
    """mAP over the frequent nouns and accuracy among the exclusive ones."""
    columns, photos, classes = exclusive(counts)
    return {
        "map": mean_average_precision(scores, counts, frequent(counts)),
        "accuracy": accuracy(scores[photos][:, columns], classes),
    }


def chance(counts: Int[np.ndarray, "n c"]) -> dict[str, float]:
    """What scores that say nothing give: the mean prevalence, and one in twelve."""
    each = [float((counts[:, c] >= 2).sum() / (counts[:, c] != 1).sum()) for c in frequent(counts)]
    return {"map": 100 * float(np.mean(each)), "accuracy": 100 / len(EXCLUSIVE)}


def tagger(dataset: Dataset, features: Features) -> dict:
    """The figures of ridge regression from the mean feature to the nouns of the training photos."""
    parts = {name: dataset.split(name) for name in ("train", "dev", "test")}
    inputs = {name: mean_features(features, part.images) for name, part in parts.items()}
    counts = {name: mentions(part) for name, part in parts.items()}
    centre = inputs["train"].mean(0)
    x = {name: array - centre for name, array in inputs.items()}
    y = (counts["train"] >= 2).astype(np.float64)
    weights = ridge(x["train"], y, PENALTIES)
    columns = frequent(counts["dev"])
    best = max(weights, key=lambda penalty: mean_average_precision(x["dev"] @ weights[penalty], counts["dev"], columns))
    return {"penalty": best} | figures(x["test"] @ weights[best], counts["test"])


def run(name: str) -> dict:
    """The result of one row, written to results/zero-shot-NAME.json."""
    dataset = read_dataset(find_data(EXPERIMENTS[name].data))
    split = dataset.split("test")
    counts, rows = mentions(split), []
    columns, photos, classes = exclusive(counts)
    for scorer in scorers(name):
        images = scorer.images(split.images)
        row = {"seed": scorer.seed}
        for kind, templates in (("templates", TEMPLATES), ("name_alone", NAME_ALONE)):
            row[kind] = figures(images @ class_vectors(scorer, templates).T, counts)
        rows.append(row)
    result = {
        "name": f"zero-shot-{name}", "about": EXPERIMENTS[name].about, **origin(f"zero_shot {name}"),
        "nouns": [LABELS[c] for c in frequent(counts)], "templates": TEMPLATES, "exclusive": EXCLUSIVE,
        "exclusive_photos": np.bincount(classes, minlength=len(EXCLUSIVE)).tolist(), "rows": rows,
        "chance": chance(counts), "tagger": tagger(dataset, features_of(_base(name))),
    }  # fmt: skip
    for kind in ("templates", "name_alone"):
        for figure in ("map", "accuracy"):
            result[f"{kind}_{figure}"] = mean_and_sd([row[kind][figure] for row in rows])
            print(name, kind, figure, f"{result[f'{kind}_{figure}']['mean']:.1f}", flush=True)
    return results.write(f"zero-shot-{name}", result)


def _base(name: str):
    """The experiment whose features a row has: an ensemble's are its members'."""
    members = EXPERIMENTS[name].members
    return EXPERIMENTS[members[0] if members else name]


def _run(names: list[str]) -> None:
    for name in names:
        run(name)


def main() -> int:
    return results.main(
        "zero_shot", __doc__, _run, {"names": {"nargs": "+", "choices": list(EXPERIMENTS), "metavar": "NAME"}}
    )


if __name__ == "__main__":
    sys.exit(main())
