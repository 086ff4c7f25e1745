"""The yardstick of `experiments.speed`: the recurrent encoder that one writes in an hour."""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence


class PlainEncoder(nn.Module):
    """The yardstick: what one writes in an hour, a packed fp32 recurrent encoder and its last state."""

    def __init__(self, cell: str, vocabulary_size: int, hidden: int, embed_dim: int, bidirectional: bool):
        super().__init__()
        self.words = nn.Embedding(vocabulary_size, 300, padding_idx=0)
        kind = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
        self.rnn = kind(300, hidden, batch_first=True, bidirectional=bidirectional)
        width = hidden * (1 + bidirectional)
        self.out = nn.Identity() if width == embed_dim else nn.Linear(width, embed_dim)

    def forward(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed = pack_padded_sequence(self.words(tokens), lengths, batch_first=True, enforce_sorted=False)
        last = self.rnn(packed)[1]
        last = last[0] if isinstance(last, tuple) else last
        return nn.functional.normalize(self.out(torch.cat(list(last), 1)), dim=1)
