"""Draws one scene: sky, hills, ground, weather, and the arrangement of the things of `things.py`.

The made-up data set is no part of the paper; it is the test bed for what real photos cannot check exactly.
Captions, sampling and files are in `scenes.py`. Every random choice comes from the caller's `random.Random`.
"""

import math
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

from vse.scenes.pen import Colour, Light, Number, Paint, Pen, Point, mix
from vse.scenes.things import SECOND_THINGS, THINGS, fence

SIZE = 224  # pixels of the picture, the input size of most ImageNet CNNs
SUPERSAMPLING = 3  # drawn this many times larger, then reduced: smooth edges at an eighth of the cost of 8 x

PAINTS: dict[str, Colour] = {
    "red": (216, 40, 36),
    "blue": (36, 88, 216),
    "green": (22, 160, 60),
    "yellow": (252, 208, 30),
    "white": (248, 248, 246),
}


@dataclass(frozen=True)
class Look:
    """The colours of the land in a weather or time of day, and its light on the things."""

    sky: tuple[Colour, Colour]  # top, horizon
    hills: tuple[Colour, Colour]  # far, near
    ground: tuple[Colour, Colour]  # far, near
    light: Light


LOOKS: dict[str, Look] = {
    "sunny": Look(
        sky=((52, 148, 236), (190, 228, 250)),
        hills=((134, 190, 142), (100, 172, 92)),
        ground=((140, 200, 84), (92, 164, 58)),
        light=Light(shadow=90),
    ),
    "rainy": Look(
        sky=((76, 88, 104), (142, 154, 166)),
        hills=((104, 122, 128), (84, 108, 104)),
        ground=((98, 122, 98), (66, 92, 76)),
        light=Light(tint=(0.94, 0.95, 0.97), haze=(130, 140, 155), haze_share=0.05, shadow=50),
    ),
    "snowy": Look(
        sky=((146, 166, 192), (206, 216, 228)),
        hills=((200, 210, 224), (222, 229, 238)),
        ground=((232, 238, 245), (248, 250, 253)),
        light=Light(tint=(0.97, 0.98, 1.0), shadow=48, snow=True),
    ),
    "foggy": Look(
        sky=((188, 192, 194), (208, 210, 210)),
        hills=((202, 205, 205), (192, 197, 195)),
        ground=((184, 190, 182), (142, 154, 132)),
        light=Light(haze=(200, 203, 203), haze_share=0.22, shadow=30),
    ),
    "night": Look(
        sky=((8, 12, 40), (34, 46, 96)),
        hills=((24, 34, 70), (18, 30, 54)),
        ground=((24, 48, 50), (12, 28, 34)),
        light=Light(tint=(0.82, 0.82, 0.9), haze=(12, 18, 52), haze_share=0.06, shadow=110, lamps=True),
    ),
    "sunset": Look(
        sky=((104, 70, 148), (255, 164, 72)),
        hills=((150, 84, 118), (104, 62, 88)),
        ground=((138, 98, 66), (84, 66, 50)),
        light=Light(tint=(0.97, 0.92, 0.88), haze=(255, 140, 70), haze_share=0.03, shadow=80),
    ),
}


