"""Training the language models: batches, learning, killed runs that go on, and run folders that say what is wrong."""

import dataclasses
import json
import math
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_world import COLOURS, THINGS

import scnlm.train
from scnlm import language_model
from scnlm.captions.captioner import Captioner
from scnlm.data import TaggedText
from scnlm.generate import Decoder
from scnlm.language_model import LanguageModel, load, save
from scnlm.models import MODELS, LMConfig
from scnlm.rerank.concepts import SentenceBank
from scnlm.rerank.score import Weights
from scnlm.rerank.trigram import Trigram
from scnlm.structure import StructureBank, TagVocabulary
from scnlm.train import LMTrainConfig, embed, nats_per_word, train
from vse.data.datasets import Dataset
from vse.data.vocabulary import EOS, EOS_ID, UNK_ID, Vocabulary, tokenize
from vse.encoders.text import TextConfig
from vse.model import VSE, VSEConfig
from vse.runs import checkpoint
from vse.runs.checkpoint import config_from_dict, load_resume
from vse.system.errors import InputError

DIM, CPU = 8, torch.device("cpu")
SIZES = LMConfig(word_dim=8, num_factors=10, context=3, gate_dim=16, tag_context=1, tag_dim=4)
PLAIN = LMTrainConfig(
    lm=SIZES, min_count=1, content="caption", content_noise=0.0, epochs=3, batch_size=16, optimizer="adamw",
    learning_rate=0.02, schedule="cosine", warmup_steps=0, precision="float32",
)  # fmt: skip
TAG_OF = {**dict.fromkeys(COLOURS, "ADJ"), **dict.fromkeys((*THINGS, "road"), "NOUN"), "a": "DET", "the": "DET"}
TAG_OF |= {"is": "VERB", "on": "ADP", "whale": "PROPN"}


def tag(sentences, *_, **__):
    """A tag a word, as spaCy would but by a list."""
    return [tuple(TAG_OF.get(word, "X") for word in words) for words in sentences]


@pytest.fixture(scope="module", autouse=True)
def without_spacy():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scnlm.train, "tag_captions", tag)
        yield


@pytest.fixture(scope="module")
def encoder(dataset) -> VSE:
    torch.manual_seed(0)
    config = VSEConfig(embed_dim=DIM, text=TextConfig(encoder="bow", word_dim=DIM))
    model = VSE(config, Vocabulary.from_captions(dataset.split("train").captions), 3)
    model.fingerprint = "0123456789abcdef"
    return model


@pytest.fixture(scope="module")
def plain(dataset, encoder, tmp_path_factory):
    """The run folder of PLAIN, not interrupted."""
    out = tmp_path_factory.mktemp("plain") / "run"
    train(PLAIN, dataset, encoder, out, device="cpu")
    return out


@pytest.fixture
def run(plain, tmp_path):
    return shutil.copytree(plain, tmp_path / "run")


@pytest.fixture
def texts(monkeypatch) -> list[TaggedText]:
    """Every text that a training makes: of the training captions, of dev."""
    made = []
    monkeypatch.setattr(scnlm.train, "TaggedText", lambda *args: made.append(TaggedText(*args)) or made[-1])
    return made


@pytest.fixture
def epochs_done(monkeypatch) -> list[tuple[str, int]]:
    """The run folder's name and the number, from 0, of every epoch that is trained."""
    done, train_epoch = [], scnlm.train._Training.epoch

    def record(self):
        done.append((self.out.name, self.run.epoch))
        return train_epoch(self)

    monkeypatch.setattr(scnlm.train._Training, "epoch", record)
    return done


def lines(out):
    """metrics.jsonl without the times."""
    path = out / "metrics.jsonl"
    read = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [{k: v for k, v in line.items() if k not in ("seconds", "captions_per_s")} for line in read]


def same_bits(a, b):
    """The kept model, the resume state where there is one, and the log."""
    (x, y), (saved, expected) = [load(out).model.state_dict() for out in (a, b)], [load_resume(out) for out in (a, b)]
    assert (saved is None) == (expected is None) and lines(a) == lines(b)
    pairs = [(x, y)] + ([(saved[0], expected[0])] if saved else [])
    for one, other in pairs:
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert not saved or saved[1] == expected[1]


