"""The image half from pixels (CLIP, Radford 2021): `ModifiedResNet` and `VisionTransformer`, and `PixelEncoder`.

Nothing here reads a file. Shapes: b batch, s side in pixels, r regions or patches, w width, d embed_dim.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import normalize, relu

from vse.configs import PixelConfig
from vse.encoders.transformer import EPS, AttentionPool, Block, default_heads
from vse.system.errors import InputError

Pictures = Float[Tensor, "b 3 s s"]
Unit = Float[Tensor, "b d"]
_EXPANSION = 4  # a bottleneck's output has so many times its inner channels
_DOWN = 32  # pixels of a side become one of the last map


class Bottleneck(nn.Module):
    """h + F(h), F of a 1 x 1, a 3 x 3 and a 1 x 1 convolution; a stride is an average pooling before a convolution.

    So nothing is left out between two strides (anti-aliased, Zhang 2019), on the way around as well.
    """

    def __init__(self, channels: int, inner: int, stride: int = 1):
        super().__init__()
        out = inner * _EXPANSION
        self.conv_1, self.norm_1 = nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv_2, self.norm_2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner)
        self.conv_3, self.norm_3 = nn.Conv2d(inner, out, 1, bias=False), nn.BatchNorm2d(out)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.around = nn.Identity()
        if stride > 1 or channels != out:
            self.around = nn.Sequential(self.pool, nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out))

    def forward(self, h: Float[Tensor, "b c s s"]) -> Float[Tensor, "b o t t"]:
        inner = relu(self.norm_1(self.conv_1(h)))
        inner = self.pool(relu(self.norm_2(self.conv_2(inner))))
        return relu(self.norm_3(self.conv_3(inner)) + self.around(h))

    def start(self) -> None:
        """The residual branch begins at zero."""
        nn.init.zeros_(self.norm_3.weight)


class ModifiedResNet(nn.Module):
    """CLIP's ResNet: a stem of three convolutions and an average pooling, bottlenecks, attention pooling."""

    def __init__(self, stages: tuple[int, ...], width: int, size: int, out_dim: int, heads: int = 0):
        """`stages`: blocks of each of the four. Raises InputError for another number, and for a side below 32."""
        super().__init__()
        if len(stages) != 4 or size < _DOWN:
            raise InputError(f"stages {stages} of pictures of {size} pixels: expected four, of {_DOWN} pixels or more")
        half = width // 2
        sizes = ((3, half, 2), (half, half, 1), (half, width, 1))
        self.stem = nn.Sequential(*(
            part for a, b, stride in sizes
            for part in (nn.Conv2d(a, b, 3, stride, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True))
        ), nn.AvgPool2d(2))  # fmt: skip
        channels, blocks = width, []
        for stage, count in enumerate(stages):
            for i in range(count):
                blocks.append(Bottleneck(channels, width * 2**stage, 2 if stage and not i else 1))
                channels = width * 2**stage * _EXPANSION
        self.blocks = nn.Sequential(*blocks)
        self.pool = AttentionPool(channels, heads or default_heads(channels), (size // _DOWN) ** 2, out_dim)

    def forward(self, pictures: Pictures) -> Float[Tensor, "b d"]:
        maps = self.blocks(self.stem(pictures))
        return self.pool(maps.flatten(2).transpose(1, 2))

    def start(self) -> None:
        """CLIP's random start; convolutions and norms have PyTorch's own."""
        self.pool.start()
        for block in self.blocks:
            block.start()


class VisionTransformer(nn.Module):
    """CLIP's ViT: [class] and patches with positions, a norm before the blocks, the norm of [class], a projection."""

    def __init__(
        self, layers: int, width: int, patch: int, size: int, out_dim: int, heads: int = 0, activation: str = "gelu"
    ):
        """Raises InputError for a side that the patches do not divide."""
        super().__init__()
        if size % patch:
            raise InputError(f"patches of {patch} pixels: expected a divisor of the side, {size}")
        self.patches = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_token = nn.Parameter(torch.empty(width))
        self.positions = nn.Parameter(torch.empty((size // patch) ** 2 + 1, width))
        self.norm_before, self.norm_after = nn.LayerNorm(width, EPS), nn.LayerNorm(width, EPS)
        self.blocks = nn.ModuleList(Block(width, heads or default_heads(width), activation) for _ in range(layers))
        self.out = nn.Linear(width, out_dim, bias=False)
        self.start()

    def start(self) -> None:
        """CLIP's random start: width^-1/2 for class token, positions and projection; the blocks have PyTorch's own."""
        for weight in (self.class_token, self.positions, self.out.weight):
            nn.init.normal_(weight, std=self.patches.out_channels**-0.5)

    def forward(self, pictures: Pictures) -> Float[Tensor, "b d"]:
        patches = self.patches(pictures).flatten(2).transpose(1, 2)
        h = torch.cat([self.class_token.expand(len(patches), 1, -1), patches], 1) + self.positions
        h = self.norm_before(h)
        for block in self.blocks:
            h = block(h)
        return self.out(self.norm_after(h[:, 0]))


class PixelEncoder(nn.Module):
    """x = T(pixels), scaled to unit norm, T one of the towers; pixels are bytes, taken to [-1, 1]."""

    def __init__(self, config: PixelConfig, embed_dim: int):
        super().__init__()
        self.size = config.size
        if config.tower == "resnet":
            self.tower = ModifiedResNet(config.stages, config.width, config.size, embed_dim)
        else:
            self.tower = VisionTransformer(config.layers, config.width, config.patch, config.size, embed_dim)

    def start(self) -> None:
        """CLIP's random start, after the general initialisation."""
        self.tower.start()

    def forward(self, pixels: UInt8[Tensor, "b s s 3"]) -> Unit:
        pictures = pixels.permute(0, 3, 1, 2).to(next(self.parameters()).dtype) / 127.5 - 1
        return normalize(self.tower(pictures).float(), dim=1)
