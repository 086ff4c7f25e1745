"""The subcommands `arithmetic` and `pca` of the command line: regularities of the joint space (section 5.1)."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from vse.commands.search import FeatureFolders, load_searcher
from vse.system.arguments import Between
from vse.system.command_line import CNNs, Count, Device, Run, hit_line


def arithmetic(
    run: Run,
    photo: Annotated[Positional[Path], arg(metavar="PHOTO")],
    /,
    images: Path,
    minus: list[str] = [],  # noqa: B006  tyro reads it, nothing changes it
    plus: list[str] = [],  # noqa: B006
    k: Annotated[Count, arg(aliases=["-k"])] = 4,
    rerank: Annotated[int, Between(0)] = 0,
    html: Path | None = None,
    cache: Path | None = None,
    features: FeatureFolders = [],  # noqa: B006
    cnn: CNNs = [],  # noqa: B006
    json: bool = False,
    device: Device = "auto",
) -> None:
    """Finds the photos near PHOTO - words + words: photo.jpg --minus blue --plus red.

    Args:
        images: folder of photos to search.
        minus: words taken away, one or more.
        plus: words added, one or more.
        k: how many answers.
        rerank: of the N nearest photos the k with the smallest mean distance to those N; 0 for no such order.
        html: also write a page that shows PHOTO and the answers.
        cache: where the index is kept (default: the user's cache folder).
        json: one JSON object a line.
    """
    from vse.pages.arithmetic import arithmetic_page
    from vse.regularities import arithmetic as search

    model, stored = load_searcher(run, features, device, cnn)
    result = search(model, images, photo, minus, plus, k, rerank, cache, stored)
    if len(result.hits) < k:
        print(f"note: {images} has {len(result.hits)} other photos, fewer than the {k} asked for", file=sys.stderr)
    for hit in result.hits:
        print(hit_line(hit, images, json))
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
    photos: Count = 40,
    method: Literal["pca", "umap"] = "pca",
    cache: Path | None = None,
    features: FeatureFolders = [],  # noqa: B006
    cnn: CNNs = [],  # noqa: B006
    device: Device = "auto",
) -> None:
    """Draws words and photos of a folder in two dimensions, photos as thumbnails.

    Args:
        images: folder of photos.
        words: such as red,blue,car
        out: the figure: .png, .pdf, .svg or .jpg.
        photos: how many are drawn at most: those nearest to the words, in turn.
        method: pca, or umap (needs umap-learn).
        cache: where the index is kept (default: the user's cache folder).
    """
    import numpy as np

    from vse.pages.figure import Panel, check_name, draw
    from vse.pca import nearest_in_turns, pca, split_words, umap
    from vse.regularities import embed_words
    from vse.search.queries import photo_index

    check_name(out)
    asked = split_words(words)
    model, stored = load_searcher(run, features, device, cnn)
    points = embed_words(model, asked)
    index, _, _ = photo_index(model, images, cache, stored)
    chosen = nearest_in_turns(points, index.vectors, photos)
    together = np.concatenate([points, index.vectors[chosen]])
    projection = pca(together) if method == "pca" else umap(together)
    panel = Panel("", projection, asked, [images / index.names[i] for i in chosen])
    print(draw([panel], out))
