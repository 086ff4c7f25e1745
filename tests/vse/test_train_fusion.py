"""vse.train_fusion: it learns, resumes to the bit, shares a batch among ranks, and its losses are their loops."""

import copy
import dataclasses
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from processes import train_in_ranks

import vse
from vse.configs import FusionConfig, FusionTrainConfig, ImageConfig, LossConfig, TextConfig, TrainConfig, VSEConfig
from vse.features.store import Features
from vse.fusion import Fusion
from vse.runs import checkpoint
from vse.runs import fusion as fusion_runs
from vse.system.errors import InputError
from vse.train import train
from vse.train_fusion import _Training, train_fusion

TINY = FusionTrainConfig(
    model=FusionConfig(width=16, layers=1, heads=2, positions=12, image_dropout=0.1), epochs=3, batch_size=8,
    learning_rate=3e-3, warmup_steps=5, average=0.8, precision="float32",
)  # fmt: skip


@pytest.fixture(scope="module")
def encoder(dataset, features, tmp_path_factory):
    """A dual encoder that learned a little."""
    text = TextConfig(encoder="bow", word_dim=8)
    config = TrainConfig(
        model=VSEConfig(embed_dim=12, init_range=0.0, text=text, image=ImageConfig()), epochs=4, batch_size=16,
        optimizer="adam", learning_rate=0.01, loss=LossConfig(name="infonce"), precision="float32",
    )  # fmt: skip
    out = tmp_path_factory.mktemp("dual") / "run"
    train(config, dataset, features, out, device="cpu")
    return checkpoint.load(out)


def run(config, world, out, **more):
    return train_fusion(config, *world, out, **({"device": "cpu"} | more))


@pytest.fixture(scope="module")
def world(dataset, features, encoder):
    return dataset, features, encoder


def state(out):
    saved = checkpoint.load_resume(out)
    return {f"kept/{k}": v for k, v in fusion_runs.load(out).state_dict().items()} | (saved[0] if saved else {})


def test_it_learns_to_tell_pairs_that_it_never_saw(world, tmp_path):
    config = replace(TINY, epochs=151, hardness=0.0, words=0.0)
    dataset, features, encoder = world
    run(config, world, tmp_path, stop_after=150)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert losses[0] > 0.6 and losses[-1] < 0.45
    model = fusion_runs.load(tmp_path)
    last = {name.removeprefix("mean/"): value for name, value in state(tmp_path).items() if name.startswith("mean/")}
    model.load_state_dict(last)  # not the best epoch, which on 8 photos may be any
    dev = dataset.split("dev")
    found = model.match(features.take(dev.images), dev.captions)
    right = dev.image_of_caption[None, :] == np.arange(len(dev.images))[:, None]
    assert found[right].mean() > found[~right].mean() + 0.1


