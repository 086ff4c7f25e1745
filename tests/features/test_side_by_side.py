"""Opening what was extracted, matching by name, and several CNNs side by side."""

import json
from pathlib import Path

import numpy as np
import pytest

from vse.features import store as feature_store
from vse.features.extractor import FeatureExtractor
from vse.features.side_by_side import combine_features
from vse.features.store import Features, open_features
from vse.system.errors import InputError

pytest.register_assert_rewrite("small_cnn")
from small_cnn import run  # noqa: E402

pytest_plugins = ["small_cnn"]
pytestmark = pytest.mark.usefixtures("small_cnn")

# --- opening ------------------------------------------------------------------------------------------------


def own_matrix(folder: Path, array, names=None) -> Path:
    folder.mkdir(exist_ok=True)
    np.save(folder / "features.npy", array)
    names = [f"{i}.jpg" for i in range(len(array))] if names is None else names
    (folder / "names.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return folder


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_users_own_matrix(tmp_path, dtype, order):
    array = np.asarray(np.random.default_rng(0).normal(size=(5, 7)), dtype, order=order)
    folder = own_matrix(tmp_path / "own", array, ["é.jpg", "a b.jpg", "c.jpg", "d.jpg", "e.jpg"])
    np.save(tmp_path / "x.npy", array)
    (tmp_path / "x.txt").write_bytes((folder / "names.txt").read_bytes().replace(b"\n", b"\r\n"))
    for path in (folder, folder / "features.npy", tmp_path / "x.npy"):
        features = open_features(path)
        assert features.array.shape == (5, 1, 1, 7) and (features.array[:, 0, 0] == array).all()
        assert features.names[:2] == ("é.jpg", "a b.jpg") and features.info == {"shape": [1, 1, 7]}
    assert "user's own matrix" in features.describe()


def test_four_axes_stay_as_they_are(tmp_path):
    array = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    assert (open_features(own_matrix(tmp_path / "own", array)).array == array).all()


def test_matrices_that_cannot_be_used(tmp_path):
    good = np.ones((3, 4), np.float32)
    nan, inf = good.copy(), good.copy()
    nan[2, 1], inf[1, 1] = np.nan, np.inf
    for i, (array, names, message) in enumerate([
        (nan, None, "NaN or infinite in the row of 2.jpg"), (inf, None, "row of 1.jpg"),
        (good, ["a", "b"], "has 3 rows, names.txt 2 names"), (good, ["a", "b", "a"], "'a' is there 2 times"),
        (good.astype(int), None, "type int64, expected float16"), (good[0], [], r"shape \(4,\), expected"),
        (good[None, None, None], ["a"], "shape"), (good[:0], [], "shape"),
        (good.astype(object), None, "not a NumPy .npy file"),
    ]):  # fmt: skip
        with pytest.raises(InputError, match=message) as caught:
            open_features(own_matrix(tmp_path / str(i), array, names))
        assert "\n" not in str(caught.value)
    folder = own_matrix(tmp_path / "own", good)
    with pytest.raises(InputError, match="no such folder"):
        open_features(tmp_path / "nothing")
    (folder / "names.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8 at byte 0"):
        open_features(folder)
    (folder / "names.txt").unlink()
    with pytest.raises(InputError, match="names.txt: no such file"):
        open_features(folder)
    (folder / "features.npy").write_bytes((folder / "features.npy").read_bytes()[:-8])
    with pytest.raises(InputError, match="not a NumPy .npy file"):
        open_features(folder)
    (folder / "features.npy").unlink()
    with pytest.raises(InputError, match="no features.npy in it"):
        open_features(folder)
    np.savez(folder / "features.npy", a=good)
    (folder / "features.npy.npz").rename(folder / "features.npy")
    with pytest.raises(InputError, match="names.txt: no such file"):  # an archive of one array is read
        open_features(folder)
    (folder / "features.json").write_text('{"version": 2}')
    with pytest.raises(InputError, match="version 2, this program reads 1"):
        open_features(folder)


def test_a_large_matrix_is_checked_when_its_rows_are_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_store, "_CHECKED_AT_OPENING", 10)
    array = np.ones((3, 4), np.float32)
    array[2, 1] = np.nan
    features = open_features(own_matrix(tmp_path / "own", array))
    assert (features.take(["1.jpg", "0.jpg"]) == 1).all()
    with pytest.raises(InputError, match="2.jpg"):
        features.take(["0.jpg", "2.jpg"])
    with pytest.raises(InputError, match="2.jpg"):
        open_features(tmp_path / "own", check=True)


