"""Questions about photos with their answers, and the file that they come in: NAME<tab>question<tab>answer.

A fourth column is the kind of the question, by which accuracy is told, a fifth a sentence that is read beside it, such
as a caption that a model made.
"""

import hashlib
import json
import random
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vse.data.caption_lists import read_text
from vse.data.vocabulary import tokenize
from vse.scenes.questions import questions as asked_of
from vse.scenes.scenes import read_truth
from vse.system.errors import InputError
from vse.system.files import write_text

ALL = "all"  # what accuracy over all kinds is called
_EXPECTED = "NAME<tab>question<tab>answer, with or without <tab>kind and <tab>sentence"


@dataclass(frozen=True)
class Questions:
    """Questions one by one; of each its photo, its words, its answer, its kind, and the sentence beside it if any."""

    images: tuple[str, ...]
    texts: tuple[str, ...]
    answers: tuple[str, ...]
    kinds: tuple[str, ...]
    beside: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def of(self, images: Collection[str]) -> "Questions":
        """Those about these photos."""
        kept = [i for i, image in enumerate(self.images) if image in images]
        parts = (self.images, self.texts, self.answers, self.kinds, self.beside)
        return Questions(*(tuple(part[i] for i in kept) if part else () for part in parts))

    def groups(self) -> list[tuple[str, ...]]:
        """What is read of each: the question, and the sentence beside it if any."""
        return list(zip(self.texts, self.beside, strict=True)) if self.beside else [(text,) for text in self.texts]

    def fingerprint(self) -> str:
        """Other questions or answers are another setting of a training."""
        rows = zip(self.images, self.groups(), self.answers, strict=True)
        return hashlib.sha256(repr(list(rows)).encode()).hexdigest()[:16]


def answer_list(answers: Iterable[str], min_count: int = 1) -> tuple[str, ...]:
    """The answers that come as often, the most frequent first, then by the alphabet. Raises InputError for none."""
    counts = Counter(answers)
    found = sorted((a for a, n in counts.items() if n >= min_count), key=lambda a: (-counts[a], a))
    if not found:
        raise InputError(f"min_count = {min_count}: no answer comes as often; expected one that does")
    return tuple(found)


def scene_questions(folder: Path) -> Questions:
    """The questions about all pictures of a folder that `make_scenes` made; the same scenes give the same."""
    seed = json.loads((folder / "scenes.json").read_text(encoding="utf-8"))["seed"]
    rows = [
        (name, question.text, question.answer, question.kind)
        for name, scene in read_truth(folder).items()
        for question in asked_of(scene, random.Random(f"questions {seed} {name}"))
    ]
    return Questions(*zip(*rows, strict=True))


def percent_right(questions: Questions, said: Sequence[str]) -> dict[str, float]:
    """{"all": percent of the questions to which what is said is the answer, kind: of those of a kind}."""
    right: dict[str, list[bool]] = defaultdict(list)
    for kind, answer, one in zip(questions.kinds, questions.answers, said, strict=True):
        for key in {ALL, kind or ALL}:
            right[key].append(one == answer)
    return {key: 100 * sum(right[key]) / len(right[key]) for key in sorted(right, key=lambda key: (key != ALL, key))}


def read_questions(path: Path, images: Iterable[str]) -> Questions:
    """The questions of a file about photos of a data set.

    Raises InputError for a line that is none, an unknown photo, a question without a word and an empty answer.
    """
    known = set(images)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected lines {_EXPECTED}")
    rows: list[Sequence[str]] = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        where, cells = f"{path}, line {number}", [cell.strip() for cell in line.split("\t")]
        if not 3 <= len(cells) <= 5:
            raise InputError(f"{where}: {line[:80]!r}: expected {_EXPECTED}")
        image, text, answer = cells[:3]
        if image not in known:
            raise InputError(f"{where}: {image[:80]!r} is no photo of the data set; leave the line out")
        if not tokenize(text):
            raise InputError(f"{where}: the question {text[:80]!r} has no word; give one that has")
        if not answer:
            raise InputError(f"{where}: the answer is empty; give one, or leave the line out")
        if len(cells) > 3 and cells[3] == ALL:
            raise InputError(f"{where}: a kind {ALL!r} would be taken for all questions; give it another name")
        if len(cells) == 5 and not tokenize(cells[4]):
            raise InputError(f"{where}: the sentence {cells[4][:80]!r} has no word; give one that has, or no column")
        if rows and (len(cells) == 5) != (len(rows[0]) == 5):
            raise InputError(f"{where}: {len(cells)} columns, the first line has {len(rows[0])}; give all a sentence")
        rows.append(cells)
    if not rows:
        raise InputError(f"{path}: empty; expected lines {_EXPECTED}")
    columns = [tuple(row[i] for row in rows) for i in range(3)]
    kinds = tuple(row[3] if len(row) > 3 else "" for row in rows)
    return Questions(*columns, kinds, tuple(row[4] for row in rows) if len(rows[0]) == 5 else ())


def write_questions(path: Path, questions: Questions) -> None:
    """The file that `read_questions` reads; columns that nobody needs are left out."""
    columns = [questions.images, questions.texts, questions.answers]
    if any(questions.kinds) or questions.beside:
        columns.append(questions.kinds)
    if questions.beside:
        columns.append(questions.beside)
    write_text(path, "".join("\t".join(cells) + "\n" for cells in zip(*columns, strict=True)))
