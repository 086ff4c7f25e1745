"""The training of a GIT: every word of a caption from the photo and the words before it.

As in vse/train.py an epoch is a pure function of (config, seed, epoch, state before it). The loss is the divergence
from a smoothed target, the mean over words and ends; with a reward, beside it, -(r - b) log P of captions that the
model draws itself, r their CIDEr against the photo's captions, b the mean of the others' (Rennie 2017, Luo 2020).
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from scnlm import git_run
from scnlm.beam import beam_search, sample
from scnlm.configs import GITTrainConfig
from scnlm.git import GIT, Memory, Texts, texts_of
from scnlm.git_answers import answers_by
from scnlm.git_batches import Photos, TextsOfPhotos
from scnlm.rerank.cider import Cider
from vse.data.bpe import BPE
from vse.data.datasets import Dataset
from vse.data.questions import Questions, percent_right
from vse.data.vocabulary import EOS_ID, Tokens, Vocabulary, tokenize
from vse.data.word_vectors import read_word_vectors
from vse.features.store import Features
from vse.runs import checkpoint, distributed
from vse.runs.average import Kept
from vse.runs.given import evenly, identity_of, named, shape_seen
from vse.runs.loop import Measured, Run, claimed, say, seed_of
from vse.system.errors import InputError
from vse.system.precision import autocast

DEV_PHOTOS = 300  # captioned after each epoch
_CHUNK = 64  # photos that are captioned at once


def train_git(
    config: GITTrainConfig,
    dataset: Dataset,
    features: Features,
    out: Path,
    *,
    word_vectors: Path | None = None,
    extra_text: Dataset | None = None,
    questions: tuple[Questions, Questions] | None = None,
    start: GIT | None = None,
    seed: int = 0,
    resume: bool = False,
    device: str = "auto",
    stop_after: int | None = None,
) -> dict[str, float]:
    """What dev says of the best epoch's model, which `git_run.load(out)` then gives: nats a word, CIDEr of greedy
    captions of some photos; of questions the percent right, of all and of each kind.

    `questions`: of training and of dev, to learn to answer in place of describing. `extra_text`: captions without
    photos, for `text_only`. `start`: a GIT to begin from, whose words are the model's.
    Raises InputError for a run folder that is in use or was made with other settings or data.
    """
    if config.reward and start is None:
        raise InputError("reward: drawn captions of a model that knows nothing teach nothing; give a --start")
    if questions and (config.reward or config.text_only):
        raise InputError("questions: answers are neither rewarded nor learned without photos; leave the setting out")
    if extra_text and not config.text_only:
        raise InputError("extra text has no photos; set text_only, and start another training from that run")
    place = distributed.start(device)
    settings = {
        "train": dataclasses.asdict(config), "seed": seed, "data": dataset.name,
        "data_fingerprint": dataset.fingerprint(), "feature_identity": identity_of(features),
        "questions": [part.fingerprint() for part in questions] if questions else None,
        "extra_text": extra_text.fingerprint() if extra_text else None, "start": start.fingerprint if start else None,
        "word_vectors_file": named(word_vectors, "word2vec or GloVe") if word_vectors else None,
    }  # fmt: skip
    with claimed(out, settings, config, resume, place) as settings:
        training = _Training(
            config, dataset, features, out, word_vectors, extra_text, questions, start, seed, place, settings
        )
        training.run.fit(training.epoch, training.measure, training.save, training.captions, stop_after)
        told = training.figures(git_run.load(out, str(place.device)))
        training.run.finish(told)
        return told


class _Training:
    """What is learned from and what learns, of one run."""

    def __init__(
        self, config, dataset, features, out, word_vectors, extra_text, questions, start, seed, place, settings
    ):
        self.config, self.out, self.seed, self.place, self.settings = config, out, seed, place, settings
        self.precision = settings["precision"]
        texts, self.asked = dataset.split("train").captions, questions[1] if questions else None
        if questions:
            texts = [*questions[0].texts, *questions[0].answers]
        vocabulary = start.vocabulary if start else _tokens(config, texts)
        sizes = features, vocabulary, config.model.positions, config.model.frames
        if questions:
            self.data, self.dev = (TextsOfPhotos.of_questions(part, *sizes) for part in questions)
        else:
            self.data, self.dev = (TextsOfPhotos.of_captions(dataset.split(part), *sizes) for part in ("train", "dev"))
        self.more = _texts(vocabulary, extra_text.captions, config.model.positions) if extra_text else None
        self.captions = int((self.data.texts.lengths > 0).sum()) + (len(extra_text.captions) if extra_text else 0)
        torch.manual_seed(seed)
        self.model = GIT(config.model, vocabulary, *shape_seen(features))
        self.model.scale_regions(self.data.stored[evenly(len(self.data))].numpy())
        if start:
            self.model.load_state_dict(_same_shapes(start, self.model))
        elif word_vectors:
            known = [(i, token) for i, token in enumerate(vocabulary.tokens) if i > EOS_ID]
            vectors = read_word_vectors(word_vectors, [token for _, token in known])
            found = [(i, vectors[token]) for i, token in known if token in vectors]
            if found:
                self.model.start_words(np.stack([vector for _, vector in found]), [i for i, _ in found])
            say(f"word vectors: {len(found)} of {len(vocabulary)} words", place)
        self.model.to(place.device)
        self.rewards = Cider(references(dataset.split("train"), self.data)) if config.reward else None
        self.cider = None if questions or config.text_only else Cider(references(dataset.split("dev"), self.dev))
        self.figure = "all" if questions else "nats" if config.text_only else "cider"
        self.kept = Kept(self.model, config.average)
        parameters = {f"model.{name}": part for name, part in self.model.named_parameters() if part.numel()}
        self.run = Run(
            out, config, self.kept.modules, parameters, place, figure=self.figure,
            higher_is_better=self.figure != "nats", parts=checkpoint.PARTS,
        )  # fmt: skip

    def epoch(self) -> float:
        """The mean loss of one epoch, nats a word."""
        config, run, place = self.config, self.run, self.place
        torch.manual_seed(seed_of(self.seed, run.epoch, place.rank))  # dropout
        self.model.train()
        total, words = torch.zeros((), device=place.device), 0
        steps = self.data.steps(config.batch_size) + (len(self.more_batches()) if self.more else 0)
        for step, photos in enumerate(run.progress(self.batches(), steps)):
            memory, texts = self.memory(self.model, photos), _on(photos.texts, place.device)
            with autocast(self.precision, place.device):
                summed, count = self.model.loss(memory, texts, config.smoothing)
            everyone = max(1, int(distributed.added(count.float(), place.ranks)))
            loss = (1 - config.reward) * summed / everyone
            if config.reward:
                loss = loss + config.reward * self.reward(photos, memory)
            run.step(loss, step, steps)
            self.kept.follow(run.epoch * steps + step)
            total, words = total + summed.detach(), words + everyone
        return distributed.added(total, place.ranks).item() / words

    def batches(self) -> Iterator[Photos]:
        """Photos with their captions; of extra text, whose photos are not there, among them."""
        config, place = self.config, self.place
        own = self.data.epoch(config.batch_size, self.seed, self.run.epoch, place.rank, place.ranks)
        if not self.more:
            yield from own
            return
        draw = np.random.default_rng((self.seed, self.run.epoch, 1))
        texts = self.more_batches()
        kinds = np.array([0] * self.data.steps(config.batch_size) + [1] * len(texts))
        others = iter([texts[i] for i in draw.permutation(len(texts))])
        for kind in draw.permutation(kinds):
            yield next(others if kind else own)

    def more_batches(self) -> list[Photos]:
        """The extra text in batches of like length, as many captions in each as photos' batches have; rank by rank."""
        size = 5 * self.config.batch_size
        rows = range(self.place.rank, len(self.more), self.place.ranks)
        mine = sorted((self.more[i] for i in rows), key=len)
        nothing = torch.empty(0), torch.empty(0, dtype=torch.long)
        return [Photos(*nothing, texts_of([mine[i : i + size]], None, EOS_ID)) for i in range(0, len(mine), size)]

    def memory(self, model: GIT, photos: Photos) -> Memory | None:
        """What words look at; nothing where photos are left out."""
        if self.config.text_only:
            return None
        with autocast(self.precision, self.place.device):
            return model.memory(model.image_tokens(photos.features.to(self.place.device).float()))

    def reward(self, photos: Photos, memory: Memory) -> Tensor:
        """The mean over photos and drawn captions of -(r - b) log P, on this rank."""
        draw = torch.Generator().manual_seed(seed_of(self.seed, self.run.epoch, int(photos.numbers[0])))
        drawn = sample(self.model, [tuple(p.detach() for p in layer) for layer in memory], self.config.draws, draw)
        self.model.train()
        words = [[list(one.words) for one in own] for own in drawn]
        rewards = np.stack([
            self.rewards.scores(number, [tokenize(self.model.vocabulary.decode(ids)) or ["<none>"] for ids in own])
            for number, own in zip(photos.numbers.tolist(), words, strict=True)
        ])  # fmt: skip
        others = (rewards.sum(1, keepdims=True) - rewards) / (rewards.shape[1] - 1)
        advantage = torch.from_numpy(rewards - others).to(self.place.device).float()
        with autocast(self.precision, self.place.device):
            log_p = self.model.log_p(memory, _on(texts_of(words, None, EOS_ID), self.place.device)).sum(2)
        return -(advantage * log_p).mean() / self.place.ranks

    def measure(self) -> Measured:
        """Dev's figures of the model that would be kept."""
        told = self.figures(self.kept.model.eval())
        others = (f"  {'CIDEr' if key == 'cider' else key} {value:.1f}" for key, value in told.items() if key != "nats")
        return Measured(told[self.figure], told, f"{told['nats']:.4f} nats a word" + "".join(others))

    def figures(self, model: GIT) -> dict[str, float]:
        """On dev nats a word; and the CIDEr of greedy captions of the first photos, or the percent of right answers."""
        total, words = 0.0, 0
        with torch.inference_mode():
            for rows in _chunks(len(self.dev)):
                photos = self.dev.of(rows)
                memory = self.memory(model, photos)
                with autocast(self.precision, self.place.device):
                    summed, count = model.loss(memory, _on(photos.texts, self.place.device), 0.0)
                total, words = total + float(summed), words + int(count)
        told = {"nats": total / words}
        if self.cider:
            told["cider"] = 100 * self.greedy_cider(model)
        return told | (self.right(model) if self.asked else {})

    def right(self, model: GIT) -> dict[str, float]:
        """The percent of dev's questions that are answered right, of all and of each kind."""
        with torch.inference_mode():
            parts = [self.memory(model, self.dev.of(rows)) for rows in _chunks(len(self.dev))]
        memory = [tuple(map(torch.cat, zip(*layer, strict=True))) for layer in zip(*parts, strict=True)]
        number = {image: i for i, image in enumerate(self.dev.images)}
        which = np.array([number[image] for image in self.asked.images])
        return percent_right(self.asked, answers_by(model, memory, which, self.asked.texts))

    def greedy_cider(self, model: GIT) -> float:
        """0 to 10: the mean over the first dev photos of their greedy caption's."""
        scores = []
        for rows in _chunks(min(DEV_PHOTOS, len(self.dev))):
            with torch.inference_mode():
                memory = self.memory(model, self.dev.of(rows))
            for number, (best,) in zip(rows.tolist(), beam_search(model, memory, 1), strict=True):
                words = tokenize(model.vocabulary.decode(best.words)) or ["<none>"]
                scores.append(float(self.cider.scores(number, [words])[0]))
        return float(np.mean(scores))

    def save(self) -> None:
        """Writes the run folder."""
        git_run.save(self.out, self.kept.model, self.settings)


