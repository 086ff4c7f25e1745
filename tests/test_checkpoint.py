"""vse.checkpoint: a run folder gives the same model again, and says in one line what is wrong with it."""

import errno
import json
import os
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from vse import checkpoint
from vse.checkpoint import (
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
from vse.errors import InputError
from vse.image_encoder import ImageConfig
from vse.model import VSE, VSEConfig
from vse.text_encoders import TextConfig
from vse.vocabulary import Vocabulary

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
    assert sorted(p.name for p in saved.iterdir()) == ["config.json", "model.safetensors", "vocabulary.txt"]
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
    "model", [7, None, [], {"text": 7}, {"embed_dim": "300"}, {"embed_dim": None}, {"text": {"encoder": "nn"}}]
)
def test_a_config_of_wrong_types(run, model):
    edit(run / "config.json", model=model)
    refused(run, "config.json|expected")


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