# --- Training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        *(replace(PLAIN, epochs=10, lm=replace(SIZES, model=kind)) for kind in MODELS),
        pytest.param(
            replace(PLAIN, epochs=10, precision="bfloat16", content_noise=0.1, lm=replace(SIZES, dropout=0.1)),
            marks=pytest.mark.bfloat16,
        ),
        replace(PLAIN, epochs=20, optimizer="sgd", learning_rate=1.0, schedule="exponential", decay=0.95),
    ],
    ids=[*MODELS, "bfloat16-noise-dropout", "sgd"],
)
def test_it_learns_what_captions_say(dataset, encoder, tmp_path, settings):
    nats = train(settings, dataset, encoder, tmp_path / "run", device="cpu")
    log = lines(tmp_path / "run")
    uniform = math.log(len(load(tmp_path / "run").vocabulary))
    assert nats < 0.7 * uniform and log[-1]["loss"] < 0.6 * log[0]["loss"]
    assert nats == min(line["dev"]["nats"] for line in log)


def test_content_and_structure_tell_the_models_apart(dataset, encoder, tmp_path):
    """On captions known by heart: what each model adds to the one before is worth nats, and the last says what u is
    about in the form of the structure."""
    known, nats = dataset.split("train"), {}
    both = replace(
        known,
        images=known.images + tuple(f"again_{name}" for name in known.images),
        split_of_image=("train",) * len(known.images) + ("dev",) * len(known.images),
        captions=known.captions * 2,
        image_of_caption=np.concatenate([known.image_of_caption, known.image_of_caption + len(known.images)]),
    )
    for kind in MODELS:
        settings = replace(PLAIN, epochs=20, lm=replace(SIZES, model=kind))
        nats[kind] = train(settings, both, encoder, tmp_path / kind, device="cpu")
    assert nats["lbl"] > nats["multiplicative"] + 0.3 > nats["scnlm"] + 0.4
    asked = [tokenize(caption) for caption in known.captions]
    u = embed(list(known.captions), encoder).astype(np.float32)
    said, _ = Decoder(load(tmp_path / "scnlm")).most_probable(u, np.arange(len(asked)), tag(asked))
    assert np.mean([a == b for a, b in zip(tag(said), tag(asked), strict=True)]) > 0.95
    assert np.mean([a == b for a, b in zip(said, asked, strict=True)]) > 0.5  # of 48 colours and things


def test_the_nats_are_those_of_the_best_epochs_model(dataset, encoder, plain, texts, epochs_done):
    nats = train(PLAIN, dataset, encoder, plain, device="cpu", resume=True)
    assert not epochs_done  # it was finished
    per_epoch = [line["dev"]["nats"] for line in lines(plain)]
    assert len(per_epoch) == 3 and nats == min(per_epoch) == nats_per_word(load(plain).model, texts[1])
    summary = json.loads((plain / "metrics.json").read_text())
    assert summary == {"best_epoch": 1 + per_epoch.index(nats), "dev": {"nats": nats}}


def test_a_finished_run_is_what_loading_needs_and_a_log(plain):
    assert sorted(path.name for path in plain.iterdir()) == [
        "config.json", "manifest.json", "metrics.json", "metrics.jsonl", "model.safetensors", "structures.json",
        "tensorboard", "vocabulary.txt",
    ]  # fmt: skip
    config = json.loads((plain / "config.json").read_text())
    assert config_from_dict(LMTrainConfig, config["train"]) == PLAIN
    assert (config["data"], config["encoder"], config["seed"], config["extra_text"]) == (
        "tiny", "0123456789abcdef", 0, None
    )  # fmt: skip


