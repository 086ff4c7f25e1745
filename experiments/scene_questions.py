"""Questions about drawn scenes: `python -m experiments.scene_questions` trains light models and asks them.

Questions are of the scenes' own splits; and once more with five of the fifty pairs of thing and color left out of
training and dev, asked about these alone. Beside them: the most frequent answer of all, the most frequent one of each
question (all that words can tell), a model trained with all photos zeroed, and a linear probe on photo and question.
Three seeds.
"""

import sys
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from experiments import RUNS, results
from experiments.regularities.scenes import SCENE_FEATURES
from experiments.results import mean_and_sd, origin
from experiments.zero_shot_scenes import HELD_OUT, without_pairs
from vse.configs import AnswerTrainConfig, FusionConfig
from vse.data.datasets import read_dataset
from vse.data.questions import Questions, read_questions
from vse.data.vocabulary import tokenize
from vse.features.build import extract_features
from vse.features.store import Features
from vse.runs import answers as answer_runs
from vse.scenes.questions import KINDS, write_questions
from vse.scenes.scenes import read_truth
from vse.train_answers import accuracies, train_answers

SEEDS = (0, 1, 2)
GRID = 7
CONFIG = AnswerTrainConfig(
    model=FusionConfig(width=128, layers=2, heads=8, image_dropout=0.1), epochs=40, batch_size=128, learning_rate=1e-3,
)  # fmt: skip
_RIDGE = 10.0  # of the probe


def majority(train: Questions, asked: Questions) -> dict[str, float]:
    """Percent right of the most frequent answer of each kind."""
    counts: dict[str, Counter] = defaultdict(Counter)
    for kind, answer in zip(train.kinds, train.answers, strict=True):
        counts[kind][answer] += 1
    best = {kind: count.most_common(1)[0][0] for kind, count in counts.items()}
    return shares(asked, [best.get(kind, "") for kind in asked.kinds])


def words_alone(train: Questions, asked: Questions) -> dict[str, float]:
    """Percent right of the most frequent answer to the very same question; to a new one, that of its kind."""
    counts: dict[str, Counter] = defaultdict(Counter)
    for text, kind, answer in zip(train.texts, train.kinds, train.answers, strict=True):
        counts[text][answer] += 1
        counts[f"kind {kind}"][answer] += 1
    best = {key: count.most_common(1)[0][0] for key, count in counts.items()}
    pairs = zip(asked.texts, asked.kinds, strict=True)
    return shares(asked, [best.get(text, best.get(f"kind {kind}", "")) for text, kind in pairs])


def probe(train: Questions, asked: Questions, features: Features) -> dict[str, float]:
    """Percent right of a ridge regression of the answer on the photo's mean region and the words of the question."""
    words = {word: i for i, word in enumerate(sorted({w for text in train.texts for w in tokenize(text)}))}
    answers = sorted(set(train.answers))

    def design(questions: Questions) -> np.ndarray:
        photos = features.take(list(questions.images)).astype(np.float32).mean((1, 2))
        bags = np.zeros((len(questions), len(words) + 1), np.float32)
        bags[:, -1] = 1.0
        for row, text in enumerate(questions.texts):
            bags[row, [words[w] for w in tokenize(text) if w in words]] = 1.0
        return np.hstack([photos / np.sqrt(np.square(photos).sum(1).mean()), bags])

    x = design(train)
    y = np.zeros((len(train), len(answers)), np.float32)
    y[np.arange(len(train)), [answers.index(answer) for answer in train.answers]] = 1.0
    weights = np.linalg.solve(x.T @ x + _RIDGE * np.eye(x.shape[1], dtype=np.float32), x.T @ y)
    return shares(asked, [answers[i] for i in (design(asked) @ weights).argmax(1)])


def shares(asked: Questions, said: list[str]) -> dict[str, float]:
    """Percent right, of all questions and of each kind."""
    right = np.array([a == b for a, b in zip(asked.answers, said, strict=True)])
    kinds = np.array(asked.kinds)
    return {"all": 100 * float(right.mean())} | {
        kind: 100 * float(right[kinds == kind].mean()) for kind in KINDS if (kinds == kind).any()
    }


def consistency(model, asked: Questions, features: Features) -> float:
    """Percent of pictures whose "is the car red?" is answered as "what color is the car?" was."""
    rows = {"color": {}, "yes or no": {}}
    for i, (image, text, kind) in enumerate(zip(asked.images, asked.texts, asked.kinds, strict=True)):
        if kind == "color" or kind == "yes or no" and text.startswith("is the "):
            rows[kind][image] = i
    images = sorted(rows["color"].keys() & rows["yes or no"].keys())
    photos = features.take(images)
    open_, closed = (
        [model.answers[j] for j in model.ask(photos, [asked.texts[rows[kind][i]] for i in images]).argmax(1)]
        for kind in ("color", "yes or no")
    )
    asked_for = [asked.texts[rows["yes or no"][i]].rstrip("?").split()[-1] for i in images]
    agree = [(color == value) == (word == "yes") for color, word, value in zip(open_, closed, asked_for, strict=True)]
    return 100 * float(np.mean(agree))


def zeroed(features: Features) -> Features:
    """The same photos without anything in them."""
    return Features(np.zeros_like(features.array), features.names, features.info)


def run() -> dict:
    """All splits and seeds, written to results/scene-questions.json."""
    dataset = read_dataset("scenes")
    folder = Path(dataset.root).parent
    truth = read_truth(folder)
    paths = [dataset.path(i) for i in range(len(dataset.images))]
    features = extract_features(
        paths,
        dataset.images,
        out=Path("features") / "scenes" / f"lite2-grid{GRID}",
        **(SCENE_FEATURES | {"grid": GRID}),
    )
    questions = read_questions(write_questions(folder), dataset.images)
    smaller, unseen = without_pairs(dataset, truth)
    parts = {
        "seen": (dataset, set(dataset.split("test").images)),
        "unseen": (smaller, set(unseen)),
    }
    rows = {}
    for name, (data, tested) in parts.items():
        train, dev = (questions.of(set(data.split(part).images)) for part in ("train", "dev"))
        asked = questions.of(tested)
        seeds = []
        for seed in SEEDS:
            run_folder = RUNS / f"scene-questions-{name}-{seed}"
            train_answers(CONFIG, train, dev, features, run_folder, seed=seed, resume=True)
            model = answer_runs.load(run_folder)
            seeds.append(accuracies(model, asked, features) | {"consistent": consistency(model, asked, features)})
            print(name, seed, seeds[-1], flush=True)
        nothing = zeroed(features)
        blind_config = replace(CONFIG, epochs=10)
        train_answers(blind_config, train, dev, nothing, RUNS / f"scene-questions-{name}-blind", resume=True)
        blind = accuracies(answer_runs.load(RUNS / f"scene-questions-{name}-blind"), asked, nothing)
        rows[name] = {
            "questions": {"train": len(train), "asked": len(asked)},
            "majority": majority(train, asked), "words_alone": words_alone(train, asked), "blind": blind,
            "probe": probe(train, asked, features), "seeds": seeds,
            "model": {kind: mean_and_sd([seed[kind] for seed in seeds]) for kind in seeds[0]},
        }  # fmt: skip
    return results.write("scene-questions", {
        "name": "scene-questions", **origin("scene_questions"), "held_out": HELD_OUT, "grid": GRID, "rows": rows,
    })  # fmt: skip


def _run() -> None:
    run()


def main() -> int:
    return results.main("scene_questions", __doc__, _run)


if __name__ == "__main__":
    sys.exit(main())
