"""The crops of a photo that a CNN sees, and the views that are stored of it. Knows no CNN."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image


@dataclass(frozen=True)
class Crop:
    """A rectangle of a photo: its extent, where it lies (0 = left / top, 1 = right / bottom), mirrored."""

    extent: str = "whole"  # "whole"; "part": PART of each side; "square": the CNN's own fraction of the short side
    x: float = 0.0
    y: float = 0.0
    flip: bool = False


PART = 0.8  # of each side, stored crops for augmentation
_CORNERS = {"tl": (0.0, 0.0), "tr": (1.0, 0.0), "bl": (0.0, 1.0), "br": (1.0, 1.0), "c": (0.5, 0.5)}
VIEWS: dict[str, tuple[Crop, ...]] = {
    **{"full" + "-flip" * flip: (Crop(flip=flip),) for flip in (False, True)},
    **{"centre" + "-flip" * flip: (Crop("square", 0.5, 0.5, flip),) for flip in (False, True)},
    "ten": tuple(Crop("square", x, y, flip) for flip in (False, True) for x, y in _CORNERS.values()),
    **{k + "-flip" * flip: (Crop("part", *xy, flip),) for flip in (False, True) for k, xy in _CORNERS.items()},
}


def cut(
    photo: Image.Image, crops: Sequence[Crop], size: int, resample: str = "bicubic", fraction: float = 0.875
) -> UInt8[np.ndarray, "crops {size} {size} 3"]:
    """The crops of `photo`, each resampled straight from it to `size` x `size`.

    `fraction`: the side of a "square" crop over the photo's short side; 0.875 is "short side to 256, crop
    224".
    """
    filter_ = Image.Resampling[resample.upper()]
    width, height = photo.size
    squares = fraction * min(width, height)
    extents = {"whole": (width, height), "part": (PART * width, PART * height), "square": (squares, squares)}
    pixels = np.empty((len(crops), size, size, 3), np.uint8)
    done: dict[Crop, int] = {}
    for i, crop in enumerate(crops):
        twin = Crop(crop.extent, crop.x, crop.y, not crop.flip)
        if twin in done:
            pixels[i] = pixels[done[twin], :, ::-1]
        else:
            w, h = extents[crop.extent]
            left, top = crop.x * (width - w), crop.y * (height - h)
            box = (left, top, min(left + w, width), min(top + h, height))
            picture = np.asarray(photo.resize((size, size), filter_, box=box))
            pixels[i] = picture[:, ::-1] if crop.flip else picture
        done[crop] = i
    return pixels
