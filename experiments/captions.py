"""Captions of Flickr8K photos, measured: `python -m experiments.captions NAME...` writes rows of the caption tables.

`test`: the full pipeline over seeds, and the nearest training sentence, on the 1000 test images; read once.
`parts`: what each part brings, on dev images that the weights were not tuned on. `vote`: whom a candidate's vote
counts, on the same images, for the set that ships. Runs and sets that are there are used again; a killed call goes on.
"""

import dataclasses
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

import vse
from experiments import RUNS, find_data, results
from experiments.caption_metrics import evaluate_captions
from experiments.per_image import reference_texts, save_texts
from experiments.perplexity import ENCODER, extra_text
from experiments.ranking import features_of
from experiments.reranking import READER
from experiments.results import means, origin, over_seeds
from experiments.rows import EXPERIMENTS
from scnlm import language_model
from scnlm.captions.assemble import assemble, references_of
from scnlm.captions.captioner import ENCODER as ENCODER_PART
from scnlm.captions.captioner import TRIGRAM, WEIGHTS, CaptionConfig, Captioner, shipped_set
from scnlm.captions.describe import nearest_sentences
from scnlm.rerank.cider import Cider
from scnlm.rerank.score import Candidate, Weights, parts
from scnlm.rerank.trigram import Trigram, estimate
from scnlm.rerank.tuning import tune
from scnlm.rerank.vote import VOTERS, ranked
from scnlm.train import LMTrainConfig, train
from vse.data.datasets import Dataset, read_dataset
from vse.data.part_of_speech import tag_cache
from vse.data.vocabulary import tokenize
from vse.runs import fusion

SEEDS = (0, 1, 2)
TUNED = 400  # dev images that weights are tuned on
HELD_OUT = 200  # dev images after those, on which `parts` measures
TESTED = {  # rows of `test`: what they are, and the vote of the best-scored candidates
    "test-pipeline": ("SC-NLM, the full pipeline", CaptionConfig().vote),
    "test-no-vote": ("SC-NLM, without the vote", 0.0),
}


def caption_set(seed: int, dataset: Dataset) -> Path:
    """The folder of the caption set of this seed, trained and tuned first where it is not there."""
    folder = RUNS / f"set-{seed}"
    if (folder / WEIGHTS).is_file():
        return folder
    extra = extra_text(dataset)
    run, arpa = RUNS / f"scnlm-{seed}", RUNS / TRIGRAM
    # The extra text makes better sentences, but Flickr30K's: on dev captions lose 4 of CIDEr by it.
    train(
        LMTrainConfig(), dataset, vse.load(ENCODER), run,
        tag_cache=tag_cache(find_data("flickr8k")), seed=seed, resume=True,
    )  # fmt: skip
    if not arpa.exists():
        captions = dataset.split("train").captions + extra.captions
        estimate([t for t in map(tokenize, captions) if t], 3, [0, 1, 1]).write_arpa(arpa)
    shutil.rmtree(folder, ignore_errors=True)  # what a killed call may have left
    assemble(dataset, features_of(EXPERIMENTS["best"]), Path(ENCODER), run, arpa, folder, images=TUNED)
    return folder


def images_of(captioner: Captioner, split: Dataset) -> np.ndarray:
    """Points of a split's images."""
    return captioner.encoder.encode_images(features_of(EXPERIMENTS["best"]).take(split.images))