def test_rows_are_found_by_name():
    features = Features(np.zeros((4, 1, 1, 2)), ("b/1.jpg", "b/2.jpg", "c/2.jpg", "3.jpg"))
    assert features.rows(["3.jpg", "b/1.jpg", "3.jpg"]).tolist() == [3, 0, 3]
    assert features.rows(["1.jpg", "x/3.jpg", "c/2.jpg"]).tolist() == [0, 3, 2]  # by base name
    for names in (["2.jpg"], ["x/3.jpg", "y/3.jpg"]):  # of two, or for two
        with pytest.raises(InputError, match="missing"):
            features.rows(names)
    with pytest.raises(InputError, match=r"no row for 2 of the 3 images that are needed: 2 missing, first 7.jpg"):
        features.rows(["3.jpg", "7.jpg", "8.jpg"])


# --- several CNNs -------------------------------------------------------------------------------------------


def test_side_by_side_by_name_scaled_and_broadcast():
    rng = np.random.default_rng(0)
    names = tuple("abcdef")
    a = Features(rng.normal(size=(6, 2, 4, 3)).astype(np.float32) * 10, names, {"views": ["full", "tl"]})
    order = rng.permutation(6)
    b = Features(rng.normal(size=(6, 1, 1, 5)).astype(np.float16), tuple(names[i] for i in order))
    both = combine_features([a, b])
    assert both.names == names and both.array.shape == (6, 2, 4, 8) and both.info["views"] == ["full", "tl"]
    expected = np.concatenate([
        a.array * both.info["scales"][0],
        np.broadcast_to(b.array[np.argsort(order)] * np.float64(both.info["scales"][1]), (6, 2, 4, 5)),
    ], axis=3)  # fmt: skip
    array = np.asarray(both.array)
    assert array.dtype == np.float16 and np.allclose(array, expected, rtol=2e-3, atol=1e-6)
    for part in (array[..., :3], array[..., 3:]):
        norms = np.linalg.norm(part.astype(np.float64).mean((1, 2)), axis=1)
        assert norms.mean() == pytest.approx(1, abs=2e-3)
    for index in (
        3,
        -1,
        slice(1, 5, 2),
        [4, 4, 0],
        np.arange(6) % 2 == 0,
        (slice(0, 2), 1),
        (2, 0, slice(1, 3)),
    ):
        assert (both.array[index] == array[index]).all() and both.array[index].shape == array[index].shape
    assert (combine_features([a, b], scales=both.info["scales"]).array[:] == array).all()
    assert both.take(["c", "a"]).shape == (2, 2, 4, 8)


def test_sources_that_do_not_go_together():
    def features(v, r, names="ab", views=None):
        return Features(np.ones((2, v, r, 3), np.float32), tuple(names), {"views": views} if views else {})

    for sources, message in [
        ([features(2, 1), features(3, 1)], r"\[2, 3\] views"), ([features(1, 4), features(1, 9)], "regions"),
        ([features(1, 1), features(1, 1, "ax")], "missing, first b"), ([], "expected one or more"),
        ([features(2, 1, views=["full", "tl"]), features(2, 1, views=["tl", "full"])], "in one order"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=message):
            combine_features(sources)


def test_a_new_photo_is_treated_as_the_combined_rows_were(photos, tmp_path):
    a = run(photos, tmp_path / "a", views=("full", "c"), weights="random", seed=1)
    b = run(photos, tmp_path / "b", grid=2, weights="random", seed=2)
    both = combine_features([a, b])
    extractor = FeatureExtractor.from_info(json.loads(json.dumps(both.info)))
    ours = extractor.extract_files(photos[0][:3])
    assert ours.shape == (3, 2, 4, 12) and extractor.feature_dim == 12 and ours.dtype == np.float32
    assert np.allclose(ours, both.array[:3], atol=5e-3)
    own = Features(np.ones((11, 1, 1, 2), np.float32), a.names)
    with pytest.raises(InputError, match="user's own matrix"):
        FeatureExtractor.from_info(combine_features([a, own]).info)
