"""The training loop of the encoder (sections 2.2 and 3.1, supplement): visible, resumable, the same bits again.

What an epoch does is a pure function of (config, seed, epoch, state before it): a run that was killed goes on from
its last whole epoch to the weights that an uninterrupted run would have.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn

from vse.batches import Batch, TextPairs, TrainingSet
from vse.configs import TrainConfig
from vse.data.datasets import Dataset
from vse.data.photos import check_photos
from vse.data.tokens import make_tokens
from vse.data.word_vectors import read_word_vectors
from vse.distillation import Teacher, distillation
from vse.evaluate import Row, evaluate
from vse.features.pictures import PhotoFiles, Photos
from vse.features.store import Features
from vse.gradient_cache import ChunkedLoss, SummedLoss
from vse.losses import MultiViewLoss, RankingLoss, make_objective
from vse.model import VSE
from vse.pixel_batches import PixelSet
from vse.runs import checkpoint, distributed
from vse.runs.average import Kept
from vse.runs.given import (
    check_crops,
    coverage,
    digest_of_tags,
    evenly,
    identity_of,
    named,
    shape_seen,
    tag_sentences_for,
)
from vse.runs.loop import Measured, Run, claimed, say, seed_of
from vse.runs.started import start_from
from vse.system.errors import InputError
from vse.system.precision import autocast
from vse.tags.sentences import Tags

_CALIBRATED = 256  # photos that the scales of tuned CNNs are measured on


def train(
    config: TrainConfig,
    dataset: Dataset,
    features: Photos,
    out: Path,
    *,
    seed: int = 0,
    word_vectors: Path | None = None,
    merges: Path | None = None,
    extra_text: Dataset | None = None,
    teachers: Sequence[tuple[VSE, Features]] = (),
    start: VSE | None = None,
    tags: Tags | None = None,
    resume: bool = False,
    device: str = "auto",
    workers: int = 0,
    stop_after: int | None = None,
) -> Row:
    """The dev row of the best epoch's model, which `vse.load(out)` then gives.

    `extra_text`: captions without photos; `config.extra_pairs` pairs of them a step pull the sentence encoder
    together by the same objective, and their words enter the vocabulary.
    `merges`: OpenAI's file, instead of merges learned from the captions (`config.model.text.tokens = "bpe"`).
    `teachers`: trained models, each with its features, whose mean score is distilled (`config.loss.distill`).
    `start`: a trained model to begin from, in place of a random start (see `start_from`); a temperature that is
    learned goes on from its own.
    `tags`: names of what is in each training photo, for steps that read its tag sentence (`config.views.tags`).
    `features`: of the photos, or their files where the model learns from pixels (`config.model.pixels`), which
    `workers` processes decode.
    `resume` goes on where a killed run with the same settings stopped, also when nothing had been saved yet;
    `stop_after` ends the call after that many epochs in all, as a kill between two epochs would.
    Raises InputError for a run folder that is in use or was made with other settings or data.
    """
    place = distributed.start(device)
    if config.batch_size < 2 * place.ranks:
        raise InputError(f"batch_size {config.batch_size}: {place.ranks} processes need {2 * place.ranks} or more")
    settings = {
        "train": dataclasses.asdict(config), "seed": seed, "data": dataset.name,
        "data_fingerprint": dataset.fingerprint(), "word_vectors": word_vectors.name if word_vectors else None,
        "word_vectors_file": named(word_vectors, "word2vec or GloVe") if word_vectors else None,
        "merges": named(merges, "OpenAI's bpe_simple_vocab_16e6.txt.gz") if merges else None,
        "extra_text": extra_text.fingerprint() if extra_text else None,
        "teachers": [model.fingerprint for model, _ in teachers],
        "start": start.fingerprint if start else None, "tags": digest_of_tags(tags) if tags else None,
        "feature_identity": identity_of(features),
    }  # fmt: skip
    with claimed(out, settings, config, resume, place) as settings:
        training = _Training(
            config, dataset, features, out, seed, word_vectors, merges, extra_text, teachers, start, tags, place,
            settings, workers,
        )  # fmt: skip
        run = training.run
        run.fit(training.epoch, training.measure, training.save, len(training.data), stop_after)
        row = evaluate([checkpoint.load(out, str(place.device))], training.dev, [features])
        run.finish(row.as_dict())
        return row


class _Training:
    """What is learned from and what learns: data, model, objective and running mean of one run."""

    def __init__(
        self, config, dataset, features, out, seed, word_vectors, merges, extra_text, teachers, start, tags, place,
        settings, workers,
    ):  # fmt: skip
        self.config, self.features, self.out, self.seed = config, features, out, seed
        self.place, self.settings, self.precision = place, settings, settings["precision"]
        train_split, self.dev = dataset.split("train"), dataset.split("dev")
        torch.manual_seed(seed)
        tag_sentences = tag_sentences_for(config, tags, train_split.images)
        text = (*train_split.captions, *(extra_text.captions if extra_text else ()), *tag_sentences)
        vocabulary = make_tokens(config, text, merges)
        self.pairs = TextPairs(extra_text, vocabulary, place.device) if extra_text and config.extra_pairs else None
        pixels = config.model.pixels
        if (pixels.tower == "none") == isinstance(features, PhotoFiles):
            expected = "the files of photos" if pixels.tower != "none" else "features of a CNN"
            raise InputError(f"pixels.tower = {pixels.tower!r}: expected {expected}, given the other")
        if config.by_photo and pixels.tower != "none":
            raise InputError("by_photo: photos are cropped anew for each caption; it is of features, leave it out")
        if isinstance(features, PhotoFiles):
            check_photos([dataset.path(i) for i in range(len(dataset.images))], dataset.images)
            self.data = PixelSet(train_split, pixels, vocabulary, place.device, workers, tag_sentences)
        else:
            check_crops(config, features)
            self.data = TrainingSet(train_split, features, vocabulary, place.device, tag_sentences)
        self.teacher = Teacher(*zip(*teachers, strict=True), train_split, place.device) if teachers else None
        if not self.data.steps(config.batch_size):
            raise InputError(f"{dataset.name}: {len(self.data)} training captions are too few to contrast")
        if not self.dev.captions:
            raise InputError(f"{dataset.name}: the dev split has no captions to choose the best epoch by; add some")
        features.take(self.dev.images)  # a missing row is said now, not after the first epoch
        self.model = VSE(config.model, vocabulary, *shape_seen(features))
        if word_vectors:
            known = self.model.set_word_vectors(read_word_vectors(word_vectors, vocabulary.ids))
            say(coverage(word_vectors, known, len(vocabulary)), place)
        if config.model.image.tune:
            sample = [train_split.images[i] for i in evenly(len(train_split.images), _CALIBRATED)]
            self.model.start_from_published(features.take(sample))
        if start:
            words = start_from(self.model, start)
            say(f"started from a trained model: {words} of {len(vocabulary)} words are in it", place)
        self.model.to(place.device)
        self.draws = torch.Generator()  # contrastive items: the same on every rank
        learned = {"temperature": start.temperature} if start and config.loss.learn_temperature else {}
        loss = dataclasses.replace(config.loss, **learned)
        self.objective = MultiViewLoss(config.views, partial(make_objective, loss, self.draws)).to(place.device)
        # "hardest" from a random start collapses (VSE++, section 4): first the sum over all.
        ranking = partial(RankingLoss, config.loss.margin, reduction=config.loss.reduction)
        self.first_objective = MultiViewLoss(config.views, ranking)
        parameters = {f"model.{n}": p for n, p in self.model.named_parameters() if p.requires_grad}
        parameters |= {f"objective.{n}": p for n, p in self.objective.named_parameters() if p.requires_grad}
        self.kept = Kept(self.model, config.average)
        self.run = Run(
            out, config, self.kept.modules | {"objective": self.objective}, parameters, place, figure="rsum",
            higher_is_better=True, parts=checkpoint.PARTS,
            rates={"model.image_encoder.above.": config.cnn_rate},
        )  # fmt: skip

    def epoch(self) -> float:
        """The mean loss of one epoch over all training captions."""
        config, run, place = self.config, self.run, self.place
        steps = self.data.steps(config.batch_size)
        torch.manual_seed(seed_of(self.seed, run.epoch, place.rank))  # dropout
        self.draws.manual_seed(seed_of(self.seed, run.epoch, 0))
        objective = self.first_objective if run.epoch < config.loss.warmup_epochs else self.objective
        self.model.train()
        total = torch.zeros((), device=place.device)
        drawn = (self.seed, run.epoch, place.rank, place.ranks)
        extra = self.pairs.epoch(config.extra_pairs, steps, *drawn) if self.pairs else None
        settings = {"views": config.views} | ({"by_photo": True} if config.by_photo else {})
        for step, batch in enumerate(run.progress(self.data.epoch(config.batch_size, *drawn, **settings), steps)):
            loss = self.loss(objective, batch)
            if extra:
                loss = loss + self.loss(objective, next(extra))
            run.step(loss, step, steps)
            self.objective.clamp_()
            self.kept.follow(run.epoch * steps + step)
            total += loss.detach()
        # A scale that vanished makes every score, and so the loss, the same finite number.
        return total.item() / steps if math.isfinite(self.objective.temperature or 0.0) else math.inf

    def loss(self, objective: nn.Module, batch: Batch) -> torch.Tensor | ChunkedLoss | SummedLoss:
        """The objective between the views of a batch, or two captions of one image where there is no photo."""
        photos = batch.image_ids[self.place.rank :: self.place.ranks]
        views = [(self.encode_photos, (image, photos[: len(image)])) for image in batch.images]
        views += [(self.model.encode_text, text) for text in batch.texts]
        if not self.config.chunk_size:
            return self.between(objective, batch, *(self.encode(*view) for view in views))
        chunks = [
            [partial(self.encode, encoder, parts) for parts in zip(*map(self.split, rows), strict=True)]
            for encoder, rows in views
        ]
        return ChunkedLoss(chunks, partial(self.between, objective, batch))

    def split(self, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The rows in chunks."""
        return rows.split(self.config.chunk_size)

    def encode(self, encoder: Callable[..., torch.Tensor], rows: Sequence[torch.Tensor]) -> torch.Tensor:
        """The unit vectors of rows of a view."""
        with autocast(self.precision, self.place.device):
            return encoder(*rows)

    def encode_photos(self, images: torch.Tensor, photos: torch.Tensor) -> torch.Tensor:
        """The unit vectors of images; of photos that come several times in one view, once."""
        if not self.config.by_photo:
            return self.model.encode_image(images)
        numbers, which = photos.unique(return_inverse=True)
        first = torch.full((len(numbers),), len(photos), device=photos.device)
        first.scatter_reduce_(0, which, torch.arange(len(photos), device=photos.device), "amin")
        return self.model.encode_image(images[first])[which]

    def between(self, objective: nn.Module, batch: Batch, *views: torch.Tensor) -> torch.Tensor:
        """The objective between the rows of all processes."""
        rows = [distributed.gather_rows(view, len(batch.image_ids), self.place) for view in views]
        images, texts = rows[: len(batch.images)], rows[len(batch.images) :]
        loss = objective(images, texts, batch.alike)
        if self.teacher and batch.images:
            scores = self.teacher.scores(batch)
            distilled = distillation(images[0] @ texts[0].T, scores, self.config.loss.teacher_temperature)
            loss = (1 - self.config.loss.distill) * loss + self.config.loss.distill * distilled
        return loss

    def measure(self) -> Measured:
        """The dev row of the model that would be kept."""
        row = evaluate([self.kept.model], self.dev, [self.features], bootstrap=0)
        return Measured(row.rsum, row.as_dict(), row.summary())

    def save(self) -> None:
        """Writes the run folder."""
        temperature = self.objective.temperature
        learned = {} if temperature is None else {"temperature": temperature}
        checkpoint.save_run(self.out, self.kept.model, self.settings | learned)
