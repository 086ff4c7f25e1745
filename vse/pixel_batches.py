"""Captions and photo files -> `Batch`, the photos decoded and cropped by worker processes, the same bits again.

The sister of `vse.batches.TrainingSet`. Shapes: b batch, s side in pixels.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader

from vse.batches import Batch, CaptionedSet
from vse.configs import PixelConfig, ViewsConfig
from vse.data.datasets import Dataset
from vse.data.photos import BadPhoto, read_photo
from vse.data.vocabulary import Tokens
from vse.features.pictures import training_picture
from vse.system.errors import InputError


class _Crops(torch.utils.data.Dataset):
    """(photo, seed) -> its training picture, or the reason why there is none: an error would lose its type."""

    def __init__(self, paths: list[str], config: PixelConfig):
        self._paths, self._config = paths, config

    def __getitem__(self, item: tuple[int, int]) -> np.ndarray | str:
        photo, seed = item
        try:
            return training_picture(read_photo(self._paths[photo], 3 * self._config.size), self._config, seed)
        except BadPhoto as error:
            return str(error)


class PixelSet(CaptionedSet):
    """A split whose photos stay on disk; token ids and ownership are in memory, on the training device."""

    def __init__(
        self, dataset: Dataset, config: PixelConfig, vocabulary: Tokens, device: torch.device, workers: int = 0,
        tags: Sequence[str] = (),
    ):  # fmt: skip
        """`workers`: processes that decode, 0 for none beside this one; they change no bit of what is learned.

        `tags` as of `CaptionedSet`. Raises InputError without captions and without photos.
        """
        super().__init__(dataset, vocabulary, device, tags)
        self._crops = _Crops([str(dataset.path(i)) for i in range(len(dataset.images))], config)
        self._workers = workers

    def epoch(
        self, batch_size: int, seed: int, epoch: int, rank: int = 0, ranks: int = 1,
        views: ViewsConfig = ViewsConfig(),  # noqa: B008  frozen
    ) -> Iterator[Batch]:  # fmt: skip
        """The batches of one epoch, a pure function of (seed, epoch); ranks as in `TrainingSet.epoch`.

        Raises InputError for a photo that cannot be decoded.
        """
        draw = np.random.default_rng((seed, epoch))
        order = draw.permutation(len(self))
        seeds = draw.integers(2**62, size=(len(self), views.crops))
        tagged = self.coins(views, batch_size, seed, epoch) if views.tags else None
        steps = list(self.places(batch_size, rank, ranks))
        wanted = [
            [(int(self._owner[order[i]]), int(seeds[i, crop])) for crop in range(views.crops) for i in mine]
            for _, mine in steps
        ]
        loader = DataLoader(
            self._crops, batch_sampler=wanted, num_workers=self._workers, collate_fn=list,
            prefetch_factor=2 if self._workers else None, multiprocessing_context="fork" if self._workers else None,
        )  # fmt: skip
        for (whole, mine), pictures in zip(steps, loader, strict=True):
            if wrong := next((reason for reason in pictures if isinstance(reason, str)), None):
                raise InputError(f"{wrong}; mend or remove the photo, then go on with --resume")
            stacked = torch.from_numpy(np.stack(pictures)).to(self.tokens.device)
            yield self.batch_of(stacked.chunk(views.crops), order, whole, mine, views.passes, tagged)
