"""The training loop of the language models (section 2.5): text alone, u the frozen encoder's embedding of the caption.

As in vse/train.py, an epoch is a pure function of (config, seed, epoch, state before it), so that a run that was
killed goes on to the weights of an uninterrupted one.
"""

import dataclasses
import time
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import nn
from tqdm import tqdm

from scnlm import language_model
from scnlm.configs import LMTrainConfig
from scnlm.data import TaggedText, TextBatch
from scnlm.language_model import LanguageModel
from scnlm.structure import StructureBank, TagVocabulary
from scnlm.tags import tag_captions
from vse.data.datasets import Dataset
from vse.data.vocabulary import SPECIALS, Vocabulary, cut_long, tokenize
from vse.model import VSE
from vse.runs import checkpoint
from vse.runs.log import RunLog
from vse.runs.optimizer import make_optimizer, set_learning_rate
from vse.runs.resumed import check_modules, check_optimizer, counters_of, precision_for
from vse.system.device import find_device
from vse.system.errors import InputError
from vse.system.files import locked, write_json
from vse.system.precision import autocast, describe_device


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
    found = find_device(device)
    with locked(out), torch.random.fork_rng():
        checkpoint.claim(out, settings, resume)
        settings["precision"] = precision_for(out, config.precision, found)  # not compared
        training = _Training(config, dataset, encoder, out, tag_cache, extra_text, seed, found, settings)
        return training.run(stop_after)


def nats_per_word(model: nn.Module, text: TaggedText) -> float:
    """-log P of a word or an end of sentence, the mean over all of `text`; float32, no dropout, no noise."""
    model.eval()
    total = 0.0
    with torch.inference_mode():
        for batch in text.in_order():
            total += batch_loss(model, batch).item() * int(batch.inside.sum())
    return total / text.words


