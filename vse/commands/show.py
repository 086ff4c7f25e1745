"""The subcommands that show what a model has learned: `search`, `arithmetic`, `pca` (section 5.1) and `page`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from vse.system.arguments import Between
from vse.system.command_line import (
    CNNs,
    Count,
    Data,
    Device,
    FeatureFolders,
    Images,
    RerankFeatures,
    Run,
    Seed,
    hit_line,
)
from vse.system.errors import InputError

StoredFeatures = Annotated[
    list[Path], arg(help="feature folders that RUN was trained on: what is in them does not go through the CNN again")
]


def search(
    run: Run,
    query: Annotated[Positional[str], arg(metavar="TEXT|PHOTO")],
    /,
    images: Path | None = None,
    captions: Path | None = None,
    features: StoredFeatures = [],  # noqa: B006  tyro reads it, nothing changes it
    k: Annotated[Count, arg(aliases=["-k"])] = 5,
    cache: Path | None = None,
    cnn: CNNs = [],  # noqa: B006
    hubs: bool = True,
    rerank: Path | None = None,
    rerank_features: RerankFeatures = [],  # noqa: B006
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
        hubs: where RUN has them (see `vse hubs`), take from every score how near the item is to everything.
        rerank: a run that `vse train-fusion` made beside RUN: it re-ranks the best, by its logit + lambda x score. The
            scores are then not corrected by hubs.
        html: also write a page that shows the answers.
        json: one JSON object a line.
    """
    from vse.hubs import has_hubs, load_hubs
    from vse.search.queries import is_photo_query, search_captions, search_images, similar_photos

    if (images is None) == (captions is None):
        raise InputError('expected either --images DIR "a sentence" (or a photo) or --captions FILE photo.jpg')
    if captions is not None and features:
        raise InputError("--features are those of --images; leave them out with --captions")
    by_photo = captions is not None or is_photo_query(query)
    model, stored = _load_searcher(run, features, device, cnn)
    between = load_hubs(run, model) if hubs and has_hubs(run) and not rerank else None
    second = _load_second(rerank, model, device, cnn, rerank_features or features) if rerank else None
    if second and images is not None and by_photo:
        raise InputError("--rerank reads photos beside sentences; leave it out where a photo finds photos")
    found = max(k, second[1].k) if second else k
    if captions is not None:
        result = search_captions(model, captions, Path(query), found, cache, between and between.captions)
    elif by_photo:
        result = similar_photos(model, images, Path(query), k=k, cache=cache, features=stored)
    else:
        result = search_images(model, images, query, found, cache, stored, between and between.photos)
    hits = _reranked(second, query, images, result.hits)[:k] if second else result.hits
    for hit in hits:
        print(hit_line(hit, images, json))
    if html:
        from vse.pages.retrieval import answer_page

        page = answer_page(html, Path(query) if by_photo else query, hits, images)
        print(page, file=sys.stderr if json else sys.stdout)


def _load_second(run: Path, first, device: str, cnns: list[str], features: list[Path]):
    """(The model that re-ranks, how many and by which lambda, the features as it knows them or None)."""
    from vse.features.side_by_side import open_combined
    from vse.runs import fusion
    from vse.system.device import find_device

    model = fusion.load(run, str(find_device(device)))
    if fusion.encoder_of(run) != first.fingerprint:
        raise InputError(f"--rerank {run}: it was trained beside another run; give the RUN that was its --encoder")
    model.photos.cnns = cnns
    stored = open_combined(features, model.feature_info) if features else None
    return model, fusion.load_setting(run), stored


def _reranked(second, query: str, images: Path | None, hits):
    """The hits in the order of the second model."""
    from vse.rerank import rerank_captions, rerank_photos

    model, setting, stored = second
    if images is None:
        return rerank_captions(model, Path(query), hits, setting)
    return rerank_photos(model, images, query, hits, setting, stored)


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
    features: StoredFeatures = [],  # noqa: B006
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

    model, stored = _load_searcher(run, features, device, cnn)
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
    features: StoredFeatures = [],  # noqa: B006
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
    word_list = split_words(words)
    model, stored = _load_searcher(run, features, device, cnn)
    points = embed_words(model, word_list)
    index, _, _ = photo_index(model, images, cache, stored)
    chosen = nearest_in_turns(points, index.vectors, photos)
    together = np.concatenate([points, index.vectors[chosen]])
    projection = pca(together) if method == "pca" else umap(together)
    panel = Panel("", projection, word_list, [images / index.names[i] for i in chosen])
    print(draw([panel], out))


def page(
    run: Run,
    data: Data,
    /,
    out: Path,
    features: FeatureFolders = [],  # noqa: B006
    split: str = "test",
    queries: Count = 12,
    seed: Seed = 0,
    device: Device = "auto",
    images: Images = None,
) -> None:
    """Writes an HTML page of retrieved photos and captions.

    Args:
        out: the .html file.
        queries: how many of each kind, drawn with --seed.
    """
    from vse.commands.space import photos_of
    from vse.data.datasets import read_dataset
    from vse.pages.retrieval import write_page
    from vse.runs.checkpoint import load
    from vse.system.device import find_device

    model = load(run, str(find_device(device)))
    dataset, (opened,) = photos_of([model], read_dataset(data, images), features)
    print(write_page(model, dataset.split(split), opened, out, queries=queries, seed=seed))


def _load_searcher(run: Path, features: list[Path], device: str, cnns: list[str]):
    """The model of a run, which may use the CNNs given, and the opened features, None for none; both fit each other."""
    from vse.features.side_by_side import open_combined
    from vse.runs.checkpoint import load
    from vse.system.device import find_device

    model = load(run, str(find_device(device)))
    model.photos.cnns = cnns
    if features and model.from_pixels:
        raise InputError(f"--features {features[0]}: a run that learned from pixels has none; leave them out")
    return model, open_combined(features, model.feature_info) if features else None
