"""Distillation: the teacher is the mean score of its models, and its student is pulled towards it."""

import numpy as np
import pytest
import torch

from vse.batches import TrainingSet
from vse.configs import TrainConfig
from vse.distillation import Teacher, distillation
from vse.encoders.text import TextConfig
from vse.evaluate import evaluate
from vse.losses import LossConfig
from vse.model import VSEConfig
from vse.runs import checkpoint
from vse.system.errors import InputError
from vse.train import train

SMALL = VSEConfig(embed_dim=8, init_range=0.0, text=TextConfig(encoder="bow", word_dim=8))


def config(**changes) -> TrainConfig:
    values = {"model": SMALL, "loss": LossConfig("infonce"), "optimizer": "adam", "learning_rate": 0.02}
    return TrainConfig(**(values | {"epochs": 8, "batch_size": 12} | changes))


@pytest.fixture(scope="module")
def teachers(dataset, features, tmp_path_factory):
    runs = [tmp_path_factory.mktemp("teachers") / str(seed) for seed in range(2)]
    for seed, run in enumerate(runs):
        train(config(), dataset, features, run, seed=seed, device="cpu")
    return [(checkpoint.load(run), features) for run in runs]


def test_the_teacher_is_the_mean_score(dataset, features, teachers):
    split = dataset.split("train")
    teacher = Teacher(*zip(*teachers, strict=True), split, torch.device("cpu"))
    data = TrainingSet(split, features, teachers[0][0].vocabulary, torch.device("cpu"))
    batch = next(data.epoch(12, seed=0, epoch=0))
    owner = split.image_of_caption[batch.captions.numpy()]
    assert np.array_equal(owner, batch.image_ids.numpy())
    expected = np.mean(
        [
            m.encode_images(features.take(split.images))[owner]
            @ m.encode_texts([split.captions[j] for j in batch.captions.tolist()]).T
            for m, _ in teachers
        ],
        axis=0,
    )
    assert np.allclose(teacher.scores(batch).numpy(), expected, atol=1e-6)


def test_distillation_is_least_at_the_teacher_and_against_a_float64_loop():
    draw = torch.Generator().manual_seed(0)
    teacher, student = (torch.rand(5, 5, generator=draw, dtype=torch.float64) for _ in range(2))
    expected = 0.0
    for t, s in ((teacher, student), (teacher.T, student.T)):
        for i in range(5):
            p = [float(torch.exp(t[i, j] / 0.1)) for j in range(5)]
            q = [float(torch.exp(s[i, j] / 0.1)) for j in range(5)]
            expected -= sum(a / sum(p) * np.log(b / sum(q)) for a, b in zip(p, q, strict=True)) / 10
    assert distillation(student, teacher, 0.1).item() == pytest.approx(expected)
    assert distillation(teacher, teacher, 0.1) < distillation(student, teacher, 0.1)


def test_a_student_learns_from_the_teacher_alone(dataset, features, teachers, tmp_path):
    """With the whole weight on the teacher the objective is not used, and the student ranks all the same."""
    run = tmp_path / "student"
    only_teachers = config(loss=LossConfig("infonce", distill=1.0))
    train(only_teachers, dataset, features, run, seed=5, teachers=teachers, device="cpu")
    student = checkpoint.load(run)
    split = dataset.split("train")
    learned = evaluate([student], split, [features], bootstrap=0).rsum
    assert learned > 0.8 * evaluate([teachers[0][0]], split, [features], bootstrap=0).rsum


def test_a_run_with_other_teachers_is_not_resumed(dataset, features, teachers, tmp_path):
    run = tmp_path / "run"
    train(config(epochs=1), dataset, features, run, teachers=teachers, device="cpu")
    with pytest.raises(InputError, match="teachers"):
        train(config(epochs=1), dataset, features, run, teachers=teachers[:1], resume=True, device="cpu")
