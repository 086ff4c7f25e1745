"""Words and their ids (section 5 of the protocol: built from training captions only).

A vocabulary is stored as text, one token a line, so that it can be read, compared and edited by people.
"""

import functools
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from vse.system.errors import InputError
from vse.system.terminal import is_storable

PAD, UNK, BOS, EOS = "<pad>", "<unk>", "<s>", "</s>"
SPECIALS = (PAD, UNK, BOS, EOS)
PAD_ID, UNK_ID, BOS_ID, EOS_ID = range(4)

# Words with inner apostrophes or hyphens taken apart ("t-shirt" -> "t shirt"), the clitic kept as its own
# token ("dog's" -> "dog 's"): the form of the Flickr8K files, so raw and pre-tokenised captions agree.
_TOKEN = re.compile(r"'(?:s|re|ve|ll|d|m|t)\b|[^\W_]+")
MERGES_HEADER = "#version: 0.2"  # first line of a file of merges (bpe.py), as OpenAI's begins
MOST_WORDS = 100  # of a caption; one of 100,000 would pad all others to its length (the longest of Flickr30K has 78)


def tokenize(text: str) -> list[str]:
    """The lower-case words of `text`, punctuation dropped; [] for a text without a word.

    Vowel signs, points and accents that Unicode keeps as characters of their own continue a word.
    """
    text = unicodedata.normalize("NFKC", text).replace("\u2019", "'").lower()
    if text.isascii():
        return _TOKEN.findall(text)
    return _any_script().findall(unicodedata.normalize("NFKC", text))


@functools.cache
def _any_script() -> re.Pattern[str]:
    """As `_TOKEN`, and combining marks follow a letter; between letters also a zero-width joiner or non-joiner."""
    codes = [code for code in range(0x300, 0x1F000) if unicodedata.category(chr(code)) in ("Mn", "Mc")]
    codes = [code for code in codes if not 0xFE00 <= code <= 0xFE0F]  # these choose between shapes of emoji
    starts = [code for code, before in zip(codes, [-1, *codes], strict=False) if code != before + 1]
    ends = [code for code, after in zip(codes, [*codes[1:], -1], strict=True) if code != after - 1]
    marks = "".join(f"{chr(a)}-{chr(b)}" for a, b in zip(starts, ends, strict=True))
    inner = rf"[^\W_]|[{marks}]"
    return re.compile(rf"'(?:s|re|ve|ll|d|m|t)\b|[^\W_](?:{inner}|[\u200c\u200d]+(?={inner}))*")


def cut_long(captions: Sequence[Sequence]) -> list[Sequence]:
    """The captions, given as words or ids, each with its first `MOST_WORDS`; how many were cut is printed once."""
    long = sum(len(words) > MOST_WORDS for words in captions)
    if long:
        _say(f"note: captions of more than {MOST_WORDS} words: {long}, read as far as that", sys.stderr)
    return [words[:MOST_WORDS] for words in captions]


@functools.lru_cache(maxsize=8)
def _say(note: str, stream: object) -> None:
    """Prints a note where it was not printed before: each epoch embeds the captions of dev."""
    print(note, file=stream)


@runtime_checkable
class Tokens(Protocol):
    """What a sentence encoder reads: a two-way table of tokens and ids, the special ones first."""

    tokens: tuple[str, ...]
    ids: dict[str, int]

    @property
    def words(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def __contains__(self, word: str) -> bool: ...

    def encode(self, text: str) -> list[int]: ...

    def encode_all(self, texts: Iterable[str]) -> list[Sequence[int]]: ...

    def decode(self, ids: Iterable[int]) -> str: ...

    def save(self, path: Path) -> None: ...


class Vocabulary:
    """A two-way table of tokens and ids; ids 0 to 3 are <pad>, <unk>, <s>, </s>."""

    def __init__(self, tokens: Sequence[str]):
        """`tokens` in id order, starting with the four special ones. Raises InputError if they do not."""
        if tuple(tokens[:4]) != SPECIALS:
            raise InputError(f"a vocabulary starts with {' '.join(SPECIALS)}, this one with {list(tokens[:4])}")
        self.tokens = tuple(tokens)
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        if len(self.ids) != len(self.tokens):
            twice = next(t for t, n in Counter(tokens).items() if n > 1)
            raise InputError(f"a vocabulary has each token once, this one has {twice!r} twice or more")

    @classmethod
    def from_captions(cls, captions: Iterable[str], min_count: int = 1) -> "Vocabulary":
        """Every token seen at least `min_count` times, the most frequent first, ties in alphabetical order."""
        counts = Counter(token for caption in captions for token in tokenize(caption))
        tokens = sorted((t for t, n in counts.items() if n >= min_count), key=lambda t: (-counts[t], t))
        return cls((*SPECIALS, *tokens))

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: str) -> bool:
        return token in self.ids

    @property
    def words(self) -> tuple[str, ...]:
        """All tokens but the special ones."""
        return self.tokens[len(SPECIALS) :]

    def encode(self, text: str) -> list[int]:
        """The ids of the words of `text`, <unk> for unknown ones; a text without a word becomes [<unk>]."""
        return [self.ids.get(token, UNK_ID) for token in tokenize(text)] or [UNK_ID]

    def encode_all(self, texts: Iterable[str]) -> list[list[int]]:
        """`encode` of each text, long ones cut: what batches are made of."""
        return cut_long([self.encode(text) for text in texts])

    def decode(self, ids: Iterable[int]) -> str:
        """The words of these ids."""
        return " ".join(self.tokens[i] for i in ids)

    def save(self, path: Path) -> None:
        """Writes one token a line, UTF-8."""
        Path(path).write_text("".join(f"{token}\n" for token in self.tokens), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Reads what `save` wrote. Raises InputError with the path for a file that is not a vocabulary."""
        try:
            lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
            tokens = [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]
            for number, token in enumerate(tokens, 1):
                if token.split() != [token] or not is_storable(token):
                    raise InputError(f"line {number} is {token[:80]!r}; expected one word without control characters")
            return cls(tokens)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); expected a word a line") from None
        except (UnicodeDecodeError, InputError) as error:
            raise InputError(f"{path}: not a vocabulary file ({error})") from None