def draw_scene(
    thing: str, colour: str, weather: str, relation: str, second: str, rng: random.Random,
    shift: float = 0.0, size: float = 1.0,
) -> Image.Image:  # fmt: skip
    """The picture, RGB, 224 x 224. The same arguments and state of `rng` give the same pixels.

    `shift`: pixels that the main thing stands further right, `size`: times that it is larger, than `rng` says.
    The random numbers used do not depend on them nor on `colour`: with the same state of `rng`, scenes that differ
    only there differ only where the main thing is.
    """
    look = LOOKS[weather]
    image = Image.new("RGB", (SIZE * SUPERSAMPLING, SIZE * SUPERSAMPLING))
    draw = ImageDraw.Draw(image, "RGBA")
    page = Pen(draw, 0.0, SIZE, 1.0, SUPERSAMPLING)  # page coordinates: pixels from the lower left corner
    horizon = rng.uniform(90, 104)
    _sky(page, weather, look, horizon, rng)
    _land(page, weather, look, horizon, rng)
    _arrange(draw, thing, PAINTS[colour], look.light, relation, second, rng, shift, size)
    _air(page, weather, rng)
    return image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def _arrange(
    draw: ImageDraw.ImageDraw,
    thing: str,
    paint: Colour,
    light: Light,
    relation: str,
    second: str,
    rng: random.Random,
    shift: float,
    size: float,
) -> None:
    """Places the main and the second thing, the further one first."""
    jitter = rng.uniform(-1, 1)
    x, base, scale = SIZE / 2 + 16 * jitter, 184 + rng.uniform(-4, 8), rng.uniform(1.3, 1.5)
    side = {"left of": -1, "right of": 1}.get(relation, 0)
    if side:
        x, scale = SIZE / 2 + side * (34 + 4 * jitter), rng.uniform(1.06, 1.18)
    elif relation == "behind":
        base, scale = 176 + rng.uniform(-2, 3), rng.uniform(1.25, 1.4)

    def pen(x: Number, base: Number, scale: Number, flip: bool = False) -> Pen:
        return Pen(draw, x, base, -scale if flip else scale, SUPERSAMPLING, light)

    if side:
        other_x = SIZE / 2 - side * (72 + rng.uniform(-5, 5))
        SECOND_THINGS[second](pen(other_x, 180 + rng.uniform(-6, 4), rng.uniform(0.94, 1.08)))
    elif relation == "in front of":
        fence(pen(SIZE / 2 + rng.uniform(-12, 12), 166 + rng.uniform(-3, 3), 1.0))
    wobble = tuple(rng.randint(-9, 7) for _ in range(3))
    exact = tuple(max(0, min(255, c + w)) for c, w in zip(paint, wobble, strict=True))
    main = pen(x + shift, base, scale * size, flip=rng.random() < 0.5)
    THINGS[thing](main, Paint(exact))
    if relation == "behind":
        fence(pen(SIZE / 2 + rng.uniform(-12, 12), 200 + rng.uniform(-3, 3), 1.04))


def _bands(page: Pen, top: Number, bottom: Number, colours: tuple[Colour, Colour]) -> None:
    """A vertical gradient between two heights of the page."""
    steps = int(top - bottom) + 1
    for i in range(steps):
        page.box(0, top - i - 1, SIZE, top - i, mix(colours[0], colours[1], i / steps))


def _sky(page: Pen, weather: str, look: Look, horizon: float, rng: random.Random) -> None:
    _bands(page, SIZE, horizon - 12, look.sky)
    x, y = rng.uniform(28, SIZE - 28), rng.uniform(186, 202)
    if weather == "sunny":
        for radius, alpha in ((34, 40), (27, 60), (21, 90)):
            page.disc(x, y, radius, (255, 244, 170, alpha))
        for i in range(12):
            page.line([(x, y), _on_circle(x, y, 30, i * math.tau / 12)], (255, 236, 120, 170), 1.6)
        page.disc(x, y, 15, (255, 226, 70))
    elif weather == "night":
        for _ in range(45):
            star = rng.uniform(0, SIZE), rng.uniform(110, SIZE), rng.uniform(0.4, 1.1)
            page.disc(*star, (255, 255, 230, 210))
        for radius, alpha in ((30, 18), (23, 28)):
            page.disc(x, y, radius, (230, 232, 255, alpha))
        page.disc(x, y, 15, (248, 244, 212))
        for dx, dy, radius in ((-5, 3, 3.2), (4, -4, 2.4), (5, 5, 1.8)):
            page.disc(x + dx, y + dy, radius, (222, 216, 186))
    elif weather == "sunset":
        y = horizon + rng.uniform(14, 22)
        for radius, alpha in ((62, 34), (48, 46), (36, 70)):
            page.disc(x, y, radius, (255, 206, 110, alpha))
        page.disc(x, y, 24, (255, 226, 130))
        for _ in range(5):
            cx, cy, w = rng.uniform(0, SIZE), rng.uniform(horizon + 50, 212), rng.uniform(25, 60)
            page.oval(cx - w, cy - 2.4, cx + w, cy + 2.4, (255, 128, 110, 120))
    clouds = {
        "sunny": (3, (255, 255, 255, 235)),
        "rainy": (8, (62, 70, 84, 215)),
        "snowy": (6, (226, 232, 240, 190)),
    }
    count, colour = clouds.get(weather, (0, (0, 0, 0, 0)))
    for i in range(count):
        _cloud(page, (i + rng.random()) * SIZE / count, rng.uniform(168, 216), rng.uniform(0.7, 1.25), colour)


