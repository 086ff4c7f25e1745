"""Renders results/*.json as the tables of README.md and docs/; `python -m experiments.tables --check` only compares.

A table, or a figure in a sentence, stands between `<!-- table NAME -->` and `<!-- end -->`; nothing else is touched.
"""

import math
import re
import sys
from collections.abc import Callable
from pathlib import Path

from experiments import RESULTS, bench_tables, paper
from experiments.markdown import COLUMNS, has, markdown, number, recalls_of, result, results
from experiments.regularities.tables import explained, flickr_rows, lead, scene_rows
from experiments.results import main as run
from experiments.rows import OBJECTIVES
from experiments.speed_tables import shares, speed

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
_SLOT = re.compile(r"(<!-- table ([\w-]+) -->\n?).*?(<!-- end -->)", re.DOTALL)


def _printed(row: paper.Printed, way: str) -> str:
    r1, r5, r10, median = getattr(row, way)
    shown = "" if median is None else f" / [{median}]" if row.remembered else f" / {median}"
    return f"{r1:.1f} / {r5:.1f} / {r10:.1f}{shown}"


def _rsum(row: paper.Printed) -> str:
    return f"{sum(row.i2t[:3]) + sum(row.t2i[:3]):.1f}"


def _table1(split: str, rows: tuple[paper.Printed, ...], ours: list[str]) -> str:
    header = [split, "image annotation (i2t)", "image search (t2i)", "rsum"]
    lines = [[row.method, _printed(row, "i2t"), _printed(row, "t2i"), _rsum(row)] for row in rows]
    for r in (result(name) for name in ours if (RESULTS / f"{name}.json").exists()):
        lines.append([f"**ours: {r['about']}**", recalls_of(r, "i2t"), recalls_of(r, "t2i"), number(r["test_rsum"])])
    return markdown(header, lines)


def _glance() -> str:
    """The main results, each beside the printed figure that is nearest in kind, and the page that has the rest."""
    printed = {row.method: row for row in paper.FLICKR8K}

    def rsum(about: str, name: str, method: str) -> list[str]:
        page = "[ranking](docs/results/ranking.md)"
        return [about, number(result(name)["test_rsum"]), f"{_rsum(printed[method])}, {method}", page]

    captions, best = result("captions-test-pipeline")["metrics"], max(paper.CAPTIONS, key=lambda r: r.figures[3] or 0)
    nats = {name: result(f"perplexity-{name}")["test"] for name in ("scnlm-k2", "multiplicative", "trigram")}
    scnlm, multiplicative, trigram = (f"{math.exp(sum(row.values())):.2f}" for row in nats.values())
    people, clip = result("human-concepts-ensemble")["tau"], paper.JUDGEMENTS["clipscore"]
    pages = {name: f"[{name}](docs/results/{name}.md)" for name in ("captions", "perplexity", "judgements")}
    lines = [
        rsum("Ranking, rsum: the paper's recipe", "paper", "Kiros et al., OxfordNet"),
        rsum("Ranking, rsum: one model (`best`)", "best", "NAA, ResNet"),
        rsum("Ranking, rsum: ensemble of three", "ensemble", "SCAN (region detector, ensemble)"),
        ["Ranking, rsum: ensemble of three, hub-corrected", number(result("hubs-ensemble")["test_rsum"]), "",
         "[ranking](docs/results/ranking.md#hub-correction)"],
        ["Captions, BLEU-4", number(captions["bleu4"]), f"{best.figures[3]:g}, {best.method}", pages["captions"]],
        ["Captions, CIDEr", number(captions["cider"]), "", pages["captions"]],
        ["Perplexity per word: SC-NLM, structure included",
         f"{scnlm} (multiplicative LM {multiplicative}, trigram {trigram})", "", pages["perplexity"]],
        ["Agreement with experts / crowd, tau x 100, no references",
         f"{number(people['expert'])} / {number(people['crowd'])}",
         f"{clip.expert} / {clip.crowd}, CLIPScore (ViT-B/32)", pages["judgements"]],
    ]  # fmt: skip
    return markdown(["Flickr8K test", "this project", "published", "details"], lines)


def _seed(result: dict, seed: int) -> str:
    """The test row of one seed, as `vse evaluate` prints it."""
    row = next(row["test"] for row in result["rows"] if row["seed"] == seed)
    return markdown(["Flickr8K test", "i2t", "t2i", "rsum"], [["models/flickr8k/vse", *_cells(row)]])


def _cells(row: dict) -> list[str]:
    """Both directions and the rsum of one seed's row."""
    ways = [" / ".join(f"{row[way][key]:.1f}" for key in COLUMNS) for way in ("i2t", "t2i")]
    return [*ways, f"{row['rsum']:.1f}"]


def _ablations(best: dict, ablations: list[dict]) -> str:
    """Dev rows of one seed each, the best first; `best` itself among them."""
    rows = [(r["about"], r["rows"][0]["dev"]) for r in ablations] + [("**best**", best["rows"][0]["dev"])]
    lines = [[about, *_cells(row)] for about, row in sorted(rows, key=lambda pair: -pair[1]["rsum"])]
    return markdown(["Flickr8K dev", "i2t", "t2i", "rsum"], lines)


