"""Byte-level, lower-cased byte-pair encoding (CLIP, Radford 2021): a sister of `Vocabulary` that knows every text.

Merges are learned from training captions, or read from OpenAI's file where a user has it. The ids behind the four
special ones are those of OpenAI's layout: 256 bytes, 256 bytes that end a word, a token a merge. The merging itself is
the library `tokenizers`'.
"""

import functools
import gzip
import html
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import ftfy
import regex
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from vse.data.vocabulary import MERGES_HEADER, SPECIALS, UNK_ID, cut_long
from vse.system.errors import InputError

END = "</w>"  # on the last piece of a word
OPENAI_MERGES = 49_152 - 256 - 2  # of its file, as its code reads it
_PIECE = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE)
_FIRST_END = 0xE000  # of the private use area: no caption's byte stands for it
_MOST_BYTES = 100 * 2**20  # of an unpacked merge file


def clean(text: str) -> str:
    """Mojibake mended, HTML entities read (twice, as in captions from the web), white space single, lower case."""
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower()


@functools.cache
def _characters() -> dict[int, str]:
    """A printable character for every byte; printable ones stand for themselves."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}


def _words(text: str) -> Iterator[str]:
    """The pieces of a text that no merge crosses, their bytes as characters."""
    characters = _characters()
    for piece in _PIECE.findall(clean(text)):
        yield "".join(characters[byte] for byte in piece.encode("utf-8"))


class BPE:
    """A two-way table of pieces of words and ids; ids 0 to 3 are <pad>, <unk>, <s>, </s>."""

    def __init__(self, merges: Sequence[tuple[str, str]]):
        """Raises InputError for a merge of pieces that are no piece before it, or that makes one anew."""
        base = list(_characters().values())
        pieces = dict.fromkeys((*base, *(character + END for character in base)))
        for number, (left, right) in enumerate(merges, 1):
            if left not in pieces or right not in pieces or left.endswith(END):
                raise InputError(f"merge {number}, {left[:40]!r} {right[:40]!r}: no pieces of the merges before it")
            pieces[left + right] = None
        if len(pieces) != 512 + len(merges):
            raise InputError("two merges make the same piece; expected each once")
        self.merges = tuple(merges)
        self.tokens = (*SPECIALS, *pieces)
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        table = {piece: i for i, piece in enumerate(pieces, len(SPECIALS))}
        self._model = models.BPE(vocab=table, merges=list(self.merges), end_of_word_suffix=END)
        self._known: dict[str, list[int]] = {}

    @classmethod
    def from_captions(cls, captions: Iterable[str], size: int = 4000) -> "BPE":
        """At most `size` merges, those of the pairs that are most frequent in the captions, one after the other.

        Of pairs as frequent the one whose pieces are older, the first piece before the second; of single bytes the
        lower one, those inside a word before those that end it.
        """
        # The library numbers marked ends of words in the order of a hash table, another one in every process, and
        # breaks ties by these numbers. As characters of their own they are part of its alphabet, which it sorts.
        ends = {character: chr(_FIRST_END + byte) for byte, character in _characters().items()}
        alphabet = [*ends, *ends.values()]
        trainer = trainers.BpeTrainer(
            vocab_size=len(alphabet) + size, initial_alphabet=alphabet, show_progress=False, special_tokens=[]
        )
        learner = Tokenizer(models.BPE())
        learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        marked = (" ".join(word[:-1] + ends[word[-1]] for word in _words(caption)) for caption in captions)
        learner.train_from_iterator(marked, trainer)
        merges = json.loads(learner.to_str())["model"]["merges"][:size]
        unmark = str.maketrans({end: character + END for character, end in ends.items()})
        return cls([(left.translate(unmark), right.translate(unmark)) for left, right in merges])

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, word: str) -> bool:
        """True for every text that is not white space alone: its bytes are known."""
        return bool(clean(word))

    @property
    def words(self) -> tuple[str, ...]:
        """The pieces of letters that end a word, most of them words: to show and to compare with."""
        ends = (token.removesuffix(END) for token in self.tokens if token.endswith(END))
        return tuple(word for word in ends if word.isascii() and word.isalpha())

    def encode(self, text: str) -> list[int]:
        """The ids of the pieces of `text`; a text without any becomes [<unk>].

        The names of special tokens are text like other text, so that no caption can end itself.
        """
        return [i for word in _words(text) for i in self._ids_of(word)] or [UNK_ID]

    def encode_all(self, texts: Iterable[str]) -> list[list[int]]:
        """`encode` of each text, long ones cut: what batches are made of."""
        return cut_long([self.encode(text) for text in texts])

    def decode(self, ids: Iterable[int]) -> str:
        """The text of pieces; bytes that make no character are marked as such."""
        bytes_of = {character: byte for byte, character in _characters().items()}
        words = "".join(self.tokens[i] for i in ids).split(END)
        texts = [bytes(bytes_of[c] for c in word).decode("utf-8", "replace") for word in words]
        return " ".join(text for text in texts if text)

    def openai_ids(self, text: str) -> list[int]:
        """The ids of OpenAI's code, its start and end tokens included; of its own merges where they are these."""
        start = len(self.tokens) - len(SPECIALS)
        return [start, *(i - len(SPECIALS) for i in self.encode(text) if i >= len(SPECIALS)), start + 1]

    def _ids_of(self, word: str) -> list[int]:
        if word not in self._known:
            self._known[word] = [token.id for token in self._model.tokenize(word)]
        return self._known[word]

    def save(self, path: Path) -> None:
        """Writes one merge a line below a header, UTF-8."""
        lines = [MERGES_HEADER, *(" ".join(merge) for merge in self.merges)]
        Path(path).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    @classmethod
    def load(cls, path: Path, most: int | None = None) -> "BPE":
        """Reads what `save` wrote, or the first `most` merges of a file of others, packed by gzip or not.

        The first line is a header. Raises InputError with the path for a file that holds no merges.
        """
        expected = "expected a header and a merge of two pieces a line"
        try:
            with open(path, "rb") as file:
                packed = file.read(2) == b"\x1f\x8b"
            with gzip.open(path, "rb") if packed else open(path, "rb") as file:
                lines = file.read(_MOST_BYTES).decode("utf-8").split("\n")[1:]
            merges = [tuple(line.split()) for line in lines[:most] if line.strip()]
            wrong = next((i for i, merge in enumerate(merges) if len(merge) != 2), None)
            if wrong is not None:
                raise InputError(f"line {wrong + 2} is {lines[wrong][:40]!r}")
            if not merges:
                raise InputError("no merge in it")
            return cls(merges)
        except (OSError, EOFError, zlib.error, UnicodeDecodeError, InputError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise InputError(f"{path}: not a file of merges ({reason}); {expected}") from None

    @classmethod
    def openai(cls, path: Path) -> "BPE":
        """OpenAI's merges, of its file bpe_simple_vocab_16e6.txt.gz, of which its code takes the first 48,894."""
        return cls.load(path, OPENAI_MERGES)
