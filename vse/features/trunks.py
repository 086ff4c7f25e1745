"""What a frozen CNN gives: `map(x)` is its last feature map, `vector(x)` its top feature. Loads no weights.

Axes: b crops, s input size, c channels, h w the map's own sides.
"""

from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle

from vse.features.clip_models import last_map


class Trunk(nn.Module):
    """Convolutions whose averaged last map is the feature. `trunk`: pixels (b, 3, s, s) -> map (b, c, h, w)."""

    def __init__(self, trunk: nn.Module):
        super().__init__()
        self.trunk = trunk

    def map(self, x: Tensor) -> Tensor:
        """(b, c, h, w), of pixels (b, 3, s, s)."""
        return self.trunk(x)

    def vector(self, x: Tensor) -> Tensor:
        """(b, d), of pixels (b, 3, s, s)."""
        return self.map(x).mean((2, 3))


class Lite(Trunk):
    """An EfficientNet-Lite."""

    def map(self, x: Tensor) -> Tensor:
        return self.trunk.extract_features(x)


class FC7(Trunk):
    """The second fully connected layer after its ReLU: the paper's 4096-d feature."""

    map = None

    def vector(self, x: Tensor) -> Tensor:
        return self.trunk(x)


class Timm(Trunk):
    """Any timm model: its own pooling for the vector; its map may come channels last or as tokens."""

    def map(self, x: Tensor) -> Tensor:
        y = self.trunk.forward_features(x)
        if y.ndim == 3:  # (b, tokens, d), class and register tokens first
            y = y[:, getattr(self.trunk, "num_prefix_tokens", 0) :]
            side = round(y.shape[1] ** 0.5)
            return y.transpose(1, 2).reshape(-1, y.shape[2], side, side)
        return y.permute(0, 3, 1, 2) if getattr(self.trunk, "output_fmt", "NCHW") == "NHWC" else y

    def vector(self, x: Tensor) -> Tensor:
        return self.trunk(x)


class OpenCLIP(Trunk):
    """The image tower of a model of open_clip: its point of the joint space for the vector, not scaled to unit norm."""

    def map(self, x: Tensor) -> Tensor:
        return last_map(self.trunk, x)

    def vector(self, x: Tensor) -> Tensor:
        return self.trunk(x)


class Patches(Trunk):
    """The pixels in squares, where no CNN shall look first: ViLT's input (Kim 2021, section 3.1).

    What is learned from them learns their matrix with it. Colors of small things, which the last maps of CNNs hardly
    hold, are in them as they are.
    """

    pixels, side = 8, 8  # of a patch; patches of a photo
    size, dim = pixels * side, 3 * pixels**2

    def __init__(self):
        super().__init__(nn.Identity())

    def map(self, x: Tensor) -> Tensor:
        return pixel_unshuffle(x, self.pixels)
