"""Rows of the tables image by image, for `experiments.compare`: what each image adds to the sums a figure is made of.

Ranks are kept in results/ranks/NAME.npz, made from the runs of `experiments.ranking` where they are not there; the
captions of `experiments.captions` in results/texts/NAME.json. Shapes: n images, m captions, k sums, seeds, draws.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float, Float64, Int
from pycocoevalcap.bleu.bleu_scorer import BleuScorer

from experiments import RESULTS, find_data
from experiments.caption_metrics import has_java, per_image_captions, tokenize_all
from experiments.results import path_of
from experiments.rows import EXPERIMENTS
from experiments.trained import scorers
from scnlm.captions.assemble import references_of
from vse.data.datasets import Dataset, read_dataset
from vse.metrics import KS, Cosines, block_ranks, hits, recalls
from vse.system.errors import InputError
from vse.system.files import read_json, write_atomically, write_json

Sums = Float64[np.ndarray, "draws k"]
_MEANS = ("meteor", "rouge_l", "cider")  # a caption row's figures that are means over images here


@dataclass(frozen=True, eq=False)
class PerImage:
    """A row image by image: `figures` of the sums of `images` over n are the row's figures."""

    name: str
    pairs_with: str  # rows can be compared where this is equal: the same images
    images: Float64[np.ndarray, "seeds n k"]
    figures: Callable[[Sums], dict[str, Float[np.ndarray, " draws"]]]


# Ranking


def ranking_row(
    name: str,
    pairs_with: str,
    i2t: Int[np.ndarray, "seeds n"],
    t2i: Int[np.ndarray, "seeds m"],
    image_of_caption: Int[np.ndarray, " m"],
) -> PerImage:
    """The row of 1-based ranks; images without captions have no i2t rank."""
    rows = [hits(*ranks, image_of_caption) for ranks in zip(i2t, t2i, strict=True)]
    return PerImage(name, pairs_with, np.stack(rows), recalls)


def read_ranking(name: str, split: str) -> PerImage:
    """The row NAME of `experiments.ranking`, from its kept ranks or its runs.

    Raises InputError where ranks do not give the figures of results/NAME.json.
    """
    ranks_path, rows = RESULTS / "ranks" / f"{name}.npz", read_json(path_of(name))["rows"]
    if not ranks_path.exists() or not agrees(_read(ranks_path), rows):
        ranks = ranks_of_runs(name)
        if not agrees(ranks, rows):
            way_out = f"evaluate them again: python -m experiments.ranking {name}"
            raise InputError(f"results/{name}.json: not the figures of the runs in this folder; {way_out}")
        ranks_path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(ranks_path, lambda path: _write(path, ranks))
    ranks = _read(ranks_path)
    if f"{split}_i2t" not in ranks:
        raise InputError(f"{name}: has no {split} row; compare it on dev")
    pairs_with = f"{split} of {EXPERIMENTS[name].data} ({ranks['data']})"
    return ranking_row(name, pairs_with, *(ranks[f"{split}_{key}"] for key in ("i2t", "t2i", "owner")))


def ranks_of_runs(name: str) -> dict[str, np.ndarray]:
    """The ranks of every seed on every split that the row reads, in 16 bits."""
    dataset, models = read_dataset(find_data(EXPERIMENTS[name].data)), scorers(name)
    arrays = {"data": np.array(dataset.fingerprint())}
    for split in ("dev", "test") if EXPERIMENTS[name].test else ("dev",):
        part = dataset.split(split)
        both = [
            block_ranks(Cosines(m.images(part.images), m.texts(part.captions)), part.image_of_caption) for m in models
        ]
        i2t, t2i = (np.stack(ranks) for ranks in zip(*both, strict=True))
        if max(i2t.max(), t2i.max()) > np.iinfo(np.int16).max:
            raise InputError(f"{name}: ranks up to {max(i2t.max(), t2i.max())}; expected 16 bits to hold them")
        for key, ranks in (("i2t", i2t), ("t2i", t2i), ("owner", part.image_of_caption)):
            arrays[f"{split}_{key}"] = ranks.astype(np.int16)
    return arrays


