"""Extraction (resume, bad photos, batches), opening, matching by name, and several CNNs side by side."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from vse import feature_extractor, feature_store, image_features
from vse import precision as precision_module
from vse.cnn import CNN, Preprocessing
from vse.errors import InputError
from vse.files import locked
from vse.image_features import (
    FeatureExtractor,
    Features,
    combine_features,
    extract_features,
    open_features,
)


class SmallNet(nn.Module):
    """A CNN of a millisecond: a 4 x 4 map of 6 channels from 32 x 32 pixels."""

    def __init__(self, seed: int = 0):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 8, stride=8, bias=False)
        with torch.no_grad():
            self.conv.weight.normal_(generator=torch.Generator().manual_seed(seed))

    def map(self, x):
        return self.conv(x)

    def vector(self, x):
        return self.map(x).mean((2, 3))


@pytest.fixture(autouse=True)
def small_cnn(monkeypatch):
    """Every encoder is SmallNet; what a real one gives is test_cnn.py's."""

    def load(name, weights=None, seed=0):
        preprocessing = Preprocessing(32, (127.0,) * 3, (128.0,) * 3)
        return CNN(name, SmallNet(seed), preprocessing, feature_dim=6, map_size=4, map_dim=6, source="a test")

    monkeypatch.setattr(feature_extractor, "load_cnn", load)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def photos(tmp_path):
    """11 photos: (paths, names)."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(11):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    paths = [folder / f"{i}.png" for i in range(11)]
    return paths, [path.name for path in paths]


def run(photos, out, **kwargs):
    kwargs = {"batch_size": 4, "workers": 2, "progress": False, "precision": "float32"} | kwargs
    return extract_features(photos[0], photos[1], "efficientnet-lite0", out, **kwargs)


def bytes_of(folder: Path) -> dict:
    return {name: (folder / name).read_bytes() for name in ("features.npy", "names.txt")}


# --- extraction ---------------------------------------------------------------------------------------------


def test_rows_are_the_photos_features_in_order(photos, tmp_path):
    features = run(photos, tmp_path / "f")
    assert features.array.shape == (11, 1, 1, 6) and features.array.dtype == np.float16
    assert features.names == tuple(photos[1])
    for path, row in zip(photos[0], features.array[:, 0, 0], strict=True):
        pixels = np.asarray(Image.open(path).resize((32, 32), Image.Resampling.BICUBIC), np.float32)
        x = torch.from_numpy((pixels - 127) / 128).permute(2, 0, 1)[None]
        with torch.no_grad():
            assert np.allclose(row, SmallNet().vector(x).numpy()[0], atol=5e-3)
    assert not features.array.flags.writeable and isinstance(features.array, np.memmap)
    assert sorted(os.listdir(tmp_path / "f")) == ["features.json", "features.npy", "names.txt"]


def test_views_and_regions(photos, tmp_path):
    views = ("full", "full-flip", "ten", "tl")
    features = run(photos, tmp_path / "f", views=views, grid=2, batch_size=40)
    assert features.array.shape == (11, 4, 4, 6) and features.info["views"] == list(views)
    extractor = FeatureExtractor("efficientnet-lite0", precision="float32", grid=2)
    photo = Image.open(photos[0][3])
    assert np.allclose(features.array[3, 0], extractor([photo])[0, 0], atol=5e-3)
    mirrored = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert np.allclose(features.array[3, 1], extractor([mirrored])[0, 0], atol=5e-3)
    corner = photo.resize((32, 32), Image.Resampling.BICUBIC, box=(0, 0, 40, 32))  # 0.8 of 50 x 40
    assert np.allclose(features.array[3, 3], extractor([corner])[0, 0], atol=5e-3)
    ten = FeatureExtractor("efficientnet-lite0", precision="float32", grid=2, views=["ten"])
    pixels = ten.pixels(photo)
    assert len(pixels) == 10
    crops = np.concatenate([extractor.encode_pixels(pixels[i : i + 1][None]) for i in range(10)])
    assert np.allclose(features.array[3, 2], crops.mean(0)[0], atol=5e-3)


def test_a_row_does_not_depend_on_its_batch(photos, tmp_path):
    by_four = run(photos, tmp_path / "a").array  # the last batch has 3
    by_one = run(photos, tmp_path / "b", batch_size=1).array
    by_many = run(photos, tmp_path / "c", batch_size=64).array
    assert np.allclose(by_four, by_one, atol=5e-3) and np.allclose(by_four, by_many, atol=5e-3)


def test_a_finished_folder_is_left_alone(photos, tmp_path, monkeypatch):
    run(photos, tmp_path / "f")
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "f").iterdir()}
    monkeypatch.setattr(image_features, "FeatureExtractor", None)  # not even loaded
    assert run(photos, tmp_path / "f").array.shape == (11, 1, 1, 6)
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "f").iterdir()} == before


def test_the_whole_map_may_be_asked_for_by_its_size(photos, tmp_path):
    assert run(photos, tmp_path / "f", grid="map").array.shape == (11, 1, 16, 6)
    run(photos, tmp_path / "f", grid=0), run(photos, tmp_path / "f", grid=4)
    with pytest.raises(InputError, match="another grid"):
        run(photos, tmp_path / "f", grid=2)


def test_another_configuration_in_the_same_folder_is_refused(photos, tmp_path):
    run(photos, tmp_path / "f")
    for change, word in [
        ({"views": ("centre",)}, "views"), ({"grid": 3}, "grid"), ({"weights": "random"}, "weights"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=f"another {word}"):
            run(photos, tmp_path / "f", **change)
    with pytest.raises(InputError, match="another encoder"):
        extract_features(*photos, "efficientnet-lite1", tmp_path / "f", progress=False)
    for paths, names in [(photos[0][:-1], photos[1][:-1]), (photos[0], ["x.png", *photos[1][1:]])]:
        with pytest.raises(InputError, match="another list of photos"):
            run((paths, names), tmp_path / "f")
    own = tmp_path / "own"
    own.mkdir()
    np.save(own / "features.npy", np.zeros((2, 3), np.float32))
    with pytest.raises(InputError, match="not extracted here"):
        run(photos, own)


def test_wrong_arguments(photos, tmp_path):
    for change, message in [
        ({"views": ("fulll",)}, "expected different ones of full"), ({"views": ()}, "none"),
        ({"views": ("c", "c")}, "different"), ({"grid": "all"}, "grid 'all'"),
        ({"precision": "int8"}, "int8"),
        ({"device": "gpu"}, "expected auto, cpu, cuda"), ({"device": "cuda:77"}, "cuda:77"),
        ({"batch_size": 0}, "batch size"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=message):
            run(photos, tmp_path / "f", **change)
    for names in (["a"] * 11, ["a\nb", *photos[1][1:]], [""] + photos[1][1:], ["\udcff.png", *photos[1][1:]]):
        with pytest.raises(InputError, match="image name"):
            run((photos[0], names), tmp_path / "f")
    with pytest.raises(InputError, match="11 photos with 2 names"):
        run((photos[0], ["a", "b"]), tmp_path / "f")


def test_features_that_float16_cannot_hold(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(SmallNet, "vector", lambda self, x: self.map(x).mean((2, 3)) * 1e6)
    with pytest.raises(InputError, match="0.png: values that float16 cannot hold"):
        run(photos, tmp_path / "f")


def test_full_disk(photos, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(InputError, match="the disk is full"):
        run(photos, tmp_path / "f")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        run(photos, tmp_path / "file" / "f")


# --- bad photos ---------------------------------------------------------------------------------------------


def spoil(photos, *indices):
    """A missing, an empty and a damaged photo, by turns; the last passes the quick check at the start."""
    for i, index in enumerate(indices):
        path = photos[0][index]
        whole = path.read_bytes()
        middle = len(whole) // 2
        path.unlink()
        if i % 3 == 1:
            path.write_bytes(b"")
        elif i % 3 == 2:
            path.write_bytes(whole[:middle] + bytes(len(whole) - middle - 12) + whole[-12:])


def test_bad_photos_stop_the_extraction_before_it_begins(photos, tmp_path, monkeypatch):
    spoil(photos, 2, 9)
    monkeypatch.setattr(image_features, "FeatureExtractor", None)  # nothing is computed
    with pytest.raises(InputError, match=r"2 of 11 photos .* 2.png \(no such file\).*--skip-bad") as caught:
        run(photos, tmp_path / "f")
    assert "\n" not in str(caught.value) and not (tmp_path / "f").exists()


def test_damage_found_on_the_way_keeps_the_rows_done(photos, tmp_path):
    whole = photos[0][6].read_bytes()
    clean = run(photos, tmp_path / "clean")
    photos[0][6].write_bytes(whole[: len(whole) // 2] + bytes(len(whole) // 2 - 12) + whole[-12:])
    with pytest.raises(InputError, match="1 of 11 photos cannot be read, the first is 6.png"):
        run(photos, tmp_path / "f")
    assert json.loads((tmp_path / "f/progress.json").read_text())["done"] == 4
    with pytest.raises(InputError, match="only 4 of 11 photos; run the same"):
        open_features(tmp_path / "f")
    photos[0][6].write_bytes(whole)  # repaired
    assert (run(photos, tmp_path / "f").array == clean.array).all()


def test_skip_bad_leaves_them_out_and_says_so(photos, tmp_path):
    clean = run(photos, tmp_path / "clean")
    spoil(photos, 1, 4, 10)
    features = run(photos, tmp_path / "f", skip_bad=True)
    kept = [i for i in range(11) if i not in (1, 4, 10)]
    assert features.names == tuple(photos[1][i] for i in kept)
    assert (features.array == clean.array[kept]).all()
    skipped = features.info["skipped"]
    assert list(skipped) == ["1.png", "4.png", "10.png"]
    assert (
        skipped["1.png"] == "no such file"
        and skipped["4.png"] == "empty file"
        and "damaged" in skipped["10.png"]
    )
    assert "3 skipped: 1.png (no such file), 4.png (empty file)" in features.describe()
    assert sorted(os.listdir(tmp_path / "f")) == ["features.json", "features.npy", "names.txt"]


def test_nothing_but_bad_photos(photos, tmp_path):
    for path in photos[0]:
        path.write_text("not a photo")
    with pytest.raises(InputError, match="none of the 11 photos can be read, the first is 0.png"):
        run(photos, tmp_path / "f", skip_bad=True)
    Image.new("RGB", (9, 9)).save(photos[0][4])  # repaired
    assert run(photos, tmp_path / "f", skip_bad=True).names == ("4.png",)


# --- kills --------------------------------------------------------------------------------------------------


class Killed(BaseException):
    pass


@pytest.mark.parametrize("bad", [(), (5,)])
@pytest.mark.parametrize("after", [False, True])
def test_a_kill_at_any_write_is_resumed_to_the_same_bits(photos, tmp_path, monkeypatch, bad, after):
    """Stops before and after each renaming, the only moments at which the folder changes its state."""
    spoil(photos, *bad)
    monkeypatch.setattr(image_features, "_FLUSH_EVERY", 1)
    expected = run(photos, tmp_path / "whole", skip_bad=True)
    replace = os.replace
    for moment in range(20):
        out, calls = tmp_path / f"f{moment}", []

        def stopping(source, target, calls=calls, moment=moment):
            calls.append(target)
            if len(calls) > moment + 1:
                raise Killed  # a killed process writes nothing more
            if len(calls) == moment + 1 and not after:
                raise Killed
            replace(source, target)
            if len(calls) == moment + 1:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", stopping)
            try:
                run(photos, out, skip_bad=True)
            except Killed:
                finished = False
            else:
                finished = True
        again = run(photos, out, skip_bad=True)
        assert bytes_of(out) == bytes_of(tmp_path / "whole")
        assert again.info["skipped"] == expected.info["skipped"]
        assert not (out / "progress.json").exists()
        if finished:
            break
    assert finished and moment >= 5


KILLED_CHILD = """
import os, signal, sys
from pathlib import Path
import torch
from vse import feature_extractor
from vse import precision as precision_module
from vse.image_features import extract_features

