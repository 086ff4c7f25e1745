"""Bad input on the command line: one clear line, exit status 1, nothing lost (what each reader says: its own tests)."""

import errno
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from vse.data.photos import MAX_PIXELS
from vse.runs.checkpoint import load

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


@pytest.fixture
def train(world, tmp_path):
    """The arguments of a training into tmp_path/run, on another list of captions or other features."""

    def arguments(csv=None, features=None, out=None):
        out = out or tmp_path / "run"
        return ("train", csv or world.csv, "--features", features or world.matrix, "--out", out, *TINY)

    return arguments


@pytest.fixture
def copy(run, tmp_path):
    """A finished run that may be spoilt."""
    return shutil.copytree(run, tmp_path / "copy")


@pytest.fixture
def table(world, tmp_path):
    """Writes the world's caption list with changes, in a folder where its photos are found."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "images").symlink_to(world.photos)
    return lambda rows, name="shapes.csv": write_table(folder / name, rows)


def nothing_in(folder):
    """True where nothing was left: the same command works after mending, without --resume."""
    return not folder.exists() or not contents(folder)


# --- photos -------------------------------------------------------------------------------------------------


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    draw("red", "bar").transpose(Image.Transpose.ROTATE_90).save(path, quality=95, exif=exif)


ODD = {
    "cmyk.jpg": lambda path: draw("red", "bar").convert("CMYK").save(path, quality=95),
    "grey.jpg": lambda path: draw("red", "bar").convert("L").save(path),
    "palette.png": lambda path: draw("red", "bar").convert("P").save(path),
    "deep.png": lambda path: Image.fromarray(np.full((9, 8), 40_000, np.uint16)).save(path),
    "one.png": lambda path: Image.new("RGB", (1, 1), (255, 255, 255)).save(path),
    "turned.jpg": turned,
}


def half(path):
    draw("blue", "circle").save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


BAD = {
    "empty.jpg": (lambda path: path.write_bytes(b""), "empty file"),
    "half.jpg": (half, "damaged"),
    "text.jpg": (lambda path: path.write_text("a photo of a dog"), "not an image"),
    "gone.jpg": (lambda path: path.symlink_to("nowhere.jpg"), "no such file"),
}


def test_odd_photos_are_photos(colour_cnn, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    draw("red", "bar").save(photos / "plain.png")
    for name, write in ODD.items():
        write(photos / name)
    said = call("features", photos, "--out", tmp_path / "f", "--grid", "4")
    assert (said.status, said.err) == (0, [])
    names = (tmp_path / "f" / "names.txt").read_text().splitlines()
    rows = dict(zip(names, np.load(tmp_path / "f" / "features.npy")[:, 0].astype(np.float32), strict=True))
    assert rows.keys() == {"plain.png", *ODD}
    for same in ("cmyk.jpg", "palette.png", "turned.jpg"):
        assert np.abs(rows[same] - rows["plain.png"]).mean() < 0.08, same
    assert np.ptp(rows["grey.jpg"], axis=1).max() < 0.02  # the three channels are one
    assert np.allclose(rows["deep.png"], (40_000 // 256 - 127) / 128, atol=0.01) and np.allclose(rows["one.png"], 1)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_photo_is_named_and_left_out_when_told(colour_cnn, tmp_path, name):
    photos = tmp_path / "photos"
    photos.mkdir()
    write, reason = BAD[name]
    write(photos / name)
    draw("red", "bar").save(photos / "good.png")
    command = ("features", photos, "--out", tmp_path / "f")
    refused(*command, says=("1 of 2 photos", name, reason, "--skip-bad"), keeps=photos)
    assert f"{name}: " in works("data", photos, "--check")
    said = works(*command, "--skip-bad")
    assert "1 images" in said and f"1 skipped: {name}" in said and reason in said
    assert (tmp_path / "f" / "names.txt").read_text() == "good.png\n"
    before = contents(tmp_path / "f")
    refused(*command, "--skip-bad", "--grid", "2", says=("another grid", "--out"), keeps=tmp_path / "f")
    assert works(*command, "--skip-bad") == said and contents(tmp_path / "f") == before


def test_a_photo_that_is_too_large_and_no_good_photo_at_all(colour_cnn, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("1", (MAX_PIXELS // 10_000 + 1, 10_000)).save(photos / "huge.png")
    command = ("features", photos, "--out", tmp_path / "f")
    refused(*command, says=("huge.png", f"more than the {MAX_PIXELS:,}", "--skip-bad"))
    refused(*command, "--skip-bad", says=("none of the 1 photos", "huge.png"))


def test_a_bad_photo_does_not_stop_a_search(world, colour_run, colour_cnn, tmp_path):
    half(tmp_path / "half.jpg")
    draw("red", "bar").save(tmp_path / "good.png")
    (tmp_path / "captions.txt").write_text("a red bar\nxyzzy\n")
    said = call("search", colour_run, "red", "--images", tmp_path)
    assert said.status == 0 and said.out.split()[-1] == "good.png"
    assert len(said.err) == 1 and said.err[0].startswith("skipped half.jpg: damaged")
    asked = ("search", colour_run, tmp_path / "half.jpg", "--captions", tmp_path / "captions.txt")
    refused(*asked, says=("half.jpg", "damaged"))
    (tmp_path / "good.png").unlink()
    refused("search", colour_run, "red", "--images", tmp_path, says=("none of the 1 photos", "half.jpg", "damaged"))


@pytest.fixture(scope="module")
def colour_run(world, tmp_path_factory):
    """A run on features of ColourNet, with which new photos can be encoded."""
    folder = tmp_path_factory.mktemp("colours")
    with pytest.MonkeyPatch.context() as patch:
        colour_cnn_in(patch)
        assert call("features", world.csv, "--out", folder / "f").status == 0
    works("train", world.csv, "--features", folder / "f", "--out", folder / "run", *TINY)
    return folder / "run"


# --- captions and splits ------------------------------------------------------------------------------------


def test_captions_of_absent_images_and_empty_ones_are_left_out_and_noted(world, run, table, train, tmp_path):
    first = world.rows[0]
    csv = table([("ghost.png", "a ghost", "train"), (first[0], "  ", first[2]), *world.rows])
    said = works("data", csv)
    assert "1 of 33 images, left out with 1 captions (first: ghost.png)" in said
    assert f"empty captions: 1, left out (first: one of {first[0]})" in said
    works(*train(csv))
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()


def test_captions_with_no_known_word(world, run, colour_run, table, train, tmp_path):
    strange = table([(a, "xyzzy" if c == "test" else b, c) for a, b, c in world.rows], "strange.csv")
    assert "5 images" in works("evaluate", run, strange, "--features", world.matrix)
    works(*train(table([(a, "..." if c == "train" else b, c) for a, b, c in world.rows], "dots.csv")))
    for query, words in (("Xyzzy plugh!", "xyzzy, plugh"), ("?!", "none"), ("", "none")):
        refused("search", colour_run, query, "--images", world.photos, says=(repr(query), words, "use others"))
    file = tmp_path / "captions.txt"
    file.write_text("xyzzy\nplugh\n")
    photo = world.photos / world.names[0]
    refused("search", colour_run, photo, "--captions", file, says=(file, "no caption has a word", "give others"))


def test_text_that_is_not_utf8(world, colour_run, table, train, tmp_path):
    csv = table(world.rows)
    csv.write_bytes(csv.read_bytes() + "red_bar.png,caf\xe9,train\n".encode("latin1"))
    for command in (("data", csv), train(csv), ("features", csv, "--out", tmp_path / "f")):
        refused(*command, says=(f"{csv}, line {len(world.rows) + 2}", "0xe9", "not UTF-8", "iconv"))
    file = tmp_path / "captions.txt"
    file.write_bytes(b"red\ncaf\xe9\n")
    refused("search", colour_run, world.photos / world.names[0], "--captions", file, says=(f"{file}, line 2", "iconv"))
    names = write_matrix(tmp_path / "m.npy", world.array, world.names).with_suffix(".txt")
    names.write_bytes(names.read_bytes().replace(b"red", b"r\xe9d"))
    refused(*train(features=tmp_path / "m.npy"), says=(names, "not UTF-8", "save it as UTF-8"))


def test_images_twice_and_overlapping_splits(world, table, train, tmp_path):
    name, text, split = world.rows[0]
    other = "dev" if split != "dev" else "test"
    csv = table([*world.rows, (name, text, other)])
    for command in (("data", csv), train(csv)):
        refused(*command, says=(f"line {len(world.rows) + 2}: {name} is in", split, other, "keep one"))
    karpathy = tmp_path / "data" / "dataset_x.json"
    entry = {"filename": name, "split": "train", "sentences": [{"raw": text}]}
    karpathy.write_text(json.dumps({"images": [entry, entry]}))
    refused("data", karpathy, says=("images[1]", name, "twice", "keep one"))


@pytest.mark.parametrize("missing", ["train", "dev", "test"])
def test_a_split_that_is_not_there(world, run, table, train, tmp_path, missing):
    rest = [row for row in world.rows if row[2] != missing]
    csv = table(rest)
    command = train(csv) if missing != "test" else ("evaluate", run, csv, "--features", world.matrix)
    refused(*command, says=(f"no split '{missing}'", "there is", "give some images this one"))
    assert nothing_in(tmp_path / "run")


@pytest.mark.parametrize("bare", ["train", "dev", "test"])
def test_a_split_without_captions(world, run, table, train, tmp_path, bare):
    csv = table([(a, "" if c == bare else b, c) for a, b, c in world.rows])
    command = train(csv) if bare != "test" else ("evaluate", run, csv, "--features", world.matrix)
    refused(*command, says=("csv:shapes", "captions"))
    assert nothing_in(tmp_path / "run")


def test_what_is_no_data_set(world, run, train, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "none.csv").write_text("image,caption,split\n")
    (tmp_path / "void.csv").write_bytes(b"")
    (tmp_path / "cut.json").write_text('{"images": [')
    for name, says in {
        "empty": "no photo and no caption list", "none.csv": "lists no image", "void.csv": "is empty",
        "cut.json": "not whole JSON", "nowhere": "does not exist",
    }.items():  # fmt: skip
        refused("data", tmp_path / name, says=(tmp_path / name, says), keeps=tmp_path)
        refused(*train(tmp_path / name), says=(says,), keeps=tmp_path)
    page = ("page", run, world.photos, "--features", world.matrix, "--out", tmp_path / "page.html")
    refused(*page, says=("no split 'test'",), keeps=tmp_path)


# --- features -----------------------------------------------------------------------------------------------


def test_rows_in_another_order_are_matched_by_name(world, run, train, tmp_path):
    """To the bit: the same weights, the same row, the same vectors."""
    order = np.random.default_rng(1).permutation(32)
    shuffled = write_matrix(tmp_path / "m.npy", world.array[order], [world.names[i] for i in order])
    works(*train(features=shuffled))
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
    said = [works("evaluate", run, world.csv, "--features", features) for features in (world.matrix, shuffled)]
    assert said[0] == said[1]
    model = load(run)
    assert np.allclose(model.encode_images(world.array)[order], model.encode_images(world.array[order]), atol=1e-6)


def test_feature_matrices_that_cannot_be_used(world, run, train, tmp_path):
    names, array, m = world.names, world.array, tmp_path / "m.npy"
    holes = array.copy()
    holes[names.index(world.of_split("dev")[0]), 3] = np.nan
    few = [i for i, name in enumerate(names) if name in world.of_split("train")]  # not one of dev
    spoilt = {
        ("5 missing", "extract these photos"): (array[few], [names[i] for i in few]),
        ("10 rows", "32 names", "as many"): (array[:10], names),
        ("32 rows", "31 names", "as many"): (array, names[:31]),
        ("NaN", world.of_split("dev")[0], "leave it out"): (holes, names),
        (names[0], "2 times", "one name and one row"): (array, [*names[:-1], names[0]]),
        ("int64", "expected float16"): (array.astype(np.int64), names),
        ("(32,)", "expected (images, D)"): (array[:, 0], names),
    }
    for says, (rows, called) in spoilt.items():
        write_matrix(m, rows, called)
        refused(*train(features=m), says=("m.", *says))
        assert nothing_in(tmp_path / "run")
    write_matrix(m, array, names)
    m.write_bytes(m.read_bytes()[:300])
    refused(*train(features=m), says=(m, "not a NumPy"))
    m.with_suffix(".txt").unlink()
    write_matrix(tmp_path / "x.npy", array, names)
    m.write_bytes((tmp_path / "x.npy").read_bytes())
    refused(*train(features=m), says=(tmp_path / "m.txt", "one image name a line"))
    refused(*train(features=tmp_path / "none"), says=(tmp_path / "none", "vse features"))
    refused(*train(features=world.photos), says=(world.photos, "no features.npy", "vse features"))


def test_features_of_something_else(world, run, colour_run, colour_cnn, tmp_path):
    narrow = write_matrix(tmp_path / "narrow.npy", world.array[:, :5], world.names)
    refused("evaluate", run, world.csv, "--features", narrow, says=("5 features a region", "trained on 12", "same CNN"))
    assert call("features", world.csv, "--encoder", "alexnet", "--out", tmp_path / "f").status == 0
    command = ("evaluate", colour_run, world.csv, "--features", tmp_path / "f")  # as wide as the right ones
    refused(*command, says=("alexnet", "efficientnet-lite2", "--encoder"))
    command = ("train", world.csv, "--features", tmp_path / "f", "--out", colour_run, *TINY, "--resume")
    refused(*command, says=("begun with --features", "another --out"), keeps=colour_run)
    refused("search", run, "red", "--images", world.photos, says=("user's own matrix", "vse features"))


# --- run folders --------------------------------------------------------------------------------------------


def test_a_run_of_another_data_set(world, run, table, train, copy):
    other = table([(a, f"{b} here", c) for a, b, c in world.rows])
    said = call("evaluate", run, other, "--features", world.matrix)
    assert said.status == 0 and len(said.err) == 1
    assert f"{run} was trained on another version of csv:shapes" in said.err[0]
    renamed = table(world.rows, "others.csv")
    assert "csv:others test" in works("evaluate", run, renamed, "--features", world.matrix)
    for csv, key in ((other, "captions or splits of DATA"), (renamed, "csv:shapes, now it is csv:others")):
        refused(*train(csv, out=copy), "--resume", says=(copy, key, "give another --out"), keeps=copy)
    for *option, says in (
        ("--seed", 4, "--seed 0, now it is 4"),
        ("--loss.margin", 0.3, "margin 0.2, now it is 0.3"),
    ):
        refused(*train(out=copy), "--resume", *option, says=(copy, says, "--out"), keeps=copy)


def edit_config(run, change):
    config = json.loads((run / "config.json").read_text())
    change(config)
    (run / "config.json").write_text(json.dumps(config))


def test_a_future_version_and_unknown_keys(world, run, train, tmp_path):
    changes = {
        ("version 2", "reads up to 1", "upgrade"): lambda c: c.update(version=2),
        ("model.text", "unknown key 'depth'", "word_dim"): lambda c: c["model"]["text"].update(depth=2),
        ("feature_dim", "a number"): lambda c: c.update(feature_dim="12"),
        ("feature_info", "an object"): lambda c: c.update(feature_info=7),
        ("'feature_dim' is missing", "train again"): lambda c: c.pop("feature_dim"),
        ("does not fit", "config.json"): lambda c: c.update(feature_dim=13),
    }
    for says, change in changes.items():
        spoilt = shutil.copytree(run, tmp_path / "spoilt")
        edit_config(spoilt, change)
        refused("evaluate", spoilt, world.csv, "--features", world.matrix, says=(spoilt, *says), keeps=spoilt)
        refused("search", spoilt, "red", "--images", world.photos, says=(spoilt, *says), keeps=spoilt)
        shutil.rmtree(spoilt)
    future = shutil.copytree(run, tmp_path / "future")
    edit_config(future, lambda c: c.update(version=2))
    refused(*train(out=future), "--resume", says=(future, "version 2"), keeps=future)
    refused("evaluate", world.photos, world.csv, "--features", world.matrix, says=(world.photos, "not a run folder"))


@pytest.mark.parametrize("missing", ["model.safetensors", "vocabulary.txt", "config.json"])
def test_a_half_written_run_says_how_to_mend_it_and_that_works(world, run, train, copy, missing):
    (copy / missing).unlink()
    command = ("evaluate", copy, world.csv, "--features", world.matrix)
    refused(*command, says=(copy, missing, "vse train"), keeps=copy)
    works(*train(out=copy), "--resume")
    for name in ("model.safetensors", "vocabulary.txt", "config.json", "metrics.json"):
        assert (copy / name).read_bytes() == (run / name).read_bytes()


def test_damaged_weights(world, copy):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    refused("evaluate", copy, world.csv, "--features", world.matrix, says=(weights, "damaged", "restore"), keeps=copy)


# --- options ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--epoch", 3), ("--epoch", "--epochs", "vse train --help")),
        (("--model.text.hiden", 3), ("--model.text.hiden", "--model.text.hidden")),
        (("--epochs", "three"), ("--epochs", "'three'", "vse train --help")),
        (("--recipe", "bset"), ("'bset'", "'paper', 'linear', 'best'")),
        (("--recipe=bset",), ("'bset'", "'paper', 'linear', 'best'")),
        (("--model.text.encoder", "gruu"), ("model.text", "'gruu'", "'lstm', 'peephole', 'gru'")),
        (("--loss.name", "triplet"), ("loss", "'triplet'", "'ranking', 'hardest', 'infonce'")),
        (("--optimizer", "adm"), ("optimizer", "'adm'", "'sgd', 'adam', 'adamw'")),
        (("--batch-size", 1), ("batch_size = 1", "2 or more")),
        (("--device", "gpu"), ("gpu", "auto, cpu, cuda")),
        (("--word-vectors", "no.txt"), ("no.txt", "word2vec or GloVe")),
    ],
)
def test_options_that_do_not_fit(train, tmp_path, options, says):
    line = refused(*train(), *options, says=says, keeps=tmp_path)
    assert "---" not in line and "tyro" not in line and "│" not in line
    assert nothing_in(tmp_path / "run")


def test_commands_that_do_not_fit(world, run, colour_run, tmp_path):
    refused("trian", world.csv, says=("trian", "train", "vse --help"))
    refused(says=("data", "train", "vse --help"))
    refused("train", world.csv, says=("missing: ", "--out", "vse train --help"))
    refused("train", world.csv, "--out", tmp_path / "run", says=("missing: --features", "--model.pixels.tower"))
    refused("evaluate", run, world.csv, says=("missing: --features",))
    refused("evaluate", run, "--features", world.matrix, says=(run, "RUN [RUN ...] DATA"))
    refused("search", run, "red", says=("--images DIR", "--captions FILE"))
    for device in ("gpu", "meta", "cuda:99"):
        refused("evaluate", run, world.csv, "--features", world.matrix, "--device", device, says=(device, "cpu"))
        refused("features", world.csv, "--out", tmp_path / "f", "--device", device, says=(device, "cpu"))
    refused("features", world.csv, "--out", tmp_path / "f", "--encoder", "alexnett", says=("alexnett", "alexnet?"))
    empty = tmp_path / "empty"
    empty.mkdir()
    refused("search", colour_run, "red", "--images", empty, says=(empty, "no photo"), keeps=tmp_path)
    refused("search", colour_run, "red", "--images", tmp_path / "no", says=("not a folder",), keeps=tmp_path)
    refused("search", colour_run, tmp_path / "no.jpg", "--captions", world.csv, says=("no.jpg", "no such photo"))


def test_a_k_that_does_not_fit(world, colour_run, colour_cnn, tmp_path):
    asked = ("search", colour_run, "red", "--images", world.photos, "--cache", tmp_path)
    assert len(call(*asked, "--k", 1000).out.splitlines()) == 32
    for k in (0, -1):
        refused(*asked, "--k", k, says=(f"--k {k}", "1 or more"), keeps=tmp_path)


def test_places_that_cannot_be_written(world, run, train, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    features = ("--features", world.matrix)
    refused(*train(out=file), says=(file,), keeps=tmp_path)
    refused("features", world.csv, "--out", file, says=(file,), keeps=tmp_path)
    refused("evaluate", run, world.csv, *features, "--json", tmp_path, says=(tmp_path, "another path"), keeps=tmp_path)
    refused("evaluate", run, world.csv, *features, "--json", file / "x.json", says=(file,), keeps=tmp_path)
    refused("page", run, world.csv, *features, "--out", tmp_path, says=(tmp_path, "path"), keeps=tmp_path)


# --- a full disk, Ctrl-C ------------------------------------------------------------------------------------


def failing(monkeypatch, error, at, name=None):
    """Makes the `at`-th os.replace (of a file called `name`) raise; returns what takes that back."""
    real, left = os.replace, [at]

    def replace(source, target):
        if name is None or os.path.basename(target) == name:
            left[0] -= 1
            if left[0] == 0:
                raise error
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    return lambda: monkeypatch.setattr(os, "replace", real)


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("name", "at"),
    [("vocabulary.txt", 1), ("model.safetensors", 1), ("resume.safetensors", 1), ("resume.safetensors", 2),
     ("metrics.jsonl", 3), ("metrics.json", 1)],
)  # fmt: skip
def test_a_full_disk_while_training_costs_nothing_that_was_there(world, run, train, tmp_path, monkeypatch, name, at):
    mend, out = failing(monkeypatch, FULL, at, name), tmp_path / "run"
    refused(*train(), says=(out / name, "No space left", "free some space"))
    assert not [p for p in out.rglob("*") if "tmp" in p.name]
    if name == "resume.safetensors" and at == 2:  # the first epoch's is whole
        assert (out / name).is_file() and load(out)
    mend()
    works(*train(), "--resume")
    same_run(out, run)


def same_run(out, run):
    """What a training leaves, but for the seconds it took, is that of the uninterrupted one."""
    for file in ("model.safetensors", "config.json", "vocabulary.txt", "metrics.json"):
        assert (out / file).read_bytes() == (run / file).read_bytes(), file
    lines = [[json.loads(line) for line in (folder / "metrics.jsonl").open()] for folder in (out, run)]
    assert [(x["epoch"], x["loss"], x["dev"]["rsum"]) for x in lines[0]] == [
        (x["epoch"], x["loss"], x["dev"]["rsum"]) for x in lines[1]
    ]
    assert not (out / "resume.safetensors").exists()


def test_a_disk_that_fills_up_while_syncing(world, run, train, tmp_path, monkeypatch):
    def fsync(_):
        raise FULL

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        refused(*train(), says=("No space left", "free some space"))
        evaluate = ("evaluate", run, world.csv, "--features", world.matrix, "--json", tmp_path / "x.json")
        refused(*evaluate, says=(tmp_path / "x.json", "free some"))
    assert not (tmp_path / "x.json").exists()
    works(*train(), "--resume")
    same_run(tmp_path / "run", run)


@pytest.mark.parametrize("step", [1, 4, 8])  # three a epoch: in the first, the second, the third
def test_ctrl_c_in_the_loop(world, run, train, tmp_path, monkeypatch, step):
    from vse.batches import TrainingSet

    real, left = TrainingSet.batch_of, [step]

    def batch(self, *arguments):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingSet, "batch_of", batch)
        interrupted(*train())
    works(*train(), "--resume")
    same_run(tmp_path / "run", run)


def interrupted(*argv):
    said = call(*argv)
    assert said.status == 130 and len(said.err) == 1, said
    assert "interrupted" in said.err[0] and "--resume" in said.err[0]


def test_ctrl_c_while_writing_keeps_the_old_files(world, run, train, copy, tmp_path, monkeypatch):
    features = ("--features", world.matrix)
    evaluate = ("evaluate", run, world.csv, *features, "--json", tmp_path / "row.json")
    page = ("page", run, world.csv, *features, "--out", tmp_path / "page.html")
    for command in (evaluate, page):
        works(*command)
        before = contents(tmp_path)
        mend = failing(monkeypatch, KeyboardInterrupt(), 1)
        interrupted(*command)
        mend()
        assert contents(tmp_path) == before
    mend = failing(monkeypatch, KeyboardInterrupt(), 2, "resume.safetensors")
    interrupted(*train())
    mend()
    works(*train(), "--resume")
    same_run(tmp_path / "run", run)


def test_ctrl_c_while_features_are_extracted(world, colour_cnn, tmp_path, monkeypatch):
    from vse.features import build as image_features

    command = ("features", world.csv, "--batch-size", 8, "--out")
    assert call(*command, tmp_path / "whole").status == 0
    real, left = image_features._as_float16, [3]

    def convert(*arguments):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(image_features, "_as_float16", convert)
        interrupted(*command, tmp_path / "f")
    refused("evaluate", tmp_path, world.csv, "--features", tmp_path / "f", says=("not a run folder",))
    refused("train", world.csv, "--features", tmp_path / "f", "--out", tmp_path / "run", says=("16 of 32", "again"))
    assert call(*command, tmp_path / "f").status == 0
    a, b = (contents(tmp_path / folder) for folder in ("whole", "f"))
    assert a.keys() == b.keys() and a["features.npy"] == b["features.npy"] and a["names.txt"] == b["names.txt"]
