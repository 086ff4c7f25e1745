"""The demo page of a model on a split: its table row, sentences with their photos, photos with their sentences.

Chooses what is shown; how it looks is the templates'.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vse.data.datasets import Dataset
from vse.evaluate import HEADER, row_of
from vse.features.pictures import Photos
from vse.metrics import Cosines
from vse.model import VSE
from vse.pages.layout import CaptionHits, PhotoHits, write_html
from vse.search.index import Index
from vse.search.queries import Hit

_SHOWN = 5  # hits a query


def retrieval_page(
    out: Path,
    *,
    title: str,
    intro: str,
    table: Sequence[Sequence[str]] = (),
    text_queries: Sequence[tuple[str, PhotoHits]] = (),
    image_queries: Sequence[tuple[Path, Sequence[str], CaptionHits]] = (),
) -> Path:
    """`out`, written whole or not at all: a table, photos for sentences, sentences for photos; empty parts left out.

    `table`: its header, then its rows, each led by its name.
    `text_queries`: (sentence, photos found). `image_queries`: (photo, what people wrote, captions found).
    """
    judged = any(right is not None for *_, hits in [*text_queries, *image_queries] for *_, right in hits)
    return write_html(
        out, "retrieval.html", title=title, intro=intro, table=table, text_queries=text_queries,
        image_queries=image_queries, judged=judged,
    )  # fmt: skip


def write_page(model: VSE, split: Dataset, features: Photos, out: Path, *, queries: int = 12, seed: int = 0) -> Path:
    """The path of the HTML page written to `out`: `queries` sentences and as many photos, drawn with `seed`."""
    images = model.encode_images(features.take(split.images))
    captions = model.encode_texts(split.captions)
    row = row_of(Cosines(images, captions), split, bootstrap=0)
    draw = np.random.default_rng(seed)
    query_ids = np.sort(draw.permutation(len(split.captions))[:queries])
    shown = np.sort(draw.permutation(len(split.images))[:queries])
    by_text = Index(images, split.images).top(captions[query_ids], min(_SHOWN, len(images)))
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
            for j, scores, ids in zip(query_ids.tolist(), *(part.tolist() for part in by_text), strict=True)
        ],
        image_queries=[
            (
                split.path(i),
                [c for c, image in zip(split.captions, owner, strict=True) if image == i],
                [(split.captions[j], s, bool(owner[j] == i)) for s, j in zip(scores, ids, strict=True)],
            )
            for i, scores, ids in zip(shown.tolist(), *(part.tolist() for part in by_photo), strict=True)
        ],
    )


def answer_page(out: Path, query: str | Path, hits: Sequence[Hit], folder: Path | None = None) -> Path:
    """`out`, written whole or not at all: the answers to a sentence or a photo: photos of `folder`, or captions."""
    intro = "What lies nearest to the query in the common space of images and sentences, best first, with its cosine."
    if folder is None:
        answers = [(hit.name, hit.score, None) for hit in hits]
        return retrieval_page(
            out, title="Sentences for a photo", intro=intro, image_queries=[(Path(query), (), answers)]
        )
    photos = [(folder / hit.name, hit.score, None) for hit in hits]
    if isinstance(query, str):
        return retrieval_page(out, title="Photos for a sentence", intro=intro, text_queries=[(query, photos)])
    return write_html(
        out, "near_photo.html", title="Photos like a photo", intro=intro, photo=query, words=[], hits=photos
    )
