"""The run folder of a model that answers questions: that of every run (checkpoint.py)."""

from pathlib import Path

from vse.answers import Answerer, AnswererConfig
from vse.runs import checkpoint

KIND = "answerer"


def save(out: Path, model: Answerer, extra: dict) -> None:
    """Writes what `load` needs; see `checkpoint.save_run`."""
    checkpoint.save_run(out, model, extra, KIND)


def load(run: str | Path, device: str = "cpu") -> Answerer:
    """The model of a run folder, in evaluation mode; errors as of `checkpoint.load`."""
    model, _ = checkpoint.load_as(Path(run), KIND, "vse train-answers", AnswererConfig, Answerer)
    return model.to(device).eval()
