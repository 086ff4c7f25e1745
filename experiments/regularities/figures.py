"""The paper's two PCA figures, things and colours and weather and temperature, for the sum of words and the LSTM.

On fresh scenes as thumbnails; on Flickr8K, whose photos may not be passed on, as dots in the colour of what people's
captions name. Needs the runs of `python -m experiments.regularities scenes` and of `experiments.ranking linear paper`.
"""

from collections.abc import Sequence

import numpy as np

from experiments import RESULTS, RUNS, find_data
from experiments.ranking import features_of
from experiments.regularities.queries import names, words_of_photos
from experiments.regularities.scenes import four_of_each, scene_features
from experiments.rows import EXPERIMENTS
from vse.data.datasets import read_dataset
from vse.model import VSE
from vse.pages.figure import Panel, draw
from vse.pca import pca
from vse.regularities import embed_words
from vse.runs import checkpoint

TITLES = {"linear": "sum of words", "paper": "LSTM"}
SCENES = {  # name -> words, and of which scenes the pictures are
    "things": (
        ("car", "boat", "balloon", "red", "blue", "green", "yellow", "white"),
        lambda s: s.thing in ("car", "boat", "balloon") and s.weather == "sunny" and s.relation == "alone",
    ),
    "weather": (
        ("sunny", "rainy", "snowy", "night", "hot", "warm", "cool", "cold", "winter", "summer"),
        lambda s: s.thing in ("car", "boat", "balloon") and s.colour == "red" and s.relation == "alone",
    ),
}
FLICKR = {  # name -> words, groups of photos (a word of their captions -> its dots), of which another word is needed
    "things": (
        ("dog", "shirt", "red", "blue", "green", "yellow", "black", "white", "brown"),
        {"red": "#d62728", "blue": "#1f5fd6", "green": "#2ca02c", "yellow": "#f2d024",
         "black": "#222222", "white": "#ffffff", "brown": "#8c5a2b"},
        ("dog", "shirt"),
    ),
    "weather": (
        ("snow", "sun", "dark", "water", "cold", "hot", "warm", "winter", "summer", "ice"),
        {"snow": "#9fd3f5", "sun": "#f5b301", "dark": "#333366", "ocean": "#1f9e89"},
        (),
    ),
}  # fmt: skip
COMMAND = "python -m experiments.regularities figures"


def figures() -> dict:
    """The figures written, with the explained variance of each panel; the committed ones show no photo."""
    written = [_scenes_figure(name) for name in SCENES] + [_flickr_figure(name) for name in FLICKR]
    return {"figures": written}


def _scenes_figure(name: str) -> dict:
    words, shown = SCENES[name]
    folder, truth = four_of_each()
    chosen = [image for image, scene in truth.items() if shown(scene) and image.endswith("-0.png")]
    opened = scene_features(folder, list(truth), "scenes-four").take(chosen)
    photos = [folder / image for image in chosen]
    panels = []
    for encoder, title in TITLES.items():
        model = checkpoint.load(RUNS / f"regularities-{encoder}-0")
        panels.append(_panel(title, model, words, opened, photos=photos))
    return _draw(f"pca-scenes-{name}", panels)


def _flickr_figure(name: str) -> dict:
    words, colours, things = FLICKR[name]
    split = read_dataset(find_data("flickr8k")).split("test")
    groups = {}
    of_photos = words_of_photos(split.captions, split.image_of_caption, len(split.images))
    for image, w in zip(split.images, of_photos, strict=True):
        named = [group for group in colours if names(w, group)]
        if len(named) == 1 and (not things or any(names(w, thing) for thing in things)):
            groups[image] = named[0]
    ordered = sorted(groups, key=lambda image: (list(colours).index(groups[image]), image))  # the legend's order
    panels = []
    for encoder, title in TITLES.items():
        model = checkpoint.load(RUNS / f"{encoder}-0")
        features = features_of(EXPERIMENTS[encoder]).take(ordered)
        panels.append(_panel(title, model, words, features, groups=[groups[image] for image in ordered]))
    return _draw(f"pca-flickr8k-{name}", panels, colours)


def _panel(title: str, model: VSE, words: Sequence[str], features: np.ndarray, **shown) -> Panel:
    together = np.concatenate([embed_words(model, words), model.encode_images(features)])
    return Panel(title, pca(together), words, **shown)


def _draw(name: str, panels: Sequence[Panel], colours: dict[str, str] | None = None) -> dict:
    draw(panels, RESULTS / f"{name}.png", colours)
    explained = {p.title: [round(100 * float(e), 1) for e in p.projection.explained] for p in panels}
    return {"file": f"{name}.png", "photos": len(panels[0].photos or panels[0].groups), "explained": explained}
