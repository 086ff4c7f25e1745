"""`GIT`: image tokens and words in one transformer; each word is predicted from the photo and the words before it.

Wang (2022). Image tokens see all image tokens and no word; a word sees all image tokens and the words up to itself. So
what a photo is to every layer is computed once, for all its captions, and for all hypotheses of a search (beam.py).
With `attention = "cross"` image tokens stay as they are, and words look at them in a second attention. Trains nothing
(train_git.py). Shapes: n photos, f frames, r regions, s = f r image tokens, k texts of each photo, t positions,
p positions before them, u of them that
may be predicted, w width, v words.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from scnlm.configs import GITConfig
from vse.data.vocabulary import BOS_ID, PAD_ID, Tokens
from vse.encoders.dropout import Dropout
from vse.encoders.scale import mean_and_spread
from vse.encoders.transformer import Block, Longer, Own, Shared, causal_mask
from vse.features.given import GivenPhotos, Images, check_listed
from vse.features.info import grid_of
from vse.system.errors import InputError
from vse.system.precision import autocast

EPS = 1e-12  # of the norms of blocks and embeddings, as BERT's
SPREAD = 0.02  # of the random start of matrices and embeddings
SMOOTHING = 0.1  # of the target's mass goes to other words
_PHOTOS = 128  # embedded at once

Memory = list[Shared]  # of each layer the keys and values of image tokens
Past = list[Own | None]  # of each layer those of the words before


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts of photos: <s>, words, </s>. What is predicted of one stands behind its prefix and before its padding."""

    tokens: Int[Tensor, "n k t"]
    lengths: Int[Tensor, "n k"]  # with <s> and </s>; 0: there is no such text
    prefixes: Int[Tensor, "n k"]  # tokens that are given, <s> among them: 1, or with a question its words more

    @property
    def predicted(self) -> Bool[Tensor, "n k u"]:
        """Of each position but the first whether it counts."""
        places = torch.arange(1, self.tokens.shape[2], device=self.tokens.device)
        return (places >= self.prefixes[..., None]) & (places < self.lengths[..., None])

    def columns(self) -> "Iterator[Texts]":
        """The first text of each photo, the second and so on, each cut to the longest of its own."""
        for j in range(self.tokens.shape[1]):
            lengths = self.lengths[:, j : j + 1]
            longest = max(2, int(lengths.max()))
            yield Texts(self.tokens[:, j : j + 1, :longest], lengths, self.prefixes[:, j : j + 1])


