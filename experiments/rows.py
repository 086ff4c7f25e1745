"""The rows of the tables of ranking: a recipe with changes, its features, data and seeds, and whether test is read.

Knows how to train nothing: experiments/ranking.py does.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

WORD_VECTORS = "word2vec/google-news-300d-26k.bin"
# What `vse features` is asked for: encoder, views, grid, precision.
FLIP = ("full", "full-flip")
CORNERS = (*FLIP, "tl", "tr", "bl", "br")
FEATURES = {
    "lite2-flip-grid3": ("efficientnet-lite2", FLIP, 3, "bfloat16"),
    "lite1-flip-grid3": ("efficientnet-lite1", FLIP, 3, "bfloat16"),
    "lite0-flip-grid3": ("efficientnet-lite0", FLIP, 3, "bfloat16"),
    "lite2-corners-grid3": ("efficientnet-lite2", CORNERS, 3, "bfloat16"),
    "lite1-corners-grid3": ("efficientnet-lite1", CORNERS, 3, "bfloat16"),
    "lite0-corners-grid3": ("efficientnet-lite0", CORNERS, 3, "bfloat16"),
    # Finer regions, and the pixels themselves, for questions.
    "lite2-grid8": ("efficientnet-lite2", ("full",), 8, "bfloat16"),
    "patches": ("patches", ("full",), 8, "float32"),
    # Maps below the last blocks, for CNNs that are tuned from there.
    "lite2-cut": ("efficientnet-lite2@19", FLIP, 1, "bfloat16"),
    "lite1-cut": ("efficientnet-lite1@19", FLIP, 1, "bfloat16"),
    "lite0-cut": ("efficientnet-lite0@14", FLIP, 1, "bfloat16"),
}
SUBSET = "flickr30k/dataset_flickr30k_subset.json"
THREE_CNNS = ("lite2-flip-grid3", "lite1-flip-grid3", "lite0-flip-grid3")
SIX_VIEWS = ("lite2-corners-grid3", "lite1-corners-grid3", "lite0-corners-grid3")
THREE_CUT = ("lite2-cut", "lite1-cut", "lite0-cut")


@dataclass(frozen=True)
class Experiment:
    """One row: a recipe with changes, over seeds; or the ensemble of other experiments' runs."""

    about: str
    recipe: str = "best"
    features: tuple[str, ...] = THREE_CNNS  # none: it learns from pixels
    changes: dict = field(default_factory=dict)  # {"loss.margin": 0.3}
    data: str = "flickr8k"
    photos: str = "flickr8k"  # the data set whose photos these are; rows are matched by name
    seeds: tuple[int, ...] = (0, 1, 2)
    test: bool = False  # read the test split; only for what was settled on dev
    words: bool = True  # start from word2vec
    captions: Literal["all", "one", "shuffled"] = "all"  # of training (experiments/noise.py)
    tagger: Literal["none", "nouns", "imagenet"] = "none"  # whose tag sentences are read (vse/tags)
    start: str = ""  # begins where the same seed of this experiment ended
    members: tuple[str, ...] = ()  # an ensemble of these experiments' runs, all seeds
    teachers: tuple[str, ...] = ()  # distilled from these experiments' runs, all seeds


def _ablation(about: str, changes: dict | None = None, **others) -> Experiment:
    """`best` with one change, one seed, judged on dev."""
    return Experiment(about, changes=changes or {}, seeds=(0,), **others)


def _trial(about: str, recipe: str = "best", changes: dict | None = None, **others) -> Experiment:
    """What a row of the table of objectives was chosen from: one seed, judged on dev."""
    return Experiment(about, recipe, changes=changes or {}, seeds=(0,), **others)


def _clip_trial(about: str, changes: dict | None = None, **others) -> Experiment:
    """CLIP's text tower from word2vec with one change: what the source claims (Radford 2021), asked here."""
    return _trial(f"CLIP, words: {about}", "clip", _WORDS | (changes or {}), **others)


def _tuned_trial(about: str, changes: dict) -> Experiment:
    return _trial(about, changes=_TUNED | changes, features=THREE_CUT, start="best")


def _fixed(temperature: float) -> dict:
    return {"loss.temperature": temperature, "loss.learn_temperature": False}


_WORDS = {"model.text.tokens": "words"}
_MARGIN = {
    "loss.reduction": "mean", "epochs": 20, "batch_size": 128, "model.text.dropout": 0.2, "model.image.dropout": 0.2,
}  # fmt: skip
_RANKING = {"loss.name": "ranking"} | _MARGIN
_HARDEST = {"loss.name": "hardest", "loss.warmup_epochs": 8} | _MARGIN
# The CNNs' last two blocks and heads move; the rest, trained already, hardly does. 256 photos a batch, all captions.
_TUNED = {
    "model.image.tune": True, "model.image.crop": 0.6, "by_photo": True, "batch_size": 1280, "epochs": 8,
    "learning_rate": 1e-4, "cnn_rate": 15.0, "warmup_steps": 20, "average": 0.95,
}  # fmt: skip
_PIXELS = {"model.pixels.size": 64, "epochs": 12, "learning_rate": 5e-4}

