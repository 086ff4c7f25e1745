"""Drawn clips of a moving thing: frames of a scene in which its position or its size changes, all else is the same.

Each motion played backwards is another one, or itself, to the pixel: a model that does not know the order of frames
cannot tell which way something went, whatever it has learned.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from vse.scenes.scenes import COLOURS, JPEG_QUALITY, THING_NAMES, WEATHERS, Scene, render
from vse.scenes.sentences import NOUNS, WHEN
from vse.system.errors import InputError
from vse.system.files import write_text

FRAMES = 6
# From the first frame to the last: pixels of shift, powers of two of size.
MOTIONS = {
    "right": ((-48.0, 48.0), (0.0, 0.0)),
    "left": ((48.0, -48.0), (0.0, 0.0)),
    "nearer": ((0.0, 0.0), (-0.7, 0.3)),
    "farther": ((0.0, 0.0), (0.3, -0.7)),
    "still": ((0.0, 0.0), (0.0, 0.0)),
}
BACKWARDS = {"right": "left", "left": "right", "nearer": "farther", "farther": "nearer", "still": "still"}
WORDS = {
    "right": ("moves to the right", "goes from left to right", "is moving to the right"),
    "left": ("moves to the left", "goes from right to left", "is moving to the left"),
    "nearer": ("comes nearer", "is coming closer", "moves towards us"),
    "farther": ("moves away", "is going away", "moves away from us"),
    "still": ("does not move", "stands still", "stays where it is"),
}
SENTENCES = ("a {colour} {noun} {motion} {when}", "{when} a {colour} {noun} {motion}", "the {colour} {noun} {motion}")
CAPTIONS = 5
TRUTH = "truth.json"


@dataclass(frozen=True)
class Clip:
    """What a clip shows. Raises InputError for a scene with a second thing and for an unknown motion."""

    scene: Scene
    motion: str

    def __post_init__(self):
        if self.motion not in MOTIONS:
            raise InputError(f"motion {self.motion!r}: expected one of {', '.join(MOTIONS)}")
        if self.scene.second:
            raise InputError(f"a clip of a {self.scene.thing} beside a {self.scene.second}: expected a scene without")


def frames(clip: Clip, seed: int, count: int = FRAMES) -> list[Image.Image]:
    """The pictures of a clip; `seed` decides land, sky, and where the thing is in the middle of it."""
    shifts, sizes = MOTIONS[clip.motion]
    places = [i / (count - 1) for i in range(count)] if count > 1 else [0.5]
    return [render(clip.scene, seed, _between(shifts, place), 2 ** _between(sizes, place)) for place in places]


def _between(ends: tuple[float, float], place: float) -> float:
    return (1 - place) * ends[0] + place * ends[1]


def captions(clip: Clip, rng: random.Random, n: int = CAPTIONS) -> list[str]:
    """`n` different true sentences, as those of pictures end in " ."; all name thing, color and motion."""
    texts: list[str] = []
    while len(texts) < n:
        scene = clip.scene
        words = rng.choice(SENTENCES).format(
            colour=scene.colour, noun=rng.choice(NOUNS[scene.thing]), motion=rng.choice(WORDS[clip.motion]),
            when=rng.choice(WHEN[scene.weather]),
        )  # fmt: skip
        if f"{words} ." not in texts:
            texts.append(f"{words} .")
    return texts


def world() -> list[Clip]:
    """Every possible clip, 1,500 of them."""
    scenes = [Scene(thing, colour, weather, "alone", "") for thing, colour, weather in
              product(THING_NAMES, COLOURS, WEATHERS)]  # fmt: skip
    return [Clip(scene, motion) for scene, motion in product(scenes, MOTIONS)]


def make_clips(out: Path, *, seed: int = 0, count: int = 500) -> Path:
    """The folder `out` with clips in it: NNNN/0.jpg and on, captions.csv (clip,caption,split), truth.json.

    80 % are for training, 10 % for dev, 10 % for test. Raises InputError for an impossible count and for a folder that
    is not empty.
    """
    if not 10 <= count <= len(world()):
        raise InputError(f"{count} clips cannot be made: a count from 10 to {len(world())} is needed")
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: not empty; give another folder or delete this one")
    rng = random.Random(f"clips {seed}")
    clips, rows, lines = rng.sample(world(), count), [], ["clip,caption,split\n"]
    held = count // 10
    splits = ["train"] * (count - 2 * held) + ["dev"] * held + ["test"] * held
    for i, (clip, split) in enumerate(zip(tqdm(clips, desc="clips", unit="clip", disable=None), splits, strict=True)):
        name = f"{i:04d}"
        (out / name).mkdir(parents=True)
        for j, picture in enumerate(frames(clip, rng.randrange(2**31))):
            picture.save(out / name / f"{j}.jpg", quality=JPEG_QUALITY, subsampling=0)
        lines += [f'{name},"{caption}",{split}\n' for caption in captions(clip, rng)]
        rows.append({"clip": name, "split": split, "motion": clip.motion, **asdict(clip.scene)})
    write_text(out / "captions.csv", "".join(lines))
    write_text(out / TRUTH, json.dumps(rows, indent=0) + "\n")
    return out


def read_clips(folder: Path) -> dict[str, Clip]:
    """The clip of every name, in order. Raises InputError if there is no truth.json."""
    path = Path(folder) / TRUTH
    try:
        rows: Sequence[dict] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); expected a folder made by make_clips") from None
    fields = ("thing", "colour", "weather", "relation", "second")
    return {row["clip"]: Clip(Scene(*(row[field] for field in fields)), row["motion"]) for row in rows}