class GIT(nn.Module):
    """Post-norm blocks as BERT's; the output matrix is that of the words."""

    def __init__(self, config: GITConfig, vocabulary: Tokens, feature_dim: int, feature_info: dict):
        super().__init__()
        width, cross = config.width, config.attention == "cross"
        self.config, self.vocabulary = config, vocabulary
        self.feature_dim, self.feature_info = feature_dim, feature_info
        self.grid = grid_of(feature_info)
        self.frames = nn.Parameter(torch.zeros(config.frames if config.frames > 1 else 0, feature_dim))  # e_f
        self.W_v, self.image_norm = nn.Linear(feature_dim, width), nn.LayerNorm(width, EPS)
        # Where a region is: of CNNs' maps nothing else tells.
        self.rows, self.columns = (nn.Parameter(torch.empty(self.grid, width)) for _ in range(2))
        self.words = nn.Embedding(len(vocabulary), width, padding_idx=PAD_ID)
        self.positions, self.word_norm = nn.Embedding(config.positions, width), nn.LayerNorm(width, EPS)
        self.blocks = nn.ModuleList(
            Block(width, config.heads, dropout=config.dropout, post_norm=True, eps=EPS, cross=cross)
            for _ in range(config.layers)
        )
        self.bias = nn.Parameter(torch.zeros(len(vocabulary)))
        self.dropout, self.image_dropout = Dropout(config.dropout), Dropout(config.image_dropout)
        self._start()
        self.photos = GivenPhotos()
        self.precision = "auto"  # of `seen`
        self.fingerprint = ""  # set when it is loaded

    def _start(self) -> None:
        """Matrices and embeddings of a normal distribution, biases as PyTorch's."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=SPREAD)
        for extra in (self.rows, self.columns):
            nn.init.normal_(extra, std=SPREAD)
        with torch.no_grad():
            self.words.weight[PAD_ID] = 0.0

    @property
    def device(self) -> torch.device:
        return self.bias.device

    # ---- image tokens, once a photo

    def image_tokens(self, features: Float[Tensor, "n f r d"]) -> Float[Tensor, "n s w"]:
        """LN(W_v (z + e_f) + b_v + row + column) of every region of every frame; without frames e_f = 0.

        Raises InputError for more frames than the model tells apart, and where it reads one photo at a time.
        """
        frames = features.shape[1]
        if frames > max(1, len(self.frames)):
            raise InputError(f"{frames} frames: the model reads {max(1, len(self.frames))} at once")
        z = self.image_dropout(features)
        if len(self.frames):
            z = z + self.frames[:frames, None]
        tokens = self.W_v(z).float()
        if self.grid:
            tokens = tokens + (self.rows[:, None] + self.columns[None]).flatten(0, 1)
        return self.image_norm(tokens).flatten(1, 2)

    def memory(self, tokens: Float[Tensor, "n s w"]) -> Memory:
        """What words look at in every layer."""
        found = []
        for block in self.blocks:
            found.append(block.keys(tokens))
            if self.config.attention == "self" and block is not self.blocks[-1]:
                tokens = block(tokens)
        return found

    # ---- words

    def states(
        self, tokens: Int[Tensor, "n k t"], memory: Memory | None, past: Past | None = None, first: int = 0
    ) -> tuple[Float[Tensor, "n k t w"], list[Longer]]:
        """(The last states of words at positions `first` and on, the keys and values of all words so far).

        Without `memory` they see words alone. `past`: what the call for the words before gave. Raises InputError for
        more positions than there are.
        """
        t = tokens.shape[2]
        if first + t > self.config.positions:
            raise InputError(f"{first + t} tokens: the model has {self.config.positions} positions; give shorter texts")
        places = torch.arange(first, first + t, device=tokens.device)
        h = self.dropout(self.word_norm(self.words(tokens) + self.positions(places)))
        mask = causal_mask(first + t, tokens.device)[first:]
        kept = []
        nothing = [None] * len(self.blocks)
        for block, shared, before in zip(self.blocks, memory or nothing, past or nothing, strict=True):
            h, own = block.beside(h, shared, before, mask)
            kept.append(own)
        return h, kept

    def logits(self, states: Float[Tensor, "*b w"]) -> Float[Tensor, "*b v"]:
        """E x + b, E the matrix of the words."""
        return linear(states, self.words.weight, self.bias).float()

    def log_p(self, memory: Memory | None, texts: Texts) -> Float[Tensor, "n k u"]:
        """log P of each token but the first, given the photo and those before; 0 where it is not predicted."""
        states, _ = self.states(texts.tokens[..., :-1], memory)
        logits = self.logits(states).log_softmax(-1)
        found = logits.gather(3, texts.tokens[..., 1:, None]).squeeze(3)
        return found.masked_fill(~texts.predicted, 0.0)

    def loss(self, memory: Memory | None, texts: Texts, smoothing: float = SMOOTHING) -> tuple[Tensor, Tensor]:
        """(Sum over predicted tokens of `smoothed`, how many there are).

        Texts are read column by column: where each photo's come in the order of length, little is padding.
        """
        states, targets = [], []
        for column in texts.columns():
            found, _ = self.states(column.tokens[..., :-1], memory)
            states.append(found[column.predicted])
            targets.append(column.tokens[..., 1:][column.predicted])
        chosen = torch.cat(targets)
        return smoothed(self.logits(torch.cat(states)), chosen, smoothing), torch.tensor(len(chosen))

    # ---- for users

    @torch.inference_mode()
    def seen(self, images: Images) -> Memory:
        """The memory of photos: files, or features (N, F), (N, R, F), (N, V, R, F), of whose views the first is read.

        Of a model of videos the views are its frames. Raises InputError for features of another CNN, and for unreadable
        photos.
        """
        check_listed(images)
        array = self.photos.features(images, self.feature_dim, self.feature_info, self.device)
        frames = max(1, self.config.frames)
        self.eval()
        parts = []
        with autocast(self.precision, self.device):
            for i in range(0, max(1, len(array)), _PHOTOS):
                block = torch.from_numpy(np.array(array[i : i + _PHOTOS, :frames])).float().to(self.device)
                parts.append(self.memory(self.image_tokens(block)))
        return [tuple(torch.cat(kind) for kind in zip(*layer, strict=True)) for layer in zip(*parts, strict=True)]

    @torch.no_grad()
    def scale_regions(self, features: Float[np.ndarray, "n f r d"]) -> None:
        """On `features`, a sample, W_v z + b_v begins with a mean of 0 and a variance of 1, whatever their size.

        Those of Wang (2022) come out of a norm; beside the bias and the positions of regions small ones are not seen.
        """
        mean, spread = mean_and_spread(self.W_v, features)
        self.W_v.weight /= spread
        self.W_v.bias[:] = -mean / spread

    @torch.no_grad()
    def start_words(self, vectors: Float[np.ndarray, "m d"], ids: list[int], seed: int = 0) -> None:
        """Words begin at vectors of others' making, in those directions in which most of these lies.

        Scaled to the root mean square of the random start; wider words than vectors keep their random numbers there.
        """
        weight = self.words.weight
        rows = torch.from_numpy(np.array(vectors)).float()
        rows = rows - rows.mean(0)
        main = torch.linalg.svd(rows, full_matrices=False).Vh[: weight.shape[1]]
        rows = rows @ main.T
        rows *= SPREAD / rows.square().mean().sqrt()
        weight[torch.tensor(ids), : rows.shape[1]] = rows.to(weight)


def smoothed(logits: Float[Tensor, "m v"], targets: Int[Tensor, " m"], smoothing: float = SMOOTHING) -> Tensor:
    """The sum of KL(target || model), the target 1 - smoothing on the word, smoothing / (V - 1) on every other.

    Cross entropy less the target's own entropy: 0 is the least.
    """
    v = logits.shape[1]
    whole = cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing * v / (v - 1))
    if not smoothing:
        return whole
    share = torch.tensor([1 - smoothing, smoothing / (v - 1)], dtype=torch.float64)
    entropy = -(share * share.log()) @ torch.tensor([1.0, v - 1], dtype=torch.float64)
    return whole - len(targets) * float(entropy)


def texts_of(sentences: list[list[list[int]]], prefixes: list[list[list[int]]] | None, end: int) -> Texts:
    """Texts of photos from ids of words, of each photo some; `prefixes`: ids that are given before them.

    Photos with fewer texts than others get empty ones.
    """
    n, k = len(sentences), max(map(len, sentences))
    prefixes = prefixes or [[[]] * len(own) for own in sentences]
    rows = [
        [[BOS_ID, *p, *s, end] for p, s in zip(ps, own, strict=True)]
        for ps, own in zip(prefixes, sentences, strict=True)
    ]
    tokens = torch.full((n, k, max(len(row) for own in rows for row in own)), PAD_ID)
    lengths, given = torch.zeros(n, k, dtype=torch.long), torch.ones(n, k, dtype=torch.long)
    for i, own in enumerate(rows):
        for j, row in enumerate(own):
            tokens[i, j, : len(row)] = torch.tensor(row)
            lengths[i, j], given[i, j] = len(row), 1 + len(prefixes[i][j])
    return Texts(tokens, lengths, given)