# ERNIE-ViL 2.0's views, each step on top of those before it.
_LADDER = {
    "text": ("photo and caption", {}),
    "crops": ("+ two crops", {"views.image_image": 0.3, "views.temperatures": "own"}),
    "passes": ("+ two passes of the caption", {"views.text_text": 0.3}),
    "tags": ("+ tag sentences", {"views.tags": 0.1}),
    "all": ("all: + second crop and pass", {"views.second_image_text": 1.0}),
}


# Weights of the pairs of one kind, (I1, I2) and (T1, T2), beside two pairs of photo and caption at 1.
INTRA = (0.0, 0.1, 0.3, 1.0)
# With one caption a photo an epoch has a fifth of the steps.
_OF_ONE = {"epochs": 45}


def _intra(weight: float, **more) -> dict:
    """Changes: two crops and two passes, all four pairs, those of one kind at `weight`."""
    views = {"image_image": weight, "text_text": weight, "second_image_text": 1.0, "temperatures": "own"} | more
    return {f"views.{name}": value for name, value in views.items()}


def _view_trial(about: str, tagger: str = "nouns", **views) -> Experiment:
    """All views with the encoders of `best`, and a setting of them changed: one seed, judged on dev."""
    changes = _intra(0.1, **({"tags": 0.25} | views))
    return Experiment(about, "best", SIX_VIEWS, changes, seeds=(0,), tagger=tagger)


def _ladder(tower: str, about: str, recipe: str, changes: dict) -> dict[str, Experiment]:
    """A row a step, of one tower."""
    rows, changed = {}, dict(changes)
    for step, (views, more) in _LADDER.items():
        changed = changed | more
        tagger = "nouns" if "views.tags" in changed else "none"
        rows[f"views-{tower}-{step}"] = Experiment(
            f"{about}: {views}", recipe, SIX_VIEWS, changed, tagger=tagger, test=True
        )
    return rows


