"""Trainings that begin where another one ended: what is taken over, what stays, and what does not fit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vse.configs import ImageConfig, LossConfig, TextConfig, TrainConfig, VSEConfig
from vse.data.vocabulary import SPECIALS, Vocabulary
from vse.model import VSE
from vse.runs.checkpoint import load, load_resume
from vse.runs.started import start_from
from vse.system.errors import InputError
from vse.train import train

MODEL = VSEConfig(embed_dim=8, init_range=0.0, text=TextConfig(encoder="gru", word_dim=8, hidden=8))
CONFIG = TrainConfig(
    model=MODEL, loss=LossConfig(name="infonce"), epochs=2, batch_size=16, optimizer="adam", learning_rate=0.02
)
WORDS = ("dog", "ball", "runs", "red")
OF_LITE2 = {"encoder": "efficientnet-lite2"}


def model(config=MODEL, words=WORDS, seed=0, features=12, info=OF_LITE2):
    torch.manual_seed(seed)
    return VSE(config, Vocabulary((*SPECIALS, *words)), features, info).eval()


@pytest.fixture(scope="module")
def begun(dataset, features, tmp_path_factory):
    out = tmp_path_factory.mktemp("started") / "run"
    train(CONFIG, dataset, features, out, device="cpu")
    return out


def test_words_are_matched_by_their_letters_and_the_rest_is_copied():
    other, ours = model(), model(words=("cat", "red", "dog"), seed=1)
    before = ours.encode_texts(["cat"])
    mine = ours.text_encoder.words.vectors.weight[ours.vocabulary.ids["cat"]].clone()
    specials = len(ours.vocabulary) - 3
    assert start_from(ours, other) == 2 + specials
    both = ["red dog", "dog", "red red unknown"]
    np.testing.assert_array_equal(ours.encode_texts(both), other.encode_texts(both))
    photos = np.random.default_rng(0).standard_normal((3, 1, 1, 12)).astype(np.float32)
    np.testing.assert_array_equal(ours.encode_images(photos), other.encode_images(photos))
    assert torch.equal(ours.text_encoder.words.vectors.weight[ours.vocabulary.ids["cat"]], mine)
    assert not np.array_equal(ours.encode_texts(["cat"]), before)  # read by the other's GRU


def test_what_training_alone_reads_may_differ():
    text = replace(MODEL.text, dropout=0.3, word_dropout=0.2, length_groups=2)
    start_from(model(replace(MODEL, text=text, image=ImageConfig(dropout=0.2))), model(seed=1))


def other_text(**changes):
    return model(replace(MODEL, text=replace(MODEL.text, **changes)), seed=1)


@pytest.mark.parametrize("other, says", [
    (lambda: other_text(encoder="lstm"), "model.text.encoder lstm, this one gru"),
    (lambda: other_text(pooling="max"), "model.text.pooling max, this one last"),
    (lambda: other_text(word_dim=6), "model.text.word_dim 6, this one 8"),
    (lambda: model(replace(MODEL, image=ImageConfig(pooling="attention"))), "model.image.pooling attention"),
    (lambda: model(replace(MODEL, embed_dim=4)), r"\(4,.*this one \(8,"),
    (lambda: model(features=10), r"W_I.weight \(8, 10\), this one \(8, 12\)"),
    (lambda: model(info={"encoder": "efficientnet-lite1"}), "efficientnet-lite1, this one efficientnet-lite2"),
])  # fmt: skip
def test_a_model_of_another_kind_is_refused_in_one_line(other, says):
    ours = model()
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    with pytest.raises(InputError, match=says) as error:
        start_from(ours, other())
    assert "\n" not in str(error.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in ours.state_dict().items())


def test_a_training_goes_on_from_the_weights_and_the_temperature_of_the_run(begun, dataset, features, tmp_path, capsys):
    still = replace(CONFIG, learning_rate=1e-12, epochs=1, average=0.9)
    other = load(begun)
    train(still, dataset, features, tmp_path / "still", device="cpu", start=other)
    words = len(other.vocabulary)
    assert f"started from a trained model: {words} of {words} words" in capsys.readouterr().out
    ours = load(tmp_path / "still")
    for name, tensor in other.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor, rtol=0, atol=1e-6)
    assert ours.temperature == pytest.approx(other.temperature, rel=1e-5)
    assert other.temperature != pytest.approx(CONFIG.loss.temperature, rel=1e-5)


def test_a_temperature_that_is_not_learned_is_the_users(begun, dataset, features, tmp_path):
    fixed = replace(CONFIG, epochs=1, loss=LossConfig(name="infonce", temperature=0.3, learn_temperature=False))
    train(fixed, dataset, features, tmp_path / "fixed", device="cpu", start=load(begun))
    assert load(tmp_path / "fixed").temperature == pytest.approx(0.3)


def test_it_resumes_to_the_bit_and_only_from_the_same_start(begun, dataset, features, tmp_path):
    start = load(begun)
    train(CONFIG, dataset, features, tmp_path / "whole", device="cpu", start=start, stop_after=2)
    train(CONFIG, dataset, features, tmp_path / "parts", device="cpu", start=start, stop_after=1)
    assert load_resume(tmp_path / "parts") is not None
    with pytest.raises(InputError, match="begun with --start [0-9a-f]{16}, now it is none"):
        train(CONFIG, dataset, features, tmp_path / "parts", device="cpu", resume=True)
    train(CONFIG, dataset, features, tmp_path / "parts", device="cpu", start=start, resume=True)
    a, b = (load(tmp_path / name).state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(a[name], b[name]) for name in a)
