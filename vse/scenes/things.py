"""Draws the things of a made-up scene with a `Pen`: ten main things in any paint, three second things.

A thing stands on y = 0 and is about 100 units wide or high; the pen says where that is on the canvas and what
the light is. No random choices here and no weather: those are in `drawing.py`.
"""

from collections.abc import Callable

from vse.scenes.pen import LAMPLIGHT, WHITE, Number, Paint, Pen, arc, mix

GLASS, SNOW, BLACK = (176, 214, 232), (250, 252, 255), (0, 0, 0)
WOOD, DARK_WOOD, TYRE, STEEL = (150, 104, 62), (104, 70, 42), (44, 44, 50), (186, 190, 196)


def _wheel(pen: Pen, x: Number, radius: Number) -> None:
    pen.disc(x, radius, radius, TYRE)
    pen.disc(x, radius, radius * 0.52, STEEL)
    pen.disc(x, radius, radius * 0.2, (90, 92, 98))


def _car(pen: Pen, paint: Paint) -> None:
    glass = (150, 160, 170) if pen.light.lamps else GLASS
    pen.shadow(54)
    pen.poly([(-34, 28), (-21, 49), (14, 49), (32, 28)], paint.base, paint.edge)
    pen.poly([(-27, 29), (-18, 45), (-4, 45), (-4, 29)], glass, paint.edge)
    pen.poly([(0, 29), (0, 45), (12, 45), (25, 29)], glass, paint.edge)
    body = [(-50, 12), (-51, 26), (-46, 31), (-30, 32), (32, 30), (46, 26), (51, 20), (51, 12)]
    pen.poly(body, paint.base, paint.edge)
    pen.poly([(-50, 12), (-50.5, 17), (51, 17), (51, 12)], paint.dark)
    pen.line([(-44, 29), (30, 28)], paint.light, 1.8)
    pen.line([(-2, 29), (-2, 14)], paint.edge, 1.0)
    pen.box(2, 23, 8, 25, paint.edge)
    for x in (-29, 29):
        pen.poly(arc(x, 11, 14, 14, 0, 180), (40, 40, 46))
        _wheel(pen, x, 11)
    pen.box(45, 18, 51, 23, LAMPLIGHT if pen.light.lamps else (255, 244, 200), 1.5, paint.edge)
    pen.box(-51, 20, -47, 25, (200, 30, 30), 1)
    if pen.light.lamps:
        pen.poly([(51, 21), (84, 30), (84, 4)], (*LAMPLIGHT, 60))
    if pen.light.snow:
        pen.poly([(-22, 48), (-18, 52), (11, 52), (15, 48)], SNOW)


def _bus(pen: Pen, paint: Paint) -> None:
    glass = LAMPLIGHT if pen.light.lamps else GLASS
    pen.shadow(58)
    pen.box(-55, 9, 55, 66, paint.base, 6, paint.edge)
    pen.box(-52, 61, 52, 64, paint.light, 1)
    pen.box(-54, 10, 54, 17, paint.dark, 2)
    pen.box(-54, 27, 54, 30, mix(paint.light, WHITE, 0.5))
    for x in (-50, -32, -14, 4):
        pen.box(x, 36, x + 15, 56, glass, 2, paint.edge)
    pen.box(24, 13, 38, 57, mix(glass, (90, 110, 130), 0.3), 1, paint.edge)
    pen.line([(31, 13), (31, 57)], paint.edge, 1.0)
    pen.poly([(42, 34), (42, 57), (54, 57), (54, 34)], glass, paint.edge)
    for x in (-34, 13):
        pen.poly(arc(x, 10, 13, 13, 0, 180), (40, 40, 46))
        _wheel(pen, x, 10)
    pen.disc(51, 22, 3, LAMPLIGHT if pen.light.lamps else (255, 244, 200), paint.edge)
    if pen.light.snow:
        pen.box(-52, 64, 52, 69, SNOW, 2)


