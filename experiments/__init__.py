"""What regenerates every figure of the README: one module a result, `results/*.json` a file a row."""

from pathlib import Path

from vse.system.errors import InputError

RESULTS = Path(__file__).parent / "results"
RUNS = Path("runs")


def find_data(name: str) -> Path:
    """Where the data set `name` ("flickr8k", ...) is: data/NAME of this folder, or of the shared folder beside it.

    Raises InputError with the command that fetches it.
    """
    for folder in (Path("data"), Path("../shared/data")):
        if (folder / name).exists():
            return folder / name
    raise InputError(f"data/{name}: not there; fetch it with `vse download` or link your copy to that name")