def agrees(ranks_of: dict[str, np.ndarray], rows: Sequence[dict]) -> bool:
    """Whether ranks give a result's recalls, but for one query or a thousandth (the last bits of a float32 product)."""
    for split in ("dev", "test"):
        for way in ("i2t", "t2i"):
            expected = [[row[split][way][f"r{k}"] for k in KS] for row in rows if split in row]
            of_rows = ranks_of.get(f"{split}_{way}", np.empty((0, 1)))
            got = [[100 * np.mean(ranks <= k) for k in KS] for ranks in of_rows]
            near = max(0.1, 100 / of_rows.shape[1]) + 1e-6
            if len(got) != len(expected) or (got and np.abs(np.subtract(got, expected)).max() > near):
                return False
    return True


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with open(path, "wb") as file:  # given a name, numpy would add .npz to it
        np.savez_compressed(file, **arrays)


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise InputError(f"{path}: cannot be read ({error}); delete it, it is made anew from the runs") from None


# Captions


def save_texts(name: str, split: str, images: Sequence[str], rows: Sequence[dict]) -> None:
    """Keeps the captions of a row of `experiments.captions`; `rows`: {"seed": 0, "captions": one an image}."""
    path = RESULTS / "texts" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"name": name, "split": split, "images": list(images), "rows": list(rows)})


def reference_texts(split: Dataset) -> list[list[str]]:
    """The captions of each image as people wrote them, in the tokens of a model."""
    return [[" ".join(tokens) for tokens in captions] for captions in references_of(split)]


def read_captions_row(name: str, dataset: Dataset) -> PerImage:
    """The row NAME of `experiments.captions`, from its kept captions."""
    path = RESULTS / "texts" / f"{name}.json"
    if not path.exists():
        raise InputError(f"{path}: no captions kept; make them with: python -m experiments.captions")
    captions_file = read_json(path)
    split = dataset.split(captions_file["split"])
    number = {image: i for i, image in enumerate(split.images)}
    if unknown := [image for image in captions_file["images"] if image not in number]:
        raise InputError(
            f"{path}: {unknown[0]} is no {captions_file['split']} photo of {dataset.name}; make the row again"
        )
    of_image = reference_texts(split)
    references = [of_image[number[image]] for image in captions_file["images"]]
    pairs_with = (
        f"{len(references)} {captions_file['split']} images of {dataset.name} from {captions_file['images'][0]}"
    )
    return captions_row(name, pairs_with, references, [row["captions"] for row in captions_file["rows"]])


def captions_row(
    name: str, pairs_with: str, references: Sequence[Sequence[str]], captions: Sequence[Sequence[str]]
) -> PerImage:
    """The row of one caption an image and seed; METEOR only where Java is found."""
    rows = []
    for captions_of_seed in captions:
        means = per_image_captions(references, captions_of_seed)
        columns = [means[key] if means[key] is not None else np.full(len(captions_of_seed), np.nan) for key in _MEANS]
        rows.append(
            np.column_stack([_bleu_parts(references, captions_of_seed), *columns, np.ones(len(captions_of_seed))])
        )
    return PerImage(name, pairs_with, np.stack(rows), caption_figures)


def caption_figures(sums: Sums) -> dict[str, Float[np.ndarray, " draws"]]:
    """BLEU-1 to 4 of the corpus that the sums are of; METEOR, ROUGE-L and CIDEr as the means of the images'."""
    right, total, length, closest, means, n = np.split(sums, [4, 8, 9, 10, 13], axis=1)
    brevity = np.exp(np.minimum(0, 1 - closest / np.maximum(length, 1e-9)))[:, 0]
    logs = np.cumsum(np.log(np.maximum(right, 1e-15)) - np.log(np.maximum(total, 1e-9)), axis=1)
    figures = {f"bleu{k}": 100 * brevity * np.exp(logs[:, k - 1] / k) for k in (1, 2, 3, 4)}
    return figures | {key: means[:, i] / n[:, 0] for i, key in enumerate(_MEANS) if np.isfinite(means[:, i]).all()}


def _bleu_parts(references: Sequence[Sequence[str]], captions: Sequence[str]) -> Float64[np.ndarray, "n 10"]:
    """Of each caption: n-grams that are right (1 to 4), n-grams, its length and that of the nearest reference."""
    expected, candidates = tokenize_all(references, captions, has_java())
    scorer = BleuScorer(n=4)
    for i, (caption,) in candidates.items():
        scorer += (caption, expected[i])
    rows = []
    for counts in scorer.ctest:
        closest = min((abs(length - counts["testlen"]), length) for length in counts["reflen"])[1]
        rows.append([*counts["correct"], *counts["guess"], counts["testlen"], closest])
    return np.array(rows, np.float64)
