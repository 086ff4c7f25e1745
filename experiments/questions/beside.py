"""What stands beside a model that answers questions: what answers and words alone tell, and a linear probe."""

from collections import Counter, defaultdict

import numpy as np

from vse.answers import Answerer
from vse.data.questions import Questions, percent_right
from vse.data.vocabulary import tokenize
from vse.features.store import Features

_RIDGE = 10.0  # of the probe


def majority(train: Questions, asked: Questions) -> dict[str, float]:
    """Percent right of the most frequent answer of each kind."""
    counts: dict[str, Counter] = defaultdict(Counter)
    for kind, answer in zip(train.kinds, train.answers, strict=True):
        counts[kind][answer] += 1
    best = {kind: count.most_common(1)[0][0] for kind, count in counts.items()}
    return percent_right(asked, [best.get(kind, "") for kind in asked.kinds])


def words_alone(train: Questions, asked: Questions) -> dict[str, float]:
    """Percent right of the most frequent answer to the very same question; to a new one, that of its kind."""
    counts: dict[str, Counter] = defaultdict(Counter)
    for text, kind, answer in zip(train.texts, train.kinds, train.answers, strict=True):
        counts[text][answer] += 1
        counts[f"kind {kind}"][answer] += 1
    best = {key: count.most_common(1)[0][0] for key, count in counts.items()}
    pairs = zip(asked.texts, asked.kinds, strict=True)
    return percent_right(asked, [best.get(text, best.get(f"kind {kind}", "")) for text, kind in pairs])


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
        return np.hstack([photos / max(1e-6, np.sqrt(np.square(photos).sum(1).mean())), bags])

    x = design(train)
    y = np.zeros((len(train), len(answers)), np.float32)
    y[np.arange(len(train)), [answers.index(answer) for answer in train.answers]] = 1.0
    weights = np.linalg.solve(x.T @ x + _RIDGE * np.eye(x.shape[1], dtype=np.float32), x.T @ y)
    return percent_right(asked, [answers[i] for i in (design(asked) @ weights).argmax(1)])


def consistency(model: Answerer, asked: Questions, features: Features) -> float | None:
    """Percent of drawn scenes whose "is the car red?" is answered as "what color is the car?" was."""
    rows = {"color": {}, "yes or no": {}}
    for i, (image, text, kind) in enumerate(zip(asked.images, asked.texts, asked.kinds, strict=True)):
        if kind == "color" or kind == "yes or no" and text.startswith("is the "):
            rows[kind][image] = i
    images = sorted(rows["color"].keys() & rows["yes or no"].keys())
    if not images:
        return None
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
    return Features(np.broadcast_to(np.float32(0), features.array.shape), features.names, features.info)
