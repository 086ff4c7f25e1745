"""What a training leaves to look at: metrics.jsonl, one line per epoch, and TensorBoard if it is installed."""

from pathlib import Path

from vse.system.errors import InputError
from vse.system.files import json_text, write_text

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError:
    SummaryWriter = None


class RunLog:
    """The log of one run folder; a resumed run goes on in it, each epoch once."""

    def __init__(self, out: Path):
        self._path = out / "metrics.jsonl"
        self._board = SummaryWriter(out / "tensorboard") if SummaryWriter else None
        if not self._board:
            print('no TensorBoard files beside metrics.jsonl: to have them, pip install ".[tensorboard]"')

    def epoch(self, line: dict) -> None:
        """Adds an epoch: its number, loss, seconds, captions_per_s, learning_rate and what was measured on dev."""
        number = line["epoch"]
        before = self._lines()[: number - 1]
        write_text(self._path, "\n".join([*before, json_text(line)]) + "\n")
        scalars = [("train/loss", line["loss"]), *((f"dev/{name}", value) for name, value in _flat(line["dev"]))]
        for name, value in scalars if self._board else ():
            self._board.add_scalar(name, value, number)

    def _lines(self) -> list[str]:
        """The epochs that were logged before. Raises InputError for a log that is no text."""
        try:
            return self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        except UnicodeDecodeError as error:
            raise InputError(f"{self._path}: not UTF-8 ({error}); restore it or delete it, then --resume") from None

    def close(self) -> None:
        if self._board:
            self._board.close()


def _flat(values: dict) -> list[tuple[str, int | float]]:
    """(name, number) of all numbers of a dictionary; those of a dictionary within it as "outer_inner"."""
    pairs = []
    for name, value in values.items():
        if isinstance(value, dict):
            pairs += [(f"{name}_{inner}", number) for inner, number in _flat(value)]
        elif isinstance(value, (int, float)):
            pairs.append((name, value))
    return pairs
