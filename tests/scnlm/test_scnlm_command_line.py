"""`scnlm train`, `assemble` and `caption` on 32 little photos: what they say, what they leave, how they refuse.

`trigram` and `score` are test_trigram.py's.
"""

import errno
import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import scnlm.captions.assemble
import scnlm.captions.captioner
import scnlm.train
import vse.data.part_of_speech
from experiments import free_photos
from scnlm.__main__ import main
from scnlm.captions.assemble import Tuned
from scnlm.captions.captioner import CaptionConfig, Captioner, shipped_set
from scnlm.rerank.cider import Cider
from scnlm.rerank.score import Weights
from scnlm.rerank.score import parts as parts_of
from scnlm.rerank.tuning import tune
from scnlm.rerank.vote import ranked
from vse.data.datasets import read_dataset
from vse.features.side_by_side import open_combined
from vse.runs import checkpoint
from vse.system.errors import InputError

pytest.register_assert_rewrite("coloured_shapes", "coloured_captions")
import coloured_shapes  # noqa: E402
from coloured_captions import FEW, TINY_LM, call, refused, tag, works  # noqa: E402
from coloured_shapes import TINY, contents, draw, write_table  # noqa: E402

pytest_plugins = ["coloured_shapes", "coloured_captions"]

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "weights.json", "trigram.arpa", "concepts.safetensors",
    "vse/model.safetensors", "vse/config.json", "vse/vocabulary.txt", "vse/metrics.json",
    "scnlm/model.safetensors", "scnlm/config.json", "scnlm/vocabulary.txt", "scnlm/metrics.json",
    "scnlm/structures.json", "manifest.json", "vse/manifest.json", "scnlm/manifest.json",
}  # fmt: skip
OPTIONAL = {name for name in FILES if name.endswith(("metrics.json", "manifest.json"))}


@pytest.fixture
def tagged(monkeypatch):
    """No spaCy: tags by a list."""
    monkeypatch.setattr(scnlm.train, "tag_captions", tag)


@pytest.fixture
def copy(parts, tmp_path) -> Path:
    """A finished set that may be spoilt."""
    return shutil.copytree(parts.set, tmp_path / "copy")


@pytest.fixture
def photo(world) -> Path:
    return world.photos / world.of_split("test")[0]


@pytest.fixture
def table(world, tmp_path):
    """Writes a caption list in a folder where the world's photos are found."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "images").symlink_to(world.photos)
    return lambda rows, name="shapes.csv": write_table(folder / name, rows)


# --- scnlm train -----------------------------------------------------------------------------------------------------


def test_train_says_what_it_reached_and_leaves_a_run(world, parts, tagged, tmp_path):
    out = tmp_path / "lm"
    command = ("train", world.csv, "--encoder", parts.encoder, "--out", out, *TINY_LM)
    said = works(*command)
    nats = json.loads((out / "metrics.json").read_text())["dev"]["nats"]
    assert f"{out}: {nats:.4f} nats a word on dev, perplexity {math.exp(nats):.2f}; next: scnlm assemble" in said
    assert contents(out)["model.safetensors"] == contents(parts.decoder)["model.safetensors"]  # the same seed
    refused(*command, says=(out, "not empty", "--resume"), keeps=out)
    before = contents(out)
    assert f"{nats:.4f} nats" in works(*command, "--resume") and contents(out) == before
    refused(*command, "--resume", "--seed", 1, says=(out, "seed", "--out"), keeps=out)


def test_training_with_the_real_tagger(world, parts, table, tmp_path):
    """spaCy tags once; the captions' tags stay beside the data. A caption of 10,000 characters is one like others."""
    csv = table([*world.rows, (world.rows[0][0], "red circle " * 910, "train")])
    command = ("train", csv, "--encoder", parts.encoder, *TINY_LM, "--epochs", 1, "--out")
    said = call(*command, tmp_path / "lm")
    assert (said.status, len(said.err)) == (0, 1) and "captions of more than 100 words: 1" in said.err[0]
    (cache,) = (csv.parent / ".scnlm-tags").iterdir()
    structures = json.loads((tmp_path / "lm" / "structures.json").read_text())
    assert structures["spacy_model"].startswith("en_core_web_sm") and "DET NOUN AUX ADJ" in structures["sequences"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vse.data.part_of_speech, "_tag", lambda *_: pytest.fail("tagged again"))
        assert call(*command, tmp_path / "again").status == 0
    assert contents(tmp_path / "again")["structures.json"] == contents(tmp_path / "lm")["structures.json"]
    assert cache.suffix == ".gz"


