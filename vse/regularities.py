"""Arithmetic on images in the joint space: photo - "blue" + "red" (section 5.1 of the paper).

The search itself, and the index of a folder, are those of vse/search. Drawing the space is vse/pca.py's.
Axes: n images, d dimensions of the space, m words taken away, p words added, k results.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int64

from vse.data.vocabulary import Tokens, tokenize
from vse.features.store import Features
from vse.search.index import Index, combine
from vse.search.queries import Hit, Model, SearchResult, photo_and_index
from vse.system.errors import InputError


def arithmetic(
    model: Model,
    folder: Path,
    photo: Path,
    minus: Sequence[str] = (),
    plus: Sequence[str] = (),
    k: int = 4,
    rerank: int = 0,
    cache: Path | None = None,
    features: Features | None = None,
) -> SearchResult:
    """The `k` photos below `folder` (all, if it has fewer) nearest to `photo` - `minus` + `plus`, best first.

    `photo` itself is no answer where it lies in the folder. `rerank` and the scores are those of `nearest`, `cache`
    and `features` those of `search.photo_index`. Raises InputError for words that the model does not know, for a
    photo that cannot be read and for a folder without another one.
    """
    folder, photo = Path(folder), Path(photo)
    if not minus and not plus:
        raise InputError("photo arithmetic needs a word to take away or to add: --minus blue --plus red")
    taken, added = embed_words(model, minus), embed_words(model, plus)
    image, index, skipped, encoded = photo_and_index(model, folder, photo, cache, features)
    same_photo = [i for i, name in enumerate(index.names) if (folder / name).resolve() == photo.resolve()]
    if len(same_photo) == len(index):
        raise InputError(f"{folder}: no photo in it but {photo.name} itself; give a folder with others")
    scores, ids = nearest(index, analogy(image, taken, added), k, rerank=rerank, without=same_photo)
    ranked = enumerate(zip(ids, scores, strict=True), 1)
    return SearchResult(tuple(Hit(index.names[i], float(s), rank) for rank, (i, s) in ranked), skipped, encoded)


def analogy(
    image: Float[np.ndarray, " d"], minus: Float[np.ndarray, "m d"], plus: Float[np.ndarray, "p d"]
) -> Float32[np.ndarray, " d"]:
    """(q - sum of w_neg + sum of w_pos) / |...|: the image moved along words, of unit norm (section 5.1)."""
    weights = np.array([1.0] + [-1.0] * len(minus) + [1.0] * len(plus))
    return combine(np.concatenate([image[None], minus, plus]), weights)


def nearest(
    index: Index,
    query: Float[np.ndarray, " d"],
    k: int,
    *,
    rerank: int = 0,
    without: Sequence[int] = (),
) -> tuple[Float32[np.ndarray, " k"], Int64[np.ndarray, " k"]]:
    """Cosines to `query` and ids of the `k` items (all, if there are fewer) nearest to it, but those in `without`.

    `rerank` = N: of the N nearest the k with the smallest mean distance to those N, nearest to their middle first
    (section 5.1: an outlier has no neighbours among them). The cosines are still those to the query.
    Raises InputError for k below 1 and for an N below k.
    """
    if k < 1:
        raise InputError(f"k = {k}: expected 1 or more")
    if rerank and rerank < k:
        raise InputError(f"rerank = {rerank}: expected at least k = {k}, the number of photos asked for, or 0 for none")
    count = min(max(k, rerank), len(index) - len(without))
    scores, ids = index.top(query[None], min(count + len(without), len(index)))
    others = np.flatnonzero(~np.isin(ids[0], without))[:count]
    scores, ids = scores[0][others], ids[0][others]
    if rerank:
        order = by_mean_distance(index.vectors[ids])
        scores, ids = scores[order], ids[order]
    return scores[:k], ids[:k]


def by_mean_distance(vectors: Float[np.ndarray, "n d"]) -> Int64[np.ndarray, " n"]:
    """The order of unit vectors by their mean cosine distance to all of them, smallest first; equals keep theirs.

    mean_j (1 - x_i . x_j) = 1 - x_i . mean_j x_j, so the distances between all pairs are never formed.
    """
    vectors = vectors.astype(np.float64)
    return np.argsort(1 - vectors @ vectors.mean(0), kind="stable")


def embed_words(model: Model, words: Sequence[str]) -> Float[np.ndarray, "m d"]:
    """The unit vector of each word, read as a sentence of one word (a few words: one sentence of those).

    Raises InputError for a word that the model does not know, with the nearest ones that it does.
    """
    for word in words:
        check_known(model.vocabulary, word)
    return model.encode_texts(list(words))


def check_known(vocabulary: Tokens, word: str) -> None:
    """Raises InputError for a text without a word, and for an unknown word with those that are spelled alike."""
    tokens = tokenize(word)
    if not tokens:
        raise InputError(f"{word!r}: no word in it; give one such as red")
    for token in tokens:
        if token not in vocabulary:
            near = difflib.get_close_matches(token, vocabulary.words, n=3, cutoff=0.6)
            way_out = f"near ones that it knows: {', '.join(near)}" if near else "use another word"
            raise InputError(f"{token!r}: the model does not know this word; {way_out}")
