"""The order of scored candidates: the best-scored ones vote (minimum Bayes risk). Shapes: c candidates of one image."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import softmax

from scnlm.rerank.score import Candidate, Weights, score

VOTERS = 100  # best-scored candidates that agree on the best among them


def ranked(candidates: Sequence[Candidate], weights: Weights, vote: float = 0.0) -> list[Candidate]:
    """The candidates with their scores, best first; of equals the first.

    `vote` > 0: the VOTERS best-scored are ordered by their `expected` overlap of n-grams with a caption drawn from the
    softmax of the scores at a temperature of `vote` standard deviations of the scores (minimum Bayes risk: Kumar and
    Byrne 2004; not in the paper). A candidate may be the one that is drawn: without that its own score would not count
    for it, and `python -m experiments.captions vote` shows the cost. Its `agreement` is the same with one of the
    others; 0 where there is none.
    """
    scores = score(candidates, weights)
    order = np.argsort(-scores, kind="stable")
    agreements, expected = np.zeros((2, len(candidates)))
    if vote > 0 and scores.std() > 0:
        voters = order[:VOTERS]
        logits = (scores[voters] - scores[voters[0]]) / (vote * scores.std())
        alike = overlaps([candidates[i].tokens for i in voters])
        others = np.tile(logits, (len(voters), 1))
        np.fill_diagonal(others, -np.inf)
        agreements[voters] = (softmax(others, axis=1) * alike).sum(1)
        expected[voters] = alike @ softmax(logits)
        order[: len(voters)] = voters[np.argsort(-expected[voters], kind="stable")]
    values = zip(candidates, scores.tolist(), agreements.tolist(), expected.tolist(), strict=True)
    rows = [dataclasses.replace(c, score=s, agreement=a, expected=e) for c, s, a, e in values]
    return [rows[i] for i in order]


def overlaps(sentences: Sequence[Sequence[str]]) -> Float[np.ndarray, "c c"]:
    """2 |A and B| / (|A| + |B|) of the sets of n-grams of every two sentences, mean over n = 1 to 4."""
    shares = np.zeros((len(sentences), len(sentences)))
    for n in range(1, 5):
        grams = [{tuple(sentence[i : i + n]) for i in range(len(sentence) - n + 1)} for sentence in sentences]
        column = {gram: i for i, gram in enumerate(sorted(set().union(*grams)))}
        has = np.zeros((len(sentences), len(column)), np.float32)
        for row, row_grams in zip(has, grams, strict=True):
            row[[column[gram] for gram in row_grams]] = 1
        sizes = has.sum(1)
        shares += (has @ has.T) / np.maximum(sizes[:, None] + sizes, 1) / 2  # 2 / 4 orders
    return shares
