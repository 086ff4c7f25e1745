"""vse.answers and vse.train_answers: it learns from the photo, resumes to the bit; its commands and their mistakes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_world import COLOURS

import vse
from vse.answers import Answerer, AnswererConfig
from vse.configs import AnswerTrainConfig, FusionConfig, TextConfig, VSEConfig
from vse.data.questions import Questions
from vse.data.vocabulary import Vocabulary
from vse.fusion import Fusion
from vse.model import VSE
from vse.runs import answers as answer_runs
from vse.runs import checkpoint
from vse.system.errors import InputError
from vse.train_answers import accuracies, begin, train_answers

pytest.register_assert_rewrite("coloured_shapes")
from coloured_shapes import colour_cnn_in, refused, works  # noqa: E402

pytest_plugins = ["coloured_shapes"]
TINY = AnswerTrainConfig(
    model=FusionConfig(width=16, layers=1, heads=2, positions=12, image_dropout=0.0, dropout=0.0), epochs=3,
    batch_size=8, learning_rate=3e-3, warmup_steps=5, average=0.8, precision="float32",
)  # fmt: skip


def asked(dataset, part):
    """What thing and what color, of each photo of a split."""
    rows = []
    for image in dataset.split(part).images:
        color, thing = image.removesuffix(".jpg").split("_")
        rows += [(image, "what color is it?", color, "color"), (image, "what is it?", thing, "thing")]
    return Questions(*zip(*rows, strict=True))


@pytest.fixture(scope="module")
def questions(dataset):
    return asked(dataset, "train"), asked(dataset, "dev")


def state(out):
    saved = checkpoint.load_resume(out)
    return {f"kept/{k}": v for k, v in answer_runs.load(out).state_dict().items()} | (saved[0] if saved else {})


def test_it_learns_to_look(questions, features, tmp_path):
    found = train_answers(replace(TINY, epochs=60), *questions, features, tmp_path, device="cpu")
    assert found["color"] > 60 and found["all"] > 50  # of 6 colors, and of 14 answers in all
    model = vse.load(tmp_path)
    assert isinstance(model, Answerer) and set(model.answers) > set(COLOURS)
    assert accuracies(model, questions[1], features) == found
    blind = accuracies(model, questions[1], features, blind=True)
    assert blind["all"] < found["all"] - 20
    assert json.loads((tmp_path / "metrics.json").read_text())["dev"] == found


def test_resuming_after_every_epoch_equals_not_stopping(questions, features, tmp_path):
    train_answers(TINY, *questions, features, tmp_path / "whole", device="cpu", stop_after=2)
    for epoch in (1, 2):
        train_answers(TINY, *questions, features, tmp_path / "parts", device="cpu", stop_after=epoch, resume=True)
    whole, parts = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)
    with pytest.raises(InputError, match="captions or splits"):
        train_answers(TINY, questions[1], *questions[1:], features, tmp_path / "parts", device="cpu", resume=True)


def fusion(words, seed=0, **settings):
    torch.manual_seed(seed)
    return Fusion(replace(TINY.model, **settings), Vocabulary.from_captions([words]), 12, {"shape": [2, 3, 12]})


def test_it_begins_with_all_that_a_fusion_transformer_knows():
    start, model = fusion("a red dog", 1), fusion("a red dog", 2)
    model.vocabulary = Vocabulary((*start.vocabulary.tokens, "what", "color"))
    model = Fusion(model.config, model.vocabulary, 12, {"shape": [2, 3, 12]})
    new = model.words.weight[-2:].detach().clone()
    assert begin(model, start, np.zeros((1, 2, 3, 12), np.float32)) == 3
    for name, tensor in start.state_dict().items():
        ours = model.state_dict()[name]
        assert torch.equal(ours[: len(tensor)] if name in ("words.weight", "word_bias") else ours, tensor), name
    assert torch.equal(model.words.weight[-2:], new)
    with pytest.raises(InputError, match="model.width is 16, expected 8"):
        begin(fusion("a red dog", width=8), start, np.zeros((1, 2, 3, 12), np.float32))


def test_it_begins_with_the_words_and_regions_of_a_dual_encoder():
    torch.manual_seed(0)
    words = Vocabulary.from_captions(["a red dog"])
    encoder = VSE(VSEConfig(embed_dim=5, text=TextConfig(encoder="bow", word_dim=4)), words, 12, {"shape": [2, 3, 12]})
    model = Fusion(TINY.model, Vocabulary((*words.tokens, "what")), 12, {"shape": [2, 3, 12]})
    new = model.words.weight[-1].detach().clone()
    draw = np.random.default_rng(0).standard_normal((9, 2, 3, 12)).astype(np.float32)
    assert begin(model, encoder, draw) == 3
    ours = torch.nn.functional.normalize(model.words.weight[4:7].detach(), dim=1)
    theirs = torch.from_numpy(encoder.encode_texts(words.words))
    assert torch.allclose(ours @ ours.T, theirs @ theirs.T, atol=1e-4)
    assert torch.equal(model.words.weight[-1], new)


def test_answers_are_asked_one_a_photo():
    config = AnswererConfig(TINY.model, ("yes", "no", "red"))
    model = Answerer(config, Vocabulary.from_captions(["is it red"]), 12, {"shape": [2, 3, 12]}).eval()
    torch.nn.init.normal_(model.head.weight)
    photos = np.random.default_rng(0).standard_normal((3, 2, 3, 12)).astype(np.float32)
    found = model.ask(photos, ["is it red?", "red", "it is red is it"])
    assert found.shape == (3, 3) and found.sum(1) == pytest.approx(np.ones(3), abs=1e-3)
    assert model.ask(photos[1:2], ["red"])[0] == pytest.approx(found[1], abs=1e-2)
    with pytest.raises(InputError, match="reads 1 sentences"):
        model.ask(photos[:1], [("is it red?", "it is")])
    with pytest.raises(InputError, match="3 photos, 2 questions"):
        model.ask(photos, ["red", "it"])
    with pytest.raises(InputError, match="none of its words"):
        model.check_question("zebra?")


@pytest.mark.parametrize("answers, combination, says", [((), "sum", "0 answers"), (("a",), "score", "sum or concat")])
def test_settings_that_make_no_sense(answers, combination, says):
    with pytest.raises(InputError, match=says):
        AnswererConfig(replace(TINY.model, combination=combination), answers)


def test_the_commands(world, tmp_path, monkeypatch):
    colour_cnn_in(monkeypatch)
    lines = []
    for name in world.names:
        color, shape = name.removesuffix(".png").split("_")
        lines += [f"{name}\twhat color is it?\t{color}\tcolor", f"{name}\twhat is it?\t{shape}\tshape"]
    (tmp_path / "q.tsv").write_text("\n".join(lines), encoding="utf-8")
    works("features", world.csv, "--images", world.photos, "--out", tmp_path / "f", "--grid", 2,
          "--encoder", "efficientnet-lite0")  # fmt: skip
    asked = ("train-answers", world.csv, tmp_path / "q.tsv", "--features", tmp_path / "f", "--images", world.photos)
    small = ("--model.width", 16, "--model.layers", 1, "--model.heads", 2, "--epochs", 2, "--batch-size", 8,
             "--device", "cpu")  # fmt: skip
    run, photo = tmp_path / "run", world.photos / "red_bar.png"
    assert "dev, percent right: all" in works(*asked, "--out", run, *small).replace("\n", " ")
    told = json.loads(works("ask", run, photo, "what color is it?", "--json"))
    assert told["photo"] == str(photo) and len(told["answers"]) == len(vse.load(run).answers)
    assert sum(each["probability"] for each in told["answers"]) == pytest.approx(1, abs=1e-2)
    assert len(works("ask", run, photo, "what is it?", "-k", 2).splitlines()) == 2
    refused("ask", run, photo, "wozu?", says=("'wozu?'", "none of its words"))
    refused("ask", run, tmp_path / "no.png", "what is it?", says=("no.png",))
    refused(*asked, "--out", run, *small, says=("not empty",), keeps=run)
    refused(*asked, "--out", tmp_path / "o", *small, "--model.combination", "score", says=("sum or concat",))
    refused(*asked, "--out", tmp_path / "o", *small, "--start", run, says=("--start", "answers questions already"))
    refused("evaluate", run, world.csv, "--features", tmp_path / "f", says=("'answerer'", "vse train"))
    (tmp_path / "q.tsv").write_text("nowhere.png\twhat?\tred", encoding="utf-8")
    refused(*asked, "--out", tmp_path / "o", *small, says=("line 1", "nowhere.png"))