def test_extra_text_is_counted_and_told(world, parts, tagged, tmp_path):
    command = ("train", world.csv, "--encoder", parts.encoder, "--out", tmp_path / "lm", *TINY_LM, "--epochs", 1)
    said = works(*command, "--extra-text", world.csv)
    assert f"extra text: {sum(s == 'train' for *_, s in world.rows)} captions; left out 10 images" in said


def test_trainings_that_cannot_be(world, parts, table, tmp_path, monkeypatch):
    """Each is refused in a line and leaves nothing, so that the same command works after mending."""
    out = tmp_path / "lm"

    def command(data, *options):
        return ("train", data, "--encoder", parts.encoder, "--out", out, *TINY_LM, *options)

    def with_captions(name, split, text):
        return table([(a, text if c == split else b, c) for a, b, c in world.rows], name)

    for option in ("--spacy-model", "--tag-set"):
        refused(*command(world.csv, option, "nope"), says=("'nope'",))
        assert not contents(out)
    refused(*command(world.csv, "--spacy-model", "nope"), says=("not installed", "en_core_web_sm"))
    monkeypatch.setattr(scnlm.train, "tag_captions", tag)
    cases = [
        (command(world.csv, "--min-count", 1000), ("min_count = 1000", "no word")),
        (command(world.csv, "--lm.model", "nope"), ("'nope'", "'lbl', 'multiplicative', 'scnlm'")),
        (command(world.csv, "--device", "nope"), ("nope", "auto, cpu, cuda")),
        (command(world.csv, "--encoder", tmp_path / "no"), (tmp_path / "no", "not a run folder", "vse train")),
        (command(world.csv, "--encoder", parts.decoder), (parts.decoder, "language model", "vse train")),
        (command(world.csv, "--extra-text", tmp_path / "no"), (tmp_path / "no", "does not exist")),
        (command(tmp_path / "nowhere"), ("nowhere", "does not exist")),
        (command(world.photos), ("no split 'train'",)),
        (command(with_captions("none.csv", "train", "")), ("no training sentence has 4 to 12 words",)),
        (command(with_captions("dots.csv", "train", "...")), ("no training sentence has 4 to 12 words",)),
        (command(with_captions("short.csv", "train", "red bar")), ("no training sentence has 4 to 12 words",)),
        (command(table([row for row in world.rows if row[2] != "dev"], "few.csv")), ("no split 'dev'",)),
        (command(with_captions("mute.csv", "dev", "?")), ("no sentences", "one caption with a word")),
    ]
    for argv, says in cases:
        refused(*argv, says=says)
        assert not out.exists() or not contents(out), says
    refused(*command(world.csv, "--out", world.csv), says=(world.csv,), keeps=world.csv.parent)
    works(*command(world.csv, "--epochs", 1))


# --- scnlm assemble --------------------------------------------------------------------------------------------------


