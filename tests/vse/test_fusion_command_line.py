"""vse train-fusion, and what uses its run: evaluate --rerank, search --rerank; a user's mistakes in one line."""

import json
import re
import shutil

import numpy as np
import pytest

from vse.data.datasets import read_dataset
from vse.evaluate import scorer_of
from vse.features.side_by_side import open_combined
from vse.rerank import Setting, read_best, row_of
from vse.runs import checkpoint, fusion

pytest.register_assert_rewrite("coloured_shapes")
from coloured_shapes import TINY, call, colour_cnn_in, refused, works, write_matrix  # noqa: E402

pytest_plugins = ["coloured_shapes"]
SMALL = ("--epochs", 2, "--batch-size", 16, "--model.width", 16, "--model.layers", 1, "--model.heads", 2,
         "--precision", "float32", "--device", "cpu")  # fmt: skip


@pytest.fixture(scope="module")
def reader(world, run, tmp_path_factory):
    """A fusion transformer trained beside `run`."""
    out = tmp_path_factory.mktemp("runs") / "reader"
    said = call("train-fusion", world.csv, "--features", world.matrix, "--encoder", run, "--out", out, *SMALL)
    assert said.status == 0, said.err
    assert "dev, re-ranked" in said.out and re.search(r"^k = \d+, lambda = \d+$", said.out, re.M)
    return out


def best(world, run, reader, k, part="test"):
    split = read_dataset(str(world.csv)).split(part)
    opened = open_combined([world.matrix])
    return split, read_best(fusion.load(reader), scorer_of([checkpoint.load(run)], split, [opened]), split, opened, k)


def test_evaluate_reranks(world, run, reader, tmp_path):
    row, kept = tmp_path / "row.json", fusion.load_setting(reader)
    asked = ("evaluate", run, world.csv, "--features", world.matrix, "--rerank", reader)
    said = works(*asked, "-k", 4, "--json", row)
    assert f"the best 4 of each query re-ranked, lambda = {kept.weight:g}" in said
    split, ways = best(world, run, reader, 4)
    told = json.loads(row.read_text())
    assert told["rsum"] == row_of(ways, Setting(4, kept.weight), split).rsum
    assert (told["k"], told["lambda"], told["rerank"]) == (4, kept.weight, "reader")
    assert f"the best {kept.k} of" in works(*asked, "--split", "dev")


def test_beside_other_runs_dev_chooses(world, run, reader):
    asked = ("evaluate", run, run, world.csv, "--features", world.matrix, "--rerank", reader)
    assert re.search(r"the best \d+ of each query re-ranked", works(*asked))
    assert "the best 3 of" in works(*asked, "-k", 3)


def test_a_finished_run_is_not_trained_again(world, run, reader):
    before = {path: path.read_bytes() for path in reader.iterdir() if path.is_file()}
    works("train-fusion", world.csv, "--features", world.matrix, "--encoder", run, "--out", reader, *SMALL, "--resume")
    assert {path: path.read_bytes() for path in reader.iterdir() if path.is_file()} == before


def test_the_reader_may_read_other_features_than_the_encoder(world, run, tmp_path):
    other = write_matrix(tmp_path / "other.npy", np.concatenate([world.array, world.array[:, :5]], 1), world.names)
    out, seen = tmp_path / "reader", ("--encoder-features", world.matrix)
    said = works("train-fusion", world.csv, "--features", other, "--encoder", run, *seen, "--out", out, *SMALL)
    assert f"--features {world.matrix} --rerank {out} --rerank-features {other}" in said
    evaluate = ("evaluate", run, world.csv, "--features", world.matrix)
    assert "re-ranked" in works(*evaluate, "--rerank", out, "--rerank-features", other)
    refused(*evaluate, "--rerank", out, says=("features", "the model was trained on"))
    refused(*evaluate, "--rerank-features", other, says=("--rerank-features", "--rerank RUN"))


def test_mistakes(world, run, reader, tmp_path):
    features = ("--features", world.matrix)
    other = write_matrix(tmp_path / "other.npy", world.array[:, :7], world.names)
    evaluate = ("evaluate", run, world.csv, *features)
    refused(*evaluate, "-k", 5, says=("-k 5", "--rerank"))
    refused(*evaluate, "--rerank", reader, "-k", 6, says=("-k 6", "1 to 5", "photos"))
    refused(*evaluate, "--rerank", reader, "-k", 0, says=("-k", "1 or more"))
    refused(*evaluate, "--rerank", run, says=("'embedding'", "train-fusion"), keeps=run)
    refused("evaluate", reader, world.csv, *features, says=("fusion transformer", "vse train"), keeps=reader)
    train = ("train-fusion", world.csv, *features, "--encoder", run, "--out", tmp_path / "out")
    refused(*train, *SMALL, "--model.text-weight", 0, says=("text_weight = 0",))
    refused(*train, *SMALL, "--model.sentences", 4, says=("sentences = 4", "captions"))
    refused(*train, *SMALL, "--model.images", 2, says=("images = 2", "1 views"))
    refused("train-fusion", world.csv, "--features", other, "--encoder", run, "--out", tmp_path / "o", *SMALL,
            says=("7 features a region",))  # fmt: skip
    refused("train-fusion", world.csv, *features, "--encoder", run, "--out", reader, *SMALL, says=("not empty",),
            keeps=reader)  # fmt: skip
    broken = tmp_path / "broken"
    shutil.copytree(reader, broken)
    (broken / "rerank.json").write_text('{"k": 0, "weight": NaN}')
    refused(*evaluate, "--rerank", broken, says=("rerank.json",))
    (broken / "rerank.json").unlink()
    refused(*evaluate, "--rerank", broken, says=("rerank.json", "--resume"))