def test_words_tags_and_structures_are_those_of_the_training_captions(dataset, encoder, plain):
    lm, captions = load(plain), dataset.split("train").captions
    assert set(lm.vocabulary.tokens[4:]) == {word for caption in captions for word in caption.split()}
    assert "zebra" not in lm.vocabulary  # a dev caption has one
    tags = tag([caption.split() for caption in captions])
    assert lm.tags == TagVocabulary.from_tags(tags, "coarse")
    assert lm.structures == StructureBank.from_tags(tags, tag_set="coarse", spacy_model=PLAIN.spacy_model)
    assert lm.structures.total < len(captions)  # those of three words are not in it
    assert (lm.content_dim, lm.encoder, lm.model.training) == (DIM, encoder.fingerprint, False)


def test_rare_words_are_unknown(dataset, encoder, tmp_path):
    train(replace(PLAIN, epochs=1, min_count=10), dataset, encoder, tmp_path / "run", device="cpu")
    captions = dataset.split("train").captions
    assert load(tmp_path / "run").vocabulary.tokens == Vocabulary.from_captions(captions, 10).tokens
    assert 4 < len(load(tmp_path / "run").vocabulary) < len(Vocabulary.from_captions(captions))


def with_captions(dataset: Dataset, split: str, *captions: str) -> Dataset:
    """The data set with more captions of a split's first image, in front of the others."""
    image = dataset.split_of_image.index(split)
    owners = np.concatenate([np.full(len(captions), image), dataset.image_of_caption])
    return replace(dataset, captions=(*captions, *dataset.captions), image_of_caption=owners)


def test_every_sentence_has_its_own_tags_and_content(dataset, encoder, tmp_path, texts):
    """Captions without a word are left out, and nothing behind them is shifted."""
    odd = with_captions(with_captions(dataset, "train", "...", "A red dog .", ""), "dev", "", "!?")
    train(replace(PLAIN, epochs=1), odd, encoder, tmp_path / "run", device="cpu")
    lm = load(tmp_path / "run")
    for text, split in zip(texts, ("train", "dev"), strict=True):
        kept = [caption for caption in odd.split(split).captions if tokenize(caption)]
        assert len(text) == len(kept) == len(odd.split(split).captions) - (2 if split == "train" else 2)
        for i, caption in enumerate(kept):
            ids = [lm.vocabulary.ids.get(word, UNK_ID) for word in tokenize(caption)] + [EOS_ID]
            tags = lm.tags.ids([*tag([tokenize(caption)])[0], EOS], unseen=0)
            assert text.tokens[i, : len(ids)].tolist() == ids and text.tags[i, : len(ids)].tolist() == tags
        assert text.u.float().numpy() == pytest.approx(encoder.encode_texts(kept), abs=1e-3)


def test_the_content_of_an_image_is_the_mean_of_its_captions(dataset, encoder, tmp_path, texts):
    """Also where an image has one caption, and for extra text, whose images are others than the data set's."""
    odd = with_captions(dataset, "train", "...", "a red dog and a ball")
    extra = Dataset("more", None, ("x.jpg", "y.jpg"), ("", ""), ("a dog", "a boat", "a tree"), np.array([0, 1, 0]))
    train(replace(PLAIN, epochs=1, content="image"), odd, encoder, tmp_path / "run", extra_text=extra, device="cpu")
    split = odd.split("train")
    owned = [("own", i, c) for i, c in zip(split.image_of_caption, split.captions, strict=True)]
    owned += [("extra", i, c) for i, c in zip(extra.image_of_caption, extra.captions, strict=True)]
    owned = [row for row in owned if tokenize(row[2])]
    assert len(texts[0]) == len(owned)
    for found, (*owner, _) in zip(texts[0].u.float().numpy(), owned, strict=True):
        mean = encoder.encode_texts([c for *o, c in owned if o == owner]).mean(0)
        assert found == pytest.approx(mean / np.linalg.norm(mean), abs=2e-3)


