"""vse.scenes.questions: answers are true, every kind is asked, and yes or no are told by the picture alone."""

import random
from collections import Counter, defaultdict

import pytest

from vse.__main__ import main
from vse.data.questions import read_questions, scene_questions
from vse.scenes.questions import ANSWERS, KINDS, NOTHING, SECONDS, questions
from vse.scenes.scenes import COLOURS, THING_NAMES, WEATHERS, Scene, make_scenes, read_truth, world
from vse.scenes.sentences import CLAUSE, EXACT, NOUNS


@pytest.fixture(scope="module")
def asked():
    return [(scene, question) for i, scene in enumerate(world()) for question in questions(scene, i)]


def test_every_answer_is_one_of_its_kind(asked):
    assert {question.kind for _, question in asked} == set(KINDS) == set(ANSWERS)
    assert all(question.answer in ANSWERS[question.kind] for _, question in asked)
    for kind, answers in ANSWERS.items():
        assert {q.answer for _, q in asked if q.kind == kind} == set(answers)


def test_there_are_about_ten_a_picture(asked):
    counts = Counter(id(scene) for scene, _ in asked)
    assert set(counts.values()) == {10, 11}


def true_of(scene: Scene, text: str, answer: str) -> bool:
    """Whether an answer is right, told from the words of the question alone, in other ways than it was made."""
    words = text.rstrip("?").split()
    if text.startswith("is the "):
        return (answer == "yes") == (words[-1] == scene.colour)
    if text.startswith("is there a "):
        return (answer == "yes") == (text[len("is there a ") : -1] in (scene.thing, scene.second))
    if text.startswith("is it "):
        weather = next(w for w in WEATHERS if CLAUSE[w][0].endswith(text[len("is it ") : -1]))
        return (answer == "yes") == (weather == scene.weather)
    if "how many" in text:
        return int(answer) == 1 + bool(scene.second)
    if "color" in words or "colour" in words:
        return answer == scene.colour
    if words[0] == "where":
        return answer == (f"{scene.relation} the {scene.second}" if scene.second else "alone")
    said = [where for where, ways in EXACT.items() if any(f" {way} the " in text for way in ways)]
    if said:
        (where,) = set(said)
        other = {"left of": "right of", "right of": "left of", "in front of": "behind", "behind": "in front of"}
        return answer == (scene.second if scene.relation == other[where] else NOTHING)
    if "weather" in words or words[0] == "when":
        return answer == scene.weather
    return answer == scene.thing


def test_every_answer_is_true(asked):
    assert all(true_of(scene, question.text, question.answer) for scene, question in asked)


def test_half_of_the_answers_are_yes_whatever_is_asked(asked):
    found = defaultdict(list)
    for _, question in asked:
        if question.kind == "yes or no":
            words = question.text.rstrip("?").split()
            of = "second" if words[-1] in SECONDS else words[1] + (words[2] if words[1] == "there" else "")
            found[of].append(question.answer == "yes")
    assert len(found) == 4
    for kind, answers in found.items():
        assert sum(answers) / len(answers) == pytest.approx(0.5, abs=0.04), kind


def test_questions_name_the_thing_in_all_its_words(asked):
    texts = " ".join(question.text for _, question in asked)
    for nouns in NOUNS.values():
        assert all(f"the {noun}" in texts for noun in nouns)
    assert all(f"a {thing}?" in texts for thing in THING_NAMES) and all(f" {colour}?" in texts for colour in COLOURS)


def test_the_same_seed_asks_the_same():
    scene = world()[5]
    assert questions(scene, 3) == questions(scene, random.Random(3)) != questions(scene, 4)


def test_the_file_is_one_that_is_read_and_the_same_again(tmp_path):
    assert main(["scenes", str(tmp_path / "a"), "--count", "10", "--seed", "3", "--questions"]) == 0
    truth = read_truth(tmp_path / "a")
    found = read_questions(tmp_path / "a/questions.tsv", truth)
    assert 100 <= len(found) <= 110 and set(found.kinds) == set(KINDS)
    assert all(true_of(truth[image], text, answer)
               for image, text, answer in zip(found.images, found.texts, found.answers, strict=True))  # fmt: skip
    assert scene_questions(make_scenes(tmp_path / "b", seed=3, count=10)) == found
    assert scene_questions(make_scenes(tmp_path / "c", seed=4, count=10)) != found
