"""What is compared in the regularities: arithmetic, with and without re-ranking, beside the words or the photo alone.

Axes: n pictures, q queries, d dimensions.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from vse.model import VSE
from vse.regularities import analogy, by_mean_distance, embed_words
from vse.search.index import Index

TOP, RERANKED = 4, 20  # pictures judged; of how many the re-ranking takes them
METHODS = ("word", "image", "arithmetic", "reranked")  # "word": the added words alone; "image": the photo alone


def query_of(
    image: np.ndarray, minus: Sequence[str], plus: Sequence[str], words: dict[str, np.ndarray], method: str
) -> np.ndarray:
    """The unit vector that a method searches with."""
    taken, added = ([words[w] for w in some] for some in (minus, plus))
    if method == "image":
        return image
    if method == "word":
        return analogy(added[0], np.empty((0, len(image))), np.array(added[1:]).reshape(-1, len(image)))
    return analogy(image, np.array(taken).reshape(-1, len(image)), np.array(added).reshape(-1, len(image)))


def top_others(
    index: Index, images: np.ndarray, queries: np.ndarray, photos: Sequence[int], rerank: bool = False
) -> np.ndarray:
    """(q, TOP) ids of the nearest pictures to each query, its own picture left out; the batch form of `nearest`."""
    count = RERANKED if rerank else TOP
    ids = index.top(queries, count + 1)[1]
    others = [row[row != i][:count] for row, i in zip(ids, photos, strict=True)]
    if rerank:
        others = [row[by_mean_distance(images[row])] for row in others]
    return np.array([row[:TOP] for row in others])


def embedded(model: VSE, words: Iterable[str]) -> dict[str, np.ndarray]:
    """The unit vector of each word."""
    ordered = sorted(set(words))
    return dict(zip(ordered, embed_words(model, ordered), strict=True))
