"""What is asked, of which pictures, and the settings of the model that answers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from experiments import find_data
from experiments.ranking import extracted
from experiments.zero_shot_scenes import without_pairs
from vse.configs import AnswerTrainConfig, FusionConfig
from vse.data.caption_questions import caption_questions
from vse.data.datasets import Dataset, read_dataset
from vse.data.part_of_speech import tag_cache
from vse.data.questions import Questions, scene_questions
from vse.features.store import Features
from vse.scenes.scenes import read_truth
from vse.system.errors import InputError

LIGHT = AnswerTrainConfig(
    model=FusionConfig(width=128, layers=2, heads=8, dropout=0.0, image_dropout=0.0, word_dropout=0.0),
    epochs=20, batch_size=32, learning_rate=1e-3,
)  # fmt: skip
REGIONS = ("lite2-grid8", "patches")
_DEV = 400  # of easy-vqa's training pictures


@dataclass(frozen=True)
class Task:
    """Questions to learn from, to choose the best epoch by, and to be asked at the end."""

    about: str
    train: Questions
    dev: Questions
    asked: Questions
    features: Features
    config: AnswerTrainConfig


def _scenes() -> tuple[Dataset, Path, Features]:
    dataset = read_dataset("scenes")
    paths = [dataset.path(i) for i in range(len(dataset.images))]
    return dataset, Path(dataset.root).parent, extracted("scenes", REGIONS, paths, dataset.images)


def scenes() -> Task:
    """Drawn pictures, exact answers; the splits of the scenes."""
    dataset, folder, features = _scenes()
    return _split("drawn scenes", scene_questions(folder), dataset, features)


def scenes_unseen() -> Task:
    """The same, asked of pictures with five of the fifty pairs of thing and color, which training and dev lack."""
    dataset, folder, features = _scenes()
    questions = scene_questions(folder)
    smaller, unseen = without_pairs(dataset, read_truth(folder))
    task = _split("drawn scenes, pairs of thing and color that training lacks", questions, smaller, features)
    return replace(task, asked=questions.of(set(unseen)))


def easy_vqa() -> Task:
    """Shapes of 64 x 64 pixels, a third party's: pictures and questions are in the package easy-vqa."""
    try:
        import easy_vqa
    except ImportError:
        raise InputError("easy-vqa is not installed: pip install easy-vqa==1.0") from None
    names, paths, parts = [], [], {}
    for part in ("train", "test"):
        pictures = getattr(easy_vqa, f"get_{part}_image_paths")()
        texts, answers, ids = getattr(easy_vqa, f"get_{part}_questions")()
        parts[part] = Questions(
            tuple(f"{part}/{i}" for i in ids), tuple(texts), tuple(answers), tuple(map(_kind, answers))
        )
        names += [f"{part}/{i}" for i in sorted(pictures)]
        paths += [Path(pictures[i]) for i in sorted(pictures)]
    train = [name for name in names if name.startswith("train/")]
    learned, dev = (parts["train"].of(set(some)) for some in (train[:-_DEV], train[-_DEV:]))
    features = extracted("easy-vqa", ("patches",), paths, names)
    return Task("easy-vqa", learned, dev, parts["test"], features, replace(LIGHT, epochs=10))


def _kind(answer: str) -> str:
    if answer in ("yes", "no"):
        return "yes or no"
    return "shape" if answer in ("circle", "rectangle", "triangle") else "color"


def flickr8k() -> Task:
    """Real photos, questions made of captions that agree."""
    path = find_data("flickr8k")
    dataset = read_dataset(path)
    paths = [dataset.path(i) for i in range(len(dataset.images))]
    features = extracted("flickr8k", REGIONS, paths, dataset.images)
    return _split("photos of Flickr8K", caption_questions(dataset, tag_cache(path)), dataset, features)


def _split(about: str, questions: Questions, dataset: Dataset, features: Features) -> Task:
    parts = (questions.of(set(dataset.split(part).images)) for part in ("train", "dev", "test"))
    return Task(about, *parts, features, LIGHT)


TASKS: dict[str, Callable[[], Task]] = {
    "scenes": scenes, "scenes-unseen": scenes_unseen, "easy-vqa": easy_vqa, "flickr8k": flickr8k,
}  # fmt: skip