def test_extra_text_is_trained_on_but_brings_no_words_and_no_structures(dataset, encoder, plain, tmp_path, texts):
    captions = ("a purple dog", "the purple whale there is red and big now", "red dog")
    extra = Dataset("more", None, ("x.jpg",), ("",), captions, np.zeros(3, np.int64))
    train(PLAIN, dataset, encoder, tmp_path / "run", extra_text=extra, device="cpu")
    with_it, without = load(tmp_path / "run"), load(plain)
    assert with_it.vocabulary.tokens == without.vocabulary.tokens and "purple" not in with_it.vocabulary
    assert with_it.structures == without.structures and with_it.tags == without.tags
    assert "PROPN" not in with_it.tags.tags  # a whale's
    assert not torch.equal(with_it.model.R, without.model.R)
    own = len(dataset.split("train").captions)
    assert len(texts[0]) == own + 3 and len(texts[1]) == len(dataset.split("dev").captions)
    first = [with_it.vocabulary.tokens[i] for i in texts[0].tokens[own].tolist()[:4]]
    assert first == ["a", "<unk>", "dog", "</s>"]
    assert texts[0].u[own:].float().numpy() == pytest.approx(encoder.encode_texts(captions), abs=1e-3)
    refused("begun with --extra-text", PLAIN, dataset, encoder, tmp_path / "run", resume=True)


def test_a_caption_of_thousands_of_words_survives(dataset, encoder, tmp_path):
    endless = " ".join(("dog", "red", "a", "ball") * 700)
    assert len(endless) >= 10_000
    long = with_captions(with_captions(dataset, "train", endless), "dev", endless)
    assert math.isfinite(train(replace(PLAIN, epochs=1), long, encoder, tmp_path / "run", device="cpu"))
    assert max(map(len, load(tmp_path / "run").structures.sequences)) == 7  # it is nobody's structure


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(dataset, encoder, plain, tmp_path):
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    train(PLAIN, dataset, encoder, tmp_path / "same", device="cpu")
    assert torch.equal(torch.get_rng_state(), before[0]) and np.random.get_state()[1].tolist() == before[1]
    torch.manual_seed(123)  # what the process did before does not matter
    train(PLAIN, dataset, encoder, tmp_path / "again", device="cpu")
    same_bits(plain, tmp_path / "same")
    same_bits(plain, tmp_path / "again")
    train(PLAIN, dataset, encoder, tmp_path / "other", device="cpu", seed=1)
    a, b = load(plain).model.state_dict(), load(tmp_path / "other").model.state_dict()
    assert not any(torch.equal(a[name], b[name]) for name in a)


def test_every_epoch_has_its_own_noise(dataset, encoder, tmp_path, monkeypatch):
    seeds = []
    monkeypatch.setattr(scnlm.train, "noisy", lambda u, size: seeds.append(torch.initial_seed()) or u)
    train(replace(PLAIN, content_noise=0.1), dataset, encoder, tmp_path / "run", device="cpu")
    assert len(set(seeds)) == PLAIN.epochs


RESUMED = {
    "plain": PLAIN,
    "sgd": replace(PLAIN, optimizer="sgd", learning_rate=0.5, schedule="exponential"),
    "noise-dropout": replace(PLAIN, content_noise=0.2, warmup_steps=8, lm=replace(SIZES, dropout=0.3)),
}
HALVES = replace(PLAIN, precision="bfloat16", optimizer="adam", lm=replace(SIZES, model="lbl"))


@pytest.mark.parametrize(
    "settings", [*RESUMED.values(), pytest.param(HALVES, marks=pytest.mark.bfloat16)], ids=[*RESUMED, "bfloat16-lbl"]
)
def test_resuming_after_every_epoch_equals_not_stopping(dataset, encoder, tmp_path, settings, epochs_done):
    """Compared before the end, with the optimizer's state, and after it."""
    settings = replace(settings, epochs=4)
    for epochs in (3, None):
        train(settings, dataset, encoder, tmp_path / f"whole{epochs}", device="cpu", stop_after=epochs)
        for epoch in (1, 2, epochs) if epochs else (epochs,):
            nats = train(settings, dataset, encoder, tmp_path / "parts", device="cpu", stop_after=epoch, resume=True)
        same_bits(tmp_path / f"whole{epochs}", tmp_path / "parts")
        assert nats == min(line["dev"]["nats"] for line in lines(tmp_path / "parts"))
    assert len(lines(tmp_path / "parts")) == 4
    assert [epoch for name, epoch in epochs_done if name == "parts"] == [0, 1, 2, 3]  # each once


