"""What structure and content buy: `python -m experiments.perplexity NAME...` writes a row of the perplexity table.

NAME is a key of ROWS, or `all`. Every row predicts the same words: the vocabulary is that of Flickr8K's training
captions (5 times or more), all others are one word <unk>, the end of a sentence counts. Chosen on dev, test read once.
The SC-NLM is told the caption's tags, later ones too: its log P(sentence | structure, u) is no probability of a
sentence. Added to it is log P(structure) under a trigram of the training captions' tags; the sum is to be compared.
"""

import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

import vse
from experiments import RUNS, find_data, results
from experiments.results import changed, commit, origin, path_of
from scnlm import language_model
from scnlm.data import TaggedText
from scnlm.language_model import LanguageModel
from scnlm.rerank.kneser_ney import FALLBACK
from scnlm.rerank.trigram import Trigram, estimate
from scnlm.train import LMTrainConfig, embed, nats_per_word, train
from vse.data.datasets import Dataset, read_dataset, without_evaluated
from vse.data.part_of_speech import tag_cache, tag_captions
from vse.data.vocabulary import Vocabulary, tokenize
from vse.system.errors import InputError
from vse.system.files import read_json

ENCODER = "models/flickr8k/vse"
EXTRA = "flickr30k/dataset_flickr30k.json"
SPLITS = ("dev", "test")


@dataclass(frozen=True)
class Perplexity:
    """A row: a model with changes to `LMTrainConfig`, with or without the extra text."""

    about: str
    changes: dict = field(default_factory=dict)  # {"lm.tag_context": 3}
    extra: bool = False


def _row(about: str, extra: bool = False, **changes) -> Perplexity:
    epochs = 2 if extra else 6  # the extra text is five times the data set's
    settings = {"epochs": epochs, "content": "caption", "content_noise": 0.0}  # the paper's u
    return Perplexity(about, settings | {k.replace("__", "."): v for k, v in changes.items()}, extra)


ROWS: dict[str, Perplexity] = {
    "trigram": Perplexity("Kneser-Ney trigram"),
    "lbl": _row("LBL", lm__model="lbl"),
    "multiplicative": _row("multiplicative LM", lm__model="multiplicative"),
    "scnlm-k0": _row("SC-NLM, k = 0", lm__tag_context=0),
    "scnlm-k1": _row("SC-NLM, k = 1", lm__tag_context=1),
    "scnlm-k2": _row("SC-NLM, k = 2"),
    "scnlm-k3": _row("SC-NLM, k = 3", lm__tag_context=3),
    "scnlm-fine": _row("SC-NLM, k = 2, Penn tags", tag_set="fine"),
    "trigram-extra": Perplexity("Kneser-Ney trigram", extra=True),
    "lbl-extra": _row("LBL", True, lm__model="lbl"),
    "multiplicative-extra": _row("multiplicative LM", True, lm__model="multiplicative"),
    "scnlm-extra": _row("SC-NLM, k = 2", True),
}


def run(name: str) -> dict:
    """The result of one row, written to results/perplexity-NAME.json."""
    row, (dataset, extra) = ROWS[name], _texts(name)
    if name.startswith("trigram"):
        figures = _trigram(dataset, extra)
    else:
        config = changed(LMTrainConfig(), row.changes)
        cache, out = tag_cache(find_data("flickr8k")), RUNS / f"perplexity-{name}"
        encoder = vse.load(ENCODER)
        train(config, dataset, encoder, out, tag_cache=cache, extra_text=extra, resume=True)
        figures = _model(language_model.load(out), dataset, encoder, cache)
        if config.lm.model == "scnlm":
            figures = _with_structures(figures, config, dataset, extra)
    return results.write(f"perplexity-{name}", {
        "name": name, "about": row.about, "extra": row.extra, "changes": row.changes,
        **origin(f"perplexity {name}"), **figures,
    })  # fmt: skip


def add_structures(name: str) -> dict:
    """The result of a row that is there, log P(structure) measured anew and written; needs no run."""
    path = path_of(f"perplexity-{name}")
    if not path.is_file():
        raise InputError(f"{path}: not there; measure the row first: python -m experiments.perplexity {name}")
    result, config = read_json(path), changed(LMTrainConfig(), ROWS[name].changes)
    if not name.startswith("trigram") and config.lm.model == "scnlm":
        figures = _with_structures({split: result[split] for split in SPLITS}, config, *_texts(name))
        result |= figures | {"structures_commit": commit()}
        results.write(path.stem, result)
    return result


