"""experiments.git_captions: rows that exist, and fewer training photos with their own captions."""

import numpy as np

from experiments import git_captions
from experiments.git_captions import ROWS, fewer
from experiments.results import changed
from experiments.rows import FEATURES
from scnlm.configs import GITTrainConfig
from vse.data.datasets import Dataset


def test_settings_of_rows_exist_and_test_has_three_seeds():
    for row in ROWS.values():
        changed(GITTrainConfig(), row.changes)
        assert set(row.features) <= set(FEATURES) and len(row.seeds) == (3 if row.test else 1)
        assert not row.start or row.start in ROWS
    assert len({row.about for row in ROWS.values()}) == len(ROWS)
    assert [name for name, row in ROWS.items() if row.test] == ["git"]


def test_fewer_photos_are_the_first_ones_and_dev_stays():
    split = ("train", "dev", "train", "train", "test")
    whole = Dataset("toy", None, tuple("abcde"), split, tuple("01234567"), np.array([0, 0, 1, 2, 2, 3, 4, 4]))
    two = fewer(whole, 2)
    assert two.images == ("a", "b", "c", "e") and two.captions == tuple("0123467")
    assert two.image_of_caption.tolist() == [0, 0, 1, 2, 2, 3, 3]
    assert fewer(whole, None).fingerprint() == whole.fingerprint()
    assert git_captions.WIDTH == 4
