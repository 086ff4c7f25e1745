"""The notebooks in a fast setting: few scenes, epochs and candidates, one thread, all in a folder of its own."""

import os
import tempfile
from pathlib import Path

from vse.scenes.scenes import make_scenes

_FOLDER = tempfile.TemporaryDirectory(prefix="notebooks-")  # removed at exit
_OUT = Path(_FOLDER.name)
os.environ |= {  # kernels inherit the environment of the test process
    "NOTEBOOK_DATA": str(make_scenes(_OUT / "scenes", count=100)),
    "NOTEBOOK_OUT": str(_OUT),
    "NOTEBOOK_EPOCHS": "2",
    "NOTEBOOK_CANDIDATES": "60",
    "OMP_NUM_THREADS": "1",
}
