"""Answers that a GIT generates: the question is given, the answer is what it says next, plain or out of a list.

Shapes: n photos, v views, r regions, f feature_dim, q questions.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int

from scnlm.beam import Trie, beam_search
from scnlm.git import GIT, Memory
from vse.data.vocabulary import UNK_ID
from vse.system.errors import InputError

_AT_ONCE = 256


def check_question(model: GIT, text: str) -> None:
    """Raises InputError for a question of which the model knows no word, and for one too long to be answered."""
    ids = model.vocabulary.encode(text)
    if set(ids) <= {UNK_ID}:
        raise InputError(f"{text[:80]!r}: the model knows none of its words; ask in words of its training")
    if len(ids) + 2 > model.config.positions:
        room = model.config.positions
        raise InputError(f"{text[:80]!r}: {len(ids)} tokens, the model has {room} positions; ask in fewer words")


def answers(
    model: GIT,
    seen: Float[np.ndarray, "n v r f"],
    which: Int[np.ndarray, " q"],
    questions: Sequence[str],
    closed: Sequence[str] | None = None,
) -> list[str]:
    """What the model answers, word by word the likeliest, to question i about the photo `seen[which[i]]`.

    `closed`: the answers it may give. Raises InputError for questions that `check_question` refuses, and for answers of
    words that the model does not know.
    """
    for question in questions:
        check_question(model, question)
    return answers_by(model, model.seen(seen), which, questions, Trie.of(closed, model.vocabulary) if closed else None)


def answers_by(
    model: GIT, memory: Memory, which: Int[np.ndarray, " q"], questions: Sequence[str], trie: Trie | None = None
) -> list[str]:
    """`answers` where the memory of the photos is there."""
    ids = [list(model.vocabulary.encode(question)) for question in questions]
    said = [""] * len(ids)
    lengths = np.array([len(own) for own in ids])
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        for part in np.array_split(rows, -(-len(rows) // _AT_ONCE)):
            photos = torch.from_numpy(which[part]).to(model.device)
            looks = [tuple(kind[photos] for kind in layer) for layer in memory]
            for row, (best, *_) in zip(part, beam_search(model, looks, 1, [ids[i] for i in part], trie), strict=True):
                said[row] = model.vocabulary.decode(best.words)
    return said
