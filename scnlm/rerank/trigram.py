"""The trigram that reranks captions (supplement 5.2), queried through KenLM; `scnlm.rerank.kneser_ney` estimates it.

KenLM speaks log10; log10 becomes nats in this file and nowhere else. It does not tokenise.
"""

import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import kenlm
import numpy as np
from jaxtyping import Float64

from scnlm.rerank.arpa import checked
from scnlm.rerank.kneser_ney import NGramModel, estimate
from vse.system.errors import InputError

__all__ = ["NGramModel", "Trigram", "estimate"]

LN10 = math.log(10.0)
BOUNDARIES = ("<s>", "</s>")


class Trigram:
    """An ARPA model in memory; log-probabilities in nats, of the words and the end of the sentence."""

    def __init__(self, path: str | Path, order: int | None = 3):
        """Loads ARPA text, also gzipped. Raises InputError if it is no whole ARPA of that order (None: of any)."""
        path = Path(path)
        config = kenlm.Config()
        config.show_progress = False
        config.arpa_complain = kenlm.ARPALoadComplain.NONE
        with checked(path) as text:
            try:
                self._model = kenlm.Model(os.fspath(text), config)
            except (OSError, RuntimeError, ValueError, MemoryError) as error:
                raise InputError(f"{path}: truncated or not an ARPA file ({_reason(error)}); write it again") from None
        self.order = self._model.order
        if order not in (None, self.order):
            raise InputError(f"{path}: a model of order {self.order}; expected order {order}, estimate it again")

    def __contains__(self, word: str) -> bool:
        return word in self._model

    def log_prob(self, tokens: Sequence[str]) -> float:
        """log p(tokens, end of sentence) in nats; unknown words count as <unk>. Raises InputError for <s>, </s>."""
        if isinstance(tokens, str):
            raise InputError(f"{tokens!r} is a text; expected a list of tokens, such as text.split()")
        text = " ".join(tokens)
        if len(text.split()) != len(tokens) or "s>" in text:
            return LN10 * self._word_by_word(tokens)
        return LN10 * self._model.score(text)

    def score(self, sentences: Iterable[Sequence[str]]) -> Float64[np.ndarray, " N"]:
        """`log_prob` of each sentence."""
        return np.array([self.log_prob(tokens) for tokens in sentences], np.float64)

    def perplexity(self, sentences: Iterable[Sequence[str]]) -> float:
        """exp of minus the mean log-probability of a word, ends of sentences included."""
        sentences = list(sentences)
        if not sentences:
            raise InputError("no sentences: a perplexity needs at least one")
        with np.errstate(over="ignore"):  # infinite where a float cannot hold it
            return float(np.exp(-self.score(sentences).sum() / sum(len(tokens) + 1 for tokens in sentences)))

    def _word_by_word(self, tokens: Sequence[str]) -> float:
        """log10 p of tokens that KenLM would take apart, or for something else, in a joined text."""
        for token in tokens:
            if token in BOUNDARIES:
                raise InputError(f"{' '.join(tokens)[:80]!r}: {token} cannot stand in a sentence; leave it out")
        here, after, total = kenlm.State(), kenlm.State(), 0.0
        self._model.BeginSentenceWrite(here)
        for token in (*tokens, BOUNDARIES[1]):
            total += self._model.BaseScore(here, token, after)
            here, after = after, here
        return total


def _reason(error: Exception) -> str:
    """What KenLM found, in one line, without the places in its own source."""
    text = re.sub(r"^Cannot read model '.*?' \(", "", " ".join(str(error).split()))
    return re.sub(r"\S+:\d+ in .*? threw \w+(\.| because `.*?'\.?) ?", "", text).removesuffix(")")[:200]
