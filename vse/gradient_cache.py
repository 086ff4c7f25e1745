"""Batches larger than memory: two passes over chunks, the gradient of one big batch (GradCache, Gao 2021).

The first pass encodes without keeping anything; the loss then gives each embedding its gradient, and the second pass
encodes chunk by chunk again, with the same dropout, and carries these on to the weights.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Encode = Callable[[], Tensor]  # the embeddings of one chunk, drawing its dropout as it goes


class ChunkedLoss:
    """A loss over all rows of some views, whose `backward` holds one chunk's graph at a time."""

    def __init__(self, views: Sequence[Sequence[Encode]], score: Callable[..., Tensor]):
        """`views[v]` are the chunks of view v; `score` gets the whole views and gives the loss."""
        self._chunks = [encode for view in views for encode in view]
        states, rows = [], []
        with torch.no_grad():
            for encode in self._chunks:
                states.append(_random_state())
                rows.append(encode())
        self._states = states
        self._leaves = [row.detach().requires_grad_() for row in rows]
        starts = [sum(map(len, views[:v])) for v in range(len(views) + 1)]
        self._value = score(*(torch.cat(self._leaves[a:b]) for a, b in zip(starts, starts[1:], strict=False)))

    def detach(self) -> Tensor:
        """Its value."""
        return self._value.detach()

    def backward(self) -> None:
        """Adds the gradient of the loss to every parameter's, the objective's included."""
        self._value.backward()
        after = _random_state()
        for encode, leaf, state in zip(self._chunks, self._leaves, self._states, strict=True):
            _set_random_state(state)
            encode().backward(leaf.grad)
        _set_random_state(after)

    def __add__(self, other: "ChunkedLoss") -> "SummedLoss":
        return SummedLoss((self, other))


class SummedLoss:
    """The sum of losses that are carried back one after the other."""

    def __init__(self, parts: Sequence[ChunkedLoss]):
        self._parts = parts

    def detach(self) -> Tensor:
        """Its value."""
        return torch.stack([part.detach() for part in self._parts]).sum()

    def backward(self) -> None:
        """Adds the gradient of the sum to every parameter's."""
        for part in self._parts:
            part.backward()


def _random_state() -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state() if torch.cuda.is_available() else None


def _set_random_state(state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1])
