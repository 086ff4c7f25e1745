"""The sentence half of the space: `RecurrentEncoder` (section 2.1), `ConvEncoder`, `BagOfWordsEncoder`,
`TransformerEncoder` (CLIP, Radford 2021).

Everything here ends in unit vectors and reads padded token ids; nothing here reads a file.
Shapes: b batch, t words, w word_dim, h hidden, d embed_dim.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from vse.configs import TextConfig
from vse.data.vocabulary import BOS_ID, EOS_ID, PAD_ID, UNK_ID
from vse.encoders.dropout import Dropout
from vse.encoders.transformer import EPS, Block, causal_mask, default_heads

Tokens = Int[Tensor, "b t"]
Lengths = Int[Tensor, " b"]
Unit = Float[Tensor, "b d"]


class _Words(nn.Module):
    """Token ids -> word vectors, with the two kinds of dropout."""

    def __init__(self, config: TextConfig, vocabulary_size: int):
        super().__init__()
        self.vectors = nn.Embedding(vocabulary_size, config.word_dim, padding_idx=PAD_ID)
        self.vectors.weight.requires_grad_(config.tune_words)
        self.dropout, self.word_dropout = Dropout(config.dropout), config.word_dropout

    def forward(self, tokens: Tokens) -> Float[Tensor, "b t w"]:
        if self.training and self.word_dropout:
            lost = torch.rand(tokens.shape, device=tokens.device) < self.word_dropout
            tokens = tokens.masked_fill(lost & (tokens > EOS_ID), UNK_ID)  # the special ones stay
        return self.dropout(self.vectors(tokens))


class PeepholeLSTM(nn.Module):
    """The paper's cell: I and F see C_{t-1}, O sees C_t (diagonal peepholes, Graves 2013).

    Its weights have the names and the order (i, f, g, o) of `torch.nn.LSTM`, which it equals at zero peepholes.
    """

    def __init__(self, word_dim: int, hidden: int):
        super().__init__()
        self.weight_ih_l0 = nn.Parameter(torch.empty(4 * hidden, word_dim))
        self.weight_hh_l0 = nn.Parameter(torch.empty(4 * hidden, hidden))
        self.bias_ih_l0 = nn.Parameter(torch.zeros(4 * hidden))
        self.bias_hh_l0 = nn.Parameter(torch.zeros(4 * hidden))
        self.peep_i, self.peep_f, self.peep_o = (nn.Parameter(torch.zeros(hidden)) for _ in range(3))
        for weight in (self.weight_ih_l0, self.weight_hh_l0):
            nn.init.uniform_(weight, -(hidden**-0.5), hidden**-0.5)

    def forward(self, words: Float[Tensor, "b t w"]) -> tuple[Float[Tensor, "b t h"], None]:
        M = C = words.new_zeros(len(words), len(self.peep_i))
        from_words = nn.functional.linear(words, self.weight_ih_l0, self.bias_ih_l0 + self.bias_hh_l0)
        states = []
        for x_t in from_words.unbind(1):
            i, f, g, o = (x_t + nn.functional.linear(M, self.weight_hh_l0)).chunk(4, dim=1)
            i, f = torch.sigmoid(i + self.peep_i * C), torch.sigmoid(f + self.peep_f * C)
            C = f * C + i * torch.tanh(g)
            M = torch.sigmoid(o + self.peep_o * C) * torch.tanh(C)
            states.append(M)
        return torch.stack(states, 1), None


class _PooledOverTime(nn.Module):
    """What encoders that make a state for every word have in common: reading in groups, pooling, projection.

    Sentences stay padded: packing is the slow way on a CPU. Reading a batch in groups of like length saves most of
    what padding costs.
    """

    given_rms: float | None = None  # root mean square of word vectors that are given; None: that of the random start

    def __init__(self, config: TextConfig, vocabulary_size: int, width: int, embed_dim: int):
        super().__init__()
        self.words = _Words(config, vocabulary_size)
        self.pooling, self.groups = config.pooling, config.length_groups
        self.dropout = Dropout(config.dropout)
        self.out = nn.Identity() if width == embed_dim else nn.Linear(width, embed_dim)

    def forward(self, tokens: Tokens, lengths: Lengths) -> Unit:
        if self.groups == 1:
            pooled = self._read(tokens, lengths)
        else:
            order = lengths.argsort()
            rows = order.chunk(self.groups)
            parts = [self._read(tokens[r, : int(lengths[r[-1]])], lengths[r]) for r in rows]
            pooled = torch.cat(parts)[order.argsort()]
        return normalize(self.out(self.dropout(pooled)).float(), dim=1)

    def start(self) -> None:
        """What differs from the general initialisation: nothing."""

    def _read(self, tokens: Tokens, lengths: Lengths) -> Float[Tensor, "b h"]:
        raise NotImplementedError

    def _pool(self, states: Float[Tensor, "b t h"], inside: Tensor, lengths: Lengths) -> Float[Tensor, "b h"]:
        if self.pooling == "last":
            last = (lengths - 1)[:, None, None].expand(-1, 1, states.shape[2])
            return states.gather(1, last).squeeze(1)
        if self.pooling == "max":
            return states.masked_fill(~inside[:, :, None], -torch.inf).amax(1)
        return (states * inside[:, :, None]).sum(1) / lengths[:, None]


def _inside(tokens: Tokens, lengths: Lengths) -> tuple[Tensor, Tensor]:
    """(word positions (1, t), bool (b, t): true on the words of a sentence, false behind its end)."""
    time = torch.arange(tokens.shape[1], device=tokens.device)[None, :]
    return time, time < lengths[:, None]


class RecurrentEncoder(_PooledOverTime):
    """v = M_T / |M_T|, the state after the last word (section 2.1), or the states pooled over time.

    What lies behind a sentence's end cannot reach a state before it, and the reader from the right gets each
    sentence turned around within its own length.
    """

    def __init__(self, config: TextConfig, vocabulary_size: int, embed_dim: int):
        readers = 2 if config.bidirectional else 1
        super().__init__(config, vocabulary_size, config.hidden * readers, embed_dim)
        cell = {"peephole": PeepholeLSTM, "lstm": _lstm, "gru": _gru}[config.encoder]
        self.readers = nn.ModuleList(cell(config.word_dim, config.hidden) for _ in range(readers))
        self.forget_bias = config.forget_bias

    def start(self) -> None:
        """What the forget gates begin at, after the general initialisation (the gates are i, f, g, o)."""
        for reader in self.readers:
            if not isinstance(reader, nn.GRU):
                forget = slice(reader.bias_ih_l0.numel() // 4, reader.bias_ih_l0.numel() // 2)
                with torch.no_grad():
                    reader.bias_ih_l0[forget], reader.bias_hh_l0[forget] = self.forget_bias, 0.0

    def _read(self, tokens: Tokens, lengths: Lengths) -> Float[Tensor, "b h"]:
        """The pooled states of all readers side by side."""
        words = self.words(tokens)
        time, inside = _inside(tokens, lengths)
        pooled = []
        for reader, turned in zip(self.readers, (False, True), strict=False):
            read = words
            if turned:
                mirror = torch.where(inside, lengths[:, None] - 1 - time, time)
                read = words.gather(1, mirror[:, :, None].expand_as(words))
            pooled.append(self._pool(reader(read)[0], inside, lengths))
        return torch.cat(pooled, 1)


class ConvEncoder(_PooledOverTime):
    """Every window of one, two and three words, seen through `hidden` filters each and pooled over time (Kim 2014).

    No recurrence: a batch is three matrix products, several times faster to train than a recurrent encoder.
    """

    WIDTHS = (1, 2, 3)

    def __init__(self, config: TextConfig, vocabulary_size: int, embed_dim: int):
        super().__init__(config, vocabulary_size, config.hidden * len(self.WIDTHS), embed_dim)
        self.filters = nn.ModuleList(nn.Linear(n * config.word_dim, config.hidden) for n in self.WIDTHS)

    def _read(self, tokens: Tokens, lengths: Lengths) -> Float[Tensor, "b h"]:
        inside = _inside(tokens, lengths)[1]
        tokens = nn.functional.pad(tokens.masked_fill(~inside, PAD_ID), (0, max(self.WIDTHS) - 1), value=PAD_ID)
        states = self._seen(tokens) if self.training else self._seen_once(tokens)  # a window may run over the end
        return torch.cat([self._pool(nn.functional.gelu(seen), inside, lengths) for seen in states], 1)

    def _seen(self, tokens: Tensor) -> Iterator[Tensor]:
        """For each width the filters on the windows that start at each word, (b, t, h)."""
        words, starts = self.words(tokens), tokens.shape[1] - max(self.WIDTHS) + 1
        for n, filters in zip(self.WIDTHS, self.filters, strict=True):
            yield filters(torch.cat([words[:, i : i + starts] for i in range(n)], 2))

    def _seen_once(self, tokens: Tensor) -> Iterator[Tensor]:
        """The same without dropout: a word at a place of a window always adds the same, so it is seen once a batch."""
        distinct, place = tokens.unique(return_inverse=True)
        words, starts = self.words(distinct[None])[0], tokens.shape[1] - max(self.WIDTHS) + 1
        for n, filters in zip(self.WIDTHS, self.filters, strict=True):
            first, *others = (nn.functional.linear(words, kernel) for kernel in filters.weight.chunk(n, 1))
            seen = (first + filters.bias.to(first.dtype))[place[:, :starts]]
            for i, part in enumerate(others, 1):
                seen += part[place[:, i : i + starts]]
            yield seen


def _lstm(word_dim: int, hidden: int) -> nn.LSTM:
    return nn.LSTM(word_dim, hidden, batch_first=True)


def _gru(word_dim: int, hidden: int) -> nn.GRU:
    return nn.GRU(word_dim, hidden, batch_first=True)


class TransformerEncoder(_PooledOverTime):
    """CLIP's text tower: v = W_t LN(h_[EOS]) / |.|, h the last of the causal pre-norm blocks over [SOS] words [EOS].

    Paper: 77 positions are computed. Here only those up to the longest caption: what comes after a position does not
    reach it, so the numbers are the same; nor is the last block computed but at [EOS], which alone is read. Longer
    captions keep their first words and the [EOS]. Not CLIP's: the states pooled over time, as the sisters'.
    """

    # Adam moves every weight by about the learning rate a step: at CLIP's start, 0.02, word2vec would be forgotten
    # within an epoch.
    given_rms = 1.0

    def __init__(self, config: TextConfig, vocabulary_size: int, embed_dim: int):
        width = config.hidden
        super().__init__(config, vocabulary_size, width, embed_dim)
        self.project = nn.Identity() if config.word_dim == width else nn.Linear(config.word_dim, width, bias=False)
        self.positions = nn.Parameter(torch.empty(config.positions, width))
        heads = config.heads or default_heads(width)
        self.blocks = nn.ModuleList(
            Block(width, heads, config.activation, config.block_dropout) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width, EPS)
        self.out = nn.Linear(width, embed_dim, bias=False)

    def start(self) -> None:
        """CLIP's random start, after the general initialisation."""
        nn.init.normal_(self.words.vectors.weight, std=0.02)
        nn.init.normal_(self.positions, std=0.01)
        nn.init.normal_(self.out.weight, std=self.out.in_features**-0.5)
        if isinstance(self.project, nn.Linear):
            nn.init.normal_(self.project.weight, std=self.project.in_features**-0.5)
        for block in self.blocks:
            block.start(len(self.blocks))

    def _read(self, tokens: Tokens, lengths: Lengths) -> Float[Tensor, "b h"]:
        words = min(tokens.shape[1], len(self.positions) - 2)
        ends = lengths.clamp(max=words)[:, None] + 1
        tokens = nn.functional.pad(tokens[:, :words], (1, 1), value=PAD_ID)
        tokens[:, 0] = BOS_ID
        tokens = tokens.scatter(1, ends, EOS_ID)
        words = self.words(tokens)
        if self.training and self.words.dropout.p:  # the [EOS] asks for the words: its question is not to be noise
            special = (tokens == BOS_ID) | (tokens == EOS_ID)
            words = torch.where(special[:, :, None], self.words.vectors(tokens), words)
        h = self.project(words) + self.positions[: tokens.shape[1]]
        mask = causal_mask(tokens.shape[1], tokens.device)
        for block in self.blocks[:-1]:
            h = block(h, mask)
        if self.pooling == "last":
            return self.norm(self.blocks[-1].at(h, ends.squeeze(1)).squeeze(1))
        inside = torch.arange(tokens.shape[1], device=tokens.device) <= ends
        return self._pool(self.norm(self.blocks[-1](h, mask)), inside, ends.squeeze(1) + 1)


class BagOfWordsEncoder(nn.Module):
    """v = sum of word vectors, scaled to unit norm: the linear model of section 4 and the DeViSE-like row.

    No bias and no nonlinearity, so that word vectors add up in the joint space.
    """

    given_rms = None

    def __init__(self, config: TextConfig, vocabulary_size: int, embed_dim: int):
        super().__init__()
        self.words = _Words(config, vocabulary_size)
        same = config.word_dim == embed_dim
        self.out = nn.Identity() if same else nn.Linear(config.word_dim, embed_dim, bias=False)

    def start(self) -> None:
        """What differs from the general initialisation: nothing."""

    def forward(self, tokens: Tokens, lengths: Lengths) -> Unit:
        return normalize(self.out(self.words(tokens).sum(1)).float(), dim=1)  # <pad> is the zero vector


def make_text_encoder(config: TextConfig, vocabulary_size: int, embed_dim: int) -> nn.Module:
    """The text encoder that `config` names."""
    kinds = {"bow": BagOfWordsEncoder, "conv": ConvEncoder, "transformer": TransformerEncoder}
    kind = kinds.get(config.encoder, RecurrentEncoder)
    return kind(config, vocabulary_size, embed_dim)
