"""The grammar of the captions of made-up scenes: true sentences in varied words and orders, some 120 words.

People leave things out, so most sentences do too; but each names the thing and at least one more attribute.
Colours have one word each, so that image - "blue" + "red" means one thing; the rest have several.
"""

import random
from typing import Protocol, runtime_checkable


@runtime_checkable
class SceneLike(Protocol):
    """What a sentence is about (`scenes.Scene`)."""

    thing: str
    colour: str
    weather: str
    relation: str
    second: str


NOUNS = {  # said equally often; no word of a weather or of a colour among them
    "car": ("car", "automobile"),
    "bus": ("bus", "coach"),
    "house": ("house", "cottage"),
    "boat": ("boat", "sailboat"),
    "balloon": ("balloon", "air balloon"),
    "ball": ("ball", "rubber ball"),
    "umbrella": ("umbrella", "parasol"),
    "tent": ("tent", "camping tent"),
    "bird": ("bird", "songbird"),
    "chair": ("chair", "armchair"),
}
DOING = {
    "car": ("parked", "waiting"),
    "bus": ("parked", "stopping"),
    "house": ("standing", "built"),
    "boat": ("floating", "sailing"),
    "balloon": ("flying", "floating"),
    "ball": ("lying", "resting"),
    "umbrella": ("standing", "opened"),
    "tent": ("pitched", "standing"),
    "bird": ("sitting", "perched"),
    "chair": ("standing", "placed"),
}
SECOND_NOUNS = {
    "tree": ("a tree", "a big tree"),
    "person": ("a person", "a man"),
    "fence": ("a fence", "a wooden fence"),
}
EXACT = {
    "left of": ("to the left of", "on the left side of", "left of"),
    "right of": ("to the right of", "on the right side of", "right of"),
    "in front of": ("in front of", "before"),
    "behind": ("behind", "at the back of"),
}
VAGUE = ("next to", "beside", "near", "by")
ALONE = ("alone", "by itself", "on its own", "with nothing around it")
OPPOSITE = {"left of": "right of", "right of": "left of", "in front of": "behind", "behind": "in front of"}
WHEN = {  # where or when it is: "a red car ... in the rain"
    "sunny": (
        "on a sunny day",
        "in the hot sun",
        "on a hot sunny day",
        "in warm sunshine",
        "under a clear sunny sky",
    ),
    "rainy": (
        "in the rain",
        "on a rainy day",
        "on a wet rainy day",
        "in heavy rain",
        "in cool rainy weather",
    ),
    "snowy": (
        "in the snow",
        "on a snowy day",
        "on a cold snowy day",
        "in cold winter snow",
        "in freezing snow",
    ),
    "foggy": ("in the fog", "on a foggy day", "in thick fog", "on a grey foggy morning", "in cool damp mist"),
    "night": ("at night", "in the dark night", "on a dark night", "under the stars at night", "by moonlight"),
    "sunset": (
        "at sunset",
        "in the evening",
        "on a warm evening",
        "in the evening at sunset",
        "while the sun is setting",
    ),
}
CLAUSE = {  # a sentence of its own: "it is raining and ..."
    "sunny": ("it is sunny", "the sun is shining", "it is hot and sunny"),
    "rainy": ("it is raining", "it is rainy and wet", "rain is falling"),
    "snowy": ("it is snowing", "it is cold and snowy", "snow is falling"),
    "foggy": ("it is foggy", "there is fog everywhere", "it is grey and misty"),
    "night": ("it is night", "it is a dark night", "the moon is out"),
    "sunset": ("it is evening", "the sun is setting", "the evening sky is orange"),
}
MOOD = {  # before "picture" or "view"
    "sunny": ("sunny", "hot summer"),
    "rainy": ("rainy", "wet"),
    "snowy": ("snowy", "cold winter"),
    "foggy": ("foggy", "misty"),
    "night": ("dark night", "night"),
    "sunset": ("sunset", "warm evening"),
}
FULL = (  # every attribute, the place in its exact words
    "a {colour} {noun} {doing} {exact} {when}",
    "a {colour} {noun} is {doing} {exact} {when}",
    "{when} a {colour} {noun} is {doing} {exact}",
    "there is a {colour} {noun} {exact} {when}",
    "{clause} and a {colour} {noun} is {doing} {exact}",
    "the {noun} {doing} {exact} {when} is {colour}",
)
PART = (
    "a {colour} {noun} {when}",
    "a {colour} {noun} is {doing} {when}",
    "a {colour} {noun} {doing} {place}",
    "{a_noun} {doing} {place} {when}",
    "the {noun} is {colour} and {clause}",
    "the {colour} {noun} is {place}",
    "{clause} and there is a {colour} {noun}",
    "{when} there is {a_noun} {place}",
    "a {mood} picture of a {colour} {noun}",
    "a {mood} view with a {colour} {noun} {place}",
    "{a_noun} in {colour} {when}",
)
PART_WITH_SECOND = (  # where there is a second thing
    "{other} {opposite} a {colour} {noun}",
    "{other} and a {colour} {noun} {when}",
    "{when} {other} is {opposite} a {colour} {noun}",
    "there is {other} {opposite} the {colour} {noun}",
)


def full_sentence(scene: SceneLike, rng: random.Random) -> str:
    """A sentence that names every attribute of the scene."""
    return _fill(rng.choice(FULL), scene, rng)


def sentence(scene: SceneLike, rng: random.Random) -> str:
    """A sentence about the scene; one in four names every attribute."""
    if rng.random() < 0.25:
        return full_sentence(scene, rng)
    return _fill(rng.choice(PART + PART_WITH_SECOND if scene.second else PART), scene, rng)


def _fill(template: str, scene: SceneLike, rng: random.Random) -> str:
    noun = rng.choice(NOUNS[scene.thing])
    other = rng.choice(SECOND_NOUNS[scene.second]) if scene.second else ""
    if scene.second:
        exact = f"{rng.choice(EXACT[scene.relation])} {other}"
        opposite = rng.choice(EXACT[OPPOSITE[scene.relation]])
        place = exact if rng.random() < 0.6 else f"{rng.choice(VAGUE)} {other}"
    else:
        exact = place = rng.choice(ALONE)
        opposite = ""
    words = template.format(
        colour=scene.colour,
        noun=noun,
        a_noun=f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}",
        doing=rng.choice(DOING[scene.thing]),
        when=rng.choice(WHEN[scene.weather]),
        clause=rng.choice(CLAUSE[scene.weather]),
        mood=rng.choice(MOOD[scene.weather]),
        exact=exact,
        place=place,
        opposite=opposite,
        other=other,
    )
    return f"{words} ."