EXPERIMENTS: dict[str, Experiment] = {
    "paper": Experiment("the paper's recipe", "paper", ("lite2-flip-grid3",), test=True),
    "linear": Experiment("sum of word vectors, three CNNs", "linear", test=True),
    "best": Experiment("one model, three CNNs", test=True),
    "ensemble": Experiment("ensemble of the three seeds of `best`", members=("best",), test=True),
    # The Flickr30K photos that are among Flickr8K's: a second real data set, not the official split.
    "flickr30k-paper": Experiment(
        "the paper's recipe", "paper", ("lite2-flip-grid3",), {"batch_size": 100}, data=SUBSET, test=True
    ),
    "flickr30k-linear": Experiment("sum of word vectors, three CNNs", "linear", data=SUBSET, test=True),
    "flickr30k-best": Experiment("one model, three CNNs", data=SUBSET, test=True),
    # What each part of `best` brings, beside its seed 0.
    "ablation-one-cnn": _ablation("Lite2 alone", features=THREE_CNNS[:1]),
    "ablation-resnet152": _ablation("beside a ResNet-152 matrix", features=(*THREE_CNNS, "resnet152-resmem")),
    "ablation-mean-pooling": _ablation("mean of the regions", {"model.image.pooling": "mean"}),
    "ablation-no-dropout": _ablation(
        "no dropout", {"model.text.dropout": 0.0, "model.text.word_dropout": 0.0, "model.image.dropout": 0.0}
    ),
    "ablation-bow": _ablation("sum of words", {"model.text.encoder": "bow"}),
    "ablation-gru": _ablation("bidirectional GRU-512", {"model.text.encoder": "gru", "model.text.bidirectional": True}),
    "ablation-hardest": _ablation(
        "hardest negatives after an epoch", {"loss.name": "hardest", "loss.warmup_epochs": 1}
    ),
    "ablation-random-words": _ablation("word vectors from a random start", words=False),
    "ablation-no-average": _ablation("no running mean of the weights", {"average": 0.0}),
    "ablation-distilled": _ablation("distilled from the ensemble", {"loss.distill": 0.7}, teachers=("best",)),
    # The table of objectives (experiments/objectives.py).
    "objective-paper": Experiment("ranking loss, the paper's recipe", "paper", test=True),
    "objective-ranking": Experiment("ranking loss, encoders of `best`", changes=_RANKING, test=True),
    "objective-hardest": Experiment("hardest negatives, encoders of `best`", changes=_HARDEST, test=True),
    "objective-infonce": Experiment("InfoNCE: `best`", test=True),
    "objective-clip-words": Experiment("CLIP, words", "clip", changes=_WORDS, test=True),
    "objective-infonce-random": Experiment("InfoNCE: `best`, random words", words=False, test=True),
    "objective-clip": Experiment("CLIP, pieces of words", "clip", words=False, test=True),
    # Several views of a pair, with the encoders of `best` and of CLIP, and where captions are few or wrong.
    **(_BY_WINDOWS := _ladder("windows", "windows of words", "best", {})),
    **_ladder("clip", "CLIP, words", "clip", _WORDS),
    **{
        f"{name}-{captions}": replace(row, captions=captions, changes=row.changes | more)
        for captions, more in (("one", _OF_ONE), ("shuffled", {}))
        for name, row in ((name, _BY_WINDOWS[name]) for name in ("views-windows-text", "views-windows-all"))
    },
    # Trials for them, on dev: the weight of the pairs of one kind, and what the source leaves open.
    **{
        f"views-intra-{weight:g}": Experiment(
            f"no tags, weight {weight:g}", "best", SIX_VIEWS, _intra(weight), seeds=(0,)
        )
        for weight in INTRA
    },
    "views-tags-10": _view_trial("tags read in one step of ten", tags=0.1),
    "views-tags-25": _view_trial("tags read in one step of four"),
    "views-tags-imagenet": _view_trial("tags of the ImageNet head", "imagenet"),
    "views-coin-pair": _view_trial("a coin a pair", coin="pair"),
    "views-both": _view_trial("negatives of both views (SimCLR)", negatives="both"),
    "views-one-temperature": _view_trial("one temperature", temperatures="one"),
    # CNNs that are not frozen: a table of its own (docs/results/ranking.md).
    "tuned": Experiment("one model, three CNNs tuned", features=THREE_CUT, changes=_TUNED, start="best", test=True),
    # Trials for it, on dev.
    "tuned-whole": _tuned_trial("whole maps, four epochs", {"model.image.crop": 1.0, "epochs": 4}),
    "tuned-small": _tuned_trial("squares of 40 % or more", {"model.image.crop": 0.4}),
    "tuned-dropout": _tuned_trial(
        "more dropout, a longer running mean",
        {
            "average": 0.98,
            "model.image.dropout": 0.5,
            "model.text.dropout": 0.5,
            "model.text.word_dropout": 0.2,
        },
    ),
    # Towers from a random start, on 6,000 photos.
    "pixels-resnet": Experiment(
        "ResNet", "clip", (), _PIXELS | {"model.pixels.tower": "resnet"}, seeds=(0,), words=False
    ),
    "pixels-vit": Experiment("ViT", "clip", (), _PIXELS | {"model.pixels.tower": "vit"}, seeds=(0,), words=False),
    # Trials for its rows, on dev.
    "trial-hardest": _trial("hardest negatives after 8 epochs of all, batches of 128, dropout 0.2", changes=_HARDEST),
    "trial-clip": _clip_trial("as in the table"),
    "trial-clip-heads": _clip_trial("8 heads of 64 numbers, as the source's", {"model.text.heads": 8}),
    "trial-clip-deeper": _clip_trial("two blocks", {"model.text.layers": 2}),
    "trial-clip-narrower": _clip_trial("256 wide, 64 heads of 4", {"model.text.hidden": 256}),
    "trial-clip-one-cnn": _clip_trial("photos: Lite2 alone", features=THREE_CNNS[:1]),
    "trial-clip-mean": _clip_trial("photos: mean of the regions", {"model.image.pooling": "mean"}),
    "trial-clip-qkv": _clip_trial("photos: CLIP's attention pooling", {"model.image.pooling": "qkv"}),
    "trial-clip-temperature-05": _clip_trial("temperature fixed at 0.05", _fixed(0.05)),
    "trial-clip-temperature-07": _clip_trial("temperature fixed at 0.07", _fixed(0.07)),
}

# The rows of the table of objectives, as it prints them.
OBJECTIVES = tuple(name for name in EXPERIMENTS if name.startswith("objective-"))
# Rows of several views, ladder by ladder; the first of each is photo and caption alone.
LADDERS: dict[str, tuple[str, ...]] = {
    **{tower: tuple(f"views-{tower}-{step}" for step in _LADDER) for tower in ("windows", "clip")},
    **{kind: (f"views-windows-text-{kind}", f"views-windows-all-{kind}") for kind in ("one", "shuffled")},
}
VIEWS = tuple(name for ladder in LADDERS.values() for name in ladder)
