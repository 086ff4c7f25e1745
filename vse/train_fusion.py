"""The training of a fusion transformer: image-text matching and masked words, beside a dual encoder that stays.

As in train.py an epoch is a pure function of (config, seed, epoch, state before it). The loss of matching is
-log p(match) or -log(1 - p), the mean over a true pair, a wrong sentence and a wrong photo: ln 2 at the start; that of
words -log p(word), in nats.
"""

import dataclasses
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from vse.configs import FusionTrainConfig
from vse.data.datasets import Dataset
from vse.data.vocabulary import Vocabulary
from vse.features.store import Features
from vse.fusion import Fusion
from vse.fusion_batches import FusionBatch, FusionSet
from vse.model import VSE
from vse.rerank import Chosen, choose
from vse.runs import checkpoint, distributed
from vse.runs import fusion as fusion_runs
from vse.runs.average import Kept
from vse.runs.given import evenly, identity_of, shape_seen
from vse.runs.loop import Measured, Run, claimed, seed_of
from vse.system.errors import InputError
from vse.system.precision import autocast

GROUPS = 4  # of like length a step is read in: each pads to its own longest
_DEV_K = 10  # of the dual encoder's best are re-ranked after each epoch
CHOSEN_K = 20  # and at the end, when k and lambda are chosen


def train_fusion(
    config: FusionTrainConfig,
    dataset: Dataset,
    features: Features,
    encoder: VSE,
    out: Path,
    *,
    encoder_features: Features | None = None,
    seed: int = 0,
    start: Fusion | None = None,
    resume: bool = False,
    device: str = "auto",
    stop_after: int | None = None,
) -> Chosen:
    """What re-ranking gives on dev with the best epoch's model, which `vse.load(out)` then gives.

    `encoder`: finds what is hard to tell apart, and where words and regions begin; its vocabulary is the model's.
    `encoder_features`: those that it was trained on, where the model reads others (views, regions, CNNs).
    `start`: a fusion transformer to begin from, such as one that learned masked words alone.
    Raises InputError for a run folder that is in use or was made with other settings or data, and for an encoder that
    sees pixels or pieces of words.
    """
    place = distributed.start(device)
    if config.batch_size < 2 * place.ranks:
        raise InputError(f"batch_size {config.batch_size}: {place.ranks} processes need {2 * place.ranks} or more")
    settings = {
        "train": dataclasses.asdict(config), "seed": seed, "data": dataset.name,
        "data_fingerprint": dataset.fingerprint(), "encoder": encoder.fingerprint,
        "start": start.fingerprint if start else None, "feature_identity": identity_of(features),
    }  # fmt: skip
    if encoder_features:
        settings["encoder_feature_identity"] = identity_of(encoder_features)
    with claimed(out, settings, config, resume, place) as settings:
        training = _Training(config, dataset, features, encoder, out, seed, start, place, settings, encoder_features)
        training.run.fit(training.epoch, training.measure, training.save, len(training.data), stop_after)
        model = fusion_runs.load(out, str(place.device))
        chosen = choose(model, encoder, training.dev, features, CHOSEN_K, encoder_features, progress=True)
        if training.run.epoch >= config.epochs and place.rank == 0:
            fusion_runs.save_setting(out, chosen.setting)
        training.run.finish(chosen.row.as_dict())
        return chosen


