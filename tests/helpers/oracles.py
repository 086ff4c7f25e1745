"""Outside oracles: other people's implementations, installed from requirements-oracles.txt; a test skips without."""

import pytest

from vse.features._torchvision import import_torchvision


def open_clip():
    """The package open_clip."""
    import_torchvision()  # its import of torchvision fails beside a CPU build of torch
    return pytest.importorskip("open_clip", reason="no open_clip; pip install -r requirements-oracles.txt")