torch.set_num_threads(1)
encode, calls = feature_extractor.FeatureExtractor.encode_batch, []

def encode_or_die(self, photos):
    calls.append(1)
    if len(calls) == 12:
        os.kill(os.getpid(), signal.SIGKILL)
    return encode(self, photos)

feature_extractor.FeatureExtractor.encode_batch = encode_or_die
paths = sorted(Path(sys.argv[1]).glob("*.png"))
names = [path.name for path in paths]
extract_features(paths, names, "efficientnet-lite0", sys.argv[2], batch_size=1, progress=False)
"""


def test_sigkill_in_the_middle(photos, tmp_path, monkeypatch):
    """The real CNN in a process of its own, killed at its 12th batch and resumed: the uninterrupted bits."""
    monkeypatch.undo()  # the real load_cnn
    for i in range(3):
        shutil.copy(photos[0][i], photos[0][0].with_name(f"x{i}.png"))
    paths = sorted(photos[0][0].parent.glob("*.png"))
    command = [sys.executable, "-c", KILLED_CHILD, str(paths[0].parent), str(tmp_path / "killed")]
    environment = os.environ | {"PYTHONPATH": str(Path(image_features.__file__).parents[1])}
    child = subprocess.run(command, env=environment, capture_output=True, timeout=120)
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    done = json.loads((tmp_path / "killed/progress.json").read_text())["done"]
    assert 0 < done < len(paths)
    names = [path.name for path in paths]
    for out in ("killed", "whole"):
        extract_features(paths, names, "efficientnet-lite0", tmp_path / out, batch_size=1, progress=False)
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole")


def test_one_process_a_folder(photos, tmp_path):
    """The second gets one line, and what the first writes stays; a lock that a kill left is taken over."""
    out = tmp_path / "f"
    with locked(out):
        with pytest.raises(InputError, match=f"{out}: process {os.getpid()}.* is writing there"):
            run(photos, out)
        assert os.listdir(out) == [".lock"]
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    out.mkdir(exist_ok=True)
    (out / ".lock").write_text(f"{dead.pid} - {socket.gethostname()}")
    (out / f".features.npy.{dead.pid}.tmp").write_bytes(b"left by a kill")
    run(photos, out)
    assert sorted(os.listdir(out)) == ["features.json", "features.npy", "names.txt"]


def test_a_damaged_half_is_computed_again(photos, tmp_path, monkeypatch):
    """What progress.json promises and the matrix lacks: lost rows, another header, a cut file."""
    clean = bytes_of(run(photos, tmp_path / "clean").path)
    out, encode = tmp_path / "f", FeatureExtractor.encode_batch

    def stop(self, batch):
        raise Killed

    for damage in ("zeros", "header", "cut"):
        monkeypatch.setattr(image_features, "_FLUSH_EVERY", 1)
        calls = []

        def twice(self, batch, calls=calls):
            calls.append(1)
            return encode(self, batch) if len(calls) < 3 else stop(self, batch)

        with monkeypatch.context() as patch:
            patch.setattr(FeatureExtractor, "encode_batch", twice)
            with pytest.raises(Killed):
                run(photos, out)
        partial = out / "features.npy.partial"
        content = bytearray(partial.read_bytes())
        if damage == "zeros":
            content[128 + 12 * 2 : 128 + 12 * 4] = bytes(24)  # rows 2 and 3
        elif damage == "header":
            content[10:20] = b"[" * 10
        partial.write_bytes(content[:150] if damage == "cut" else content)
        run(photos, out)
        assert bytes_of(out) == clean
        shutil.rmtree(out)


# --- the extractor for single photos ------------------------------------------------------------------------


def test_the_extractor_of_an_info_repeats_the_stored_rows(photos, tmp_path):
    features = run(photos, tmp_path / "f", views=("full", "br-flip"), grid=2, weights="random", seed=7)
    info = json.loads((tmp_path / "f/features.json").read_text())
    extractor = FeatureExtractor.from_info(info)
    assert np.allclose(extractor.extract_files(photos[0]), features.array, atol=5e-3)
    assert np.allclose(extractor([Image.open(p) for p in photos[0][:2]]), features.array[:2], atol=5e-3)
    assert extractor.extract_files([]).shape == (0, 2, 4, 6)
    one_view = FeatureExtractor.from_info(info, views=("full",))
    assert np.allclose(one_view.extract_files(photos[0]), features.array[:, :1], atol=5e-3)
    photos[0][5].write_bytes(b"")
    with pytest.raises(InputError, match="5.png: empty file"):
        extractor.extract_files(photos[0])
    with pytest.raises(InputError, match="user's own matrix"):
        FeatureExtractor.from_info({})


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=pytest.mark.bfloat16)])
def test_a_photos_features_do_not_depend_on_which_others_come_with_it(photos, precision, monkeypatch):
    """A batch that is not full runs the same network as a full one, traced once."""
    trace, traced = torch.jit.trace, []
    monkeypatch.setattr(torch.jit, "trace", lambda *args, **kwargs: traced.append(1) or trace(*args, **kwargs))
    extractor = FeatureExtractor("efficientnet-lite0", precision=precision, grid=2, batch_size=8)
    pixels = np.stack([extractor.read(path) for path in photos[0]])
    together = extractor.encode_pixels(pixels[:8])
    for start, end in ((0, 1), (2, 5), (0, 8)):
        assert np.allclose(extractor.encode_pixels(pixels[start:end]), together[start:end], rtol=1e-5, atol=1e-5)
    monkeypatch.setattr(extractor, "_eager", None)
    assert len(traced) == 1 and extractor.encode_pixels(pixels[:1]).shape == (1, *together.shape[1:])


def test_a_trace_that_has_kept_the_number_of_photos_is_not_used(photos, monkeypatch):
    class Fixed(SmallNet):
        def vector(self, x):
            return torch.cat([super(Fixed, self).vector(x[i : i + 1]) for i in range(int(x.shape[0]))])

    extractor = FeatureExtractor("efficientnet-lite0", precision="float32")
    extractor._cnn.net = Fixed().eval()
    found = extractor.encode_pixels(np.stack([extractor.read(path) for path in photos[0][:3]]))
    expected = FeatureExtractor("efficientnet-lite0", precision="float32").extract_files(photos[0][:3])
    assert found.shape == expected.shape and np.allclose(found, expected, atol=1e-5)


def test_a_cnn_that_cannot_be_traced_runs_all_the_same(photos, tmp_path, monkeypatch):
    expected = run(photos, tmp_path / "a").array

    def cannot(*args, **kwargs):
        raise RuntimeError("a loop over data")

    monkeypatch.setattr(torch.jit, "trace", cannot)
    assert np.allclose(run(photos, tmp_path / "b").array, expected, atol=5e-3)


@pytest.mark.bfloat16
def test_another_precision_in_the_same_folder_is_refused(photos, tmp_path):
    run(photos, tmp_path / "f")
    with pytest.raises(InputError, match="another precision"):
        run(photos, tmp_path / "f", precision="bfloat16")


def test_without_units_float32_stands_in_for_bfloat16(photos, tmp_path, monkeypatch, capsys):
    """Said, and what was begun in bfloat16 on another machine is gone on with."""
    monkeypatch.setattr(precision_module, "has_bfloat16", lambda kind="cpu": False)
    made = run(photos, tmp_path / "f", precision="bfloat16")
    assert made.info["precision"] == "float32" and "has no units for it" in capsys.readouterr().err
    assert run(photos, tmp_path / "f", precision="bfloat16").info == made.info


@pytest.mark.bfloat16
def test_bfloat16_is_near(photos, tmp_path):
    a = run(photos, tmp_path / "a", grid=2).array.astype(np.float64).reshape(11, -1)
    b = run(photos, tmp_path / "b", grid=2, precision="bfloat16").array.astype(np.float64).reshape(11, -1)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosine.min() > 0.99 and not (a == b).all()


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
