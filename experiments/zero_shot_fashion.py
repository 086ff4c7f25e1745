"""Zero-shot classes far from photos: `python -m experiments.zero_shot_fashion NAME...` asks trained rows.

Fashion-MNIST (Xiao et al. 2017): grey pictures of clothes, 28 pixels a side, ten classes; Debian's package
`dataset-fashion-mnist`, or its four files in data/fashion-mnist. Nothing here was chosen by it: 2,000 of its test
pictures, 200 a class, the first in the file; the supervised tagger learns from as many of its training pictures.
Shapes: n pictures, c classes.
"""

import gzip
import sys
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from experiments import find_data, results
from experiments.ranking import EXTRACTED, extracted
from experiments.results import mean_and_sd, origin
from experiments.rows import EXPERIMENTS, THREE_CNNS
from experiments.trained import scorers
from experiments.zero_shot import PENALTIES
from vse.features.store import Features
from vse.system.errors import InputError
from vse.system.files import write_atomically
from vse.tags.nouns import mean_features, ridge
from vse.zero_shot import NAME_ALONE, TEMPLATES, ZeroShot

PACKAGE = Path("/usr/share/datasets/fashion-mnist")
# In words that captions of Flickr8K have: sweater for pullover, boots for ankle boot, plurals.
LABELS = ("t-shirt", "trousers", "sweater", "dress", "coat", "sandals", "shirt", "sneakers", "bag", "boots")
EACH = 200
_FILES = {"train": "train", "test": "t10k"}


def read_idx(path: Path) -> UInt8[np.ndarray, " ..."]:
    """The array of a gzipped IDX file of bytes. Raises InputError for another file."""
    try:
        with gzip.open(path) as file:
            data = file.read()
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: expected a gzipped IDX file of Fashion-MNIST: {error}") from None
    dimensions = data[3] if data[:3] == b"\0\0\x08" and len(data) > 3 else 0
    shape = np.frombuffer(data[4 : 4 + 4 * dimensions], ">u4").astype(int)
    if not dimensions or len(data) - 4 - 4 * dimensions != shape.prod():
        raise InputError(f"{path}: expected bytes in the IDX format, as of Fashion-MNIST")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def of_each_class(labels: UInt8[np.ndarray, " n"], each: int = EACH) -> list[int]:
    """The first `each` pictures of every class, class by class."""
    return [int(i) for label in range(len(LABELS)) for i in np.flatnonzero(labels == label)[:each]]


def pictures(folder: Path, split: str, out: Path) -> tuple[list[str], np.ndarray]:
    """(the files of the chosen pictures, written under `out`; their classes)."""
    images = read_idx(folder / f"{_FILES[split]}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{_FILES[split]}-labels-idx1-ubyte.gz")
    names, chosen = [], of_each_class(labels)
    for i in chosen:
        names.append(f"{split}-{i:05d}.png")
        path = out / names[-1]
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, lambda part, i=i: Image.fromarray(images[i]).save(part, "PNG"))
    return names, labels[chosen].astype(int)


def supervised(features: Features, names: dict[str, list[str]], truth: dict[str, np.ndarray]) -> float:
    """Accuracy in percent of ridge regression, its penalty chosen on every fifth training picture."""
    dev = np.arange(len(names["train"])) % 5 == 0
    x = {split: mean_features(features, names[split]) for split in names}
    y = np.eye(len(LABELS))[truth["train"]]
    centre = x["train"].mean(0)
    train, test = x["train"] - centre, x["test"] - centre
    weights = ridge(train[~dev], y[~dev], PENALTIES)
    best = max(weights, key=lambda penalty: _right(train[dev] @ weights[penalty], truth["train"][dev]))
    return _right(test @ ridge(train, y, (best,))[best], truth["test"])


def _right(scores: Float[np.ndarray, "n c"], classes: Int[np.ndarray, " n"]) -> float:
    """The share of highest scores that are right, in percent."""
    return 100 * float(np.mean(scores.argmax(1) == classes))


def run(names: list[str]) -> dict:
    """All rows, written to results/fashion-zero-shot.json."""
    folder = PACKAGE if PACKAGE.exists() else find_data("fashion-mnist")
    out = EXTRACTED / "fashion-mnist" / "pictures"
    files, truth = {}, {}
    for split in _FILES:
        files[split], truth[split] = pictures(folder, split, out)
    together = files["train"] + files["test"]
    features = extracted("fashion-mnist", THREE_CNNS, [out / name for name in together], together)
    rows = []
    for name in names:
        of_seeds = []
        for scorer in scorers(name):
            if len(scorer.models) > 1 or EXPERIMENTS[name].features != THREE_CNNS:
                raise InputError(f"{name}: expected one model a seed on three CNNs")
            images = scorer.models[0].encode_images(features.take(files["test"]))
            of_seeds.append({
                kind: _right(ZeroShot(scorer.models[0], LABELS, templates).scores(images), truth["test"])
                for kind, templates in (("templates", TEMPLATES), ("name_alone", NAME_ALONE))
            })  # fmt: skip
        kinds = {kind: mean_and_sd([seed[kind] for seed in of_seeds]) for kind in of_seeds[0]}
        rows.append({"name": name, "about": EXPERIMENTS[name].about, "seeds": of_seeds, **kinds})
        print(name, {kind: round(value["mean"], 1) for kind, value in kinds.items()}, flush=True)
    return results.write("fashion-zero-shot", {
        "name": "fashion-zero-shot", **origin("zero_shot_fashion " + " ".join(names)), "labels": LABELS,
        "pictures": len(files["test"]), "chance": 100 / len(LABELS),
        "supervised": supervised(features, files, truth), "rows": rows,
    })  # fmt: skip


def _run(names: list[str]) -> None:
    run(names)


def main() -> int:
    return results.main("zero_shot_fashion", __doc__, _run, {
        "names": {"nargs": "+", "choices": list(EXPERIMENTS), "metavar": "NAME"},
    })  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