class _Training:
    """What is learned from and what learns, of one run."""

    def __init__(self, config, dataset, features, encoder, out, seed, start, place, settings, encoder_features=None):
        self.config, self.features, self.encoder, self.out, self.seed = config, features, encoder, out, seed
        self.encoder_features = encoder_features
        self.place, self.settings, self.precision = place, settings, settings["precision"]
        if encoder.from_pixels or not isinstance(encoder.vocabulary, Vocabulary):
            raise InputError("the encoder reads pixels or pieces of words; expected features of a CNN and whole words")
        train_split, self.dev = dataset.split("train"), dataset.split("dev")
        if not self.dev.captions:
            raise InputError(f"{dataset.name}: the dev split has no captions to choose the best epoch by; add some")
        for stored in filter(None, (features, encoder_features)):
            stored.take(self.dev.images)  # a missing row is said now, not after the first epoch
        encoder.to(place.device)
        model = config.model
        sizes = model.images, model.sentences, place.device
        self.data = FusionSet(train_split, features, encoder, *sizes, encoder_features)
        torch.manual_seed(seed)
        self.model = Fusion(model, encoder.vocabulary, *shape_seen(features))
        sample = [train_split.images[i] for i in evenly(len(train_split.images))]
        self.model.start_from(encoder, features.take(sample))
        if start:
            fusion_runs.check_start(self.model, start)
            self.model.load_state_dict(start.state_dict())
        self.model.to(place.device)
        self.kept = Kept(self.model, config.average)
        self.dev_data = None  # where words alone are learned, dev says how well they are guessed
        if not config.matching:
            self.dev_data = FusionSet(self.dev, features, encoder, *sizes, encoder_features)
        parameters = {f"model.{name}": part for name, part in self.model.named_parameters() if part.numel()}
        self.run = Run(
            out, config, self.kept.modules, parameters, place, figure="rsum" if config.matching else "nats",
            higher_is_better=bool(config.matching), parts=checkpoint.PARTS,
        )  # fmt: skip

    def epoch(self) -> float:
        """The mean loss of one epoch."""
        config, run, place = self.config, self.run, self.place
        steps = self.data.steps(config.batch_size)
        torch.manual_seed(seed_of(self.seed, run.epoch, place.rank))  # dropout
        self.model.train()
        total = torch.zeros((), device=place.device)
        batches = self.data.epoch(config, self.seed, run.epoch, place.rank, place.ranks)
        for step, batch in enumerate(run.progress(batches, steps)):
            loss = total.new_zeros(())
            if config.matching:
                loss = loss + config.matching * self.matching(batch)
            if config.words:
                loss = loss + config.words * self.words(self.data, self.model, batch) / batch.guesses.clamp(min=1)
            run.step(loss, step, steps)
            self.kept.follow(run.epoch * steps + step)
            total += loss.detach()
        return distributed.added(total, place.ranks).item() / steps  # each rank has its share of every batch

    def matching(self, batch: FusionBatch) -> Tensor:
        """The loss of matching, this rank's part of it."""
        total = torch.zeros((), device=self.place.device)
        for rows in self.data.data.lengths[batch.captions].amax(1).argsort().chunk(GROUPS):
            tokens, lengths = self.data.sentences(batch.captions[rows])
            with autocast(self.precision, self.place.device):
                images = self.model.embed_images(self.data.features_of(batch.photos[rows], batch.views[rows]))
                logits = self.model.matching(images, *self.model.embed_texts(tokens, lengths))
            total = total + binary_cross_entropy_with_logits(logits, batch.matching[rows], reduction="sum")
        return total / batch.pairs

    def words(self, data: FusionSet, model: Fusion, batch: FusionBatch) -> Tensor:
        """The sum of -log p of the words to guess, in true pairs."""
        masked, b = batch.masked, len(batch.masked.tokens)
        tokens, lengths = data.sentences(batch.captions[:b])
        hidden = torch.zeros_like(tokens, dtype=torch.bool)
        read, guessed = tokens.clone(), hidden.clone()
        # Of a rank's share they may be wider than its longest sentence, or narrower where others are longer.
        t = min(masked.tokens.shape[1], tokens.shape[2])
        read[:, 0, :t], hidden[:, 0, :t], guessed[:, 0, :t] = (
            part[:, :t] for part in (masked.tokens, masked.hidden, masked.guessed)
        )
        with autocast(self.precision, self.place.device):
            images = model.embed_images(data.features_of(batch.photos[:b], batch.views[:b]))
            states = model.word_states(images, *model.embed_texts(read, lengths, hidden))
            guessed = guessed[:, 0, : states.shape[1]]
            logits = model.word_logits(states[guessed])
        return cross_entropy(logits.float(), tokens[:, 0, : states.shape[1]][guessed], reduction="sum")

    def measure(self) -> Measured:
        """The re-ranked dev row of the model that would be kept, or nats a guessed word where words alone are learned.

        The same words are guessed after each epoch.
        """
        model = self.kept.model.eval()
        if self.dev_data is None:
            row = choose(model, self.encoder, self.dev, self.features, _DEV_K, self.encoder_features).row
            return Measured(row.rsum, row.as_dict(), row.summary())
        total, guesses = 0.0, 0
        with torch.inference_mode():
            for batch in self.dev_data.epoch(self.config, 0, 0):
                total += self.words(self.dev_data, model, batch).item()
                guesses += int(batch.guesses)
        nats = total / max(1, guesses)
        return Measured(nats, {"nats": nats}, f"{nats:.4f} nats a guessed word")

    def save(self) -> None:
        """Writes the run folder."""
        fusion_runs.save(self.out, self.kept.model, self.settings)
