"""scnlm train-git, caption with its run, and a caption set with a fusion transformer; mistakes in one line."""

import json
import re

import numpy as np
import pytest

from scnlm import git_run
from scnlm.beam import beam_search
from scnlm.captions.captioner import CaptionConfig, Captioner

pytest.register_assert_rewrite("coloured_shapes", "coloured_captions")
import coloured_shapes  # noqa: E402
from coloured_captions import FEW, call, refused, works  # noqa: E402

pytest_plugins = ["coloured_shapes", "coloured_captions"]
SMALL = ("--epochs", 150, "--batch-size", 8, "--model.width", 32, "--model.layers", 1, "--model.heads", 2,
         "--model.dropout", 0, "--min-count", 1, "--learning-rate", 0.005, "--warmup-steps", 5, "--average", 0.8,
         "--precision", "float32", "--device", "cpu")  # fmt: skip


@pytest.fixture(scope="module")
def git(world, parts, tmp_path_factory):
    out = tmp_path_factory.mktemp("git") / "run"
    said = call("train-git", world.csv, "--features", parts.features, "--out", out, *SMALL)
    assert said.status == 0, said.err
    assert re.search(r"^dev: \d\.\d+ nats a word, CIDEr \d", said.out, re.M) and f"scnlm caption {out}" in said.out
    return out


def test_a_run_describes_photos(world, git, colour_cnn):
    photos = [world.photos / name for name in world.of_split("dev")]
    said = works("caption", git, *photos)
    model = git_run.load(git)
    model.precision = model.photos.precision = "float32"
    for photo, block in zip(photos, said.split(str(photos[0].parent))[1:], strict=True):
        found = beam_search(model, model.seen([photo]), 5)[0]
        lines = block.splitlines()[1:6]
        assert len(lines) == 5
        for line, one in zip(lines, found, strict=True):
            agreement, score, text = line.split(None, 2)
            assert text == model.vocabulary.decode(one.words)
            assert float(score) == pytest.approx(one.score, abs=1e-3) and float(agreement) == 0
    rows = [json.loads(line) for line in works("caption", git, *photos, "--json", "--kept", 2).splitlines()]
    assert [len(row["captions"]) for row in rows] == [2] * len(photos)
    assert rows[0]["captions"][0]["content"] == "git"


def test_words_of_the_photo(world, git, colour_cnn):
    photos = [world.photos / name for name in world.of_split("train")[:6]]
    rows = [json.loads(line) for line in works("caption", git, *photos, "--json").splitlines()]
    print(
        call("train-git", world.csv, "--features", world.photos.parent / "x", "--out", git, *SMALL).err,
        [(r["photo"][-20:], r["captions"][0]["caption"]) for r in rows],
        (git / "metrics.jsonl").read_text()[-900:],
    )
    colors = [photo.stem.split("_")[0] for photo in photos]
    assert sum(c in row["captions"][0]["caption"] for c, row in zip(colors, rows, strict=True)) >= 4


def test_a_set_with_a_fusion_transformer(world, parts, colour_cnn, tmp_path):
    reader, out = tmp_path / "reader", tmp_path / "set"
    small = ("--epochs", 2, "--batch-size", 8, "--model.width", 16, "--model.layers", 1, "--model.heads", 2,
             "--precision", "float32", "--device", "cpu")  # fmt: skip
    train = ("train-fusion", world.csv, "--features", parts.features, "--encoder", parts.encoder, "--out", reader)
    assert coloured_shapes.call(*train, *small).status == 0
    said = works(*parts.assemble(world.csv, out, fusion=reader))
    assert re.search(r"^matching +\S+$", said, re.M)
    captioner = Captioner.load(out)
    assert captioner.reader is not None
    photo = world.photos / world.of_split("dev")[0]
    (row,) = [json.loads(line) for line in works("caption", out, photo, "--json", *FEW).splitlines()]
    for caption in row["captions"]:
        probability = captioner.reader.match([photo], [caption["caption"]])[0, 0]
        assert caption["matching"] == pytest.approx(float(np.log(probability / (1 - probability))), abs=1e-2)
    (out / "fusion" / "vocabulary.txt").write_text("<pad>\n")
    refused("caption", out, photo, says=("vocabulary.txt",))