def test_a_set_has_all_its_parts_and_tuned_weights(world, parts):
    assert (parts.said.status, parts.said.err) == (0, [])
    assert contents(parts.set).keys() == FILES
    for part, run in (("vse", parts.encoder), ("scnlm", parts.decoder)):
        for name in (name for name in FILES if name.startswith(f"{part}/")):
            assert (parts.set / name).read_bytes() == (run / name.split("/")[1]).read_bytes()
    assert (parts.set / "trigram.arpa").read_bytes() == parts.trigram.read_bytes()
    about = json.loads((parts.set / "weights.json").read_text())
    assert (about["tuned_on"], about["dev_images"], about["candidates"]) == ("csv:shapes", 5, 40)
    held_out, in_sample = about["cider_held_out_with_vote"], about["cider_in_sample_without_vote"]
    said = f"CIDEr {held_out:.1f} on dev, each half by weights of the other ({in_sample:.1f} in sample, no vote)"
    assert f"{parts.set}: {said}; next: scnlm caption {parts.set} " in parts.said.out
    for name, value in about["weights"].items():
        assert re.search(rf"^{name} +{value:g}$", parts.said.out, re.M)

    # The weights are what tuning the candidates of the dev photos gives.
    captioner, dev = Captioner.load(parts.set), read_dataset(world.csv).split("dev")
    assert captioner.weights == Weights(**about["weights"])
    assert len(captioner.bank.codes) == sum(split == "train" for *_, split in world.rows)
    features = open_combined([parts.features], captioner.encoder.feature_info)
    points = captioner.encoder.encode_images(features.take(dev.images))
    own = [[c.split() for c, i in zip(dev.captions, dev.image_of_caption, strict=True) if i == j] for j in range(5)]
    candidates = captioner.candidates(points, CaptionConfig(candidates=40))
    gains = [Cider(own).scores(i, [c.tokens for c in found]) for i, found in enumerate(candidates)]
    weights, gain = tune([parts_of(found) for found in candidates], gains)
    assert gain * 100 == pytest.approx(in_sample, abs=1e-6) and weights == captioner.weights

    # What a user may expect: each half of the photos, by the weights of the other half, and after the vote.
    worth = []
    for half in ((0, 2, 4), (1, 3)):
        others = [i for i in range(5) if i not in half]
        own_weights, _ = tune([parts_of(candidates[i]) for i in others], [gains[i] for i in others])
        first = [ranked(candidates[i], own_weights, CaptionConfig().vote)[0].tokens for i in half]
        worth += [Cider(own).scores(i, [tokens])[0] for i, tokens in zip(half, first, strict=True)]
    assert held_out == pytest.approx(100 * np.mean(worth), abs=1e-6)


def test_weights_are_tuned_on_the_first_dev_images_with_captions(world, parts, table, tmp_path, monkeypatch):
    asked, (mute, *others) = [], world.of_split("dev")
    tuned = lambda measured, gains, without=(): asked.extend(measured) or (Weights(), 0.5)  # noqa: E731
    monkeypatch.setattr(scnlm.captions.assemble, "tune", tuned)
    csv = table([(a, "?" if a == mute else b, c) for a, b, c in world.rows])
    works(*parts.assemble(csv, tmp_path / "set", dev_images=2))
    captioner = Captioner.load(tmp_path / "set")
    features = open_combined([parts.features], captioner.encoder.feature_info)
    points = captioner.encoder.encode_images(features.take(others[:2]))
    expected = captioner.candidates(points, CaptionConfig(candidates=40))
    asked = asked[:2]  # then each half of them
    assert json.loads((tmp_path / "set" / "weights.json").read_text())["dev_images"] == 2
    for measured, candidates in zip(asked, expected, strict=True):
        assert measured == pytest.approx(parts_of(candidates), abs=1e-4)


def test_the_same_parts_give_the_same_set(world, parts, tmp_path):
    (tmp_path / "set").mkdir()  # empty is as good as new
    works(*parts.assemble(world.csv, tmp_path / "set"))
    assert contents(tmp_path / "set") == contents(parts.set)
    for out in (parts.set, world.photos):
        refused(*parts.assemble(world.csv, out), says=(out, "not empty", "another --out"), keeps=out)


