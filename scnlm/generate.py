"""Candidates: sampled content vectors and structures, and the most probable sentence for each (supplement, 5.2).

`Decoder` folds a trained model into tables, so that a step is a few look-ups and one product with the output table.
Scores nothing else than the model's own log P (see rerank/). Shapes: m content vectors, c candidates, t positions,
f num_factors, d content_dim, v words, w beam width.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scnlm.language_model import LanguageModel
from scnlm.models import NO_TAG, SCNLM, MultiplicativeLM
from vse.data.vocabulary import BOS_ID, EOS, EOS_ID, SPECIALS

_AT_ONCE = 4096  # candidates times beam width; bounds memory: as many rows of the vocabulary's logits


class Decoder:
    """MAP decoding of one language model: every candidate is a content vector and a structure.

    What is found for the words before t depends on the content and on the tags up to t - 1 + k alone. So candidates of
    one content are the leaves of a tree of tags, and while they share a node they are searched once.
    """

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
        self.ahead = model.config.tag_context if isinstance(model, SCNLM) else 0
        if isinstance(model, SCNLM):
            self.places = model.t @ model.T  # (k + 1, tags, g): T_i t_i of every tag

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
        content = self._content(torch.from_numpy(np.ascontiguousarray(u, np.float32)).to(self.device))
        step = max(1, _AT_ONCE // beam)
        for rows in (order[i : i + step] for i in range(0, len(order), step)):
            tags = np.full((len(rows), lengths[rows[0]] + 1 + self.ahead), NO_TAG)
            for row_tags, i in zip(tags, rows, strict=True):
                if isinstance(self.model, SCNLM):  # to the others all structures of a length are the same
                    row_tags[: lengths[i] + 1] = self.lm.tags.ids([*structures[i], EOS])
            inputs = (torch.from_numpy(array[rows]).to(self.device) for array in (content_of, lengths))
            group = self._search(content, *inputs, torch.from_numpy(tags).to(self.device), beam, draw)
            for row, (ids, score) in zip(rows, group, strict=True):
                sentences[row], nats[row] = [self.lm.vocabulary.tokens[i] for i in ids], score
        return sentences, nats

    def _search(
        self, content: Tensor, content_of: Tensor, lengths: Tensor, tags: Tensor, beam: int, draw
    ) -> list[tuple[list[int], float]]:
        """(word ids, nats) of each candidate; they come sorted, the longest first.

        A node of the tree has its content and w hypotheses, 1 to `beam`: their scores and words, <s> before the first.
        """
        node, scores = content_of, torch.zeros(len(content), 1, device=self.device)  # one node a content
        words = torch.full((len(content), 1, len(self.tables)), BOS_ID, device=self.device)
        for i in range(self.ahead):  # tags that are seen before their word's turn
            node, parent = _branch(node, tags[:, i])
            content, words, scores = content[parent], words[parent], scores[parent]
        finished = []
        for t in range(int(lengths[0]) + 1):
            live, longer = int((lengths >= t).sum()), int((lengths > t).sum())
            window = tags[:live, t : t + self.ahead + 1]
            node, parent = _branch(node[:live], window[:, -1], alone=draw is not None)
            content, words, scores = content[parent], words[parent], scores[parent]
            log_p = self._log_p(content, window[_one_of_each(node, len(parent))], words)
            ended, place = (scores + log_p[..., EOS_ID])[node[longer:]].max(1)
            sentences = words[node[longer:], place, len(self.tables) :]
            finished = [*zip(sentences.tolist(), ended.tolist(), strict=True), *finished]
            best, chosen = _top(log_p[..., len(SPECIALS) :], beam, draw)  # no <unk>; where it ends the structure says
            joint = (scores[..., None] + best).flatten(1)
            scores, place = _top(joint, beam)
            words = words.gather(1, (place // best.shape[2])[..., None].expand(-1, -1, words.shape[2]))
            words = torch.cat([words, chosen.flatten(1).gather(1, place)[..., None] + len(SPECIALS)], 2)
        return finished

    def _content(self, u: Tensor) -> Float[Tensor, "m g"]:
        """What a content vector adds to what gates the factors."""
        if isinstance(self.model, SCNLM):
            return u @ self.model.T_u.T + self.model.b_u
        if isinstance(self.model, MultiplicativeLM):
            return u @ self.model.W_fu.T
        return torch.ones(len(u), 1, device=self.device)

    def _log_p(self, content: Tensor, window: Tensor, words: Tensor) -> Float[Tensor, "nodes w v"]:
        """log P of the next word of every hypothesis."""
        gate = content
        if isinstance(self.model, SCNLM):
            u_hat = content + sum(place[tag] for place, tag in zip(self.places, window.T, strict=True))
            gate = u_hat.relu_() @ self.model.W_fu.T
        state = sum(table[words[:, :, -1 - i]] for i, table in enumerate(self.tables)) * gate[:, None]
        logits = torch.addmm(self.model.b, state.flatten(0, 1), self.out)
        return logits.log_softmax(-1).view(*words.shape[:2], -1)


def _branch(node: Tensor, tag: Tensor, alone: bool = False) -> tuple[Int[Tensor, " c"], Int[Tensor, " nodes"]]:
    """(the child node of each candidate, the parent of each child): nodes branch by tag, or each candidate `alone`."""
    if alone:
        return torch.arange(len(node), device=node.device), node
    base = int(tag.max()) + 1
    children, child = (node * base + tag).unique(return_inverse=True)
    return child, children // base


def _one_of_each(node: Tensor, count: int) -> Int[Tensor, " nodes"]:
    """For each node a candidate that is there."""
    return torch.empty(count, dtype=torch.long, device=node.device).scatter_(
        0, node, torch.arange(len(node), device=node.device)
    )


def _top(log_p: Tensor, width: int, draw: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """(values, places) of the `width` highest of the last axis, of all where there are fewer; or one that is drawn."""
    if draw is not None:
        noise = torch.rand(log_p.shape, generator=draw).to(log_p.device)
        place = (log_p - (-noise.log()).log()).argmax(-1, keepdim=True)  # Gumbel: a draw of the softmax
        return log_p.gather(-1, place), place
    if width > 1:
        return log_p.topk(min(width, log_p.shape[-1]))
    return log_p.max(-1, keepdim=True)
