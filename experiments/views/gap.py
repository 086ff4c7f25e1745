"""The modality gap: `python -m experiments.views.gap`, after the rows `views-intra-...` of experiments.ranking.

How far apart the clouds of photos and captions of dev stand, by the weight of the pairs of one kind, (I1, I2) and
(T1, T2): the log of the cosine of the two clouds' means. 0 is no gap; beside it, dev rsum.
"""

import math
import sys

import matplotlib
import numpy as np
from jaxtyping import Float

from experiments import RESULTS, find_data, results
from experiments.results import origin, path_of
from experiments.rows import INTRA
from experiments.trained import scorers
from vse.data.datasets import read_dataset
from vse.system.errors import InputError
from vse.system.files import read_json

FIGURE = "views-gap.png"


def gap(images: Float[np.ndarray, "n d"], texts: Float[np.ndarray, "m d"]) -> float:
    """The log of the cosine of the means of two clouds, 0 at most. Raises InputError where it has none."""
    a, b = images.mean(0), texts.mean(0)
    cosine = float(a @ b / np.sqrt((a @ a) * (b @ b)))
    if not cosine > 0:
        raise InputError(f"the two clouds' means have a cosine of {cosine:.3f}: expected one above 0, to take its log")
    return math.log(cosine)


def _picture(rows: list[dict]) -> None:
    """The gap and dev rsum by weight, one panel each."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    names = [f"{row['weight']:g}" for row in rows]
    for panel, key, title in zip(panels, ("gap", "dev_rsum"), ("log cosine of the means", "dev rsum"), strict=True):
        panel.plot(names, [row[key] for row in rows], marker="o", color="tab:blue")
        panel.set(title=title, xlabel="weight of image-image and text-text")
        panel.grid(alpha=0.3)
    figure.savefig(RESULTS / FIGURE, dpi=110)


def _run() -> None:
    split, rows = read_dataset(find_data("flickr8k")).split("dev"), []
    for weight in INTRA:
        name = f"views-intra-{weight:g}"
        if not path_of(name).exists():
            raise InputError(f"results/{name}.json: not there; make it with: python -m experiments.ranking {name}")
        (scorer,) = scorers(name)
        value = gap(scorer.images(split.images), scorer.texts(split.captions))
        rows.append({"weight": weight, "gap": value, "dev_rsum": read_json(path_of(name))["dev_rsum"]["mean"]})
        print(name, f"gap {value:.3f}, dev rsum {rows[-1]['dev_rsum']:.1f}", flush=True)
    _picture(rows)
    results.write("views-gap", {"name": "views-gap", **origin("views.gap"), "rows": rows})


def main() -> int:
    return results.main("views.gap", __doc__, _run)


if __name__ == "__main__":
    sys.exit(main())
