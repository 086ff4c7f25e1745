"""What a caller gives a trained model, photo files or features of them, as features of the model's CNN.

Features of another CNN are refused.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from vse.features.extractor import FeatureExtractor
from vse.features.info import shape_of
from vse.features.named import permitted
from vse.system.errors import InputError

Images = Sequence[str | Path] | np.ndarray


class GivenPhotos:
    """Turns photos into features as those of training were made; the CNNs are loaded once, when files come."""

    def __init__(self):
        self.precision: str | None = None  # of the CNN on photo files; None: as the features of training
        self.cnns: Sequence[str | Path] = ()  # weights files and timm:MODELs that the user passes, see `permitted`
        self._extractor: FeatureExtractor | None = None

    def features(
        self, images: Images, feature_dim: int, info: dict, device: torch.device
    ) -> Float[np.ndarray, "n v r f"]:
        """Of photo files, or of features (N, F), (N, R, F) or (N, V, R, F), for a model of those that `info` tells of.

        Raises InputError for another feature dimension or other regions than the model was trained on, for more views,
        and for unreadable photos.
        """
        check_listed(images)
        if not isinstance(images, np.ndarray):
            images = self._extract([Path(path) for path in images], info, device)
        return _checked(images, feature_dim, info)

    def _extract(self, paths: list[Path], info: dict, device: torch.device) -> np.ndarray:
        if self._extractor is None:
            changes = {"precision": self.precision} if self.precision else {}
            self._extractor = FeatureExtractor.from_info(permitted(info, self.cnns), device=str(device), **changes)
        return self._extractor.extract_files(paths)


def check_listed(images: object) -> None:
    """Raises InputError for a single photo, which would be read letter by letter."""
    if isinstance(images, (str, Path)):
        raise InputError(f"{str(images)!r}: expected a list of photos; put it in one")


def _checked(array: np.ndarray, feature_dim: int, info: dict) -> Float[np.ndarray, "n v r f"]:
    """The features in one shape. Raises InputError where they are another CNN's."""
    if array.ndim not in (2, 3, 4):
        raise InputError(f"features of shape {array.shape}: expected (N, F), (N, regions, F) or (N, views, regions, F)")
    array = array.reshape(len(array), *([1] * (4 - array.ndim)), *array.shape[1:])
    if array.shape[3] != feature_dim:
        raise InputError(
            f"features have {array.shape[3]} dimensions, the model was trained on {feature_dim}"
            f" ({info.get('encoder', 'a user matrix')}): extract them with the same encoder"
        )
    views, regions, _ = shape_of(info)
    for what, size, most, fits in (
        ("regions", array.shape[2], regions, array.shape[2] == regions),
        ("views", array.shape[1], views, array.shape[1] <= (views or 0)),
    ):
        if most is not None and not fits:
            raise InputError(f"features of {size} {what}, the model was trained on {most}: extract them alike")
    return array
