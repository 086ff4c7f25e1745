"""vse.runs.checkpoint: a run folder gives the same model again, and says in one line what is wrong with it."""

import dataclasses
import errno
import json
import math
import os
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from vse.data.vocabulary import Vocabulary
from vse.encoders.image import ImageConfig
from vse.encoders.text import TextConfig
from vse.model import VSE, VSEConfig
from vse.runs import checkpoint
from vse.runs.checkpoint import (
    config_from_dict,
    load,
    load_resume,
    read_json,
    save_resume,
    save_run,
    save_weights,
    write_atomically,
    write_json,
)
from vse.system.errors import InputError

TEXTS = ["a red dog", "the blue boat"]
CONFIG = VSEConfig(
    embed_dim=5,
    image=ImageConfig(pooling="attention", heads=2, hidden=3),
    text=TextConfig(encoder="peephole", word_dim=4, hidden=3, bidirectional=True, pooling="max"),
)


def make(seed=0):
    torch.manual_seed(seed)
    return VSE(CONFIG, Vocabulary.from_captions(TEXTS), 6, {"encoder": "tiny", "views": ["full"]})


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    save_run(folder, make(), {"seed": 3})
    return folder


@pytest.fixture
def run(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "run")


def refused(run, said):
    with pytest.raises(InputError, match=said) as error:
        load(run)
    assert "\n" not in str(error.value) and str(run) in str(error.value)


def edit(path, **changes):
    values = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in (values | changes).items() if v is not ...}))


def left_over(folder):
    return [p.name for p in folder.iterdir() if "tmp" in p.name]


def test_a_loaded_model_gives_the_same_vectors(saved):
    model, again = make().eval(), load(saved)
    features = np.random.default_rng(0).standard_normal((4, 3, 6)).astype(np.float32)
    assert np.array_equal(again.encode_images(features), model.encode_images(features))
    assert np.array_equal(again.encode_texts([*TEXTS, "zebra"]), model.encode_texts([*TEXTS, "zebra"]))
    assert again.config == model.config and again.feature_info == model.feature_info
    assert not again.training


def test_a_run_folder_is_plain_text_and_safetensors(saved):
    expected = ["config.json", "manifest.json", "model.safetensors", "vocabulary.txt"]
    assert sorted(p.name for p in saved.iterdir()) == expected
    config = json.loads((saved / "config.json").read_text())
    assert config["version"] == 1 and config["seed"] == 3 and config["model"]["text"]["encoder"] == "peephole"


def test_the_fingerprint_is_that_of_the_weights(saved, tmp_path):
    save_run(tmp_path, make(seed=1), {})
    assert load(saved).fingerprint == load(saved).fingerprint != load(tmp_path).fingerprint


def test_a_folder_that_is_no_run(tmp_path):
    refused(tmp_path, "not a run folder")
    refused(tmp_path / "nowhere", "not a run folder")


@pytest.mark.parametrize("missing", ["vocabulary.txt", "model.safetensors"])
def test_a_half_written_run(run, missing):
    (run / missing).unlink()
    refused(run, missing)


@pytest.mark.parametrize("version", [2, 99, None, "1", ...])
def test_a_version_that_cannot_be_read(run, version):
    edit(run / "config.json", version=version)
    refused(run, "version")


@pytest.mark.parametrize("key", ["model", "feature_dim", "feature_info"])
def test_a_missing_key(run, key):
    edit(run / "config.json", **{key: ...})
    refused(run, key)


@pytest.mark.parametrize("where", ["model", "image", "text"])
def test_an_unknown_key(run, where):
    config = json.loads((run / "config.json").read_text())
    part = config["model"] if where == "model" else config["model"][where]
    part["depth"] = 3
    (run / "config.json").write_text(json.dumps(config))
    refused(run, "unknown key 'depth'; expected some of")