def test(dataset: Dataset) -> None:
    """The final row, with and without the vote: five references, 1000 images, mean and sd over seeds."""
    split = dataset.split("test")
    references = reference_texts(split)
    config = CaptionConfig()
    best: dict[str, list[dict]] = {name: [] for name in TESTED}  # of each row each seed's captions
    for seed in SEEDS:
        captioner = Captioner.load(caption_set(seed, dataset))
        images = images_of(captioner, split)
        for name in TESTED:
            best[name].append({"seed": seed, "captions": []})
        for i in tqdm(range(len(images)), desc=f"captions, seed {seed}", unit="image", disable=None):
            (candidates,) = captioner.candidates(images[i : i + 1], config, seed)
            for name, (_, vote) in TESTED.items():
                best[name][-1]["captions"].append(ranked(candidates, captioner.weights, vote)[0].text)
    for name, (about, _) in TESTED.items():
        rows = [{"seed": row["seed"]} | evaluate_captions(references, row["captions"]) for row in best[name]]
        _write(name, about, "test", rows)
        save_texts(f"captions-{name}", "test", split.images, best[name])
    sentences = dataset.split("train").captions
    nearest = [" ".join(tokenize(sentences[i])) for i in nearest_sentences(captioner, sentences, images)]
    _write("test-nearest", "nearest training sentence", "test", [evaluate_captions(references, nearest)])


class _Parts:
    """What each part brings, seed 0, on dev images that nothing was tuned on; weights tuned anew for each row."""

    def __init__(self, dataset: Dataset):
        split = dataset.split("dev")
        self.captioner, self.cider = Captioner.load(caption_set(0, dataset)), Cider(references_of(split))
        self.tuned, self.held = range(TUNED), range(TUNED, TUNED + HELD_OUT)
        self.names = list(split.images[: TUNED + HELD_OUT])
        self.seen = features_of(EXPERIMENTS["best"]).take(self.names)
        self.images = self.captioner.encoder.encode_images(self.seen)
        self.held_texts = reference_texts(split)[TUNED : TUNED + HELD_OUT]

    def pools(
        self, captioner: Captioner, config: CaptionConfig, image_ids: Sequence[int]
    ) -> dict[int, tuple[list, np.ndarray]]:
        """Of each image its candidates and their CIDEr."""
        pools = {}
        for i in tqdm(image_ids, desc=f"{config.candidates} candidates", unit="image", disable=None):
            (candidates,) = captioner.candidates(self.images[i : i + 1], config, seen=self.seen[i : i + 1])
            pools[i] = candidates, self.cider.scores(i, [c.tokens for c in candidates])
        return pools

    def row(
        self, name: str, about: str, pool: dict, without: Sequence[str] | None = (), vote: float = CaptionConfig().vote
    ) -> None:
        """Tunes the weights that are not left out (None: takes those of the set), writes the held-out images' row."""
        weights = self.captioner.weights
        if without is not None:
            weights = tune(*zip(*((parts(pool[i][0]), pool[i][1]) for i in self.tuned), strict=True), without)[0]
        self.write(name, about, [ranked(pool[i][0], weights, vote)[0].text for i in self.held], weights)

    def write(self, name: str, about: str, captions: list[str], weights: Weights | None = None) -> None:
        """Writes the row of captions of the held-out images."""
        settings = dataclasses.asdict(weights) if weights else None
        which = "matching" if name == "matching" else "parts"
        _write(f"part-{name}", about, "dev", [evaluate_captions(self.held_texts, captions)], settings, which)
        names = [self.names[i] for i in self.held]
        save_texts(f"captions-part-{name}", "dev", names, [{"seed": 0, "captions": captions}])


def ablations(dataset: Dataset) -> None:
    """All rows of the parts that a caption set always has."""
    parts_of = _Parts(dataset)
    captioner, held, row, write = parts_of.captioner, parts_of.held, parts_of.row, parts_of.write
    both = [*parts_of.tuned, *held]

    full = parts_of.pools(captioner, CaptionConfig(), both)
    row("full", "the full pipeline", full)
    row("no-trigram", "without the trigram", full, ("trigram",))
    row("no-translation", "without the translation score", full, ("translation", "concepts"))
    row("no-bag", "without the cosine to the bag of concepts", full, ("concepts",))
    row("no-decoder", "without the decoder's own log P", full, ("decoder", "structure"))
    row("no-structure", "without the structure's log P", full, ("structure",))
    row("no-vote", "without the vote of the best", full, vote=0.0)
    write("no-reranking", "without reranking: one sampled candidate", [_first(full[i][0], 1)[0].text for i in held])
    write("oracle", "oracle: the best of the 1000 by CIDEr", [full[i][0][int(full[i][1].argmax())].text for i in held])
    only = parts_of.pools(captioner, CaptionConfig(contents=("image",)), both)
    row("no-concepts", "without any bag of concepts", only, ("concepts",))
    lm = language_model.load(RUNS / "perplexity-multiplicative")
    folder = caption_set(0, dataset)
    plain = Captioner(vse.load(folder / ENCODER_PART), lm, captioner.bank, Trigram(folder / TRIGRAM), captioner.weights)
    drawn = parts_of.pools(plain, CaptionConfig(structured=False), both)
    row("multiplicative", "multiplicative LM, no structure", drawn, ("structure",))
    many = parts_of.pools(captioner, CaptionConfig(candidates=5000), held)
    for count in (10, 100, 5000):
        pool = {i: ((few := _first(many[i][0], count)), np.empty(len(few))) for i in held}
        row(f"candidates-{count}", f"{count} candidates", pool, None)