def _texts(name: str) -> tuple[Dataset, Dataset | None]:
    """The data set and the extra text of a row."""
    dataset = read_dataset(find_data("flickr8k"))
    return dataset, extra_text(dataset) if ROWS[name].extra else None


def extra_text(dataset: Dataset) -> Dataset:
    """Flickr30K without what `dataset` is evaluated on."""
    return without_evaluated(read_dataset(find_data(EXTRA)), dataset)[0]


def estimated(
    sentences: Iterable[Sequence[str]], prune: Sequence[int], fallback: Sequence[float] | None = None
) -> Trigram:
    """The Kneser-Ney trigram of lists of tokens."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "trigram.arpa"
        estimate(sentences, 3, prune, fallback).write_arpa(path)
        return Trigram(path)


def _trigram(dataset: Dataset, extra: Dataset | None) -> dict:
    """Nats a word of a trigram in which every word outside the vocabulary is the same word."""
    train_captions = dataset.split("train").captions
    vocabulary = Vocabulary.from_captions(train_captions, LMTrainConfig().min_count)

    def known(captions: tuple[str, ...]) -> list[list[str]]:
        sentences = [tokenize(caption) for caption in captions]
        return [[w if w in vocabulary else "UNK" for w in words] for words in sentences if words]

    model = estimated(known(train_captions + (extra.captions if extra else ())), [0])
    return {split: {"nats": float(np.log(model.perplexity(known(dataset.split(split).captions))))} for split in SPLITS}


def _model(lm: LanguageModel, dataset: Dataset, encoder: vse.model.VSE, cache: Path) -> dict:
    """Nats a word given u and, to a model that reads them, the captions' own tags."""
    bank, figures = lm.structures, {}
    for split in SPLITS:
        captions = [c for c in dataset.split(split).captions if tokenize(c)]
        sentences, u = [tokenize(c) for c in captions], embed(captions, encoder)
        gold = tag_captions(sentences, bank.tag_set, bank.spacy_model, cache)
        figures[split] = {"nats": _nats(lm, sentences, gold, u)}
    return figures


def _nats(lm: LanguageModel, sentences: list, tags: list, u: np.ndarray) -> float:
    device = torch.device("cpu")
    return nats_per_word(lm.model, TaggedText(sentences, tags, u, lm.vocabulary, lm.tags, device))


def _with_structures(figures: dict, config: LMTrainConfig, dataset: Dataset, extra: Dataset | None) -> dict:
    """The figures and, as "structure_nats", nats a word of the captions' tags."""
    cache = tag_cache(find_data("flickr8k"))

    def tags(captions: tuple[str, ...]) -> list[tuple[str, ...]]:
        sentences = [words for words in map(tokenize, captions) if words]
        return tag_captions(sentences, config.tag_set, config.spacy_model, cache)

    seen = tags(dataset.split("train").captions) + (tags(extra.captions) if extra else [])
    nats = structure_nats(seen, {split: tags(dataset.split(split).captions) for split in SPLITS})
    return {split: {"nats": figures[split]["nats"], "structure_nats": nats[split]} for split in SPLITS}


def structure_nats(seen: list[tuple[str, ...]], tag_lists: dict[str, list[tuple[str, ...]]]) -> dict[str, float]:
    """-log P(structure) a word, ends of sentences included, under a trigram of the tags `seen`; of each list asked for.

    A handful of tags has no counts of counts from which Kneser-Ney discounts could be estimated for single tags: those
    are KenLM's fixed ones. A tag that was never seen is <unk>.
    """
    model = estimated(seen, [0], FALLBACK)
    return {name: float(np.log(model.perplexity(tags))) for name, tags in tag_lists.items()}


def _run(names: list[str], structures: bool) -> None:
    work = add_structures if structures else run
    for name in ROWS if "all" in names else names:
        print(name, {split: dict(v) for split, v in work(name).items() if split in SPLITS}, flush=True)


def main() -> int:
    about = "only measure the structures of rows that are there anew; nothing is trained"
    return results.main("perplexity", __doc__, _run, {
        "names": {"nargs": "+", "choices": [*ROWS, "all"], "metavar": "NAME"},
        "--structures": {"action": "store_true", "help": about},
    })  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
