"""The embedded data set `scenes`: 1,000 drawn pictures with captions and ground truth, made from a seed.

No part of the paper: the test bed for what real photos cannot check exactly, such as whether the top hit for
image - "blue" + "red" is the same scene with nothing but the colour changed. The drawing is in
`drawing.py`, the sentences are in `sentences.py`; `datasets.py` reads the folder as a data set.
"""

import csv
import io
import json
import os
import random
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from vse.scenes import sentences
from vse.scenes.drawing import LOOKS, PAINTS, draw_scene
from vse.scenes.things import THINGS as DRAWN_THINGS
from vse.system.errors import InputError
from vse.system.files import write_text

VERSION = 1  # of the pictures and sentences: raise it when either changes, so that old folders are not mixed in
THING_NAMES = tuple(DRAWN_THINGS)
COLOURS = tuple(PAINTS)
WEATHERS = tuple(LOOKS)
PLACES = (  # (relation, second thing); "car, left of, tree" is a car with a tree on its right
    ("alone", ""),
    ("left of", "tree"),
    ("right of", "tree"),
    ("left of", "person"),
    ("right of", "person"),
    ("in front of", "fence"),
    ("behind", "fence"),
)
ATTRIBUTES = {"thing": THING_NAMES, "colour": COLOURS, "weather": WEATHERS, "place": PLACES}
CAPTIONS_PER_IMAGE = 5
JPEG_QUALITY = 92


@dataclass(frozen=True)
class Scene:
    """What a picture shows, every attribute. Raises InputError for a value that the world does not have."""

    thing: str
    colour: str  # of the thing
    weather: str  # or time of day
    relation: str  # of the thing to the second one: "alone", "left of", "right of", "in front of", "behind"
    second: str  # "tree", "person", "fence", or "" where the thing is alone

    def __post_init__(self):
        for name, allowed in ATTRIBUTES.items():
            if getattr(self, name) not in allowed:
                known = ", ".join(" ".join(v).strip() if isinstance(v, tuple) else v for v in allowed)
                raise InputError(f"{getattr(self, name)!r} is no {name} of a scene; expected one of: {known}")

    @property
    def place(self) -> tuple[str, str]:
        """(relation, second): the two go together, so they change together."""
        return self.relation, self.second


def world() -> list[Scene]:
    """Every possible scene, 2,100 of them, always in the same order; colours change fastest."""
    return [
        Scene(thing, colour, weather, *place)
        for thing, weather, place, colour in product(THING_NAMES, WEATHERS, PLACES, COLOURS)
    ]


def sample_scenes(seed: int, count: int) -> list[Scene]:
    """`count` distinct scenes, in families of the five colours of one thing, weather and place.

    So every change of colour has its exact target in the data set and, as the splits are cut between families
    where `count` is a multiple of 50, in the same split. The things
    take turns, so that every split has its share of each. Raises InputError unless 10 <= count <= 2,100.
    """
    if not 10 <= count <= len(world()):
        raise InputError(f"{count} scenes cannot be made: a count from 10 to {len(world())} is needed")
    rng = random.Random(f"scenes {seed}")
    by_thing = []
    for thing in THING_NAMES:
        families = list(product([thing], WEATHERS, PLACES))
        rng.shuffle(families)
        by_thing.append(families)
    scenes: list[Scene] = []
    for turn in zip(*by_thing, strict=True):
        for thing, weather, place in rng.sample(turn, len(turn)):
            scenes += [Scene(thing, c, weather, *place) for c in rng.sample(COLOURS, len(COLOURS))]
    return scenes[:count]


def render(scene: Scene, rng: random.Random | int, shift: float = 0.0, size: float = 1.0) -> Image.Image:
    """The picture of a scene, RGB, 224 x 224. `rng` (or a seed) decides position, size, land and sky.

    The main thing stands `shift` pixels further right, and is `size` times as large.
    """
    rng = random.Random(rng) if isinstance(rng, int) else rng
    parts = scene.thing, scene.colour, scene.weather, scene.relation, scene.second
    return draw_scene(*parts, rng, shift, size)