def _house(pen: Pen, paint: Paint) -> None:
    glass = LAMPLIGHT if pen.light.lamps else GLASS
    pen.shadow(52)
    pen.box(20, 58, 31, 88, (138, 92, 80), edge=(84, 56, 50))
    pen.poly([(-40, 0), (-40, 48), (0, 84), (40, 48), (40, 0)], paint.base, paint.edge)
    pen.poly([(28, 0), (28, 57), (40, 48), (40, 0)], paint.dark)
    for y in (12, 24, 36):
        pen.line([(-39, y), (39, y)], mix(paint.base, paint.dark, 0.6), 0.8)
    slopes = [(-50, 44), (0, 90), (50, 44), (45, 39), (0, 79), (-45, 39)]
    pen.poly(slopes, SNOW if pen.light.snow else (112, 84, 78), (74, 54, 50))
    pen.box(-9, 0, 9, 30, DARK_WOOD, edge=(60, 40, 24))
    pen.disc(6, 14, 1.2, (230, 200, 90))
    for x in (-32, 16):
        pen.box(x, 16, x + 16, 34, glass, edge=(250, 250, 250))
        pen.line([(x + 8, 16), (x + 8, 34)], (250, 250, 250), 1.3)
        pen.line([(x, 25), (x + 16, 25)], (250, 250, 250), 1.3)
    pen.disc(0, 54, 7, glass, (250, 250, 250))


def _boat(pen: Pen, paint: Paint) -> None:
    water = (112, 156, 178)
    pen.oval(-86, -17, 86, 13, mix(water, (230, 220, 180), 0.45))
    pen.oval(-82, -15, 82, 11, water)
    for x, y in ((-58, 3), (50, 4), (-30, -10), (20, -11), (60, -4)):
        pen.line([(x - 9, y), (x - 3, y + 1.6), (x + 3, y), (x + 9, y + 1.6)], (206, 232, 246), 1.2)
    pen.line([(0, 16), (0, 104)], DARK_WOOD, 2.6)
    pen.poly([(3, 28), (3, 102), (20, 66), (40, 28)], paint.base, paint.edge)
    pen.poly([(3, 45), (3, 60), (24, 60), (32, 45)], mix(paint.light, WHITE, 0.6))
    pen.poly([(-3, 28), (-3, 92), (-30, 28)], paint.light, paint.edge)
    pen.poly([(-50, 22), (52, 22), (38, -2), (-36, -2)], paint.base, paint.edge)
    pen.poly([(-40, 5), (42, 5), (38, -2), (-36, -2)], paint.dark)
    pen.poly([(-50, 22), (52, 22), (50, 18), (-48, 18)], WOOD)
    pen.oval(-44, -6, 46, 0, (120, 180, 220))


def _balloon(pen: Pen, paint: Paint) -> None:
    pen.shadow(24)
    for x in (-1, 1):
        pen.line([(x * 10, 42), (x * 7, 22)], DARK_WOOD, 1.0)
        pen.line([(x * 4, 42), (x * 3, 22)], DARK_WOOD, 1.0)
    envelope = [*arc(0, 82, 38, 36, 0, 180), (-36, 70), (-28, 56), (-12, 38), (12, 38), (28, 56), (36, 70)]
    for share, tone in ((1.0, paint.dark), (0.78, paint.base), (0.5, paint.light), (0.2, paint.base)):
        pen.poly([(x * share, y) for x, y in envelope], tone, paint.edge if share == 1.0 else None)
    pen.box(-12, 37, 12, 41, paint.edge, 1)
    if pen.light.lamps:
        pen.disc(0, 34, 4, (*LAMPLIGHT, 220))
    pen.box(-9, 8, 9, 23, WOOD, 2, DARK_WOOD)
    pen.line([(-9, 13), (9, 13)], DARK_WOOD, 1.0)
    pen.line([(-9, 18), (9, 18)], DARK_WOOD, 1.0)


def _ball(pen: Pen, paint: Paint) -> None:
    pen.shadow(32)
    pen.disc(0, 33, 33, paint.dark, paint.edge)
    pen.oval(-31, 6, 27, 65, paint.base)
    pen.oval(-26, 26, 12, 62, mix(paint.base, paint.light, 0.7))
    for rx, start, end in ((15, 90, 270), (15, -90, 90)):
        pen.line(arc(0, 33, rx, 33, start, end), paint.edge, 1.5)
    pen.line([(0, 0), (0, 66)], paint.edge, 1.5)
    pen.line(arc(0, 33, 33, 9, 180, 360), paint.edge, 1.5)
    pen.oval(-19, 44, -7, 56, (255, 255, 255, 190))


