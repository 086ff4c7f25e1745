"""The towers from pixels: CLIP's own code with the same weights, and what each part is for."""

import oracles
import pytest
import torch
from torch import nn

from vse.configs import PixelConfig
from vse.encoders.pixels import Bottleneck, ModifiedResNet, PixelEncoder, VisionTransformer
from vse.system.errors import InputError


def random_weights(module, seed=0):
    """Also of norms, their running means included."""
    torch.manual_seed(seed)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    for name, buffer in module.named_buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5) if "var" in name else buffer.normal_()
    return module.double().eval()


def copied(ours, theirs, names):
    """`theirs` with the weights of `ours`; both list their tensors in the order of `names` (ours -> theirs)."""
    state, target = ours.state_dict(), theirs.state_dict()
    assert len(names) == len(state) == len(target)
    theirs.load_state_dict({names[name]: value.reshape(target[names[name]].shape) for name, value in state.items()})
    return theirs.double().eval()


def renamed(name, table):
    for a, b in table.items():
        name = name.replace(a, b)
    return name


def test_the_resnet_is_open_clips_with_the_same_weights():
    oracles.open_clip()
    from open_clip.modified_resnet import ModifiedResNet as Theirs

    stages, width, size = (2, 1, 2, 1), 8, 64
    ours = random_weights(ModifiedResNet(stages, width, size, 6, heads=4))
    theirs = Theirs(list(stages), 6, heads=4, image_size=size, width=width)
    names, number = {}, 0
    stem = {"0": "conv1", "1": "bn1", "3": "conv2", "4": "bn2", "6": "conv3", "7": "bn3"}
    blocks = {}
    for stage, count in enumerate(stages, 1):
        for i in range(count):
            blocks[str(number)], number = f"layer{stage}.{i}", number + 1
    inner = {"conv_": "conv", "norm_": "bn", "around.1": "downsample.0", "around.2": "downsample.1"}
    pool = {"pool.positions": "attnpool.positional_embedding", "pool.q": "attnpool.q_proj", "pool.k": "attnpool.k_proj",
            "pool.v": "attnpool.v_proj", "pool.out": "attnpool.c_proj"}  # fmt: skip
    for name in ours.state_dict():
        part, _, rest = name.partition(".")
        which, _, end = rest.partition(".")
        names[name] = (
            f"{stem[which]}.{end}" if part == "stem" else
            f"{blocks[which]}.{renamed(end, inner)}" if part == "blocks" else renamed(name, pool)
        )  # fmt: skip
    pictures = torch.randn(3, 3, size, size, dtype=torch.float64)
    expected = copied(ours, theirs, names)(pictures)
    assert torch.allclose(ours(pictures), expected, atol=1e-10) and expected.std() > 0.01
    ours.train(), theirs.train()
    assert torch.allclose(ours(pictures), theirs(pictures), atol=1e-8)  # batch statistics


@pytest.mark.parametrize("quick", [False, True])
def test_the_vit_is_open_clips_with_the_same_weights(quick):
    clip = oracles.open_clip()
    ours = random_weights(VisionTransformer(2, 8, 16, 48, 6, heads=2, activation="quick_gelu" if quick else "gelu"))
    theirs = clip.transformer.VisionTransformer(
        48, 16, 8, 2, 2, 4.0, output_dim=6, act_layer=clip.transformer.QuickGELU if quick else nn.GELU
    )  # fmt: skip
    table = {"patches": "conv1", "class_token": "class_embedding", "positions": "positional_embedding",
             "norm_before": "ln_pre", "norm_after": "ln_post", "blocks.": "transformer.resblocks.",
             "attention.qkv.": "attn.in_proj_", "attention.out.": "attn.out_proj.", "inner": "mlp.c_fc",
             "outer": "mlp.c_proj", "norm_1": "ln_1", "norm_2": "ln_2"}  # fmt: skip
    names = {name: renamed(name, table) for name in ours.state_dict()} | {"out.weight": "proj"}
    state = ours.state_dict()
    theirs.load_state_dict({names[n]: v.T if n == "out.weight" else v for n, v in state.items()})
    pictures = torch.randn(3, 3, 48, 48, dtype=torch.float64)
    assert torch.allclose(ours(pictures), theirs.double().eval()(pictures), atol=1e-12)


def test_a_stride_leaves_no_pixel_out():
    """Every pixel of the input reaches the output, which a strided 1 x 1 convolution would not give."""
    block = random_weights(Bottleneck(4, 2, stride=2))
    h = torch.randn(1, 4, 8, 8, dtype=torch.float64, requires_grad=True)
    around = block.around(h)
    around.sum().backward()
    assert (h.grad.abs().sum(1) > 0).all() and around.shape == (1, 8, 4, 4)


def test_a_fresh_residual_branch_adds_nothing():
    block = Bottleneck(8, 2).eval()
    block.start()
    h = torch.rand(2, 8, 4, 4)
    assert torch.allclose(block(h), h)


@pytest.mark.parametrize("tower", ["resnet", "vit"])
def test_pictures_become_unit_vectors(tower):
    torch.manual_seed(0)
    encoder = PixelEncoder(PixelConfig(tower=tower, size=64, width=16, layers=2, patch=16), 6)
    encoder.start()
    pixels = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8)
    vectors = encoder(pixels)
    assert vectors.dtype == torch.float32 and torch.allclose(vectors.norm(dim=1), torch.ones(4), atol=1e-6)
    vectors.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: VisionTransformer(1, 8, 7, 48, 6), "patches of 7 pixels: expected a divisor of the side, 48"),
        (lambda: ModifiedResNet((1, 1), 8, 64, 6), "expected four"),
        (lambda: ModifiedResNet((1, 1, 1, 1), 8, 16, 6), "32 pixels or more"),
        (lambda: PixelConfig(size=0), "pixels.size"),
        (lambda: PixelConfig(crop=0.0), "pixels.crop"),
    ],
)
def test_sizes_that_do_not_fit(make, says):
    with pytest.raises(InputError, match=says):
        make()
