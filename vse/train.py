"""The training loop of the encoder (sections 2.2 and 3.1, supplement): visible, resumable, the same bits again.

What an epoch does is a pure function of (config, seed, epoch, state before it): a run that was killed goes on from
its last whole epoch to the weights that an uninterrupted run would have.
"""

import contextlib
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from vse.batches import TextPair, TextPairs, TrainingSet
from vse.configs import TrainConfig
from vse.data.datasets import Dataset
from vse.data.vocabulary import Vocabulary
from vse.data.word_vectors import read_word_vectors
from vse.distillation import Teacher
from vse.evaluate import Row, evaluate
from vse.features.build import Features
from vse.losses import InfoNCELoss, RankingLoss, distillation, make_objective
from vse.model import VSE
from vse.runs import checkpoint, distributed
from vse.runs.log import RunLog
from vse.runs.optimizer import make_optimizer, set_learning_rate
from vse.runs.resumed import check_modules, check_optimizer, counters_of, precision_for
from vse.system.errors import InputError
from vse.system.files import locked, sha256_of
from vse.system.precision import autocast, describe_device


def train(
    config: TrainConfig,
    dataset: Dataset,
    features: Features,
    out: Path,
    *,
    seed: int = 0,
    word_vectors: Path | None = None,
    extra_text: Dataset | None = None,
    teachers: Sequence[tuple[VSE, Features]] = (),
    resume: bool = False,
    device: str = "auto",
    stop_after: int | None = None,
) -> Row:
    """The dev row of the best epoch's model, which `vse.load(out)` then gives.

    `extra_text`: captions without photos; `config.extra_pairs` pairs of them a step pull the sentence encoder
    together by the same objective, and their words enter the vocabulary.
    `teachers`: trained models, each with its features, whose mean score is distilled (`config.loss.distill`).
    `resume` goes on where a killed run with the same settings stopped, also when nothing had been saved yet;
    `stop_after` ends the call after that many epochs in all, as a kill between two epochs would.
    Raises InputError for a run folder that is in use or was made with other settings or data.
    """
    rank, ranks, torch_device = distributed.start(device)
    if config.batch_size < 2 * ranks:
        raise InputError(f"batch_size {config.batch_size}: {ranks} processes need {2 * ranks} or more")
    settings = {
        "train": dataclasses.asdict(config), "seed": seed, "data": dataset.name,
        "data_fingerprint": dataset.fingerprint(), "word_vectors": word_vectors.name if word_vectors else None,
        "word_vectors_file": _named(word_vectors) if word_vectors else None,
        "extra_text": extra_text.fingerprint() if extra_text else None,
        "teachers": [model.fingerprint for model, _ in teachers],
        "feature_identity": {
            "shape": list(features.array.shape[1:]), **checkpoint.feature_identity(features.info, features.array)
        },
    }  # fmt: skip
    place = rank, ranks, torch_device
    with contextlib.ExitStack() as held:
        if rank == 0:
            held.enter_context(locked(out))
        checkpoint.claim(out, settings, resume)
        settings["precision"] = precision_for(out, config.precision, torch_device, rank)  # not compared
        distributed.wait(ranks)  # all have looked at the folder before the first one writes
        held.enter_context(torch.random.fork_rng(devices=[torch_device] if torch_device.type == "cuda" else []))
        training = _Training(config, dataset, features, out, seed, word_vectors, extra_text, teachers, place, settings)
        return training.run(stop_after)


