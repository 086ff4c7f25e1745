"""The table of objectives: `python -m experiments.objectives [NAME...]` makes its rows, all of OBJECTIVES without any.

Same photos, features, captions, vocabulary, budget and metrics; the word vectors start at random or from word2vec, and
the table says which. Every row was chosen on dev (rows `trial-...`, experiments/rows.py); its test figures, plain and
hub-corrected, its agreement with people and its zero-shot classes are of the same three runs. What a training costs is
counted, so that machines compare: the operations of its products, forward and backward, of whole padded batches.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import islice, pairwise

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from experiments import find_data, hubs, ranking, results, zero_shot
from experiments.compare import compare
from experiments.human_judgements import cosines
from experiments.judgements import Judged
from experiments.noise import NOISE
from experiments.results import mean_and_sd, origin, over_seeds, path_of
from experiments.rows import EXPERIMENTS, OBJECTIVES
from experiments.trained import Scorer, scorers
from vse.batches import TrainingSet
from vse.configs import TrainConfig
from vse.data.datasets import Dataset, read_dataset
from vse.losses import MultiViewLoss, make_objective
from vse.system.files import read_json

MOST = 200.0  # TFLOP a training may cost
BATCHES = 4


def operations(scorer: Scorer, config: TrainConfig, dataset: Dataset) -> float:
    """TFLOP of one training: those of the products of a few batches, in proportion to all.

    A step that reads tag sentences is counted as one that reads captions.
    """
    views = replace(config.views, tags=0.0)
    (model,), (features,) = scorer.models, scorer.features
    data = TrainingSet(dataset.split("train"), features, model.vocabulary, model.device)
    objective, counted, pairs = MultiViewLoss(views, partial(make_objective, config.loss)), 0, 0
    for batch in islice(data.epoch(config.batch_size, 0, 0, views=views, by_photo=config.by_photo), BATCHES):
        # Fused LSTMs and fused attention are not in the counter's books; their plain forms are.
        plain = torch.backends.mkldnn.flags(enabled=False, allow_tf32=None), sdpa_kernel(SDPBackend.MATH)
        with plain[0], plain[1], FlopCounterMode(display=False) as counter:
            which, photos = slice(None), len(batch.captions)
            if config.by_photo:  # each photo is encoded once
                numbers, which = batch.image_ids.unique(return_inverse=True)
                photos = len(numbers)
            images = [model.encode_image(crops[:photos])[which] for crops in batch.images]
            texts = [model.encode_text(*text) for text in batch.texts]
            objective(images, texts, batch.alike).backward()
        counted += counter.get_total_flops()
        pairs += len(batch.captions)
    return counted / pairs * len(data) * config.epochs / 1e12


def run_all(names: Sequence[str], command: str) -> None:
    """Makes these rows, as `python -m experiments.COMMAND NAME...`, and says each in a line."""
    dataset = read_dataset(find_data("flickr8k"))
    judged = Judged(dataset, find_data("flickr8k") / "Flickr8k_text")
    for name in names:
        row = _run_one(name, dataset, judged, command)
        figures = {key: round(row[key]["mean"], 1) for key in ("dev_rsum", "test_rsum", "hubs_test_rsum")}
        print(name, figures, f"{row['tflop']:.0f} TFLOP", flush=True)


def _run_one(name: str, dataset: Dataset, judged: Judged, command: str) -> dict:
    """One row; what other experiments write of it is made where it is not there."""
    for path, work in ((name, ranking.run), (f"hubs-{name}", hubs.run), (f"zero-shot-{name}", zero_shot.run)):
        if not path_of(path).exists():
            work(name)
    row, corrected, classes = (read_json(path_of(p)) for p in (name, f"hubs-{name}", f"zero-shot-{name}"))
    models = scorers(name)
    config = ranking.config_of(EXPERIMENTS[name])
    tau = over_seeds([judged.agreement(cosines(judged, scorer)) for scorer in models])
    return results.write(f"objectives-{name}", {
        "name": f"objectives-{name}", **origin(f"{command} {name}"), "most_tflop": MOST,
        "about": EXPERIMENTS[name].about, "words": EXPERIMENTS[name].words,
        "parameters": sum(p.numel() for p in models[0].models[0].parameters()),
        "tflop": operations(models[0], config, NOISE[EXPERIMENTS[name].captions](dataset)),
        "seconds": mean_and_sd([seed["training_seconds"] for seed in row["rows"]]),
        "dev_rsum": row["dev_rsum"], "test_rsum": row["test_rsum"],
        "i2t": {k: row[f"test_i2t_{k}"] for k in ("r1", "r5", "r10")},
        "t2i": {k: row[f"test_t2i_{k}"] for k in ("r1", "r5", "r10")},
        "hubs_test_rsum": corrected["test_rsum"], "tau": tau,
        "zero_shot": {figure: classes[f"templates_{figure}"] for figure in ("map", "accuracy")},
    })  # fmt: skip


def over_the_row_above() -> dict:
    """Test rsum of every row that is there less that of the row above it, paired, in results/objectives.json."""
    names = [name for name in OBJECTIVES if path_of(f"objectives-{name}").exists()]
    differences = {b: compare(b, a, "test")["figures"]["rsum"] | {"above": a} for a, b in pairwise(names)}
    return results.write("objectives", {"name": "objectives", **origin("objectives"), "differences": differences})


def _run(names: list[str]) -> None:
    run_all(results.asked(names, OBJECTIVES), "objectives")
    over_the_row_above()


def main() -> int:
    return results.main("objectives", __doc__, _run, {"names": {"nargs": "*", "metavar": "NAME"}})


if __name__ == "__main__":
    sys.exit(main())
