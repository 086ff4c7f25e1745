"""The transformer: float64 loops, what the mask hides, CLIP's own code with the same weights."""

import copy

import numpy as np
import oracles
import pytest
import reference
import torch
from torch import nn

from vse.data.vocabulary import BOS_ID, EOS_ID, PAD_ID
from vse.encoders.image import AttentionPoolEncoder, ImageConfig, ImageEncoder
from vse.encoders.text import TextConfig, make_text_encoder
from vse.encoders.transformer import AttentionPool, Block, causal_mask, default_heads
from vse.system.errors import InputError

WORDS, WIDTH, DIM = 30, 8, 6


def tower(seed=0, **settings):
    torch.manual_seed(seed)
    config = TextConfig(
        **({"encoder": "transformer", "word_dim": WIDTH, "hidden": WIDTH, "layers": 2, "heads": 2} | settings)
    )
    encoder = make_text_encoder(config, WORDS, DIM)
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.5)  # norms and biases too
    return encoder.double().eval()


def sentences(lengths=(3, 7, 1, 5), seed=0):
    tokens = torch.randint(4, WORDS, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(seed))
    for row, length in enumerate(lengths):
        tokens[row, length:] = PAD_ID
    return tokens, torch.tensor(lengths)


def weights(module):
    return {name: value.detach().numpy() for name, value in module.state_dict().items()}


