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
    header = ["Flickr8K test", "60 nouns, mAP", "name alone", "supervised", "12 nouns, accuracy", "name alone",
              "supervised"]  # fmt: skip
    return markdown(header, lines)


def fashion(result: dict) -> str:
    """A row a model: accuracy on Fashion-MNIST, beside chance and a supervised tagger on the same features."""
    lines = [[r["about"], number(r["templates"]), number(r["name_alone"])] for r in result["rows"]]
    lines += [["supervised", f"{result['supervised']:.1f}", ""], ["chance", f"{result['chance']:.1f}", ""]]
    return markdown(["Fashion-MNIST, accuracy", "templates", "name alone"], lines)


def scenes_zero_shot(result: dict) -> str:
    """A row a model: accuracy of drawn scenes whose pair of thing and color was seen in training, and was not."""
    kinds = {"thing": "10 things", "colour": "5 colors", "weather": "6 weathers", "phrase": "50 phrases"}
    lines = [
        [r["about"], *(
            " / ".join(number(r["accuracy"][which][kind]["templates"]) for which in ("seen", "unseen"))
            for kind in kinds
        )]
        for r in result["rows"]
    ]  # fmt: skip
    lines.append(["chance", *(f"{result['chance'][kind]:.0f}" for kind in kinds)])
    return markdown(["scenes, accuracy: seen / unseen", *kinds.values()], lines)


def objectives(rows: list[dict], differences: dict[str, dict]) -> str:
    """A row an objective: ranking, cost, agreement with people, zero-shot classes, all of the same runs."""
    lines = []
    for r in rows:
        lines.append([
            r["about"], "word2vec" if r["words"] else "random", number(r["dev_rsum"]), *_both_ways(r),
            f"**{number(r['test_rsum'])}**", _over(differences.get(r["name"].removeprefix("objectives-"))),
            number(r["hubs_test_rsum"]),
        ])  # fmt: skip
    header = ["Flickr8K", "words start", "dev rsum", "i2t", "t2i", "test rsum", "over the row above", "test rsum, hubs"]
    return markdown(header, lines)


def views(rows: list[dict], differences: dict[str, dict]) -> str:
    """A row a step of a ladder of views, and what it is over the ladder's first."""
    lines = []
    for r in rows:
        lines.append([
            r["about"], number(r["dev_rsum"]), *_both_ways(r), f"**{number(r['test_rsum'])}**",
            _over(differences.get(r["name"].removeprefix("objectives-"))), number(r["hubs_test_rsum"]),
        ])  # fmt: skip
    header = ["Flickr8K", "dev rsum", "i2t", "t2i", "test rsum", "over photo and caption", "test rsum, hubs"]
    return markdown(header, lines)


def tag_sentences(rows: list[dict]) -> str:
    """A row a model: test rsum of the same runs without and with the photo's tag sentence as one more view."""
    lines = []
    for r in rows:
        figure = r["difference"]["rsum"]
        weights = ", ".join(f"{seed['weight']:g}" for seed in r["rows"])
        lines.append([r["about"], f"{figure['b']:.1f}", f"{figure['a']:.1f}", _over(figure), weights])
    header = ["Flickr8K, rsum", "test", "test, tag sentence", "difference", "weights of the seeds"]
    return markdown(header, lines)


def _both_ways(row: dict) -> list[str]:
    """R@1 / R@5 / R@10 of photos and of captions."""
    return [" / ".join(f"{row[way][k]['mean']:.1f}" for k in ("r1", "r5", "r10")) for way in ("i2t", "t2i")]


def _over(difference: dict | None) -> str:
    """A difference with its interval, in bold where it is real (experiments/compare.py)."""
    if difference is None:
        return ""
    low, high = difference["interval"]
    text = f"{difference['difference']:+.1f} ({low:+.1f} to {high:+.1f})"
    return f"**{text}**" if difference["real"] else text


def objectives_beside(rows: list[dict]) -> str:
    """What else the same runs do, and what they cost."""
    lines = [
        [
            r["about"], number(r["tau"]["expert"]), number(r["tau"]["crowd"]), number(r["zero_shot"]["map"]),
            number(r["zero_shot"]["accuracy"]), f"{r['parameters'] / 1e6:.1f} M", f"{r['tflop']:.0f}",
            f"{r['seconds']['mean'] / 60:.0f}",
        ]
        for r in rows
    ]  # fmt: skip
    header = ["", "experts, tau-c", "crowd, tau-b", "60 nouns, mAP", "12 nouns, accuracy", "parameters",
              "TFLOP a seed", "minutes a seed"]  # fmt: skip
    return markdown(header, lines)


def trials(rows: list[dict]) -> str:
    """What was tried on dev, one seed each, best first."""
    ordered = sorted(rows, key=lambda r: -r["dev_rsum"]["mean"])
    return markdown(["Flickr8K dev, one seed", "rsum"], [[r["about"], number(r["dev_rsum"])] for r in ordered])
