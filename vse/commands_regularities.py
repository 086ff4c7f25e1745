"""The subcommands `arithmetic` and `pca` of the command line: regularities of the joint space (section 5.1)."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from vse.command_line import Run, json_line
from vse.errors import InputError


def arithmetic(
    run: Run,
    photo: Annotated[Positional[Path], arg(metavar="PHOTO")],
    /,
    images: Path,
    minus: list[str] = [],  # noqa: B006  tyro reads it, nothing changes it
    plus: list[str] = [],  # noqa: B006
    k: Annotated[int, arg(aliases=["-k"])] = 4,
    rerank: int = 0,
    html: Path | None = None,
    cache: Path | None = None,
    json: bool = False,
) -> None:
    """Finds the photos near PHOTO - words + words: photo.jpg --minus blue --plus red.

    Args:
        images: folder of photos to search.
        minus: words taken away, one or more.
        plus: words added, one or more.
        k: how many answers.
        rerank: of the N nearest photos the k with the smallest mean distance to those N; 0 for no such order.
        html: also write a page that shows PHOTO and the answers.
        cache: where the index is kept (default: beside the photos).
        json: one JSON object a line.
    """
    from vse.checkpoint import load
    from vse.regularities import arithmetic as search
    from vse.regularities_page import arithmetic_page

    result = search(load(run), images, photo, minus, plus, k, rerank, cache)
    if len(result.hits) < k:
        print(f"note: {images} has {len(result.hits)} other photos, fewer than the {k} asked for", file=sys.stderr)
    for hit in result.hits:
        print(json_line(hit) if json else f"{hit.rank:3d}  {hit.score:6.3f}  {hit.name}")
    if html:
        about = f"Of the {rerank} nearest those with the smallest mean distance to all of them." if rerank else ""
        shown = [(images / hit.name, hit.score, None) for hit in result.hits]
        page = arithmetic_page(html, photo, minus, plus, shown, about)
        print(page, file=sys.stderr if json else sys.stdout)


def pca(
    run: Run,
    /,
    images: Path,
    words: str,
    out: Path,
    photos: int = 40,
    method: Literal["pca", "umap"] = "pca",
    cache: Path | None = None,
) -> None:
    """Draws words and photos of a folder in two dimensions, photos as thumbnails.

    Args:
        images: folder of photos.
        words: such as red,blue,car
        out: the figure: .png, .pdf, .svg or .jpg.
        photos: how many are drawn at most: those nearest to the words, in turn.
        method: pca, or umap (needs umap-learn).
        cache: where the index is kept (default: beside the photos).
    """
    import numpy as np

    from vse.checkpoint import load
    from vse.pca import nearest_in_turns, pca, split_words, umap
    from vse.pca_figure import Panel, check_name, draw
    from vse.regularities import embed_words
    from vse.search import photo_index

    check_name(out)
    if photos < 1:
        raise InputError(f"--photos {photos}: expected 1 or more")
    model, asked = load(run), split_words(words)
    points = embed_words(model, asked)
    index, _, _ = photo_index(model, images, cache)
    chosen = nearest_in_turns(points, index.vectors, photos)
    together = np.concatenate([points, index.vectors[chosen]])
    projection = pca(together) if method == "pca" else umap(together)
    panel = Panel("", projection, asked, [images / index.names[i] for i in chosen])
    print(draw([panel], out))
