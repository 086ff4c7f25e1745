"""Makes a caption set of trained parts, with the weights of the score tuned on dev by CIDEr (supplement, 5.2).

The paper set the weights by hand. What a set holds is in captioner.py.
"""

import contextlib
import dataclasses
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from scnlm import git_run, language_model
from scnlm.captions.captioner import (
    CONCEPTS,
    DECODER,
    ENCODER,
    GIT_PART,
    READER,
    TRIGRAM,
    WEIGHTS,
    CaptionConfig,
    Captioner,
    bound,
)
from scnlm.language_model import STRUCTURES
from scnlm.rerank.cider import Cider
from scnlm.rerank.concepts import SentenceBank
from scnlm.rerank.score import Candidate, Weights, parts
from scnlm.rerank.trigram import Trigram
from scnlm.rerank.tuning import tune
from scnlm.rerank.vote import ranked
from vse.data.datasets import Dataset
from vse.data.vocabulary import tokenize
from vse.features.store import Features
from vse.model import VSE
from vse.runs import checkpoint, fusion
from vse.system import manifest
from vse.system.errors import InputError
from vse.system.files import LOCK, locked, write_bytes, write_json


class Tuned(NamedTuple):
    """Weights, and the CIDEr (0 to 10) that they reach on the dev images."""

    weights: Weights
    in_sample: float  # of the best-scored candidates, before the vote, on the images they were tuned on
    held_out: float  # of the captions, after the vote, each half of the images by weights of the other; nan for one

    def summary(self) -> str:
        """What is known of the quality, for people: what can be expected of other photos comes first."""
        told = f"{100 * self.held_out:.1f}" if math.isfinite(self.held_out) else "unknown (of one image)"
        return f"CIDEr {told} on dev, each half by weights of the other ({100 * self.in_sample:.1f} in sample, no vote)"


