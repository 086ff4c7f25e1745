"""What all tests share: annotations are checked, one thread, and a tiny world that can be learned."""

from jaxtyping import install_import_hook

install_import_hook(["vse", "scnlm"], "beartype.beartype")  # before anything imports them: every annotation is checked

import itertools  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from tiny_world import COLOURS, FRAMES, THINGS  # noqa: E402

from vse.data.datasets import Dataset  # noqa: E402
from vse.features import Features  # noqa: E402
from vse.system.precision import has_bfloat16  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """48 images of one coloured thing each: 36 train, 8 dev, 4 test; one to three captions, shuffled."""
    draw = np.random.default_rng(0)
    pairs = [pair for pair in itertools.product(COLOURS, THINGS)]
    pairs = [pairs[i] for i in draw.permutation(len(pairs))]
    owned = [(i, frame.format(c=c, t=t)) for i, (c, t) in enumerate(pairs) for frame in FRAMES[: 1 + i % 3]]
    owned = [owned[i] for i in draw.permutation(len(owned))]
    splits = ("train",) * 36 + ("dev",) * 8 + ("test",) * 4
    captions = [text for _, text in owned]
    captions[[splits[i] for i, _ in owned].index("dev")] += " zebra"  # must not get into a vocabulary
    return Dataset(
        name="tiny",
        root=None,
        images=tuple(f"{c}_{t}.jpg" for c, t in pairs),
        split_of_image=splits,
        captions=tuple(captions),
        image_of_caption=np.array([i for i, _ in owned], np.int64),
    )


@pytest.fixture(scope="session")
def features(dataset) -> Features:
    """(48, 2 views, 3 regions, 12) float16: a direction for each colour and thing, and noise."""
    draw = np.random.default_rng(1)
    words = {word: draw.standard_normal(12) for word in COLOURS + THINGS}
    clean = np.stack([sum(words[word] for word in Path(name).stem.split("_")) for name in dataset.images])
    array = clean[:, None, None] + 0.1 * draw.standard_normal((len(clean), 2, 3, 12))
    order = draw.permutation(len(clean))  # rows are found by name, not by position
    return Features(array[order].astype(np.float16), tuple(dataset.images[i] for i in order))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `bfloat16` want a machine where that runs and pays."""
    wanting = [item for item in items if item.get_closest_marker("bfloat16")]
    if wanting and not has_bfloat16():
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason="bfloat16 does not run or does not pay on this machine"))
