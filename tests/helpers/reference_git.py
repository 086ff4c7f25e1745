"""transformers' GIT with the weights of ours, image tokens given instead of pixels."""

from types import SimpleNamespace

import oracles
import torch
from torch import nn

from vse.data.vocabulary import BOS_ID, EOS_ID, PAD_ID


class Stub(nn.Module):
    """An image encoder that is given the image tokens."""

    def forward(self, pixels, **_):
        return SimpleNamespace(last_hidden_state=pixels[:, 0].clone())


def git_of_transformers(ours):
    """Of features of 5 regions (2 x 2 patches and a class token), which stand for its image encoder's last states."""
    transformers = oracles.transformers()
    size, frames = ours.config, ours.config.frames
    config = transformers.GitConfig(
        vocab_size=len(ours.vocabulary), hidden_size=size.width, num_hidden_layers=size.layers,
        num_attention_heads=size.heads, intermediate_size=4 * size.width, max_position_embeddings=size.positions,
        pad_token_id=PAD_ID, bos_token_id=BOS_ID, eos_token_id=EOS_ID,
        num_image_with_embedding=frames if frames > 1 else None,
        vision_config={"hidden_size": ours.feature_dim, "intermediate_size": 8, "num_hidden_layers": 1,
                       "num_attention_heads": 1, "image_size": 16, "patch_size": 8},
    )  # fmt: skip
    theirs = transformers.GitForCausalLM(config).eval()
    if frames > 1:
        assert all(not vector.any() for vector in theirs.git.img_temporal_embedding)  # theirs start at 0, too
    with torch.no_grad():
        embeddings, projection = theirs.git.embeddings, theirs.git.visual_projection.visual_projection
        pairs = [
            (embeddings.word_embeddings, ours.words), (embeddings.position_embeddings, ours.positions),
            (embeddings.LayerNorm, ours.word_norm), (projection[0], ours.W_v), (projection[1], ours.image_norm),
        ]  # fmt: skip
        for layer, block in zip(theirs.git.encoder.layer, ours.blocks, strict=True):
            own = layer.attention.self
            for part, weight, bias in zip(
                (own.query, own.key, own.value), block.attention.qkv.weight.chunk(3), block.attention.qkv.bias.chunk(3),
                strict=True,
            ):  # fmt: skip
                part.weight.copy_(weight), part.bias.copy_(bias)
            pairs += [
                (layer.attention.output.dense, block.attention.out), (layer.attention.output.LayerNorm, block.norm_1),
                (layer.intermediate.dense, block.inner), (layer.output.dense, block.outer),
                (layer.output.LayerNorm, block.norm_2),
            ]  # fmt: skip
        for there, here in pairs:
            there.load_state_dict(here.state_dict())
        theirs.output.weight.copy_(ours.words.weight), theirs.output.bias.copy_(ours.bias)
        for vector, own in zip(getattr(theirs.git, "img_temporal_embedding", ()), ours.frames, strict=False):
            vector.copy_(own)
    theirs.git.image_encoder = Stub()
    return theirs
