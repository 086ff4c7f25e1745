"""Features as people have them: shapes, names, damaged files, and what `--skip-bad` left out."""

import json
import zipfile

import numpy as np
import pytest

from vse.data.datasets import Dataset
from vse.features import info as feature_info
from vse.features.folder import open_partial, seal
from vse.features.side_by_side import combine_features, open_combined
from vse.features.store import Features, open_features, without_skipped
from vse.system.errors import InputError

pytest.register_assert_rewrite("coloured_shapes")
from coloured_shapes import TINY, call  # noqa: E402

pytest_plugins = ["coloured_shapes"]


def numbered(*shape, dtype=np.float32):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def store(folder, array, info=None, names=None):
    """A folder of features, as `vse features` or a user leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "features.npy", array)
    names = [f"{i}.jpg" for i in range(len(array))] if names is None else names
    (folder / "names.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    if info is not None:
        (folder / "features.json").write_text(json.dumps(info))
    return folder


# --- shapes of a user's own array ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape, read",
    [
        ((3, 64), (3, 1, 1, 64)), ((3, 64, 1, 1), (3, 1, 1, 64)), ((3, 64, 1), (3, 1, 1, 64)),
        ((3, 36, 64), (3, 1, 36, 64)), ((3, 1, 36, 20), (3, 1, 36, 20)), ((3, 2, 9, 64), (3, 2, 9, 64)),
        ((3, 64, 7, 7), (3, 1, 49, 64)), ((3, 64, 9, 9), (3, 1, 81, 64)), ((3, 7, 7, 64), (3, 1, 49, 64)),
    ],
)  # fmt: skip
def test_the_shape_of_an_own_array_tells_its_axes(tmp_path, capsys, shape, read):
    array = numbered(*shape)
    features = open_features(store(tmp_path / "f", array))
    assert features.array.shape == read
    axis = 1 if shape[2:] in ((7, 7), (9, 9)) else len(shape) - 1
    channels = array if shape[-1] == 1 else np.moveaxis(array, axis, -1)
    assert (features.array.reshape(-1) == channels.reshape(-1)).all()
    said = capsys.readouterr().err
    assert (f"read as 3 images x {read[1]} views" in said) == (len(shape) > 2)
    assert (f"read as 3 images x {read[1]} views" in features.describe()) == (len(shape) > 2)


@pytest.mark.parametrize(
    "shape",
    [
        (3, 64, 49), (3, 64, 7, 10), (3, 7, 10, 64), (3, 9, 9, 64), (3, 7, 7, 7), (3, 10, 9, 9), (2, 3, 4, 5, 6), (3,),
    ],
)  # fmt: skip
def test_shapes_that_may_mean_two_things_are_refused(tmp_path, shape):
    with pytest.raises(InputError, match="shape") as caught:
        open_features(store(tmp_path / "f", numbered(*shape)))
    assert "\n" not in str(caught.value)
    if "save array" in str(caught.value):
        way = str(caught.value).split("save ")[1].split(" where")[0]
        again = store(tmp_path / "again", eval(way, {"array": numbered(*shape)}))
        assert open_features(again).array.shape[1] == 1


def test_a_features_json_of_ones_own_says_what_the_axes_are(tmp_path):
    folder = store(tmp_path / "f", numbered(3, 4, 4, 64), {"views": ["tl", "tr", "bl", "br"]})
    assert open_features(folder).array.shape == (3, 4, 4, 64)


def test_an_archive_with_one_array(tmp_path):
    array = numbered(3, 8)
    np.savez_compressed(tmp_path / "m.npz", array)
    (tmp_path / "m.txt").write_text("a\nb\nc\n")
    assert (open_features(tmp_path / "m.npz").array[:, 0, 0] == array).all()
    np.savez(tmp_path / "m.npz", array, array)
    with pytest.raises(InputError, match="2 files, expected one array"):
        open_features(tmp_path / "m.npz")
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
        archive.writestr("a.npy", b"nothing")
    with pytest.raises(InputError, match="not a NumPy"):
        open_features(tmp_path / "m.npz")


# --- damaged headers and fields -----------------------------------------------------------------------------


def header(text):
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "head",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-3, 4), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4000000000000000000000), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (True, 4), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 5), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 3), }",
        "{'descr': '>f4', 'fortran_order': False, 'shape': (3, 4), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (3, 4), }",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3, 4), }",
        "{'descr': '<V2', 'fortran_order': False, 'shape': (3, 4), }",
        "{'descr': 'nothing', 'fortran_order': False, 'shape': (3, 4), }",
        "{" * 60, "(" * 110, "", "\x00\x00",
    ],
)  # fmt: skip
def test_headers_that_lie(tmp_path, head):
    folder = store(tmp_path / "f", numbered(3, 4))
    (folder / "features.npy").write_bytes(header(head) + bytes(48))
    with pytest.raises(InputError, match="features.npy") as caught:
        open_features(folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def extracted(views=("full",), grid=1, d=4, **more):
    return {
        "version": 1, "encoder": "tiny", "views": list(views), "grid": grid, "asked_grid": grid, "map_size": 4,
        "feature_dim": d, "precision": "float32", "weights": None, "weights_sha256": "", "seed": 0,
    } | more  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"views": "full"}, {"views": [1]}, {"views": []}, {"grid": "1"}, {"grid": 1.0}, {"grid": True}, {"grid": -1},
        {"encoder": 3}, {"seed": "0"}, {"precision": "int8"}, {"precision": ["float32"]}, {"skipped": ["a"]},
        {"skipped": {"a": 1}}, {"version": "1"}, {"version": 2}, {"images_per_second": "fast"}, {"sources": []},
        {"sources": [1]}, {"sources": [{"grid": "1"}], "scales": [1.0]}, {"sources": [{}], "scales": []},
        {"sources": [{"encoder": "a", "sources": []}], "scales": [1.0]},
        {"scales": [0]}, {"scales": ["1"]}, {"feature_dim": 5}, {"grid": 2}, {"views": ["full", "tl"]}, {"shape": [1]},
    ],
)  # fmt: skip
def test_fields_of_features_json_are_checked(tmp_path, change):
    folder = store(tmp_path / "f", numbered(3, 1, 1, 4), extracted())
    assert open_features(folder).info["encoder"] == "tiny"
    store(folder, numbered(3, 1, 1, 4), extracted() | change)
    with pytest.raises(InputError, match="features") as caught:
        open_features(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"done": "3"}, {"done": 12}, {"done": -1}, {"config": []}, {"config": {"photos": "11"}}, {"skipped": None},
        {"zeros": [""]}, {"images_per_second": "1"},
    ],
)  # fmt: skip
def test_fields_of_progress_json_are_checked(tmp_path, change):
    state = {"config": {"photos": 11}, "done": 3, "skipped": {}, "zeros": []}
    assert feature_info.check_progress(state, "here") == state
    (tmp_path / "progress.json").write_text(json.dumps(state | change))
    with pytest.raises(InputError, match=r"progress.json: .*delete the folder|progress.json: photos"):
        open_features(tmp_path)


# --- names --------------------------------------------------------------------------------------------------


def test_names_are_found_however_they_were_written(tmp_path):
    folder = store(tmp_path / "f", numbered(4, 8), names=["\ufeffa.jpg", "sub\\b.jpg", "cafe\u0301.jpg", "./d.jpg"])
    text = (folder / "names.txt").read_bytes().replace(b"\n", b"\r\n")
    (folder / "names.txt").write_bytes(text)
    features = open_features(folder)
    assert features.rows(["d.jpg", "caf\u00e9.jpg", "sub/b.jpg", "a.jpg"]).tolist() == [3, 2, 1, 0]
    with pytest.raises(InputError, match=r"first A.JPG \(there is a row called a.jpg: rename it\)"):
        features.rows(["A.JPG"])
    (folder / "names.txt").write_text("a\n\nb\nc\n")
    with pytest.raises(InputError, match="line 2 is empty"):
        open_features(folder)


def sealed(tmp_path, count=4, skipped=()):
    """A folder as an extraction seals it."""
    names = [f"{i}.jpg" for i in range(count)]
    state = {"config": {"photos": count}, "done": 0, "skipped": {n: "damaged" for n in skipped}, "zeros": []}
    tmp_path.mkdir(parents=True, exist_ok=True)
    matrix = open_partial(tmp_path, (count, 1, 1, 4), state, names)
    state["skipped"] = {n: "damaged" for n in skipped}
    matrix[:] = 1 + numbered(count, 1, 1, 4)
    seal(tmp_path, names, extracted(), state | {"done": count})
    return tmp_path


def test_what_was_changed_by_hand_is_not_believed(tmp_path):
    folder = sealed(tmp_path / "f")
    assert len(open_features(folder).names) == 4
    names = (folder / "names.txt").read_text()
    (folder / "names.txt").write_text("".join(reversed(names.splitlines(keepends=True))))
    with pytest.raises(InputError, match='names.txt: changed.*delete the line "names_file_sha256" of features.json'):
        open_features(folder)
    info = json.loads((folder / "features.json").read_text())
    del info["names_file_sha256"]
    (folder / "features.json").write_text(json.dumps(info))
    assert open_features(folder).names[0] == "3.jpg"  # as the line says
    matrix = np.load(folder / "features.npy")
    np.save(folder / "features.npy", matrix[::-1])
    with pytest.raises(InputError, match="features.npy: changed"):
        open_features(folder)


# --- extraction ---------------------------------------------------------------------------------------------


def test_rows_of_zeros_do_not_survive(tmp_path):
    names = [f"{i}.jpg" for i in range(5)]
    state = {"config": {"photos": 5}, "done": 0, "skipped": {}, "zeros": []}
    matrix = open_partial(tmp_path, (5, 1, 1, 4), state, names)
    matrix[:] = 1
    matrix[1] = matrix[3] = 0
    state |= {"done": 5, "zeros": [1]}  # what the network gave for one; the other was lost
    open_partial(tmp_path, (5, 1, 1, 4), state, names)
    assert state["done"] == 3
    with pytest.raises(InputError, match="row of 3.jpg was never written"):
        seal(tmp_path, names, extracted(), state)
    assert not (tmp_path / "features.json").exists()


# --- what --skip-bad left out -------------------------------------------------------------------------------


def four_images():
    return Dataset("t", None, tuple(f"sub/{i}.jpg" for i in range(4)), ("train", "train", "dev", "test"),
                   ("a", "b", "c", "d", "e"), np.array([0, 0, 1, 2, 3]))  # fmt: skip


def test_skipped_images_are_left_out_with_a_note(tmp_path, capsys):
    features = open_features(sealed(tmp_path / "f", skipped=["0.jpg"]))
    smaller = without_skipped(four_images(), features)
    assert smaller.images == ("sub/1.jpg", "sub/2.jpg", "sub/3.jpg") and smaller.captions == ("c", "d", "e")
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "note: 1 of 4 images" in said and "2 captions: sub/0.jpg (damaged)" in said
    assert smaller.notes[-1] in said
    assert features.rows(smaller.images).tolist() == [0, 1, 2]
    again = without_skipped(smaller, features)
    assert again is smaller and not capsys.readouterr().err
    fewer = Features(features.array[:2], features.names[:2], features.info)
    with pytest.raises(InputError, match="no row for 1 of the 3"):  # missing for another reason
        fewer.rows(without_skipped(four_images(), fewer).images)


def test_skipped_images_of_any_source_are_left_out_of_all(tmp_path):
    sources = [open_features(sealed(tmp_path / n, skipped=[n])) for n in ("0.jpg", "2.jpg")]
    both = combine_features(sources)
    assert both.names == ("1.jpg", "3.jpg") and set(both.skipped()) == {"0.jpg", "2.jpg"}
    assert without_skipped(four_images(), both).images == ("sub/1.jpg", "sub/3.jpg")


def test_the_command_line_leaves_skipped_photos_out(world, tmp_path):
    """One photo of each split has no features: train, evaluate and page go on, each with one note."""
    left_out = [world.of_split(split)[0] for split in ("train", "dev", "test")]
    kept = [i for i, name in enumerate(world.names) if name not in left_out]
    info = {"encoder": "tiny", "views": ["full"], "skipped": dict.fromkeys(left_out, "damaged")}
    folder = store(tmp_path / "f", world.array[kept], info, [world.names[i] for i in kept])
    run, out = tmp_path / "run", tmp_path / "page.html"
    for command in (
        ("train", world.csv, "--features", folder, "--out", run, *TINY),
        ("evaluate", run, world.csv, "--features", folder),
        ("page", run, world.csv, "--features", folder, "--out", out, "--queries", 2),
    ):
        said = call(*command)
        notes = [line for line in said.err if "left out with --skip-bad" in line]
        assert said.status == 0 and len(notes) == 1 and "3 of 32 images" in notes[0]
        assert not any("another version" in line for line in said.err)


# --- the features of a model --------------------------------------------------------------------------------


def test_features_of_another_kind_than_the_model_was_trained_on(tmp_path, capsys):
    trained = open_features(store(tmp_path / "t", numbered(3, 2, 9, 4), extracted(("full", "tl"), 3))).info
    kinds = {
        "1 regions, the model was trained on 9": ((3, 2, 1, 4), extracted(("full", "tl"), 1)),
        "views full, br, the model": ((3, 2, 9, 4), extracted(("full", "br"), 3)),
        "features of vgg19, the model": ((3, 2, 9, 4), extracted(("full", "tl"), 3, encoder="vgg19")),
        "other weights .SHA-256.": ((3, 2, 9, 4), extracted(("full", "tl"), 3, weights="x", weights_sha256="ab")),
        "other weights than .* .random here": ((3, 2, 9, 4), extracted(("full", "tl"), 3, weights="random")),
        "5 features a region": ((3, 2, 9, 5), extracted(("full", "tl"), 3, d=5)),
    }
    for i, (message, (shape, info)) in enumerate(kinds.items()):
        with pytest.raises(InputError, match=message):
            open_combined([store(tmp_path / str(i), numbered(*shape), info)], trained)
    one_view = store(tmp_path / "one", numbered(3, 1, 9, 4), extracted(("tl",), 3))
    assert open_combined([one_view], trained).array.shape == (3, 1, 9, 4)
    assert not capsys.readouterr().err
    half = store(tmp_path / "half", numbered(3, 2, 9, 4), extracted(("full", "tl"), 3, precision="bfloat16"))
    open_combined([half], trained)
    assert "note: " in capsys.readouterr().err
    own = store(tmp_path / "own", numbered(3, 2, 4, 5))
    for info in (trained, open_features(store(tmp_path / "own9", numbered(3, 2, 9, 5), {"views": ["a", "b"]})).info):
        with pytest.raises(InputError, match="4 regions, the model was trained on 9"):
            open_combined([own], info)


def test_another_number_or_order_of_folders(tmp_path):
    a = store(tmp_path / "a", 1 + numbered(3, 1, 1, 4), extracted(encoder="a"))
    b = store(tmp_path / "b", 1 + numbered(3, 1, 1, 4), extracted(encoder="b"))
    trained = open_combined([a, b]).info
    assert open_combined([a, b], trained).info["scales"] == trained["scales"]
    for paths, message in (([a], "trained on 2 folders .*FOLDER FOLDER, in this order: a, b"), ([b, a], "give a, b")):
        with pytest.raises(InputError, match=message):
            open_combined(paths, trained)
    with pytest.raises(InputError, match="2 folders of features, the model was trained on 1 folder"):
        open_combined([a, b], open_features(a).info)


def test_values_that_no_scale_can_mend(tmp_path):
    big = Features(np.full((2, 1, 1, 3), 1e300), ("a", "b"))
    with pytest.raises(InputError, match="NaN or infinite"):
        combine_features([big, big])
    with pytest.raises(InputError, match="NaN or infinite"):
        big.take(["a"])