def test_what_a_finished_run_says_is_what_dev_chose(world, tmp_path):
    chosen = run(TINY, world, tmp_path)
    assert fusion_runs.load_setting(tmp_path) == chosen.setting
    assert isinstance(vse.load(tmp_path), Fusion)
    told = json.loads((tmp_path / "metrics.json").read_text())["dev"]
    assert told == json.loads(json.dumps(chosen.row.as_dict()))
    assert run(TINY, world, tmp_path, resume=True).setting == chosen.setting  # nothing is done again


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        replace(TINY, matching=0.0, average=0.0),
        replace(TINY, words=0.0, model=replace(TINY.model, combination="score", images=2)),
        replace(TINY, model=replace(TINY.model, combination="concat", images=2)),
    ],
    ids=["both", "words", "matching-scores", "in-a-row"],
)
def test_resuming_after_every_epoch_equals_not_stopping(world, tmp_path, config):
    run(config, world, tmp_path / "whole", stop_after=2)
    for epoch in (1, 2):
        run(config, world, tmp_path / "parts", stop_after=epoch, resume=True)
    whole, parts = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)
    run(config, world, tmp_path / "parts", resume=True)
    run(config, world, tmp_path / "whole", resume=True)
    whole, parts = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_several_ranks_equal_one_process(dataset, features, encoder, tmp_path):
    """By SGD: Adam would make steps of the rounding of gradients that are 0."""
    model = replace(TINY.model, dropout=0.0, image_dropout=0.0, word_dropout=0.0)
    config = replace(TINY, batch_size=7, optimizer="sgd", learning_rate=0.1, model=model)
    world = (dataset, features, encoder)
    settings = {"stop_after": 1, "system": "vse.train_fusion"}
    train_in_ranks(tmp_path, 2, (config, *world, tmp_path / "many"), settings)
    run(config, world, tmp_path / "one", stop_after=1)
    logs = [json.loads((tmp_path / name / "metrics.jsonl").read_text()) for name in ("many", "one")]
    assert logs[0]["loss"] == pytest.approx(logs[1]["loss"], abs=1e-5)
    many, one = state(tmp_path / "many"), state(tmp_path / "one")
    assert many.keys() == one.keys()
    for name, tensor in one.items():
        assert torch.allclose(many[name], tensor, atol=1e-5), name


def training(config, world, out):
    from vse.runs.distributed import Place

    settings = {"precision": "float32"}
    return _Training(config, *world, out, 0, None, Place(0, 1, torch.device("cpu")), settings)


def test_the_loss_of_matching_is_its_loop(world, tmp_path):
    made = training(TINY, world, tmp_path)
    made.model.eval()
    batch = next(iter(made.data.epoch(TINY, 0, 0)))
    assert made.matching(batch).item() == pytest.approx(math.log(2))  # at the start nothing is known
    torch.nn.init.normal_(made.model.match_head.weight)
    with torch.no_grad():
        total = 0.0
        for photo, view, caption, right in zip(batch.photos, batch.views, batch.captions, batch.matching, strict=True):
            tokens, lengths = made.data.sentences(caption[None])
            image = made.model.embed_images(made.data.features_of(photo[None], view[None]))
            logit = made.model.matching(image, *made.model.embed_texts(tokens, lengths)).double().item()
            total -= math.log(1 / (1 + math.exp(-logit if right else logit)))
        assert made.matching(batch).item() == pytest.approx(total / len(batch.photos), abs=1e-5)


@pytest.mark.parametrize("combination", ["sum", "concat", "score"])
def test_the_loss_of_words_is_of_guessed_words_alone(world, tmp_path, combination):
    model = replace(TINY.model, combination=combination, images=2 if combination != "score" else 1)
    made = training(replace(TINY, model=model), world, tmp_path)
    made.model.eval()
    batch = next(iter(made.data.epoch(made.config, 0, 0)))
    total, guesses = 0.0, 0
    with torch.no_grad():
        for row in range(len(batch.masked.tokens)):
            (tokens,), (lengths,) = made.data.sentences(batch.captions[row : row + 1])
            n = int(lengths[0])
            read, hidden = batch.masked.tokens[row, :n], batch.masked.hidden[row, :n]
            one = slice(row, row + 1)
            image = made.model.embed_images(made.data.features_of(batch.photos[one], batch.views[one]))
            text = made.model.embed_texts(read[None, None], lengths[None], hidden[None, None])
            states = made.model.word_states(image, *text)[0]
            for place in torch.nonzero(batch.masked.guessed[row, :n]).flatten():
                chances = made.model.word_logits(states[place][None]).double().log_softmax(1)
                total, guesses = total - chances[0, tokens[0, place]].item(), guesses + 1
        assert guesses == int(batch.guesses) > 0
        assert made.words(made.data, made.model, batch).item() == pytest.approx(total, rel=1e-4)


