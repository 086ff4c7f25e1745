"""What a training leaves to look at: metrics.jsonl, a line an epoch, and TensorBoard."""

import json
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from vse.files import write_text


class RunLog:
    """The log of one run folder; a resumed run goes on in it, each epoch once."""

    def __init__(self, out: Path):
        self._path = out / "metrics.jsonl"
        self._board = SummaryWriter(out / "tensorboard")

    def epoch(self, line: dict) -> None:
        """Adds an epoch: its number, loss, seconds, captions_per_s, learning_rate and dev row."""
        number, dev = line["epoch"], line["dev"]
        kept = self._path.read_text().splitlines()[: number - 1] if self._path.exists() else []
        text = "\n".join([*kept, json.dumps(line)]) + "\n"
        write_text(self._path, text)
        self._board.add_scalar("train/loss", line["loss"], number)
        self._board.add_scalar("dev/rsum", dev["rsum"], number)
        for way in ("i2t", "t2i"):
            for name, value in dev[way].items():
                self._board.add_scalar(f"dev/{way}_{name}", value, number)

    def close(self) -> None:
        self._board.close()