def _umbrella(pen: Pen, paint: Paint) -> None:
    pen.shadow(34)
    pen.line([(0, 8), (0, 100)], (96, 98, 104), 2.6)
    pen.line([*arc(-5, 8, 5, 6, 0, -180)], DARK_WOOD, 3.4)
    scallops = [point for i in range(4) for point in arc(-39 + 26 * i, 52, 13, 6, 180, 0, 8)]
    dome = arc(0, 52, 52, 44, 0, 180)
    pen.poly([*dome, *scallops], paint.base, paint.edge)
    middle = [*arc(0, 52, 26, 44, 0, 180), *arc(-13, 52, 13, 6, 180, 0, 8), *arc(13, 52, 13, 6, 180, 0, 8)]
    pen.poly(middle, paint.light, paint.edge)
    right = [*arc(39, 52, 13, 6, 180, 0, 8), *arc(0, 52, 52, 44, 0, 90), *arc(0, 52, 26, 44, 90, 0)]
    pen.poly(right, paint.dark, paint.edge)
    pen.line([(0, 95), (0, 56)], paint.edge, 1.0)
    pen.disc(0, 98, 2.2, (96, 98, 104))


def _tent(pen: Pen, paint: Paint) -> None:
    pen.shadow(54)
    for x0, y0, x1 in ((-14, 60, -66), (36, 56, 72)):
        pen.line([(x0, y0), (x1, -2)], (226, 220, 200), 1.0)
    pen.poly([(-14, 62), (36, 57), (60, 2), (22, 0)], paint.dark, paint.edge)
    pen.poly([(-52, 0), (-14, 62), (22, 0)], paint.base, paint.edge)
    pen.line([(-14, 62), (36, 57)], paint.light, 2.4)
    pen.poly([(-30, 0), (-14, 46), (4, 0)], LAMPLIGHT if pen.light.lamps else (62, 54, 52))
    pen.poly([(-14, 46), (-30, 0), (-38, 0), (-20, 30)], paint.light, paint.edge)
    pen.line([(34, 44), (52, 3)], mix(paint.dark, paint.edge, 0.5), 1.0)
    pen.line([(8, 59), (38, 1)], mix(paint.dark, paint.edge, 0.5), 1.0)


def _bird(pen: Pen, paint: Paint) -> None:
    beak = (242, 150, 40)
    pen.shadow(26)
    for x in (-6, 8):
        pen.line([(x, 24), (x + 2, 2)], beak, 2.0)
        pen.line([(x - 4, 1), (x + 9, 1)], beak, 1.8)
    pen.poly([(-26, 40), (-60, 20), (-54, 32), (-62, 36), (-30, 52)], paint.dark, paint.edge)
    pen.poly([(14, 78), (26, 88), (34, 64), (22, 40)], paint.base)
    pen.oval(-36, 18, 32, 64, paint.base, paint.edge)
    pen.oval(-8, 22, 30, 52, mix(paint.light, WHITE, 0.25))
    pen.disc(24, 70, 17, paint.base, paint.edge)
    pen.oval(8, 48, 34, 68, paint.base)
    pen.poly([(39, 74), (55, 68), (39, 64)], beak, (170, 96, 20))
    pen.disc(29, 74, 3.6, WHITE)
    pen.disc(30, 74, 2.2, (20, 20, 24))
    pen.poly([*arc(-6, 46, 24, 14, 60, -60), (-30, 30), (-46, 32), (-24, 48)], paint.dark, paint.edge)
    pen.line([(-34, 35), (4, 40)], paint.edge, 1.0)
    pen.line([(-24, 42), (6, 46)], paint.edge, 1.0)


