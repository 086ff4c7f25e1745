"""`LanguageModel`: a trained model with its words and tags, and its run folder.

The folder is the encoder's kind: `model.safetensors`, `config.json`, `vocabulary.txt`, `structures.json` (the bank of
training tag sequences), plain and atomic, bound by `manifest.json`. Trains nothing and decodes nothing.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch

from scnlm.models import LBL, LMConfig, make_model
from scnlm.structure import StructureBank, TagVocabulary
from vse.data.vocabulary import Vocabulary
from vse.runs.checkpoint import CONFIG, WEIGHTS, WORDS, is_size, load_weights, outline, save_weights
from vse.system import manifest
from vse.system.errors import InputError
from vse.system.files import read_json, write_atomically, write_json
from vse.system.settings import config_from_dict

VERSION = 1  # of the folder's format
KIND = "language model"
STRUCTURES = "structures.json"
PARTS = (CONFIG, WEIGHTS, WORDS, STRUCTURES)  # what a model is made of


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A model, its words, its tags and the structures it was trained on; `content_dim` numbers in u."""

    model: LBL
    config: LMConfig
    vocabulary: Vocabulary
    tags: TagVocabulary
    structures: StructureBank
    content_dim: int
    encoder: str = ""  # fingerprint of the encoder whose space u lives in
    fingerprint: str = ""  # of the weights, set by `load`

    @classmethod
    def make(
        cls, config: LMConfig, vocabulary: Vocabulary, structures: StructureBank, tags: TagVocabulary,
        content_dim: int, encoder: str,
    ) -> "LanguageModel":  # fmt: skip
        """A model at its random start."""
        model = make_model(config, len(vocabulary), content_dim, len(tags))
        return cls(model, config, vocabulary, tags, structures, content_dim, encoder)

    def check_encoder(self, embed_dim: int, fingerprint: str) -> None:
        """Raises InputError unless an encoder is the one that the content vectors of training came from."""
        if embed_dim != self.content_dim:
            raise InputError(
                f"an encoder of {embed_dim} dimensions, the language model was trained on one of {self.content_dim}; "
                "give the --encoder of its training"
            )
        if self.encoder and fingerprint != self.encoder:
            raise InputError(
                f"encoder {fingerprint or 'without a name'}: the language model was trained in the space of "
                f"encoder {self.encoder}; give that one, or train again"
            )


def save(out: Path, lm: LanguageModel, extra: dict) -> None:
    """Writes what `load` needs, the manifest last; `extra` (training settings, data) goes into config.json."""
    manifest.unbind(out)
    write_atomically(out / WORDS, lm.vocabulary.save)
    lm.structures.save(out / STRUCTURES)
    write_json(out / CONFIG, {
        "version": VERSION, "kind": KIND, "model": dataclasses.asdict(lm.config), "content_dim": lm.content_dim,
        "tags": {"tag_set": lm.tags.tag_set, "names": list(lm.tags.tags)}, "encoder": lm.encoder, **extra,
    })  # fmt: skip
    save_weights(out, lm.model)
    manifest.bind(out, PARTS)


def load(run: str | Path, device: str = "cpu") -> LanguageModel:
    """The language model of a run folder, in evaluation mode.

    Raises InputError for a folder that is no such run, half written, of a future version or damaged, and for a bank
    of structures with other tags than the model's.
    """
    run = Path(run)
    if not (run / CONFIG).is_file():
        raise InputError(f"{run}: not a run folder (no {CONFIG}); expected one that `scnlm train --out` made")
    config = read_json(run / CONFIG)
    if config.get("kind") != KIND:
        raise InputError(f"{run}: not a language model; expected a folder that `scnlm train --out` made")
    version = config.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise InputError(f"{run}: format version {str(version)[:40]}, this software reads up to {VERSION}; upgrade")
    for name in (WORDS, WEIGHTS, STRUCTURES):
        if not (run / name).is_file():
            raise InputError(f"{run}: half-written run ({name} is missing); repeat its `scnlm train` with --resume")
    lm = _make(run, config)
    load_weights(run, lm.model)
    _check_tags(lm.structures, lm.tags, run / STRUCTURES)
    lm.model.to(torch.device(device)).eval()
    return dataclasses.replace(lm, fingerprint=manifest.check(run, PARTS)[WEIGHTS][:16])


def _make(run: Path, config: dict) -> LanguageModel:
    """The language model that a config says, its weights on "meta". Raises InputError for a damaged config."""
    tags, where = config.get("tags"), f"{run / CONFIG}: damaged"
    for key, sound in (
        ("model", isinstance(config.get("model"), dict)),
        ("content_dim", is_size(config.get("content_dim"))),
        ("tags", isinstance(tags, dict) and isinstance(tags.get("names"), list) and "tag_set" in tags),
        ("encoder", isinstance(config.get("encoder"), str)),
    ):
        if not sound:
            raise InputError(f"{where} ({key!r} is missing or wrong); restore the file")
    named = config_from_dict(TagVocabulary, {"tags": tags["names"], "tag_set": tags["tag_set"]}, f"{where}, tags")
    words, bank = Vocabulary.load(run / WORDS), StructureBank.load(run / STRUCTURES, named.tag_set)
    sizes = config_from_dict(LMConfig, config["model"], f"{run / CONFIG}: model")
    with outline():
        return LanguageModel.make(sizes, words, bank, named, config["content_dim"], config["encoder"])


def _check_tags(structures: StructureBank, tags: TagVocabulary, path: Path) -> None:
    try:
        for structure in structures.sequences:
            tags.ids(structure)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
