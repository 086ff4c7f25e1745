"""The rows of the regularities' tables, and figures of their text: results/regularities-*.json -> strings."""

import numpy as np

Rows = tuple[list[str], list[list[str]]]
_METHODS = {
    "word": "the new word alone",
    "image": "the image alone",
    "arithmetic": "**image - word + word**",
    "reranked": "image - word + word, re-ranked",
}
_ENCODERS = {
    "linear": "sum of words (`linear`)",
    "paper": "LSTM (`paper`)",
    "regularities-sum": "sum of words, rest as `paper`",
}


def scene_rows(result: dict, gallery: str) -> Rows:
    """Percent right, top hit / top 4, of every attribute; the crossed encoders with the arithmetic alone."""
    rows = [row for row in result["rows"] if row["gallery"] == gallery]
    attributes = rows[0]["judged"]
    header = [f"{result['pictures'][gallery]:,} pictures"] + [f"{a} ({attributes[a]['queries']:,})" for a in attributes]
    lines = [["chance", *(_pair([attributes[a]["chance"]]) for a in attributes)]]
    for encoder in dict.fromkeys(row["encoder"] for row in rows):
        seeds = [row for row in rows if row["encoder"] == encoder]
        for method, about in _METHODS.items():
            if encoder in _ENCODERS or method == "arithmetic":
                cells = [_pair([row["judged"][a][method] for row in seeds]) for a in attributes]
                lines.append([f"{seeds[0]['about']}: {about}", *cells])
    return header, lines


def flickr_rows(result: dict) -> Rows:
    """Percent of the top 4 that are right, by category; for all of the list with its interval."""
    categories = list(result["rows"][0]["categories"])
    header = [f"{len(result['queries'])} queries, Flickr8K test", "all [95 % interval]", *categories[1:]]
    lines = []
    for row in result["rows"]:
        if row["method"] == "chance" and lines:
            continue
        about = f"{_ENCODERS[row['encoder']]}: {_METHODS[row['method']]}" if row["method"] != "chance" else "chance"
        cells = [f"{row['categories'][c]['mean']:.1f}" for c in categories[1:]]
        lines.append([about, _interval(row["categories"]["all"]), *cells])
    return header, lines


def lead(differences: list[dict], winner: str, loser: str) -> str:
    """By how many points one encoder's arithmetic is ahead of another's, with the interval."""
    of, less = [winner, "arithmetic"], [loser, "arithmetic"]
    d = next(d for d in differences if (d["of"], d["less"]) == (of, less))
    return f"{d['mean']:.1f} points (95 % interval {d['low']:.1f} to {d['high']:.1f})"


def explained(figures: list[dict]) -> str:
    """How much of the variance the two axes of the figures hold, from the smallest to the largest."""
    shares = [sum(pair) for figure in figures for pair in figure["explained"].values()]
    return f"{min(shares):.0f} to {max(shares):.0f} %"


def _pair(values: list[dict]) -> str:
    """top hit / top 4, mean over seeds."""
    return " / ".join(f"{np.mean([v[key] for v in values]):.1f}" for key in ("top1", "top4"))


def _interval(value: dict) -> str:
    return f"{value['mean']:.1f} [{value['low']:.1f}, {value['high']:.1f}]"
