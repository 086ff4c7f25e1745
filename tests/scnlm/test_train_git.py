"""scnlm.train_git: it learns to describe what it has not seen, resumes to the bit, and its losses are their loops."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from scnlm import git_run
from scnlm.beam import beam_search, sample
from scnlm.configs import GITConfig, GITTrainConfig
from scnlm.git import texts_of
from scnlm.git_answers import answers
from scnlm.git_batches import TextsOfPhotos
from scnlm.rerank.cider import Cider
from scnlm.train_git import _Training, references, train_git
from vse.data.datasets import Dataset
from vse.data.questions import Questions, percent_right
from vse.data.vocabulary import BOS_ID, EOS_ID, Vocabulary, tokenize
from vse.features.store import Features
from vse.runs import checkpoint
from vse.runs.distributed import Place
from vse.runs.loop import seed_of
from vse.system.errors import InputError

TINY = GITTrainConfig(
    model=GITConfig(width=32, layers=1, heads=2, positions=12, dropout=0.0), epochs=3, batch_size=12, min_count=1,
    learning_rate=5e-3, warmup_steps=5, average=0.8, precision="float32",
)  # fmt: skip


def run(config, dataset, features, out, **more):
    return train_git(config, dataset, features, out, **({"device": "cpu"} | more))


def state(out):
    saved = checkpoint.load_resume(out)
    return {f"kept/{k}": v for k, v in git_run.load(out).state_dict().items()} | (saved[0] if saved else {})


def training(config, dataset, features, out, start=None, extra_text=None):
    settings = {"precision": "float32"}
    place = Place(0, 1, torch.device("cpu"))
    return _Training(config, dataset, features, out, None, extra_text, None, start, 0, place, settings)


@pytest.mark.parametrize("attention", ["self", "cross"])
def test_it_learns_to_describe_photos_that_it_never_saw(dataset, features, tmp_path, attention):
    config = replace(TINY, epochs=120, model=replace(TINY.model, attention=attention))
    told = run(config, dataset, features, tmp_path)
    assert told["cider"] > 150, told
    model, right = git_run.load(tmp_path), 0
    names = dataset.split("dev").images + dataset.split("test").images
    for name, own in zip(names, beam_search(model, model.seen(features.take(names)), 4), strict=True):
        words = model.vocabulary.decode(own[0].words).split()
        right += all(word in words for word in name.rsplit(".", 1)[0].split("_"))
    assert right >= 4  # of 12, of 48 pairs of a color and a thing


def test_resuming_after_every_epoch_equals_not_stopping(dataset, features, tmp_path):
    config = replace(TINY, model=replace(TINY.model, dropout=0.2, image_dropout=0.1))
    run(config, dataset, features, tmp_path / "whole", stop_after=2)
    for epochs in (1, 2):
        run(config, dataset, features, tmp_path / "parts", stop_after=epochs, resume=True)
    whole, parts = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)
    done = [run(config, dataset, features, tmp_path / name, resume=True) for name in ("whole", "parts", "parts")]
    assert done[0] == done[1] == done[2]
    with pytest.raises(InputError, match="epochs"):
        run(replace(config, epochs=9), dataset, features, tmp_path / "whole", resume=True)


def test_an_epoch_has_every_photo_once_with_its_own_captions(dataset, features):
    split = dataset.split("train")
    vocabulary = Vocabulary.from_captions(split.captions)
    data = TextsOfPhotos.of_captions(split, features, vocabulary, 12, 1)
    own = {name: [] for name in split.images}
    for caption, photo in zip(split.captions, split.image_of_caption.tolist(), strict=True):
        own[split.images[photo]].append(caption)
    seen, views = [], set()
    for batch in data.epoch(8, 0, 0):
        for i, number in enumerate(batch.numbers.tolist()):
            name = data.images[number]
            seen.append(name)
            stored = features.take([name])[0]
            (view,) = [v for v in range(2) if np.array_equal(stored[v], batch.features[i, 0].numpy())]
            views.add(view)
            rows = [
                row[:length].tolist()
                for row, length in zip(batch.texts.tokens[i], batch.texts.lengths[i].tolist(), strict=True) if length
            ]  # fmt: skip
            assert rows == sorted(([BOS_ID, *vocabulary.encode(caption), EOS_ID] for caption in own[name]), key=len)
    assert sorted(seen) == sorted(name for name in split.images if own[name]) and views == {0, 1}
    orders = [[b.numbers.tolist() for b in data.epoch(8, 0, epoch)] for epoch in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    halves = [[b.numbers.tolist() for b in data.epoch(8, 0, 0, rank, 2)] for rank in (0, 1)]
    assert [sorted(a + b) for a, b in zip(*halves, strict=True)] == [sorted(batch) for batch in orders[0]]


def test_the_reward_is_its_loop(dataset, features, tmp_path):
    run(TINY, dataset, features, tmp_path / "start")
    start = git_run.load(tmp_path / "start")
    config = replace(TINY, reward=1.0, draws=3)
    own = training(config, dataset, features, tmp_path / "out", start)
    photos = next(own.batches())
    memory = own.memory(own.model, photos)
    loss = own.reward(photos, memory)
    draw = torch.Generator().manual_seed(seed_of(0, 0, int(photos.numbers[0])))
    drawn = sample(own.model, memory, 3, draw)
    cider, terms = Cider(references(dataset.split("train"), own.data)), []
    for i, number in enumerate(photos.numbers.tolist()):
        texts = [own.model.vocabulary.decode(one.words) for one in drawn[i]]
        r = [float(cider.scores(number, [tokenize(text) or ["<none>"]])[0]) for text in texts]
        for j, one in enumerate(drawn[i]):
            base = (sum(r) - r[j]) / 2
            alone = [tuple(part[i : i + 1] for part in layer) for layer in memory]
            log_p = own.model.log_p(alone, texts_of([[list(one.words)]], None, EOS_ID)).sum()
            terms.append(-(r[j] - base) * float(log_p))
    assert float(loss) == pytest.approx(np.mean(terms), rel=1e-4) and np.std(terms) > 0


def test_rewarded_captions_are_worth_more(dataset, features, tmp_path):
    run(replace(TINY, epochs=40), dataset, features, tmp_path / "start")
    start = git_run.load(tmp_path / "start")
    config = replace(TINY, reward=1.0, epochs=30, learning_rate=2e-3, draws=8)
    own = training(config, dataset, features, tmp_path / "out", start)

    def worth(model):
        """The mean CIDEr of captions that are drawn for training photos."""
        photos = own.data.of(np.arange(len(own.data)))
        drawn = sample(model, own.memory(model, photos), 20, torch.Generator().manual_seed(9))
        return np.mean([
            own.rewards.scores(i, [tokenize(model.vocabulary.decode(one.words)) or ["<none>"] for one in some]).mean()
            for i, some in enumerate(drawn)
        ])  # fmt: skip

    before = worth(start)
    run(config, dataset, features, tmp_path / "out", start=start, stop_after=29)
    saved, _ = checkpoint.load_resume(tmp_path / "out")[:2]
    start.load_state_dict({k.removeprefix("mean/"): v for k, v in saved.items() if k.startswith("mean/")})
    assert worth(start) > 1.5 * before


def test_text_alone_is_a_language_model_to_begin_from(dataset, features, tmp_path):
    split = dataset.split("train")
    extra = Dataset("more", None, ("x",), ("train",), split.captions, np.zeros(len(split.captions), np.int64))
    config = replace(TINY, text_only=True)
    told = run(config, dataset, features, tmp_path / "text", extra_text=extra)
    assert told.keys() == {"nats"}
    lines = [json.loads(line) for line in (tmp_path / "text" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < lines[0]["loss"]
    start = git_run.load(tmp_path / "text")
    other = Features(np.asarray(features.array) + 5.0, features.names)
    again = run(config, dataset, other, tmp_path / "again", extra_text=extra)
    assert again == told  # no photo is looked at
    own = training(TINY, dataset, features, tmp_path / "out", start)
    assert torch.equal(own.model.words.weight, start.words.weight)
    with pytest.raises(InputError, match="--start: its words.weight|--start: its positions.weight"):
        run(replace(TINY, model=replace(TINY.model, positions=9)), dataset, features, tmp_path / "w", start=start)


def test_pieces_of_words(dataset, features, tmp_path):
    run(replace(TINY, tokens="bpe", merges=30, model=replace(TINY.model, positions=60)), dataset, features, tmp_path)
    model, test = git_run.load(tmp_path), dataset.split("test")
    assert len(model.vocabulary) == 4 + 512 + 30
    for own in beam_search(model, model.seen(features.take(test.images)), 1):
        assert isinstance(model.vocabulary.decode(own[0].words), str)
    assert math.isfinite(json.loads((tmp_path / "metrics.json").read_text())["dev"]["cider"])


def asked(dataset, part):
    """Two questions about each photo of a split: its color and what it is."""
    rows = []
    for image in dataset.split(part).images:
        color, thing = image.rsplit(".", 1)[0].split("_")
        rows += [(image, "what color is it ?", color, "color"), (image, "what is this thing ?", thing, "thing")]
    return Questions(*zip(*rows, strict=True))


def test_it_learns_to_answer_and_a_closed_list_is_never_left(dataset, features, tmp_path):
    questions = asked(dataset, "train"), asked(dataset, "dev")
    config = replace(TINY, epochs=120)
    told = run(config, dataset, features, tmp_path, questions=questions)
    assert set(told) == {"nats", "all", "color", "thing"} and told["all"] > 50  # of 8 colors, 6 things
    model, test = git_run.load(tmp_path), asked(dataset, "test")
    names = list(dataset.split("test").images)
    which = np.array([names.index(image) for image in test.images])
    seen = features.take(names)
    model.precision = "float32"
    plain, closed = (answers(model, seen, which, test.texts, some) for some in (None, ("red", "boat")))
    assert percent_right(test, plain)["all"] >= 50
    assert set(closed) <= {"red", "boat"} and len(plain) == 8
    (one,) = answers(model, seen, which[3:4], test.texts[3:4])
    assert one == plain[3]
    with pytest.raises(InputError, match="knows none of its words"):
        answers(model, seen, which[:1], ["zebra zebra"])
    with pytest.raises(InputError, match="ask in fewer words"):
        answers(model, seen, which[:1], ["what color is it " * 5])
    with pytest.raises(InputError, match="'zebra': the model does not know it"):
        answers(model, seen, which[:1], test.texts[:1], ("red", "zebra"))


def test_questions_have_their_answers_behind_them(dataset, features):
    questions = asked(dataset, "train")
    vocabulary = Vocabulary.from_captions([*questions.texts, *questions.answers])
    data = TextsOfPhotos.of_questions(questions, features, vocabulary, 12, 1)
    first = data.of(np.array([0]))
    color, thing = data.images[0].rsplit(".", 1)[0].split("_")
    said = {
        vocabulary.decode(row[:length].tolist()): vocabulary.decode(row[prefix : length - 1].tolist())
        for row, length, prefix in zip(
            first.texts.tokens[0], first.texts.lengths[0], first.texts.prefixes[0], strict=True
        )
    }
    assert said == {f"<s> what color is it {color} </s>": color, f"<s> what is this thing {thing} </s>": thing}
    with pytest.raises(InputError, match="the answer 'red'.*min_count"):
        TextsOfPhotos.of_questions(Questions(("a",), ("what ?",), ("red",), ("",)), features,
                                   Vocabulary.from_captions(["what"]), 12, 1)  # fmt: skip
    with pytest.raises(InputError, match="7 tokens with its answer"):
        TextsOfPhotos.of_questions(questions, features, vocabulary, 6, 1)


def test_mistakes(dataset, features, tmp_path):
    with pytest.raises(InputError, match="give a --start"):
        run(replace(TINY, reward=0.5), dataset, features, tmp_path / "a")
    with pytest.raises(InputError, match="set text_only"):
        run(TINY, dataset, features, tmp_path / "b", extra_text=dataset)
    with pytest.raises(InputError, match="frames = 3: the features have 2 views"):
        run(replace(TINY, model=replace(TINY.model, frames=3)), dataset, features, tmp_path / "c")
    with pytest.raises(InputError, match="answers are neither rewarded"):
        run(replace(TINY, text_only=True), dataset, features, tmp_path / "e", questions=(asked(dataset, "train"),) * 2)
    with pytest.raises(InputError, match="min_count = 1000"):
        run(replace(TINY, min_count=1000), dataset, features, tmp_path / "d")
    with pytest.raises(InputError, match="text_only with a reward"):
        replace(TINY, text_only=True, reward=0.5)