def test_sets_that_cannot_be_leave_nothing(world, parts, table, tmp_path):
    nowhere, other = tmp_path / "nowhere", {}
    for name, dim in (("narrow", 5), ("same", 8)):
        other[name] = tmp_path / name
        coloured_shapes.works(
            "train", world.csv, "--features", parts.features, "--out", other[name], *TINY, "--model.embed-dim", dim,
            "--epochs", 1,
        )  # fmt: skip
    works("trigram", world.csv, "--out", tmp_path / "2.arpa", "--order", 2, "--discount-fallback")
    (tmp_path / "cut.arpa").write_bytes(parts.trigram.read_bytes()[:700])
    fingerprints = [checkpoint.load(run).fingerprint for run in (other["same"], parts.encoder)]
    bare = table([(a, "..." if c == "dev" else b, c) for a, b, c in world.rows], "bare.csv")
    few = table([row for row in world.rows if row[2] != "train"] + world.rows[:1], "few.csv")
    cases = [
        ({"encoder": other["narrow"]}, ("an encoder of 5 dimensions", "one of 8", "give the --encoder")),
        ({"encoder": other["same"]}, (*fingerprints, "give that one, or train again")),
        ({"encoder": nowhere}, (nowhere, "not a run folder", "vse train")),
        ({"encoder": parts.decoder}, (parts.decoder,)),
        ({"decoder": nowhere}, (nowhere, "not a run folder", "scnlm train")),
        ({"decoder": parts.encoder}, (parts.encoder, "not a language model", "scnlm train")),
        ({"trigram": nowhere}, (nowhere, "expected an ARPA file")),
        ({"trigram": tmp_path / "cut.arpa"}, (tmp_path / "cut.arpa", "truncated")),
        ({"trigram": tmp_path / "2.arpa"}, (tmp_path / "2.arpa", "order 2", "order 3")),
        ({"features": nowhere}, (nowhere, "vse features")),
        ({"features": world.matrix}, ("1 regions", "trained on 4")),
        ({"dev_images": 0}, ("--dev-images 0", "1 or more")),
        ({"dev_images": -1}, ("--dev-images -1", "1 or more")),
        ({"contents": "nope"}, ("nope", "image", "sentences", "words")),
        ({"csv": bare}, ("no captions to tune the weights by",)),
        ({"csv": few}, ("training sentences", "needs 5 or more")),
        ({"csv": world.photos}, ("no split 'dev'",)),
    ]
    for changes, says in cases:
        csv = changes.pop("csv", world.csv)
        refused(*parts.assemble(csv, tmp_path / "set", **changes), says=says)
        assert not (tmp_path / "set").exists(), says
    refused(*parts.assemble(world.csv, world.csv), says=(world.csv,), keeps=world.csv.parent)
    works(*parts.assemble(world.csv, tmp_path / "set"))


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()], ids=["full disk", "Ctrl-C"])
def test_a_set_is_written_whole_or_not_at_all(world, parts, tmp_path, monkeypatch, error):
    """At every file: what is left is no set, and the same command then makes one. The manifest comes last."""
    # The weights themselves are of no matter here.
    monkeypatch.setattr(scnlm.captions.assemble, "tune_weights", lambda *_: Tuned(Weights(), 1.0, 1.0))
    out, real, written = tmp_path / "set", os.replace, []

    def replace(source, target):
        if len(written) == stop_at:
            raise error
        written.append(Path(target).relative_to(tmp_path / ".set.unfinished").as_posix())
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    for stop_at in range(len(FILES)):
        written.clear()
        said = call(*parts.assemble(world.csv, out))
        assert (said.status, len(said.err)) == ((130 if isinstance(error, KeyboardInterrupt) else 1), 1), said
        assert "manifest.json" not in written and len(written) == stop_at
        assert not list(tmp_path.iterdir())
    stop_at = -1
    works(*parts.assemble(world.csv, out))
    assert contents(out).keys() == FILES and written[-1] == "manifest.json" and list(tmp_path.iterdir()) == [out]
    assert Captioner.load(out).weights == Weights()


