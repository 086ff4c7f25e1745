"""The pen that draws the made-up scenes: colours under a light, shapes in the coordinates of a thing.

It knows Pillow and pixels, but no thing, no weather and no random numbers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import ImageDraw

Colour = tuple[int, int, int]
Number = int | float  # a coordinate, a length, a share
Point = tuple[Number, Number]

WHITE = (255, 255, 255)
LAMPLIGHT = (255, 222, 120)  # gives its own light: as bright by night as by day


@dataclass(frozen=True)
class Light:
    """What a weather or time of day does to things: `tint` multiplies their colours, `haze` is mixed in."""

    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    haze: Colour = WHITE
    haze_share: float = 0.0
    shadow: int = 60  # opacity of the shadow on the ground, of 255
    lamps: bool = False  # windows and headlights are lit
    snow: bool = False  # snow lies on roofs and branches


class Paint:
    """A colour with its lit and its shaded tone and its outline."""

    def __init__(self, base: Colour):
        self.base = base
        self.light = mix(base, WHITE, 0.28)
        self.dark = mix(base, (20, 24, 50), 0.2)
        self.edge = mix(base, (20, 22, 40), 0.5)


class Pen:
    """Draws in the coordinates of a thing: x to the right, y up, (0, 0) where it stands.

    (x, y) is that point in pixels of the picture, y from its top; a negative `scale` mirrors the thing.
    A colour with a fourth number (opacity, of 255) is see-through.
    """

    def __init__(
        self,
        draw: ImageDraw.ImageDraw,
        x: Number,
        y: Number,
        scale: Number,
        supersampling: int,
        light: Light = Light(),  # noqa: B008 (frozen)
    ):
        self.draw, self.x, self.y, self.scale, self.supersampling = draw, x, y, scale, supersampling
        self.light = light

    def _at(self, x: Number, y: Number) -> Point:
        return (
            (self.x + x * self.scale) * self.supersampling,
            (self.y - y * abs(self.scale)) * self.supersampling,
        )

    def _corners(self, x0: Number, y0: Number, x1: Number, y1: Number) -> tuple[Number, Number, Number, Number]:
        (ax, ay), (bx, by) = self._at(x0, y0), self._at(x1, y1)
        return min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)

    def _length(self, units: Number) -> int:
        return max(1, round(units * abs(self.scale) * self.supersampling))

    def _colour(self, colour: Sequence[int]) -> tuple[int, ...]:
        if tuple(colour[:3]) == LAMPLIGHT:
            return tuple(colour)
        tinted = [round(c * t) for c, t in zip(colour[:3], self.light.tint, strict=True)]
        return (*mix(tinted, self.light.haze, self.light.haze_share), *colour[3:])

    def _style(self, colour: Sequence[int], edge: Sequence[int] | None) -> dict:
        """Pillow's keywords for a filled shape with or without an outline of one unit."""
        if edge is None:
            return {"fill": self._colour(colour)}
        return {"fill": self._colour(colour), "outline": self._colour(edge), "width": self._length(1.0)}

    def poly(self, points: Sequence[Point], colour: Sequence[int], edge: Sequence[int] | None = None) -> None:
        self.draw.polygon([self._at(x, y) for x, y in points], fill=self._colour(colour))
        if edge is not None:
            self.line([*points, points[0]], edge, 1.0)

    def box(
        self,
        x0: Number,
        y0: Number,
        x1: Number,
        y1: Number,
        colour: Sequence[int],
        radius: Number = 0,
        edge: Sequence[int] | None = None,
    ) -> None:
        corners, style = self._corners(x0, y0, x1, y1), self._style(colour, edge)
        if radius:
            self.draw.rounded_rectangle(corners, self._length(radius), **style)
        else:
            self.draw.rectangle(corners, **style)

    def oval(
        self,
        x0: Number,
        y0: Number,
        x1: Number,
        y1: Number,
        colour: Sequence[int],
        edge: Sequence[int] | None = None,
    ) -> None:
        self.draw.ellipse(self._corners(x0, y0, x1, y1), **self._style(colour, edge))

    def disc(
        self, x: Number, y: Number, radius: Number, colour: Sequence[int], edge: Sequence[int] | None = None
    ) -> None:
        self.oval(x - radius, y - radius, x + radius, y + radius, colour, edge)

    def line(self, points: Sequence[Point], colour: Sequence[int], width: Number) -> None:
        at = [self._at(x, y) for x, y in points]
        self.draw.line(at, fill=self._colour(colour), width=self._length(width), joint="curve")

    def shadow(self, half_width: Number) -> None:
        """A soft dark ellipse on the ground."""
        for part in (1.15, 1.0, 0.85):
            w = half_width * part
            self.oval(-w, -w * 0.14, w, w * 0.14, (10, 20, 30, self.light.shadow // 2))


def mix(a: Sequence[int], b: Sequence[int], share: Number) -> Colour:
    """The colour with `share` of b and the rest of a."""
    return tuple(round(x + (y - x) * share) for x, y in zip(a[:3], b[:3], strict=True))


def arc(x: Number, y: Number, rx: Number, ry: Number, start: Number, end: Number, steps: int = 24) -> list[Point]:
    """Points on an ellipse from `start` to `end` degrees, anticlockwise from the right."""
    angles = [math.radians(start + (end - start) * i / steps) for i in range(steps + 1)]
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]
