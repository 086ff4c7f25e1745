"""Questions about made-up scenes, with the one right answer of each: exact, for the scene is known.

About ten a picture, of seven kinds. Half of the questions for yes or no are to be answered yes, whatever is asked, so
that the words alone do not tell. `vse scenes OUT --questions` writes them beside the pictures.
"""

import random
from dataclasses import dataclass

from vse.scenes.scenes import COLOURS, PLACES, THING_NAMES, WEATHERS, Scene
from vse.scenes.sentences import CLAUSE, EXACT, NOUNS, OPPOSITE

NOTHING = "nothing"
SECONDS = tuple(dict.fromkeys(second for _, second in PLACES if second))
KINDS = ("thing", "color", "weather", "beside", "place", "yes or no", "number")
# Of a thing that is shown, what each kind may be answered.
ANSWERS = {
    "thing": THING_NAMES,
    "color": COLOURS,
    "weather": WEATHERS,
    "beside": (*SECONDS, NOTHING),
    "place": tuple(f"{relation} the {second}" if second else relation for relation, second in PLACES),
    "yes or no": ("yes", "no"),
    "number": ("1", "2"),
}
_THING = ("what is in the picture?", "what is shown in this picture?", "which thing is in the picture?")
_COLOR = ("what color is the {noun}?", "what colour is the {noun}?", "which color has the {noun}?")
_WEATHER = ("what is the weather or the time of day?", "how is the weather?", "when was the picture taken?")
_BESIDE = ("what is {where} the {noun}?", "what can be seen {where} the {noun}?")
_PLACE = ("where is the {noun}?", "where can the {noun} be seen?")
_NUMBER = ("how many things are in the picture?", "how many things are there?")
# A thing "left of" a tree has the tree on its right.
_HIDDEN = {**OPPOSITE, "alone": ""}
# Scenes without a second thing answer no to "is there a tree?"; the others say yes the oftener for it.
_SHARE_WITH_SECOND = sum(second != "" for _, second in PLACES) / len(PLACES)


@dataclass(frozen=True)
class Question:
    """A question about a picture, its answer, and its kind, one of `KINDS`."""

    text: str
    answer: str
    kind: str


def questions(scene: Scene, rng: random.Random | int) -> list[Question]:
    """Ten questions about a scene, one more where there is a second thing, in a fixed order of kinds."""
    rng = random.Random(rng) if isinstance(rng, int) else rng

    def asked(templates: tuple[str, ...], answer: str, kind: str, **parts: str) -> Question:
        return Question(rng.choice(templates).format(noun=rng.choice(NOUNS[scene.thing]), **parts), answer, kind)

    there = _HIDDEN[scene.relation]  # where the second thing is, seen from the first
    empty = rng.choice([where for where in OPPOSITE if where != there])
    beside = [(there, scene.second), (empty, NOTHING)] if there else [(empty, NOTHING)]
    place = f"{scene.relation} the {scene.second}" if scene.second else scene.relation
    return [
        asked(_THING, scene.thing, "thing"),
        asked(_COLOR, scene.colour, "color"),
        asked(_WEATHER, scene.weather, "weather"),
        *(asked(_BESIDE, answer, "beside", where=rng.choice(EXACT[where])) for where, answer in beside),
        asked(_PLACE, place, "place"),
        _yes_or_no("is the {noun} {value}?", scene.colour, COLOURS, scene, rng),
        _yes_or_no("is there a {value}?", scene.thing, THING_NAMES, scene, rng),
        _second(scene, rng),
        _weather(scene, rng),
        asked(_NUMBER, "2" if scene.second else "1", "number"),
    ]


def _yes_or_no(text: str, right: str, values: tuple[str, ...], scene: Scene, rng: random.Random) -> Question:
    """Half of the time for what is so, else for another value."""
    yes = rng.random() < 0.5
    value = right if yes else rng.choice([other for other in values if other != right])
    return Question(text.format(noun=rng.choice(NOUNS[scene.thing]), value=value), "yes" if yes else "no", "yes or no")


def _second(scene: Scene, rng: random.Random) -> Question:
    yes = bool(scene.second) and rng.random() < 0.5 / _SHARE_WITH_SECOND
    second = scene.second if yes else rng.choice([other for other in SECONDS if other != scene.second])
    return Question(f"is there a {second}?", "yes" if yes else "no", "yes or no")


def _weather(scene: Scene, rng: random.Random) -> Question:
    yes = rng.random() < 0.5
    weather = scene.weather if yes else rng.choice([other for other in WEATHERS if other != scene.weather])
    clause = CLAUSE[weather][0]  # "it is raining"
    return Question(f"is it {clause.removeprefix('it is ')}?", "yes" if yes else "no", "yes or no")
