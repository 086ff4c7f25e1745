"""Visual-semantic embeddings: one space for images and sentences (Kiros, Salakhutdinov, Zemel 2014)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from vse.model import VSE

__version__ = "0.1.0"


def load(run: str | Path, device: str = "cpu") -> VSE:
    """The model of a run folder; see `vse.runs.checkpoint.load`."""
    from vse.runs.checkpoint import load  # here: `import vse` alone shall not load torch

    return load(run, device)
