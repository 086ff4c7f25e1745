"""The list of queries of the regularities on Flickr8K, as data: photo of KEPT and REMOVED - REMOVED + ADDED.

Chosen by counting words in the captions of the test photos alone (at least four photos to start from and four to
arrive at), before any model was asked; nothing was left out afterwards.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from vse.data.vocabulary import tokenize


class Query(NamedTuple):
    """Starts from every photo whose captions name `kept` and `removed`, but not `added`; right is a photo whose
    captions name `kept` and `added`."""

    category: str
    kept: str
    removed: str
    added: str


# Other words of the captions that say the same; plurals in -s and -es count for every word.
FORMS = {
    "snow": ("snowy", "snowing"),
    "sun": ("sunny", "sunlight", "sunshine", "sunlit"),
    "dark": ("night", "darkness", "dusk"),
    "rain": ("rainy", "raining"),
    "running": ("run", "ran"),
    "jumping": ("jump", "leaping"),
    "man": ("men",),
    "woman": ("women",),
    "child": ("children", "kid"),
    "grass": ("grassy",),
    "bike": ("bicycle",),
}
_PAIRS = {
    "colours": {
        "dog": ("black white", "white black", "brown black", "black brown", "white brown"),
        "shirt": ("blue red", "red blue", "white green", "black yellow", "green orange"),
        "ball": ("white red", "blue white"),
        "jacket": ("black red", "red blue"),
        "girl": ("white pink", "blue green"),
    },
    "animals": {
        "grass": ("boy dog", "dog girl"),
        "water": ("man dog", "dog boy"),
        "snow": ("man dog", "dog man"),
        "beach": ("girl dog", "dog girl"),
        "running": ("boy dog", "dog man"),
        "man": ("dog horse",),
    },
    "clothes": {
        "man": ("shirt jacket", "jacket hat", "shirt uniform", "hat shorts"),
        "woman": ("shirt dress", "dress jacket", "hat sweater"),
        "boy": ("shirt jacket", "shirt shorts"),
        "girl": ("shirt dress", "dress coat"),
    },
    "places": {
        "dog": ("grass snow", "snow beach", "water grass", "grass water", "field sand"),
        "man": ("street mountain", "mountain street", "building beach", "snow rock"),
        "boy": ("beach pool", "park water"),
        "people": ("street water", "building mountain"),
    },
    "weather": {
        "dog": ("snow wet", "wet snow"),
        "man": ("snow sun", "dark snow", "snow dark"),
        "boy": ("sun dark",),
        "people": ("dark snow", "snow dark"),
        "standing": ("dark snow", "snow dark"),
    },
}
QUERIES = tuple(
    Query(category, kept, *pair.split())
    for category, by_kept in _PAIRS.items()
    for kept, pairs in by_kept.items()
    for pair in pairs
)


def names(words: set[str], word: str) -> bool:
    """True if captions with these words name `word`, or say the same by a plural or another form."""
    forms = (word, *FORMS.get(word, ()))
    return any(form + ending in words for form in forms for ending in ("", "s", "es"))


def words_of_photos(captions: Sequence[str], owner: Iterable[int], photos: int) -> list[set[str]]:
    """The words of all captions of each photo together; `owner`: the photo of each caption."""
    words: list[set[str]] = [set() for _ in range(photos)]
    for text, i in zip(captions, owner, strict=True):
        words[i].update(tokenize(text))
    return words