@pytest.mark.parametrize("name", ["write_json", "_write", "bank_of"])
def test_what_a_kill_leaves_is_cleared_away(world, parts, tmp_path, monkeypatch, name):
    """Killed while it works, no line of ours runs any more: there is no set, and the same command makes one."""
    monkeypatch.setattr(scnlm.captions.assemble, "tune_weights", lambda *_: Tuned(Weights(), 1.0, 1.0))
    out, left = tmp_path / "set", tmp_path / ".set.unfinished"
    with monkeypatch.context() as killed:
        killed.setattr(scnlm.captions.assemble.shutil, "rmtree", lambda *_, **__: None)
        killed.setattr(scnlm.captions.assemble, name, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert call(*parts.assemble(world.csv, out)).status == 130
    assert not out.exists() and left.is_dir()
    (left / ".lock").write_text(f"{2**30} - {socket.gethostname()}")  # of a process that is gone
    works(*parts.assemble(world.csv, out))
    assert contents(out).keys() == FILES and list(tmp_path.iterdir()) == [out]
    refused(*parts.assemble(world.csv, out), says=(out, "not empty", "another --out"), keeps=out)


def test_two_that_make_the_same_set(world, parts, tmp_path):
    out, busy = tmp_path / "set", tmp_path / ".set.unfinished"
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as other:
        busy.mkdir()
        (busy / ".lock").write_text(f"{other.pid} - {socket.gethostname()}")
        refused(*parts.assemble(world.csv, out), says=(f"process {other.pid}", "another --out"), keeps=busy)
        other.communicate()


# --- scnlm caption ---------------------------------------------------------------------------------------------------


def lines_of(out: str) -> dict[str, list[tuple[float, float, str]]]:
    """photo -> [(agreement, score, caption)] of the text output."""
    found = {}
    for line in out.splitlines():
        if match := re.fullmatch(r"  (\d\.\d{3})  +(-?\d+\.\d{3})  (.+)", line):
            list(found.values())[-1].append((float(match[1]), float(match[2]), match[3]))
        else:
            found[line] = []
    return found


def test_photos_are_described_best_first(world, parts, colour_cnn):
    photos = [world.photos / name for name in world.of_split("test")]
    found = lines_of(works("caption", parts.set, *photos, *FEW))
    captioner = Captioner.load(parts.set)
    assert captioner.encoder.photos.precision == "float32"  # that every machine says the same
    expected = captioner.captions(captioner.encoder.encode_images(photos), CaptionConfig(candidates=40))
    assert list(found) == [str(photo) for photo in photos]
    for captions, own in zip(found.values(), expected, strict=True):
        near = [(pytest.approx(c.agreement, abs=6e-4), pytest.approx(c.score, abs=6e-4), c.text) for c in own]
        assert captions == near
        assert 1 < len(captions) <= 5
        assert [c.expected for c in own] == sorted((c.expected for c in own), reverse=True)
    again = works("caption", parts.set, *photos, *FEW)
    assert lines_of(again) == found
    (name, two), *_ = lines_of(works("caption", parts.set, photos[0], *FEW, "--kept", 2, "--seed", 0)).items()
    assert two == found[name][:2]
    drawn = lines_of(works("caption", parts.set, photos[0], *FEW, "--structured", "False", "--contents", "words"))
    assert len(drawn[name]) == 5 and drawn[name] != found[name]


def test_each_photo_is_told_as_soon_as_it_is_described(world, parts, colour_cnn, monkeypatch):
    """What was said before Ctrl-C is not lost."""
    photos, real = [world.photos / name for name in world.of_split("test")], Captioner.captions

    def captions(self, images, *args):
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(len(images))
        return real(self, images, *args)

    asked = []
    monkeypatch.setattr(Captioner, "captions", captions)
    said = call("caption", parts.set, *photos, *FEW)
    assert said.status == 130 and len(said.err) == 1
    assert list(lines_of(said.out)) == [str(photo) for photo in photos[:2]] and asked == [1, 1]


def test_a_folder_of_photos_is_described_photo_by_photo(world, parts, colour_cnn, tmp_path):
    names = world.of_split("test")
    (tmp_path / "album" / "deeper").mkdir(parents=True)
    for name, place in zip(names, ("", "deeper", "", "deeper", "", ""), strict=False):
        shutil.copy(world.photos / name, tmp_path / "album" / place / name)
    found = lines_of(works("caption", parts.set, tmp_path / "album", *FEW))
    photos = sorted(path for path in (tmp_path / "album").rglob("*") if path.is_file())
    assert sorted(found) == [str(photo) for photo in photos] and len(photos) == len(names)
    alone = lines_of(works("caption", parts.set, *photos, *FEW))
    assert found == alone
    said = works("caption", parts.set, "--json", "--no-json", photos[0], *FEW)
    assert lines_of(said)[str(photos[0])] == alone[str(photos[0])]


def test_photos_are_encoded_a_few_at_a_time(world, parts, colour_cnn, monkeypatch):
    """Memory does not grow with their number, and the first is described before the last is opened."""
    from vse.model import VSE

    order, see, captions = [], VSE.seen, Captioner.captions
    opened = lambda s, x: order.append(f"{len(x)} opened") if isinstance(x, list) else None  # noqa: E731  files
    monkeypatch.setattr(VSE, "seen", lambda s, x: opened(s, x) or see(s, x))
    monkeypatch.setattr(Captioner, "captions", lambda s, x, *a: order.append("told") or captions(s, x, *a))
    works("caption", parts.set, *[world.photos / name for name in world.of_split("train")[:6]], *FEW)
    assert order == ["4 opened", *["told"] * 4, "2 opened", "told", "told"]


def test_json_has_every_part_of_the_score(world, parts, colour_cnn):
    photos = [world.photos / name for name in world.of_split("dev")]
    plain = lines_of(works("caption", parts.set, *photos, *FEW))
    rows = [json.loads(line) for line in works("caption", parts.set, *photos, *FEW, "--json").splitlines()]
    weights = json.loads((parts.set / "weights.json").read_text())["weights"]
    assert [row["photo"] for row in rows] == [str(photo) for photo in photos]
    for row in rows:
        assert [(c["agreement"], c["score"], c["caption"]) for c in row["captions"]] == [
            (pytest.approx(agreement, abs=1.1e-3), pytest.approx(score, abs=1.1e-3), text)
            for agreement, score, text in plain[row["photo"]]
        ]
        for c in row["captions"]:
            assert c["content"] in ("image", "sentences") and len(c["structure"].split()) == len(c["caption"].split())
            assert 0 <= c["draw"] < 40 and c["decoder"] < 0 and c["trigram"] < 0
            cosines = weights["translation"] * c["translation"] + weights["concepts"] * c["concepts"]
            other = weights["trigram"] * c["trigram"] + weights["decoder"] * c["decoder"]
            other += weights["length"] * len(c["caption"].split()) + weights["structure"] * c["log_share"]
            assert c["score"] == pytest.approx(cosines * weights["repetition"] ** c["repeats"] + other, abs=1e-4)


def test_the_page_shows_photos_captions_people_and_the_nearest_sentence(world, parts, colour_cnn, tmp_path):
    photos, out = [world.photos / name for name in world.of_split("test")], tmp_path / "new" / "page.html"
    said = call("caption", parts.set, *photos, *FEW, "--html", out, "--data", world.csv)
    assert (said.status, said.err) == (0, [f"page: {out}"])
    text = out.read_text(encoding="utf-8")
    articles = text.split("<article")[1:]
    train = [caption for _, caption, split in world.rows if split == "train"]
    model = checkpoint.load(parts.encoder)
    cosines = model.encode_images(photos) @ model.encode_texts(train).T
    assert len(articles) == len(photos)
    for photo, article, captions, row in zip(photos, articles, lines_of(said.out).values(), cosines, strict=True):
        assert article.count('src="data:image/jpeg;base64,') == 1
        shown = re.findall(r"<li>([^<]+) <span", article)
        assert shown == [caption for *_, caption in captions]
        for _, caption, _ in (r for r in world.rows if r[0] == photo.name):
            assert f"<li>{caption}</li>" in article
        assert f"Nearest training sentence: {train[row.argmax()]}<" in article
    assert text.count("What people wrote") == len(photos)
    for other in (said.out, works("caption", parts.set, *photos, *FEW)):
        assert other == said.out
    call("caption", parts.set, *photos, *FEW, "--html", out)
    plain = out.read_text(encoding="utf-8")
    assert "What people wrote" not in plain and "Nearest" not in plain and plain.count("<article") == len(photos)


def test_a_photo_that_is_not_of_the_data_set_has_a_nearest_sentence_only(world, parts, colour_cnn, tmp_path):
    draw("red", "bar").save(tmp_path / "mine.jpg")
    out = tmp_path / "page.html"
    said = call("caption", parts.set, tmp_path / "mine.jpg", *FEW, "--html", out, "--data", world.csv)
    assert said.status == 0
    assert "What people wrote" not in out.read_text() and "Nearest training sentence" in out.read_text()


def test_a_bad_photo_among_good_ones_is_named_and_the_good_ones_are_described(world, parts, colour_cnn, tmp_path):
    good = [world.photos / name for name in world.of_split("test")[:2]]
    half, gone = tmp_path / "half.png", tmp_path / "gone.jpg"
    half.write_bytes(good[0].read_bytes()[:90])
    bad, out = {half: "damaged", gone: "no such file"}, tmp_path / "page.html"
    said = call("caption", parts.set, good[0], half, gone, good[1], *FEW, "--html", out)
    assert said.status == 1 and len(said.err) == 3 and said.err[-1] == f"page: {out}"
    for line, (path, reason) in zip(said.err, bad.items(), strict=False):
        assert line.startswith(f"scnlm: {path}: ") and reason in line and line.endswith("left out")
    assert lines_of(said.out) == lines_of(works("caption", parts.set, *good, *FEW))
    assert out.read_text().count("<article") == 2
    said = call("caption", parts.set, half, gone, *FEW, "--html", tmp_path / "none.html")
    assert said.status == 1 and said.out == "" and not (tmp_path / "none.html").exists()
    assert said.err[-1] == "scnlm: none of the 2 photos can be read; give others" and len(said.err) == 3


def test_the_set_that_ships_is_the_default(parts, photo, colour_cnn, tmp_path, monkeypatch):
    monkeypatch.setattr(scnlm.captions.captioner, "__file__", str(tmp_path / "scnlm" / "captions" / "captioner.py"))
    folder = tmp_path / "models" / "flickr8k"
    refused("caption", photo, *FEW, says=(folder.name, "no caption set there", "scnlm assemble"), keeps=tmp_path)
    shutil.copytree(parts.set, folder)
    assert works("caption", photo, *FEW) == works("caption", parts.set, photo, *FEW)
    refused("caption", says=("[SET] PHOTO...",))
    assert shipped_set() == folder


def test_calls_that_cannot_be(world, parts, photo, table, colour_cnn, tmp_path):
    bare = table([(a, "" if c == "train" else b, c) for a, b, c in world.rows], "bare.csv")
    page, empty = tmp_path / "page.html", tmp_path / "empty"
    empty.mkdir()
    cases = [
        ((parts.set,), (parts.set, "no photos", "[SET] PHOTO...")),
        ((empty,), (empty, "not a caption set", "scnlm assemble", "no photo in it")),
        ((parts.set, empty), (empty, "no photo in it", "[SET] PHOTO...")),
        ((parts.set, photo, "--seed", 2**64), ("--seed", str(2**64), "0 or more")),
        ((parts.set, photo, "--vote", "nan"), ("vote", "nan")),
        ((parts.encoder, photo), (parts.encoder, "not a caption set")),
        ((parts.set, photo, "--data", tmp_path / "nowhere", "--html", page), ("nowhere", "does not exist")),
        ((parts.set, photo, "--data", world.photos, "--html", page), ("no split 'train'",)),
        ((parts.set, photo, "--data", bare, "--html", page), ("no training captions", "leave out --data")),
        ((parts.set, photo, "--device", "gpu"), ("gpu", "auto, cpu, cuda")),
        ((parts.set, photo, "--candidates", 0), ("1 or more",)),
        ((parts.set, photo, "--contents", "sky"), ("sky", "image", "sentences", "words")),
        ((parts.set, photo, "--structured", "False", "--beam", 2), ("beam 2", "expected beam 1")),
        ((parts.set, photo, "--captions", 5), ("--captions", "scnlm caption --help")),
    ]
    for words, says in cases:
        refused("caption", *words, says=says, keeps=tmp_path)
    for place, says in ((tmp_path, "another path"), (world.csv / "page.html", world.csv)):
        said = call("caption", parts.set, photo, *FEW, "--html", place)  # the captions are not lost
        assert said.status == 1 and len(said.err) == 1 and str(says) in said.err[0] and lines_of(said.out)


def edited(name: str, change):
    """Changes the object in a JSON file of a set."""

    def damage(folder, _):
        value = json.loads((folder / name).read_text())
        change(value)
        (folder / name).write_text(json.dumps(value))

    return damage


def weight(**values):
    return edited("weights.json", lambda value: value["weights"].update(values))


def cut(name: str, to: int):
    return lambda folder, _: (folder / name).write_bytes((folder / name).read_bytes()[:to])


def another_encoder(folder, world):
    """One of as many dimensions, but other weights."""
    shutil.rmtree(folder / "vse")
    command = ("train", world.csv, "--features", world.matrix, "--out", folder / "vse", *TINY, "--epochs", 1)
    coloured_shapes.works(*command)


SPOILT = {
    "weights: none": (edited("weights.json", lambda v: v.clear()), ("weights.json", "JSON object")),
    "weights: no JSON": (cut("weights.json", 20), ("weights.json", "not valid JSON")),
    "weights: a list": (edited("weights.json", lambda v: v.update(weights=[1.0])), ("weights.json", "object")),
    "weights: a text": (weight(length="long"), ("weights.json", "weights.length")),
    "weights: no number": (weight(length=math.nan), ("weights.json", "NaN is no JSON number")),
    "weights: negative": (weight(trigram=-1.0), ("weights.json", "0 or more")),
    "weights: another": (weight(luck=1.0), ("weights.json", "unknown key 'luck'", "translation")),
    "trigram: cut": (cut("trigram.arpa", 700), ("trigram.arpa", "truncated", "write it again")),
    "trigram: empty": (cut("trigram.arpa", 0), ("trigram.arpa", "not an ARPA file", "scnlm trigram")),
    "trigram: order 2": (
        lambda f, world: works("trigram", world.csv, "--out", f / "trigram.arpa", "--order", 2, "--discount-fallback"),
        ("trigram.arpa", "order 2", "expected order 3"),
    ),
    "structures: other set": (
        edited("scnlm/structures.json", lambda v: v.update(tag_set="fine")), ("structures.json", "fine", "coarse"),
    ),
    "structures: other tags": (
        edited("scnlm/structures.json", lambda v: v.update(sequences={"DT NN VBZ JJ": 3})), ("'DT'", "coarse"),
    ),
    "concepts: cut": (cut("concepts.safetensors", -9), ("concepts.safetensors", "scnlm assemble")),
    "concepts: empty": (cut("concepts.safetensors", 0), ("concepts.safetensors", "scnlm assemble")),
    "concepts: weights": (
        lambda f, _: shutil.copy(f / "vse" / "model.safetensors", f / "concepts.safetensors"),
        ("concepts.safetensors", "not a bank of sentences"),
    ),
    "encoder: damaged": (cut("vse/model.safetensors", -9), ("model.safetensors", "damaged")),
    "encoder: another": (another_encoder, ("trained in the space of encoder",)),
    "decoder: damaged": (cut("scnlm/model.safetensors", -9), ("model.safetensors", "damaged")),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
def test_a_damaged_set_is_refused_in_one_line(world, photo, copy, colour_cnn, name):
    damage, says = SPOILT[name]
    damage(copy, world)
    refused("caption", copy, photo, *FEW, says=says, keeps=copy)


@pytest.mark.parametrize("missing", sorted({"vse", "scnlm", *FILES} - OPTIONAL))
def test_a_set_that_lacks_a_part(photo, copy, colour_cnn, missing):
    path = copy / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    refused("caption", copy, photo, *FEW, says=(copy, Path(missing).name), keeps=copy)


def test_an_encoder_on_a_users_own_matrix_cannot_see_photos(world, tagged, photo, tmp_path):
    """But it can be assembled, for use from Python with features."""
    run, lm, arpa, out = (tmp_path / name for name in ("vse", "lm", "t.arpa", "set"))
    coloured_shapes.works("train", world.csv, "--features", world.matrix, "--out", run, *TINY, "--epochs", 1)
    works("train", world.csv, "--encoder", run, "--out", lm, *TINY_LM, "--epochs", 1)
    works("trigram", world.csv, "--out", arpa, "--discount-fallback")
    works("assemble", world.csv, "--features", world.matrix, "--encoder", run, "--decoder", lm, "--trigram", arpa,
          "--out", out, *FEW, "--dev-images", 2)  # fmt: skip
    refused("caption", out, photo, *FEW, says=("user's own matrix", "vse features"), keeps=out)
    captioner = Captioner.load(out)
    (captions,) = captioner.captions(captioner.encoder.encode_images(world.array[:1]), CaptionConfig(candidates=40))
    assert captions and np.isfinite(captions[0].score)


def test_the_shipped_set_describes_free_photos():
    try:
        folder = shipped_set()
    except InputError as error:
        pytest.skip(str(error))
    said = call("caption", *free_photos.paths()[:2], "--candidates", 100)
    assert (said.status, said.err) == (0, [])
    for captions in lines_of(said.out).values():
        assert len(captions) == 5 and all(4 <= len(text.split()) <= 12 for *_, text in captions)
    assert json.loads((folder / "weights.json").read_text())["tuned_on"] == "flickr8k"


def test_version_help_and_one_real_process(capsys, tmp_path):
    assert re.fullmatch(r"scnlm \d+\.\d+\.\d+\n", works("--version"))
    for command in ([], ["train"], ["assemble"], ["caption"]):
        with pytest.raises(SystemExit) as stop:
            main([*command, "--help"])
        assert not stop.value.code
    said = capsys.readouterr()
    assert "--lm.tag-context" in said.out and "--dev-images" in said.out and "[SET] PHOTO" in said.out and not said.err
    done = subprocess.run(
        [sys.executable, "-m", "scnlm", "score", tmp_path / "no.arpa", tmp_path], capture_output=True, text=True,
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 1 and done.stdout == ""
    assert re.fullmatch(r"scnlm: .*no\.arpa: cannot be read .*\n", done.stderr)