def _perplexity(rows: list[dict]) -> str:
    """A row a model: nats and perplexity a word on test, without and with the extra text.

    Of the SC-NLM sentence and structure together, and beside it the sentence alone, its structure given.
    """
    order = ["trigram", "lbl", "multiplicative", "scnlm-k0", "scnlm-k1", "scnlm-k2", "scnlm-k3", "scnlm-fine"]
    by_name = {r["name"]: r["test"] for r in rows}
    about = {r["name"]: r["about"] for r in rows}
    lines = []
    for name in order:
        with_extra = by_name.get({"scnlm-k2": "scnlm-extra"}.get(name, f"{name}-extra"))
        if name in by_name:
            cells = [cell for r in (by_name[name], with_extra) for cell in _nats(r, name.startswith("scnlm"))]
            lines.append([about[name], *cells])
    columns = ["sentence and structure", "sentence given structure"]
    return markdown(["Flickr8K test", *columns, "+ Flickr30K: both", "given structure"], lines)


def _nats(row: dict | None, structured: bool) -> tuple[str, str]:
    """nats a word (perplexity) of all that is predicted, and of the sentence given its structure; empty if unknown."""
    if row is None:
        return "", ""
    if not structured:
        return _with_perplexity(row["nats"]), ""
    return _with_perplexity(row["nats"] + row["structure_nats"]), _with_perplexity(row["nats"])


def _with_perplexity(nats: float) -> str:
    return f"{nats:.3f} ({math.exp(nats):.2f})"


_METRICS = {"bleu1": "B-1", "bleu2": "B-2", "bleu3": "B-3", "bleu4": "B-4", "meteor": "METEOR",
            "rouge_l": "ROUGE-L", "cider": "CIDEr"}  # fmt: skip


def _captions(head: str, printed: tuple[paper.PrintedCaptions, ...], rows: list[dict]) -> str:
    lines = [[row.method, *("" if v is None else f"{v:g}" for v in row.figures)] for row in printed]
    for r in rows:
        about = f"**ours: {r['about']}**" if printed else r["about"]
        lines.append([about, *(_metric(r["metrics"][m]) for m in _METRICS)])
    return markdown([head, *_METRICS.values()], lines)


def _metric(value: dict | None) -> str:
    return "" if value is None else number(value)


def _machines(compared: dict) -> str:
    """The shipped set on the two kinds of machine: rsum, and how often the sentences agree."""
    kinds = [[k["machine"], k["precision"], f"{k['rsum']:.1f}"] for k in compared["kinds"]]
    lines = [
        [about, *(f"{100 * compared[kind][key]:.1f} %" for key in ("same_best_sentence", "same_of_all"))]
        for about, kind in (("float32, as `scnlm caption`", "captions"), ("bfloat16", "captions_of_bfloat16_features"))
    ]
    agreeing = markdown(["the CNN on the machine with units in", "same best sentence", "same of all five"], lines)
    return f"{markdown(['machine', 'features in', 'rsum, Flickr8K test'], kinds)}\n{agreeing}"


# Kendall's tau printed by others (Hessel et al. 2021): experts, crowd; text in brackets is remembered.
def _human(rows: dict[str, dict]) -> str:
    """A row a score: ours beside the printed figure of the same metric, then metrics that are printed only."""
    metrics = ("bleu1", "bleu4", "rouge_l", "meteor", "cider")
    lines = [[f"{rows[name]['about']}, five references", *_taus(rows[name], *_printed_taus(name))] for name in metrics]
    for name, printed in paper.JUDGEMENTS.items():
        if name not in metrics:
            expert, crowd = _printed_taus(name)
            lines.append([printed.method, "", expert, "", crowd, ""])
    for name in ("paper", "linear", "best", "best-hubs", "ensemble", "trigram", "score", "concepts",
                 "concepts-ensemble", "ensemble-references"):  # fmt: skip
        if name in rows:
            lines.append([f"**ours: {rows[name]['about']}**", *_taus(rows[name])])
    return markdown(["", "experts, tau-c", "printed", "crowd, tau-b", "printed", "crowd, others' captions"], lines)


def _printed_taus(name: str) -> tuple[str, str]:
    """(expert, crowd) as printed, in brackets where the source was not seen; empty where nothing is."""
    if name not in paper.JUDGEMENTS:
        return "", ""
    printed = paper.JUDGEMENTS[name]
    shown = "[{}]" if printed.remembered else "{}"
    return shown.format(printed.expert), "" if printed.crowd is None else shown.format(printed.crowd)


def _taus(row: dict, expert: str = "", crowd: str = "") -> list[str]:
    tau = row["tau"]
    return [number(tau["expert"]), expert, number(tau["crowd"]), crowd, number(tau["crowd_others"])]


