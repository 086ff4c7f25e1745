"""The run folder of a GIT: that of every run (vse/runs/checkpoint.py)."""

from pathlib import Path

from scnlm.configs import GITConfig
from scnlm.git import GIT
from vse.runs import checkpoint

KIND = "GIT"


def save(out: Path, model: GIT, extra: dict) -> None:
    """Writes what `load` needs; see `checkpoint.save_run`."""
    checkpoint.save_run(out, model, extra, KIND)


def load(run: str | Path, device: str = "cpu") -> GIT:
    """The model of a run folder, in evaluation mode; errors as of `checkpoint.load`."""
    model, _ = checkpoint.load_as(Path(run), KIND, "scnlm train-git", GITConfig, GIT)
    return model.to(device).eval()
