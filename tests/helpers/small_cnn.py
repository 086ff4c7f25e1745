"""A CNN of a few weights in the place of every encoder, and photos for it: a pytest plugin for `pytest_plugins`."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from vse.features import extractor as feature_extractor
from vse.features.build import extract_features
from vse.features.networks import CNN, Preprocessing


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


@pytest.fixture
def small_cnn(monkeypatch):
    """Every encoder is SmallNet; what a real one gives is test_networks.py's."""

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