def _chair(pen: Pen, paint: Paint) -> None:
    pen.shadow(46)
    for x in (-36, 29):
        pen.poly([(x, 0), (x + 7, 0), (x + 7, 12), (x, 12)], DARK_WOOD)
    pen.box(-34, 20, 34, 88, paint.dark, 14, paint.edge)
    pen.box(-27, 34, 27, 82, paint.base, 10)
    for x, y in ((-12, 68), (12, 68), (0, 56)):
        pen.disc(x, y, 1.6, paint.edge)
    pen.box(-36, 8, 36, 30, paint.dark, 4, paint.edge)
    pen.box(-28, 26, 28, 42, paint.light, 6, paint.edge)
    for x in (-46, 28):
        pen.box(x, 8, x + 18, 52, paint.base, 8, paint.edge)
        pen.box(x + 4, 46, x + 14, 49, paint.light, 1.5)


def _tree(pen: Pen) -> None:
    leaf = (66, 122, 56)
    pen.shadow(32)
    pen.poly([(-7, 0), (-4, 50), (4, 50), (8, 0)], DARK_WOOD)
    pen.line([(0, 34), (16, 54)], DARK_WOOD, 3.5)
    for x, y, share in (
        (-18, 60, 0.15),
        (19, 62, 0.3),
        (0, 56, 0.25),
        (-10, 82, 0),
        (12, 84, 0.1),
        (0, 99, 0),
    ):
        pen.disc(x, y, 20 - y // 34, mix(leaf, (10, 50, 30), share))
    tone = SNOW if pen.light.snow else mix(leaf, (190, 220, 110), 0.35)
    for x, y, radius in ((-14, 90, 9), (2, 106, 8), (-24, 66, 8), (16, 90, 7), (20, 72, 6)):
        pen.oval(x - radius * 1.3, y - radius * 0.6, x + radius * 1.3, y + radius * 0.6, tone)


def _person(pen: Pen) -> None:
    skin, coat, trousers = (226, 176, 140), (112, 106, 116), (62, 60, 72)
    pen.shadow(20)
    for x in (-9, 2):
        pen.box(x, 2, x + 8, 42, trousers, 2)
        pen.oval(x - 1, -1, x + 11, 5, (40, 34, 34))
    for x in (-1, 1):
        pen.line([(x * 12, 72), (x * 17, 44)], mix(coat, BLACK, 0.2), 7)
        pen.disc(x * 17.5, 41, 3.6, skin)
    pen.box(-14, 36, 14, 78, coat, 6, mix(coat, BLACK, 0.4))
    pen.line([(0, 38), (0, 76)], mix(coat, BLACK, 0.4), 1.0)
    pen.box(-4, 74, 4, 82, skin)
    pen.disc(0, 90, 11, skin)
    pen.poly([*arc(0, 92, 12, 11, 0, 180), (-10, 88), (-6, 95), (3, 97), (10, 90)], (110, 72, 44))
    for x in (-4, 4):
        pen.disc(x, 90, 1.3, (40, 30, 30))
    pen.line(arc(0, 86, 4, 2.4, 200, 340, 8), (170, 90, 80), 1.0)
    if pen.light.snow:
        pen.box(-9, 74, 9, 80, (206, 186, 150), 3)  # a scarf


def fence(pen: Pen) -> None:
    """A wooden fence across the whole picture."""
    edge = mix(DARK_WOOD, BLACK, 0.2)
    pen.box(-140, -3, 140, 2, (10, 20, 30, pen.light.shadow // 2))
    for y in (10, 27):
        pen.box(-140, y, 140, y + 5, DARK_WOOD, edge=edge)
    for x in range(-138, 140, 19):
        pen.poly([(x, 0), (x, 36), (x + 5, 42), (x + 10, 36), (x + 10, 0)], WOOD, edge)
        if pen.light.snow:
            pen.poly([(x - 1, 35), (x + 5, 44), (x + 11, 35), (x + 5, 39)], SNOW)


THINGS: dict[str, Callable[[Pen, Paint], None]] = {
    "car": _car,
    "bus": _bus,
    "house": _house,
    "boat": _boat,
    "balloon": _balloon,
    "ball": _ball,
    "umbrella": _umbrella,
    "tent": _tent,
    "bird": _bird,
    "chair": _chair,
}
SECOND_THINGS: dict[str, Callable[[Pen], None]] = {"tree": _tree, "person": _person, "fence": fence}
