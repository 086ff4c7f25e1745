"""The demo page of a model on a split: its table row, sentences with their photos, photos with their sentences.

Chooses what is shown; how it looks is page.py's.
"""

from pathlib import Path

import numpy as np

from vse.datasets import Dataset
from vse.evaluate import HEADER, row_of
from vse.image_features import Features
from vse.index import Index
from vse.model import VSE
from vse.page import retrieval_page

_SHOWN = 5  # hits a query


def write_page(model: VSE, split: Dataset, features: Features, out: Path, *, queries: int = 12, seed: int = 0) -> Path:
    """The path of the HTML page written to `out`: `queries` sentences and as many photos, drawn with `seed`."""
    images = model.encode_images(features.take(split.images))
    captions = model.encode_texts(split.captions)
    row = row_of(images, captions, split, bootstrap=0)
    draw = np.random.default_rng(seed)
    asked = np.sort(draw.permutation(len(split.captions))[:queries])
    shown = np.sort(draw.permutation(len(split.images))[:queries])
    by_text = Index(images, split.images).top(captions[asked], min(_SHOWN, len(images)))
    by_photo = Index(captions, split.captions).top(images[shown], min(_SHOWN, len(captions)))
    owner = split.image_of_caption
    return retrieval_page(
        out,
        title=f"One space for images and sentences: {split.name}",
        intro=(
            f"{len(split.images)} images and {len(split.captions)} sentences that the model has not seen in "
            "training, each a point of one space. A sentence finds the images near it, an image the sentences near "
            "it; the mark says whether they belong together in the data set."
        ),
        table=[list(HEADER), [split.name, *row.cells()]],
        text_queries=[
            (split.captions[j], [(split.path(i), s, bool(owner[j] == i)) for s, i in zip(scores, ids, strict=True)])
            for j, scores, ids in zip(asked.tolist(), *(part.tolist() for part in by_text), strict=True)
        ],
        image_queries=[
            (
                split.path(i),
                [c for c, own in zip(split.captions, owner, strict=True) if own == i],
                [(split.captions[j], s, bool(owner[j] == i)) for s, j in zip(scores, ids, strict=True)],
            )
            for i, scores, ids in zip(shown.tolist(), *(part.tolist() for part in by_photo), strict=True)
        ],
    )