@pytest.mark.parametrize(
    "model, says",
    [
        (7, "JSON object"), (None, "JSON object"), ([], "JSON object"), ({"text": 7}, "model.text: expected a JSON"),
        ({"embed_dim": "300"}, r"model\.embed_dim = '300': expected a whole number"),
        ({"embed_dim": None}, "embed_dim = None: expected a whole number"),
        ({"embed_dim": 5.0}, r"embed_dim = 5\.0: expected a whole number"),
        ({"embed_dim": True}, "embed_dim = True: expected a whole number"),
        ({"embed_dim": 10**30}, "embed_dim = a number of 100 bits: expected a whole number"),
        ({"text": {"encoder": "nn"}}, "text.encoder = 'nn': expected lstm, peephole, gru, conv, bow or transformer"),
        ({"text": {"encoder": ["lstm"]}}, "text.encoder = .*: expected lstm"),
        ({"text": {"bidirectional": "no"}}, "text.bidirectional = 'no': expected true or false"),
        ({"text": {"bidirectional": 1}}, "text.bidirectional = 1: expected true or false"),
        ({"text": {"forget_bias": "1"}}, "text.forget_bias = '1': expected a finite number"),
        ({"text": {"forget_bias": False}}, "text.forget_bias = False: expected a finite number"),
        ({"text": {"hidden": -1}}, "text.hidden = -1: expected a number in"),
        ({"text": {"hidden": "x" * 500}}, r"text.hidden = 'x+\.\.\.: expected a whole number"),
        ({"image": {"dropout": 1.0}}, r"image.dropout = 1\.0: expected a number in \[0, 1\)"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_a_config_of_wrong_types(run, model, says):
    edit(run / "config.json", model=model)
    refused(run, f"config.json.*{says}")


@pytest.mark.parametrize("text", ["NaN", "1e999", "[" * 5000, "9" * 5000], ids=["nan", "inf", "deep", "digits"])
def test_a_config_with_numbers_that_are_none(run, text):
    path = run / "config.json"
    path.write_text(path.read_text().replace('"forget_bias": 1.0', f'"forget_bias": {text}'))
    refused(run, "config.json: not valid JSON")


def test_a_whole_number_is_a_number_too():
    assert config_from_dict(TextConfig, {"forget_bias": 1}) == TextConfig()


def test_a_file_that_must_be_complete_takes_no_default():
    values = dataclasses.asdict(TextConfig())
    assert config_from_dict(TextConfig, values, complete=True) == TextConfig()
    del values["dropout"]
    assert config_from_dict(TextConfig, values) == TextConfig()
    with pytest.raises(InputError, match="config: key 'dropout' is missing"):
        config_from_dict(TextConfig, values, complete=True)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["text_encoder.out.bias", "image_encoder.W_I.weight"])
def test_weights_that_are_not_finite(run, name, value):
    weights = load_file(run / "model.safetensors")
    weights[name].view(-1)[1] = value
    save_file(weights, run / "model.safetensors")
    refused(run, f"model.safetensors: damaged, '{name}' has numbers that are not finite")


def test_weights_of_another_type(run):
    save_file({k: v.half() for k, v in load_file(run / "model.safetensors").items()}, run / "model.safetensors")
    refused(run, "float16, expected float32")


def test_a_config_of_a_giant_costs_no_memory(run):
    edit(run / "config.json", feature_dim=2**30)
    refused(run, "does not fit")


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b'{"a": 1}trailing'])
def test_a_config_that_is_no_json_object(run, content):
    (run / "config.json").write_bytes(content)
    refused(run, "config.json")


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_damaged_weights(run, keep):
    path = run / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    refused(run, "model.safetensors")


def test_a_resume_file_of_another_version(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "resume.safetensors", {"counters": '{"version": 99}'})
    with pytest.raises(InputError, match="resume.safetensors: of version 99, expected 1"):
        load_resume(tmp_path)


def test_weights_of_another_model(run):
    edit(run / "config.json", feature_dim=8)
    refused(run, "does not fit")


def test_a_vocabulary_of_another_model(run):
    with open(run / "vocabulary.txt", "a") as handle:
        handle.write("zebra\n")
    refused(run, "does not fit")


