"""Interpolated modified Kneser-Ney (Chen and Goodman 1998) by the rules of KenLM's own `lmplz` (Heafield et al. 2013).

From lists of tokens to the very ARPA that lmplz writes: discounts, <unk>, sentence boundaries, pruning, refusals.
Numbers here are log10, as ARPA has them; `trigram.py` reads such a file. Axes: n n-grams of one order, k that order.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64

from vse.system.errors import InputError
from vse.system.files import write_atomically

SPECIALS = ("<unk>", "<s>", "</s>")  # ids 0, 1, 2, as in lmplz; other words follow in the order of their first use
BOS, EOS = 1, 2
FALLBACK = (0.5, 1.0, 1.5)  # D1, D2, D3+ where they cannot be estimated; lmplz's own
MAX_ORDER = 6  # of a KenLM as it is packaged
NEVER = -99.0  # log10 of probability 0: KenLM does not read -inf
_BREAKS = " \t\n\r\0"  # what separates words for lmplz and in an ARPA


@dataclass(frozen=True, eq=False)
class NGrams:
    """All n-grams of one order, sorted by last word, then the one before it, and so on."""

    ids: Int64[np.ndarray, "n k"]
    log_probs: Float64[np.ndarray, " n"]  # log10 p(last word | the words before it), as in an ARPA
    backoffs: Float64[np.ndarray, " n"]  # log10 of the weight of shorter contexts after this n-gram


@dataclass(frozen=True, eq=False)
class NGramModel:
    """A backoff model as arrays, one `NGrams` an order."""

    words: tuple[str, ...]  # id -> word
    ngrams: tuple[NGrams, ...]
    discounts: Float64[np.ndarray, "order 3"]  # D1, D2, D3+ of each order
    fell_back: tuple[int, ...] = ()  # orders whose discounts are the fallback

    def write_arpa(self, path: str | Path) -> None:
        """Writes the model as ARPA text, whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, self._write)

    def _write(self, path: Path) -> None:
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            sizes = "".join(f"ngram {k}={len(table.ids)}\n" for k, table in enumerate(self.ngrams, 1))
            file.write(f"\\data\\\n{sizes}\n")
            for k, table in enumerate(self.ngrams, 1):
                columns = [map(self.words.__getitem__, column) for column in table.ids.T.tolist()]
                grams = map(" ".join, zip(*columns, strict=True))
                lines = (f"{p:.8g}\t{gram}" for p, gram in zip(table.log_probs.tolist(), grams, strict=True))
                if k < len(self.ngrams):  # the highest order has no backoff
                    lines = (f"{a}\t{b:.8g}" for a, b in zip(lines, table.backoffs.tolist(), strict=True))
                file.write(f"\\{k}-grams:\n")
                file.writelines(f"{line}\n" for line in lines)
                file.write("\n")
            file.write("\\end\\\n")


def estimate(
    sentences: Iterable[Sequence[str]],
    order: int = 3,
    prune: Sequence[int] = (0,),
    discount_fallback: Sequence[float] | None = None,
    *,
    skip_symbols: bool = False,
    where: str = "sentence",
) -> NGramModel:
    """The model that `lmplz --order order` makes of these lists of tokens.

    `prune`: n-grams of order i that occur `prune[i-1]` times or less are dropped; the last value holds for higher
    orders. `discount_fallback`: D1, D2, D3+ (as many as given, the last repeated) for orders whose discounts cannot
    be estimated; without it they are refused. `skip_symbols`: <s>, </s>, <unk> in the text are left out instead of
    refused. `where`: what errors call the i-th sentence, such as "corpus.txt, line". Raises InputError.
    """
    if not 2 <= order <= MAX_ORDER:
        raise InputError(f"order {order}: expected 2 to {MAX_ORDER}, the orders that KenLM can read")
    thresholds = _thresholds(prune, order)
    fallback = None if discount_fallback is None else _fallback(discount_fallback)
    words, stream, place = _to_ids(list(sentences), skip_symbols, where)
    levels = _count(stream, place, order, len(words))
    adjusted = _adjust(levels)
    estimates = [_discounts(k, n, fallback) for k, n in enumerate(_counts_of_counts(levels, adjusted), 1)]
    discounts = np.stack([discount for discount, _ in estimates])

    tables = []
    keep = levels[0].raw > thresholds[0]
    keep[: len(SPECIALS)] = True
    lower = np.full(1, 1.0 / (keep.sum() - 1))  # uniform over the words and <unk> and </s>, but not <s>
    for k, (level, a, discount) in enumerate(zip(levels, adjusted, discounts, strict=True), 1):
        if k > 1:
            keep = level.raw > thresholds[k - 1]
        taken = np.append(0.0, discount)[np.minimum(a, 3)]
        total = np.bincount(level.context, a, len(lower) if k > 1 else 1)
        # What a context leaves to shorter ones: its discounts, and all of the n-grams that are pruned.
        left = np.bincount(level.context, np.where(keep, taken, a), len(total))
        gamma = np.divide(left, total, out=np.ones(len(total)), where=total > 0)
        if k > 1:
            tables[-1] = _table(*tables[-1], gamma)
        probs = (a - taken) / total[level.context] + gamma[level.context] * lower[level.suffix]
        if k == 1:
            probs[BOS] = 1.0  # never predicted; this value changes no sentence's score
        tables.append((_grams(stream, level.end, k) if k > 1 else np.arange(len(words))[:, None], probs, keep))
        lower = probs
    tables[-1] = _table(*tables[-1], np.ones(len(lower)))
    return NGramModel(words, tuple(tables), discounts, tuple(k for k, (_, fell) in enumerate(estimates, 1) if fell))


