"""The training loop of the language models (section 2.5): text alone, u the frozen encoder's embedding of the caption.

As in vse/train.py, an epoch is a pure function of (config, seed, epoch, state before it), so that a run that was
killed goes on to the weights of an uninterrupted one.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float16, Int
from torch import nn

from scnlm import language_model
from scnlm.configs import LMTrainConfig
from scnlm.data import TaggedText, TextBatch
from scnlm.language_model import LanguageModel
from scnlm.structure import StructureBank, TagVocabulary
from vse.data.datasets import Dataset
from vse.data.part_of_speech import tag_captions
from vse.data.vocabulary import SPECIALS, Vocabulary, cut_long, tokenize
from vse.model import VSE
from vse.runs.distributed import Place
from vse.runs.loop import Measured, Run, claimed
from vse.system.device import find_device
from vse.system.errors import InputError
from vse.system.precision import autocast


def train(
    config: LMTrainConfig,
    dataset: Dataset,
    encoder: VSE,
    out: Path,
    *,
    tag_cache: Path | None = None,
    extra_text: Dataset | None = None,
    seed: int = 0,
    resume: bool = False,
    device: str = "auto",
    stop_after: int | None = None,
) -> float:
    """Nats a word on dev of the best epoch's model, which `language_model.load(out)` then gives.

    `extra_text`: captions without photos, trained on beside the data set's own; the vocabulary and the structures
    stay those of the data set. Raises InputError for a run folder that is in use or of other settings or data.
    """
    settings = {
        "train": dataclasses.asdict(config), "seed": seed, "data": dataset.name,
        "data_fingerprint": dataset.fingerprint(), "encoder": encoder.fingerprint,
        "extra_text": extra_text.fingerprint() if extra_text else None,
    }  # fmt: skip
    place = Place(0, 1, find_device(device))
    with claimed(out, settings, config, resume, place) as settings:
        training = _Training(config, dataset, encoder, out, tag_cache, extra_text, seed, place, settings)
        run = training.run
        run.fit(training.epoch, training.measure, training.save, len(training.text), stop_after)
        nats = nats_per_word(language_model.load(out, str(place.device)).model, training.dev)
        run.finish({"nats": nats})
        return nats


def nats_per_word(model: nn.Module, text: TaggedText) -> float:
    """-log P of a word or an end of sentence, the mean over all of `text`; float32, no dropout, no noise."""
    model.eval()
    total = 0.0
    with torch.inference_mode():
        for batch in text.in_order():
            total += batch_loss(model, batch).item() * int(batch.inside.sum())
    return total / text.words


class _Training:
    """What is learned from and what learns: tagged captions with their u, and the model of one run."""

    def __init__(self, config, dataset, encoder, out, tag_cache, extra_text, seed, place, settings):
        self.config, self.out, self.seed, self.settings = config, out, seed, settings
        self.device, self.precision = place.device, settings["precision"]
        train_split, dev = dataset.split("train"), dataset.split("dev")
        caption_count = len(train_split.captions)
        captions = [train_split.captions, dev.captions]
        owners = [train_split.image_of_caption, dev.image_of_caption]
        if extra_text:
            captions[0] = captions[0] + extra_text.captions
            owners[0] = np.concatenate([owners[0], extra_text.image_of_caption + len(train_split.images)])
        sentences = [cut_long([tokenize(caption) for caption in split]) for split in captions]
        tagged = config.tag_set != "none"
        tags = [tag_captions(s, config.tag_set, config.spacy_model, tag_cache) if tagged else None for s in sentences]
        vocabulary = Vocabulary.from_captions(train_split.captions, config.min_count)
        tag_vocabulary = bank = None
        if tagged:
            tag_vocabulary = TagVocabulary.from_tags(tags[0][:caption_count], config.tag_set)
            bank = StructureBank.from_tags(
                tags[0][:caption_count], tag_set=config.tag_set, spacy_model=config.spacy_model
            )
        if len(vocabulary) == len(SPECIALS):
            raise InputError(f"min_count = {config.min_count}: no word of the training captions is as frequent")
        texts = []
        for split, owner, words, own_tags in zip(captions, owners, sentences, tags, strict=True):
            nonempty = [i for i, tokens in enumerate(words) if tokens]
            u = embed([split[i] for i in nonempty], encoder)
            u = mean_of_each(u, owner[nonempty]) if config.content == "image" else u
            pick = [words[i] for i in nonempty], [own_tags[i] for i in nonempty] if tagged else None
            texts.append(TaggedText(*pick, u, vocabulary, tag_vocabulary, self.device))
        self.text, self.dev = texts
        torch.manual_seed(seed)
        dim = encoder.config.embed_dim
        self.lm = LanguageModel.make(config.lm, vocabulary, bank, tag_vocabulary, dim, encoder.fingerprint)
        self.model = self.lm.model.to(self.device)
        self.run = Run(
            out, config, {"model": self.model}, dict(self.model.named_parameters()), place,
            figure="nats", higher_is_better=False, parts=language_model.PARTS,
        )  # fmt: skip

    def epoch(self) -> float:
        """The mean loss of one epoch, nats per word."""
        config, run, steps = self.config, self.run, self.text.steps(self.config.batch_size)
        torch.manual_seed(int(np.random.SeedSequence((self.seed, run.epoch)).generate_state(1)[0]))
        self.model.train()
        total, words = torch.zeros((), device=self.device), 0
        batches = self.text.epoch(config.batch_size, self.seed, run.epoch)
        for step, batch in enumerate(run.progress(batches, steps)):
            if config.content_noise:
                batch = dataclasses.replace(batch, u=noisy(batch.u, config.content_noise))
            with autocast(self.precision, self.device):
                loss = batch_loss(self.model, batch)
            run.step(loss, step, steps)
            count = int(batch.inside.sum())
            total, words = total + loss.detach() * count, words + count
        return total.item() / words

    def measure(self) -> Measured:
        """Nats per word on dev."""
        nats = nats_per_word(self.model, self.dev)
        return Measured(nats, {"nats": nats}, f"{nats:.4f} nats per word, perplexity {np.exp(nats):.2f}")

    def save(self) -> None:
        """Writes the run folder."""
        language_model.save(self.out, self.lm, self.settings)


def embed(captions: Sequence[str], encoder: VSE) -> Float16[np.ndarray, "n d"]:
    """Content vectors of captions."""
    return encoder.encode_texts(captions, progress=True).astype(np.float16)


def mean_of_each(u: Float[np.ndarray, "n d"], owner: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n d"]:
    """Row i becomes the mean of all rows with the same owner, scaled to unit norm."""
    order = np.argsort(owner, kind="stable")
    _, starts, inverse = np.unique(owner[order], return_index=True, return_inverse=True)
    sums = np.add.reduceat(u[order].astype(np.float32), starts, axis=0)
    sums /= np.linalg.norm(sums, axis=1, keepdims=True)
    out = np.empty_like(u)
    out[order] = sums[inverse]
    return out


def noisy(u: torch.Tensor, size: float) -> torch.Tensor:
    """u plus Gaussian noise of mean norm `size`, scaled to unit norm again."""
    return nn.functional.normalize(u + torch.randn_like(u) * (size * u.shape[1] ** -0.5), dim=1)


def batch_loss(model: nn.Module, batch: TextBatch) -> Float[torch.Tensor, ""]:
    """Mean nats a word of a batch, differentiable."""
    states = model.states(batch.tokens, batch.tags, batch.u)[batch.inside]
    return nn.functional.cross_entropy(model.logits(states).float(), batch.tokens[batch.inside])
