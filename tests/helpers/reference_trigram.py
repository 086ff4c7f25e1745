"""Modified Kneser-Ney with dictionaries and loops, from the equations; slow, float64, no numpy in its sums.

Chen and Goodman (1998), equations 22 to 28; Heafield et al. (2013), section 3, for adjusted counts, <s>, <unk>.
"""

import math
from collections import Counter, defaultdict

import numpy as np

UNK, BOS, EOS = "<unk>", "<s>", "</s>"


class NoDiscounts(Exception):
    """The argument is the order whose discounts cannot be estimated."""


def kneser_ney(sentences, order=3, prune=(0, 0, 0), fallback=None):
    """{n-gram: (log10 probability, log10 backoff)}; 0 becomes -99."""
    raw = {k: Counter() for k in range(1, order + 1)}
    for sentence in sentences:
        tokens = [BOS, *sentence, EOS]
        for k in raw:
            for i in range(len(tokens) - k + 1):
                raw[k][tuple(tokens[i : i + k])] += 1
    del raw[1][(BOS,)]
    adjusted = {k: _adjusted(raw, k, order) for k in raw}
    counted = _as_lmplz_counts(sentences, raw, adjusted, order)
    discount = {k: _discount(k, counted[k].values(), fallback) for k in raw}
    kept = {k: {g for g, n in raw[k].items() if n > prune[k - 1] or g == (EOS,)} for k in raw}

    total, left = defaultdict(float), defaultdict(float)
    for k in raw:
        for gram, a in adjusted[k].items():
            total[gram[:-1]] += a
            left[gram[:-1]] += discount[k][min(a, 3)] if gram in kept[k] else a
    vocabulary_size = len(kept[1]) + 1  # and <unk>, not <s>

    def probability(gram):
        if not gram:
            return 1 / vocabulary_size
        context, a = gram[:-1], adjusted[len(gram)].get(gram, 0)
        if not total[context]:
            return probability(gram[1:])
        own = (a - discount[len(gram)][min(a, 3)]) / total[context] if a else 0.0
        return own + left[context] / total[context] * probability(gram[1:])

    def log10(x):
        return max(math.log10(x), -99.0) if x > 0 else -99.0

    def backoff(gram):
        return log10(left[gram] / total[gram]) if len(gram) < order and total[gram] else 0.0

    table = {(UNK,): (log10(probability((UNK,))), 0.0), (BOS,): (0.0, backoff((BOS,)))}
    for k in raw:
        table |= {gram: (min(log10(probability(gram)), 0.0), backoff(gram)) for gram in kept[k]}
    return table


def _adjusted(raw, k, order):
    """Occurrences for the highest order and after <s>, else the number of different words in front."""
    if k == order:
        return dict(raw[k])
    before = Counter(gram[1:] for gram in raw[k + 1])
    return {gram: n if gram[0] == BOS else before[gram] for gram, n in raw[k].items()}


def _as_lmplz_counts(sentences, raw, adjusted, order):
    """lmplz counts the suffixes of its very last n-gram (last word first, words in order of first use) unadjusted."""
    ids = {word: i for i, word in enumerate(dict.fromkeys([BOS, EOS, *(w for s in sentences for w in s)]))}
    padded = [[BOS] * (order - 1) + [*sentence, EOS] for sentence in sentences]
    windows = (tuple(t[i : i + order]) for t in padded for i in range(len(t) - order + 1))
    last = max(windows, key=lambda gram: [ids[word] for word in reversed(gram)])
    counted = {k: dict(counts) for k, counts in adjusted.items()}
    for k in range(1, order):
        counted[k][last[-k:]] = raw[k][last[-k:]]
        if last[-k] == BOS:
            break
    return counted


def _discount(k, counts, fallback):
    """[0, D1, D2, D3+] in single precision, as lmplz has it."""
    n = [np.float32(list(counts).count(j)) for j in range(5)]
    if n[1] and n[2] and n[3]:
        y = n[1] / (n[1] + 2 * n[2])
        found = [np.float32(j) - np.float32(j + 1) * y * n[j + 1] / n[j] for j in (1, 2, 3)]
        if all(0 <= d <= j for j, d in zip((1, 2, 3), found, strict=True)):
            return [0.0, *map(float, found)]
    if fallback is None:
        raise NoDiscounts(k)
    return [0.0, *fallback]


def log_prob(table, order, tokens):
    """log p in nats of the tokens and the end of the sentence, backing off by hand."""

    def score(gram):
        if gram in table:
            return table[gram][0]
        if len(gram) == 1:
            return table[(UNK,)][0]
        return table.get(gram[:-1], (0.0, 0.0))[1] + score(gram[1:])

    known = [BOS, *(t if (t,) in table else UNK for t in tokens), EOS]
    return math.log(10) * sum(score(tuple(known[max(0, i - order + 1) : i + 1])) for i in range(1, len(known)))
