"""A CNN cut after one of its blocks: what lies below is frozen, run once and kept; what lies above can be trained.

"efficientnet-lite2@19" is the CNN efficientnet-lite2 cut after block 19. Its feature is the whole map there, flattened.
Shapes: b crops, s input size, c h w the map at the cut, d channels of the CNN's last map, n numbers of the flat map.
"""

import importlib
import math
import re

from jaxtyping import Float
from torch import Tensor, nn

from vse.system.errors import InputError

MARK = "@"
_NAMED = re.compile(r"(efficientnet-lite\d)@(\d{1,3})")


def cut_of(encoder: str) -> tuple[str, int]:
    """(CNN, block) of a name with a cut. Raises InputError for another one."""
    match = _NAMED.fullmatch(encoder)
    if not match:
        raise InputError(f"encoder {encoder!r}: expected a CNN that can be cut and a block, as efficientnet-lite2@19")
    return match[1], int(match[2])


class Below(nn.Module):
    """Pixels to the flattened map at the cut."""

    map = None  # a feature of regions it is not

    def __init__(self, network: nn.Module, block: int):
        """Raises InputError for a block that the network has not, or whose map has another size than the last."""
        super().__init__()
        check_block(network, block)
        self.stem, self.norm, self.activation = network._conv_stem, network._bn0, network._swish
        self.blocks = network._blocks[: block + 1]

    def vector(self, x: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b n"]:
        x = self.activation(self.norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return x.flatten(1)


class Above(nn.Module):
    """The map at the cut to the CNN's last map; its batch norms keep the statistics they came with."""

    def __init__(self, network: nn.Module, block: int):
        super().__init__()
        check_block(network, block)
        self.blocks = network._blocks[block + 1 :]
        self.head, self.norm, self.activation = network._conv_head, network._bn1, network._swish
        self.channels = self.blocks[0]._block_args.input_filters if len(self.blocks) else self.head.in_channels

    def maps(self, flat: Float[Tensor, "b n"]) -> Float[Tensor, "b c h w"]:
        """The maps at the cut, which are flat on disk."""
        side = math.isqrt(flat.shape[1] // self.channels)
        return flat.unflatten(1, (self.channels, side, side))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Of maps at the cut, or of a part of them, the CNN's last map."""
        for block in self.blocks:
            x = block(x)
        return self.activation(self.norm(self.head(x)))

    def train(self, mode: bool = True) -> "Above":
        """As of every module, but for the batch norms: small batches of few photos would spoil their statistics."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


def make_above(encoder: str) -> Above:
    """The upper part of a cut CNN with random weights."""
    name, block = cut_of(encoder)
    try:
        network = importlib.import_module("efficientnet_lite_pytorch").EfficientNet.from_name(name)
    except ImportError:
        raise InputError(f"{name}: the package efficientnet-lite-pytorch is not installed, install it") from None
    return Above(network, block)


def check_block(network: nn.Module, block: int) -> None:
    """Nothing, for a block behind the last stride. Raises InputError with those that may be."""
    strides = [b._block_args.stride for b in network._blocks]
    first = max(i for i, stride in enumerate(strides) if stride not in (1, [1]))
    if not first <= block < len(strides):
        raise InputError(f"a cut after block {block}: expected {first} to {len(strides) - 1}, behind the last stride")