def captions(scene: Scene, rng: random.Random | int, n: int = CAPTIONS_PER_IMAGE) -> list[str]:
    """`n` different true sentences about a scene, the first with all attributes, the others often with fewer.

    Lower case, ending in " .", as in Flickr8K. Raises InputError unless 1 <= n <= 20.
    """
    if not 1 <= n <= 20:
        raise InputError(f"{n} captions of a scene cannot be made: a number from 1 to 20 is needed")
    rng = random.Random(rng) if isinstance(rng, int) else rng
    texts = [sentences.full_sentence(scene, rng)]
    while len(texts) < n:
        sentence = sentences.sentence(scene, rng)
        if sentence not in texts:
            texts.append(sentence)
    return texts


def make_scenes(out: Path, *, seed: int = 0, count: int = 1000) -> Path:
    """The folder `out` with the data set in it; nothing is done where it is there already.

    images/0000.jpg ..., captions.csv (image,caption,split: 80 % train, 10 % dev, 10 % test), truth.json (one
    object an image) and, last, scenes.json, which says that the folder is complete. A folder without it, left
    by a kill, is made again. The same seed and count give the same files. Takes about 20 s for 1,000.
    Raises InputError for an impossible count, for a folder of another seed, count or version, and for a
    folder that holds something else.
    """
    out = Path(out)
    recipe = {"seed": seed, "count": count, "version": VERSION}
    scenes = sample_scenes(seed, count)
    if _is_complete(out, recipe):
        return out
    names = [f"{i:04d}.jpg" for i in range(count)]
    held_out = count // 10
    splits = ["train"] * (count - 2 * held_out) + ["dev"] * held_out + ["test"] * held_out
    rows = list(zip(names, splits, scenes, strict=True))
    images = out / "images"
    out.mkdir(parents=True, exist_ok=True)
    # The truth comes first: a folder that has it is ours, and may be made again after a kill.
    write_text(out / "truth.json", _json_lines([{"image": n, "split": s, **asdict(x)} for n, s, x in rows]))
    images.mkdir(exist_ok=True)
    for stale in set(os.listdir(images)) - set(names):  # of an unfinished run with a larger count
        (images / stale).unlink()
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["image", "caption", "split"])
    for name, split, scene in tqdm(rows, desc="scenes", unit="picture"):
        rng = random.Random(f"scene {seed} {name}")
        render(scene, rng).save(images / name, quality=JPEG_QUALITY, subsampling=0)
        writer.writerows([name, caption, split] for caption in captions(scene, rng))
    write_text(out / "captions.csv", table.getvalue())
    write_text(out / "scenes.json", json.dumps(recipe) + "\n")
    return out


def read_truth(folder: Path) -> dict[str, Scene]:
    """The scene of every image by its name, in file order. Raises InputError if there is no truth.json."""
    path = Path(folder) / "truth.json"
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); expected a folder made by make_scenes") from None
    fields = ("thing", "colour", "weather", "relation", "second")
    return {row["image"]: Scene(*(row[field] for field in fields)) for row in rows}


def _is_complete(out: Path, recipe: dict) -> bool:
    """Whether `out` holds the very data set; InputError where it holds another one, or something else."""
    way_out = "give another folder or delete this one"
    done = out / "scenes.json"
    if done.exists():
        try:
            saved_recipe = json.loads(done.read_text(encoding="utf-8"))
        except ValueError:
            saved_recipe = None
        if saved_recipe != recipe:
            raise InputError(f"{out}: holds other scenes ({saved_recipe}), not {recipe}; {way_out}")
        return True
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file, a folder was expected; {way_out}")
    if out.exists() and not (out / "truth.json").exists():
        others = [entry for entry in sorted(os.listdir(out)) if not entry.endswith(".part")]
        if others:
            raise InputError(f"{out}: has other files ({others[0]}, ...), an empty folder was expected; {way_out}")
    return False


def _json_lines(rows: list[dict]) -> str:
    """A JSON list with one row a line."""
    return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"
