"""What every experiment does alike: its command line, a row's file, the call and commit it is of, mean and spread.

Knows no experiment; all of them import it.
"""

import argparse
import dataclasses
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from experiments import RESULTS
from vse.system.errors import InputError
from vse.system.files import write_json
from vse.system.settings import config_from_dict


def main(name: str, about: str, work: Callable[..., int | None], options: dict[str, dict] | None = None) -> int:
    """The exit status of `python -m experiments.NAME`: what `work` says, 1 for a user's mistake, said in one line.

    `about`: the module's docstring, whose first line is the help. `options`: what argparse is told of each argument;
    `work` is called with them by name.
    """
    parser = argparse.ArgumentParser(prog=f"python -m experiments.{name}", description=about.splitlines()[0])
    for option, settings in (options or {}).items():
        parser.add_argument(option, **settings)
    arguments = vars(parser.parse_args())
    try:
        return work(**arguments) or 0
    except InputError as error:
        print(f"experiments.{name}: {error}", file=sys.stderr)
        return 1


def asked(names: Sequence[str], rows: Sequence[str]) -> Sequence[str]:
    """The names, or all rows where none is given. Raises InputError for one that is no row."""
    if unknown := [name for name in names if name not in rows]:
        raise InputError(f"{unknown[0]}: no such row; expected some of {', '.join(rows)}")
    return names or rows


def path_of(name: str) -> Path:
    """The file of the result NAME."""
    return RESULTS / f"{name}.json"


def write(name: str, result: dict) -> dict:
    """The result itself, written to results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    write_json(path_of(name), result)
    return result


def origin(call: str) -> dict[str, str]:
    """The command `python -m experiments.CALL` and the commit that make a result."""
    return {"command": f"python -m experiments.{call}", "commit": commit()}


def commit() -> str:
    """The commit the code is at, with + when files differ from it."""
    git = subprocess.run(["git", "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=False)
    return git.stdout.strip() or "unknown"


def sd(values: Sequence[float]) -> float | None:
    """The sample standard deviation, None for a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def mean_and_sd(values: Sequence[float]) -> dict[str, float | None]:
    """{"mean", "sd"}, as result files hold a figure over seeds."""
    return {"mean": float(np.mean(values)), "sd": sd(values)}


def over_seeds(rows: Sequence[dict]) -> dict[str, dict | None]:
    """Mean and sd of every figure of the rows, None for one that they do not have (METEOR without Java)."""
    columns = {key: [row[key] for row in rows if row[key] is not None] for key in rows[0] if key != "seed"}
    return {key: mean_and_sd(values) if values else None for key, values in columns.items()}


def means(figures: dict[str, dict | None]) -> dict[str, float]:
    """The means of what `over_seeds` returns, one decimal, for the terminal."""
    return {key: round(value["mean"], 1) for key, value in figures.items() if value}


def changed(config, changes: dict):
    """A config dataclass with dotted fields replaced; unknown ones raise InputError."""
    values = dataclasses.asdict(config)
    for path, value in changes.items():
        *parents, last = path.split(".")
        node = values
        for parent in parents:
            node = node.get(parent, {})
        if last not in node:
            raise InputError(f"{path}: no such setting")
        node[last] = value
    return config_from_dict(type(config), values)
