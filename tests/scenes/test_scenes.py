"""The embedded data set: what is in it, that it can be made again, that pictures and sentences are true."""

import csv
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from vse.data.vocabulary import tokenize
from vse.scenes import sentences
from vse.scenes.scenes import (
    COLOURS,
    PLACES,
    THING_NAMES,
    WEATHERS,
    Scene,
    captions,
    make_scenes,
    read_truth,
    render,
    sample_scenes,
    world,
)
from vse.system.errors import InputError

COUNT = 20  # four families; a picture takes 15 ms, several times that under the type checks

# Written down a second time, on purpose: whoever tells the weather says one of its words, no other does.
WEATHER_WORDS = {
    "sunny": {"sunny", "sunshine", "shining", "hot"},
    "rainy": {"rain", "rainy", "raining", "wet"},
    "snowy": {"snow", "snowy", "snowing", "cold"},
    "foggy": {"fog", "foggy", "mist", "misty"},
    "night": {"night", "dark", "stars", "moon", "moonlight"},
    "sunset": {"sunset", "evening", "setting"},
}
THING_WORDS = {
    "car": {"car", "automobile"},
    "bus": {"bus", "coach"},
    "house": {"house", "cottage"},
    "boat": {"boat", "sailboat"},
    "balloon": {"balloon"},
    "ball": {"ball"},
    "umbrella": {"umbrella", "parasol"},
    "tent": {"tent"},
    "bird": {"bird", "songbird"},
    "chair": {"chair", "armchair"},
}
SECOND_WORDS = {"tree": {"tree"}, "person": {"person", "man"}, "fence": {"fence"}}
RELATION_WORDS = {
    "alone": {"alone", "itself", "own", "nothing"},
    "left of": {"left"},
    "right of": {"right"},
    "in front of": {"front", "before"},
    "behind": {"behind", "back"},
}


def named(sentence: str, words_of: dict[str, set[str]]) -> set[str]:
    """Which values of an attribute a sentence names."""
    words = set(tokenize(sentence))
    return {value for value, names in words_of.items() if words & names}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_scenes(tmp_path_factory.mktemp("data") / "scenes", seed=3, count=COUNT)