def test_a_damaged_vocabulary(run):
    (run / "vocabulary.txt").write_text("dog\n")
    refused(run, "vocabulary.txt")


def test_a_config_goes_to_a_dictionary_and_back(run):
    assert config_from_dict(VSEConfig, json.loads((run / "config.json").read_text())["model"]) == CONFIG
    assert config_from_dict(VSEConfig, {}) == VSEConfig()  # keys of a later default may be missing


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("broken", ["save_file", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_files(run, monkeypatch, broken):
    before = {p.name: p.read_bytes() for p in run.iterdir()}
    monkeypatch.setattr(*{
        "save_file": (checkpoint, "save_file", full_disk),
        "fsync": (os, "fsync", full_disk),
        "replace": (os, "replace", full_disk),
    }[broken])  # fmt: skip
    with pytest.raises(InputError, match="free some space") as error:
        save_weights(run, make(seed=1))
    assert "model.safetensors" in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(InputError, match="resume.safetensors"):
        save_resume(run, {"a": torch.zeros(3)}, {})
    if broken != "save_file":
        with pytest.raises(InputError, match="config.json"):
            write_json(run / "config.json", {})
    assert {p.name: p.read_bytes() for p in run.iterdir()} == before


def test_a_write_that_really_fails_leaves_the_old_file(run):
    """The kernel refuses to let a file grow past the limit: EFBIG in the middle of the write, as ENOSPC would."""
    resource = pytest.importorskip("resource")
    old = (run / "model.safetensors").read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(InputError, match="could not be written"):
            save_weights(run, make(seed=1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert (run / "model.safetensors").read_bytes() == old and not left_over(run)
    assert load(run)


def test_a_writer_that_is_interrupted_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def write(temporary):
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, write)
    assert read_json(path) == {"a": 1} and not left_over(tmp_path)


def test_the_resume_state_is_read_back(tmp_path):
    assert load_resume(tmp_path) is None
    tensors = {"model/a": torch.randn(3, 4), "optimizer/a/step": torch.tensor(7.0), "view": torch.arange(6.0)[::2]}
    save_resume(tmp_path, tensors, {"epoch": 2, "best_rsum": 0.1 + 0.2})
    again, counters = load_resume(tmp_path)
    assert again.keys() == tensors.keys() and all(torch.equal(again[k], tensors[k]) for k in tensors)
    assert counters["epoch"] == 2 and counters["best_rsum"] == 0.1 + 0.2  # to the last bit


@pytest.mark.parametrize("keep", [0, 9, -1])
def test_a_damaged_resume_state_is_refused_in_one_line(tmp_path, keep):
    save_resume(tmp_path, {"a": torch.randn(9)}, {"epoch": 2})
    path = tmp_path / "resume.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="resume.safetensors: damaged") as error:
        load_resume(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "tensors, says",
    [
        ({}, "'a' is missing"), ({"a": torch.ones(3), "b": torch.ones(1)}, "'b' is too many"),
        ({"a": torch.ones(4)}, r"'a' is of shape \(4,\), expected \(3,\)"),
        ({"a": torch.ones(3).bfloat16()}, "'a' is bfloat16, expected float32"),
        ({"a": torch.tensor([1, math.nan, 2])}, "'a' has numbers that are not finite"),
    ],
    ids=str,
)  # fmt: skip
def test_a_state_of_another_model_is_refused_in_one_line(tmp_path, tensors, says):
    path = tmp_path / "resume.safetensors"
    checkpoint.check_tensors({"a": torch.ones(3)}, {"a": torch.zeros(3)}, path)
    with pytest.raises(InputError, match=f"resume.safetensors: damaged.*{says}") as error:
        checkpoint.check_tensors(tensors, {"a": torch.zeros(3)}, path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "metadata", [None, {}, {"counters": "7"}, {"counters": '{"version": 1, "epoch": "2"}'}, {"counters": "[" * 9999},
                 {"counters": '{"version": 1, "best_rsum": NaN}'}, {"counters": "{"}], ids=lambda m: str(m)[:50],
)  # fmt: skip
def test_a_resume_state_with_damaged_counters(tmp_path, metadata):
    save_file({"a": torch.zeros(1)}, tmp_path / "resume.safetensors", metadata)
    with pytest.raises(InputError, match="resume.safetensors: damaged") as error:
        load_resume(tmp_path)
    assert "\n" not in str(error.value)


def test_a_resume_state_that_is_not_finite(tmp_path):
    save_resume(tmp_path, {"optimizer/a/exp_avg": torch.tensor([0.0, math.nan])}, {"epoch": 2})
    with pytest.raises(InputError, match="'optimizer/a/exp_avg' has numbers that are not finite"):
        load_resume(tmp_path)


SETTINGS = {"train": {"precision": "auto", "model": {"text": {"hidden": 300}}}, "seed": 0, "word_vectors": None}


@pytest.mark.parametrize(
    "change, says",
    [
        ({"seed": 1}, "begun with --seed 0, now it is 1"),
        ({"word_vectors": "w2v.bin"}, "begun with --word-vectors none, now it is w2v.bin"),
        ({"train": SETTINGS["train"] | {"precision": "float32"}}, "begun with --precision auto, now it is float32"),
        (
            {"train": SETTINGS["train"] | {"model": {"text": {"hidden": 200}}}},
            "begun with --model.text.hidden 300, now it is 200",
        ),
    ],
    ids=str,
)
def test_a_run_that_was_begun_with_other_settings(tmp_path, change, says):
    save_run(tmp_path, make(), SETTINGS)
    checkpoint.claim(tmp_path, SETTINGS | {"a_setting_of_later": 5}, resume=True)
    with pytest.raises(InputError, match=f"{says}; repeat the command that began the run, or give another --out"):
        checkpoint.claim(tmp_path, SETTINGS | change, resume=True)


def test_a_lock_and_what_a_kill_left_do_not_fill_a_folder(tmp_path):
    for name in (".lock", ".config.json.4711.tmp"):
        (tmp_path / name).touch()
    checkpoint.claim(tmp_path, SETTINGS, resume=False)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="not empty"):
        checkpoint.claim(tmp_path, SETTINGS, resume=False)


SOURCE = {"encoder": "efficientnet-lite0", "views": ["full", "full-flip"], "grid": 3, "precision": "float32"}


@pytest.mark.parametrize("key, value", [
    ("encoder", "vgg19"), ("views", ["full", "centre"]), ("grid", 1), ("precision", "bfloat16"),
    ("weights_sha256", "ab"), ("seed", 1),
])  # fmt: skip
def test_other_features_of_the_same_shape_are_told_apart(key, value):
    array = np.zeros((2, 1, 1, 6))

    def identity(info: dict) -> dict:
        return checkpoint.feature_identity(info, array)

    assert identity(SOURCE) == identity(SOURCE | {"images_per_second": 7.0, "photos": 9, "skipped": {"a": "b"}})
    assert identity(SOURCE) != identity(SOURCE | {key: value})
    both = {"sources": [SOURCE, SOURCE], "scales": [0.1, 0.2], "views": ["full"]}
    assert identity(both) != identity(both | {"sources": [SOURCE, SOURCE | {key: value}]})
    assert identity(both) != identity(both | {"scales": [0.1, 0.3]})


def test_a_users_own_matrices_are_told_apart():
    array = np.arange(600.0).reshape(100, 1, 1, 6)
    own = {"shape": [1, 1, 6]}  # as such a matrix is opened
    for info in ({}, own, {"sources": [SOURCE, own], "scales": [1.0, 1.0]}):
        assert checkpoint.feature_identity(info, array) == checkpoint.feature_identity(info, array.copy())
        assert checkpoint.feature_identity(info, array) != checkpoint.feature_identity(info, array + 1)
    assert checkpoint.feature_identity(SOURCE, array) == checkpoint.feature_identity(SOURCE, array + 1)
