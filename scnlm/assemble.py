"""Makes a caption set of trained parts, with the weights of the score tuned on dev by CIDEr (supplement, 5.2).

The paper set the weights by hand. What a set holds is in caption.py.
"""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
from tqdm import tqdm

from scnlm import language_model
from scnlm.caption import CONCEPTS, DECODER, ENCODER, TRIGRAM, WEIGHTS, CaptionConfig, Captioner
from scnlm.cider import Cider
from scnlm.concepts import SentenceBank
from scnlm.language_model import STRUCTURES
from scnlm.rerank import Weights, parts, tune
from scnlm.trigram import Trigram
from vse import checkpoint
from vse.datasets import Dataset
from vse.errors import InputError
from vse.files import write_bytes, write_json
from vse.image_features import Features
from vse.model import VSE
from vse.vocabulary import tokenize


def assemble(
    dataset: Dataset,
    features: Features,
    encoder: Path,
    decoder: Path,
    trigram: Path,
    out: Path,
    *,
    images: int = 300,
    config: CaptionConfig | None = None,
    seed: int = 0,
) -> tuple[Weights, float]:
    """(weights, CIDEr they reach on the first `images` dev images), after writing the caption set `out`.

    Raises InputError for a folder that is not empty and for parts that do not belong together. Nothing is written
    before the weights are found.
    """
    if images < 1:
        raise InputError(f"{images} dev images: expected 1 or more to tune the weights on")
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: not empty; give another --out")
    model, lm, dev = checkpoint.load(encoder), language_model.load(decoder), dataset.split("dev")
    lm.check_encoder(model.config.embed_dim, model.fingerprint)  # before minutes of embedding
    ngrams, config = Trigram(trigram), config or CaptionConfig()
    bank = bank_of(dataset, model)
    weights, gain = tune_weights(Captioner(model, lm, bank, ngrams, Weights()), dev, features, images, config, seed)
    about = {"dev_images": min(images, len(dev.images)), "cider": 100 * gain, "candidates": config.candidates}
    tuned = {"weights": dataclasses.asdict(weights), "tuned_on": dataset.name, **about}
    try:
        _write(out, encoder, decoder, trigram, bank, tuned)
    except BaseException:  # a full disk, Ctrl-C: nothing stays, so that the same command works again
        shutil.rmtree(out, ignore_errors=True)
        raise
    return weights, gain


def _write(out: Path, encoder: Path, decoder: Path, trigram: Path, bank: SentenceBank, tuned: dict) -> None:
    """Writes the set, weights.json last: a folder without it is no set."""
    for run, part, names in (
        (encoder, ENCODER, (checkpoint.WEIGHTS, checkpoint.CONFIG, checkpoint.WORDS)),
        (decoder, DECODER, (checkpoint.WEIGHTS, checkpoint.CONFIG, checkpoint.WORDS, STRUCTURES)),
    ):
        for name in (*names, "metrics.json"):
            if (run / name).is_file():
                write_bytes(out / part / name, (run / name).read_bytes())
    write_bytes(out / TRIGRAM, trigram.read_bytes())
    bank.save(out / CONCEPTS)
    write_json(out / WEIGHTS, tuned)


def bank_of(dataset: Dataset, model: VSE) -> SentenceBank:
    """The bank of the data set's training captions, embedded by `model`."""
    captions = dataset.split("train").captions
    blocks = tqdm(range(0, len(captions), 5000), desc="embed captions", leave=False, disable=None)
    return SentenceBank.from_embeddings(np.concatenate([model.encode_texts(captions[i : i + 5000]) for i in blocks]))


def tune_weights(
    captioner: Captioner, split: Dataset, features: Features, images: int, config: CaptionConfig, seed: int = 0
) -> tuple[Weights, float]:
    """(weights, CIDEr from 0 to 10) that are best on the first `images` images of a split that have captions."""
    references = references_of(split)
    asked = [i for i, own in enumerate(references) if own][:images]
    if not asked:
        raise InputError(f"{split.name}: no captions to tune the weights by; expected a dev split with some")
    cider = Cider([own or [["<none>"]] for own in references])
    points = captioner.encoder.encode_images(features.take([split.images[i] for i in asked]))
    measured, gains = [], []
    for i, point in zip(tqdm(asked, desc="tune on dev", unit="image", disable=None), points, strict=True):
        (candidates,) = captioner.candidates(point[None], config, seed)
        measured.append(parts(candidates))
        gains.append(cider.scores(i, [c.tokens for c in candidates]))
    return tune(measured, gains)


def references_of(split: Dataset) -> list[list[list[str]]]:
    """The tokenised captions of each image."""
    references = [[] for _ in split.images]
    for caption, image in zip(split.captions, split.image_of_caption, strict=True):
        if tokens := tokenize(caption):
            references[image].append(tokens)
    return references
