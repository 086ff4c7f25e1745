"""The house keeps its shape: who may import whom, nothing unpickled, files that can be read in one sitting."""

import ast
import itertools
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(p for package in ("vse", "scnlm", "experiments") for p in (ROOT / package).rglob("*.py"))
VSE = sorted((ROOT / "vse").glob("*.py"))
LIMIT = 280  # lines a file

# Rows from the ground up: a module may import those of its row and of rows above, never below. `errors` anybody.
# Imports within functions count too.
MAY_IMPORT = {
    # text and pixels
    "vocabulary": set(),
    "word_vectors": set(),
    "metrics": set(),
    "losses": set(),
    "distributed": set(),
    "index": set(),
    "side_by_side": set(),
}
