"""What a training is given, checked and named: features, tags and files that do not fit are said in one line."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from vse.configs import TrainConfig
from vse.features.info import shape_of
from vse.features.pictures import PhotoFiles, Photos
from vse.features.store import Features
from vse.runs import checkpoint
from vse.system.errors import InputError
from vse.system.files import sha256_of
from vse.tags.sentences import Tags, sentences_of


def tag_sentences_for(config: TrainConfig, tags: Tags | None, images: Sequence[str]) -> list[str]:
    """Of the training photos, where steps read them. Raises InputError where tags and settings do not go together."""
    if bool(tags) != bool(config.views.tags):
        given, way = ("no tags", "give --tags FILE") if not tags else ("tags", "give it a chance, or leave them out")
        raise InputError(f"views.tags = {config.views.tags:g}, given {given}; {way}")
    return sentences_of(tags, images) if tags else []


def check_crops(config: TrainConfig, features: Features) -> None:
    """Raises InputError where two crops are asked for and one is stored."""
    if features.array.shape[1] < config.views.crops:
        raise InputError(
            "views: two crops of a photo are asked for, the features have one view; extract two or more, such as"
            " vse features --views full full-flip"
        )


def digest_of_tags(tags: Tags) -> str:
    """Other tags are another setting."""
    return hashlib.sha256(json.dumps({k: list(v) for k, v in tags.items()}, sort_keys=True).encode()).hexdigest()[:16]


def identity_of(features: Photos) -> dict:
    """What makes features other ones; photo files are those of DATA."""
    if isinstance(features, PhotoFiles):
        return {"pixels": True}
    return {"shape": list(features.array.shape[1:]), **checkpoint.feature_identity(features.info, features.array)}


def shape_seen(features: Photos) -> tuple[int, dict]:
    """The feature dimension and what the features tell of themselves; of pixels their three colors."""
    if isinstance(features, PhotoFiles):
        return 3, {}
    shape = list(features.array.shape[1:])
    return shape[2], features.info if shape_of(features.info)[1] else features.info | {"shape": shape}


def named(file: Path, expected: str) -> str:
    """The file's name and the start of its SHA-256: another file of the same name is another setting."""
    if not file.is_file():
        raise InputError(f"{file}: no such file; expected {expected}")
    return f"{file.name}, sha256 {sha256_of(file)[:16]}"


def coverage(word_vectors: Path, matched: int, words: int) -> str:
    """How many words a file has, as a warning where they are few. Raises InputError when it has none."""
    if not matched:
        raise InputError(f"{word_vectors}: has none of the {words} words of the captions; expected vectors of these")
    if matched < words / 10:
        return f"warning: {word_vectors} has only {matched} of {words} words; is it of another language or kind?"
    return f"word vectors: {matched} of {words} words"


def evenly(count: int, most: int = 256) -> Int[np.ndarray, " n"]:
    """Numbers below `count`, `most` of them or all, evenly apart: a sample that is the same for every run.

    By default as many photos as the start of a transformer is scaled by.
    """
    return np.unique(np.linspace(0, count - 1, most).astype(int))