def read_rows(folder):
    with open(folder / "captions.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# ---------------------------------------------------------------- the world and the sample


def test_world_has_every_combination_once():
    scenes = world()
    assert len(scenes) == len(set(scenes)) == 10 * 5 * 6 * 7
    assert {s.thing for s in scenes} == set(THING_WORDS)
    assert {s.weather for s in scenes} == set(WEATHER_WORDS)
    assert {s.second for s in scenes} - {""} == set(SECOND_WORDS)


def test_thousand_scenes_are_distinct_and_balanced():
    scenes = sample_scenes(0, 1000)
    assert len(scenes) == len(set(scenes)) == 1000
    for start, stop in ((0, 800), (800, 900), (900, 1000)):
        for attribute in ("thing", "colour"):
            counts = Counter(getattr(s, attribute) for s in scenes[start:stop])
            assert len(set(counts.values())) == 1, (attribute, counts)
    assert min(Counter(s.weather for s in scenes).values()) > 100
    assert min(Counter(s.place for s in scenes).values()) > 90
    assert sample_scenes(0, 1000) == scenes != sample_scenes(1, 1000)


def test_every_change_of_colour_has_its_target_in_the_same_split():
    scenes = sample_scenes(0, 1000)
    for start, stop in ((0, 800), (800, 900), (900, 1000)):
        split = set(scenes[start:stop])
        assert all(replace(s, colour=c) in split for s in split for c in COLOURS)


def test_most_scenes_have_neighbours_in_every_attribute():
    scenes = set(sample_scenes(0, 1000))

    def share(changes):
        return np.mean([any(n in scenes and n != s for n in changes(s)) for s in scenes])

    assert share(lambda s: [replace(s, thing=t) for t in THING_NAMES]) > 0.95
    assert share(lambda s: [replace(s, weather=w) for w in WEATHERS]) > 0.9
    assert share(lambda s: [replace(s, relation=r, second=o) for r, o in PLACES]) > 0.9


@pytest.mark.parametrize("count", [-1, 0, 9, 2101])
def test_impossible_count_is_refused(tmp_path, count):
    with pytest.raises(InputError, match="10 to 2100"):
        make_scenes(tmp_path / "scenes", count=count)
    assert not (tmp_path / "scenes").exists()


@pytest.mark.parametrize(
    "change",
    [{"thing": "cat"}, {"colour": "pink"}, {"weather": "hail"}, {"relation": "behind", "second": "tree"}],
)
def test_unknown_attribute_is_refused(change):
    with pytest.raises(InputError, match="expected one of"):
        replace(world()[0], **change)


# ---------------------------------------------------------------- sentences


def test_captions_are_five_different_sentences_in_flickr_form():
    for i, scene in enumerate(world()[::13]):
        sentences = captions(scene, i)
        assert len(sentences) == len(set(sentences)) == 5
        for sentence in sentences:
            assert sentence.endswith(" .") and sentence == sentence.lower() and "{" not in sentence
            assert tokenize(sentence) == sentence[:-2].split(" ")  # no double blank, no stray mark


def test_first_caption_names_every_attribute_and_nothing_else():
    for i, scene in enumerate(world()[::3]):
        first = captions(scene, i, n=1)[0]
        assert named(first, THING_WORDS) == {scene.thing}
        assert named(first, {c: {c} for c in COLOURS}) == {scene.colour}
        assert named(first, WEATHER_WORDS) == {scene.weather}
        assert named(first, SECOND_WORDS) == ({scene.second} if scene.second else set())
        assert named(first, RELATION_WORDS) == {scene.relation}


def test_no_caption_says_anything_untrue_and_each_names_the_thing_and_more():
    opposite = {
        "left of": "right of",
        "right of": "left of",
        "in front of": "behind",
        "behind": "in front of",
    }
    some_left_out = 0
    for i, scene in enumerate(world()[::7]):
        for sentence in captions(scene, i, n=10):
            assert named(sentence, THING_WORDS) == {scene.thing}, sentence
            told = {
                "colour": named(sentence, {c: {c} for c in COLOURS}),
                "weather": named(sentence, WEATHER_WORDS),
                "second": named(sentence, SECOND_WORDS),
                "relation": named(sentence, RELATION_WORDS),
            }
            words = tokenize(sentence)
            thing_at = min(k for k, w in enumerate(words) if w in THING_WORDS[scene.thing])
            second_at = [k for k, w in enumerate(words) if w in SECOND_WORDS.get(scene.second, ())]
            relation = scene.relation
            if second_at and second_at[0] < thing_at:  # "a tree to the right of a car"
                relation = opposite[relation]
            allowed = {
                "colour": {scene.colour},
                "weather": {scene.weather},
                "second": {scene.second},
                "relation": {relation},
            }
            assert all(told[a] <= allowed[a] for a in told), (scene, sentence)
            assert told["colour"] or told["weather"] or told["second"], sentence
            some_left_out += not all(told.values())
    assert some_left_out > 1000  # of 3000: people leave things out


def test_vocabulary_is_small_and_has_the_words_of_the_regularities():
    words = Counter(w for i, s in enumerate(world()[::2]) for c in captions(s, i) for w in tokenize(c))
    assert 100 <= len(words) <= 150
    assert min(words.values()) > 10
    wanted = {
        "hot",
        "warm",
        "cool",
        "cold",
        "freezing",
        "wet",
        "rain",
        "snow",
        "sun",
        "night",
        "dark",
        *COLOURS,
    }
    assert wanted <= words.keys()


def test_captions_depend_on_the_seed_only():
    scene = Scene("car", "red", "rainy", "left of", "tree")
    assert captions(scene, 5) == captions(scene, 5) != captions(scene, 6)
    assert len(set(captions(scene, 0, n=20))) == 20
    for n in (0, 21):
        with pytest.raises(InputError, match="from 1 to 20"):
            captions(scene, 0, n=n)


def test_grammar_covers_the_world():
    for table in (sentences.NOUNS, sentences.DOING):
        assert set(table) == set(THING_NAMES)
    for table in (sentences.WHEN, sentences.CLAUSE, sentences.MOOD):
        assert set(table) == set(WEATHERS)


# ---------------------------------------------------------------- pictures


def pixels(scene: Scene, seed: int = 1) -> np.ndarray:
    return np.asarray(render(scene, seed), dtype=np.int64)


def looks(rgb: np.ndarray) -> str:
    """The name of the hue of a colour, for the five that there are."""
    r, g, b = (int(c) for c in rgb)
    high, low = max(r, g, b), min(r, g, b)
    if high - low < 0.3 * high:
        return "white"
    if b == high:
        return "blue"
    if g == high:
        return "green"
    return "yellow" if g - b > 0.5 * (r - b) else "red"


@pytest.mark.parametrize("thing", THING_NAMES)
def test_main_thing_has_the_colour_of_its_name(thing):
    weather = WEATHERS[THING_NAMES.index(thing) % len(WEATHERS)]
    place = PLACES[THING_NAMES.index(thing) % len(PLACES)]
    five = {c: pixels(Scene(thing, c, weather, *place), seed=4) for c in COLOURS}
    # The same random numbers: only painted pixels differ between the five.
    spread = np.ptp(np.stack(list(five.values())), axis=0).max(-1)
    painted = spread > 60
    assert 0.02 < painted.mean() < 0.5
    for colour, image in five.items():
        assert looks(np.median(image[painted], axis=0)) == colour, weather


@pytest.mark.parametrize("weather", WEATHERS)
def test_colours_are_told_apart_in_every_weather(weather):
    five = {c: pixels(Scene("balloon", c, weather, "alone", ""), seed=8) for c in COLOURS}
    painted = np.ptp(np.stack(list(five.values())), axis=0).max(-1) > 60
    assert [looks(np.median(image[painted], axis=0)) for image in five.values()] == list(COLOURS)


def test_weathers_have_their_light():
    sky, ground = {}, {}
    for weather in WEATHERS:
        image = pixels(Scene("ball", "red", weather, "alone", ""), seed=2)
        sky[weather], ground[weather] = image[:90].mean((0, 1)), image[200:].mean((0, 1))
    brightness = {w: sky[w].mean() for w in WEATHERS}
    assert min(brightness, key=brightness.get) == "night"
    assert brightness["rainy"] < brightness["foggy"]
    assert sky["sunny"][2] > sky["sunny"][0] + 50 and sky["sunset"][0] > sky["sunset"][1] + 30
    assert max(WEATHERS, key=lambda w: ground[w].mean()) == "snowy"
    assert np.ptp(sky["foggy"]) < 15  # grey


@pytest.mark.parametrize("second", ["tree", "person"])
def test_second_thing_stands_on_the_side_that_is_said(second):
    for relation, side in (("left of", slice(140, 224)), ("right of", slice(0, 84))):
        with_second = Scene("ball", "white", "snowy", relation, second)
        image = pixels(with_second, seed=3)
        dark = image.mean(-1) < 115  # the ball is white, the land is white: tree and person are dark
        assert dark[100:190, side].sum() > 0.7 * dark[100:190].sum() > 300


def test_fence_hides_the_thing_behind_it_only():
    def seen(relation):
        """The share of the lower half of the thing's own rectangle in which its paint is seen."""
        red, blue = (pixels(Scene("ball", c, "sunny", relation, "fence"), seed=6) for c in ("red", "blue"))
        painted = np.abs(red - blue).max(-1) > 60
        rows, columns = np.flatnonzero(painted.any(1)), np.flatnonzero(painted.any(0))
        box = painted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return box[len(box) // 2 :].mean()

    assert seen("behind") < 0.8 * seen("in front of")


def test_render_is_decided_by_scene_and_seed():
    scene = Scene("house", "blue", "night", "alone", "")
    image = render(scene, 1)
    assert (image.size, image.mode) == ((224, 224), "RGB")
    assert image.tobytes() == render(scene, 1).tobytes() != render(scene, 2).tobytes()


# ---------------------------------------------------------------- the folder


def test_folder_has_pictures_captions_truth_and_splits(folder):
    rows, truth = read_rows(folder), read_truth(folder)
    assert len(truth) == len(set(truth.values())) == COUNT
    assert sorted(p.name for p in (folder / "images").iterdir()) == list(truth) == [r["image"] for r in rows[::5]]
    assert Counter(r["split"] for r in rows) == {"train": 16 * 5, "dev": 2 * 5, "test": 2 * 5}
    listed = json.loads((folder / "truth.json").read_text())
    assert [r["split"] for r in listed] == [r["split"] for r in rows[::5]]
    assert len({r["caption"] for r in rows}) > 4.5 * COUNT
    for row in rows[::5]:
        assert truth[row["image"]].colour in row["caption"].split()
        with Image.open(folder / "images" / row["image"]) as image:
            assert (image.size, image.format) == ((224, 224), "JPEG")
    assert json.loads((folder / "scenes.json").read_text()) == {"seed": 3, "count": COUNT, "version": 1}


def test_same_seed_gives_the_same_bytes_and_another_seed_others(folder, tmp_path):
    again = make_scenes(tmp_path / "again", seed=3, count=COUNT)
    assert contents(again) == contents(folder)
    other = make_scenes(tmp_path / "other", seed=4, count=10)
    assert contents(other)["images/0000.jpg"] != contents(folder)["images/0000.jpg"]
    assert read_rows(other)[:5] != read_rows(folder)[:5]


def test_complete_folder_is_left_alone(folder):
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    assert make_scenes(folder, seed=3, count=COUNT) == folder
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


def test_killed_run_is_made_again(tmp_path, monkeypatch):
    out, drawn = tmp_path / "scenes", []

    def render_until_killed(scene, rng):
        drawn.append(scene)
        if len(drawn) == 12:
            raise KeyboardInterrupt
        return render(scene, rng)

    with monkeypatch.context() as patch:
        patch.setattr("vse.scenes.scenes.render", render_until_killed)
        with pytest.raises(KeyboardInterrupt):
            make_scenes(out, seed=5, count=20)
    assert not (out / "scenes.json").exists() and len(list((out / "images").iterdir())) == 11
    (out / "images" / "0000.jpg").write_bytes(b"cut")
    make_scenes(out, seed=5, count=10)  # fewer now: the twelfth picture of before must go
    assert contents(out) == contents(make_scenes(tmp_path / "fresh", seed=5, count=10))


def test_folder_of_another_seed_or_with_other_files_is_refused(folder, tmp_path):
    before = contents(folder)
    with pytest.raises(InputError, match="holds other scenes.*another folder"):
        make_scenes(folder, seed=4, count=COUNT)
    assert contents(folder) == before
    (tmp_path / "captions.csv").write_text("my own")
    with pytest.raises(InputError, match="other files .*captions.csv"):
        make_scenes(tmp_path, count=10)
    assert (tmp_path / "captions.csv").read_text() == "my own"
    with pytest.raises(InputError, match="is a file"):
        make_scenes(tmp_path / "captions.csv", count=10)


def test_truth_of_a_folder_without_it_is_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="truth.json: cannot be read"):
        read_truth(tmp_path)
