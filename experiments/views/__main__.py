"""The ladders of views: `python -m experiments.views [NAME...]` makes their rows, all of VIEWS without any.

Each step adds a pair of views to those before it, with the encoders of `best` and of CLIP; and image-text alone beside
all views where a photo has one caption, or three captions in ten belong to another photo. What a row tells is what a
row of the table of objectives tells (experiments/objectives.py).
"""

import sys

from experiments import objectives, results
from experiments.compare import compare
from experiments.results import origin, path_of
from experiments.rows import LADDERS, VIEWS


def over_one_view() -> dict:
    """Test rsum of every row that is there less that of its ladder's first row, paired, in results/views.json."""
    differences = {}
    for first, *steps in LADDERS.values():
        there = [name for name in steps if path_of(name).exists() and path_of(first).exists()]
        differences |= {name: compare(name, first, "test")["figures"]["rsum"] | {"over": first} for name in there}
    return results.write("views", {"name": "views", **origin("views"), "differences": differences})


def _run(names: list[str]) -> None:
    objectives.run_all(results.asked(names, VIEWS), "views")
    over_one_view()


def main() -> int:
    return results.main("views", __doc__, _run, {"names": {"nargs": "*", "metavar": "NAME"}})


if __name__ == "__main__":
    sys.exit(main())