def _table(ids, probs, keep, gamma) -> NGrams:
    with np.errstate(divide="ignore"):
        log_probs, backoffs = (np.maximum(np.log10(x[keep]), NEVER) for x in (probs, gamma))
    return NGrams(ids[keep], np.minimum(log_probs, 0.0), backoffs)


# --- Counting --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Level:
    """The distinct n-grams of one order, sorted as in `NGrams`; those with an inner <s> do not exist."""

    raw: Int64[np.ndarray, " n"]  # how often they occur
    end: Int64[np.ndarray, " n"]  # where in the stream one of them ends
    suffix: Int64[np.ndarray, " n"]  # row of the n-gram without its first word, one order below
    context: Int64[np.ndarray, " n"]  # row of the n-gram without its last word, one order below
    starts: Bool[np.ndarray, " n"]  # begins with <s>


def _to_ids(sentences: list[Sequence[str]], skip_symbols: bool, where: str):
    """Words by id; all sentences as one stream of ids with <s> and </s> around each; the place in its sentence."""
    for i, sentence in enumerate(sentences, 1):
        if isinstance(sentence, str):
            raise InputError(f"{where} {i}: {sentence!r} is a text; expected a list of tokens, such as text.split()")
    words = tuple(dict.fromkeys(chain(SPECIALS, chain.from_iterable(sentences))))
    id_of = dict(zip(words, count()))
    lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
    flat = np.fromiter(map(id_of.__getitem__, chain.from_iterable(sentences)), np.int64, lengths.sum())
    owner = np.repeat(np.arange(len(sentences)), lengths)
    special = flat < len(SPECIALS)
    if special.any() and not skip_symbols:
        first = int(special.argmax())
        raise InputError(
            f"{where} {owner[first] + 1}: the word {words[flat[first]]} stands for itself in the model and cannot be "
            "in the text; take it out, or leave such words out with --skip-symbols"
        )
    for word in words:
        if not word or any(c in word for c in _BREAKS) or any("\ud800" <= c <= "\udfff" for c in word):
            i = next(i for i, sentence in enumerate(sentences, 1) if word in sentence)
            raise InputError(f"{where} {i}: the token {word!r} is empty, has white space or is not UTF-8; split it")
    flat, owner = flat[~special], owner[~special]
    if not len(flat):
        raise InputError(f"{len(sentences)} sentences and no word in them: expected sentences, each a list of tokens")
    lengths = np.bincount(owner, minlength=len(sentences)) + 2
    begins = np.cumsum(lengths) - lengths
    stream = np.full(lengths.sum(), EOS)
    stream[begins] = BOS
    stream[np.arange(len(flat)) + 2 * owner + 1] = flat
    return words, stream, np.arange(len(stream)) - np.repeat(begins, lengths)


