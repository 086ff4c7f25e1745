"""Questions about real photos with answers that people agree on, made from captions as COCO-QA was (Ren 2015).

"two black dogs running through the water" says what color the dogs are, how many there are, and what they run through.
A question is kept where two captions of a photo or more give one answer and none gives another. Parts of speech are
spaCy's Penn tags.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from nltk.stem import PorterStemmer

from vse.data.datasets import Dataset
from vse.data.part_of_speech import tag_captions
from vse.data.questions import Questions
from vse.data.vocabulary import tokenize
from vse.system.errors import InputError

KINDS = ("color", "number", "object")
AGREE = 2  # captions that give the answer
# Berlin and Kay's basic colors.
COLORS = ("black", "white", "red", "green", "blue", "yellow", "orange", "brown", "pink", "purple", "gray")
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_SAME = {"grey": "gray"} | {str(number): word for number, word in enumerate(NUMBERS, 2)}
_NOUNS, _BEFORE_NOUN = ("NN", "NNS"), ("JJ", "VBN", "VBG", "CD")
_TO_OBJECT = (*_BEFORE_NOUN, "DT", "PRP$")
_VERBS, _HELPERS = ("VBG", "VBZ", "VBP"), ("is", "are", "has", "have", "does", "do")
_NO_ANSWER = {"air", "back", "front", "side", "top", "middle", "something", "someone", "it", "one"}

# What a caption says: what the question is about (its kind, and the words that decide it), the question, the answer.
# The question may be "": the caption supports an answer and has no words to ask in.
Claim = tuple[tuple[str, ...], str, str]


def caption_questions(dataset: Dataset, cache: Path | None = None, progress: bool = False) -> Questions:
    """The questions of all photos, photo by photo.

    `cache`: a folder for the captions' parts of speech. Raises InputError where captions give none.
    """
    words = [[_SAME.get(word, word) for word in tokenize(caption)] for caption in dataset.captions]
    tags = tag_captions(words, "fine", cache=cache, progress=progress)
    claimed: list[dict[tuple[str, ...], dict[str, list[str]]]] = [
        defaultdict(lambda: defaultdict(list)) for _ in dataset.images
    ]
    for photo, *caption in zip(dataset.image_of_caption.tolist(), words, tags, strict=True):
        said = {(about, answer): question for about, question, answer in claims(*caption)}
        for (about, answer), question in said.items():
            claimed[photo][about][answer].append(question)
    rows = [
        (dataset.images[photo], max(questions, key=bool), answer, about[0])
        for photo, found in enumerate(claimed)
        for about, answers in found.items()
        for answer, questions in answers.items()
        if len(answers) == 1 and len(questions) >= AGREE and any(questions)
    ]
    if not rows:
        raise InputError(f"{dataset.name}: no two captions of a photo give one answer; expected several captions each")
    return Questions(*zip(*rows, strict=True))


def claims(words: Sequence[str], tags: Sequence[str]) -> Iterator[Claim]:
    """What one caption says, without a look at the others; a word and its Penn tag at each place."""
    yield from _colors(words, tags)
    yield from _numbers(words, tags)
    yield from _objects(words, tags)


def _colors(words: Sequence[str], tags: Sequence[str]) -> Iterator[Claim]:
    """ "a black and white dog" gives two answers, so none."""
    place = 0
    while place < len(words):
        end = place
        while end < len(words) and (words[end] in COLORS or end > place and words[end] in ("and", ",")):
            end += 1
        noun = _noun_from(end, words, tags)
        if end > place and noun:
            verb = "are" if tags[noun[0]] == "NNS" else "is"
            for color in (word for word in words[place:end] if word in COLORS):
                yield ("color", noun[1]), f"what color {verb} the {noun[1]}?", color
        place = max(end, place + 1)


def _numbers(words: Sequence[str], tags: Sequence[str]) -> Iterator[Claim]:
    for place, word in enumerate(words):
        noun = _noun_from(place + 1, words, tags)
        if word in NUMBERS and noun and (tags[noun[0]] == "NNS" or noun[1] == "people"):
            yield ("number", noun[1]), f"how many {noun[1]} are there?", word


def _objects(words: Sequence[str], tags: Sequence[str]) -> Iterator[Claim]:
    """What the first noun of the caption is doing something to, or doing it in, on, over..."""
    first = _noun_from(next((i for i, tag in enumerate(tags) if tag in _NOUNS), len(tags)), words, tags)
    if not first:
        return
    verb = "are" if tags[first[0]] == "NNS" or first[1] == "people" else "is"
    for place in range(first[0] + 1, len(words)):
        if tags[place] not in _VERBS or words[place] in _HELPERS:
            continue
        preposition, after = [], place + 1
        if after < len(words) and tags[after] == "IN":
            preposition, after = [words[after]], after + 1
        noun = _noun_from(after, words, tags, _TO_OBJECT)
        if noun and noun[1] not in _NO_ANSWER:
            doing = " ".join([words[place], *preposition])
            question = f"what {verb} the {first[1]} {doing}?" if tags[place] == "VBG" else ""
            yield ("object", PorterStemmer().stem(words[place]), *preposition), question, noun[1]


def _noun_from(
    place: int, words: Sequence[str], tags: Sequence[str], before: Sequence[str] = _BEFORE_NOUN
) -> tuple[int, str] | None:
    """(Place, word) of the head of the noun phrase that begins here; colors and numbers may stand before it."""
    while place < len(words) and tags[place] in before:
        place += 1
    head = None
    while place < len(words) and tags[place] in _NOUNS:
        head, place = place, place + 1
    return None if head is None else (head, words[head])