def assemble(
    dataset: Dataset,
    features: Features,
    encoder: Path,
    decoder: Path,
    trigram: Path,
    out: Path,
    *,
    reader: Path | None = None,
    git: Path | None = None,
    images: int = 300,
    config: CaptionConfig | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> Tuned:
    """The weights tuned on the first `images` dev images and their CIDEr, after writing the caption set `out`.

    `reader`: a run of `vse train-fusion` on the encoder's features, whose logit is then a part of the score; `git`: one
    of `scnlm train-git` on them, which writes candidates and whose log P is a part of the score.
    The set is made in a folder beside `out`, which is renamed when it is whole: what a kill leaves there the next call
    clears away. Raises InputError for a folder that is not empty and for parts that do not belong together.
    """
    if images < 1:
        raise InputError(f"{images} dev images: expected 1 or more to tune the weights on")
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: not empty; give another --out")
    model, lm, dev = checkpoint.load(encoder, device), language_model.load(decoder, device), dataset.split("dev")
    lm.check_encoder(model.config.embed_dim, model.fingerprint)  # before minutes of embedding
    second = fusion.load(reader, device) if reader else None
    writer = git_run.load(git, device) if git else None
    for run, other in ((reader, second), (git, writer)):
        if other and fusion.feature_names(other.feature_info) != fusion.feature_names(model.feature_info):
            raise InputError(f"{run}: it reads other features than {encoder}; give a run of the same features")
    ngrams, config = Trigram(trigram), config or CaptionConfig()
    with _unfinished(out) as folder:
        bank = bank_of(dataset, model)
        captioner = Captioner(model, lm, bank, ngrams, Weights(), second, writer)
        tuned = tune_weights(captioner, dev, features, images, config, seed)
        about = {
            "weights": dataclasses.asdict(tuned.weights), "tuned_on": dataset.name,
            "dev_images": min(images, len(dev.images)), "cider_held_out_with_vote": 100 * tuned.held_out,
            "cider_in_sample_without_vote": 100 * tuned.in_sample, "candidates": config.candidates, "vote": config.vote,
        } | ({"decoder": captioner.decoder_of(config)} if git else {})  # fmt: skip
        _write(folder, encoder, decoder, {READER: reader, GIT_PART: git}, trigram, bank, about)
    return tuned


@contextlib.contextmanager
def _unfinished(out: Path) -> Iterator[Path]:
    """A locked, empty folder beside `out`, which becomes `out` at the end; after an error nothing stays.

    Raises InputError where another process makes the same set.
    """
    out = out.resolve()  # "." and links have no name to put another beside
    folder = out.with_name(f".{out.name}.unfinished")
    with locked(folder):
        try:
            for left in folder.iterdir():  # by a call that was killed
                if left.name != LOCK:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
            yield folder
            (folder / LOCK).unlink()
            if out.exists():
                out.rmdir()  # empty, or this fails
            os.rename(folder, out)
        except BaseException:  # a full disk, Ctrl-C: the same command works again
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _write(
    folder: Path, encoder: Path, decoder: Path, more: dict[str, Path | None], trigram: Path, bank: SentenceBank,
    about: dict,
) -> None:  # fmt: skip
    """Writes the set, each manifest after what it binds."""
    model = checkpoint.WEIGHTS, checkpoint.CONFIG, checkpoint.WORDS
    runs = [(encoder, ENCODER, model), (decoder, DECODER, (*model, STRUCTURES))]
    runs += [(run, part, model) for part, run in more.items() if run]
    for run, part, names in runs:
        for name in (*names, "metrics.json"):
            if (run / name).is_file():
                write_bytes(folder / part / name, (run / name).read_bytes())
        manifest.bind(folder / part, names)
    write_bytes(folder / TRIGRAM, trigram.read_bytes())
    bank.save(folder / CONCEPTS)
    write_json(folder / WEIGHTS, about)
    manifest.bind(folder, bound(folder))


def bank_of(dataset: Dataset, model: VSE) -> SentenceBank:
    """The bank of the data set's training captions, embedded by `model`."""
    captions = dataset.split("train").captions
    return SentenceBank.from_embeddings(model.encode_texts(captions, progress=True))


def tune_weights(
    captioner: Captioner, split: Dataset, features: Features, images: int, config: CaptionConfig, seed: int = 0
) -> Tuned:
    """The weights that are best on the first `images` images of a split that have captions, and their CIDEr."""
    references = references_of(split)
    captioned = [i for i, texts in enumerate(references) if texts][:images]
    if not captioned:
        raise InputError(f"{split.name}: no captions to tune the weights by; expected a dev split with some")
    cider = Cider([texts or [["<none>"]] for texts in references])
    pool, gains = [], []
    for i in tqdm(captioned, desc="tune on dev", unit="image", disable=None):
        seen = features.take([split.images[i]])
        (candidates,) = captioner.candidates(captioner.encoder.encode_images(seen), config, seed, seen)
        pool.append(candidates)
        gains.append(cider.scores(i, [c.tokens for c in candidates]))
    # A GIT's sentences have no structure: what the other model says of its own is no measure of both.
    without = ("decoder", "structure") if captioner.git and captioner.decoder_of(config) != "scnlm" else ()
    weights, gain = tune([parts(candidates) for candidates in pool], gains, without)
    return Tuned(weights, gain, held_out_gain(pool, gains, config.vote, without))


def held_out_gain(
    pool: Sequence[Sequence[Candidate]], gains: Sequence[Float[np.ndarray, " _"]], vote: float,
    without: Sequence[str] = (),
) -> float:  # fmt: skip
    """The mean gain of the first caption after the vote, of each half of the images by the weights that are best on
    the other half; nan for a single image."""
    if len(pool) < 2:
        return math.nan
    reached = []
    for half in (0, 1):
        others = range(1 - half, len(pool), 2)
        weights, _ = tune([parts(pool[i]) for i in others], [gains[i] for i in others], without)
        for i in range(half, len(pool), 2):
            place = {candidate.tokens: j for j, candidate in enumerate(pool[i])}
            reached.append(float(gains[i][place[ranked(pool[i], weights, vote)[0].tokens]]))
    return float(np.mean(reached))


def references_of(split: Dataset) -> list[list[list[str]]]:
    """The tokenised captions of each image."""
    references = [[] for _ in split.images]
    for caption, image in zip(split.captions, split.image_of_caption, strict=True):
        if tokens := tokenize(caption):
            references[image].append(tokens)
    return references
