"""The subcommand `search` of the command line, and the model and features that a search of photos begins with."""

import sys
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from vse.system.command_line import CNNs, Count, Device, Run, hit_line
from vse.system.errors import InputError

FeatureFolders = Annotated[
    list[Path], arg(help="feature folders that RUN was trained on: what is in them does not go through the CNN again")
]


def search(
    run: Run,
    query: Annotated[Positional[str], arg(metavar="TEXT|PHOTO")],
    /,
    images: Path | None = None,
    captions: Path | None = None,
    features: FeatureFolders = [],  # noqa: B006  tyro reads it, nothing changes it
    k: Annotated[Count, arg(aliases=["-k"])] = 5,
    cache: Path | None = None,
    cnn: CNNs = [],  # noqa: B006
    html: Path | None = None,
    json: bool = False,
    device: Device = "auto",
) -> None:
    """Answers one query: the photos of a folder for a sentence or a photo, or the captions of a file for a photo.

    Args:
        images: folder of photos to search with a sentence, or with a photo: the path of one.
        captions: file of captions, one a line, to search with a photo.
        k: how many answers.
        cache: where the index is kept (default: the user's cache folder).
        html: also write a page that shows the answers.
        json: one JSON object a line.
    """
    from vse.search.queries import is_photo_query, search_captions, search_images, similar_photos

    if (images is None) == (captions is None):
        raise InputError('expected either --images DIR "a sentence" (or a photo) or --captions FILE photo.jpg')
    if captions is not None and features:
        raise InputError("--features are those of --images; leave them out with --captions")
    by_photo = captions is not None or is_photo_query(query)
    model, stored = load_searcher(run, features, device, cnn)
    if captions is not None:
        result = search_captions(model, captions, Path(query), k=k, cache=cache)
    elif by_photo:
        result = similar_photos(model, images, Path(query), k=k, cache=cache, features=stored)
    else:
        result = search_images(model, images, query, k=k, cache=cache, features=stored)
    for hit in result.hits:
        print(hit_line(hit, images, json))
    if html:
        from vse.pages.retrieval import answer_page

        page = answer_page(html, Path(query) if by_photo else query, result.hits, images)
        print(page, file=sys.stderr if json else sys.stdout)


def load_searcher(run: Path, features: list[Path], device: str, cnns: list[str]):
    """The model of a run, which may use the CNNs given, and the opened features, None for none; both fit each other."""
    from vse.features.build import open_combined
    from vse.runs.checkpoint import load
    from vse.system.device import find_device

    model = load(run, str(find_device(device)))
    model.cnns = cnns
    return model, open_combined(features, model.feature_info) if features else None
