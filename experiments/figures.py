"""Pictures of the README: `python -m experiments.figures` writes results/scenes.jpg, twelve of our own data set, and
results/photos.jpg, six photos with the five sentences of the shipped caption set.
"""

import sys

import matplotlib
from PIL import Image

from experiments import RESULTS, free_photos, results
from scnlm.captions.captioner import Captioner, shipped_set
from vse.data.photos import read_photo
from vse.scenes.scenes import render, sample_scenes

COLUMNS, ROWS, GAP, SIDE = 6, 2, 4, 160


def scenes() -> Image.Image:
    """Two rows of scenes, drawn from those of seed 0."""
    chosen = sample_scenes(seed=0, count=1000)[:: 1000 // (COLUMNS * ROWS)]
    sheet = Image.new("RGB", (COLUMNS * (SIDE + GAP) - GAP, ROWS * (SIDE + GAP) - GAP), "white")
    for i, scene in enumerate(chosen[: COLUMNS * ROWS]):
        picture = render(scene, i).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        sheet.paste(picture, ((i % COLUMNS) * (SIDE + GAP), (i // COLUMNS) * (SIDE + GAP)))
    return sheet


def photos(captioner: Captioner) -> "matplotlib.figure.Figure":
    """Six photos that may be used freely, each with its five captions, best first."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    paths = free_photos.paths()
    described = captioner.captions(captioner.encoder.encode_images(paths))
    figure, places = pyplot.subplots(2, 3, figsize=(13, 8.0))
    for place, path, captions in zip(places.flat, paths, described, strict=True):
        picture = read_photo(path)
        picture.thumbnail((600, 600))
        place.imshow(picture)
        place.set_aspect("equal", anchor="SW")
        place.axis("off")
        title = "\n".join(c.text for c in captions)
        place.set_title(title, y=-0.05, va="top", fontsize=9, loc="left", parse_math=False)
    figure.tight_layout(h_pad=6.5)
    return figure


def _run() -> None:
    RESULTS.mkdir(exist_ok=True)
    figure = photos(Captioner.load(shipped_set()))
    figure.savefig(RESULTS / "photos.jpg", dpi=90, bbox_inches="tight", pil_kwargs={"quality": 88})
    scenes().save(RESULTS / "scenes.jpg", quality=88)


def main() -> int:
    return results.main("figures", __doc__, _run)


if __name__ == "__main__":
    sys.exit(main())
