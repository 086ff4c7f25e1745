"""Captions by a GIT alone: its own beam, scored by its own rule of length."""

from pathlib import Path

import numpy as np

from scnlm import git_run
from scnlm.beam import beam_search
from scnlm.configs import CaptionConfig
from scnlm.git import GIT
from scnlm.rerank.score import Candidate
from vse.features.given import GivenPhotos
from vse.runs.checkpoint import CONFIG, read_config

WIDTH = 4  # of the beam (Wang 2022)


class GITCaptioner:
    """What `scnlm caption` asks of a run of `scnlm train-git`."""

    def __init__(self, model: GIT):
        self.model = model
        model.photos.precision = "float32"  # as of caption sets: every machine gives the same sentences
        model.precision = "float32"

    @classmethod
    def load(cls, run: str | Path, device: str = "cpu") -> "GITCaptioner":
        """Errors as of `git_run.load`."""
        return cls(git_run.load(run, device))

    @property
    def photos(self) -> GivenPhotos:
        """How photo files are read."""
        return self.model.photos

    def seen(self, photos: list[Path]) -> np.ndarray:
        """What the model sees of photo files."""
        model = self.model
        return model.photos.features(photos, model.feature_dim, model.feature_info, model.device)

    def describe(self, seen: np.ndarray, config: CaptionConfig, seed: int = 0) -> list[list[Candidate]]:
        """Of each photo the best sentences; those of a wider beam where more than WIDTH are to be kept."""
        found = beam_search(self.model, self.model.seen(seen), max(WIDTH, config.kept))
        return [
            [
                Candidate(tuple(self.model.vocabulary.decode(one.words).split()), "git", (), one.log_p, score=one.score)
                for one in own[: config.kept]
            ]
            for own in found
        ]


def is_git_run(folder: Path) -> bool:
    """Whether a folder is a run of `scnlm train-git`."""
    return (folder / CONFIG).is_file() and read_config(folder).get("kind") == git_run.KIND