@pytest.fixture(scope="module")
def seeing(world, tmp_path_factory):
    """(features folder, run, reader) of a CNN that looks at files."""
    folder = tmp_path_factory.mktemp("seeing")
    with pytest.MonkeyPatch.context() as patch:
        colour_cnn_in(patch)
        works("features", world.csv, "--images", world.photos, "--out", folder / "features", "--grid", 2,
              "--encoder", "efficientnet-lite0")  # fmt: skip
    data = (world.csv, "--images", world.photos, "--features", folder / "features")
    assert call("train", *data, "--out", folder / "run", *TINY).status == 0
    assert call("train-fusion", *data, "--encoder", folder / "run", "--out", folder / "reader", *SMALL).status == 0
    return folder


def test_search_reranks(world, seeing, colour_cnn, tmp_path):
    """By files and by features alike: the first k in the order of logit + lambda s, the rest behind them."""
    run, reader = seeing / "run", seeing / "reader"
    fusion.save_setting(reader, Setting(6, 2.0))
    asked = ("search", run, "a red circle", "--images", world.photos, "--cache", tmp_path, "--json", "-k", 9)
    plain = [json.loads(line) for line in works(*asked).splitlines()]
    found = [json.loads(line) for line in works(*asked, "--rerank", reader).splitlines()]
    model = fusion.load(reader)
    tokens = model.photo_tokens([world.photos / hit["name"] for hit in plain])
    logits = model.logits(tokens, ["a red circle"], np.stack([np.arange(9), np.zeros(9, int)], 1))
    scores = logits[:6] + 2.0 * np.array([hit["score"] for hit in plain[:6]])
    expected = [plain[i]["name"] for i in np.argsort(-scores)] + [hit["name"] for hit in plain[6:]]
    assert [hit["name"] for hit in found] == expected and [hit["rank"] for hit in found] == list(range(1, 10))
    assert [hit["score"] for hit in found[:6]] == pytest.approx(sorted(scores, reverse=True), abs=1e-4)
    stored = works(*asked, "--rerank", reader, "--features", seeing / "features")
    assert [json.loads(line)["name"] for line in stored.splitlines()][:6] == expected[:6]


def test_search_reranks_captions_of_a_photo(world, seeing, colour_cnn, tmp_path):
    captions = tmp_path / "captions.txt"
    captions.write_text("a red circle\na blue square\nthe bar is green\n", encoding="utf-8")
    photo = world.photos / "blue_square.png"
    asked = ("search", seeing / "run", photo, "--captions", captions, "--cache", tmp_path, "--json", "-k", 3)
    found = [json.loads(line)["name"] for line in works(*asked, "--rerank", seeing / "reader").splitlines()]
    assert sorted(found) == sorted(captions.read_text().split("\n")[:-1])
    refused("search", seeing / "run", photo, "--images", world.photos, "--rerank", seeing / "reader",
            says=("--rerank", "photo finds photos"))  # fmt: skip


def changed(run, out, **config):
    """A copy of a run whose config says something else."""
    shutil.copytree(run, out)
    (out / "manifest.json").unlink()
    told = json.loads((out / "config.json").read_text()) | config
    (out / "config.json").write_text(json.dumps(told))
    return out


def test_a_reader_of_another_run_or_of_another_cnn_is_refused(world, seeing, tmp_path):
    other = changed(seeing / "reader", tmp_path / "other", encoder="0123456789abcdef")
    asked = ("search", seeing / "run", "a red circle", "--images", world.photos, "--cache", tmp_path)
    refused(*asked, "--rerank", other, says=("--rerank", "another run", "--encoder"))
    info = json.loads((seeing / "reader/config.json").read_text())["feature_info"]
    sources = [source | {"encoder": "efficientnet-lite1"} for source in info["sources"]]
    foreign = changed(seeing / "reader", tmp_path / "foreign", feature_info=info | {"sources": sources})
    data = (world.csv, "--images", world.photos, "--features", seeing / "features")
    refused("evaluate", seeing / "run", *data, "--rerank", foreign, says=("efficientnet-lite1",))
    refused("train-fusion", *data, "--encoder", seeing / "run", "--out", tmp_path / "new", "--start", foreign, *SMALL,
            says=("--start", "efficientnet-lite1"))  # fmt: skip
