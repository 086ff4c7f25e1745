"""CIDEr-D (Vedantam, Zitnick, Parikh 2015) of many candidates an image, equal to pycocoevalcap's, in arrays.

It tunes the weights of reranking on dev and finds the oracle, the best of 1000 candidates. Tokens are compared as they
are: no tokenizing, no stemming. Axes: c candidates of one image, r its references, e entries (a sentence's n-grams).
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain, count

import numpy as np
from jaxtyping import Float64, Int64

from vse.system.errors import InputError

ORDERS = 4  # n-grams of 1 to 4 words, all of the same weight
SIGMA = 6.0  # words of difference in length, the width of the penalty
SHIFT = 32  # bits of a word's id in a code, and of an n-gram's id in a key
END = np.iinfo(np.int64).max  # above every code and id


class Cider:
    """References of the images to be scored; how many of these images have an n-gram decides what it weighs."""

    def __init__(self, references: Sequence[Sequence[Sequence[str]]]):
        """`references`: images x references x tokens. Raises InputError for an image without any."""
        if not len(references):
            raise InputError("no images: CIDEr weighs n-grams by the share of images that have them; give some")
        for i, texts in enumerate(references):
            if isinstance(texts, str) or not len(texts):
                raise InputError(f"image {i} has no references; CIDEr needs one or more lists of tokens an image")
        sentences = list(chain.from_iterable(references))
        self._words = defaultdict(count().__next__)
        # n-gram i + 1 has the code at i: the id of the n-gram without its last word (0: no word), then that word's id.
        # They stay sorted, as every n-gram's id is higher than those of shorter n-grams.
        self._codes = np.array([END])
        cells, grams, counts, new = self._count(sentences, self._words)
        self._codes = np.append(new, END)

        # Entries are sorted by sentence, so those of an image are neighbours.
        sizes = [len(texts) for texts in references]
        image_of_sentence = np.repeat(np.arange(len(references)), sizes)
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        documents = np.unique(image_of_sentence[cells // ORDERS] << SHIFT | grams) & ((1 << SHIFT) - 1)
        self._unseen = len(self._codes)  # the id under which all n-grams that no reference has are weighed
        frequency = np.bincount(documents, minlength=self._unseen + 1)
        self._idf = np.log(len(references) / np.maximum(1, frequency))  # exactly 0 for what all images have
        self._cells, self._grams, self._weights = cells, grams, counts * self._idf[grams]
        self._norms = np.sqrt(_sums(cells, self._weights**2, len(sentences)))
        self._lengths = np.array([len(sentence) for sentence in sentences])

    def scores(self, image: int, candidates: Sequence[Sequence[str]]) -> Float64[np.ndarray, " c"]:
        """The CIDEr of each candidate against the references of `image`: 0 to 10, pycocoevalcap's scale.

        The corpus score of one caption an image is the mean of these.
        """
        if not 0 <= image < len(self._starts) - 1:
            raise InputError(f"image {image}: there are references of {len(self._starts) - 1} images, counted from 0")
        cells, grams, counts, _ = self._count(candidates, defaultdict(count(len(self._words)).__next__, self._words))
        weights = counts * self._idf[np.minimum(grams, self._unseen)]

        # The references' weights as a table (r, n-grams they have).
        first, after = self._starts[image : image + 2]
        entries = slice(*np.searchsorted(self._cells, [first * ORDERS, after * ORDERS]))
        columns, place = np.unique(self._grams[entries], return_inverse=True)
        table = np.zeros((after - first, len(columns)))
        table[self._cells[entries] // ORDERS - first, place] = self._weights[entries]

        # Only n-grams that both have count, each with no more than the reference's weight.
        columns = np.append(columns, END)
        place = np.searchsorted(columns, grams)
        shared = np.flatnonzero(columns[place] == grams)
        theirs = table[:, place[shared]]  # (r, shared)
        products = np.minimum(weights[shared], theirs) * theirs
        dots = np.stack([_sums(cells[shared], p, len(candidates)) for p in products])  # (r, c, 4)
        norms = np.sqrt(_sums(cells, weights**2, len(candidates))) * self._norms[first:after, None]
        similarities = np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0)

        longer = np.array([len(tokens) for tokens in candidates]) - self._lengths[first:after, None]  # (r, c)
        return 10 * (similarities.mean(2) * np.exp(-(longer**2) / (2 * SIGMA**2))).mean(0)

    def _count(
        self, sentences: Sequence[Sequence[str]], ids: dict[str, int]
    ) -> tuple[Int64[np.ndarray, " e"], Int64[np.ndarray, " e"], Int64[np.ndarray, " e"], Int64[np.ndarray, " new"]]:
        """What occurs how often: cells (4 * sentence + order - 1, sorted), n-grams, counts; and the new n-grams' codes.

        `ids` gives words their ids, new ones too. New n-grams get the ids after the known ones', each its own, for a
        sentence may repeat it.
        """
        for i, tokens in enumerate(sentences):
            if isinstance(tokens, str):
                raise InputError(f"sentence {i}, {tokens[:60]!r}, is a text; expected tokens, such as text.split()")
        words = np.fromiter(map(ids.__getitem__, chain.from_iterable(sentences)), np.int64)
        lengths = np.array([len(tokens) for tokens in sentences], np.int64)
        sentence = np.repeat(np.arange(len(sentences)), lengths)
        end = np.repeat(np.cumsum(lengths), lengths)

        starts, grams, keys, codes = np.arange(len(words)), np.zeros(len(words), np.int64), [], []
        size = len(self._codes)
        for n in range(ORDERS):
            fits = starts + n < end[starts]
            starts, grams = starts[fits], grams[fits]
            codes_here = grams << SHIFT | words[starts + n]
            place = np.searchsorted(self._codes, codes_here)
            new = self._codes[place] != codes_here
            new_codes, inverse = np.unique(codes_here[new], return_inverse=True)
            grams = place + 1
            grams[new] = size + inverse
            size += len(new_codes)
            codes.append(new_codes)
            keys.append((sentence[starts] * ORDERS + n) << SHIFT | grams)
        keys, counts = np.unique(np.concatenate(keys), return_counts=True)
        return keys >> SHIFT, keys & ((1 << SHIFT) - 1), counts, np.concatenate(codes)


def _sums(
    cells: Int64[np.ndarray, " e"], values: Float64[np.ndarray, " e"], sentences: int
) -> Float64[np.ndarray, "sentences 4"]:
    """The sum of the values of each sentence and order."""
    totals = np.bincount(cells, values, sentences * ORDERS)
    return totals.astype(np.float64).reshape(sentences, ORDERS)  # integers only where there is no value
