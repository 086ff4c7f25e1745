"""What models that look at the photo itself say of candidates, and the candidates that a GIT writes of its own.

All in float32, so that every machine gives the same sentences. Shapes: n images, v views, r regions, f feature_dim.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from scnlm.beam import Found, beam_search, sample
from scnlm.configs import CaptionConfig
from scnlm.git import GIT, Memory, texts_of
from scnlm.rerank.score import Candidate
from vse.data.vocabulary import EOS_ID
from vse.fusion import Fusion

_AT_ONCE = 256  # candidates whose log P is computed at once


def with_matching(
    each: Sequence[Sequence[Candidate]], reader: Fusion, seen: Float[np.ndarray, "n v r f"]
) -> list[list[Candidate]]:
    """The candidates of each image with the logit of a fusion transformer."""
    reader.precision = "float32"
    read = []
    for tokens, candidates in zip(reader.photo_tokens(seen), each, strict=True):
        pairs = np.stack([np.zeros(len(candidates), int), np.arange(len(candidates))], 1)
        logits = reader.logits(tokens[None], [c.text for c in candidates], pairs).tolist()
        read.append([replace(c, matching=logit) for c, logit in zip(candidates, logits, strict=True)])
    return read


def memories(git: GIT, seen: Float[np.ndarray, "n v r f"]) -> list[Memory]:
    """What a GIT's words look at, image by image."""
    git.precision = "float32"
    memory = git.seen(seen)
    return [[tuple(part[i : i + 1] for part in layer) for layer in memory] for i in range(len(seen))]


def written(git: GIT, memory: Memory, config: CaptionConfig, seed: int) -> list[Candidate]:
    """The different candidates that a GIT writes of one image: of its beam, best first, then drawn ones."""
    found: list[Found] = []
    if config.git_beam:
        found += beam_search(git, memory, config.git_beam)[0]
    if config.git_draws:
        found += sample(git, memory, config.git_draws, torch.Generator().manual_seed(seed))[0]
    sentences = dict.fromkeys(tuple(git.vocabulary.decode(one.words).split()) for one in found)
    return [Candidate(tokens, "git", (), 0.0, draw=i) for i, tokens in enumerate(sentences) if tokens]


@torch.inference_mode()
def with_log_p(candidates: Sequence[Candidate], git: GIT, memory: Memory) -> list[Candidate]:
    """The candidates of one image with the GIT's log P of each; words it does not know count as <unk>."""
    ids = [list(git.vocabulary.encode(c.text))[: git.config.positions - 2] for c in candidates]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))  # so that little is padding
    log_p = np.empty(len(ids))
    for start in range(0, len(order), _AT_ONCE):
        rows = order[start : start + _AT_ONCE]
        found = git.log_p(memory, texts_of([[ids[i] for i in rows]], None, EOS_ID))
        log_p[rows] = found.sum(2)[0].cpu().numpy()
    return [replace(c, git=float(value)) for c, value in zip(candidates, log_p, strict=True)]
