"""Is the difference between two rows real? `python -m experiments.compare RESULT_A RESULT_B` says A minus B.

Paired bootstrap: the images are drawn again with replacement, the same ones for both rows; the candidates stay the full
split. Of several seeds the mean counts, and their spread stands beside it. A RESULT is a row of `experiments.ranking`
(`best`, or its results/best.json) or of `experiments.captions` (`captions-test-pipeline`).
"""

import sys
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64

from experiments import RESULTS, find_data, results
from experiments.per_image import PerImage, read_captions_row, read_ranking
from experiments.results import origin, path_of, sd
from experiments.rows import EXPERIMENTS
from vse.data.datasets import read_dataset
from vse.metrics import bootstrap_sums, percentile_interval
from vse.system.command_line import table
from vse.system.errors import InputError
from vse.system.files import write_json

DRAWS = 10_000
ENOUGH = 2.0  # standard errors of the difference of two means over seeds


def differences(a: PerImage, b: PerImage, draws: int = DRAWS, seed: int = 0) -> dict[str, dict]:
    """For each figure the means of both rows over seeds, A - B, its 95 % interval and the share of draws below 0.

    `seeds_sd`: the spread of A's and of B's seeds; `seeds_error`: the standard error that it gives the difference, None
    where a row has one seed. `real`: the interval leaves out 0, and the difference is ENOUGH times `seeds_error`.
    """
    if a.pairs_with != b.pairs_with:
        raise InputError(f"{a.name} is of {a.pairs_with}, {b.name} of {b.pairs_with}; expected rows of the same images")
    wholes = [_figures(row, row.images.sum(1, keepdims=True)) for row in (a, b)]
    drawn = [_figures(row, bootstrap_sums(row.images, draws, seed)) for row in (a, b)]
    result = {}
    for figure in (figure for figure in wholes[0] if figure in wholes[1]):
        of_seeds = [whole[figure][:, 0] for whole in wholes]
        means, sds = [float(values.mean()) for values in of_seeds], [sd(values) for values in of_seeds]
        shifts = drawn[0][figure].mean(0) - drawn[1][figure].mean(0)
        low, high = percentile_interval(shifts)
        difference, error = means[0] - means[1], None
        if None not in sds:
            error = float(np.sqrt(sum(spread**2 / len(values) for spread, values in zip(sds, of_seeds, strict=True))))
        result[figure] = {
            "a": means[0], "b": means[1], "difference": difference, "interval": [low, high],
            "below_zero": float(np.mean(shifts < 0)), "seeds": [len(values) for values in of_seeds], "seeds_sd": sds,
            "seeds_error": error, "real": bool((low > 0 or high < 0) and abs(difference) >= ENOUGH * (error or 0.0)),
        }  # fmt: skip
    return result


def _figures(row: PerImage, sums: Float64[np.ndarray, "seeds draws k"]) -> dict[str, Float[np.ndarray, "seeds draws"]]:
    """Every figure of every seed and draw."""
    of_seeds = [row.figures(figures) for figures in sums]
    return {figure: np.stack([figures[figure] for figures in of_seeds]) for figure in of_seeds[0]}


def compare(name_a: str, name_b: str, split: str | None = None, draws: int = DRAWS) -> dict:
    """The result of comparing two rows; without `split` on test where both read it, else on dev."""
    kinds = [name in EXPERIMENTS for name in (name_a, name_b)]
    if all(kinds):
        split = split or ("test" if EXPERIMENTS[name_a].test and EXPERIMENTS[name_b].test else "dev")
        rows = [read_ranking(name, split) for name in (name_a, name_b)]
    elif not any(kinds):
        dataset = read_dataset(find_data("flickr8k"))
        rows = [read_captions_row(name, dataset) for name in (name_a, name_b)]
    else:
        raise InputError(f"{name_a} and {name_b}: one ranks, one captions; expected two rows of the same kind")
    return {
        "a": name_a, "b": name_b, **origin(f"compare {name_a} {name_b}"),
        "images": rows[0].pairs_with, "draws": draws, "figures": differences(*rows, draws=draws),
    }  # fmt: skip


def row_name(result: str) -> str:
    """The name of a row that is given by name or as its results file. Raises InputError for neither."""
    name = Path(result).name.removesuffix(".json")
    if not path_of(name).exists():
        stems = sorted(path.stem for path in RESULTS.glob("*.json"))
        there = ", ".join(stem for stem in stems if stem in EXPERIMENTS or stem.startswith("captions-"))
        raise InputError(f"{result}: no such result in {RESULTS}; expected one of {there}")
    return name


def shown(result: dict) -> str:
    """The comparison as a table for the terminal."""
    rows = [["", result["a"], result["b"], "difference", "95 % interval", "below 0", "sd of seeds", "real"]]
    for figure, row in result["figures"].items():
        sds = " / ".join("-" if sd is None else f"{sd:.2f}" for sd in row["seeds_sd"])
        low, high = row["interval"]
        rows.append([
            figure, f"{row['a']:.2f}", f"{row['b']:.2f}", f"{row['difference']:+.2f}", f"{low:+.2f} to {high:+.2f}",
            f"{100 * row['below_zero']:.1f} %", sds, "yes" if row["real"] else "no",
        ])  # fmt: skip
    return table(rows)


def _run(a: str, b: str, split: str | None, draws: int, json: Path | None) -> None:
    if draws < 1:
        raise InputError(f"--draws {draws}: expected 1 or more")
    result = compare(row_name(a), row_name(b), split, draws)
    if json:
        write_json(json, result)
    print(f"{result['images']}, {result['draws']} draws")
    print(shown(result))


def main() -> int:
    return results.main("compare", __doc__, _run, {
        "a": {"metavar": "RESULT_A", "help": "a row's name or its results/NAME.json"},
        "b": {"metavar": "RESULT_B"},
        "--split": {"choices": ("dev", "test"), "help": "of ranking rows; test where both have it"},
        "--draws": {"type": int, "default": DRAWS},
        "--json": {"type": Path, "metavar": "FILE", "help": "write it there too"},
    })  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
