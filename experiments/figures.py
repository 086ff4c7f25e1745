"""Pictures of README.md and docs/data.md: `python -m experiments.figures`, after `make demo`.

results/photos.jpg: drawn scenes with the best caption of the set that `make demo` trains, and below them free photos
with the best caption of the shipped set. results/scenes.jpg: twelve drawn scenes.
"""

import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from PIL import Image

from experiments import RESULTS, free_photos, results
from scnlm.captions.captioner import Captioner, shipped_set
from vse.data.datasets import read_dataset
from vse.data.photos import read_photo
from vse.scenes.scenes import render, sample_scenes
from vse.system.errors import InputError

COLUMNS, ROWS, GAP, SIDE = 6, 2, 4, 160
DEMO = Path("demo/set")
WIDTH, HEADING, CAPTION = 13, 0.35, 0.55  # of a sheet, in inches
OUT_OF_SCOPE = ("chelsea.png", "coffee.png", "rocket.jpg")
Row = tuple[str, Sequence[Path], Captioner]


def scenes() -> Image.Image:
    """Two rows of scenes, drawn from those of seed 0."""
    chosen = sample_scenes(seed=0, count=1000)[:: 1000 // (COLUMNS * ROWS)]
    sheet = Image.new("RGB", (COLUMNS * (SIDE + GAP) - GAP, ROWS * (SIDE + GAP) - GAP), "white")
    for i, scene in enumerate(chosen[: COLUMNS * ROWS]):
        picture = render(scene, i).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        sheet.paste(picture, ((i % COLUMNS) * (SIDE + GAP), (i // COLUMNS) * (SIDE + GAP)))
    return sheet


def held_out_scenes(count: int) -> list[Path]:
    """`count` pictures of the drawn scenes' test split, at equal distances in its list."""
    test = read_dataset("scenes").split("test")
    step = len(test.images) // count
    return [test.root / name for name in test.images[: step * count : step]]


def captioned(rows: Sequence[Row]) -> "matplotlib.figure.Figure":
    """A sheet: a heading over each row of pictures, which fill its width, and under each picture its best caption."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    pictures = [[read_photo(path) for path in paths] for _, paths, _ in rows]
    shapes = [[picture.width / picture.height for picture in row] for row in pictures]
    heights = [WIDTH / sum(row) + HEADING + CAPTION for row in shapes]
    figure = pyplot.figure(figsize=(WIDTH, sum(heights)))
    parts = figure.subfigures(len(rows), 1, height_ratios=heights)
    for i, (heading, paths, captioner) in enumerate(rows):
        row, shape, part = pictures[i], shapes[i], parts[i]
        part.suptitle(heading, x=0.005, ha="left", fontsize=11)
        places = part.subplots(1, len(paths), width_ratios=shape)
        edges = {"left": 0.005, "right": 0.995, "top": 1 - HEADING / heights[i], "bottom": CAPTION / heights[i]}
        part.subplots_adjust(**edges, wspace=0.03)
        described = captioner.captions(captioner.encoder.encode_images(paths))
        for place, picture, width, captions in zip(places, row, shape, described, strict=True):
            place.imshow(picture)
            place.axis("off")
            text = textwrap.fill(captions[0].text, int(165 * width / sum(shape)))
            place.set_title(text, y=-0.02, pad=0, va="top", fontsize=10, parse_math=False)
    return figure


def _run() -> None:
    if not DEMO.exists():
        raise InputError(f"{DEMO}: not there; run `make demo` first")
    photos = [path for path in free_photos.paths() if path.name in OUT_OF_SCOPE]
    sheet = captioned([
        ("Six test pictures of the drawn scenes, captioned by the set that `make demo` trains", held_out_scenes(6),
         Captioner.load(DEMO)),
        ("Out of scope for the shipped set, which was trained on Flickr8K: mostly people and dogs outdoors", photos,
         Captioner.load(shipped_set())),
    ])  # fmt: skip
    sheet.savefig(RESULTS / "photos.jpg", dpi=90, pil_kwargs={"quality": 88})
    scenes().save(RESULTS / "scenes.jpg", quality=88)


def main() -> int:
    return results.main("figures", __doc__, _run)


if __name__ == "__main__":
    sys.exit(main())
