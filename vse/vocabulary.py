"""Words and their ids (section 5 of the protocol: built from training captions only).

A vocabulary is stored as text, one token a line, so that it can be read, compared and edited by people.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from vse.errors import InputError

PAD, UNK, BOS, EOS = "<pad>", "<unk>", "<s>", "</s>"
SPECIALS = (PAD, UNK, BOS, EOS)
PAD_ID, UNK_ID, BOS_ID, EOS_ID = range(4)

# Words with inner apostrophes or hyphens taken apart ("t-shirt" -> "t shirt"), the clitic kept as its own
# token ("dog's" -> "dog 's"): the form of the Flickr8K files, so raw and pre-tokenised captions agree.
_TOKEN = re.compile(r"'(?:s|re|ve|ll|d|m|t)\b|[^\W_]+")


def tokenize(text: str) -> list[str]:
    """The lower-case words of `text`, punctuation dropped; [] for a text without a word."""
    text = unicodedata.normalize("NFKC", text).replace("\u2019", "'").lower()
    return _TOKEN.findall(text)


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
        kept = sorted((t for t, n in counts.items() if n >= min_count), key=lambda t: (-counts[t], t))
        return cls((*SPECIALS, *kept))

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: str) -> bool:
        return token in self.ids

    def encode(self, text: str) -> list[int]:
        """The ids of the words of `text`, <unk> for unknown ones; a text without a word becomes [<unk>]."""
        return [self.ids.get(token, UNK_ID) for token in tokenize(text)] or [UNK_ID]

    def save(self, path: Path) -> None:
        """Writes one token a line, UTF-8."""
        Path(path).write_text("".join(f"{token}\n" for token in self.tokens), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Reads what `save` wrote. Raises InputError with the path for a file that is not a vocabulary."""
        try:
            return cls(Path(path).read_text(encoding="utf-8").splitlines())
        except (UnicodeDecodeError, InputError) as error:
            raise InputError(f"{path}: not a vocabulary file ({error})") from None
