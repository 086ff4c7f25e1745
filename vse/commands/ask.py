"""The subcommands that ask a model about photos: `classify`."""

import sys
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from vse.system.command_line import CNNs, Count, Device, Run
from vse.system.errors import InputError
from vse.system.files import json_text
from vse.system.terminal import printable

_BATCH = 32


def classify(
    run: Run,
    photos: Annotated[Positional[list[Path]], arg(metavar="PHOTO...")],
    /,
    labels: str,
    template: list[str] = [],  # noqa: B006  tyro reads it, nothing changes it
    k: Annotated[Count, arg(aliases=["-k"])] = 5,
    json: bool = False,
    cnn: CNNs = [],  # noqa: B006
    device: Device = "auto",
) -> int:
    """Says which of some labels a photo shows, though none was trained: RUN PHOTO... --labels dog,horse,bicycle.

    Args:
        labels: names with commas between, or a file with one a line.
        template: sentences with {} for the label, whose mean counts; "{}" is the label alone. By default seven.
        k: how many labels are printed a photo, the most probable first; with --json all are.
        json: one JSON object a photo.
    """
    from vse.data.photos import BadPhoto
    from vse.runs.checkpoint import load
    from vse.system.device import find_device
    from vse.zero_shot import TEMPLATES, ZeroShot, read_labels

    if not photos:
        raise InputError("no photos: expected RUN PHOTO... --labels dog,horse")
    model = load(run, str(find_device(device)))
    model.photos.cnns = cnn
    classifier = ZeroShot(model, read_labels(labels), template or TEMPLATES)
    bad: dict[Path, str] = {}
    for start in range(0, len(photos), _BATCH):
        vectors = {}
        batch = photos[start : start + _BATCH]
        try:
            vectors = dict(enumerate(model.encode_images(batch)))
        except BadPhoto:  # one of them; the others are still asked for
            for i, photo in enumerate(batch):
                try:
                    vectors[i] = model.encode_images([photo])[0]
                except BadPhoto as error:
                    bad[photo] = error.reason
        for i, vector in vectors.items():
            print(_answer(classifier, batch[i], vector, k, json))
    if len(bad) == len(photos):
        raise InputError(f"none of the {len(bad)} photos can be read; the first, {photos[0]}: {bad[photos[0]]}")
    for photo, reason in bad.items():
        print(f"skipped {printable(str(photo))}: {reason}", file=sys.stderr)
    return 1 if bad else 0


def _answer(classifier, photo: Path, vector, k: int, as_json: bool) -> str:
    """What is printed of a photo."""
    probabilities, order = classifier.probabilities(vector[None])[0], classifier.ranked(vector[None])[0]
    ranked = [(classifier.labels[i], float(probabilities[i])) for i in order]
    if as_json:
        labels = [{"label": label, "probability": round(p, 6)} for label, p in ranked]
        return json_text({"photo": str(photo), "labels": labels})
    return "\n".join([printable(str(photo)), *(f"  {p:6.3f}  {printable(label)}" for label, p in ranked[:k])])
