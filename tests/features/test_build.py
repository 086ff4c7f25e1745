"""Extraction of a folder of photos: rows, resume, bad photos, kills."""

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

from vse.features import build as image_features
from vse.features.build import extract_features
from vse.features.extractor import FeatureExtractor
from vse.features.store import open_features
from vse.system.errors import InputError
from vse.system.files import locked

pytest.register_assert_rewrite("small_cnn")
from small_cnn import SmallNet, bytes_of, run  # noqa: E402

pytest_plugins = ["small_cnn"]
pytestmark = pytest.mark.usefixtures("small_cnn")

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
    assert skipped["1.png"] == "no such file" and skipped["4.png"] == "empty file" and "damaged" in skipped["10.png"]
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
from vse.features import extractor as feature_extractor
from vse.system import precision as precision_module
from vse.features.build import extract_features

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
    environment = os.environ | {"PYTHONPATH": str(Path(image_features.__file__).parents[2])}
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
