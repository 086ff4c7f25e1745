"""A photo's own tag sentence as one more view when ranking: `python -m experiments.views.tag_sentences [NAME...]`.

To a photo's score with a caption comes weight times the caption's with the photo's tag sentence: the photo's point
moves toward it. The tags of dev and test photos are of the noun tagger, which saw the training photos alone; the weight
is chosen on dev, seed by seed. Of rows `views-...` that read test; the same runs stand beside themselves.
"""

import sys

import numpy as np

from experiments import find_data, results
from experiments.compare import differences
from experiments.noise import NOISE
from experiments.per_image import ranking_row
from experiments.ranking import features_of
from experiments.results import mean_and_sd, origin
from experiments.rows import EXPERIMENTS, VIEWS
from experiments.trained import Scorer, scorers
from vse.data.datasets import Dataset, read_dataset
from vse.data.part_of_speech import tag_cache
from vse.evaluate import row_of
from vse.metrics import Cosines, block_ranks
from vse.tags.nouns import noun_tags
from vse.tags.sentences import Tags, sentences_of

WEIGHTS = tuple(round(0.05 * i, 2) for i in range(21))
NAMES = ("views-windows-text", "views-windows-all")


class Tagged:
    """A split's photos, tag sentences and captions, each encoded once."""

    def __init__(self, scorer: Scorer, split: Dataset, tags: Tags):
        self._images, self._captions = scorer.images(split.images), scorer.texts(split.captions)
        self._tags = scorer.texts(sentences_of(tags, split.images))

    def scores(self, weight: float) -> Cosines:
        """Each photo moved by `weight` toward its tag sentence; 0: those of the photos alone."""
        return Cosines(self._images + np.float32(weight) * self._tags, self._captions)


def run(name: str) -> dict:
    """The result of one row, written to results/views-tag-sentence-NAME.json."""
    experiment, rows = EXPERIMENTS[name], []
    dataset = NOISE[experiment.captions](read_dataset(find_data(experiment.data)))
    tags = noun_tags(dataset, features_of(experiment), tag_cache(find_data(experiment.data)), progress=True)
    dev, test = dataset.split("dev"), dataset.split("test")
    ranks: dict[str, list] = {"plain": [], "tags": []}
    for scorer in scorers(name):
        on_dev, on_test = (Tagged(scorer, split, tags) for split in (dev, test))
        by_weight = {w: row_of(on_dev.scores(w), dev, bootstrap=0).rsum for w in WEIGHTS}
        best = max(WEIGHTS, key=by_weight.get)
        row = {"seed": scorer.seed, "weight": best, "dev": {"plain": by_weight[0.0], "tags": by_weight[best]}}
        for kind, weight in (("plain", 0.0), ("tags", best)):
            ranks[kind].append(block_ranks(on_test.scores(weight), test.image_of_caption))
        rows.append(row)
        print(name, row, flush=True)
    plain, moved = (
        ranking_row(f"{name} {kind}", "test", *map(np.stack, zip(*ranks[kind], strict=True)), test.image_of_caption)
        for kind in ("plain", "tags")
    )
    result = {
        "name": f"views-tag-sentence-{name}", "about": experiment.about, **origin(f"views.tag_sentences {name}"),
        "rows": rows, "difference": differences(moved, plain),
    }  # fmt: skip
    for kind in ("plain", "tags"):
        result[f"{kind}_dev_rsum"] = mean_and_sd([row["dev"][kind] for row in rows])
    return results.write(f"views-tag-sentence-{name}", result)


def _run(names: list[str]) -> None:
    for name in results.asked(names, VIEWS) if names else NAMES:
        run(name)


def main() -> int:
    return results.main("views.tag_sentences", __doc__, _run, {"names": {"nargs": "*", "metavar": "NAME"}})


if __name__ == "__main__":
    sys.exit(main())
