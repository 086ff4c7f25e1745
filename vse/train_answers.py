"""The training of a fusion transformer that answers questions: cross entropy of the answer.

As in train.py an epoch is a pure function of (config, seed, epoch, state before it).
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch.nn.functional import cross_entropy

from vse.answers import Answerer, AnswererConfig
from vse.configs import AnswerTrainConfig
from vse.data.questions import ALL, Questions, answer_list, percent_right
from vse.data.sentences import pad
from vse.data.vocabulary import EOS_ID, Vocabulary
from vse.features.store import Features
from vse.fusion import Fusion
from vse.model import VSE
from vse.runs import answers as answer_runs
from vse.runs import checkpoint
from vse.runs.average import Kept
from vse.runs.distributed import Place
from vse.runs.fusion import check_start
from vse.runs.given import evenly, identity_of, shape_seen
from vse.runs.loop import Measured, Run, claimed, say, seed_of
from vse.system.device import find_device
from vse.system.errors import InputError
from vse.system.precision import autocast


def train_answers(
    config: AnswerTrainConfig,
    questions: Questions,
    dev: Questions,
    features: Features,
    out: Path,
    *,
    start: Fusion | VSE | Answerer | None = None,
    seed: int = 0,
    resume: bool = False,
    device: str = "auto",
    stop_after: int | None = None,
) -> dict[str, float]:
    """The accuracy on dev, in percent, of all questions and of each kind, of the model that `vse.load(out)` then gives.

    `start`: a fusion transformer to begin from, or a dual encoder whose words and regions are begun with. Raises
    InputError for a run folder that is in use or was made with other settings or data.
    """
    place = Place(0, 1, find_device(device))
    settings = {
        "train": dataclasses.asdict(config), "seed": seed, "data": "questions",
        "data_fingerprint": [questions.fingerprint(), dev.fingerprint()],
        "start": start.fingerprint if start else None, "feature_identity": identity_of(features),
    }  # fmt: skip
    with claimed(out, settings, config, resume, place) as settings:
        training = _Training(config, questions, dev, features, out, start, seed, place, settings)
        training.run.fit(training.epoch, training.measure, training.save, len(questions), stop_after)
        found = accuracies(answer_runs.load(out, str(place.device)), dev, features)
        training.run.finish(found)
        return found


def accuracies(model: Answerer, questions: Questions, features: Features, blind: bool = False) -> dict[str, float]:
    """{"all": percent right, kind: percent of its questions}; `blind`: without a look at the photos."""
    names = sorted(set(questions.images))
    row = {name: i for i, name in enumerate(names)}
    photos = np.array([row[name] for name in questions.images])
    tokens = model.fusion.photo_tokens(features.take(names))
    chosen = model.probabilities(tokens * (not blind), photos, questions.groups()).argmax(1)
    return percent_right(questions, [model.answers[i] for i in chosen])


class _Training:
    """What is learned from and what learns, of one run."""

    def __init__(self, config, questions, dev, features, out, start, seed, place, settings):
        if isinstance(start, Answerer):
            raise InputError("--start: it answers questions already; give a run of `vse train-fusion` or `vse train`")
        if not len(questions) or not len(dev):
            raise InputError(f"{len(questions)} training and {len(dev)} dev questions: expected some of both")
        self.config, self.features, self.dev, self.out, self.seed = config, features, dev, out, seed
        self.place, self.settings, self.precision = place, settings, settings["precision"]
        sentences = 2 if questions.beside else 1
        if config.model.sentences != sentences or bool(dev.beside) != bool(questions.beside):
            raise InputError(
                f"model.sentences = {config.model.sentences}: the questions come with {sentences - 1} sentences beside"
                f" each; set it to {sentences}, and give dev and training the same columns"
            )
        features.rows(sorted(set(dev.images)))  # a missing row is said now, not after the first epoch
        model_config = AnswererConfig(config.model, answer_list(questions.answers, config.min_answers))
        known = {answer: i for i, answer in enumerate(model_config.answers)}
        kept = [i for i, answer in enumerate(questions.answers) if answer in known]
        vocabulary = _vocabulary(questions, config, start)
        torch.manual_seed(seed)
        self.model = Answerer(model_config, vocabulary, *shape_seen(features))
        names = sorted(set(questions.images))
        stored = features.take(names)
        if stored.shape[1] < config.model.images:
            views = f"the features have {stored.shape[1]} views of a photo"
            raise InputError(f"model.images = {config.model.images}: {views}; store more")
        sample = stored[evenly(len(names))]
        if start is None:
            self.model.fusion.scale_regions(sample)
        else:
            words = begin(self.model.fusion, start, sample)
            say(f"started from a trained model: {words} of {len(vocabulary)} words are in it", place)
        self.model.to(place.device)
        self.pictures = torch.from_numpy(stored).to(place.device)
        row = {name: i for i, name in enumerate(names)}
        device = place.device
        self.photos = torch.tensor([row[questions.images[i]] for i in kept], device=device)
        self.answers = torch.tensor([known[questions.answers[i]] for i in kept], device=device)
        groups = questions.groups()
        tokens, lengths = pad(vocabulary.encode_all([text for i in kept for text in groups[i]]))
        self.tokens, self.lengths = (part.unflatten(0, (len(kept), -1)).to(device) for part in (tokens, lengths))
        self.kept = Kept(self.model, config.average)
        parameters = {f"model.{name}": part for name, part in self.model.named_parameters() if part.numel()}
        self.run = Run(
            out, config, self.kept.modules, parameters, place, figure="accuracy", higher_is_better=True,
            parts=checkpoint.PARTS,
        )  # fmt: skip

    def batches(self) -> Iterator[tuple[Int[np.ndarray, " b"], Int[np.ndarray, "b a"]]]:
        """An epoch's batches of questions of like length: (their numbers, the stored views of the photos to read)."""
        draw = np.random.default_rng((self.seed, self.run.epoch))
        # By length, with chance among equals, then the batches in any order.
        length = self.lengths.amax(1).cpu().numpy() + draw.random(len(self.lengths)) * 0.999
        order, size = np.argsort(length), self.config.batch_size
        for step in draw.permutation(self.steps()):
            rows = order[step * size : (step + 1) * size]
            views = draw.random((len(rows), self.pictures.shape[1])).argsort(1)[:, : self.config.model.images]
            yield rows, views

    def steps(self) -> int:
        """Steps of an epoch: every question once."""
        return -(-len(self.answers) // self.config.batch_size)

    def epoch(self) -> float:
        """The mean loss of one epoch, nats a question."""
        run, fusion, steps = self.run, self.model.fusion, self.steps()
        torch.manual_seed(seed_of(self.seed, run.epoch, 0))  # dropout
        self.model.train()
        total = torch.zeros((), device=self.place.device)
        for step, (rows, views) in enumerate(run.progress(self.batches(), steps)):
            rows, views = (torch.from_numpy(part).to(self.place.device) for part in (rows, views))
            lengths = self.lengths[rows]
            with autocast(self.precision, self.place.device):
                images = fusion.embed_images(self.pictures[self.photos[rows][:, None], views].float())
                texts = fusion.embed_texts(self.tokens[rows][..., : int(lengths.max())], lengths)
                logits = self.model(images, *texts)
            loss = cross_entropy(logits, self.answers[rows])
            run.step(loss, step, steps)
            self.kept.follow(run.epoch * steps + step)
            total += loss.detach()
        return total.item() / steps

    def measure(self) -> Measured:
        """Accuracy on dev of the model that would be kept."""
        found = accuracies(self.kept.model, self.dev, self.features)
        return Measured(found[ALL], found, "  ".join(f"{kind} {share:.1f}" for kind, share in found.items()))

    def save(self) -> None:
        """Writes the run folder."""
        answer_runs.save(self.out, self.kept.model, self.settings)


def _vocabulary(questions: Questions, config: AnswerTrainConfig, start: Fusion | VSE | None) -> Vocabulary:
    """The words of the start, then those of the training questions that are new."""
    texts = [text for group in questions.groups() for text in group]
    words = Vocabulary.from_captions(texts, config.min_count)
    if start is None:
        return words
    if not isinstance(start.vocabulary, Vocabulary):
        raise InputError("the start reads pieces of words; expected one that reads whole words")
    return Vocabulary((*start.vocabulary.tokens, *(word for word in words.words if word not in start.vocabulary)))


def begin(model: Fusion, start: Fusion | VSE, features: np.ndarray) -> int:
    """How many words both know, after `model` got what `start` has: all weights, or where its words and regions are.

    Words that are new keep their random start. Raises InputError where shapes differ.
    """
    new = model.words.weight.detach()[len(start.vocabulary) :].clone()
    if isinstance(start, VSE):
        model.start_from(start, features)
    else:
        check_start(model, start, same_words=False)
        state = start.state_dict()
        words = torch.cat([state["words.weight"].to(new), new])
        bias = torch.cat([state["word_bias"].to(new), model.word_bias.detach()[len(start.vocabulary) :]])
        model.load_state_dict(state | {"words.weight": words, "word_bias": bias})
    with torch.no_grad():
        model.words.weight[len(start.vocabulary) :] = new
    return max(0, len(start.vocabulary) - EOS_ID - 1)
