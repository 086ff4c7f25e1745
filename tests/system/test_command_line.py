"""The command line from a caption list to a page of retrieved photos, on 32 little photos."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import vse.features
from vse.__main__ import main
from vse.configs import TrainConfig
from vse.data.datasets import read_dataset
from vse.encoders.image import ImageConfig
from vse.encoders.text import TextConfig
from vse.evaluate import evaluate
from vse.features.side_by_side import open_combined
from vse.hubs import Hubs, load_hubs, save_hubs
from vse.model import VSEConfig
from vse.recipes import RECIPES
from vse.runs.checkpoint import load
from vse.train import train

pytest.register_assert_rewrite("coloured_shapes")
from coloured_shapes import (  # noqa: E402
    TINY,
    call,
    colour_cnn_in,
    contents,
    draw,
    refused,
    works,
    write_matrix,
    write_table,
)

pytest_plugins = ["coloured_shapes"]
BEST = ("--recipe", "best", *TINY, "--min-count", 1, "--warmup-steps", 2, "--model.image.heads", 1)


def numbers(text: str) -> list[float]:
    """The numbers of the table row that `train` and `evaluate` print."""
    row = next(line for line in text.splitlines() if re.match(r"csv:\w+ \w+ |dev, best epoch ", line))
    return [float(cell) for cell in re.findall(r" (\d+\.\d)\b", row)]


def of_json(row: dict) -> list[float]:
    values = [row[side][key] for side in ("i2t", "t2i") for key in ("r1", "r5", "r10", "med_r")]
    return [round(value, 1) for value in (*values, row["rsum"])]


# --- data and features --------------------------------------------------------------------------------------


def test_data_says_what_was_found(world):
    said = works("data", world.csv)
    assert f"csv:shapes: 32 images, {len(world.rows)} captions" in said and str(world.photos) in said
    for split, images in (("train", 22), ("dev", 5), ("test", 5)):
        assert re.search(rf"^{split} +{images} +{sum(s == split for *_, s in world.rows)} ", said, re.M)
    assert "missing or unreadable photos: 0 of 32" in call("data", world.csv, "--check").out


def test_features_are_one_row_a_photo_and_made_once(world, colour_cnn, tmp_path):
    said = call("features", world.csv, "--out", tmp_path, "--grid", "2", "--views", "full", "full-flip")
    assert (said.status, said.err) == (0, []) and "32 images x 2 views x 4 regions x 3" in said.out
    before = contents(tmp_path)
    names = before["names.txt"].decode().splitlines()
    assert sorted(names) == sorted(world.names)
    order = [world.names.index(name) for name in names]
    rows = np.load(tmp_path / "features.npy")[:, 0].reshape(32, 12)  # quarters in the order of mean_colours
    assert np.corrcoef(rows.ravel(), world.array[order].ravel())[0, 1] > 0.98
    assert works("features", world.csv, "--out", tmp_path, "--grid=2", "--views", "full", "full-flip") == said.out
    assert contents(tmp_path) == before


# --- training -----------------------------------------------------------------------------------------------


def test_the_paper_recipe_leaves_a_whole_run(world, run):
    assert {p.name for p in run.iterdir()} == {
        "config.json", "manifest.json", "metrics.json", "metrics.jsonl", "model.safetensors", "tensorboard",
        "vocabulary.txt",
    }  # fmt: skip
    config = json.loads((run / "config.json").read_text())
    assert config["train"]["epochs"] == 3 and config["train"]["optimizer"] == "sgd"
    assert config["model"]["embed_dim"] == 8 and config["model"]["text"]["encoder"] == "lstm"
    assert config["train"]["loss"]["name"] == "ranking" and config["seed"] == 0
    epochs = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in epochs] == [1, 2, 3] and all(line["loss"] > 0 for line in epochs)
    kept = json.loads((run / "metrics.json").read_text())
    assert kept["dev"]["rsum"] == max(line["dev"]["rsum"] for line in epochs)
    words = (run / "vocabulary.txt").read_text().split()
    assert {"red", "circle"} <= set(words)


def test_the_same_command_again(world, run, tmp_path):
    """Without --resume it is refused; with it a finished run is left alone; elsewhere it gives the same bits."""
    command = ("train", world.csv, "--features", world.matrix, *TINY)
    refused(*command, "--out", run, says=(run, "not empty", "--resume"), keeps=run)
    before = contents(run)
    said = works(*command, "--out", run, "--resume")
    assert contents(run) == before
    assert numbers(said) == of_json(json.loads(before["metrics.json"])["dev"])
    works(*command, "--out", tmp_path / "again", "--resume")  # also when nothing had been saved yet
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == before["model.safetensors"]


@pytest.mark.parametrize("recipe", ["--recipe best", "--recipe=best", "--recipe paper --recipe best"])
def test_a_recipe_gives_the_defaults_of_the_other_options(world, tmp_path, recipe):
    command = ("train", world.csv, "--features", world.matrix, "--out", tmp_path / "run")
    works(*command, *recipe.split(), *BEST[2:], "--epochs", 2)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["model"]["text"]["pooling"] == "max" and config["model"]["text"]["encoder"] == "conv"
    assert config["train"]["loss"]["name"] == "infonce" and config["train"]["schedule"] == "cosine"
    assert config["train"]["epochs"] == 2 and config["train"]["warmup_steps"] == 2  # what was asked for
    assert config["train"]["average"] == 0.995


def test_a_recipe_that_is_not_there_and_the_defaults_that_help_shows(capsys):
    refused("train", "data", "--recipe", "bets", says=("--recipe 'bets'", "'paper', 'linear', 'best'"))
    for recipe in RECIPES:
        with pytest.raises(SystemExit):
            main(["train", "--help", "--recipe", recipe])
        epochs = re.search(r"--epochs INT.*?\(default: (\d+)\)", capsys.readouterr().out, re.S)
        assert int(epochs[1]) == RECIPES[recipe]().epochs


def test_features_side_by_side_are_matched_by_name(world, tmp_path):
    """Two matrices in different orders give what one matrix with both gives, and evaluate scales them alike."""
    one = write_matrix(tmp_path / "one.npy", world.array[:, :6], world.names)
    two = write_matrix(tmp_path / "two.npy", world.array[::-1, 6:], world.names[::-1])
    in_order = write_matrix(tmp_path / "in_order.npy", world.array[:, 6:], world.names)
    rows = []
    for second in (two, in_order):
        out = tmp_path / f"run_{second.stem}"
        works("train", world.csv, "--features", one, second, "--out", out, *TINY)
        works("evaluate", out, world.csv, "--features", one, two, "--json", tmp_path / "row.json")
        rows.append(json.loads((tmp_path / "row.json").read_text())["rsum"])
    assert rows[0] == rows[1]
    a, b = (load_file(tmp_path / f"run_{name}" / "model.safetensors") for name in ("two", "in_order"))
    assert all(np.array_equal(a[key], b[key]) for key in a) and a["image_encoder.W_I.weight"].shape[1] == 12
    refused("evaluate", out, world.csv, "--features", one, says=("1 folder of features", "trained on 2 folders"))


# --- evaluation, search, page -------------------------------------------------------------------------------


def test_evaluate_prints_the_row_and_writes_it(world, run, tmp_path):
    said = works("evaluate", run, world.csv, "--features", world.matrix, "--json", tmp_path / "new" / "row.json")
    row = json.loads((tmp_path / "new" / "row.json").read_text())
    assert numbers(said) == of_json(row) and "i2t R@1" in said
    assert (row["data"], row["split"], row["runs"]) == ("csv:shapes", "test", ["paper"])
    captions = sum(split == "test" for *_, split in world.rows)
    assert f"5 images, {captions} captions" in said and (row["images"], row["captions"]) == (5, captions)
    assert row["interval"][0] <= row["rsum"] <= row["interval"][1]
    dev = works("evaluate", run, world.csv, "--features", world.matrix, "--split", "dev")
    assert numbers(dev) == of_json(json.loads((run / "metrics.json").read_text())["dev"])


def test_a_run_trained_from_python_sees_the_features_as_it_did(world, tmp_path):
    """The command line scales features so that several can stand side by side; here nothing did."""
    features, dataset = vse.features.open_features(world.matrix), read_dataset(world.csv)
    image = ImageConfig(hidden=3)  # not linear: a scale would show
    config = TrainConfig(VSEConfig(8, image, TextConfig(word_dim=6, hidden=6)), epochs=1)
    train(config, dataset, features, tmp_path / "run", device="cpu")
    again = open_combined([world.matrix], load(tmp_path / "run").feature_info)
    assert np.array_equal(again.take(world.names)[:, 0, 0], world.array)
    works("evaluate", tmp_path / "run", world.csv, "--features", world.matrix)


def test_several_runs_are_an_ensemble(world, run, tmp_path):
    works("train", world.csv, "--features", world.matrix, "--out", tmp_path / "b", *BEST)
    row, features = tmp_path / "row.json", ("--features", world.matrix)
    alone = numbers(works("evaluate", run, world.csv, *features))
    assert numbers(works("evaluate", run, run, world.csv, *features)) == alone
    works("evaluate", run, tmp_path / "b", world.csv, *features, "--json", row)
    names = world.of_split("test")
    texts = [(name, text) for name, text, split in world.rows if split == "test"]
    array = world.array[[world.names.index(name) for name in names]]
    models = [load(run), load(tmp_path / "b")]
    scores = sum(m.encode_images(array) @ m.encode_texts([text for _, text in texts]).T for m in models)
    own = np.array([names.index(name) for name, _ in texts])
    first = np.mean([scores[own[j], j] >= scores[:, j].max() for j in range(len(texts))]) * 100
    written = json.loads(row.read_text())
    assert written["t2i"]["r1"] == pytest.approx(first) and written["runs"] == ["paper", "b"]


def test_hubs_are_written_into_the_run_and_used(world, run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    features = ("--features", world.matrix)
    alone = works("evaluate", copy, world.csv, *features)
    refused("evaluate", copy, world.csv, *features, "--hubs", says=("no such file", f"vse hubs {copy}"), keeps=copy)
    said = works("hubs", copy, world.csv, *features)
    assert "dev, hubs" in said and re.search(r"^photos: k = \d+, weight = \d\.\d$", said, re.M)
    assert works("evaluate", copy, world.csv, *features) == alone  # only where it is asked for
    row = tmp_path / "row.json"
    works("evaluate", copy, world.csv, *features, "--hubs", "--json", row)
    model, dataset, opened = load(copy), read_dataset(world.csv), open_combined([world.matrix], load(copy).feature_info)
    expected = evaluate([model], dataset.split("test"), [opened], hubs=load_hubs(copy, model))
    written = json.loads(row.read_text())
    assert written["rsum"] == expected.rsum and written["hubs"] is True
    works("evaluate", copy, copy, world.csv, *features, "--hubs")  # of several: chosen on dev
    (copy / "model.safetensors").unlink()
    refused("hubs", copy, world.csv, *features, says=(copy, "half-written"), keeps=copy)


@pytest.fixture(scope="module")
def searcher(world, tmp_path_factory):
    """A run that knows its colours, on features of ColourNet."""
    folder = tmp_path_factory.mktemp("searcher")
    with pytest.MonkeyPatch.context() as patch:
        colour_cnn_in(patch)
        assert call("features", world.csv, "--out", folder / "f", "--grid", "2").status == 0
    plain = ("--average", 0, "--model.text.dropout", 0, "--model.text.word-dropout", 0, "--model.image.dropout", 0,
             "--warmup-steps", 0)  # fmt: skip
    options = ("--recipe", "linear", *TINY, "--epochs", 60, "--learning-rate", 0.05, "--model.embed-dim", 16, *plain)
    works("train", world.csv, "--features", folder / "f", "--out", folder / "run", *options)
    return folder / "run"


def test_search_photos_and_then_from_the_cache(world, searcher, colour_cnn, tmp_path, monkeypatch):
    asked = ("search", searcher, "a blue square", "--images", world.photos, "--cache", tmp_path / "cache")
    said = call(*asked)
    hits = re.findall(r"^ *(\d+)  +(-?\d\.\d+)  (\S+)$", said.out, re.M)
    assert said.status == 0 and [int(rank) for rank, *_ in hits] == [1, 2, 3, 4, 5]
    assert "blue_square.png" in [name for *_, name in hits][:3]
    assert sorted((float(score) for _, score, _ in hits), reverse=True) == [float(score) for _, score, _ in hits]

    kept = contents(tmp_path / "cache")
    monkeypatch.setattr("vse.features.extractor.load_cnn", lambda *_: pytest.fail("photos encoded again"))
    assert works(*asked) == said.out and contents(tmp_path / "cache") == kept and kept
    lines = [json.loads(line) for line in works(*asked, "--json", "--k", 2).splitlines()]
    assert [line["name"] for line in lines] == [name for *_, name in hits[:2]]
    assert len(works(*asked, "--k", 99).splitlines()) == 32  # all there are
    assert not [p for p in world.photos.rglob("*") if p.is_file() and p.suffix != ".png"]


def test_search_uses_the_hubs_of_a_run_that_has_them(world, searcher, colour_cnn, tmp_path):
    run = shutil.copytree(searcher, tmp_path / "run")
    asked = (
        "search",
        run,
        "a blue square",
        "--images",
        world.photos,
        "--cache",
        tmp_path / "cache",
        "--k",
        32,
        "--json",
    )
    plain = [json.loads(line) for line in call(*asked).out.splitlines()]
    features = searcher.parent / "f"
    works("hubs", run, world.csv, "--features", features)
    model = load(run)
    way = load_hubs(run, model).photos
    strong = Hubs(dataclasses.replace(way, k=3, weight=0.9), load_hubs(run, model).captions)  # what dev chose may be 0
    save_hubs(run, strong, model)
    corrected = [json.loads(line) for line in works(*asked).splitlines()]
    vectors = model.encode_images(
        open_combined([features], model.feature_info).take([hit["name"] for hit in corrected])
    )
    cosine = {hit["name"]: hit["score"] for hit in plain}
    for hit, penalty in zip(corrected, strong.photos(vectors), strict=True):
        assert hit["score"] == pytest.approx(cosine[hit["name"]] - penalty, abs=5e-3)  # photos go through the CNN again
    assert [hit["score"] for hit in corrected] == sorted((hit["score"] for hit in corrected), reverse=True)
    assert works(*asked, "--no-hubs") == "".join(json.dumps(hit) + "\n" for hit in plain)
    spoilt = (run / "hubs.safetensors").read_bytes()[:-5]
    (run / "hubs.safetensors").write_bytes(spoilt)
    refused(*asked, says=("hubs.safetensors", "vse hubs"))


def test_search_captions_with_a_photo(world, searcher, colour_cnn, tmp_path):
    file = tmp_path / "captions.txt"
    file.write_text("".join(f"a {colour} square\n" for colour in ("green", "yellow", "black", "purple")))
    draw("yellow", "square").save(tmp_path / "mine.jpg")
    asked = ("search", searcher, tmp_path / "mine.jpg", "--captions", file)
    said = call(*asked)
    assert said.status == 0 and len(said.out.splitlines()) == 4
    assert said.out.splitlines()[0].endswith("a yellow square")
    assert call(*asked).out == said.out and {p.name for p in tmp_path.iterdir()} == {"mine.jpg", "captions.txt"}


def test_classify_photos(world, searcher, colour_cnn, tmp_path):
    photos = [world.photos / f"{colour}_square.png" for colour in ("blue", "red")]
    said = works("classify", searcher, *photos, "--labels", "blue square,red square,green square")
    assert [line.split()[-2] for line in said.splitlines() if line.startswith("  ")][::3] == ["blue", "red"]
    file = tmp_path / "labels.txt"
    file.write_text("red square\nblue square\n")
    (tmp_path / "bad.jpg").write_bytes(b"no")
    said = call(
        "classify",
        searcher,
        photos[0],
        tmp_path / "bad.jpg",
        photos[1],
        "--labels",
        file,
        "--json",
        "--template",
        "a {}",
    )
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert said.status == 1 and said.err[0].startswith(f"skipped {tmp_path / 'bad.jpg'}")
    assert [line["photo"] for line in lines] == [str(photo) for photo in photos]
    assert [line["labels"][0]["label"] for line in lines] == ["blue square", "red square"]
    for line in lines:
        assert sum(label["probability"] for label in line["labels"]) == pytest.approx(1, abs=1e-5)
    for labels, template, says in (
        ("red", "a {}", "two or more"), ("red,red", "a {}", "twice"), ("red,blue", "", "expected one {}"),
        ("red,azure", "a {}", "azure"), ("no.txt", "a {}", "no such file"),
    ):  # fmt: skip
        refused("classify", searcher, photos[0], "--labels", labels, "--template", template, says=(says,))
    refused("classify", searcher, tmp_path / "bad.jpg", "--labels", "red,blue", says=("none of the 1 photos",))
    refused("classify", searcher, "--labels", "red,blue", says=("no photos",))


def test_page(world, run, tmp_path):
    out = tmp_path / "page.html"
    command = ("page", run, world.csv, "--features", world.matrix, "--out", out, "--queries", 3)
    assert str(out) in works(*command)
    text, test = out.read_text(), [row for row in world.rows if row[2] == "test"]
    assert sum(caption in text for _, caption, _ in test) >= 3 and "<img" in text
    works(*command)
    assert out.read_text() == text
    alone = write_table(tmp_path / "elsewhere.csv", world.rows)
    command = ("page", run, alone, "--features", world.matrix, "--out", tmp_path / "b.html")
    refused(*command, says=("no photos", "--images"), keeps=tmp_path)
    works(*command, "--images", world.photos)


# --- the real thing -----------------------------------------------------------------------------------------


def test_a_real_cnn_from_photos_to_answers(world, tmp_path):
    """efficientnet-lite0 on nine photos: what `search` encodes is what `features` stored."""
    chosen = [*world.of_split("train")[:5], *world.of_split("dev")[:2], *world.of_split("test")[:2]]
    rows = [row for row in world.rows if row[0] in chosen]
    photos = tmp_path / "images"
    photos.mkdir()
    for name in chosen:
        (photos / name).write_bytes((world.photos / name).read_bytes())
    csv = write_table(tmp_path / "few.csv", rows)
    made = call("features", csv, "--encoder", "efficientnet-lite0", "--out", tmp_path / "f")
    assert (made.status, made.err) == (0, []) and "9 images x 1 views x 1 regions x 1,280" in made.out
    command = ("train", csv, "--features", tmp_path / "f", "--out", tmp_path / "run")
    works(*command, *TINY, "--batch-size", 6, "--epochs", 1)
    model, stored = load(tmp_path / "run"), vse.features.open_features(tmp_path / "f")
    text = rows[0][1]
    said = call("search", tmp_path / "run", text, "--images", photos, "--json")
    hits = [json.loads(line) for line in said.out.splitlines()]
    scores = dict(zip(stored.names, model.encode_images(stored.array) @ model.encode_texts([text])[0], strict=True))
    assert len(hits) == 5
    for hit in hits:
        assert hit["score"] == pytest.approx(scores[hit["name"]], abs=2e-3)


def test_as_a_program(world, tmp_path):
    """One real process: exit status, one line on stderr, nothing on stdout."""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "vse", "data", tmp_path / "nowhere"], capture_output=True, text=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 1 and done.stdout == ""
    assert re.fullmatch(r"vse: .*nowhere: does not exist; expected .*\n", done.stderr)


@pytest.mark.parametrize("command", [("scenes", "folder"), ("train", "data", "--features", "f", "--out", "folder")])
def test_a_negative_seed_is_refused_before_anything_is_done(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(*command, "--seed", -1, says=("--seed -1", "0 or more"))
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_no_text_is_printed_as_it_is():
    """A photo's name may be any bytes."""
    program = """
import os, sys
from vse.system.command_line import run
def say(): print(os.fsdecode(b'caf\\xe9.jpg'))
sys.exit(run('vse', {'say': say, 'x': say}, ['say'], '1'))
"""
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment)
    assert (done.returncode, done.stdout) == (0, b"caf\xe9.jpg\n"), done.stderr


def test_version_and_help(capsys):
    assert re.fullmatch(r"vse \d+\.\d+\.\d+\n", works("--version"))
    for command in ([], ["train"], ["evaluate"], ["search"]):
        with pytest.raises(SystemExit) as stop:
            main([*command, "--help"])
        assert not stop.value.code
    said = capsys.readouterr()
    assert "--loss.margin" in said.out and "--split" in said.out and not said.err