class _Training:
    """The state of one run: model, objective, optimizer, running mean, and what is best so far."""

    def __init__(self, config, dataset, features, out, seed, word_vectors, extra_text, teachers, place, settings):
        self.config, self.features, self.out, self.seed = config, features, out, seed
        self.rank, self.ranks, self.device = place
        self.settings, self.precision = settings, settings["precision"]
        self._say(f"precision: {self.precision}, on {describe_device(self.device)}")
        train_split, self.dev = dataset.split("train"), dataset.split("dev")
        torch.manual_seed(seed)
        text = train_split.captions + (extra_text.captions if extra_text else ())
        vocabulary = Vocabulary.from_captions(text, config.min_count)
        self.pairs = TextPairs(extra_text, vocabulary, self.device) if extra_text and config.extra_pairs else None
        self.data = TrainingSet(train_split, features, vocabulary, self.device)
        self.teacher = Teacher(*zip(*teachers, strict=True), train_split, self.device) if teachers else None
        if not self.data.steps(config.batch_size):
            raise InputError(f"{dataset.name}: {len(self.data)} training captions are too few to contrast")
        if not self.dev.captions:
            raise InputError(f"{dataset.name}: the dev split has no captions to choose the best epoch by; add some")
        features.take(self.dev.images)  # a missing row is said now, not after the first epoch
        self.model = VSE(config.model, vocabulary, features.array.shape[3], features.info)
        if word_vectors:
            found = self.model.set_word_vectors(read_word_vectors(word_vectors, vocabulary.ids))
            self._say(_found_of(word_vectors, found, len(vocabulary)))
        self.model.to(self.device)
        self.draws = torch.Generator()  # contrastive items: the same on every rank
        self.objective = make_objective(config.loss, self.draws).to(self.device)
        # "hardest" from a random start collapses (VSE++, section 4): first the sum over all.
        self.first_objective = RankingLoss(config.loss.margin)
        self.parameters = {f"model.{n}": p for n, p in self.model.named_parameters() if p.requires_grad}
        self.parameters |= {f"objective.{n}": p for n, p in self.objective.named_parameters() if p.requires_grad}
        self.optimizer = make_optimizer(config, list(self.parameters.values()))
        self.mean = VSE(config.model, vocabulary, self.model.feature_dim, features.info).to(self.device)
        self.mean.load_state_dict(self.model.state_dict())
        self.epoch, self.best_rsum, self.best_epoch = 0, -1.0, 0

    def run(self, stop_after: int | None) -> Row:
        self._restore()
        to_do = self.epoch < self.config.epochs
        log = RunLog(self.out) if self.rank == 0 and to_do else None
        while self.epoch < self.config.epochs and (stop_after is None or self.epoch < stop_after):
            start = time.perf_counter()
            loss = self._train_epoch()
            if not np.isfinite(loss):
                raise InputError(self._diverged(f"loss {loss}"))
            seconds = time.perf_counter() - start
            row = evaluate([self._kept()], self.dev, [self.features], bootstrap=0)
            self.epoch += 1
            if self.rank == 0:
                self._record(loss, seconds, row, log)
        if log:
            log.close()
        return self._finish()

    def _train_epoch(self) -> float:
        """The mean loss of one epoch over all training captions."""
        config, steps = self.config, self.data.steps(self.config.batch_size)
        torch.manual_seed(_mix(self.seed, self.epoch, self.rank))  # dropout
        self.draws.manual_seed(_mix(self.seed, self.epoch, 0))
        objective = self.first_objective if self.epoch < config.loss.warmup_epochs else self.objective
        self.model.train()
        total = torch.zeros((), device=self.device)
        bar = tqdm(total=steps, desc=f"epoch {self.epoch + 1}/{config.epochs}", unit="step", leave=False,
                   disable=None if self.rank == 0 else True)  # fmt: skip
        place = (self.seed, self.epoch, self.rank, self.ranks)
        extra = self.pairs.epoch(config.extra_pairs, steps, *place) if self.pairs else None
        for step, batch in enumerate(self.data.epoch(config.batch_size, *place)):
            with autocast(self.precision, self.device):
                images = self.model.encode_image(batch.features)
                captions = self.model.encode_text(batch.tokens, batch.lengths)
            rows = len(batch.image_ids)
            images, captions = self._gather(images, rows), self._gather(captions, rows)
            loss = objective(images, captions, batch.same_image)
            if self.teacher:
                learned = distillation(images @ captions.T, self.teacher.scores(batch), config.loss.teacher_temperature)
                loss = (1 - config.loss.distill) * loss + config.loss.distill * learned
            if extra:
                loss = loss + self._text_loss(objective, next(extra))
            self.optimizer.zero_grad()
            loss.backward()
            distributed.add_gradients(self.model.parameters(), self.objective.parameters(), self.ranks)
            if config.gradient_norm:
                nn.utils.clip_grad_norm_(self.parameters.values(), config.gradient_norm)
            set_learning_rate(self.optimizer, config, self.epoch * steps + step, steps)
            self.optimizer.step()
            if isinstance(self.objective, InfoNCELoss):
                self.objective.clamp_()
            self._average(self.epoch * steps + step)
            total += loss.detach()
            bar.update()
        bar.close()
        return total.item() / steps

    def _diverged(self, what: str) -> str:
        """What the user is told; the folder keeps its last good state."""
        kept = f"its best epoch, {self.best_epoch}, is kept" if self.best_epoch else "nothing was saved"
        rate = f"learning_rate {self.config.learning_rate:g}"
        return f"{self.out}: the training diverged in epoch {self.epoch + 1} ({what}); {kept}; give a lower {rate}"

    def _text_loss(self, objective: nn.Module, pair: TextPair) -> torch.Tensor:
        """The objective between two captions of each image, one in the image's place."""
        with autocast(self.precision, self.device):
            first, second = (self.model.encode_text(*sentences) for sentences in pair)
        rows = min(self.config.extra_pairs, len(self.pairs))
        same = torch.eye(rows, dtype=torch.bool, device=self.device)
        return objective(self._gather(first, rows), self._gather(second, rows), same)

    def _gather(self, share: torch.Tensor, rows: int) -> torch.Tensor:
        return distributed.gather_rows(share, rows, self.rank, self.ranks)

    def _average(self, step: int) -> None:
        if not self.config.average:
            return
        # A mean over few steps at first: the random start must not linger in it.
        weight = 1 - min(self.config.average, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.mean.parameters()), list(self.model.parameters()), weight)

    def _kept(self) -> VSE:
        """The model that is evaluated and kept: the running mean of the weights where there is one."""
        return self.mean if self.config.average else self.model

    def _record(self, loss: float, seconds: float, row: Row, log: RunLog) -> None:
        """Says and logs the epoch; the checkpoint last, so that a kill before it repeats the epoch."""
        line = {"epoch": self.epoch, "loss": loss, "seconds": seconds, "captions_per_s": len(self.data) / seconds,
                "learning_rate": self.optimizer.param_groups[0]["lr"], "dev": row.as_dict()}  # fmt: skip
        self._say(f"epoch {self.epoch:3d}  loss {loss:7.4f}  dev {row.summary()}"
                  f"  {seconds:.0f} s, {len(self.data) / seconds:.0f} captions/s")  # fmt: skip
        log.epoch(line)
        if row.rsum > self.best_rsum:
            self.best_rsum, self.best_epoch = row.rsum, self.epoch
            checkpoint.save_run(self.out, self._kept(), self.settings)
        self._save()

    def _save(self) -> None:
        tensors = {f"model/{n}": t for n, t in self.model.state_dict().items()}
        tensors |= {f"objective/{n}": t for n, t in self.objective.state_dict().items()}
        tensors |= {f"mean/{n}": t for n, t in self.mean.state_dict().items()} if self.config.average else {}
        for name, parameter in self.parameters.items():
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer/{name}/{key}"] = value
        counters = {"epoch": self.epoch, "best_rsum": self.best_rsum, "best_epoch": self.best_epoch}
        checkpoint.save_resume(self.out, tensors, counters)

    def _restore(self) -> None:
        saved = checkpoint.load_resume(self.out)
        if saved is None:
            needed = ("metrics.json", checkpoint.CONFIG, checkpoint.WORDS, checkpoint.WEIGHTS)
            if all((self.out / name).is_file() for name in needed):  # else it is trained anew, to the same bits
                self.epoch = self.config.epochs
            return
        tensors, counters = saved
        part = {k: {} for k in ("model", "objective", "mean", "optimizer")}
        for name, tensor in tensors.items():
            head, _, rest = name.partition("/")
            part.setdefault(head, {})[rest] = tensor.to(self.device)
        self._check_resumed(part)
        self.model.load_state_dict(part["model"])
        self.objective.load_state_dict(part["objective"])
        if self.config.average:
            self.mean.load_state_dict(part["mean"])
        for name, tensor in part["optimizer"].items():
            parameter, key = name.rsplit("/", 1)
            # Adam's step counter lives on the CPU, whatever the device
            self.optimizer.state[self.parameters[parameter]][key] = tensor.cpu() if key == "step" else tensor
        self.epoch, self.best_rsum, self.best_epoch = counters_of(
            counters, ("epoch", "best_rsum", "best_epoch"), self.out / checkpoint.RESUME
        )
        self._say(f"resumed after epoch {self.epoch}")

    def _check_resumed(self, part: dict[str, dict[str, torch.Tensor]]) -> None:
        """Raises InputError for a resume file whose tensors are not those of this run."""
        path, modules = self.out / checkpoint.RESUME, {"model": self.model, "objective": self.objective}
        check_modules(part, modules | ({"mean": self.mean} if self.config.average else {}), path)
        check_optimizer(part["optimizer"], self.parameters, path)

    def _finish(self) -> Row:
        """Writes metrics.json of the best epoch; a finished run keeps no resume state."""
        distributed.wait(self.ranks)  # the first one has written
        best = checkpoint.load(self.out, str(self.device))
        row = evaluate([best], self.dev, [self.features])
        if self.rank == 0 and self.epoch >= self.config.epochs and (self.out / checkpoint.RESUME).is_file():
            summary = {"best_epoch": self.best_epoch, "dev": row.as_dict()}
            checkpoint.write_json(self.out / "metrics.json", summary)
            (self.out / checkpoint.RESUME).unlink()
        return row

    def _say(self, text: str) -> None:
        if self.rank == 0:
            tqdm.write(text)


def _named(word_vectors: Path) -> str:
    """The file's name and the start of its SHA-256: another file of the same name is another setting."""
    if not word_vectors.is_file():
        raise InputError(f"{word_vectors}: no such word vector file; expected word2vec or GloVe")
    return f"{word_vectors.name}, sha256 {sha256_of(word_vectors)[:16]}"


def _found_of(word_vectors: Path, found: int, words: int) -> str:
    """How many words a file has, as a warning where they are few. Raises InputError when it has none."""
    if not found:
        raise InputError(f"{word_vectors}: has none of the {words} words of the captions; expected vectors of these")
    if found < words / 10:
        return f"warning: {word_vectors} has only {found} of {words} words; is it of another language or kind?"
    return f"word vectors: {found} of {words} words"


def _mix(*numbers: int) -> int:
    """One seed of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