def test_a_set_with_a_git(world, parts, git, colour_cnn, tmp_path):
    out = tmp_path / "set"
    said = works(*parts.assemble(world.csv, out, git=git))
    assert re.search(r"^git +\S+$", said, re.M)
    about = json.loads((out / "weights.json").read_text())
    assert about["decoder"] == "both" and about["weights"]["decoder"] == about["weights"]["structure"] == 0
    captioner, photo = Captioner.load(out), world.photos / world.of_split("dev")[0]
    seen = captioner.seen([photo])
    point = captioner.encoder.encode_images(seen)
    pools = {
        writes: captioner.candidates(point, CaptionConfig(candidates=40, writes=writes), seen=seen)[0]
        for writes in ("auto", "scnlm", "git", "both")
    }
    assert pools["auto"] == pools["both"]
    of = {name: {c.tokens for c in pool} for name, pool in pools.items()}
    assert of["both"] == of["scnlm"] | of["git"] and of["git"] - of["scnlm"]
    assert {c.content for c in pools["git"]} == {"git"} and "git" not in {c.content for c in pools["scnlm"]}
    memory = captioner.git.seen(seen)
    best = beam_search(captioner.git, memory, 20)[0]
    known = {c.tokens: c for c in pools["git"]}
    for one in best:
        candidate = known.get(tuple(captioner.git.vocabulary.decode(one.words).split()))
        assert candidate is None or candidate.git == pytest.approx(one.log_p, abs=1e-3)
    for decoder, texts in of.items():
        (row,) = [
            json.loads(line) for line in works("caption", out, photo, "--json", *FEW, "--decoder", decoder).splitlines()
        ]
        assert {tuple(c["caption"].split()) for c in row["captions"]} <= texts
        assert all(c["git"] < 0 for c in row["captions"])
    refused("caption", parts.set, photo, "--decoder", "git", says=("decoder git", "--git"))
    about["weights"]["git"] = 1.0
    (out / "weights.json").write_text(json.dumps(about))
    refused("caption", out, photo, says=("weights.json",))


def test_a_run_answers_questions(world, parts, colour_cnn, tmp_path):
    lines = [f"{name}\twhat color is it ?\t{name.rsplit('/')[-1].split('_')[0]}" for name in
             (*world.of_split("train"), *world.of_split("dev"))]  # fmt: skip
    (tmp_path / "q.tsv").write_text("\n".join(lines) + "\n")
    out = tmp_path / "run"
    train = ("train-git", world.csv, "--features", parts.features, "--out", out, "--questions", tmp_path / "q.tsv")
    said = call(*train, *SMALL)
    assert said.status == 0, said.err
    assert re.search(r"^dev: \d\.\d+ nats a word, all \d", said.out, re.M) and f"scnlm ask {out}" in said.out
    photo = world.photos / world.of_split("train")[0]
    asked = ("ask", out, photo, "what color is it?")
    colors = {line.rsplit("\t", 1)[1] for line in lines}
    assert works(*asked).strip() in colors
    (one, other) = sorted(colors)[:2]
    assert works(*asked, "--answers", f"{one},{other}").strip() in (one, other)
    assert json.loads(works(*asked, "--json")).keys() == {"photo", "question", "answer"}
    refused("ask", out, photo, "zebra?", says=("zebra", "knows none"))
    refused("ask", out, photo, "", says=("knows none",))
    refused(*asked, "--answers", "red,,blue", says=("empty answer",))
    refused(*asked, "--answers", "zebra", says=("'zebra'",))
    refused("ask", parts.encoder, photo, "what color is it?", says=("train-git",))


def test_mistakes(world, parts, git, colour_cnn, tmp_path):
    photo = world.photos / world.of_split("dev")[0]
    refused("caption", git, photo, "--data", world.csv, says=("--data", "leave it out"))
    refused("caption", git, says=(git, "no photos"))
    train = ("train-git", world.csv, "--features", parts.features, "--out", tmp_path / "out")
    refused(*train, *SMALL, "--reward", 0.5, says=("reward", "--start"))
    refused(*train, *SMALL, "--model.positions", 1, says=("positions = 1",))
    refused(*train, *SMALL, "--model.heads", 3, says=("heads = 3",))
    refused(*train, *SMALL, "--model.frames", 6, says=("frames = 6", "1 views"))
    refused(*train, *SMALL, "--start", parts.encoder, says=("'embedding'", "train-git"))
    said = call(*train, *SMALL, "--extra-text", world.csv)
    assert said.status == 1 and len(said.err) == 1 and "text_only" in said.err[0]
    refused("train-git", world.csv, "--features", parts.features, "--out", git, *SMALL, says=("not empty",), keeps=git)
    refused("assemble", world.csv, "--features", parts.features, "--encoder", parts.encoder, "--decoder", git,
            "--trigram", parts.trigram, "--out", tmp_path / "set", says=("not a language model",))  # fmt: skip
