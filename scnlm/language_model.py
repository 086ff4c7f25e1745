"""`LanguageModel`: a trained model with its words and tags, and its run folder.

The folder is like an encoder's: `model.safetensors`, `config.json`, `vocabulary.txt`, plain and atomic, bound by
`manifest.json`; beside them `structures.json`, the bank of training tag sequences, for a model that was trained with
tags. Trains nothing and decodes nothing.
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
PARTS = (CONFIG, WEIGHTS, WORDS)  # what a model is made of, and STRUCTURES where it has tags


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A model and its words; its tags and the structures it was trained on, where it has them.

    `content_dim` is how many numbers u has.
    """

    model: LBL
    config: LMConfig
    vocabulary: Vocabulary
    tags: TagVocabulary | None
    structures: StructureBank | None
    content_dim: int
    encoder: str = ""  # fingerprint of the encoder whose space u lives in
    fingerprint: str = ""  # of the weights, set by `load`

    @classmethod
    def make(
        cls, config: LMConfig, vocabulary: Vocabulary, structures: StructureBank | None, tags: TagVocabulary | None,
        content_dim: int, encoder: str,
    ) -> "LanguageModel":  # fmt: skip
        """A model at its random start. Raises InputError for an SC-NLM without tags, which it reads."""
        if config.model == "scnlm" and tags is None:
            raise InputError("lm.model scnlm reads tags; expected tag_set coarse or fine, or another lm.model")
        model = make_model(config, len(vocabulary), content_dim, len(tags) if tags else 0)
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
    if lm.structures:
        lm.structures.save(out / STRUCTURES)
    tags = {"tag_set": lm.tags.tag_set, "names": list(lm.tags.tags)} if lm.tags else None
    write_json(out / CONFIG, {
        "version": VERSION, "kind": KIND, "model": dataclasses.asdict(lm.config), "content_dim": lm.content_dim,
        "tags": tags, "encoder": lm.encoder, **extra,
    })  # fmt: skip
    save_weights(out, lm.model)
    manifest.bind(out, _parts(tags))


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
    parts = _parts(config.get("tags", {}))
    for name in parts:
        if not (run / name).is_file():
            raise InputError(f"{run}: half-written run ({name} is missing); repeat its `scnlm train` with --resume")
    lm = _make(run, config)
    load_weights(run, lm.model)
    if lm.tags:
        _check_tags(lm.structures, lm.tags, run / STRUCTURES)
    lm.model.to(torch.device(device)).eval()
    return dataclasses.replace(lm, fingerprint=manifest.check(run, parts)[WEIGHTS][:16])


def _parts(tags: object) -> tuple[str, ...]:
    return PARTS if tags is None else (*PARTS, STRUCTURES)


def _make(run: Path, config: dict) -> LanguageModel:
    """The language model that a config says, its weights on "meta". Raises InputError for a damaged config."""
    tags, where = config.get("tags", {}), f"{run / CONFIG}: damaged"
    for key, sound in (
        ("model", isinstance(config.get("model"), dict)),
        ("content_dim", is_size(config.get("content_dim"))),
        ("tags", tags is None or isinstance(tags, dict) and isinstance(tags.get("names"), list) and "tag_set" in tags),
        ("encoder", isinstance(config.get("encoder"), str)),
    ):
        if not sound:
            raise InputError(f"{where} ({key!r} is missing or wrong); restore the file")
    words, named, bank = Vocabulary.load(run / WORDS), None, None
    if tags is not None:
        named = config_from_dict(TagVocabulary, {"tags": tags["names"], "tag_set": tags["tag_set"]}, f"{where}, tags")
        bank = StructureBank.load(run / STRUCTURES, named.tag_set)
    sizes = config_from_dict(LMConfig, config["model"], f"{run / CONFIG}: model")
    with outline():
        return LanguageModel.make(sizes, words, bank, named, config["content_dim"], config["encoder"])


def _check_tags(structures: StructureBank, tags: TagVocabulary, path: Path) -> None:
    try:
        for structure in structures.sequences:
            tags.ids(structure)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
