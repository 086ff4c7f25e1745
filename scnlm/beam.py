"""Sentences out of a `GIT`: beam search by its own rule of length, drawn word by word, or out of a closed list.

A hypothesis of log probability L and n tokens, <s> and what was given among them and </s> not, has the score
L / ((5 + n) / 6)^0.6 (Wang 2022's code). Keys and values of words are kept, so each word is computed once.
Shapes: n photos, k hypotheses of each, v words.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scnlm.git import GIT, Memory
from vse.data.vocabulary import BOS_ID, EOS_ID, PAD_ID, UNK_ID, Tokens
from vse.system.errors import InputError
from vse.system.precision import autocast

POWER = 0.6  # of the rule of length
NEVER = (PAD_ID, UNK_ID, BOS_ID)  # what no sentence holds


@dataclass(frozen=True)
class Found:
    """A sentence as ids of its words, without what was given; log P of its words and its end; the score."""

    words: tuple[int, ...]
    log_p: float
    score: float


def length_score(log_p: float, tokens: int, power: float = POWER) -> float:
    """L / ((5 + n) / 6)^power."""
    return log_p / ((5 + tokens) / 6) ** power


@dataclass
class Trie:
    """Answers word by word; an end may follow where one ends, also where a longer one goes on."""

    children: dict[int, "Trie"] = field(default_factory=dict)

    @classmethod
    def of(cls, answers: Sequence[str], vocabulary: Tokens) -> "Trie":
        """Raises InputError for no answer, an empty one, one twice, and a word that the vocabulary lacks."""
        root, seen = cls(), {}
        if not answers:
            raise InputError("no answers: expected one or more to choose from")
        for answer in answers:
            ids = tuple(vocabulary.encode(answer))
            if UNK_ID in ids:
                raise InputError(f"{answer!r}: the model does not know it word by word; leave it out, or train with it")
            if ids in seen:
                raise InputError(f"{answer!r} and {seen[ids]!r} are one answer to the model; leave one out")
            seen[ids], node = answer, root
            for i in (*ids, EOS_ID):
                node = node.children.setdefault(i, cls())
        return root


@torch.inference_mode()
def beam_search(
    model: GIT,
    memory: Memory,
    width: int = 4,
    given: Sequence[Sequence[int]] | None = None,
    trie: Trie | None = None,
    power: float = POWER,
) -> list[list[Found]]:
    """Of each photo the `width` best sentences, best first.

    `given`: ids of each photo's prefix, all of one length, such as a question's. `trie`: only its answers are searched,
    fewer than `width` where it has fewer.
    """
    model.eval()
    n, states = len(memory[0][0]), _Hypotheses(model, memory, given, 1)
    scores = torch.zeros(n, 1, device=model.device)
    nodes = [[trie] for _ in range(n)] if trie else None
    finished: list[list[Found]] = [[] for _ in range(n)]
    last = model.config.positions - 1  # tokens before the end
    while True:
        log_p = states.log_p()
        length = states.length
        if length >= last:  # nothing fits but the end
            log_p[..., [i for i in range(log_p.shape[2]) if i != EOS_ID]] = -torch.inf
        if nodes:
            log_p = log_p.masked_fill(~_allowed(nodes, log_p.shape[2], model.device), -torch.inf)
        total = (scores[..., None] + log_p).flatten(1)
        best, place = total.topk(min(2 * width, total.shape[1]))
        parent, word = place // log_p.shape[2], place % log_p.shape[2]
        rows = _open(best, word, parent, states.words, finished, width, length, power)
        scores, chosen, parents = rows
        if length >= last or all(
            _done(f, s, width, last, power) for f, s in zip(finished, scores.tolist(), strict=True)
        ):
            break
        if nodes:
            nodes = [
                [node[p].children.get(w) if math.isfinite(s) else Trie() for p, w, s in zip(ps, ws, ss, strict=True)]
                for node, ps, ws, ss in zip(nodes, parents.tolist(), chosen.tolist(), scores.tolist(), strict=True)
            ]
        states.go_on(parents, chosen)
    return [sorted(own, key=lambda found: -found.score)[:width] for own in finished]


def _open(best, word, parent, words, finished, width, length, power) -> tuple[Tensor, Tensor, Tensor]:
    """(Scores, words and parents of the `width` best hypotheses that go on); those that end join `finished`."""
    ends = word == EOS_ID
    for i, j in (ends & best.isfinite()).nonzero().tolist():
        # Only what is among the best `width` of this step may end, as in the authors' code.
        if j < width:
            log_p, own = float(best[i, j]), tuple(words[i, parent[i, j]].tolist())
            finished[i].append(Found(own, log_p, length_score(log_p, length, power)))
    on = best.masked_fill(ends, -torch.inf)
    scores, place = on.topk(min(width, on.shape[1]))
    return scores, word.gather(1, place), parent.gather(1, place)


def _done(found: list[Found], scores: list[float], width: int, last: int, power: float) -> bool:
    """Whether no open hypothesis can overtake: its log P only falls, divided by that of the longest at best."""
    open_ = max(scores)
    if not math.isfinite(open_):
        return True
    if len(found) < width:
        return False
    return sorted((f.score for f in found), reverse=True)[width - 1] >= length_score(open_, last, power)


def _allowed(nodes: list[list[Trie | None]], v: int, device: torch.device) -> Bool[Tensor, "n k v"]:
    mask = torch.zeros(len(nodes), len(nodes[0]), v, dtype=torch.bool)
    for i, row in enumerate(nodes):
        for j, node in enumerate(row):
            if node is not None:
                mask[i, j, list(node.children)] = True
    return mask.to(device)


@torch.inference_mode()
def sample(
    model: GIT, memory: Memory, count: int, draw: torch.Generator, given: Sequence[Sequence[int]] | None = None
) -> list[list[Found]]:
    """Of each photo `count` sentences, each word drawn from the model."""
    model.eval()
    states = _Hypotheses(model, memory, given, count)
    n, last = len(memory[0][0]), model.config.positions - 1
    log_ps, ended = torch.zeros(n, count, device=model.device), torch.zeros(n, count, dtype=torch.bool)
    ended, parents = ended.to(model.device), torch.arange(count, device=model.device).expand(n, -1)
    lengths = torch.zeros(n, count, dtype=torch.long, device=model.device)
    while True:
        log_p = states.log_p()
        noise = torch.rand(log_p.shape, generator=draw).clamp_(1e-12, 1 - 1e-7).to(model.device)
        word = (log_p - (-noise.log()).log()).argmax(2)  # Gumbel: a draw of the softmax
        if states.length >= last:
            word = torch.full_like(word, EOS_ID)
        log_ps += log_p.gather(2, word[..., None]).squeeze(2).masked_fill(ended, 0.0)
        lengths += (~ended & (word != EOS_ID)).long()
        ended = ended | (word == EOS_ID)
        if ended.all():
            break
        states.go_on(parents, word.masked_fill(ended, PAD_ID))
    before = states.given
    return [
        [
            Found(tuple(words[:size]), log_p, length_score(log_p, before + size))
            for words, size, log_p in zip(*own, strict=True)
        ]
        for own in zip(states.words.tolist(), lengths.tolist(), log_ps.tolist(), strict=True)
    ]


class _Hypotheses:
    """The words of k hypotheses of each photo, and the keys and values of them."""

    def __init__(self, model: GIT, memory: Memory, given: Sequence[Sequence[int]] | None, count: int):
        """`count`: how many there are at once, all alike."""
        n, device = len(memory[0][0]), model.device
        rows = [[BOS_ID, *prefix] for prefix in given] if given else [[BOS_ID]] * n
        if len({len(row) for row in rows}) > 1 or len(rows) != n:
            raise InputError(f"{len(rows)} prefixes for {n} photos: expected one each, all of one length")
        self.given = self.length = len(rows[0])  # tokens, <s> among them
        if self.length >= model.config.positions:
            raise InputError(
                f"{self.length} tokens are given: the model has {model.config.positions} positions; give fewer words"
            )
        self._model, self._memory = model, memory
        self.words = torch.empty(n, count, 0, dtype=torch.long, device=device)
        self._next = torch.tensor(rows, device=device)[:, None]
        self._past, self._count = None, count

    def log_p(self) -> Float[Tensor, "n k v"]:
        """log P of the next word, -inf for what no sentence holds."""
        with autocast(self._model.precision, self._model.device):
            first = self.length - self._next.shape[2]
            states, self._past = self._model.states(self._next, self._memory, self._past, first)
            log_p = self._model.logits(states[:, :, -1]).log_softmax(-1)
        log_p[..., list(NEVER)] = -torch.inf
        if log_p.shape[1] < self._count:  # what was given is computed once
            log_p = log_p.expand(-1, self._count, -1).clone()
            self._past = [tuple(part.expand(-1, self._count, -1, -1) for part in layer) for layer in self._past]
        return log_p

    def go_on(self, parents: Int[Tensor, "n k"], words: Int[Tensor, "n k"]) -> None:
        """Hypothesis j of each photo becomes `parents[j]` with one word more."""
        photos = torch.arange(len(parents), device=parents.device)[:, None]
        self.words = torch.cat([self.words[photos, parents], words[..., None]], 2)
        self._past = [tuple(part[photos, parents] for part in layer) for layer in self._past]
        self._next, self.length, self._count = words[..., None], self.length + 1, parents.shape[1]