def _compared(rows: list[dict]) -> str:
    """A row a comparison, rankings first: its sum of recalls, or its CIDEr."""
    lines = []
    for r in sorted(rows, key=lambda r: ("rsum" not in r["figures"], r["a"], r["b"])):
        figure = "rsum" if "rsum" in r["figures"] else "cider"
        row = r["figures"][figure]
        low, high = row["interval"]
        spread = " / ".join(f"{sd:.1f}" for sd in row["seeds_sd"] if sd is not None)
        a, b = (r[side].removeprefix("captions-part-") for side in "ab")
        about = "rsum" if figure == "rsum" else "CIDEr of captions"
        lines.append([
            f"{a} - {b}, {about}", f"{row['difference']:+.1f}", f"{low:+.1f} to {high:+.1f}",
            f"{100 * row['below_zero']:.1f} %", spread, "yes" if row["real"] else "no",
        ])  # fmt: skip
    return markdown(["", "difference", "95 % interval", "draws below 0", "sd of seeds", "real"], lines)


def _first_seed(name: str) -> dict:
    """A row as one seed of it is."""
    row = result(name)
    return row | {"about": f"**{row['about']}**", "dev_rsum": {"mean": row["rows"][0]["dev"]["rsum"], "sd": None}}


def _objectives() -> list[dict]:
    """The rows of the table of objectives that are there, in its order."""
    return [result(f"objectives-{name}") for name in OBJECTIVES if has(f"objectives-{name}")]


TABLES: dict[str, Callable[[], str]] = {
    "hubs": lambda: bench_tables.hubs(
        [result(f"hubs-{n}") for n in ("paper", "linear", "best", "ensemble") if has(f"hubs-{n}")]
    ),
    "inverted-softmax": lambda: bench_tables.transductive(result("hubs-best")),
    "zero-shot": lambda: bench_tables.zero_shot(results("zero-shot-")),
    "zero-shot-fashion": lambda: bench_tables.fashion(result("fashion-zero-shot")),
    "zero-shot-scenes": lambda: bench_tables.scenes_zero_shot(result("scenes-zero-shot")),
    "tuned": lambda: _table1("Flickr8K test", (), ["best", "tuned"]),
    "tuned-trials": lambda: bench_tables.trials([*map(_first_seed, ("best", "tuned")), *results("tuned-")]),
    "objectives": lambda: bench_tables.objectives(_objectives(), result("objectives")["differences"]),
    "objectives-beside": lambda: bench_tables.objectives_beside(_objectives()),
    "pixels": lambda: bench_tables.trials(results("pixels-")),
    "trials": lambda: bench_tables.trials(results("trial-")),
    "glance": _glance,
    "flickr8k": lambda: _table1("Flickr8K test", paper.FLICKR8K, ["paper", "linear", "best", "ensemble"]),
    "shipped": lambda: _seed(result("best"), 0),
    "flickr30k-subset": lambda: _table1(
        "Flickr30K subset, test", (), ["flickr30k-paper", "flickr30k-linear", "flickr30k-best"]
    ),
    "ablations": lambda: _ablations(result("best"), results("ablation-")),
    "perplexity": lambda: _perplexity(results("perplexity-")),
    "captions": lambda: _captions("Flickr8K test", paper.CAPTIONS, results("captions-test-")),
    "parts": lambda: _captions(
        "Flickr8K dev, 200 images", (), sorted(results("captions-part-"), key=lambda r: -r["metrics"]["cider"]["mean"])
    ),
    "votes": lambda: _captions("Flickr8K dev, 200 images, shipped set", (), results("captions-vote-")),
    "human": lambda: _human({r["name"]: r for r in results("human-")}),
    "compare": lambda: _compared(results("compare-")),
    "regularities-scenes": lambda: markdown(*scene_rows(result("regularities-scenes"), "scenes")),
    "regularities-four": lambda: markdown(*scene_rows(result("regularities-scenes"), "four")),
    "regularities-flickr8k": lambda: markdown(*flickr_rows(result("regularities-flickr8k"))),
    "regularities-lead": lambda: lead(result("regularities-flickr8k")["differences"], "regularities-sum", "paper"),
    "regularities-explained": lambda: explained(
        [figure for figure in result("regularities-figures")["figures"] if "flickr8k" in figure["file"]]
    ),
    "speed": lambda: markdown(*speed(result("speed"))),
    "speed-float32": lambda: markdown(*speed(result("speed-float32"))),
    "speed-shares": lambda: markdown(*shares(result("speed"), result("speed-float32"))),
    "machines": lambda: _machines(result("precision")),
}


def rendered(page: str) -> str:
    """The text of a page with every table made anew."""
    return _SLOT.sub(lambda m: f"{m[1]}{TABLES[m[2]]()}{m[3]}", page)


def _run(check: bool) -> int:
    status = 0
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        after = rendered(before)
        if before == after:
            continue
        if check:
            print(f"{page.name}: a table differs from experiments/results; run: make tables", file=sys.stderr)
            status = 1
        else:
            page.write_text(after, encoding="utf-8")
    return status


def main() -> int:
    check = {"action": "store_true", "help": "only compare; exit 1 where a page differs"}
    return run("tables", __doc__, _run, {"--check": check})


if __name__ == "__main__":
    sys.exit(main())
