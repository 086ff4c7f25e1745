"""Hub correction: a score minus weight x the mean of the gallery item's k highest scores to *training* queries.

A few items of a gallery are near every query. What is subtracted is one number an item, and no other query of the test
is looked at, so that it serves a single query as well (QB-Norm, Bogolin et al. 2022; the formula is that of NNN,
Chowdhury et al. 2024). Nothing is trained: k and weight are chosen on dev, each way by itself.
Shapes: n photos, m captions, g gallery items, q training queries, d joint-space dimensions.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from tqdm import tqdm

from vse.data.datasets import Dataset
from vse.features.pictures import Photos
from vse.metrics import Cosines, Recall, Scorer, Scores, i2t_ranks, t2i_ranks
from vse.model import VSE, side_by_side
from vse.search.points import Points
from vse.system.errors import InputError
from vse.system.files import json_text, parse_json, write_atomically

FILE = "hubs.safetensors"
KS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
WEIGHTS = tuple(round(0.1 * step, 1) for step in range(13))  # 0: the plain score
MOST_QUERIES = 10_000  # of a kind in a bank, drawn evenly where training has more; all 30,000 give the same on dev
_VERSION = 1
_BLOCK = 512  # gallery items at once; bounds memory: their scores to 10,000 queries are 20 MB


@runtime_checkable
class Bank(Protocol):
    """Where training queries lie in the joint space."""

    def embeddings(self) -> Float32[np.ndarray, "q d"]: ...


@dataclass(frozen=True, eq=False)
class Joined:
    """The same queries in the spaces of several models, side by side as vse.model.side_by_side has them."""

    banks: Sequence[Bank]

    def embeddings(self) -> Float32[np.ndarray, "q d"]:
        """The vectors whose dot products are the mean of the models'."""
        return np.hstack([bank.embeddings() for bank in self.banks]) * np.float32(len(self.banks) ** -0.5)


@dataclass(frozen=True, eq=False)
class Correction:
    """What is subtracted from every score of a gallery's items."""

    bank: Bank  # training queries of the gallery's queries' kind
    k: int  # of an item's highest scores count
    weight: float  # of their mean
    fingerprint: str = ""  # of the file it was read from; tells a kept index which correction it holds

    def __call__(self, gallery: Float[np.ndarray, "g d"]) -> Float32[np.ndarray, " g"]:
        """`weight` times the hubness of each item."""
        if not self.weight:
            return np.zeros(len(gallery), np.float32)
        return np.float32(self.weight) * hubness(gallery, self.bank.embeddings(), [self.k])[0]


@dataclass(frozen=True, eq=False)
class Hubs:
    """The corrections of both galleries: photos, that sentences search, and captions, that photos search."""

    photos: Correction  # by training captions
    captions: Correction  # by training photos

    def correct(
        self, scorer: Scorer, photos: Float[np.ndarray, "n d"], captions: Float[np.ndarray, "m d"]
    ) -> "Corrected":
        """The corrected scores of `scorer` between the photos and captions that lie at these points."""
        return Corrected(scorer, self.photos(photos), self.captions(captions))


class Corrected:
    """Scores less what both sides subtract.

    One matrix serves both ways: what is subtracted for a query is the same for the whole gallery, so it moves no rank.
    """

    def __init__(self, scorer: Scorer, photos: Float[np.ndarray, " n"], captions: Float[np.ndarray, " m"]):
        self._scorer, self._photos, self._captions = scorer, photos, captions
        self.images, self.captions = scorer.images, scorer.captions

    def __call__(self, rows: slice, columns: slice) -> Scores:
        return self._scorer(rows, columns) - self._photos[rows, None] - self._captions[None, columns]


def hubness(
    gallery: Float[np.ndarray, "g d"], queries: Float[np.ndarray, "q d"], ks: Sequence[int]
) -> Float32[np.ndarray, "ks g"]:
    """The mean of each item's k highest scores to the queries, for each k; all of them where there are fewer.

    Raises InputError for k below 1 and for no queries.
    """
    if min(ks) < 1 or not len(queries):
        raise InputError(f"k = {min(ks)}, {len(queries)} training queries: expected 1 or more of both")
    most = min(max(ks), len(queries))
    means = np.empty((len(ks), len(gallery)), np.float32)
    for start in range(0, len(gallery), _BLOCK):
        scores = gallery[start : start + _BLOCK] @ queries.T
        highest = -np.sort(np.partition(-scores, most - 1, axis=1)[:, :most].astype(np.float64), axis=1)
        sums = np.cumsum(highest, axis=1)
        for row, k in enumerate(ks):
            k = min(k, most)
            means[row, start : start + _BLOCK] = sums[:, k - 1] / k
    return means


