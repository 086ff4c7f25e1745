"""README.md and docs/ say what the committed results say and print commands that exist; so do the rows' settings."""

import functools
import importlib
import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, fields

import numpy as np
import pytest

from experiments import (
    RESULTS,
    captions,
    free_photos,
    paper,
    per_image,
    perplexity,
    ranking,
    results,
    rows,
    speed_tables,
    tables,
)
from experiments.caption_metrics import METRICS
from scnlm.captions.captioner import CaptionConfig, Captioner
from scnlm.rerank.cider import Cider
from scnlm.rerank.score import Candidate, Weights
from scnlm.rerank.vote import ranked
from scnlm.train import LMTrainConfig
from vse.data.datasets import Dataset, read_dataset
from vse.data.photos import read_photo
from vse.features.side_by_side import open_combined
from vse.recipes import RECIPES
from vse.system import command_line
from vse.system.errors import InputError

pytest.register_assert_rewrite("coloured_shapes", "coloured_captions")
from coloured_captions import TINY_LM, works  # noqa: E402

pytest_plugins = ["coloured_shapes", "coloured_captions"]

PARTS = (
    "full", "no-trigram", "no-translation", "no-bag", "no-decoder", "no-structure", "no-vote", "no-reranking", "oracle",
    "no-concepts", "multiplicative", "candidates-10", "candidates-100", "candidates-5000",
)  # fmt: skip
PAGES = {str(page.relative_to(tables.ROOT)): page.read_text(encoding="utf-8") for page in tables.PAGES}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```\n", re.DOTALL | re.MULTILINE)


def printed_commands() -> list[str]:
    """The command lines of all pages, continued lines joined."""
    blocks = [block for page in PAGES.values() for language, block in FENCE.findall(page) if not language]
    text = "".join(blocks).replace("\\\n", "")
    return [line for line in text.splitlines() if re.match(r"(vse|scnlm|python -m) ", line)]


@pytest.mark.parametrize("page", PAGES)
def test_every_table_is_what_the_results_give(page):
    assert tables.rendered(PAGES[page]) == PAGES[page], "run: make tables"


def test_every_table_is_on_a_page():
    assert set(re.findall(r"<!-- table ([\w-]+) -->", "".join(PAGES.values()))) == set(tables.TABLES)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_somewhere(page):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", PAGES[page]):
        path = (tables.ROOT / page).parent / target if target else tables.ROOT / page
        assert path.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}, anchor


@pytest.mark.parametrize("line", printed_commands())
def test_every_printed_command_can_be_parsed(line, monkeypatch, capsys):
    program, *words = shlex.split(line, comments=True)
    if program == "python":
        assert importlib.util.find_spec(words[1]), line
        return
    call, called = command_line.call, []

    def parsed(program, commands, *others):
        return call(program, {name: idle(command) for name, command in commands.items()}, *others)

    def idle(command):
        return functools.wraps(command)(lambda *_, **__: called.append(command))

    monkeypatch.setattr(command_line, "call", parsed)
    assert importlib.import_module(f"{program}.__main__").main(words) == 0, capsys.readouterr().err
    assert len(called) == 1


def test_the_pages_print_commands_of_both_programs():
    assert {line.split()[0] for line in printed_commands()} == {"vse", "scnlm", "python"}


def test_a_changed_figure_is_found(tmp_path, monkeypatch, capsys):
    page = PAGES["docs/results/ranking.md"]
    row = next(line for line in page.splitlines() if line.startswith("| **ours"))
    figure = re.search(r"\d+\.\d", row)[0]
    wrong = page.replace(row, row.replace(figure, f"{float(figure) + 0.1:.1f}", 1))
    monkeypatch.setattr(tables, "PAGES", (tmp_path / "README.md", tmp_path / "ranking.md"))
    (tmp_path / "README.md").write_text(PAGES["README.md"])
    (tmp_path / "ranking.md").write_text(wrong)
    monkeypatch.setattr(sys, "argv", ["tables", "--check"])
    assert tables.main() == 1 and "ranking.md" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["tables"])
    assert tables.main() == 0
    assert (tmp_path / "ranking.md").read_text() == page


@pytest.mark.parametrize("name", rows.EXPERIMENTS)
def test_every_experiment_names_settings_features_and_members_that_exist(name):
    experiment = rows.EXPERIMENTS[name]
    ranking.changed(RECIPES[experiment.recipe](), experiment.changes)
    started = {experiment.start} - {""}
    assert {*experiment.members, *experiment.teachers} | started <= set(rows.EXPERIMENTS)
    assert not experiment.test or len(experiment.seeds) >= 3


@pytest.mark.parametrize("setting", ["loss.margins", "los.margin"])
def test_an_unknown_setting_is_refused(setting):
    with pytest.raises(InputError, match=setting):
        ranking.changed(RECIPES["paper"](), {setting: 0.1})


def test_every_result_is_of_an_experiment_and_has_its_settings():
    for result in tables.results():
        if "experiments.ranking" in result.get("command", ""):
            experiment = rows.EXPERIMENTS[result["name"]]
            assert result["command"].endswith(result["name"])
            assert len(result["rows"]) == (1 if experiment.members else len(experiment.seeds))
            assert experiment.test or "test_rsum" not in result  # test is read for settled rows alone


def test_the_printed_sums_of_the_paper_are_percentages():
    for row in paper.FLICKR8K:
        for r1, r5, r10, _ in (row.i2t, row.t2i):
            assert 0 <= r1 <= r5 <= r10 <= 100


def test_missing_data_is_said_in_one_line(tmp_path):
    got = subprocess.run(
        [sys.executable, "-m", "experiments.ranking", "paper"],
        cwd=tmp_path, env={"PYTHONPATH": str(RESULTS.parent.parent), "PATH": ""},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert got.returncode == 1
    assert got.stderr.count("\n") == 1 and "vse download" in got.stderr


@pytest.mark.parametrize("module", [captions, perplexity], ids=lambda module: module.__name__)
def test_missing_data_of_the_language_half_is_said_in_one_line(module, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["experiments", "parts" if module is captions else "lbl"])
    assert module.main() == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "vse download" in said.err and not said.out and not list(tmp_path.iterdir())


# --- Perplexity ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", perplexity.ROWS)
def test_every_row_of_the_perplexity_table_names_settings_that_exist(name):
    row = perplexity.ROWS[name]
    config = ranking.changed(LMTrainConfig(), row.changes)
    assert row.extra == name.endswith("-extra") and bool(row.changes) != name.startswith("trigram")
    if row.changes:  # the paper's u, and the model that the name says
        assert (config.content, config.content_noise) == ("caption", 0.0)
        assert config.lm.model == name.split("-")[0] and config.tag_set == ("fine" if "fine" in name else "coarse")
        k = re.search(r"-k(\d)", name)
        assert config.lm.tag_context == (int(k[1]) if k else 2)


def test_every_row_of_the_perplexity_table_is_shown():
    rows = [
        {"name": name, "about": f"({name})", "test": {"nats": 2.0 + i / 100}} for i, name in enumerate(perplexity.ROWS)
    ]
    structured = [row for row in rows if row["name"].startswith("scnlm")]
    for i, row in enumerate(structured):
        row["test"]["structure_nats"] = 1.5 + i / 1000
    table = tables._perplexity(rows)
    for row in rows:
        for value in {row["test"]["nats"], sum(row["test"].values())}:
            assert table.count(f"{value:.3f} ({np.exp(value):.2f})") == 1, row["name"]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.split("\n")[2:-1]]
    by_about = {about: figures for about, *figures in cells}
    assert by_about["(trigram)"] == ["2.000 (7.39)", "", "2.080 (8.00)", ""]
    assert by_about["(scnlm-k2)"][1::2] == ["2.050 (7.77)", "2.110 (8.25)"]  # beside it scnlm-extra
    assert by_about["(scnlm-k2)"][0] == "3.552 (34.88)"  # the sum
    assert by_about["(scnlm-fine)"][2:] == ["", ""]
    assert tables._perplexity([]).count("\n") == 2


def test_a_structure_costs_what_its_trigram_says():
    draw, tags = np.random.default_rng(0), ("DET", "NOUN", "VERB")
    seen = [tuple(draw.choice(tags, n)) for n in draw.integers(1, 3, 200)]
    nats = perplexity.structure_nats(seen, {"a": seen[:50], "b": [("DET",)], "c": [("DET", "X")]})
    assert nats["a"] < np.log(4) < nats["c"]  # better than a guess among three tags and the end; never seen: dear
    every = [own for n in range(7) for own in itertools.product((*tags, "X"), repeat=n)]
    found = perplexity.structure_nats(seen, {" ".join(own): [own] for own in every})
    total = sum(np.exp(-nats * (len(name.split()) + 1)) for name, nats in found.items())
    assert 0.97 < total < 1.0001  # a probability; what is left is longer


def test_structures_are_added_to_rows_that_are_there(world, tmp_path, monkeypatch):
    old = {"name": "scnlm-k2", "about": "x", "dev": {"nats": 1.0, "sampled_nats": 9.0}, "test": {"nats": 2.0}}
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    monkeypatch.setattr(perplexity, "_texts", lambda name: (read_dataset(world.csv), None))
    monkeypatch.setattr(perplexity, "find_data", lambda name: tmp_path)
    monkeypatch.setattr(perplexity, "commit", lambda: "abc")
    with pytest.raises(InputError, match="measure the row first"):
        perplexity.add_structures("scnlm-k2")
    (tmp_path / "perplexity-scnlm-k2.json").write_text(json.dumps(old))
    added = perplexity.add_structures("scnlm-k2")
    assert added == json.loads((tmp_path / "perplexity-scnlm-k2.json").read_text())
    assert added["dev"].keys() == added["test"].keys() == {"nats", "structure_nats"}
    assert (added["dev"]["nats"], added["test"]["nats"], added["about"]) == (1.0, 2.0, "x")
    assert 0 < added["test"]["structure_nats"] < np.log(20) and added["structures_commit"] == "abc"


# --- Captions --------------------------------------------------------------------------------------------------------


def test_the_caption_tables_show_every_metric():
    figures = {key: {"mean": 10.0 + i, "sd": None} for i, key in enumerate(METRICS)}
    row = {"about": "all of it", "metrics": figures | {"meteor": None, "cider": {"mean": 50.04, "sd": 1.26}}}
    ours = tables._captions("Test", paper.CAPTIONS, [row]).split("\n")
    assert len(ours) == 4 + len(paper.CAPTIONS) and ours[0].startswith("| Test | B-1 |") and "Soft attention" in ours[4]
    assert ours[-2] == "| **ours: all of it** | 10.0 | 11.0 | 12.0 | 13.0 |  | 15.0 | 50.0 ± 1.3 |"
    assert tables._captions("Dev", (), [row]).split("\n")[2].startswith("| all of it | 10.0")
    assert all(len(row.figures) == len(METRICS) == len(tables._METRICS) for row in paper.CAPTIONS)
    assert tuple(tables._METRICS) == METRICS


def test_the_speed_table_has_every_measurement():
    speed = {
        "training": [{"recipe": "best", "captions_per_s": 1234.5, "ratio": 2.04, "plain": "GRU", "times_floor": 3.96}],
        "features": {"share": 0.891, "images_per_s": 22.94},
        "ranking": [{"images": 25000, "captions": 125000, "seconds": 75.6412, "peak_mb": 51.7}],
        "captioning": {"seconds_an_image": 0.359, "times_floor": 4.67, "cold_start_s": 6.32,
                       "trigram_sentences_per_s": 450303.3},
        "language_model": {"captions_per_s": 2565.8, "times_floor": 4.38},
    }  # fmt: skip
    parts = [*speed["training"], *speed["ranking"], *map(speed.get, ("features", "captioning", "language_model"))]
    for part in parts:
        part |= {"machine": "AMD EPYC (AVX2), 2 threads", "precision": "float32"}
    table = tables.markdown(*speed_tables.speed(speed))
    assert table.count("float32, AMD EPYC (AVX2), 2 threads") == 7
    for shown in ("1,234", "2.0 x a GRU loop", "4.0 x its floor", "22.9", "89 %", "25,000 x 125,000", "75.64", "52 MB",
                  "0.36", "4.7 x the floor", "6.3", "450,303", "2,566", "4.4 x the floor"):  # fmt: skip
        assert shown in table, shown


@dataclass
class Small:
    """What the experiments on the tiny world are given, and the captions that they then measured."""

    dataset: Dataset
    captioner: Captioner
    told: list[list[str]]


@pytest.fixture
def small(world, parts, tmp_path, monkeypatch):
    """The caption experiments on the world of coloured shapes, results and runs in tmp_path; metrics are stand-ins."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "results").mkdir()
    told = []

    def metrics(references, said):
        told.append(said)
        pairs = zip(references, said, strict=True)
        known = [np.mean([word in " ".join(own) for word in caption.split()]) for own, caption in pairs]
        return dict.fromkeys(METRICS, 100 * float(np.mean(known))) | {"meteor": None}

    for name, value in {
        "RUNS": tmp_path / "runs", "ENCODER": str(parts.encoder),
        "TUNED": 3, "HELD_OUT": 2, "evaluate_captions": metrics,
        "features_of": lambda _: open_combined([parts.features], Captioner.load(parts.set).encoder.feature_info),
        "CaptionConfig": lambda **changes: CaptionConfig(**{"candidates": 60} | changes),
    }.items():  # fmt: skip
        monkeypatch.setattr(captions, name, value)
    for module in (results, per_image):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(results, "commit", lambda: "abc")
    return Small(read_dataset(world.csv), Captioner.load(parts.set), told)


def written(tmp_path) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in (tmp_path / "results").glob("*.json")}


def test_what_each_part_brings_can_be_run(small, world, parts, tmp_path, monkeypatch):
    shutil.copytree(parts.set, tmp_path / "runs" / "set-0")
    with monkeypatch.context() as patch:
        patch.setattr("scnlm.train.tag_captions", lambda sentences, *_: [("X",) * len(words) for words in sentences])
        out = tmp_path / "runs" / "perplexity-multiplicative"
        other = ("--epochs", 1, "--lm.model", "multiplicative")
        works("train", world.csv, "--encoder", parts.encoder, "--out", out, *TINY_LM, *other)

    def tune(measured, gains, without):
        """Every weight becomes 0.11 but those left out."""
        assert len(measured) == len(gains) == 3
        return Weights(**{f.name: 0.0 if f.name in without else 0.11 for f in fields(Weights)}), 0.0

    monkeypatch.setattr(captions, "tune", tune)
    captions.ablations(small.dataset)
    rows = {name.removeprefix("captions-part-"): row for name, row in written(tmp_path).items()}
    told = dict(zip(PARTS, small.told, strict=True))
    assert rows.keys() == told.keys()
    for row in rows.values():
        assert (row["split"], row["images"], row["commit"]) == ("dev", 2, "abc") and row["command"].endswith(" parts")
        assert row["metrics"]["meteor"] is None and 0 <= row["metrics"]["cider"]["mean"] <= 100
    off = {"no-trigram": ["trigram"], "no-translation": ["translation", "concepts"], "no-bag": ["concepts"],
           "no-decoder": ["decoder", "structure"], "no-structure": ["structure"], "no-concepts": ["concepts"],
           "multiplicative": ["structure"], "full": [], "no-vote": []}  # fmt: skip
    for name, weights in off.items():
        assert rows[name]["weights"] == asdict(Weights(*[0.11] * 9)) | dict.fromkeys(weights, 0.0)

    # Each row's captions of the two photos that nothing was tuned on, which are the last of five.
    dev = small.dataset.split("dev")
    points, cider = captions.images_of(small.captioner, dev), Cider(captions.references_of(dev))
    for i in (3, 4):
        (few,), (many,) = (small.captioner.candidates(points[i : i + 1], CaptionConfig(n)) for n in (60, 5000))
        worth = cider.scores(i, [c.tokens for c in few])
        assert told["oracle"][i - 3] == few[int(worth.argmax())].text and worth.max() > worth.min()
        assert told["no-reranking"][i - 3] == few[0].text
        for name, pool in {
            "full": few, "no-vote": few, "candidates-10": [c for c in many if c.draw < 10], "candidates-5000": many,
        }.items():  # fmt: skip
            best = ranked(pool, Weights(**rows[name]["weights"]), 0.0 if name == "no-vote" else CaptionConfig().vote)[0]
            assert told[name][i - 3] == best.text, name
    assert rows["oracle"]["weights"] is None is rows["no-reranking"]["weights"]
    texts = json.loads((tmp_path / "results" / "texts" / "captions-part-full.json").read_text())
    assert texts["images"] == list(dev.images[3:5]) and texts["rows"] == [{"seed": 0, "captions": told["full"]}]
    shown = tables._captions("Dev", (), list(rows.values()))
    assert shown.count("\n") == 2 + len(rows) and all(f"| {row['about']} |" in shown for row in rows.values())


def test_the_first_candidates_are_those_of_the_first_draws():
    pool = [Candidate(("a",), "image", ("X",), -1.0, draw=i) for i in (0, 9, 10, 3)]
    assert [c.draw for c in captions._first(pool, 10)] == [0, 9, 3]


def test_the_final_row_can_be_run(small, world, parts, tmp_path, monkeypatch):
    for seed in captions.SEEDS:
        shutil.copytree(parts.set, tmp_path / "runs" / f"set-{seed}")
    captions.test(small.dataset)
    rows = written(tmp_path)
    assert rows.keys() == {"captions-test-pipeline", "captions-test-no-vote", "captions-test-nearest"}
    assert [row["seed"] for row in rows["captions-test-pipeline"]["rows"]] == list(captions.SEEDS)
    assert rows["captions-test-pipeline"]["metrics"]["bleu1"]["sd"] is not None
    assert rows["captions-test-nearest"]["metrics"]["bleu1"]["sd"] is None
    points = captions.images_of(small.captioner, small.dataset.split("test"))
    asked = itertools.product((CaptionConfig().vote, 0.0), captions.SEEDS)
    for (vote, seed), told in zip(asked, small.told, strict=False):  # the last is the nearest sentence
        config = CaptionConfig(candidates=60, vote=vote)
        assert told == [own[0].text for own in small.captioner.captions(points, config, seed)]
    assert all(row["command"] == "python -m experiments.captions test" for row in rows.values())


def test_a_set_is_made_once_and_one_that_was_not_finished_is_made_again(small, tmp_path, monkeypatch):
    """train and assemble do the work; a set is taken as it is where weights.json says that all of it is there."""
    calls, folder = [], tmp_path / "runs" / "set-7"
    monkeypatch.setattr(captions, "find_data", lambda name: tmp_path / "nowhere")
    monkeypatch.setattr(captions, "extra_text", lambda dataset: dataset)
    monkeypatch.setattr(captions, "train", lambda *args, **_: calls.append(args[3]))
    monkeypatch.setattr(captions, "assemble", lambda *args, **_: calls.append((args[5], folder.exists())))
    (tmp_path / "runs" / "trigram.arpa").touch()  # made before
    (folder / "scnlm").mkdir(parents=True)
    assert captions.caption_set(7, small.dataset) == folder
    assert calls == [tmp_path / "runs" / "scnlm-7", (folder, False)]
    folder.mkdir()
    calls.clear()
    (folder / "weights.json").write_text("{}")
    assert captions.caption_set(7, small.dataset) == folder and not calls


def test_the_committed_caption_results_are_of_their_experiment():
    for result in tables.results("captions-"):
        *command, which = result["command"].split()
        assert command == ["python", "-m", "experiments.captions"] and which in ("test", "parts", "vote")
        assert result["split"] == ("test" if which == "test" else "dev")
        assert tuple(result["metrics"]) == METRICS and len(result["rows"]) in (1, len(captions.SEEDS))
        assert result["images"] == (1000 if which == "test" else captions.HELD_OUT)
    for result in tables.results("perplexity-"):
        row = perplexity.ROWS[result["name"]]
        assert (result["changes"], result["extra"], result["about"]) == (row.changes, row.extra, row.about)
    assert f"{captions.HELD_OUT} images" in tables.TABLES["parts"]()


def test_there_are_six_free_photos(capsys):
    photos = free_photos.paths()
    assert len({path.name for path in photos}) == 6
    assert all(min(read_photo(path).size) >= 200 for path in photos)
