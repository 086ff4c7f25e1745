"""scnlm.git: the decoder of Wang (2022) against transformers' and float64 loops, and what its masks promise."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from reference_git import git_of_transformers
from torch import nn

from scnlm.configs import GITConfig
from scnlm.git import GIT, Texts, smoothed, texts_of
from vse.data.vocabulary import EOS_ID, Vocabulary
from vse.system.errors import InputError

WORDS = ("a", "red", "dog", "runs", "blue", "car", "on", "grass", "two", "girls")
VOCABULARY = Vocabulary.from_captions([" ".join(WORDS)])
F, GRID, WIDTH, LAYERS = 6, 2, 8, 3
ATTENTIONS = ("self", "cross")


def make(seed=0, info=None, **settings):
    torch.manual_seed(seed)
    config = GITConfig(**({"width": WIDTH, "layers": LAYERS, "heads": 2, "positions": 12} | settings))
    model = GIT(config, VOCABULARY, F, {"encoder": "tiny", "feature_dim": F, "grid": GRID} if info is None else info)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)  # norms, biases, frames: none is at its start
    return model.double().eval()


def photos(n=3, frames=1, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n, frames, GRID * GRID, F, generator=draw, dtype=torch.float64)


def texts(n=3, k=2, seed=0, prefix=0):
    draw = np.random.default_rng(seed)
    sentence = lambda low, high: draw.integers(EOS_ID + 1, len(VOCABULARY), draw.integers(low, high)).tolist()  # noqa: E731
    prefixes = [[sentence(1, prefix + 1) if prefix else [] for _ in range(k)] for _ in range(n)]
    return texts_of([[sentence(1, 6) for _ in range(k)] for _ in range(n)], prefixes, EOS_ID)


def plain(model, features, tokens):
    """The last states of one text of one photo, image tokens and words in one row of a float64 loop."""
    config, z = model.config, features
    if len(model.frames):
        z = z + model.frames[: len(z), None]
    image = z @ model.W_v.weight.T + model.W_v.bias
    if model.grid:
        image = image + (model.rows[:, None] + model.columns[None]).reshape(-1, config.width)
    image = model.image_norm(image).flatten(0, 1)
    words = model.word_norm(model.words.weight[tokens] + model.positions.weight[: len(tokens)])
    s, t, d = len(image), len(tokens), config.width // config.heads

    def attend(q, k, v, allowed):
        out = torch.zeros_like(q)
        for head in range(config.heads):
            part = slice(head * d, head * d + d)
            for i in range(len(q)):
                seen = [j for j in range(len(k)) if allowed(i, j)]
                weights = torch.stack([q[i, part] @ k[j, part] / d**0.5 for j in seen]).softmax(0)
                out[i, part] = sum(w * v[j, part] for w, j in zip(weights, seen, strict=True))
        return out

    h = torch.cat([image, words]) if config.attention == "self" else words
    for block in model.blocks:
        q, k, v = block.attention.qkv(h).chunk(3, 1)
        first = s if config.attention == "self" else 0
        h = block.norm_1(h + block.attention.out(attend(q, k, v, lambda i, j, s=first: j < s or i >= s and j <= i)))
        if config.attention == "cross":
            keys, values = block.cross.kv(image).chunk(2, 1)
            h = block.norm_3(h + block.cross.out(attend(block.cross.q(h), keys, values, lambda i, j: True)))
        h = block.norm_2(h + block.outer(nn.functional.gelu(block.inner(h))))
    return h[-t:]


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("frames", [1, 3])
def test_states_shared_by_a_photos_texts_are_those_of_a_loop(attention, frames):
    model, given = make(attention=attention, frames=frames), texts()
    features = photos(frames=frames)
    with torch.inference_mode():
        states, _ = model.states(given.tokens, model.memory(model.image_tokens(features)))
        for i in range(3):
            for j in range(2):
                t = int(given.lengths[i, j])
                expected = plain(model, features[i], given.tokens[i, j, :t])
                np.testing.assert_allclose(states[i, j, :t], expected, atol=1e-10)


@pytest.mark.parametrize("frames", [1, 6])
def test_logits_and_loss_are_those_of_transformers(frames):
    ours = make(info={"encoder": "tiny", "feature_dim": F}, frames=frames).float()
    theirs = git_of_transformers(ours)
    given, draw = texts(k=1), torch.Generator().manual_seed(1)
    features = torch.randn(3, frames, 5, F, generator=draw)  # 2 x 2 patches and a class token
    pixels = features[:, :, None] if frames > 1 else features  # (n, f, 1, r, d) or (n, 1, r, d): what the stub takes
    tokens = given.tokens[:, 0]
    with torch.inference_mode():
        found = theirs(input_ids=tokens, pixel_values=pixels, attention_mask=torch.ones_like(tokens)).logits
        memory = ours.memory(ours.image_tokens(features))
        states, _ = ours.states(given.tokens, memory)
        np.testing.assert_allclose(ours.logits(states)[:, 0], found[:, -tokens.shape[1] :], atol=1e-5)
        labels = tokens.masked_fill(torch.arange(tokens.shape[1]) >= given.lengths, -100)
        loss, count = ours.loss(memory, given, 0.0)
        told = theirs(input_ids=tokens, pixel_values=pixels, attention_mask=torch.ones_like(tokens), labels=labels).loss
        assert float(loss / count) == pytest.approx(float(told), abs=1e-5)


def test_cross_attention_is_pytorchs_decoder_layer():
    ours = make(attention="cross", layers=1)
    (block,) = ours.blocks
    theirs = nn.TransformerDecoderLayer(WIDTH, 2, 4 * WIDTH, 0.0, "gelu", 1e-12, batch_first=True).double().eval()
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(block.attention.qkv.weight)
        theirs.self_attn.in_proj_bias.copy_(block.attention.qkv.bias)
        theirs.multihead_attn.in_proj_weight.copy_(torch.cat([block.cross.q.weight, block.cross.kv.weight]))
        theirs.multihead_attn.in_proj_bias.copy_(torch.cat([block.cross.q.bias, block.cross.kv.bias]))
    for there, here in (
        (theirs.self_attn.out_proj, block.attention.out), (theirs.multihead_attn.out_proj, block.cross.out),
        (theirs.linear1, block.inner), (theirs.linear2, block.outer), (theirs.norm1, block.norm_1),
        (theirs.norm2, block.norm_3), (theirs.norm3, block.norm_2),
    ):  # fmt: skip
        there.load_state_dict(here.state_dict())
    draw = torch.Generator().manual_seed(3)
    h, image = (torch.randn(2, size, WIDTH, generator=draw, dtype=torch.float64) for size in (5, 4))
    mask = torch.ones(5, 5, dtype=torch.bool).triu(1)
    expected = theirs(h, image, tgt_mask=mask)
    found, _ = block.beside(h[:, None], block.keys(image), None, ~mask)
    np.testing.assert_allclose(found[:, 0].detach(), expected.detach(), atol=1e-10)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_a_word_moves_none_before_it_and_no_image_token(attention):
    model, given = make(attention=attention), texts(k=1)
    memory = model.memory(model.image_tokens(photos()))
    before, _ = model.states(given.tokens, memory)
    other = given.tokens.clone()
    other[:, :, 2] = 5 + (other[:, :, 2] == 5)
    after, _ = model.states(other, memory)
    assert torch.equal(before[:, :, :2], after[:, :, :2]) and not torch.isclose(before[:, :, 2], after[:, :, 2]).all()
    features = photos()
    features[:, :, 1] += 1.0
    moved, _ = model.states(given.tokens, model.memory(model.image_tokens(features)))
    assert ((moved - before).abs().amax(3) > 1e-6).all()


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_word_by_word_with_kept_keys_is_all_at_once(attention):
    model, given = make(attention=attention), texts()
    memory = model.memory(model.image_tokens(photos()))
    whole, _ = model.states(given.tokens, memory)
    past, parts, first = None, [], 0
    for size in (1, 2, given.tokens.shape[2] - 3):
        states, past = model.states(given.tokens[:, :, first : first + size], memory, past, first)
        parts.append(states)
        first += size
    np.testing.assert_allclose(torch.cat(parts, 2).detach(), whole.detach(), atol=1e-12)


def test_company_and_padding_change_nothing():
    model, given = make(), texts(n=3, k=2)
    memory = model.memory(model.image_tokens(photos()))
    together = model.log_p(memory, given)
    for i in range(3):
        for j in range(2):
            t = int(given.lengths[i, j])
            alone = Texts(
                given.tokens[i : i + 1, j : j + 1, :t],
                *(part[i : i + 1, j : j + 1] for part in (given.lengths, given.prefixes)),
            )
            own = [tuple(part[i : i + 1] for part in layer) for layer in memory]
            np.testing.assert_allclose(
                model.log_p(own, alone).detach()[0, 0], together.detach()[i, j, : t - 1], atol=1e-12
            )
            assert not together[i, j, t - 1 :].any()


def test_the_loss_is_the_divergence_from_a_smoothed_target():
    draw = torch.Generator().manual_seed(0)
    logits, targets = (
        torch.randn(7, 11, generator=draw, dtype=torch.float64),
        torch.randint(0, 11, (7,), generator=draw),
    )
    by_hand = 0.0
    for row, target in zip(logits, targets.tolist(), strict=True):
        share = torch.full((11,), 0.1 / 10, dtype=torch.float64)
        share[target] = 0.9
        by_hand += float((share * (share.log() - row.log_softmax(0))).sum())
    assert float(smoothed(logits, targets)) == pytest.approx(by_hand, rel=1e-12)
    best = torch.full((1, 11), 0.01).log()
    best[0, 3] = np.log(0.9)
    assert float(smoothed(best.double(), torch.tensor([3]))) == pytest.approx(0.0, abs=1e-6)
    plain_loss = nn.functional.cross_entropy(logits, targets, reduction="sum")
    assert float(smoothed(logits, targets, 0.0)) == pytest.approx(float(plain_loss))


def test_a_prefix_is_given_not_predicted():
    model, given = make(), texts(prefix=3)
    memory = model.memory(model.image_tokens(photos()))
    whole = dataclasses.replace(given, prefixes=torch.ones_like(given.prefixes))
    each, all_ = model.log_p(memory, given), model.log_p(memory, whole)
    for i in range(3):
        for j in range(2):
            prefix, t = int(given.prefixes[i, j]), int(given.lengths[i, j])
            assert not each[i, j, : prefix - 1].any() and torch.equal(
                each[i, j, prefix - 1 :], all_[i, j, prefix - 1 :]
            )
            assert (all_[i, j, : t - 1] < 0).all()
    loss, count = model.loss(memory, given, 0.0)
    assert int(count) == int((given.lengths - given.prefixes).sum())
    assert float(loss) == pytest.approx(-float(each.sum()))


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_frames_without_vectors_have_no_order_and_one_frame_is_a_photo(attention):
    model, given = make(attention=attention, frames=3), texts()
    with torch.no_grad():
        model.frames[:] = model.frames[:1]
    features = photos(frames=3)
    forth, back = (model.log_p(model.memory(model.image_tokens(f)), given) for f in (features, features.flip(1)))
    np.testing.assert_allclose(forth.detach(), back.detach(), atol=1e-12)
    with torch.no_grad():
        model.frames[:] = torch.randn(3, F)
    assert not torch.allclose(
        *(model.log_p(model.memory(model.image_tokens(f)), given) for f in (features, features.flip(1)))
    )
    with torch.no_grad():
        model.frames.zero_()
    image = copy.deepcopy(model)
    image.frames = nn.Parameter(torch.zeros(0, F, dtype=torch.float64))
    one = features[:, :1]
    assert torch.equal(*(m.log_p(m.memory(m.image_tokens(one)), given) for m in (model, image)))


def test_of_photos_the_first_view_is_read_and_of_videos_all_frames():
    image, video = make().float(), make(frames=3).float()
    array = photos(frames=3).numpy().astype(np.float32)
    for model, frames in ((image, 1), (video, 3)):
        model.precision = "float32"
        expected = model.memory(model.image_tokens(torch.from_numpy(array[:, :frames])))
        for layer, other in zip(model.seen(array), expected, strict=True):
            np.testing.assert_allclose(layer[0], other[0].detach(), atol=1e-6)


def test_what_is_too_much_is_said_in_a_line():
    model = make()
    memory = model.memory(model.image_tokens(photos()))
    with pytest.raises(InputError, match="13 tokens: the model has 12 positions"):
        model.states(torch.full((3, 1, 13), 5), memory)
    with pytest.raises(InputError, match="2 frames: the model reads 1 at once"):
        model.image_tokens(photos(frames=2))
    with pytest.raises(InputError, match="expected a list of photos"):
        model.seen("photo.jpg")
    with pytest.raises(InputError, match="heads = 3: expected a divisor"):
        make(heads=3)