def _cloud(page: Pen, x: Number, y: Number, scale: Number, colour: tuple[int, ...]) -> None:
    for dx, dy, radius in ((-20, 0, 8), (-9, 5, 11), (5, 7, 13), (18, 1, 9)):
        page.disc(x + dx * scale, y + dy * scale, radius * scale, colour)
    page.box(x - 21 * scale, y - 8 * scale, x + 19 * scale, y + 1 * scale, colour, 7 * scale)


def _land(page: Pen, weather: str, look: Look, horizon: float, rng: random.Random) -> None:
    for colour, height, far in ((look.hills[0], 19.0, True), (look.hills[1], 9.0, False)):
        phase, waves = rng.uniform(0, math.tau), rng.uniform(1.1, 2.2)

        def top(x: Number, height: float = height, phase: float = phase, waves: float = waves) -> Number:
            return horizon + height * (0.6 + 0.5 * math.sin(phase + waves * x / SIZE * math.tau))

        ridge = [(x, top(x)) for x in range(0, SIZE + 8, 8)]
        page.poly([*ridge, (SIZE, horizon - 14), (0, horizon - 14)], colour)
        for _ in range(0 if far else 9):  # small firs far away, in the colours of the hill
            x, h = rng.uniform(0, SIZE), rng.uniform(7, 12)
            y = top(x) - 3
            fir = mix(colour, (20, 50, 40), 0.1 if weather == "foggy" else 0.35)
            page.poly([(x - h * 0.3, y), (x, y + h), (x + h * 0.3, y)], fir)
    _bands(page, horizon, 0, look.ground)
    tuft = mix(look.ground[1], (150, 165, 190) if look.light.snow else (0, 30, 0), 0.3)
    for _ in range(46):
        x, y = rng.uniform(0, SIZE), rng.uniform(2, horizon - 6)
        h = 2.0 + 2.4 * (1 - y / horizon)
        page.line([(x - h * 0.5, y + h), (x, y), (x + h * 0.4, y + h)], (*tuft, 130), 0.9)
    for _ in range(5 if weather == "rainy" else 0):  # puddles
        x, y, w = rng.uniform(0, SIZE), rng.uniform(6, 46), rng.uniform(14, 34)
        page.oval(x - w, y - w * 0.17, x + w, y + w * 0.17, (150, 166, 184, 210))
        page.oval(x - w * 0.6, y - w * 0.07, x + w * 0.5, y + w * 0.1, (190, 202, 216, 190))


def _air(page: Pen, weather: str, rng: random.Random) -> None:
    """What is between the things and the eye: rain, snow flakes, banks of fog."""
    if weather == "rainy":
        for _ in range(150):
            x, y, length = rng.uniform(-10, SIZE + 20), rng.uniform(0, SIZE), rng.uniform(9, 18)
            page.line([(x, y), (x - 0.3 * length, y - length)], (220, 232, 246, 135), 0.9)
    elif weather == "snowy":
        for _ in range(130):
            x, y, radius = rng.uniform(0, SIZE), rng.uniform(0, SIZE), rng.uniform(0.8, 2.5)
            page.disc(x, y, radius, (255, 255, 255, 235))
    elif weather == "foggy":
        for _ in range(11):
            x, y, w = rng.uniform(0, SIZE), rng.uniform(20, 120), rng.uniform(50, 110)
            for part in (1.0, 0.8, 0.6):
                page.oval(x - w * part, y - 9 * part, x + w * part, y + 9 * part, (222, 224, 224, 24))


def _on_circle(x: Number, y: Number, radius: Number, angle: Number) -> Point:
    return x + radius * math.cos(angle), y + radius * math.sin(angle)
