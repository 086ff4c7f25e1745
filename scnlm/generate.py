"""Candidates: sampled content vectors and structures, and the most probable sentence for each (supplement, 5.2).

`Decoder` folds a trained model into tables, so that a step is a few look-ups and one product with the output table.
Scores nothing else than the model's own log P (see rerank.py). Shapes: m content vectors, c candidates, t positions,
f num_factors, d content_dim, v words, w beam width.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from scnlm.language_model import LanguageModel
from scnlm.models import NO_TAG, SCNLM, MultiplicativeLM
from vse.vocabulary import BOS_ID, EOS, EOS_ID, SPECIALS

_AT_ONCE = 4096  # candidates times beam width; bounds memory: as many rows of the vocabulary's logits


class Decoder:
    """MAP decoding of one language model: every candidate is a content vector and a structure."""

    @torch.inference_mode()
    def __init__(self, lm: LanguageModel):
        model, device = lm.model, next(lm.model.parameters()).device
        self.lm, self.model, self.device = lm, model, device
        vectors = model.word_vectors(torch.arange(len(lm.vocabulary), device=device)[None])[0]
        # What a word at the i-th place before contributes to the state: C_i E, through W_fk where there are factors.
        tables = vectors @ model.C
        if isinstance(model, MultiplicativeLM):
            tables = tables @ model.W_fk.T
        self.tables = tables.contiguous()  # (n - 1, v, f), the nearest place first
        self.out = model.R.T.contiguous()  # (f, v)

    @torch.inference_mode()
    def most_probable(
        self,
        u: Float[np.ndarray, "m d"],
        content_of: Int[np.ndarray, " c"],
        structures: Sequence[Sequence[str]],
        beam: int = 1,
        draw: torch.Generator | None = None,
    ) -> tuple[list[list[str]], Float[np.ndarray, " c"]]:
        """(sentences, nats): for each candidate the words w with the highest log P(w, end | structure, u).

        Candidate i has content vector `u[content_of[i]]` and as many words as `structures[i]` has tags. `beam` 1 is
        greedy; with as many as there are sentences of that length it is exact. Nothing else than words is chosen.
        `draw`: each word is drawn from the model instead, for models without structure, whose most probable sentence
        is always the same.
        """
        lengths = np.array([len(s) for s in structures])
        order = np.argsort(-lengths, kind="stable")  # the longest first: who still has words is a prefix
        sentences, nats = [[] for _ in structures], np.empty(len(structures), np.float32)
        content = torch.from_numpy(np.ascontiguousarray(u, np.float32)).to(self.device)
        step = max(1, _AT_ONCE // beam)
        for rows in (order[i : i + step] for i in range(0, len(order), step)):
            tags = [self.lm.tags.ids([*structures[i], EOS]) for i in rows]
            longest = len(tags[0])
            padded = torch.tensor([t + [NO_TAG] * (longest - len(t)) for t in tags], device=self.device)
            gates = self._gates(content, torch.from_numpy(content_of[rows]).to(self.device), padded)
            words, scores = self._search(gates, torch.from_numpy(lengths[rows]).to(self.device), beam, draw)
            for row, ids, length in zip(rows, words.tolist(), lengths[rows], strict=True):
                sentences[row] = [self.lm.vocabulary.tokens[i] for i in ids[:length]]
            nats[rows] = scores.cpu().numpy()
        return sentences, nats

    def _gates(self, content: Tensor, content_of: Tensor, tags: Tensor) -> Float[Tensor, "c t f"]:
        """W_fu u_hat at every position of every candidate; ones where nothing is gated."""
        model = self.model
        if isinstance(model, SCNLM):
            k = model.config.tag_context
            places = model.t @ model.T  # (k + 1, tags, g): T_i t_i of every tag
            window = pad(tags, (0, k), value=NO_TAG)
            u_hat = (content @ model.T_u.T + model.b_u)[content_of][:, None]
            for i in range(k + 1):
                u_hat = u_hat + places[i][window[:, i : i + tags.shape[1]]]
            return torch.relu_(u_hat) @ model.W_fu.T
        if isinstance(model, MultiplicativeLM):
            return model.gate(tags, content[content_of]).expand(-1, tags.shape[1], -1)
        return torch.ones(*tags.shape, len(self.out), device=self.device)

    def _search(
        self, gates: Tensor, lengths: Tensor, beam: int, draw: torch.Generator | None
    ) -> tuple[Int[Tensor, "c t"], Float[Tensor, " c"]]:
        """Beam search of all candidates side by side; they come sorted, the longest first."""
        c, longest, n = len(gates), int(lengths[0]), len(self.tables)
        # Column j of `words` is position j - n: <s> stands before the first word.
        words = torch.full((c, beam, n + longest), BOS_ID, device=self.device)
        scores = torch.full((c, beam), -torch.inf, device=self.device)
        scores[:, 0] = 0.0
        for t in range(longest):
            live = int((lengths > t).sum())
            logits = self._logits(words[:live], gates[:live], t)
            total = logits.logsumexp(-1)
            allowed = logits[..., len(SPECIALS) :]  # no <unk>, and the end is where the structure ends
            if beam == 1:
                if draw is not None:
                    noise = torch.rand(allowed.shape, generator=draw).to(self.device)
                    chosen = (allowed - (-noise.log()).log()).argmax(-1, keepdim=True)  # Gumbel: a draw of the softmax
                    best = allowed.gather(-1, chosen)
                else:
                    best, chosen = allowed.max(-1, keepdim=True)
                scores[:live] += best[..., 0] - total
                words[:live, :, n + t] = chosen[..., 0] + len(SPECIALS)
                continue
            best, chosen = (allowed - total[..., None]).topk(min(beam, allowed.shape[2]))  # no other can be among them
            scores[:live], place = (scores[:live, :, None] + best).flatten(1).topk(beam)
            parent = place // best.shape[2]
            words[:live] = words[:live].gather(1, parent[:, :, None].expand(-1, -1, words.shape[2]))
            words[:live, :, n + t] = chosen.flatten(1).gather(1, place) + len(SPECIALS)
        score, first = (scores + self._ends(words, gates, lengths)).max(1)
        return words[torch.arange(c, device=self.device), first, n:], score

    def _logits(self, words: Tensor, gates: Tensor, t: int) -> Float[Tensor, "c w v"]:
        """Logits of the word at position t."""
        last = len(self.tables) + t - 1  # the column of the word before
        state = self.tables[0][words[:, :, last]]
        for i in range(1, len(self.tables)):
            state += self.tables[i][words[:, :, last - i]]
        state *= gates[:, t, None]
        return torch.addmm(self.model.b, state.flatten(0, 1), self.out).view(*words.shape[:2], -1)

    def _ends(self, words: Tensor, gates: Tensor, lengths: Tensor) -> Float[Tensor, "c w"]:
        """log P(end of sentence) behind the last word of every hypothesis."""
        out = torch.empty(words.shape[:2], device=self.device)
        for length in lengths.unique().tolist():
            own = lengths == length
            logits = self._logits(words[own], gates[own], length)
            out[own] = logits[..., EOS_ID] - logits.logsumexp(-1)
        return out
