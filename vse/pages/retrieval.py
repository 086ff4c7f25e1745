"""The demo page of a model on a split: its table row, sentences with their photos, photos with their sentences.

Chooses what is shown; how it looks is layout.py's.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vse.data.datasets import Dataset
from vse.evaluate import HEADER, row_of
from vse.features.build import Features
from vse.metrics import Cosines
from vse.model import VSE
from vse.pages.layout import photo_article, photo_row, retrieval_page
from vse.pages.layout import write_page as write_html
from vse.search.index import Index
from vse.search.queries import Hit

_SHOWN = 5  # hits a query


def write_page(model: VSE, split: Dataset, features: Features, out: Path, *, queries: int = 12, seed: int = 0) -> Path:
    """The path of the HTML page written to `out`: `queries` sentences and as many photos, drawn with `seed`."""
    images = model.encode_images(features.take(split.images))
    captions = model.encode_texts(split.captions)
    row = row_of(Cosines(images, captions), split, bootstrap=0)
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


def answer_page(out: Path, query: str | Path, hits: Sequence[Hit], folder: Path | None = None) -> Path:
    """`out`, written whole or not at all: the answers to a sentence or a photo: photos of `folder`, or captions."""
    intro = "What lies nearest to the query in the common space of images and sentences, best first, with its cosine."
    if folder is None:
        found = [(hit.name, hit.score, None) for hit in hits]
        return retrieval_page(out, title="Sentences for a photo", intro=intro, image_queries=[(Path(query), (), found)])
    photos = [(folder / hit.name, hit.score, None) for hit in hits]
    if isinstance(query, str):
        return retrieval_page(out, title="Photos for a sentence", intro=intro, text_queries=[(query, photos)])
    asked = photo_article(query, f"The photo that is asked about: {query.stem}", "")
    row = f"<article>{photo_row(photos, f'the photo {query.stem}')}</article>"
    return write_html(out, "Photos like a photo", intro, [asked, "<section>", "<h2>is near</h2>", row, "</section>"])