def _count(stream: np.ndarray, place: np.ndarray, order: int, num_words: int) -> list[_Level]:
    """The n-grams of each order; an n-gram is numbered by its suffix, then by its first word."""
    none = np.zeros(num_words, np.int64)
    raw = np.bincount(stream, minlength=num_words)
    levels = [_Level(raw, none, none, none, np.arange(num_words) == BOS)]
    rank = stream  # of the n-gram that ends here
    for k in range(2, order + 1):
        at = np.flatnonzero(place >= k - 1)
        key = rank[at] * num_words + stream[at - (k - 1)]
        key, first, inverse, raw = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
        end = at[first]
        levels.append(_Level(raw, end, key // num_words, rank[end - 1], key % num_words == BOS))
        rank = np.full(len(stream), -1)
        rank[at] = inverse
    return levels


def _grams(stream: np.ndarray, end: np.ndarray, k: int) -> np.ndarray:
    """(n, k) ids of the n-grams that end there."""
    return stream[end[:, None] + np.arange(1 - k, 1)]


def _adjust(levels: list[_Level]) -> list[np.ndarray]:
    """How many different words precede each n-gram; how often it occurs if nothing can: <s> first, highest order."""
    adjusted = []
    for level, above in zip(levels, levels[1:], strict=False):
        preceded = np.bincount(above.suffix, minlength=len(level.raw))
        adjusted.append(np.where(level.starts, level.raw, preceded))
    adjusted[0][BOS] = 0
    return [*adjusted, levels[-1].raw]


def _counts_of_counts(levels: list[_Level], adjusted: list[np.ndarray]) -> list[list[int]]:
    """n1 to n4 of each order: how many of its n-grams have the adjusted count 1 to 4.

    Here: as lmplz counts, which books the last n-gram of each order below the highest, and the last n-gram's
    suffixes, by how often it occurs.
    """
    adjusted, below = [a.copy() for a in adjusted], None
    for level, a in zip(levels[:-1], adjusted, strict=False):
        if below is not None and (not len(a) or level.suffix[-1] != below):
            break
        below = len(a) - 1
        a[-1] = level.raw[-1]
    return [np.bincount(a, minlength=5)[1:5].tolist() for a in adjusted]


# --- Discounts and options -------------------------------------------------------------------------------------------


def _discounts(k: int, n: list[int], fallback: np.ndarray | None) -> tuple[np.ndarray, bool]:
    """D1, D2, D3+ of order `k` (Chen and Goodman, equation 26) and whether they are the fallback."""
    if all(n[:3]):
        n32 = np.array(n, np.float32)  # lmplz's precision, so that both refuse the same texts
        y = n32[0] / np.float32(n[0] + 2 * n[1])
        discounts = np.array([np.float32(j) - np.float32(j + 1) * y * n32[j] / n32[j - 1] for j in (1, 2, 3)])
        if all(0 <= d <= j for j, d in enumerate(discounts, 1)):
            return discounts.astype(np.float64), False
        trouble = "D1, D2, D3+ = " + ", ".join(f"{d:.3g}" for d in discounts) + " are not within 0 to 1, 2, 3"
    else:
        trouble = "the first three must not be 0"
    if fallback is not None:
        return fallback, True
    raise InputError(
        f"order {k}: no Kneser-Ney discounts for a text with {', '.join(map(str, n))} {k}-grams of adjusted count "
        f"1, 2, 3, 4 ({trouble}): too small or artificial; give more text, or fixed discounts: --discount-fallback"
    )


def _fallback(values: Sequence[float]) -> np.ndarray:
    values = tuple(values) or FALLBACK
    padded = [*values, *values[-1:] * (3 - len(values))]
    if len(padded) > 3 or not all(0 <= d <= j for j, d in enumerate(padded, 1)):
        raise InputError(
            f"discount fallback {' '.join(map(str, values))}: expected one to three values, within 0 to 1, 2, 3; "
            f"for example {' '.join(map(str, FALLBACK))}"
        )
    return np.array(padded, np.float64)


def _thresholds(prune: Sequence[int], order: int) -> list[int]:
    prune = list(prune) or [0]
    if len(prune) > order or prune[0] < 0 or prune != sorted(prune):
        raise InputError(
            f"prune {' '.join(map(str, prune))}: expected at most {order} counts from 0 that do not fall, "
            "one an order; for example 0 0 1"
        )
    return prune + prune[-1:] * (order - len(prune))
