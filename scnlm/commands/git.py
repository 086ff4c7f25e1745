"""The subcommands of a generative image-to-text transformer: `train-git`, and `ask`."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from scnlm.configs import GITTrainConfig
from vse.system.command_line import CNNs, Data, Device, FeatureFolders, Images, Seed
from vse.system.errors import InputError
from vse.system.files import json_text
from vse.system.terminal import is_first_process, printable


def train_git(
    data: Data,
    /,
    features: FeatureFolders,
    out: Path,
    config: Annotated[GITTrainConfig, arg(name="")] = GITTrainConfig(),  # noqa: B008  frozen
    word_vectors: Path | None = None,
    extra_text: str | None = None,
    questions: Path | None = None,
    start: Path | None = None,
    seed: Seed = 0,
    resume: bool = False,
    device: Device = "auto",
    images: Images = None,
) -> None:
    """Trains a transformer that writes captions from image tokens; the best epoch on dev is kept.

    Args:
        out: run folder, empty or new.
        word_vectors: word2vec or GloVe file, where words begin.
        extra_text: with --text-only: a data set whose captions are trained on too; photos of DATA's dev and test splits
            are left out of it by photo id.
        questions: a file of lines NAME<tab>question<tab>answer: it learns to answer in place of describing.
        start: a run of `scnlm train-git` to begin from: one of --text-only, or of captions for --reward.
        resume: go on with the same command after a kill. Several processes: start it through torchrun.
    """
    from scnlm.git_run import load
    from scnlm.train_git import train_git
    from vse.data.datasets import read_dataset, read_extra_text
    from vse.data.questions import read_questions
    from vse.features.side_by_side import open_combined
    from vse.features.store import without_skipped

    begun = load(start) if start else None
    opened = open_combined(features, begun.feature_info if begun else None)
    read = read_dataset(data, images)
    dataset, asked = without_skipped(read, opened), None
    if questions:
        found = read_questions(questions, read.images)
        asked = tuple(found.of(set(dataset.split(part).images)) for part in ("train", "dev"))
    told = train_git(
        config, dataset, opened, out, word_vectors=word_vectors,
        extra_text=read_extra_text(extra_text, read), questions=asked, start=begun,
        seed=seed, resume=resume, device=device,
    )  # fmt: skip
    if is_first_process():
        figures = [f"{'CIDEr' if key == 'cider' else key} {told[key]:.1f}" for key in told if key != "nats"]
        print(", ".join([f"dev: {told['nats']:.4f} nats a word", *figures]))
        go_on = f"scnlm caption {out} photo.jpg"
        if config.text_only:
            go_on = f"scnlm train-git {data} --start {out}"
        if questions:
            go_on = f'scnlm ask {out} photo.jpg "{asked[1].texts[0]}"'
        print(f"{out}: done; next: {go_on}")


def ask(
    run: Annotated[Positional[Path], arg(metavar="RUN", help="run of `scnlm train-git --questions`")],
    photo: Annotated[Positional[Path], arg(metavar="PHOTO")],
    question: Annotated[Positional[str], arg(metavar="QUESTION")],
    /,
    answers: str | None = None,
    json: bool = False,
    cnn: CNNs = [],  # noqa: B006  tyro reads it, nothing changes it
    device: Device = "auto",
) -> None:
    """Answers a question about a photo in the model's own words: RUN photo.jpg "what color is the car?".

    Args:
        answers: those that it may give, with commas between.
        json: one JSON object.
    """
    import numpy as np

    from scnlm.git_answers import answers as answer
    from scnlm.git_run import load
    from vse.system.device import find_device

    closed = [part.strip() for part in answers.split(",")] if answers is not None else None
    if closed is not None and not all(closed):
        raise InputError(f"--answers {answers!r}: an empty answer; expected some with commas between")
    model = load(run, str(find_device(device)))
    model.photos.cnns = cnn
    seen = model.photos.features([photo], model.feature_dim, model.feature_info, model.device)
    (said,) = answer(model, seen, np.array([0]), [question], closed)
    print(json_text({"photo": str(photo), "question": question, "answer": said}) if json else printable(said))
