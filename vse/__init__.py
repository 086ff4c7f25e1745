"""Visual-semantic embeddings: one space for images and sentences (Kiros, Salakhutdinov, Zemel 2014)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from vse.answers import Answerer
    from vse.fusion import Fusion
    from vse.model import VSE

__version__ = "0.1.0"


def load(run: str | Path, device: str = "cpu") -> VSE | Fusion | Answerer:
    """The model of a run folder, whatever it is a run of; see `vse.runs.checkpoint.load`."""
    from pathlib import Path

    from vse.runs import answers, checkpoint, fusion  # here: `import vse` alone shall not load torch

    kind = str(checkpoint.read_config(Path(run)).get("kind"))
    loaders = {fusion.KIND: fusion.load, answers.KIND: answers.load}
    return loaders.get(kind, checkpoint.load)(run, device)