def test_it_begins_where_another_one_ended(world, tmp_path):
    """Masked words first, then matching: the patent's "pretrained by either"."""
    first = replace(TINY, matching=0.0)
    run(replace(first, epochs=1), world, tmp_path / "words")
    start = fusion_runs.load(tmp_path / "words")
    slow = replace(TINY, words=0.0, learning_rate=1e-9, epochs=1, average=0.0)
    run(slow, world, tmp_path / "then", start=start)
    then = fusion_runs.load(tmp_path / "then")
    assert torch.allclose(then.words.weight, start.words.weight, atol=1e-5)
    with pytest.raises(InputError, match="--start.*width is 16, expected 8"):
        run(replace(slow, model=replace(TINY.model, width=8)), world, tmp_path / "other", start=start)
    with pytest.raises(InputError, match="--start"):
        run(slow, world, tmp_path / "then", resume=True)


def test_another_encoder_is_another_run(world, tmp_path):
    dataset, features, encoder = world
    run(TINY, world, tmp_path, stop_after=1)
    changed = copy.copy(encoder)
    changed.fingerprint = "another"
    with pytest.raises(InputError, match="--encoder"):
        run(TINY, (dataset, features, changed), tmp_path, resume=True)


def test_an_encoder_of_pieces_of_words_is_refused(dataset, features, tmp_path):
    text = TextConfig(encoder="transformer", tokens="bpe", merges=20, word_dim=8, hidden=8, layers=1)
    config = TrainConfig(model=VSEConfig(embed_dim=8, init_range=0.0, text=text), epochs=1, batch_size=16)
    train(config, dataset, features, tmp_path / "bpe", device="cpu")
    with pytest.raises(InputError, match="whole words"):
        run(TINY, (dataset, features, checkpoint.load(tmp_path / "bpe")), tmp_path / "run")


def test_features_of_another_cnn_are_refused(world, tmp_path):
    dataset, features, encoder = world
    narrow = Features(features.array[..., :5], features.names)
    with pytest.raises(InputError, match="5 dimensions"):
        run(TINY, (dataset, narrow, encoder), tmp_path)
    assert dataclasses.asdict(TINY)["model"]["width"] == 16


@pytest.mark.parametrize(
    "wrong, says",
    [
        ({"matching": 0.0, "words": 0.0}, "nothing is learned"), ({"hardness": -1.0}, "hardness = -1"),
        ({"hardening": math.inf}, "hardening"), ({"batch_size": 1}, "batch_size = 1"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense(wrong, says):
    with pytest.raises(InputError, match=says):
        FusionTrainConfig(**wrong)


@pytest.mark.parametrize("field", ["image_weight", "text_weight"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_weights_are_above_zero_and_finite(field, value):
    with pytest.raises(InputError, match=f"model.{field}"):
        FusionConfig(**{field: value})


def test_the_encoder_may_see_other_features_than_the_model(world, tmp_path):
    dataset, features, encoder = world
    run(TINY, world, tmp_path / "a", stop_after=1)
    run(TINY, world, tmp_path / "b", stop_after=1, encoder_features=features)
    a, b = state(tmp_path / "a"), state(tmp_path / "b")
    assert all(torch.equal(a[name], b[name]) for name in a if not name.startswith("place"))
    array = np.asarray(features.array)
    more = Features(np.concatenate([array, -array, 2 * array], 1), features.names)  # three times the views
    wider = Features(np.concatenate([array, array[..., :3]], 3), features.names)  # of other CNNs
    with pytest.raises(InputError, match="views|expected"):
        run(TINY, (dataset, more, encoder), tmp_path / "refused", stop_after=1)
    for name, other in (("more", more), ("wider", wider)):
        out = tmp_path / name
        run(TINY, (dataset, other, encoder), out, stop_after=1, encoder_features=features)
        model = fusion_runs.load(out)
        assert model.feature_dim == other.array.shape[3]
        assert fusion_runs.encoder_of(out) == encoder.fingerprint
        scores = model.match(other.take(dataset.split("dev").images), dataset.split("dev").captions)
        assert np.isfinite(scores).all()