def matching(dataset: Dataset) -> None:
    """The full pipeline with the logit of a fusion transformer, which `experiments.reranking` trained, in its score."""
    own = _Parts(dataset)
    set_ = own.captioner
    reader = fusion.load(RUNS / f"fusion-{READER}-0")
    reading = Captioner(set_.encoder, set_.lm, set_.bank, set_.trigram, set_.weights, reader)
    pool = own.pools(reading, CaptionConfig(), [*own.tuned, *own.held])
    own.row("matching", "with the matching logit of a fusion transformer", pool)


def votes(dataset: Dataset) -> None:
    """The shipped set on the held-out dev photos: by score alone, by the vote, by the vote of the others only."""
    split, captioner = dataset.split("dev"), Captioner.load(shipped_set())
    held = range(TUNED, TUNED + HELD_OUT)
    references = reference_texts(split)[TUNED : TUNED + HELD_OUT]
    points = captioner.encoder.encode_images([split.path(i) for i in held])  # from the files, as `scnlm caption`
    captions: dict[str, list[str]] = {"none": [], "all": [], "others": []}
    for point in tqdm(points, desc="captions", unit="image", disable=None):
        (candidates,) = captioner.candidates(point[None], CaptionConfig())
        order = ranked(candidates, captioner.weights, CaptionConfig().vote)
        captions["none"].append(ranked(candidates, captioner.weights)[0].text)
        captions["all"].append(order[0].text)
        captions["others"].append(max(order[:VOTERS], key=lambda c: c.agreement).text)
    for name, about in (
        ("none", "by score alone"),
        ("all", "the vote, a candidate's own share counted"),
        ("others", "the vote of the others only"),
    ):
        _write(f"vote-{name}", about, "dev", [evaluate_captions(references, captions[name])], which="vote")


def _first(candidates: list[Candidate], count: int) -> list[Candidate]:
    """Those that are among the first `count` draws."""
    return [c for c in candidates if c.draw < count]


def _write(
    name: str, about: str, split: str, rows: list[dict], weights: dict | None = None, which: str = "parts"
) -> None:
    figures = over_seeds(rows)
    results.write(f"captions-{name}", {
        "about": about, **origin(f"captions {'test' if split == 'test' else which}"), "split": split,
        "images": 1000 if split == "test" else HELD_OUT, "weights": weights, "rows": rows, "metrics": figures,
    })  # fmt: skip
    print(name, means(figures), flush=True)


WORK = {"test": test, "parts": ablations, "matching": matching, "vote": votes}


def _run(names: list[str], seeds: list[int] | None) -> None:
    dataset = read_dataset(find_data("flickr8k"))
    for seed in seeds or ():
        caption_set(seed, dataset)
    for name in names if not seeds else ():
        WORK[name](dataset)


def main() -> int:
    return results.main("captions", __doc__, _run, {
        "names": {"nargs": "+", "choices": WORK, "metavar": "NAME", "help": ", ".join(WORK)},
        "--seeds": {
            "nargs": "+", "type": int, "metavar": "SEED", "help": "only train and tune these seeds' sets"
        },
    })  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
