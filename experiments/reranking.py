"""Re-ranking in figures: `python -m experiments.reranking [NAME...]` trains fusion transformers and re-ranks with them.

NAME is one of READERS; each seed is trained beside the same seed of `best`, and re-ranks what that finds, what it finds
hub-corrected, and what the ensemble of all seeds finds. k and lambda are chosen on dev, test is read once; the plain
row of the same runs stands beside, with the paired bootstrap of the difference.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, Int

from experiments import RUNS, find_data, results
from experiments.compare import differences
from experiments.hubs import corrected
from experiments.per_image import ranking_row
from experiments.ranking import trained
from experiments.results import changed, mean_and_sd, origin
from experiments.rows import EXPERIMENTS
from vse.configs import FusionTrainConfig
from vse.data.datasets import Dataset, read_dataset
from vse.evaluate import row_of_ranks, scorer_of
from vse.features.store import Features
from vse.fusion import Fusion
from vse.metrics import Scorer, block_ranks
from vse.model import VSE
from vse.rerank import Setting, choose_from, read_with
from vse.runs import fusion
from vse.train_fusion import train_fusion

K = 50
DUAL = "best"
SEEDS = EXPERIMENTS[DUAL].seeds
READER = "both"  # the one whose logit captions and judgements are scored by


@dataclass(frozen=True)
class Reader:
    """A fusion transformer: the default settings with changes; `start`: begins where the same seed of that one ended.

    `test`: it reads test, with three seeds; else one seed on dev.
    """

    about: str
    changes: dict = field(default_factory=dict)
    start: str = ""
    test: bool = True

    @property
    def seeds(self) -> tuple[int, ...]:
        return SEEDS if self.test else SEEDS[:1]


READERS = {
    "matching": Reader("matching", {"words": 0.0}),
    "both": Reader("matching and masked words"),
    "words": Reader("masked words", {"matching": 0.0, "epochs": 4}, test=False),
    "words-first": Reader("masked words, then matching", {"words": 0.0}, start="words"),
}


class Logits:
    """The logits of pairs of a split, each read once."""

    def __init__(self, model: Fusion, split: Dataset, features: Features):
        self._model, self._captions = model, split.captions
        self._tokens = model.photo_tokens(features.take(split.images))
        self._known = np.full((len(split.images), len(split.captions)), np.nan, np.float32)

    def __call__(self, pairs: Int[np.ndarray, "p 2"]) -> Float32[np.ndarray, " p"]:
        new = pairs[np.isnan(self._known[pairs[:, 0], pairs[:, 1]])]
        if len(new):
            self._known[new[:, 0], new[:, 1]] = self._model.logits(self._tokens, self._captions, new, progress=True)
        return self._known[pairs[:, 0], pairs[:, 1]]


def train_reader(name: str, seed: int, dataset: Dataset, dual: VSE, features: Features) -> Fusion:
    """Trains a seed into runs/fusion-NAME-SEED, or goes on with what is there."""
    reader, out = READERS[name], RUNS / f"fusion-{name}-{seed}"
    print(f"{out}: {reader.about}", flush=True)
    start = train_reader(reader.start, seed, dataset, dual, features) if reader.start else None
    config = changed(FusionTrainConfig(), reader.changes)
    train_fusion(config, dataset, features, dual, out, seed=seed, start=start, resume=True)
    return fusion.load(out)


def rerank(scorers: dict[str, Scorer], logits: dict[str, Sequence[Logits]], splits: dict[str, Dataset]) -> dict:
    """{split: row}, k, lambda and the test ranks, of the mean logit; all by split name, test only where it is there."""

    def read(split: str):
        of_split = logits[split]
        return read_with(lambda pairs: np.mean([one(pairs) for one in of_split], 0), scorers[split], splits[split], K)

    best = {split: read(split) for split in splits}
    setting: Setting = choose_from(best["dev"], splits["dev"]).setting
    ranks = {split: [way.reranked(setting) for way in ways] for split, ways in best.items()}
    rows = {split: row_of_ranks(*ranks[split], splits[split]).as_dict() for split in splits}
    return {"k": setting.k, "lambda": setting.weight, **rows, "ranks": ranks.get("test")}


def milliseconds(model: Fusion, dataset: Dataset, features: Features) -> float:
    """To re-rank the K best of one query, their features at hand: the median over 20 captions."""
    test, times = dataset.split("test"), []
    stored = features.take(test.images[:K])
    pairs = np.stack([np.arange(K), np.zeros(K, int)], 1)
    for caption in test.captions[:21]:
        start = time.perf_counter()
        model.logits(model.photo_tokens(stored), [caption], pairs)
        times.append(1000 * (time.perf_counter() - start))
    return float(np.median(times[1:]))


def run(name: str) -> dict:
    """The result of one reader, written to results/rerank-NAME.json."""
    reader, dataset = READERS[name], read_dataset(find_data("flickr8k"))
    splits = {part: dataset.split(part) for part in (("dev", "test") if reader.test else ("dev",))}
    models, features = trained((DUAL,))
    readers = [train_reader(name, seed, dataset, models[i], features[i]) for i, seed in enumerate(reader.seeds)]
    logits = [
        {part: Logits(r, split, f) for part, split in splits.items()} for r, f in zip(readers, features, strict=False)
    ]
    result = {
        "name": f"rerank-{name}", "about": reader.about, **origin(f"reranking {name}"), "most": K,
        "parameters": sum(p.numel() for p in readers[0].parameters()),
        "milliseconds": milliseconds(readers[0], dataset, features[0]), "kinds": {},
    }  # fmt: skip
    for kind in (DUAL, f"{DUAL}, hubs", "ensemble", "ensemble, hubs") if reader.test else (DUAL,):
        row = "ensemble" if kind.startswith("ensemble") else DUAL
        if "hubs" in kind:
            sets = corrected(row, dataset)
        else:
            sets = ([models], [features]) if row == "ensemble" else ([[m] for m in models], [[f] for f in features])
            sets = *sets, [None] * len(sets[0])
        of_kind = []
        for i, (duals, stored, hubs) in enumerate(zip(*sets, strict=True)):
            if i >= len(logits):
                break
            scorers = {part: scorer_of(duals, split, stored, hubs) for part, split in splits.items()}
            chosen = logits if row == "ensemble" else logits[i : i + 1]
            seed = rerank(scorers, {part: [one[part] for one in chosen] for part in splits}, splits)
            plain = {part: block_ranks(scorers[part], splits[part].image_of_caption) for part in splits}
            seed["plain"] = {part: row_of_ranks(*plain[part], splits[part]).as_dict() for part in splits}
            of_kind.append(seed | {"plain_ranks": plain.get("test")})
            was, now = ({part: round(row[part]["rsum"], 1) for part in splits} for row in (seed["plain"], seed))
            print(name, kind, i, was, "->", now, "k", seed["k"], "lambda", seed["lambda"], flush=True)
        result["kinds"][kind] = _summary(kind, of_kind, splits)
    return results.write(f"rerank-{name}", result)


def _summary(kind: str, seeds: list[dict], splits: dict[str, Dataset]) -> dict:
    """Means over seeds, and on test the difference to the plain rows."""
    summary = {}
    for part in splits:
        summary[f"{part}_rsum"] = mean_and_sd([seed[part]["rsum"] for seed in seeds])
        summary[f"plain_{part}_rsum"] = mean_and_sd([seed["plain"][part]["rsum"] for seed in seeds])
        for way in ("i2t", "t2i"):
            for key in ("r1", "r5", "r10", "med_r"):
                summary[f"{part}_{way}_{key}"] = mean_and_sd([seed[part][way][key] for seed in seeds])
    if "test" in splits:
        owner = splits["test"].image_of_caption
        new, plain = (
            ranking_row(
                f"{kind} {which}", "test", *map(np.stack, zip(*[seed[which] for seed in seeds], strict=True)), owner
            )
            for which in ("ranks", "plain_ranks")
        )
        summary["difference"] = differences(new, plain)
    drop = ("ranks", "plain_ranks")
    return summary | {"rows": [{key: value for key, value in seed.items() if key not in drop} for seed in seeds]}


def _run(names: list[str]) -> None:
    for name in results.asked(names, tuple(READERS)):
        run(name)


def main() -> int:
    return results.main("reranking", __doc__, _run, {"names": {"nargs": "*", "metavar": "NAME"}})


if __name__ == "__main__":
    sys.exit(main())
