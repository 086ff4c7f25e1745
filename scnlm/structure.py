"""Tag sequences of the training captions: ids of tags, and the bank that captions take their structure from.

The structures of supplement 5.2, step 2. Tags come from `vse.data.part_of_speech`; nothing here knows words or spaCy.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from vse.data.part_of_speech import TAG_SETS, check_tag_set
from vse.system.errors import InputError
from vse.system.files import read_json, write_json

NONE, END = "<none>", "</s>"  # beyond either end of the sentence; the tag of the end-of-sentence symbol
NONE_ID, END_ID = 0, 1
_VERSION = 1  # of the bank's file


@dataclass(frozen=True)
class TagVocabulary:
    """A two-way table of tags and ids: <none>, </s>, then tags by name. `dataclasses.asdict` of it is JSON."""

    tags: Sequence[str]  # id -> tag; made a tuple, as JSON has lists
    tag_set: str  # "coarse" or "fine"

    def __post_init__(self):
        object.__setattr__(self, "tags", tuple(self.tags))
        if not all(isinstance(tag, str) for tag in (*self.tags, self.tag_set)):
            raise InputError(f"a tag vocabulary has texts, this one {str(self.tags)[:80]}")
        check_tag_set(self.tag_set[:40])
        named = self.tags[2:]
        if self.tags[:2] != (NONE, END) or list(named) != sorted(set(named) - {NONE, END}):
            first = str(self.tags[:5])[:80]
            raise InputError(f"a tag vocabulary is {NONE}, {END}, then each tag once by name; this one {first}")

    @classmethod
    def from_tags(cls, tags: Iterable[Sequence[str]], tag_set: str) -> "TagVocabulary":
        """Every tag of the tag sequences `tags`."""
        return cls((NONE, END, *sorted({tag for sequence in tags for tag in sequence})), tag_set)

    def __len__(self) -> int:
        return len(self.tags)

    def ids(self, tags: Sequence[str], unseen: int | None = None) -> list[int]:
        """The ids of `tags`, `unseen` for a tag that no training caption has (2 of Flickr8K's dev captions have one).

        Without it such a tag, as any of another tag set, raises InputError.
        """
        try:
            return [self._id_of[tag] if unseen is None else self._id_of.get(tag, unseen) for tag in tags]
        except KeyError as error:
            known = " ".join(self.tags[2:])[:500]
            raise InputError(f"tag {error} is none of the {self.tag_set} tags {known}; tag with the same set") from None

    @cached_property
    def _id_of(self) -> dict[str, int]:
        return {tag: i for i, tag in enumerate(self.tags)}


@dataclass(frozen=True)
class StructureBank:
    """Distinct tag sequences, the most frequent first, ties in alphabetical order, and how often each was seen."""

    sequences: tuple[tuple[str, ...], ...]
    counts: tuple[int, ...]
    tag_set: str  # "coarse" or "fine"
    spacy_model: str  # that tagged them

    @classmethod
    def from_tags(
        cls, tags: Iterable[Sequence[str]], *, tag_set: str, spacy_model: str, shortest: int = 4, longest: int = 12
    ) -> "StructureBank":
        """The sequences among `tags` of `shortest` to `longest` tags. Raises InputError if there is none."""
        if not 1 <= shortest <= longest:
            raise InputError(f"structures of {shortest} to {longest} tags: expected 1 or more, the shortest first")
        counts = Counter(tuple(sequence) for sequence in tags if shortest <= len(sequence) <= longest)
        if not counts:
            raise InputError(f"no training sentence has {shortest} to {longest} words; a bank of structures needs one")
        return cls._from_counts(counts, tag_set, spacy_model)

    @classmethod
    def _from_counts(cls, counts: dict[tuple[str, ...], int], tag_set: str, spacy_model: str) -> "StructureBank":
        check_tag_set(tag_set)
        ordered = sorted(counts, key=lambda sequence: (-counts[sequence], sequence))
        return cls(tuple(ordered), tuple(counts[sequence] for sequence in ordered), tag_set, spacy_model)

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def total(self) -> int:
        """The number of sentences that the bank was made of."""
        return sum(self.counts)

    @cached_property
    def log_shares(self) -> dict[tuple[str, ...], float]:
        """log P(structure): how much of the bank each sequence is, in nats."""
        return {s: math.log(n / self.total) for s, n in zip(self.sequences, self.counts, strict=True)}

    def sample(self, n: int, generator: np.random.Generator) -> list[tuple[str, ...]]:
        """`n` sequences drawn independently, each with its relative frequency as probability."""
        drawn = generator.choice(len(self), size=n, p=np.array(self.counts) / self.total)
        return [self.sequences[i] for i in drawn]

    def save(self, path: str | Path) -> None:
        """Writes JSON, a line a sequence: "DET NOUN VERB ADP NOUN": 12."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        sequences = {" ".join(s): count for s, count in zip(self.sequences, self.counts, strict=True)}
        about = {"version": _VERSION, "tag_set": self.tag_set, "spacy_model": self.spacy_model}
        write_json(path, {**about, "sequences": sequences})

    @classmethod
    def load(cls, path: str | Path, tag_set: str | None = None) -> "StructureBank":
        """Reads what `save` wrote. Raises InputError for anything else, and for another tag set than asked for."""
        path = Path(path)
        value = read_json(path)
        version = value.get("version")
        if type(version) is not int or version != _VERSION:
            raise InputError(f"{path}: a bank of version {str(version)[:40]!r}, expected {_VERSION}; make it again")
        bank_tags, spacy_model, sequences = (value.get(key) for key in ("tag_set", "spacy_model", "sequences"))
        texts = isinstance(bank_tags, str) and isinstance(spacy_model, str)
        if not texts or bank_tags not in TAG_SETS or not _is_counted(sequences):
            raise InputError(f"{path}: damaged, expected tag_set, spacy_model and counted sequences; make it again")
        if tag_set not in (None, bank_tags):
            raise InputError(f"{path}: a bank of {bank_tags} tags, expected {tag_set} ones; make it again with those")
        return cls._from_counts({tuple(s.split()): n for s, n in sequences.items()}, bank_tags, spacy_model)


def _is_counted(sequences: object) -> bool:
    """True for one or more sequences of tags, each with how often it was seen, at most 2^53 in all."""
    return (
        isinstance(sequences, dict)
        and bool(sequences)
        and all(s and s == " ".join(s.split()) and type(n) is int and n > 0 for s, n in sequences.items())
        and sum(sequences.values()) <= 2**53  # as floats they are counted exactly
    )
