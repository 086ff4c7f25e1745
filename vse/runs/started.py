"""A model that begins where another one ended, to be trained further: on other photos, or with its CNNs tuned.

Reads and writes no file.
"""

from dataclasses import asdict

import torch

from vse.features.cut import MARK
from vse.model import VSE
from vse.system.errors import InputError

_WORDS = "text_encoder.words.vectors.weight"
_CNNS = ("image_encoder.above.", "image_encoder.scale_")  # of a model that tunes them; they begin as published
# What training alone reads: both models may differ in it.
_TRAINING = (
    "dropout", "block_dropout", "word_dropout", "tune_words", "length_groups", "forget_bias", "tune", "grid", "crop",
)  # fmt: skip


def start_from(model: VSE, other: VSE) -> int:
    """The number of words that both know, after `model` got the weights of `other`.

    Words that `other` does not know keep the vectors they have. A model that tunes its CNNs may start from one of
    frozen features of the same CNNs. Raises InputError where the models differ in more than that.
    """
    for part, ours, theirs in (
        ("text", model.config.text, other.config.text), ("image", model.config.image, other.config.image),
        ("pixels", model.config.pixels, other.config.pixels),
    ):  # fmt: skip
        theirs = asdict(theirs)
        for name, value in asdict(ours).items():
            if value != theirs[name] and name not in _TRAINING:
                raise _differs(f"model.{part}.{name}", theirs[name], value)
    if _cnns(model) != _cnns(other):
        raise _differs("features of", " + ".join(_cnns(other)), " + ".join(_cnns(model)))
    tuned, frozen = model.config.image.tune, not other.config.image.tune
    weights = {
        name.replace("image_encoder.", "image_encoder.encoder.") if tuned and frozen else name: tensor
        for name, tensor in other.state_dict().items()
    }
    mine = model.state_dict()
    left = {name for name in mine if name not in weights and not (frozen and name.startswith(_CNNS))}
    for name in sorted(left | weights.keys()):
        shapes = [tuple(tensors[name].shape) if name in tensors else "none" for tensors in (weights, mine)]
        if name != _WORDS and shapes[0] != shapes[1]:
            raise _differs(name, *shapes)
    vectors, known = mine[_WORDS].clone(), {token: i for i, token in enumerate(other.vocabulary.tokens)}
    if vectors.shape[1] != weights[_WORDS].shape[1]:
        raise _differs("model.text.word_dim", weights[_WORDS].shape[1], vectors.shape[1])
    both = [(i, known[token]) for i, token in enumerate(model.vocabulary.tokens) if token in known]
    ours, theirs = torch.tensor(both).T
    vectors[ours] = weights[_WORDS][theirs].to(vectors)
    model.load_state_dict(mine | weights | {_WORDS: vectors})
    return len(both)


def _cnns(model: VSE) -> list[str]:
    """The CNNs that a model's features are of, wherever they are cut."""
    info = model.feature_info
    return [str(source.get("encoder", "a user's matrix")).split(MARK)[0] for source in info.get("sources", [info])]


def _differs(what: str, theirs: object, ours: object) -> InputError:
    return InputError(f"the run to start from has {what} {theirs}, this one {ours}; give it the same, or another run")
