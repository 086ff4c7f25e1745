"""Do scores agree with people? `python -m experiments.human_judgements [NAME...]` writes rows of Kendall's tau, x 100.

`expert`: tau-c, each of the three ratings of a pair a judgement, pairs whose caption is the photo's own left out.
`crowd`: tau-b of the share of yes, all pairs; `crowd_others` without the photos' own captions. Lists and references are
those of CLIPScore's authors (Hessel et al. 2021, appendix A). Nothing is trained or tuned by these judgements.
"""

import dataclasses
import sys

import numpy as np

from experiments import RUNS, find_data, results
from experiments.caption_metrics import per_image_captions
from experiments.judgements import Judged
from experiments.perplexity import estimated
from experiments.reranking import READER
from experiments.results import means, origin, over_seeds
from experiments.rows import EXPERIMENTS
from experiments.trained import Scorer, scorers
from scnlm.rerank.concepts import Concepts, SentenceBank
from scnlm.rerank.score import Weights, repeats, weighted
from scnlm.rerank.trigram import Trigram
from vse.data.datasets import Dataset, read_dataset
from vse.data.vocabulary import tokenize
from vse.fusion import Fusion
from vse.hubs import load_hubs
from vse.runs import fusion

METRICS = {"bleu1": "BLEU-1", "bleu4": "BLEU-4", "rouge_l": "ROUGE-L", "meteor": "METEOR", "cider": "CIDEr"}
COSINES = {name: f"cosine: {EXPERIMENTS[name].about}" for name in ("paper", "linear", "best", "ensemble")}
# The score of captions by `best`, without the decoder's log P, which needs a structure; fixed weights, near those that
# dev gives. `concepts` leaves out what only says how fluent a caption is: people judged whether it describes the photo.
_FIXED = Weights(translation=1.0, concepts=1.0, repetition=0.95, trigram=0.008, length=0.04, decoder=0.0, structure=0.0)
_COSINES = dataclasses.replace(_FIXED, trigram=0.0, length=0.0, repetition=1.0)
SCORES = {
    "concepts": ("cosine to photo and bag of concepts", _COSINES),
    "trigram": ("caption score: cosine, trigram, length", dataclasses.replace(_FIXED, concepts=0.0)),
    "score": ("caption score: cosine, bag of concepts, trigram, length", _FIXED),
}
# The harmonic mean of the cosines to the photo and to the nearest reference, as RefCLIPScore.
REFERENCED = {"ensemble-references": "cosine of the ensemble, with references"}
HUBS = {"best-hubs": "cosine less hubs: one model, three CNNs"}  # what `experiments.hubs` has put into the runs
# The logit of fusion transformers that `experiments.reranking` trained; lambda is what it chose on dev.
MATCHING = {
    "matching": "matching logit",
    "matching-cosine": "matching logit + lambda cosine",
    "matching-concepts": "matching logit + lambda (cosine to photo and bag of concepts) / 2",
}
NAMES = (*COSINES, *HUBS, *REFERENCED, "scores", "matching", "metrics")
Scores = dict[str, np.ndarray]  # of each pair of both lists


def cosines(judged: Judged, scorer: Scorer) -> Scores:
    """Photo and caption."""
    cosines = scorer.images(judged.photos) @ scorer.texts(judged.texts).T
    return {name: cosines[judged.pairs(name)] for name in judged.lists}


def less_hubs(judged: Judged, scorer: Scorer) -> Scores:
    """Photo and caption, less what hub correction takes from both."""
    (model,) = scorer.models
    hubs = load_hubs(RUNS / f"best-{scorer.seed}", model)
    images, texts = scorer.images(judged.photos), scorer.texts(judged.texts)
    corrected = images @ texts.T - hubs.photos(images)[:, None] - hubs.captions(texts)[None]
    return {name: corrected[judged.pairs(name)] for name in judged.lists}


def referenced(judged: Judged, scorer: Scorer) -> Scores:
    """The harmonic mean of the cosines of a caption to the photo and to the nearest of its references."""
    texts, scores = scorer.texts(judged.texts), cosines(judged, scorer)
    between = texts @ texts.T
    for name, to_photo in scores.items():
        captions = judged.pairs(name)[1].tolist()
        nearest = [
            between[c, references].max() for c, references in zip(captions, judged.references(name), strict=True)
        ]
        to_photo, to_reference = np.maximum(to_photo, 1e-6), np.maximum(nearest, 1e-6)
        scores[name] = 2 * to_photo * to_reference / (to_photo + to_reference)
    return scores


def score_parts(judged: Judged, scorer: Scorer, training: tuple[str, ...], trigram: Trigram) -> Scores:
    """The parts of the score of captions (rerank.weighted) of each pair, 0 for the decoder's and the structure's."""
    encoder = scorer.models[0]
    bank = SentenceBank.from_embeddings(encoder.encode_texts(training))
    images, texts = scorer.images(judged.photos), scorer.texts(judged.texts).T
    bags = Concepts(encoder, bank).bags(images)
    tokens = [tokenize(text) for text in judged.texts]
    of_text = np.array(
        [[repeats(sentence) for sentence in tokens], trigram.score(tokens), [len(sentence) for sentence in tokens]]
    )
    parts = {}
    for name in judged.lists:
        photo, caption = judged.pairs(name)
        cosines = (images @ texts)[photo, caption], (bags @ texts)[photo, caption]
        parts[name] = np.stack([*cosines, *of_text[:, caption], *np.zeros((4, len(photo)))], 1)
    return parts


