"""Committed results, and Markdown of them: what the pages of tables have in common."""

import json

from experiments import RESULTS

COLUMNS = ("r1", "r5", "r10", "med_r")


def result(name: str) -> dict:
    """The committed result NAME."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def has(name: str) -> bool:
    """True where the result NAME is committed."""
    return (RESULTS / f"{name}.json").exists()


def results(prefix: str = "") -> list[dict]:
    """All committed results whose names start with `prefix`, by name."""
    return [json.loads(p.read_text(encoding="utf-8")) for p in sorted(RESULTS.glob(f"{prefix}*.json"))]


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; the first column is left-aligned, the others right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "".join("| " + " | ".join(row) + " |\n" for row in (header, rule, *rows))


def number(value: dict) -> str:
    """mean ± sd, one decimal."""
    return f"{value['mean']:.1f}" + (f" ± {value['sd']:.1f}" if value["sd"] is not None else "")


def recalls_of(result: dict, way: str) -> str:
    """R@1, R@5, R@10 and Med r on test, means over seeds."""
    values = [result[f"test_{way}_{key}"]["mean"] for key in COLUMNS]
    return " / ".join(f"{value:.1f}" for value in values)