def in_double(module, *inputs):
    """The embeddings before they are rounded to float32."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "float", lambda self: self)
        return module(*inputs).detach().numpy()


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
@pytest.mark.parametrize("word_dim", [WIDTH, 5])
def test_the_text_tower_is_its_loop(activation, word_dim):
    encoder, (tokens, lengths) = tower(activation=activation, word_dim=word_dim), sentences()
    expected = [
        reference.text_tower(row[:n].tolist(), weights(encoder), 2, 2, activation == "quick_gelu")
        for row, n in zip(tokens, lengths, strict=True)
    ]
    assert in_double(encoder, tokens, lengths) == pytest.approx(np.array(expected), abs=1e-12)


@pytest.mark.parametrize("post_norm", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_a_block_is_its_loop_and_pytorchs_layer(post_norm, masked):
    torch.manual_seed(0)
    block, h = Block(WIDTH, 4, post_norm=post_norm).double().eval(), torch.randn(3, 5, WIDTH, dtype=torch.float64)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    mask = causal_mask(5) if masked else None
    ours = block(h, mask).detach()
    for states, expected in zip(h, ours, strict=True):
        loop = reference.transformer_block(
            states.numpy(), weights(block), 4, lambda i: range(i + 1) if masked else range(5), post_norm=post_norm
        )
        assert expected.numpy() == pytest.approx(loop, abs=1e-12)
    layer = nn.TransformerEncoderLayer(
        WIDTH, 4, 4 * WIDTH, 0.0, "gelu", norm_first=not post_norm, batch_first=True, dtype=torch.float64
    ).train()  # evaluation mode takes another kernel
    pairs = {"self_attn.in_proj_": "attention.qkv.", "self_attn.out_proj.": "attention.out.", "linear1.": "inner.",
             "linear2.": "outer.", "norm1.": "norm_1.", "norm2.": "norm_2."}  # fmt: skip
    state = block.state_dict()
    layer.load_state_dict({f"{a}{end}": state[f"{b}{end}"] for a, b in pairs.items() for end in ("weight", "bias")})
    assert torch.allclose(layer(h, src_mask=None if mask is None else ~mask), ours, atol=1e-12)


@pytest.mark.parametrize("post_norm", [False, True])
def test_one_position_of_a_block_is_that_of_the_whole(post_norm):
    torch.manual_seed(0)
    block, h = Block(WIDTH, 4, post_norm=post_norm).double().eval(), torch.randn(4, 6, WIDTH, dtype=torch.float64)
    rows, positions = torch.arange(4), torch.tensor([5, 0, 2, 3])
    whole = block(h, causal_mask(6))[rows, positions]
    assert torch.allclose(block.at(h, positions).squeeze(1), whole, atol=1e-12)
    there = torch.arange(6) < torch.tensor([6, 3, 4, 5])[:, None]
    whole = block(h, there[:, None])[rows, positions]
    assert torch.allclose(block.at(h, positions, there[:, None]).squeeze(1), whole, atol=1e-12)


@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_pooled_states_are_those_of_the_caption_with_its_start_and_end(pooling):
    encoder, (tokens, lengths) = tower(pooling=pooling), sentences()
    states = []
    hook = encoder.norm.register_forward_hook(lambda module, inputs, output: states.append(output))
    vectors = encoder(tokens, lengths)
    hook.remove()
    for row, length in enumerate(lengths):
        inside = states[0][row, : length + 2]
        pooled = inside.amax(0) if pooling == "max" else inside.mean(0)
        expected = nn.functional.normalize(encoder.out(pooled).float(), dim=0)
        assert torch.allclose(vectors[row], expected, atol=1e-6)


def test_a_mask_of_its_own_for_each_row_of_a_batch():
    torch.manual_seed(0)
    block, h = Block(WIDTH, 2).eval(), torch.randn(2, 4, WIDTH)
    masks = torch.stack([causal_mask(4), torch.ones(4, 4, dtype=torch.bool)])
    both = block(h, masks)
    for row in range(2):
        assert torch.allclose(both[row], block(h[row : row + 1], masks[row])[0], atol=1e-6)


def test_what_follows_a_caption_changes_nothing():
    encoder, (tokens, lengths) = tower(), sentences()
    vectors = encoder(tokens, lengths)
    longer = nn.functional.pad(tokens, (0, 3), value=PAD_ID)
    for row, length in enumerate(lengths):
        longer[row, length:] = 7  # words behind the end
    assert torch.equal(encoder(longer, lengths), vectors)
    for row, length in enumerate(lengths):
        assert torch.allclose(
            encoder(tokens[row : row + 1, :length], lengths[row : row + 1])[0], vectors[row], atol=1e-7
        )


def test_a_later_word_changes_no_earlier_state():
    encoder, h = tower(), torch.randn(1, 6, WIDTH, dtype=torch.float64)
    changed = h.clone()
    changed[:, 4] += 1
    mask = causal_mask(6)
    for block in encoder.blocks:
        h, changed = block(h, mask), block(changed, mask)
    assert torch.equal(h[:, :4], changed[:, :4]) and not torch.allclose(h[:, 4:], changed[:, 4:])


def test_reading_in_groups_of_like_length_is_the_same():
    encoder, grouped = tower(), tower(length_groups=3)
    assert torch.allclose(encoder(*sentences()), grouped(*sentences()), atol=1e-6)


def test_a_caption_longer_than_the_positions_keeps_its_first_words_and_the_end():
    encoder, (tokens, lengths) = tower(positions=6), sentences((9, 4, 5))
    vectors = encoder(tokens, lengths)
    assert torch.equal(vectors[:1], encoder(tokens[:1, :4], torch.tensor([4])))
    assert torch.equal(vectors[1:2], encoder(tokens[1:2, :4], torch.tensor([4])))


def test_word_dropout_leaves_the_special_tokens():
    encoder = tower(word_dropout=0.999).train()
    seen = []
    encoder.words.vectors.register_forward_hook(lambda module, inputs, out: seen.append(inputs[0]))
    encoder(*sentences())
    assert (seen[0][:, 0] == BOS_ID).all() and ((seen[0] == EOS_ID).sum(1) == 1).all()


def test_dropout_leaves_the_question_of_the_end_as_it_is():
    """Without words to read, the states are those of [SOS] and [EOS] alone, which dropout does not reach."""
    encoder = tower(dropout=0.5).train()
    encoder.dropout.p = 0.0  # of the pooled state
    tokens, none = torch.full((4, 1), PAD_ID), torch.zeros(4, dtype=torch.long)
    assert in_double(encoder, tokens, none) == pytest.approx(in_double(encoder.eval(), tokens, none), abs=1e-12)
    tokens, lengths = sentences()
    assert not np.allclose(in_double(encoder.train(), tokens, lengths), in_double(encoder.eval(), tokens, lengths))


def test_the_random_start_is_clips():
    """The deviations of open_clip's `init_parameters`, of a tower large enough to measure them."""
    clip = oracles.open_clip()
    config = TextConfig(encoder="transformer", word_dim=256, hidden=256, layers=3, heads=4)
    ours = make_text_encoder(config, 2000, 128)
    ours.start()
    theirs = clip.transformer.TextTransformer(77, 2000, 256, 4, 3, output_dim=128).state_dict()
    for name, value in with_open_clips_names(ours).items():
        wanted, mean = float(theirs[name].std()), float(theirs[name].mean())
        few = 4 * wanted / theirs[name].numel() ** 0.5
        assert float(value.std()) == pytest.approx(wanted, rel=0.2 if "bias" in name else 0.05, abs=1e-9), name
        assert float(value.mean()) == pytest.approx(mean, abs=2 * few + 1e-9), name


