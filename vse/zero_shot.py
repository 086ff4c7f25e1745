"""Classes that were never trained: a photo's label is that whose sentences lie nearest (CLIP, Radford 2021).

Any model of the space can be asked, the paper's LSTM included. t_k = unit(mean_p unit(text(p(k)))) over templates p;
probabilities are softmax(scale x cosine). Shapes: n photos, c classes, d joint-space dimensions.
"""

import re
import string
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int

from vse.data.formats import read_captions
from vse.model import VSE
from vse.regularities import check_known
from vse.search.points import unit
from vse.system.errors import InputError

# In the words of people who describe photos; "{}" alone is the class name. Chosen before any figure was looked at.
TEMPLATES = (
    "a {}", "the {}", "a photo of a {}", "a picture of the {}", "there is a {}", "a {} can be seen outside",
    "a close view of a {}",
)  # fmt: skip
NAME_ALONE = ("{}",)


def sentence(template: str, label: str) -> str:
    """The template with the label in it; "a" becomes "an" where the label begins with a vowel."""
    article = re.sub(r"\b([Aa])(?= \{\})", r"\1n", template) if label[:1].lower() in "aeiou" else template
    return article.replace("{}", label)


def check_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """The templates. Raises InputError for none, for an empty one, and for one without exactly one {}."""
    if not templates:
        raise InputError("no templates: expected one or more, such as 'a photo of a {}'")
    for template in templates:
        try:
            fields = [name for _, name, *_ in string.Formatter().parse(template) if name is not None]
        except ValueError:
            fields = []
        if fields != [""] or template.count("{}") != 1:
            raise InputError(f"template {template!r}: expected one {{}}, where the label goes")
    return tuple(templates)


def check_labels(labels: Sequence[str], model: VSE) -> tuple[str, ...]:
    """The labels, without white space around them.

    Raises InputError for fewer than two, an empty one, one that comes twice, and one with a word that the model does
    not know, with the nearest ones that it does.
    """
    labels = [label.strip() for label in labels]
    if len(labels) < 2:
        raise InputError(f"{len(labels)} label{'s' * (len(labels) != 1)}: expected two or more to choose from")
    for i, label in enumerate(labels):
        if not label:
            raise InputError(f"label {i + 1} of {len(labels)} is empty; expected words")
        if label in labels[:i]:
            raise InputError(f"label {label!r} comes twice; expected each once")
        check_known(model.vocabulary, label)
    return tuple(labels)


def read_labels(text: str) -> list[str]:
    """The labels of a list "dog,horse", or of a file with one a line where there is one of that name."""
    path = Path(text)
    if "," not in text and path.is_file():
        return read_captions(path)
    if "," not in text and (path.suffix or "/" in text):
        raise InputError(f"{text}: no such file; expected labels such as dog,horse or a file with one a line")
    return text.split(",")


class ZeroShot:
    """A classifier made of a model and the names of the classes."""

    def __init__(
        self, model: VSE, labels: Sequence[str], templates: Sequence[str] = TEMPLATES, scale: float | None = None
    ):
        """`scale`: 1 / temperature of the probabilities, by default the model's. Raises InputError, see the checks."""
        self.labels, self.templates = check_labels(labels, model), check_templates(templates)
        self.scale = scale or 1 / model.temperature
        sentences = [sentence(template, label) for label in self.labels for template in self.templates]
        vectors = model.encode_texts(sentences).reshape(len(self.labels), len(self.templates), -1)
        self.vectors: Float32[np.ndarray, "c d"] = unit(vectors.mean(1))

    def scores(self, photos: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n c"]:
        """The cosine of each photo's unit vector to each class."""
        return photos @ self.vectors.T

    def probabilities(self, photos: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n c"]:
        """The softmax of the scaled scores; each row sums to 1."""
        logits = self.scale * self.scores(photos).astype(np.float64)
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    def ranked(self, photos: Float[np.ndarray, "n d"]) -> Int[np.ndarray, "n c"]:
        """The numbers of the classes, the most probable first; of equals the first named."""
        return np.argsort(-self.scores(photos), axis=1, kind="stable")