def make_banks(model: VSE, train: Dataset, features: Photos, progress: bool = False) -> tuple[Points, Points]:
    """(captions, photos) of the training split as a run keeps them, MOST_QUERIES of each at most, drawn evenly.

    Raises InputError for a split without captions.
    """
    if not train.captions:
        raise InputError(f"{train.name}: no training captions; hub correction needs those that the run was trained on")
    captions, photos = ([items[i] for i in _spread(len(items))] for items in (train.captions, train.images))
    blocks = [photos[start : start + _BLOCK] for start in range(0, len(photos), _BLOCK)]
    seen = tqdm(blocks, desc="embed photos", leave=False, disable=None if progress else True)
    embedded = [model.encode_images(features.take(block)) for block in seen]  # the features of all may not fit
    return (
        Points.from_embeddings(model.encode_texts(captions, progress=progress)),
        Points.from_embeddings(np.concatenate(embedded)),
    )


def _spread(count: int) -> np.ndarray:
    """MOST_QUERIES of `count`, evenly spaced: the same for every model, so that banks can be joined."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_QUERIES)).round().astype(int))


def choose(
    captions: Bank, photos: Bank, models: Sequence[VSE], dev: Dataset, features: Sequence[Photos],
    progress: bool = False,
) -> Hubs:  # fmt: skip
    """Hubs of these banks of training queries, with the k and weight that rank best on dev (the sum of R@K).

    Of equals the smaller weight. Raises InputError for a dev split without captions.
    """
    if not dev.captions:
        raise InputError(f"{dev.name}: no dev captions to choose k and weight on; give the data set of the training")
    points, owner = side_by_side(models, dev, features), dev.image_of_caption
    everything = slice(None)
    scores = Cosines(*points)(everything, everything)
    ways = (  # bank, gallery, axis of the gallery in the scores, ranks
        (captions, points[0], (everything, None), lambda s: t2i_ranks(s, owner, 1e-6)),
        (photos, points[1], (None, everything), lambda s: i2t_ranks(s, owner, tie=1e-6)),
    )
    with tqdm(total=2 * len(KS), desc="choose k and weight", disable=None if progress else True) as bar:
        return Hubs(*(_best(scores, *way, bar.update) for way in ways))


def _best(
    scores: np.ndarray, bank: Bank, gallery: np.ndarray, axis: tuple, ranks: Callable, step: Callable
) -> Correction:
    """The correction of one way that ranks best."""
    best, correction = -1.0, Correction(bank, 1, 0.0)
    for k, means in zip(KS, hubness(gallery, bank.embeddings(), KS), strict=True):
        for weight in WEIGHTS:
            recall = Recall.of(ranks(scores - np.float32(weight) * means[axis]))
            total = recall.r1 + recall.r5 + recall.r10
            if total > best:
                best, correction = total, Correction(bank, k, weight)
        step()
    return correction


def save_hubs(run: Path, hubs: Hubs, model: VSE) -> None:
    """Writes hubs.safetensors into the run folder of `model`, atomically."""
    ways = {field.name: getattr(hubs, field.name) for field in dataclasses.fields(hubs)}
    header = {name: {"k": way.k, "weight": way.weight} for name, way in ways.items()}
    metadata = {"hubs": json_text({"version": _VERSION, "model": model.fingerprint, **header})}
    tensors = {key: value for name, way in ways.items() for key, value in way.bank.tensors(f"{name}.").items()}
    write_atomically(run / FILE, lambda path: save_file(tensors, path, metadata))


def has_hubs(run: Path) -> bool:
    """True where `vse hubs` was run on the folder."""
    return (run / FILE).is_file()


def load_hubs(run: str | Path, model: VSE) -> Hubs:
    """The hubs of the run folder that `model` was loaded from; their banks are unpacked when they are used.

    Raises InputError where there are none, where they are damaged, and where the weights are others since.
    """
    path = Path(run) / FILE
    way_out = f"make it: vse hubs {run} DATA --features FOLDERS"
    if not has_hubs(Path(run)):
        raise InputError(f"{path}: no such file; {way_out}")
    try:
        with safe_open(path, "np") as file:
            header = parse_json((file.metadata() or {})["hubs"], path)
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not the hubs of a run ({error}); {way_out}") from None
    if not isinstance(header, dict) or header.get("version") != _VERSION:
        raise InputError(f"{path}: of another version than {_VERSION}; {way_out}")
    if header.get("model") != model.fingerprint:
        raise InputError(f"{path}: made for other weights than {run} has now; {way_out}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    ways = {}
    for name in (field.name for field in dataclasses.fields(Hubs)):
        way = header.get(name)
        k, weight = (way.get(key) if isinstance(way, dict) else None for key in ("k", "weight"))
        bank = Points.from_tensors(tensors, path, way_out, f"{name}.")
        if type(k) is not int or k < 1 or type(weight) not in (int, float) or not 0 <= weight <= WEIGHTS[-1]:
            raise InputError(f"{path}: k = {str(k)[:40]}, weight = {str(weight)[:40]} of {name}; {way_out}")
        if bank.dim != model.config.embed_dim:
            raise InputError(f"{path}: of {bank.dim} dimensions, the model has {model.config.embed_dim}; {way_out}")
        ways[name] = Correction(bank, k, float(weight), f"{digest}-{name}")
    return Hubs(**ways)
