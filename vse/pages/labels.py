"""Places for pictures and words in a drawing, near their points and none covering another.

Greedy: in the order given, each box goes to the free place nearest to its point. Knows rectangles only.
Axes: n boxes; a box is its centre (x, y) and its size (width, height).
"""

import numpy as np
from jaxtyping import Float

from vse.system.errors import InputError

_RINGS, _AROUND = 100, 32  # places that are tried around a point: this many distances, and directions at each


def place(
    points: Float[np.ndarray, "n 2"],
    sizes: Float[np.ndarray, "n 2"],
    page: Float[np.ndarray, "2"],
    gap: float = 0.0,
) -> Float[np.ndarray, "n 2"]:
    """The centres of boxes of these sizes, on the page (width, height), at least `gap` apart.

    Raises InputError when a box finds no free place: there are too many for the page, or they are too large.
    """
    centres = np.empty_like(points, dtype=np.float64)
    room = page.astype(np.float64)
    around = _places(float(room.max()))
    for i, (point, size) in enumerate(zip(points.astype(np.float64), sizes.astype(np.float64), strict=True)):
        low, high = size / 2, room - size / 2
        if (low > high).any():
            raise InputError(f"a box of {size.tolist()} on a page of {room.tolist()}: expected a smaller one")
        tried = np.clip(point + around, low, high)
        apart = np.abs(tried[:, None] - centres[None, :i]) - (size + sizes[:i]) / 2 - gap  # (places, i, 2)
        free = (apart >= 0).any(2).all(1)
        if not free.any():
            raise InputError(f"no free place for box {i + 1} of {len(points)}: draw fewer, or smaller ones")
        distance = np.square(tried - point).sum(1)
        centres[i] = tried[np.argmin(np.where(free, distance, np.inf))]
    return centres


def overlaps(centres: Float[np.ndarray, "n 2"], sizes: Float[np.ndarray, "n 2"]) -> list[tuple[int, int]]:
    """The pairs of boxes that cover each other; boxes that only touch do not."""
    apart = np.abs(centres[:, None] - centres[None]) - (sizes[:, None] + sizes[None]) / 2
    covering = (apart < -1e-9).all(2)
    return [(int(i), int(j)) for i, j in zip(*np.nonzero(np.triu(covering, 1)), strict=True)]


def _places(reach: float) -> np.ndarray:
    """(places, 2): the point itself, then rings around it out to `reach`."""
    distances = reach * (np.arange(1, _RINGS + 1) / _RINGS) ** 1.5  # close together near the point
    angles = 2 * np.pi * np.arange(_AROUND) / _AROUND
    rings = distances[:, None, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    return np.concatenate([np.zeros((1, 2)), rings.reshape(-1, 2)])
