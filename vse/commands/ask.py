"""The subcommands that ask a model about photos: `classify`, and `ask` with `train-answers`, which teaches it."""

import sys
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from vse.configs import AnswerTrainConfig
from vse.system.command_line import CNNs, Count, Data, Device, FeatureFolders, Images, Run, Seed
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


def train_answers(
    data: Data,
    questions: Annotated[Positional[Path], arg(metavar="QUESTIONS")],
    /,
    features: FeatureFolders,
    out: Path,
    config: Annotated[AnswerTrainConfig, arg(name="")] = AnswerTrainConfig(),  # noqa: B008  frozen
    start: Path | None = None,
    seed: Seed = 0,
    resume: bool = False,
    device: Device = "auto",
    images: Images = None,
) -> None:
    """Trains a transformer to answer questions about photos: DATA and a file of lines NAME<tab>question<tab>answer.

    Args:
        out: run folder, empty or new.
        start: a run of `vse train-fusion` or `vse train` on the same features, to begin from.
        resume: go on with the same command after a kill.
    """
    from vse import load
    from vse.data.datasets import read_dataset
    from vse.data.questions import read_questions
    from vse.features.side_by_side import open_combined
    from vse.features.store import without_skipped
    from vse.train_answers import train_answers

    begun = load(start) if start else None
    opened = open_combined(features, begun.feature_info if begun else None)
    read = read_dataset(data, images)
    dataset = without_skipped(read, opened)
    asked = read_questions(questions, read.images)
    parts = [asked.of(set(dataset.split(part).images)) for part in ("train", "dev")]
    found = train_answers(
        config, *parts, opened, out, start=begun, seed=seed, resume=resume, device=device
    )  # fmt: skip
    print("dev, percent right: " + ", ".join(f"{kind} {share:.1f}" for kind, share in found.items()))
    print(f'{out}: done; next: vse ask {out} PHOTO "{parts[1].texts[0]}"')


def ask(
    run: Run,
    photo: Annotated[Positional[Path], arg(metavar="PHOTO")],
    question: Annotated[Positional[str], arg(metavar="QUESTION")],
    /,
    sentence: str | None = None,
    k: Annotated[Count, arg(aliases=["-k"])] = 3,
    json: bool = False,
    cnn: CNNs = [],  # noqa: B006
    device: Device = "auto",
) -> None:
    """Answers a question about a photo: RUN photo.jpg "what color is the car?".

    Args:
        sentence: what is read beside the question, where the model was trained with one, such as a caption.
        k: how many answers are printed, the most probable first; with --json all are.
        json: one JSON object.
    """
    import numpy as np

    from vse.runs.answers import load
    from vse.system.device import find_device

    model = load(run, str(find_device(device)))
    model.check_question(question)
    model.fusion.photos.cnns = cnn
    probabilities = model.ask([photo], [(question, sentence) if sentence else question])[0]
    ranked = [(model.answers[i], float(probabilities[i])) for i in np.argsort(-probabilities, kind="stable")]
    if json:
        answers = [{"answer": answer, "probability": round(p, 6)} for answer, p in ranked]
        print(json_text({"photo": str(photo), "question": question, "answers": answers}))
        return
    print("\n".join(f"  {p:6.3f}  {printable(answer)}" for answer, p in ranked[:k]))


def _answer(classifier, photo: Path, vector, k: int, as_json: bool) -> str:
    """What is printed of a photo."""
    probabilities, order = classifier.probabilities(vector[None])[0], classifier.ranked(vector[None])[0]
    ranked = [(classifier.labels[i], float(probabilities[i])) for i in order]
    if as_json:
        labels = [{"label": label, "probability": round(p, 6)} for label, p in ranked]
        return json_text({"photo": str(photo), "labels": labels})
    return "\n".join([printable(str(photo)), *(f"  {p:6.3f}  {printable(label)}" for label, p in ranked[:k])])
