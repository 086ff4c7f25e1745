"""Is the difference between two rows real? `python -m experiments.compare RESULT_A RESULT_B` says A minus B.

Paired bootstrap: the images are drawn again with replacement, the same ones for both rows; the candidates stay the full
split. Of several seeds the mean counts, and their spread stands beside it. A RESULT is a row of `experiments.ranking`
(`best`, or its results/best.json) or of `experiments.captions` (`captions-test-pipeline`).
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64

from experiments import RESULTS, find_data
from experiments.per_image import PerImage, read_captions_row, read_ranking
from experiments.ranking import EXPERIMENTS, commit
from vse.data.datasets import read_dataset
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
    n = a.images.shape[1]
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64)
    (whole_a, drawn_a), (whole_b, drawn_b) = ((_figures(row, np.ones((1, n))), _figures(row, drawn)) for row in (a, b))
    found = {}
    for figure in (figure for figure in whole_a if figure in whole_b):
        own = whole_a[figure][:, 0], whole_b[figure][:, 0]
        shifts = drawn_a[figure].mean(0) - drawn_b[figure].mean(0)
        low, high = np.percentile(shifts, [2.5, 97.5]).tolist()
        difference = float(own[0].mean() - own[1].mean())
        sds = [float(values.std(ddof=1)) if len(values) > 1 else None for values in own]
        error = None
        if None not in sds:
            error = float(np.sqrt(sum(sd**2 / len(values) for sd, values in zip(sds, own, strict=True))))
        found[figure] = {
            "a": float(own[0].mean()), "b": float(own[1].mean()), "difference": difference, "interval": [low, high],
            "below_zero": float(np.mean(shifts < 0)), "seeds": [len(values) for values in own], "seeds_sd": sds,
            "seeds_error": error, "real": bool((low > 0 or high < 0) and abs(difference) >= ENOUGH * (error or 0.0)),
        }  # fmt: skip
    return found


def _figures(row: PerImage, drawn: Float64[np.ndarray, "draws n"]) -> dict[str, Float[np.ndarray, "seeds draws"]]:
    """Every figure of every seed; `drawn` says how often each image was drawn."""
    of_seeds = [row.figures(drawn @ images) for images in row.images]
    return {figure: np.stack([own[figure] for own in of_seeds]) for figure in of_seeds[0]}


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
        "a": name_a, "b": name_b, "command": f"python -m experiments.compare {name_a} {name_b}", "commit": commit(),
        "images": rows[0].pairs_with, "draws": draws, "figures": differences(*rows, draws=draws),
    }  # fmt: skip


def row_name(result: str) -> str:
    """The name of a row that is given by name or as its results file. Raises InputError for neither."""
    name = Path(result).name.removesuffix(".json")
    if not (RESULTS / f"{name}.json").exists():
        stems = sorted(path.stem for path in RESULTS.glob("*.json"))
        there = ", ".join(stem for stem in stems if stem in EXPERIMENTS or stem.startswith("captions-"))
        raise InputError(f"{result}: no such result in {RESULTS}; expected one of {there}")
    return name


def shown(result: dict) -> str:
    """The comparison as a table for the terminal."""
    rows = [["", result["a"], result["b"], "difference", "95 % interval", "below 0", "sd of seeds", "real"]]
    for figure, own in result["figures"].items():
        sds = " / ".join("-" if sd is None else f"{sd:.2f}" for sd in own["seeds_sd"])
        low, high = own["interval"]
        rows.append([
            figure, f"{own['a']:.2f}", f"{own['b']:.2f}", f"{own['difference']:+.2f}", f"{low:+.2f} to {high:+.2f}",
            f"{100 * own['below_zero']:.1f} %", sds, "yes" if own["real"] else "no",
        ])  # fmt: skip
    return table(rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.compare", description=__doc__.splitlines()[0])
    parser.add_argument("a", metavar="RESULT_A", help="a row's name or its results/NAME.json")
    parser.add_argument("b", metavar="RESULT_B")
    parser.add_argument("--split", choices=("dev", "test"), help="of ranking rows; test where both have it")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write it there too")
    arguments = parser.parse_args()
    try:
        if arguments.draws < 1:
            raise InputError(f"--draws {arguments.draws}: expected 1 or more")
        result = compare(row_name(arguments.a), row_name(arguments.b), arguments.split, arguments.draws)
        if arguments.json:
            write_json(arguments.json, result)
    except InputError as error:
        print(f"experiments.compare: {error}", file=sys.stderr)
        return 1
    print(f"{result['images']}, {result['draws']} draws")
    print(shown(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
