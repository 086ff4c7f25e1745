"""Photos -> features of one frozen CNN, or of several side by side (section 1).

Which crops, which grid, which precision, on which device; stores nothing (that is build.py).
Axes: n photos, c crops a photo, s input size, v views, r regions (grid * grid, row-major), d feature_dim.
"""

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image

from vse.data.photos import BadPhoto, read_photo, upright_rgb
from vse.features.crops import VIEWS, cut
from vse.features.info import VERSION
from vse.features.networks import load_cnn
from vse.features.weights import file_digest
from vse.system.device import find_device
from vse.system.errors import InputError
from vse.system.precision import autocast, resolve_precision

DEFAULT_ENCODER = "efficientnet-lite2"
_AHEAD = 4  # batches that are decoded while the CNN is busy


class FeatureExtractor:
    """Photos -> (n, v, r, d) float32, with one frozen CNN. `info` is what features.json keeps of it."""

    def __init__(
        self,
        encoder: str = DEFAULT_ENCODER,
        *,
        views: Sequence[str] = ("full",),
        grid: int | str = 1,
        device: str = "cpu",
        precision: str = "auto",
        weights: str | Path | None = None,
        seed: int = 0,
        batch_size: int = 32,
    ):
        """Loads the CNN. `grid`: regions a side, 1 = the mean, 0 or "map" = the CNN's own map; `views`: crops
        of a photo, each stored on its own (photos.VIEWS); `precision`: "float32", "bfloat16" (where the machine
        has units for it more than twice as fast, cosine to float32 about 0.994) or "auto" (the latter there);
        `weights` and `seed` as in cnn.load_cnn; `batch_size`: crops in one forward pass. Raises InputError.
        """
        self.device = find_device(device)
        self.info = configuration(encoder, views, grid, precision, weights, seed, self.device)
        if batch_size < 1:
            raise InputError(f"batch size {batch_size}: expected 1 or more")
        cnn = load_cnn(encoder, weights, seed)
        self._cnn = cnn.frozen(self.info["grid"]).to(self.device)
        self.preprocessing = cnn.preprocessing
        self._crops = [crop for view in views for crop in VIEWS[view]]
        ends = np.cumsum([len(VIEWS[view]) for view in views]).tolist()
        self._view_slices = [slice(end - len(VIEWS[view]), end) for view, end in zip(views, ends, strict=True)]
        self.photos_per_batch = max(1, batch_size // len(self._crops))
        self._compiled: Callable | None = None
        self.feature_dim = cnn.feature_dim if self._cnn.grid == 1 else cnn.map_dim
        self.info |= {"grid": self._cnn.grid, "map_size": cnn.map_size, "feature_dim": self.feature_dim}
        self.info["source"] = cnn.source

    @classmethod
    def from_info(cls, info: dict, **changes) -> "FeatureExtractor | CombinedExtractor":
        """The extractor that treats photos as those of `Features.info` were treated, several CNNs included.

        Features of bfloat16 are made in float32 on a machine without units for it, which is a hundred times
        faster there. `changes`: arguments of __init__ that shall differ (device, views, weights). Raises
        InputError for a user's own matrix, whose CNN nobody knows here.
        """
        if "sources" in info:
            parts = [cls.from_info(source, **changes) for source in info["sources"]]
            return CombinedExtractor(parts, info["scales"])
        if "encoder" not in info:
            raise InputError(
                "these features are a user's own matrix, its CNN is not known: give features instead of photos, "
                "or train on what `vse features` makes"
            )
        settings = {
            key: info[key] for key in ("encoder", "views", "grid", "precision", "weights", "seed") if key in info
        }
        if settings.get("precision") == "bfloat16" and "precision" not in changes:
            settings["precision"] = resolve_precision("auto", find_device(changes.get("device", "cpu")))
        extractor = cls(**(settings | changes))
        digest = info.get("weights_sha256", "")
        if "weights" not in changes and extractor.info["weights_sha256"] != digest:
            raise InputError(f"{info['weights']}: not the weights file the features are from (SHA-256 {digest}...)")
        return extractor

    def pixels(self, photo: Image.Image) -> UInt8[np.ndarray, "c s s 3"]:
        """The crops of an upright RGB photo, as the CNN takes them."""
        p = self.preprocessing
        return cut(photo, self._crops, p.size, p.resample, p.fraction)

    def read(self, path: str | Path) -> UInt8[np.ndarray, "c s s 3"]:
        """`pixels` of a photo file. Raises BadPhoto."""
        return self.pixels(read_photo(path, shortest=3 * self.preprocessing.size))

    @torch.no_grad()
    def encode_pixels(self, pixels: UInt8[np.ndarray, "n c s s 3"]) -> Float32[np.ndarray, "n v r d"]:
        """The features of `pixels` of n photos. A photo's do not depend on which others come with it."""
        n, crops = pixels.shape[:2]
        x = torch.from_numpy(pixels).flatten(0, 1).to(self.device)
        self._compiled = self._compiled or self._compile(x[:1])
        y = self._run(x)
        y = y.view(n, crops, *y.shape[1:])  # (n, c, r, d)
        return torch.stack([y[:, view].mean(1) for view in self._view_slices], 1).cpu().numpy()

    def __call__(self, photos: Sequence[Image.Image]) -> Float32[np.ndarray, "n v r d"]:
        """The features of pictures of any Pillow mode, EXIF orientation applied."""
        return self._encode([self.pixels(upright_rgb(photo)) for photo in photos])

    def extract_files(self, paths: Sequence[str | Path]) -> Float32[np.ndarray, "n v r d"]:
        """The features of photo files, decoded in threads ahead of the CNN. Raises BadPhoto."""
        if not paths:
            return self._encode([])
        parts = []
        for _, photos in decoded(self, [Path(path) for path in paths], 0):
            for photo in photos:
                if isinstance(photo, BadPhoto):
                    raise photo
            parts.append(self._encode(photos))
        return np.concatenate(parts)

    def encode_batch(self, photos: Sequence[np.ndarray | BadPhoto]) -> Float32[np.ndarray, "n v r d"]:
        """The features of at most photos_per_batch results of `decoded`, zeros for the bad ones."""
        good = [i for i, photo in enumerate(photos) if not isinstance(photo, BadPhoto)]
        regions = len(self._view_slices), self._cnn.grid**2, self.feature_dim
        features = np.zeros((len(photos), *regions), np.float32)
        if good:
            features[good] = self.encode_pixels(np.stack([photos[i] for i in good]))
        return features

    def _encode(self, photos: list[np.ndarray]) -> np.ndarray:
        step = self.photos_per_batch
        parts = [self.encode_pixels(np.stack(photos[i : i + step])) for i in range(0, len(photos), step)]
        empty = np.empty((0, len(self._view_slices), self._cnn.grid**2, self.feature_dim), np.float32)
        return np.concatenate([empty, *parts])

    def _run(self, x: torch.Tensor) -> torch.Tensor:
        try:
            y = self._compiled(x)
        except RuntimeError:
            y = x[:0]
        if len(y) != len(x):  # the number of photos became part of the trace: nothing is traced then
            self._compiled = self._eager
            y = self._eager(x)
        return y

    def _eager(self, x: torch.Tensor) -> torch.Tensor:
        with self._autocast():
            return self._cnn(x)

    def _compile(self, x: torch.Tensor) -> Callable:
        """The CNN traced and frozen, for batches of any size; untraced where that fails, and on a GPU.

        All batches go one way: in bfloat16 what is folded differs from what is not by 0.001 of cosine.
        """
        if self.device.type != "cpu":
            return self._eager
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing is deprecated and tells of every Python number
            try:
                with self._autocast():
                    traced = torch.jit.trace(self._cnn, x.repeat(2, 1, 1, 1), check_trace=False)
                return torch.jit.freeze(traced)
            except Exception:  # what a tracer cannot follow is no error of the user's: only slower
                return self._eager

    def _autocast(self):
        # No cache: a trace must see each weight's conversion once, where freezing then folds it.
        return autocast(self.info["precision"], self.device, cache_enabled=False)


class CombinedExtractor:
    """Several extractors side by side, scaled and concatenated as combine_features does it."""

    def __init__(self, parts: Sequence[FeatureExtractor], scales: Sequence[float]):
        self.parts, self.scales = list(parts), [float(scale) for scale in scales]
        self.feature_dim = sum(part.feature_dim for part in parts)
        self.info = {"version": VERSION, "sources": [part.info for part in parts], "scales": self.scales}

    def __call__(self, photos: Sequence[Image.Image]) -> Float32[np.ndarray, "n v r d"]:
        """As FeatureExtractor."""
        return self._side_by_side([part(photos) for part in self.parts])

    def extract_files(self, paths: Sequence[str | Path]) -> Float32[np.ndarray, "n v r d"]:
        """As FeatureExtractor."""
        return self._side_by_side([part.extract_files(paths) for part in self.parts])

    def _side_by_side(self, arrays: list[np.ndarray]) -> np.ndarray:
        views, regions = (max(array.shape[axis] for array in arrays) for axis in (1, 2))
        scaled = [array * np.float32(scale) for array, scale in zip(arrays, self.scales, strict=True)]
        return np.concatenate([np.broadcast_to(a, (len(a), views, regions, a.shape[3])) for a in scaled], axis=3)


def configuration(
    encoder: str, views: Sequence[str], grid: int | str, precision: str, weights: str | Path | None, seed: int,
    device: torch.device,
) -> dict:  # fmt: skip
    """What decides the numbers in a row, as features.json keeps it. Raises InputError."""
    unknown = [view for view in views if view not in VIEWS]
    if unknown or not views or len(set(views)) < len(views):
        raise InputError(f"views {', '.join(views) or '(none)'}: expected different ones of {', '.join(VIEWS)}")
    if grid != "map" and not (isinstance(grid, int) and grid >= 0):
        raise InputError(f"grid {grid!r}: expected regions a side (1 = the mean), or 0 or map for the CNN's own map")
    own_file = weights is not None and str(weights) != "random"
    return {
        "version": VERSION,
        "encoder": encoder,
        "views": list(views),
        "grid": 0 if grid == "map" else grid,
        "asked_grid": 0 if grid == "map" else grid,
        "precision": resolve_precision(precision, device),
        "weights": None if weights is None else str(weights),
        "weights_sha256": file_digest(weights) if own_file else "",
        "seed": seed if str(weights) == "random" else 0,
    }


def decoded(
    extractor: FeatureExtractor, paths: Sequence[Path], start: int = 0, workers: int | None = None
) -> Iterator[tuple[int, list[np.ndarray | BadPhoto]]]:
    """(index of its first photo, the photos' crops or why there are none) of each batch of paths[start:], in
    order.

    Threads decode a few batches ahead of the one in hand: Pillow decodes and resamples outside Python's lock.
    """

    def read(path: Path) -> np.ndarray | BadPhoto:
        try:
            return extractor.read(path)
        except BadPhoto as bad:
            return bad

    pool = ThreadPoolExecutor(workers or min(16, os.cpu_count() or 1), "photos")
    waiting: deque = deque()
    try:
        for first in range(start, len(paths), extractor.photos_per_batch):
            batch = paths[first : first + extractor.photos_per_batch]
            waiting.append((first, [pool.submit(read, path) for path in batch]))
            if len(waiting) > _AHEAD:
                first, photos = waiting.popleft()
                yield first, [photo.result() for photo in photos]
        for first, photos in waiting:
            yield first, [photo.result() for photo in photos]
    finally:
        pool.shutdown(cancel_futures=True)