def test_a_kill_before_any_file_gets_its_name_costs_nothing(dataset, encoder, tmp_path, monkeypatch):
    """Each of the worst moments of a run: before each file that it writes."""
    replace_file, names, settings = os.replace, [], replace(PLAIN, epochs=2)

    def cut(count):
        def replaced(source, target):
            names.append(os.path.basename(target))
            if len(names) > count:
                raise KeyboardInterrupt
            replace_file(source, target)

        return replaced

    monkeypatch.setattr(os, "replace", cut(math.inf))
    train(settings, dataset, encoder, tmp_path / "whole", device="cpu")
    written = names.copy()
    assert {"model.safetensors", "resume.safetensors", "structures.json", "metrics.json"} <= set(written)
    for count in range(len(written)):
        names.clear()
        out = tmp_path / str(count)
        monkeypatch.setattr(os, "replace", cut(count))
        with pytest.raises(KeyboardInterrupt):
            train(settings, dataset, encoder, out, device="cpu")
        monkeypatch.setattr(os, "replace", replace_file)
        train(settings, dataset, encoder, out, device="cpu", resume=True)
        same_bits(tmp_path / "whole", out)
        assert (out / "metrics.json").read_text() == (tmp_path / "whole" / "metrics.json").read_text()


# --- What is refused -------------------------------------------------------------------------------------------------


def refused(said, *args, **settings):
    with pytest.raises(InputError, match=said) as error:
        train(*args, device="cpu", **settings)
    assert "\n" not in str(error.value)


def test_a_folder_in_use_is_refused(dataset, encoder, plain, tmp_path):
    refused("not empty; .*--resume", PLAIN, dataset, encoder, plain)
    (tmp_path / "thesis.txt").write_text("mine")
    refused("not empty", PLAIN, dataset, encoder, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_run_with_other_settings_data_or_encoder_is_not_resumed(dataset, encoder, plain, tmp_path):
    refused("begun with --epochs 3, now it is 9", replace(PLAIN, epochs=9), dataset, encoder, plain, resume=True)
    other = replace(PLAIN, lm=replace(SIZES, context=4))
    refused("begun with --lm.context 3, now it is 4", other, dataset, encoder, plain, resume=True)
    refused("begun with --seed 0, now it is 7", PLAIN, dataset, encoder, plain, resume=True, seed=7)
    changed = replace(dataset, captions=("a new caption", *dataset.captions[1:]))
    refused("begun with the captions or splits of DATA", PLAIN, changed, encoder, plain, resume=True)
    refused("begun with --extra-text none", PLAIN, dataset, encoder, plain, resume=True, extra_text=dataset)
    stranger = VSE(encoder.config, encoder.vocabulary, 3)
    refused("begun with --encoder", PLAIN, dataset, stranger, plain, resume=True)
    checkpoint.save_run(tmp_path, encoder, {})
    refused("begun with", PLAIN, dataset, encoder, tmp_path, resume=True)  # the encoder's own folder


def test_data_that_cannot_be_learned_from_is_refused(dataset, encoder, tmp_path):
    out, split = tmp_path / "run", np.array(dataset.split_of_image)
    refused("no split 'dev'", PLAIN, dataset.select(split == "train"), encoder, out)
    for lost, said in (("dev", "no sentences"), ("train", "no training sentence")):
        rows = np.flatnonzero(split[dataset.image_of_caption] != lost)
        captions = tuple(dataset.captions[j] for j in rows)
        bare = replace(dataset, captions=captions, image_of_caption=dataset.image_of_caption[rows])
        for content in ("caption", "image"):
            refused(said, replace(PLAIN, content=content), bare, encoder, out)
    refused("min_count = 1000", replace(PLAIN, min_count=1000), dataset, encoder, out)
    assert not any(out.iterdir())  # so the right command needs no other folder


def test_a_training_that_diverges_says_so(dataset, encoder, tmp_path):
    wild = replace(PLAIN, learning_rate=1e30)
    refused("learning_rate", wild, dataset, encoder, tmp_path / "run")


@pytest.mark.parametrize(
    "wrong",
    [
        {"optimizer": "lion"}, {"schedule": "step"}, {"precision": "float8"}, {"content": "photo"}, {"epochs": 0},
        {"batch_size": 0}, {"learning_rate": 0.0}, {"min_count": 0}, {"content_noise": -0.1},
    ],
    ids=str,
)  # fmt: skip
def test_settings_without_sense_are_refused_in_one_line(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))) as error:
        config_from_dict(LMTrainConfig, wrong)
    assert "\n" not in str(error.value)