def with_open_clips_names(encoder, prefix=""):
    """Our text tower's weights under the names of open_clip's."""
    state, out = encoder.state_dict(), {}
    out |= {"token_embedding.weight": state["words.vectors.weight"], "positional_embedding": state["positions"]}
    out |= {"ln_final.weight": state["norm.weight"], "ln_final.bias": state["norm.bias"]}
    out["text_projection"] = state["out.weight"].T
    pairs = {"attn.in_proj_": "attention.qkv.", "attn.out_proj.": "attention.out.", "mlp.c_fc.": "inner.",
             "mlp.c_proj.": "outer.", "ln_1.": "norm_1.", "ln_2.": "norm_2."}  # fmt: skip
    for layer in range(len(encoder.blocks)):
        for theirs, ours in pairs.items():
            for end in ("weight", "bias"):
                out[f"transformer.resblocks.{layer}.{theirs}{end}"] = state[f"blocks.{layer}.{ours}{end}"]
    return {prefix + name: value for name, value in out.items()}


@pytest.mark.parametrize("quick", [False, True])
def test_the_text_tower_is_open_clips_with_the_same_weights(quick):
    clip = oracles.open_clip()
    ours = tower(activation="quick_gelu" if quick else "gelu")
    activation = clip.transformer.QuickGELU if quick else nn.GELU
    theirs = clip.transformer.TextTransformer(
        77, WORDS, WIDTH, 2, 2, output_dim=DIM, act_layer=activation, pool_type="eos", eos_id=EOS_ID
    ).double().eval()  # fmt: skip
    theirs.load_state_dict(with_open_clips_names(ours))
    theirs.eos_id = EOS_ID
    tokens, lengths = sentences()
    full = torch.zeros(len(tokens), 77, dtype=torch.long)  # open_clip computes all positions
    for row, length in enumerate(lengths):
        full[row, : length + 2] = torch.tensor([BOS_ID, *tokens[row, :length].tolist(), EOS_ID])
    expected = nn.functional.normalize(theirs(full), dim=1).detach().numpy()
    assert in_double(ours, tokens, lengths) == pytest.approx(expected, abs=1e-12)


# --- attention pooling ----------------------------------------------------------------------------------------------


def pool(regions=9, out=DIM, heads=2, seed=0):
    torch.manual_seed(seed)
    module = AttentionPool(WIDTH, heads, regions, out).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def test_attention_pooling_is_its_loop_and_open_clips():
    module, regions = pool(), torch.randn(4, 9, WIDTH, dtype=torch.float64)
    ours = module(regions).detach()
    loops = [reference.attention_pool(photo.numpy(), weights(module), 2) for photo in regions]
    assert ours.numpy() == pytest.approx(np.array(loops), abs=1e-12)
    oracles.open_clip()
    from open_clip.modified_resnet import AttentionPool2d

    theirs = AttentionPool2d(3, WIDTH, 2, DIM).double()
    state = module.state_dict()
    names = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "out": "c_proj"}
    copied = {f"{b}.{end}": state[f"{a}.{end}"] for a, b in names.items() for end in ("weight", "bias")}
    theirs.load_state_dict({"positional_embedding": state["positions"]} | copied)
    maps = regions.transpose(1, 2).unflatten(2, (3, 3))
    assert torch.allclose(theirs(maps), ours, atol=1e-12)


def test_attention_pooling_without_queries_is_the_mean_of_the_regions():
    module = pool(out=WIDTH)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module.v.weight.copy_(torch.eye(WIDTH))
        module.out.weight.copy_(torch.eye(WIDTH))
    regions = torch.randn(4, 9, WIDTH, dtype=torch.float64)
    assert torch.allclose(module(regions), regions.mean(1), atol=1e-12)


def test_the_pooling_encoder_gives_unit_vectors_and_wants_its_regions():
    encoder = AttentionPoolEncoder(ImageConfig(pooling="qkv", width=WIDTH, heads=2), 12, 9, DIM).eval()
    vectors = encoder(torch.randn(5, 9, 12))
    assert torch.allclose(vectors.norm(dim=1), torch.ones(5)) and vectors.shape == (5, DIM)
    with pytest.raises(InputError, match="4 regions: expected 9"):
        encoder(torch.randn(5, 4, 12))
    assert [n for n, _ in ImageEncoder(ImageConfig(), 12, DIM).named_parameters()] == ["W_I.weight"]  # no width here


@pytest.mark.parametrize("make", [lambda: Block(8, 3), lambda: AttentionPool(8, 3, 9, 4), lambda: tower(heads=5)])
def test_heads_that_do_not_divide_the_width(make):
    with pytest.raises(InputError, match="heads = .: expected a divisor of the width, 8"):
        make()


def test_heads_by_default():
    assert [default_heads(width) for width in (512, 256, 64, 30, 300, 1)] == [8, 4, 1, 1, 4, 1]


def test_a_copy_has_the_same_answers():
    """No state outside the parameters."""
    encoder = tower()
    assert torch.equal(copy.deepcopy(encoder)(*sentences()), encoder(*sentences()))