def metrics(judged: Judged) -> dict[str, Scores]:
    """Of each of METRICS the score of every pair of both lists; METEOR only where Java is found."""
    scores: dict[str, Scores] = {metric: {} for metric in METRICS}
    for name in judged.lists:
        references = [[judged.texts[c] for c in group] for group in judged.references(name)]
        images = per_image_captions(references, [judged.texts[c] for c in judged.pairs(name)[1].tolist()])
        for metric in METRICS:
            scores[metric][name] = images[metric]
    return {metric: of_lists for metric, of_lists in scores.items() if of_lists["expert"] is not None}


def _write(
    judged: Judged, name: str, row_name: str, about: str, rows: list[dict], weights: Weights | None = None
) -> None:
    tau = over_seeds(rows)
    results.write(f"human-{name}", {
        "name": name, "about": about, **origin(f"human_judgements {row_name}"),
        "judgements": judged.counts(), "judged_photos_in": judged.photos_in,
        "weights": dataclasses.asdict(weights) if weights else None, "rows": rows, "tau": tau,
    })  # fmt: skip
    print(name, means(tau), flush=True)


def run(row_name: str, dataset: Dataset, judged: Judged) -> None:
    """Measures and writes one row, or the rows of `metrics` or `scores`."""
    if row_name == "metrics":
        for metric, scores in metrics(judged).items():
            _write(judged, metric, row_name, METRICS[metric], [judged.agreement(scores)])
    elif row_name == "scores":
        _score_rows(dataset, judged)
    elif row_name == "matching":
        _matching_rows(dataset, judged)
    else:
        scored = referenced if row_name in REFERENCED else less_hubs if row_name in HUBS else cosines
        models = scorers(row_name.removesuffix("-references").removesuffix("-hubs"))
        rows = [{"seed": model.seed} | judged.agreement(scored(judged, model)) for model in models]
        _write(judged, row_name, row_name, (REFERENCED | HUBS | COSINES)[row_name], rows)


def _score_rows(dataset: Dataset, judged: Judged) -> None:
    """The rows of SCORES, and the mean score of the seeds' bags of concepts."""
    training = dataset.split("train").captions
    trigram = estimated([tokens for tokens in map(tokenize, training) if tokens], [0, 1, 1])
    rows: dict[str, list[dict]] = {name: [] for name in SCORES}
    summed: Scores = {key: np.zeros(len(judgements.photos)) for key, judgements in judged.lists.items()}
    for model in scorers("best"):
        parts = score_parts(judged, model, training, trigram)
        for name, (_, weights) in SCORES.items():
            scores = {key: weighted(values, weights) for key, values in parts.items()}
            rows[name].append({"seed": model.seed} | judged.agreement(scores))
            if name == "concepts":
                summed = {key: summed[key] + scores[key] for key in summed}
    for name, (about, weights) in SCORES.items():
        _write(judged, name, "scores", about, rows[name], weights)
    about, weights = SCORES["concepts"]
    _write(judged, "concepts-ensemble", "scores", f"{about}, ensemble", [judged.agreement(summed)], weights)


def matched(judged: Judged, scorer: Scorer, reader: Fusion) -> Scores:
    """The reader's logit of each pair."""
    tokens = reader.photo_tokens(scorer.features[0].take(judged.photos))
    return {
        name: reader.logits(tokens, judged.texts, np.stack(judged.pairs(name), 1), progress=True)
        for name in judged.lists
    }


def _matching_rows(dataset: Dataset, judged: Judged) -> None:
    """The rows of MATCHING."""
    training = dataset.split("train").captions
    trigram = estimated([tokens for tokens in map(tokenize, training) if tokens], [0, 1, 1])
    rows: dict[str, list[dict]] = {name: [] for name in MATCHING}
    for scorer in scorers("best"):
        run = RUNS / f"fusion-{READER}-{scorer.seed}"
        logits, weight = matched(judged, scorer, fusion.load(run)), fusion.load_setting(run).weight
        parts = score_parts(judged, scorer, training, trigram)
        for name, cosine in (
            ("matching", lambda _: 0.0),
            ("matching-cosine", lambda both: both[:, 0]),
            ("matching-concepts", lambda both: both[:, :2].mean(1)),
        ):
            scores = {key: logits[key] + weight * cosine(parts[key]) for key in logits}
            rows[name].append({"seed": scorer.seed} | judged.agreement(scores))
    for name, about in MATCHING.items():
        _write(judged, name, "matching", about, rows[name])


def _run(names: list[str]) -> None:
    names = results.asked(names, NAMES)
    dataset = read_dataset(find_data("flickr8k"))
    judged = Judged(dataset, find_data("flickr8k") / "Flickr8k_text")
    for name in names:
        run(name, dataset, judged)


def main() -> int:
    about = f"some of {', '.join(NAMES)}; all without any"
    return results.main("human_judgements", __doc__, _run, {"names": {"nargs": "*", "metavar": "NAME", "help": about}})


if __name__ == "__main__":
    sys.exit(main())
