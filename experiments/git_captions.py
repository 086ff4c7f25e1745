"""GIT in figures: `python -m experiments.git_captions NAME... [--seeds S...]` trains a generative transformer, captions
with its beam of 4 and writes the row.

NAME is a key of ROWS, or `all`. The row that is marked `test` is read on the test split once, with three seeds; the
others are what the source claims (Wang 2022), asked here on dev, one seed. Runs that are there are used again.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from experiments import RUNS, find_data, results
from experiments.caption_metrics import evaluate_captions
from experiments.per_image import reference_texts, save_texts
from experiments.perplexity import extra_text
from experiments.ranking import extracted
from experiments.results import changed, means, origin, over_seeds
from experiments.rows import SIX_VIEWS, WORD_VECTORS
from scnlm import git_run
from scnlm.beam import beam_search
from scnlm.configs import GITTrainConfig
from scnlm.git import GIT
from scnlm.train_git import train_git
from vse.data.datasets import Dataset, read_dataset
from vse.features.store import Features

WIDTH = 4  # of the beam
_CHUNK = 64
BASE: dict = {"model.dropout": 0.2, "model.image_dropout": 0.1, "epochs": 12}


@dataclass(frozen=True)
class Row:
    """A training with changes; `photos`: of so many training photos; `start`: begins where that row's seed ended."""

    about: str
    changes: dict = field(default_factory=dict)
    features: tuple[str, ...] = SIX_VIEWS
    photos: int | None = None
    start: str = ""
    words: bool = True  # begin at word2vec
    test: bool = False

    @property
    def seeds(self) -> tuple[int, ...]:
        return (0, 1, 2) if self.test else (0,)


def _row(about: str, changes: dict | None = None, **more) -> Row:
    return Row(about, BASE | (changes or {}), **more)


ROWS = {
    "git": _row("GIT, beam 4", test=True),
    # (g1) cross-attention is better on few data, self-attention on many.
    **{
        f"git-{attention}-{photos}": _row(
            f"{attention}-attention, {photos:,} photos",
            # As many steps, four times as many epochs at most.
            {"model.attention": attention, "epochs": BASE["epochs"] * min(4, 6000 // photos)},
            photos=photos,
        )
        for attention in ("self", "cross")
        for photos in (600, 1500, 3000, 6000)
        if (attention, photos) != ("self", 6000)  # `git` itself
    },
    # (g2) a decoder that knows text is no better than a random one.
    "git-text": _row("text alone: captions of Flickr8K and Flickr30K", {"text_only": True, "epochs": 4}),
    "git-after-text": _row("begun from text alone", start="git-text"),
    # (g3) six layers are best.
    **{f"git-layers-{n}": _row(f"{n} layers", {"model.layers": n}) for n in (2, 6, 12)},
    # (g5) a better image encoder is better.
    **{
        f"git-{name.split('-')[0]}": _row(f"photos: {name.split('-')[0].title()} alone", features=(name,))
        for name in SIX_VIEWS
    },
    "git-random-words": _row("words from a random start", words=False),
    "git-pieces": _row("pieces of words", {"tokens": "bpe"}, words=False),
    "git-reward": _row("then rewarded by CIDEr", {"reward": 1.0, "epochs": 4, "learning_rate": 5e-5}, start="git"),
}  # fmt: skip


def features_of(row: Row, dataset: Dataset) -> Features:
    """The row's features, extracted first where they are not there."""
    paths = [dataset.path(i) for i in range(len(dataset.images))]
    return extracted(dataset.name, row.features, paths, dataset.images)


def fewer(dataset: Dataset, photos: int | None) -> Dataset:
    """The data set with its first training photos alone; dev and test stay."""
    seen = np.cumsum([split == "train" for split in dataset.split_of_image])
    kept = np.array([split != "train" for split in dataset.split_of_image]) | (seen <= (photos or len(seen)))
    return dataset.select(kept)


def trained(name: str, seed: int, dataset: Dataset) -> GIT:
    """The model of a seed, trained into runs/NAME-SEED, or what is there."""
    row = ROWS[name]
    start = trained(row.start, seed, dataset) if row.start else None
    config = changed(GITTrainConfig(), row.changes)
    out = RUNS / f"{name}-{seed}"
    print(f"{out}: {row.about}", flush=True)
    train_git(
        config, fewer(dataset, row.photos), features_of(row, dataset), out,
        word_vectors=find_data(WORD_VECTORS) if row.words and not start else None,
        extra_text=extra_text(dataset) if config.text_only else None, start=start, seed=seed, resume=True,
    )  # fmt: skip
    return git_run.load(out)


def captions(model: GIT, features: Features, names: Sequence[str], width: int = WIDTH) -> list[str]:
    """The best sentence of the beam for each photo."""
    found = []
    for start in tqdm(range(0, len(names), _CHUNK), desc="captions", unit="batch", disable=None):
        seen = model.seen(features.take(list(names[start : start + _CHUNK])))
        found += [model.vocabulary.decode(own[0].words) for own in beam_search(model, seen, width)]
    return found


def run(name: str) -> dict:
    """The result of a row, written to results/captions-NAME.json."""
    row, dataset = ROWS[name], read_dataset(find_data("flickr8k"))
    part = "test" if row.test else "dev"
    split, features = dataset.split(part), features_of(row, dataset)
    references, rows = reference_texts(split), []
    for seed in row.seeds:
        model = trained(name, seed, dataset)
        texts = captions(model, features, split.images)
        rows.append({"seed": seed, "captions": texts, **evaluate_captions(references, texts)})
    save_texts(f"captions-{name}", part, split.images, [{k: r[k] for k in ("seed", "captions")} for r in rows])
    rows = [{key: value for key, value in r.items() if key != "captions"} for r in rows]
    figures = over_seeds(rows)
    print(name, means(figures), flush=True)
    return results.write(f"captions-{name}", {
        "about": row.about, **origin(f"git_captions {name}"), "split": part, "images": len(split.images),
        "weights": None, "parameters": sum(p.numel() for p in model.parameters()), "rows": rows, "metrics": figures,
    })  # fmt: skip


def _run(names: list[str], seeds: list[int] | None) -> None:
    names = list(ROWS) if names == ["all"] else names
    dataset = read_dataset(find_data("flickr8k"))
    for name in results.asked(names, tuple(ROWS)):
        for seed in seeds or ():
            trained(name, seed, dataset)
        if not seeds and not ROWS[name].changes.get("text_only"):
            run(name)


def main() -> int:
    return results.main("git_captions", __doc__, _run, {
        "names": {"nargs": "+", "metavar": "NAME"},
        "--seeds": {"nargs": "+", "type": int, "metavar": "SEED", "help": "only train these seeds"},
    })  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