def references(split: Dataset, data: TextsOfPhotos) -> list[list[list[str]]]:
    """The words of each photo's captions, the photos in the order of `data`."""
    own: dict[str, list[list[str]]] = {image: [] for image in data.images}
    for caption, photo in zip(split.captions, split.image_of_caption.tolist(), strict=True):
        own[split.images[photo]].append(tokenize(caption) or ["<none>"])
    return list(own.values())


def _chunks(photos: int) -> Iterator[Int[np.ndarray, " n"]]:
    for start in range(0, photos, _CHUNK):
        yield np.arange(start, min(photos, start + _CHUNK))


def _on(texts: Texts, device: torch.device) -> Texts:
    return Texts(*(part.to(device) for part in (texts.tokens, texts.lengths, texts.prefixes)))


def _tokens(config: GITTrainConfig, captions: Sequence[str]) -> Tokens:
    """The words of the captions, or the pieces that they are made of."""
    if config.tokens == "bpe":
        return BPE.from_captions(captions, config.merges)
    vocabulary = Vocabulary.from_captions(captions, config.min_count)
    if not vocabulary.words:
        raise InputError(f"min_count = {config.min_count}: no word of the training captions is as frequent")
    return vocabulary


def _texts(vocabulary: Tokens, captions: Sequence[str], positions: int) -> list[list[int]]:
    return [list(ids)[: positions - 2] for ids in vocabulary.encode_all(captions)]


def _same_shapes(start: GIT, model: GIT) -> dict[str, Tensor]:
    """The weights of `start`. Raises InputError where they do not fit."""
    theirs, ours = start.state_dict(), model.state_dict()
    for name, tensor in ours.items():
        if name not in theirs or theirs[name].shape != tensor.shape:
            shape = tuple(theirs[name].shape) if name in theirs else "not there"
            raise InputError(f"--start: its {name} is {shape}, expected {tuple(tensor.shape)}; give the same settings")
    return theirs
