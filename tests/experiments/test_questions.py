"""experiments.questions and reranking: what stands beside the model is what it says."""

import numpy as np
import pytest

from experiments import reranking
from experiments.questions.beside import majority, probe, words_alone, zeroed
from experiments.questions.tasks import LIGHT
from experiments.results import changed
from vse.configs import FusionTrainConfig
from vse.data.questions import Questions
from vse.features.store import Features

TRAIN = Questions(
    ("a", "a", "b", "b", "c", "c"),
    ("what color?", "is it red?", "which color?", "is it red?", "what color?", "is it?"),
    ("red", "yes", "blue", "no", "red", "yes"), ("color", "yes or no") * 3,
)  # fmt: skip
ASKED = Questions(("b", "b", "b"), ("which color?", "is it red?", "so?"), ("blue", "no", "no"),
                  ("color", "yes or no", "yes or no"))  # fmt: skip


def test_the_most_frequent_answer_of_a_kind():
    assert majority(TRAIN, ASKED) == {"all": 0.0, "color": 0.0, "yes or no": 0.0}
    assert majority(TRAIN, TRAIN) == pytest.approx({"all": 100 * 4 / 6, "color": 100 * 2 / 3, "yes or no": 100 * 2 / 3})


def test_the_most_frequent_answer_of_a_question():
    assert words_alone(TRAIN, ASKED) == pytest.approx({"all": 100 / 3, "color": 100.0, "yes or no": 0.0})


def test_a_probe_reads_the_photo_and_zeros_tell_nothing():
    draw = np.random.default_rng(0)
    names = tuple(str(i) for i in range(60))
    array = draw.standard_normal((60, 1, 2, 5)).astype(np.float32)
    features = Features(array, names)
    answers = tuple("red" if value > 0 else "blue" for value in array.mean(2)[:, 0, 0])
    questions = Questions(names, ("what color?",) * 60, answers, ("color",) * 60)
    assert probe(questions, questions, features)["all"] > 70
    share = max(answers.count("red"), answers.count("blue")) / 0.6
    assert probe(questions, questions, zeroed(features))["all"] == pytest.approx(share)


def test_settings_of_readers_exist_and_test_has_three_seeds():
    for reader in reranking.READERS.values():
        changed(FusionTrainConfig(), reader.changes)
        assert len(reader.seeds) == (3 if reader.test else 1)
        assert not reader.start or reader.start in reranking.READERS
    assert LIGHT.model.width % LIGHT.model.heads == 0
