"""The tables of what all systems share: hub correction, zero-shot classes. Renders results, see tables.py."""

from experiments.markdown import markdown, number, recalls_of
from experiments.results import mean_and_sd


def hubs(rows: list[dict]) -> str:
    """A row a model: rsum of the same runs plain and corrected, and the paired bootstrap of the difference on test."""
    lines = []
    for r in rows:
        difference = r["difference"]["rsum"]
        low, high = difference["interval"]
        chosen = [f"{way['k']} / {way['weight']:g}" for way in (r["rows"][0][kind] for kind in ("photos", "captions"))]
        lines.append([
            r["about"].removesuffix(", hubs"), number(r["plain_dev_rsum"]), number(r["dev_rsum"]),
            number(r["plain_test_rsum"]), f"**{number(r['test_rsum'])}**", recalls_of(r, "i2t"), recalls_of(r, "t2i"),
            f"{difference['difference']:+.1f} ({low:+.1f} to {high:+.1f})", ", ".join(chosen),
        ])  # fmt: skip
    header = ["Flickr8K, rsum", "dev", "dev, hubs", "test", "test, hubs", "i2t, hubs", "t2i, hubs", "test, difference",
              "k / weight: photos, captions"]  # fmt: skip
    return markdown(header, lines)


def transductive(row: dict) -> str:
    """Test rsum of the inverted softmax, for a sentence."""
    return number(mean_and_sd([seed["inverted_softmax"]["test_rsum"] for seed in row["rows"]]))


def zero_shot(rows: list[dict]) -> str:
    """A row a model: nouns of Flickr8K's test photos, beside chance and the supervised tagger on the same features."""
    lines = []
    for r in rows:
        cells = [
            number(r[f"{kind}_{figure}"]) for figure in ("map", "accuracy") for kind in ("templates", "name_alone")
        ]
        tagger = [f"{r['tagger'][figure]:.1f}" for figure in ("map", "accuracy")]
        lines.append([r["about"], *cells[:2], tagger[0], *cells[2:], tagger[1]])
    chance = [f"{rows[0]['chance'][figure]:.1f}" for figure in ("map", "accuracy")]
    lines.append(["chance", chance[0], "", "", chance[1], "", ""])
    header = [
        "Flickr8K test",
        "60 nouns, mAP",
        "name alone",
        "supervised",
        "12 nouns, accuracy",
        "name alone",
        "supervised",
    ]
    return markdown(header, lines)