# --- The run folder --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODELS)
def test_a_loaded_model_is_the_saved_one(plain, tmp_path, kind):
    lm = load(plain)
    config = replace(SIZES, model=kind)
    made = LanguageModel.make(config, lm.vocabulary, lm.structures, lm.tags, DIM, "abc")
    save(tmp_path, made, {"seed": 5})
    again = load(tmp_path)
    assert again.config == config and type(again.model) is MODELS[kind] and not again.model.training
    assert (again.vocabulary.tokens, again.tags, again.structures) == (lm.vocabulary.tokens, lm.tags, lm.structures)
    assert (again.content_dim, again.encoder) == (DIM, "abc")
    states = [m.model.state_dict() for m in (made, again)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert load(tmp_path).fingerprint == again.fingerprint != lm.fingerprint and len(again.fingerprint) == 16
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 5


def not_loaded(run, said=None):
    with pytest.raises(InputError, match=said) as error:
        load(run)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    return str(error.value)


def edit(path, **changes):
    values = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in (values | changes).items() if v is not ...}))


def test_a_folder_that_is_no_run(tmp_path, encoder):
    assert str(tmp_path) in not_loaded(tmp_path, "not a run folder")
    not_loaded(tmp_path / "nowhere", "not a run folder")
    checkpoint.save_run(tmp_path, encoder, {})
    not_loaded(tmp_path, "not a language model")
    with pytest.raises(InputError):
        checkpoint.load(tmp_path / "nowhere")


def test_a_language_model_is_no_encoder(plain):
    with pytest.raises(InputError) as error:
        checkpoint.load(plain)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("missing", ["vocabulary.txt", "model.safetensors", "structures.json"])
def test_a_half_written_run(run, missing):
    (run / missing).unlink()
    assert str(run) in not_loaded(run, f"{missing} is missing")


@pytest.mark.parametrize("version", [2, 99, None, "1", ...], ids=str)
def test_a_version_that_cannot_be_read(run, version):
    edit(run / "config.json", version=version)
    not_loaded(run, "format version .*upgrade")


@pytest.mark.parametrize("key", ["model", "content_dim", "tags", "encoder"])
def test_a_missing_key(run, key):
    edit(run / "config.json", **{key: ...})
    not_loaded(run, f"damaged .*{key}")


def test_an_unknown_key(run):
    edit(run / "config.json", model=dataclasses.asdict(SIZES) | {"depth": 3})
    not_loaded(run, "unknown key 'depth'; expected some of")


@pytest.mark.parametrize(
    "change",
    [
        {"model": 7}, {"model": None}, {"model": []}, {"model": {"word_dim": "8"}}, {"model": {"model": "rnn"}},
        {"model": {"word_dim": None}}, {"model": {"context": 2.5}}, {"content_dim": None}, {"content_dim": "8"},
        {"content_dim": -8}, {"content_dim": 9}, {"content_dim": 8.5}, {"tags": None}, {"tags": []},
        {"tags": {"names": [1, 2], "tag_set": "coarse"}}, {"tags": {"names": ["X"], "tag_set": "coarse"}},
        {"tags": {"names": ["<none>", "</s>", "X"], "tag_set": "penn"}}, {"tags": {"names": "X", "tag_set": "coarse"}},
    ],
    ids=str,
)  # fmt: skip
def test_a_config_of_wrong_values(run, change):
    if isinstance(change.get("model"), dict):
        change = {"model": dataclasses.asdict(SIZES) | change["model"]}
    edit(run / "config.json", **change)
    not_loaded(run)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b'{"a": 1}trailing'])
