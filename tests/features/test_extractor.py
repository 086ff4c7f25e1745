"""The extractor for single photos: batches, traces, precision."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from vse.features.extractor import FeatureExtractor
from vse.system import precision as precision_module
from vse.system.errors import InputError

pytest.register_assert_rewrite("small_cnn")
from small_cnn import SmallNet, run  # noqa: E402

pytest_plugins = ["small_cnn"]
pytestmark = pytest.mark.usefixtures("small_cnn")


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
