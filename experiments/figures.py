"""Pictures of the README: `python -m experiments.figures` writes results/scenes.jpg, twelve of our own data set."""

import sys

from PIL import Image

from experiments import RESULTS
from vse.scenes import render, sample_scenes

COLUMNS, ROWS, GAP, SIDE = 6, 2, 4, 160


def scenes() -> Image.Image:
    """Two rows of scenes, drawn from those of seed 0."""
    chosen = sample_scenes(seed=0, count=1000)[:: 1000 // (COLUMNS * ROWS)]
    sheet = Image.new("RGB", (COLUMNS * (SIDE + GAP) - GAP, ROWS * (SIDE + GAP) - GAP), "white")
    for i, scene in enumerate(chosen[: COLUMNS * ROWS]):
        picture = render(scene, i).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        sheet.paste(picture, ((i % COLUMNS) * (SIDE + GAP), (i // COLUMNS) * (SIDE + GAP)))
    return sheet


def main() -> int:
    RESULTS.mkdir(exist_ok=True)
    scenes().save(RESULTS / "scenes.jpg", quality=88)
    return 0


if __name__ == "__main__":
    sys.exit(main())
