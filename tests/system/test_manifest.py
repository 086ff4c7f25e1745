"""vse.system.manifest: files that do not belong together are not believed, and a hand-edited one can be accepted."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from scnlm import language_model
from scnlm.captions.captioner import Captioner
from scnlm.language_model import LanguageModel
from scnlm.models import LMConfig
from scnlm.structure import StructureBank, TagVocabulary
from vse.data.vocabulary import Vocabulary
from vse.encoders.text import TextConfig
from vse.model import VSE, VSEConfig
from vse.runs import checkpoint
from vse.system import manifest
from vse.system.errors import InputError

SHIPPED = Path(__file__).resolve().parents[2] / "models" / "flickr8k"
TEXTS = ["a red dog", "the blue boat"]


def reverse_words(run):
    """A vocabulary that fits as well."""
    words = (run / "vocabulary.txt").read_text().splitlines()
    (run / "vocabulary.txt").write_text("".join(f"{w}\n" for w in [*words[:4], *words[:3:-1]]))


def change_a_number(run):
    weights = load_file(run / "model.safetensors")
    weights[sorted(weights)[0]].view(-1)[0] += 1
    save_file(weights, run / "model.safetensors")


def change_a_setting(run):
    path = run / "config.json"
    path.write_text(path.read_text().replace('"dropout": 0.0', '"dropout": 0.5'))


def change_a_count(run):
    value = json.loads((run / "structures.json").read_text())
    value["sequences"]["DET NOUN"] += 1
    (run / "structures.json").write_text(json.dumps(value))


DAMAGE = {"vocabulary.txt": reverse_words, "model.safetensors": change_a_number, "config.json": change_a_setting}


@pytest.fixture(params=["encoder", "language model"])
def run(request, tmp_path):
    """(folder, what loads it) of either kind of run."""
    torch.manual_seed(0)
    words = Vocabulary.from_captions(TEXTS)
    if request.param == "encoder":
        config = VSEConfig(embed_dim=5, text=TextConfig(word_dim=4, hidden=3))
        checkpoint.save_run(tmp_path, VSE(config, words, 6), {})
        return tmp_path, checkpoint.load
    tags = [("DET", "NOUN"), ("DET", "ADJ", "NOUN")]
    bank = StructureBank.from_tags(tags, tag_set="coarse", spacy_model="none", shortest=1)
    sizes = LMConfig(word_dim=3, num_factors=4, gate_dim=5, tag_dim=2)
    lm = LanguageModel.make(sizes, words, bank, TagVocabulary.from_tags(tags, "coarse"), 6, "")
    language_model.save(tmp_path, lm, {})
    return tmp_path, language_model.load


def refused(load, folder, name):
    with pytest.raises(InputError, match=f"{name}: not the file that was saved") as error:
        load(folder)
    assert "\n" not in str(error.value) and f"delete {folder / 'manifest.json'} to accept" in str(error.value)


@pytest.mark.parametrize("name", [*DAMAGE, "structures.json"])
def test_a_file_that_fits_but_is_another_is_refused_until_it_is_accepted(run, name):
    folder, load = run
    if not (folder / name).exists():
        pytest.skip("the other kind of run has it")
    (DAMAGE | {"structures.json": change_a_count})[name](folder)
    refused(load, folder, name)
    (folder / "manifest.json").unlink()
    assert load(folder)


def test_a_run_of_before_there_was_a_manifest_is_read(run):
    folder, load = run
    (folder / "manifest.json").unlink()
    assert load(folder).fingerprint


def test_a_file_that_the_manifest_leaves_out_is_not_bound(run):
    folder, load = run
    told = json.loads((folder / "manifest.json").read_text())
    del told["sha256"]["config.json"]
    (folder / "manifest.json").write_text(json.dumps(told))
    refused(load, folder, "config.json")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 2, "sha256": {}}', '{"version": 1, "sha256": {"a": 7}}',
                                  '{"version": true, "sha256": []}', "[" * 9999])  # fmt: skip
def test_a_damaged_manifest_is_refused_in_one_line(run, text):
    folder, load = run
    (folder / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json") as error:
        load(folder)
    assert "\n" not in str(error.value)


def test_a_kill_between_two_files_leaves_a_folder_that_is_read(run, monkeypatch):
    """While it is written again there is no manifest: a new file beside an old manifest would be refused."""
    folder, load = run
    model, seen = load(folder), []
    module = language_model if isinstance(model, LanguageModel) else checkpoint
    real = module.save_weights
    spy = lambda out, model: seen.append((out / "manifest.json").exists()) or real(out, model)  # noqa: E731
    monkeypatch.setattr(module, "save_weights", spy)
    save = language_model.save if isinstance(model, LanguageModel) else checkpoint.save_run
    save(folder, model, {"seed": 9})
    assert seen == [False] and (folder / "manifest.json").exists() and load(folder)


def test_the_shipped_set_is_bound():
    for folder, names in (
        (SHIPPED, ["weights.json", "concepts.safetensors", "trigram.arpa", "vse/manifest.json", "scnlm/manifest.json"]),
        (SHIPPED / "vse", ["config.json", "model.safetensors", "vocabulary.txt"]),
        (SHIPPED / "scnlm", ["config.json", "model.safetensors", "vocabulary.txt", "structures.json"]),
    ):
        assert json.loads((folder / "manifest.json").read_text())["sha256"] == manifest.check(folder, names)


@pytest.mark.parametrize("name", ["weights.json", "concepts.safetensors"])
def test_a_part_of_a_set_that_is_another_is_refused(tmp_path, name):
    folder = shutil.copytree(SHIPPED, tmp_path / "set")
    if name == "weights.json":
        (folder / name).write_text((folder / name).read_text().replace('"length": 0.02', '"length": 0.03'))
    else:
        bank = load_file(folder / name)
        bank["codes"] = bank["codes"].flip(0).contiguous()
        save_file(bank, folder / name)
    refused(Captioner.load, folder, name)


def test_a_weight_that_is_missing_takes_no_default(tmp_path):
    folder = shutil.copytree(SHIPPED, tmp_path / "set")
    (folder / "manifest.json").unlink()
    value = json.loads((folder / "weights.json").read_text())
    del value["weights"]["trigram"]
    (folder / "weights.json").write_text(json.dumps(value))
    with pytest.raises(InputError, match=r"weights\.json: weights: key 'trigram' is missing"):
        Captioner.load(folder)