@pytest.mark.parametrize("name", ["config.json", "structures.json"])
def test_a_file_that_is_no_json_object(run, name, content):
    (run / name).write_bytes(content)
    not_loaded(run, name)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_damaged_weights(run, keep):
    path = run / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    not_loaded(run, "model.safetensors: damaged weights")


def test_weights_words_or_tags_of_another_model(run):
    edit(run / "config.json", model=dataclasses.asdict(replace(SIZES, word_dim=9)))
    not_loaded(run, "does not fit")
    edit(run / "config.json", model=dataclasses.asdict(replace(SIZES, model="lbl")))
    not_loaded(run, "does not fit")
    edit(run / "config.json", model=dataclasses.asdict(SIZES))
    not_loaded(run, "config.json: not the file that was saved")  # it is written in another way
    (run / "manifest.json").unlink()
    assert load(run)
    with open(run / "vocabulary.txt", "a") as handle:
        handle.write("zebra\n")
    not_loaded(run, "does not fit")
    (run / "vocabulary.txt").write_text("dog\n")
    not_loaded(run, "vocabulary.txt")


def test_a_bank_of_other_tags(run):
    edit(run / "structures.json", tag_set="fine")
    not_loaded(run, "a bank of fine tags, expected coarse ones")
    edit(run / "structures.json", tag_set="coarse", sequences={"DET NOUN DET NOUN": 2, "DET NOUN WP NOUN": 1})
    not_loaded(run, "structures.json: tag 'WP' is none of the coarse tags")


def test_an_encoder_of_another_space_is_told(plain):
    lm = load(plain)
    lm.check_encoder(DIM, "0123456789abcdef")
    for given_, says in (
        ((DIM + 1, "0123456789abcdef"), "an encoder of 9 dimensions, the language model was trained on one of 8"),
        ((DIM, "fedcba9876543210"), "encoder fedcba9876543210: .*encoder 0123456789abcdef; give that one"),
        ((DIM, ""), "encoder without a name"),
    ):
        with pytest.raises(InputError, match=says) as error:
            lm.check_encoder(*given_)
        assert "\n" not in str(error.value)
    dataclasses.replace(lm, encoder="").check_encoder(DIM, "any")  # trained with an encoder that has no run folder


def test_a_full_disk_ends_in_one_line_and_the_old_model_stays(run, monkeypatch):
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    lm = load(run)
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(InputError, match="No space left"):
        save(run, lm, {})
    del before["manifest.json"]  # what it would bind was about to change
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before and load(run)
    assert language_model.load(run).fingerprint == lm.fingerprint


def test_a_model_that_reads_no_tags_is_trained_without(dataset, encoder, tmp_path, monkeypatch):
    """No tagger is asked, no bank is written, and the losses are those of the same model with tags that it ignores."""
    config = replace(PLAIN, lm=replace(SIZES, model="multiplicative"), epochs=1)
    with_tags = train(config, dataset, encoder, tmp_path / "tags", device="cpu")
    monkeypatch.setattr(scnlm.train, "tag_captions", lambda *_: pytest.fail("tagged"))
    assert train(replace(config, tag_set="none"), dataset, encoder, tmp_path / "none", device="cpu") == with_tags
    lm = load(tmp_path / "none")
    assert lm.tags is None and lm.structures is None and not (tmp_path / "none" / "structures.json").exists()
    with pytest.raises(InputError, match="trained without tags.*no structures"):
        Captioner(encoder, lm, object.__new__(SentenceBank), object.__new__(Trigram), Weights())
    with pytest.raises(InputError, match="tag_set none: lm.model scnlm reads tags"):
        replace(PLAIN, tag_set="none")
