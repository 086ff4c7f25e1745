"""Outside oracles: other people's implementations, installed from requirements-oracles.txt; a test skips without."""

import pytest

from vse.features._torchvision import import_torchvision


def _package(module: str):
    """A package that may not be there."""
    import_torchvision()  # their import of torchvision fails beside a CPU build of torch
    return pytest.importorskip(module, reason=f"no {module}; pip install -r requirements-oracles.txt")


def open_clip():
    """The package open_clip."""
    return _package("open_clip")


def info_nce():
    """The package info_nce."""
    return _package("info_nce")


def metric_learning_losses():
    """The losses of pytorch_metric_learning."""
    return _package("pytorch_metric_learning.losses")


def transformers():
    """The package transformers."""
    return _package("transformers")
