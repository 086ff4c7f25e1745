"""Answers in figures: `python -m experiments.questions [TASK...]` trains light models and asks them.

TASK is one of scenes, scenes-unseen, easy-vqa, flickr8k. Beside the model: the most frequent answer of each kind, that
of each question (all that words can tell), a model trained with all photos zeroed, and a linear probe on photo and
question. Three seeds; the best epoch by dev, then the questions of test once.
"""

import sys

from experiments import RUNS, results
from experiments.questions.beside import consistency, majority, probe, words_alone, zeroed
from experiments.questions.tasks import TASKS, Task
from experiments.results import origin, over_seeds
from vse.answers import Answerer
from vse.features.store import Features
from vse.runs import answers as answer_runs
from vse.train_answers import accuracies, train_answers

SEEDS = (0, 1, 2)


def run(name: str) -> dict:
    """The result of one task, written to results/questions-NAME.json."""
    task = TASKS[name]()
    trained = [_trained(name, str(seed), task, task.features, seed) for seed in SEEDS]
    nothing = zeroed(task.features)
    blind = _trained(name, "blind", task, nothing, 0)
    seeds = []
    for seed, model in zip(SEEDS, trained, strict=True):
        seeds.append({
            "seed": seed, "dev": accuracies(model, task.dev, task.features)["all"],
            **accuracies(model, task.asked, task.features), "consistent": consistency(model, task.asked, task.features),
        })  # fmt: skip
        print(name, seeds[-1], flush=True)
    return results.write(f"questions-{name}", {
        "name": f"questions-{name}", "about": task.about, **origin(f"questions {name}"),
        "questions": {"train": len(task.train), "dev": len(task.dev), "asked": len(task.asked)},
        "answers": len(trained[0].answers), "parameters": sum(p.numel() for p in trained[0].parameters()),
        "majority": majority(task.train, task.asked), "words_alone": words_alone(task.train, task.asked),
        "blind": accuracies(blind, task.asked, nothing), "probe": probe(task.train, task.asked, task.features),
        "seeds": seeds, "model": over_seeds(seeds),
    })  # fmt: skip


def _trained(name: str, run_name: str, task: Task, features: Features, seed: int) -> Answerer:
    """The model of a seed, trained into runs/questions-NAME-SEED, or what is there."""
    folder = RUNS / f"questions-{name}-{run_name}"
    train_answers(task.config, task.train, task.dev, features, folder, seed=seed, resume=True)
    return answer_runs.load(folder)


def _run(names: list[str]) -> None:
    for name in results.asked(names, tuple(TASKS)):
        run(name)


def main() -> int:
    return results.main("questions", __doc__, _run, {"names": {"nargs": "*", "metavar": "TASK"}})


if __name__ == "__main__":
    sys.exit(main())