class _Training:
    """The state of one run: model, optimizer, and what is best so far."""

    def __init__(self, config, dataset, encoder, out, tag_cache, extra_text, seed, device, settings):
        self.config, self.out, self.seed, self.settings, self.device = config, out, seed, settings, device
        self.precision = settings["precision"]
        tqdm.write(f"precision: {self.precision}, on {describe_device(device)}")
        train_split, dev = dataset.split("train"), dataset.split("dev")
        own = len(train_split.captions)
        captions = [train_split.captions, dev.captions]
        owners = [train_split.image_of_caption, dev.image_of_caption]
        if extra_text:
            captions[0] = captions[0] + extra_text.captions
            owners[0] = np.concatenate([owners[0], extra_text.image_of_caption + len(train_split.images)])
        sentences = [cut_long([tokenize(caption) for caption in split]) for split in captions]
        tags = [tag_captions(s, config.tag_set, config.spacy_model, tag_cache) for s in sentences]
        vocabulary = Vocabulary.from_captions(train_split.captions, config.min_count)
        tag_vocabulary = TagVocabulary.from_tags(tags[0][:own], config.tag_set)
        bank = StructureBank.from_tags(tags[0][:own], tag_set=config.tag_set, spacy_model=config.spacy_model)
        if len(vocabulary) == len(SPECIALS):
            raise InputError(f"min_count = {config.min_count}: no word of the training captions is as frequent")
        texts = []
        for split, owner, words, own_tags in zip(captions, owners, sentences, tags, strict=True):
            kept = [i for i, tokens in enumerate(words) if tokens]
            u = embed([split[i] for i in kept], encoder)
            u = mean_of_each(u, owner[kept]) if config.content == "image" else u
            pick = [words[i] for i in kept], [own_tags[i] for i in kept]
            texts.append(TaggedText(*pick, u, vocabulary, tag_vocabulary, device))
        self.text, self.dev = texts
        torch.manual_seed(seed)
        dim = encoder.config.embed_dim
        self.lm = LanguageModel.make(config.lm, vocabulary, bank, tag_vocabulary, dim, encoder.fingerprint)
        self.model = self.lm.model.to(device)
        self.parameters = dict(self.model.named_parameters())
        self.optimizer = make_optimizer(config, list(self.parameters.values()))
        self.epoch, self.best_nats, self.best_epoch = 0, float("inf"), 0

    def run(self, stop_after: int | None) -> float:
        self._restore()
        log = RunLog(self.out) if self.epoch < self.config.epochs else None
        while self.epoch < self.config.epochs and (stop_after is None or self.epoch < stop_after):
            start = time.perf_counter()
            loss = self._train_epoch()
            seconds = time.perf_counter() - start
            nats = nats_per_word(self.model, self.dev)
            if not np.isfinite(nats + loss):
                kept = f"the best epoch, {self.best_epoch}, is kept" if self.best_epoch else "nothing was saved"
                what = f"the training diverged in epoch {self.epoch + 1}; {kept}"
                raise InputError(f"{self.out}: {what}; give a lower learning_rate {self.config.learning_rate:g}")
            self.epoch += 1
            self._record(loss, nats, seconds, log)
        if log:
            log.close()
        return self._finish()

    def _train_epoch(self) -> float:
        """The mean loss of one epoch, nats a word."""
        config, steps = self.config, self.text.steps(self.config.batch_size)
        torch.manual_seed(int(np.random.SeedSequence((self.seed, self.epoch)).generate_state(1)[0]))
        self.model.train()
        total, words = torch.zeros((), device=self.device), 0
        bar = tqdm(total=steps, desc=f"epoch {self.epoch + 1}/{config.epochs}", unit="step", leave=False, disable=None)
        for step, batch in enumerate(self.text.epoch(config.batch_size, self.seed, self.epoch)):
            if config.content_noise:
                batch = dataclasses.replace(batch, u=noisy(batch.u, config.content_noise))
            with autocast(self.precision, self.device):
                loss = batch_loss(self.model, batch)
            self.optimizer.zero_grad()
            loss.backward()
            if config.gradient_norm:
                nn.utils.clip_grad_norm_(self.parameters.values(), config.gradient_norm)
            set_learning_rate(self.optimizer, config, self.epoch * steps + step, steps)
            self.optimizer.step()
            count = int(batch.inside.sum())
            total, words = total + loss.detach() * count, words + count
            bar.update()
        bar.close()
        return total.item() / words

    def _record(self, loss: float, nats: float, seconds: float, log: RunLog) -> None:
        """Says and logs the epoch; the checkpoint last, so that a kill before it repeats the epoch."""
        rate = len(self.text) / seconds
        tqdm.write(f"epoch {self.epoch:3d}  train {loss:.4f}  dev {nats:.4f} nats a word, perplexity"
                   f" {np.exp(nats):.2f}  {seconds:.0f} s, {rate:.0f} captions/s")  # fmt: skip
        line = {"epoch": self.epoch, "loss": loss, "seconds": seconds, "captions_per_s": rate,
                "learning_rate": self.optimizer.param_groups[0]["lr"], "dev": {"nats": nats}}  # fmt: skip
        log.epoch(line)
        if nats < self.best_nats:
            self.best_nats, self.best_epoch = nats, self.epoch
            language_model.save(self.out, self.lm, self.settings)
        tensors = {f"model/{name}": p for name, p in self.parameters.items()}
        for name, parameter in self.parameters.items():
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer/{name}/{key}"] = value
        counters = {"epoch": self.epoch, "best_nats": self.best_nats, "best_epoch": self.best_epoch}
        checkpoint.save_resume(self.out, tensors, counters)

    def _restore(self) -> None:
        saved = checkpoint.load_resume(self.out)
        if saved is None:
            if (self.out / "metrics.json").is_file():
                self.epoch = self.config.epochs
            return
        tensors, counters = saved
        path, part = self.out / checkpoint.RESUME, {"model": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            kind, _, rest = name.partition("/")
            part.setdefault(kind, {})[rest] = tensor
        check_modules(part, {"model": self.model}, path)
        check_optimizer(part["optimizer"], self.parameters, path)
        for name, tensor in part["model"].items():
            self.parameters[name].data.copy_(tensor)
        for name, tensor in part["optimizer"].items():
            parameter, key = name.rsplit("/", 1)
            # Adam's step counter lives on the CPU, whatever the device
            value = tensor if key == "step" else tensor.to(self.device)
            self.optimizer.state[self.parameters[parameter]][key] = value
        self.epoch, self.best_nats, self.best_epoch = counters_of(counters, ("epoch", "best_nats", "best_epoch"), path)
        tqdm.write(f"resumed after epoch {self.epoch}")

    def _finish(self) -> float:
        """Writes metrics.json of the best epoch; a finished run keeps no resume state."""
        best = language_model.load(self.out, str(self.device))
        nats = nats_per_word(best.model, self.dev)
        if self.epoch >= self.config.epochs and (self.out / checkpoint.RESUME).is_file():
            write_json(self.out / "metrics.json", {"best_epoch": self.best_epoch, "dev": {"nats": nats}})
            (self.out / checkpoint.RESUME).unlink()
        return nats


def embed(captions: list[str], encoder: VSE) -> np.ndarray:
    """(n, D) content vectors of captions, in blocks with a progress bar."""
    blocks = range(0, max(1, len(captions)), 5000)  # none at all become (0, D)
    bar = tqdm(blocks, desc="embed captions", leave=False, disable=None)
    return np.concatenate([encoder.encode_texts(captions[i : i + 5000]).astype(np.float16) for i in bar])


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
