"""vse.fusion: what the readings of the combination share, what must not matter, other people's code alike."""

import dataclasses
import math

import numpy as np
import oracles
import pytest
import reference
import torch
from torch import nn

from vse.configs import FusionConfig, ImageConfig, TextConfig, VSEConfig
from vse.data.vocabulary import PAD_ID, Vocabulary
from vse.encoders.transformer import Block
from vse.fusion import Fusion
from vse.model import VSE
from vse.system.errors import InputError

WORDS = ("a", "red", "dog", "runs", "blue", "car", "on", "grass", "two", "girls")
VOCABULARY = Vocabulary.from_captions([" ".join(WORDS)])
F, GRID, WIDTH = 6, 2, 8
INFO = {"encoder": "tiny", "grid": GRID, "views": ["full", "full-flip"], "feature_dim": F}
READINGS = ("sum", "concat", "score")


def make(info=INFO, seed=0, **settings):
    torch.manual_seed(seed)
    config = FusionConfig(**({"width": WIDTH, "layers": 2, "heads": 2, "positions": 9} | settings))
    model = Fusion(config, VOCABULARY, F, info)
    for name, parameter in model.named_parameters():
        if "match_head" in name or parameter.ndim == 1:
            nn.init.normal_(parameter, std=0.5)  # norms and biases too, and a head that is not at its start
    return model.eval()


def scenes(a=1, s=1, batch=3, seed=0):
    """(features, tokens, lengths) of a images and s sentences each."""
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, a, GRID * GRID, F, generator=draw)
    lengths = torch.randint(1, 6, (batch, s), generator=draw)
    tokens = torch.randint(4, len(VOCABULARY), (batch, s, 6), generator=draw)
    return features, tokens.masked_fill(torch.arange(6) >= lengths[:, :, None], PAD_ID), lengths


def logits(model, features, tokens, lengths):
    with torch.inference_mode():
        return model.matching(model.embed_images(features), *model.embed_texts(tokens, lengths))


def stream(model, features, tokens, lengths):
    return model.combine(model.embed_images(features), *model.embed_texts(tokens, lengths))


def with_config(model, **settings):
    """The same weights under other settings."""
    model.config = dataclasses.replace(model.config, **settings)
    return model


def test_of_one_image_and_one_sentence_the_three_readings_are_one():
    scene = scenes()
    one, *others = (logits(with_config(make(), combination=reading), *scene) for reading in READINGS)
    assert all(torch.allclose(one, other, atol=1e-6) for other in others)
    assert one.std() > 0.01


@pytest.mark.parametrize("combination", ["sum", "concat"])
def test_the_weights_are_factors_of_the_embeddings(combination):
    model, (features, tokens, lengths) = make(combination=combination, images=2, sentences=3), scenes(2, 3)
    images, (texts, inside) = model.embed_images(features), model.embed_texts(tokens, lengths)
    plain, _ = model.combine(images, texts, inside)
    weighted, _ = with_config(model, image_weight=0.5, text_weight=3.0).combine(images, texts, inside)
    regions = GRID * GRID * (2 if combination == "concat" else 1)
    factors = torch.cat([torch.ones(1), torch.full((regions,), 0.5), torch.full((plain.shape[1] - 1 - regions,), 3.0)])
    assert torch.allclose(weighted, plain * factors[:, None], atol=1e-6)


def test_of_scores_the_weights_are_factors_and_pairs_add_up():
    model, (features, tokens, lengths) = make(combination="score"), scenes(2, 3)
    expected = sum(
        logits(model, features[:, i : i + 1], tokens[:, j : j + 1], lengths[:, j : j + 1])
        for i in range(2) for j in range(3)
    )  # fmt: skip
    assert torch.allclose(logits(model, features, tokens, lengths), expected, atol=1e-5)
    weighted = logits(with_config(model, image_weight=0.5, text_weight=3.0), features, tokens, lengths)
    assert torch.allclose(weighted, 1.5 * expected, atol=1e-5)


def test_the_mean_of_equal_sentences_is_one_of_them():
    model, (features, tokens, lengths) = make(), scenes()
    expected = logits(model, features, tokens, lengths)
    many = tokens.expand(-1, 4, -1), lengths.expand(-1, 4)
    assert torch.allclose(logits(with_config(model, text_weight=0.25), features, *many), expected, atol=1e-5)


@pytest.mark.parametrize("combination", ["sum", "score"])
def test_the_order_of_images_and_sentences_does_not_matter(combination):
    model, (features, tokens, lengths) = make(combination=combination), scenes(2, 3)
    expected = logits(model, features, tokens, lengths)
    order = [2, 0, 1]
    assert torch.allclose(logits(model, features.flip(1), tokens[:, order], lengths[:, order]), expected, atol=1e-5)


def test_sentences_in_a_row_have_numbers():
    model, (features, tokens, lengths) = make(combination="concat", sentences=2), scenes(1, 2)
    changed = logits(model, features, tokens.flip(1), lengths.flip(1))
    assert (changed - logits(model, features, tokens, lengths)).abs().max() > 1e-3


@pytest.mark.parametrize("combination", READINGS)
def test_padding_does_not_matter(combination):
    model, (features, tokens, lengths) = make(combination=combination, sentences=2), scenes(1, 2)
    expected = logits(model, features, tokens, lengths)
    longer = nn.functional.pad(tokens, (0, 2), value=PAD_ID)
    longer[torch.arange(8) >= lengths[:, :, None]] = 7  # any word behind the end
    assert torch.allclose(logits(model, features, longer, lengths), expected, atol=1e-5)
    states = model.word_states(model.embed_images(features), *model.embed_texts(tokens, lengths))
    padded = model.word_states(model.embed_images(features), *model.embed_texts(longer, lengths))
    for row, length in enumerate(lengths[:, 0]):
        assert torch.allclose(states[row, :length], padded[row, :length], atol=1e-5)


def test_a_sentence_that_is_too_long_is_cut():
    model, (features, _, _) = make(positions=4), scenes(batch=1)
    tokens = torch.tensor([[[4, 5, 6, 7, 8, 9]]])
    cut = logits(model, features, tokens[:, :, :4], torch.tensor([[4]]))
    assert torch.equal(logits(model, features, tokens, torch.tensor([[6]])), cut)


def test_the_matching_logit_is_its_loop():
    model, (features, tokens, lengths) = make().double(), scenes(batch=2)
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "float", lambda self: self)
        ours = logits(model, features.double(), tokens, lengths)
    for row in range(2):
        regions = []
        for r, vector in enumerate(features[row, 0].double().numpy()):
            place = weights["rows"][r // GRID] + weights["columns"][r % GRID]
            regions.append(weights["W_v.weight"] @ vector + place + weights["types"][0])
        ids = tokens[row, 0, : lengths[row, 0]].tolist()
        words = [weights["words.weight"][i] + weights["positions"][t] + weights["types"][1] for t, i in enumerate(ids)]
        h = np.array([weights["start_token"], *regions, *words])
        for layer in range(2):
            start = f"blocks.{layer}."
            block = {name[len(start) :]: value for name, value in weights.items() if name.startswith(start)}
            h = reference.transformer_block(h, block, 2, lambda i: range(len(h)))  # noqa: B023  called at once
        first = (h[0] - h[0].mean()) / math.sqrt(h[0].var() + 1e-5) * weights["norm.weight"] + weights["norm.bias"]
        pooled = np.tanh(weights["pool.weight"] @ first + weights["pool.bias"])
        no, yes = weights["match_head.weight"] @ pooled + weights["match_head.bias"]
        assert ours[row].item() == pytest.approx(yes - no, abs=1e-10)


def test_the_stream_is_visualberts():
    """Their embeddings before the norm, their blocks (norms behind) and their pooling, with the same weights."""
    theirs = oracles.transformers()
    config = theirs.VisualBertConfig(
        vocab_size=len(VOCABULARY), hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=4 * WIDTH, visual_embedding_dim=F, max_position_embeddings=9, hidden_act="gelu",
    )  # fmt: skip
    torch.manual_seed(1)
    oracle = theirs.VisualBertModel(config).eval()
    for parameter in oracle.parameters():
        nn.init.normal_(parameter, std=0.5)
    model = make(info={"feature_dim": F})  # regions without places, as theirs
    state, embeddings = oracle.state_dict(), oracle.embeddings
    with torch.no_grad():
        embeddings.visual_position_embeddings.weight.zero_()
        embeddings.visual_projection.bias.zero_()
        embeddings.position_embeddings.weight[0] = 0.0  # of their [CLS], which is a word; ours has no position
        model.words.weight.copy_(embeddings.word_embeddings.weight)
        model.positions[:8] = embeddings.position_embeddings.weight[1:]
        model.W_v.weight.copy_(embeddings.visual_projection.weight)
        model.types[0] = embeddings.visual_token_type_embeddings.weight[1]
        model.types[1] = embeddings.token_type_embeddings.weight[0]
        model.start_token.copy_(embeddings.word_embeddings.weight[2] + embeddings.token_type_embeddings.weight[0])
    model.blocks = nn.ModuleList(Block(WIDTH, 2, post_norm=True, eps=config.layer_norm_eps) for _ in range(2))
    model.norm = nn.Identity()
    for i, block in enumerate(model.blocks):
        layer = {name.removeprefix(f"encoder.layer.{i}."): value for name, value in state.items()}
        qkv = [f"attention.self.{part}" for part in ("query", "key", "value")]
        names = {"attention.out": "attention.output.dense", "norm_1": "attention.output.LayerNorm",
                 "inner": "intermediate.dense", "outer": "output.dense", "norm_2": "output.LayerNorm"}  # fmt: skip
        for end in ("weight", "bias"):
            ours = {f"{name}.{end}": layer[f"{their}.{end}"] for name, their in names.items()}
            ours[f"attention.qkv.{end}"] = torch.cat([layer[f"{part}.{end}"] for part in qkv])
            block.load_state_dict(ours, strict=False)
    model.pool.load_state_dict({end: state[f"pooler.dense.{end}"] for end in ("weight", "bias")})
    features, tokens, lengths = scenes(batch=3)
    inside = torch.arange(7) < 1 + lengths
    with torch.inference_mode():
        out = oracle(
            input_ids=nn.functional.pad(tokens[:, 0], (1, 0), value=2), attention_mask=inside.long(),
            token_type_ids=torch.zeros(3, 7, dtype=torch.long), visual_embeds=features[:, 0],
            visual_token_type_ids=torch.ones(3, GRID * GRID, dtype=torch.long),
            visual_attention_mask=torch.ones(3, GRID * GRID),
        )  # fmt: skip
        h, there = stream(model, features, tokens, lengths)
        pooled = model.pooled(embeddings.LayerNorm(h), there)
    assert torch.allclose(pooled, out.pooler_output, atol=1e-5)


def test_the_first_loss_is_that_of_not_knowing():
    torch.manual_seed(0)
    model = Fusion(FusionConfig(width=WIDTH, heads=2), VOCABULARY, F, INFO).eval()
    assert torch.equal(logits(model, *scenes()), torch.zeros(3))


def test_words_and_regions_begin_where_the_dual_encoder_puts_them():
    torch.manual_seed(0)
    encoder = VSE(VSEConfig(embed_dim=5, text=TextConfig(encoder="bow", word_dim=4)), VOCABULARY, F, INFO)
    model, features = make(), np.random.default_rng(0).standard_normal((20, 2, GRID * GRID, F)).astype(np.float32)
    model.start_from(encoder, features)
    words, theirs = model.words.weight.detach()[4:], torch.from_numpy(encoder.encode_texts(WORDS))
    order = [VOCABULARY.ids[word] - 4 for word in WORDS]
    regions = model.W_v(torch.from_numpy(features)).detach()
    W_I = encoder.image_encoder.W_I.weight.detach()
    their_regions = torch.from_numpy(features) @ W_I.T
    # 5 dimensions fit in 8: all angles are kept, within and between the two.
    points, expected = (
        nn.functional.normalize(torch.cat([a, b.flatten(0, 2)]), dim=1)
        for a, b in ((words[order], regions), (theirs, their_regions))
    )
    assert torch.allclose(points @ points.T, expected @ expected.T, atol=1e-4)
    assert regions.square().mean().sqrt().item() == pytest.approx(1.0, abs=1e-3)
    assert not model.words.weight[PAD_ID].any()


def test_without_a_start_regions_get_a_mean_of_0_and_a_variance_of_1_whatever_their_size():
    model = make()
    features = 1e-3 * np.random.default_rng(0).standard_normal((6, 2, GRID**2, F)) + 5.0
    model.scale_regions(features)
    tokens = model.W_v(torch.from_numpy(features).float().flatten(0, 2)) + model.types[0]
    np.testing.assert_allclose(tokens.detach().mean(0), 0.0, atol=1e-2)
    np.testing.assert_allclose(tokens.detach().square().mean(), 1.0, rtol=1e-2)
    model.scale_regions(np.zeros_like(features))  # of nothing nothing
    assert torch.isfinite(model.W_v.weight).all()


def test_an_encoder_without_one_matrix_of_regions_is_refused():
    image = ImageConfig(hidden=4)
    encoder = VSE(VSEConfig(embed_dim=5, image=image, text=TextConfig(encoder="bow", word_dim=4)), VOCABULARY, F, {})
    with pytest.raises(InputError, match="one matrix"):
        make().start_from(encoder, np.zeros((1, 1, 1, F), np.float32))


def test_of_other_features_than_the_encoders_the_words_alone_begin_there():
    encoder = VSE(VSEConfig(embed_dim=5, text=TextConfig(encoder="bow", word_dim=4)), VOCABULARY, F + 1, {})
    features = np.random.default_rng(0).standard_normal((4, 1, GRID**2, F)).astype(np.float32)
    model, other = make(), make()
    model.start_from(encoder, features)
    other.scale_regions(features)
    assert torch.equal(model.W_v.weight, other.W_v.weight) and torch.equal(model.types, other.types)
    assert not torch.allclose(model.words.weight, other.words.weight)


@pytest.mark.parametrize("combination", READINGS)
def test_probabilities_of_all_pairs(combination):
    model = make(combination=combination, sentences=2)
    features = np.random.default_rng(0).standard_normal((3, 2, GRID * GRID, F)).astype(np.float32)
    texts = ["a red dog", "two girls on grass runs a blue", "zebra"]
    found = model.match(features, texts)
    assert found.shape == (3, 3) and found.dtype == np.float32
    for i in range(3):
        for j, text in enumerate(texts):
            assert model.match(features[i : i + 1, :1], [text])[0, 0] == pytest.approx(found[i, j], abs=1e-2)
            ids = torch.tensor([[VOCABULARY.encode(text)]])
            alone = logits(model, torch.from_numpy(features[i : i + 1, :1]), ids, torch.tensor([[ids.shape[2]]]))
            assert torch.sigmoid(alone).item() == pytest.approx(found[i, j], abs=1e-2)  # bfloat16 where it pays
    grouped = model.match(features, [("a dog", "a red dog runs"), ("two girls", "grass")])
    assert grouped.shape == (3, 2)


def test_what_cannot_be_matched_is_said_in_a_line():
    model = make(combination="concat", images=2, sentences=2)
    features = np.zeros((2, 2, GRID * GRID, F), np.float32)
    for images, texts, says in (
        (features[:, :1], ["a dog"], "1 views"),
        (features[..., :3], ["a dog"], "3 dimensions"),
        (features, [("a", "b"), "c"], "1 and 2 sentences"),
        (features, [("a", "b", "c")], "up to 2"),
        (features, [], "no sentences"),
        (features, "a dog", "expected a list"),
    ):
        with pytest.raises(InputError, match=says):
            model.match(images, texts)


@pytest.mark.parametrize("combination", READINGS)
def test_states_of_words_are_those_at_the_words(combination):
    """Without blocks and norm a state is the token itself."""
    model, (features, tokens, lengths) = make(combination=combination, images=2, sentences=2), scenes(2, 2)
    model.blocks, model.norm = nn.ModuleList(), nn.Identity()
    texts, inside = model.embed_texts(tokens, lengths)
    states = model.word_states(model.embed_images(features), texts, inside)
    words = texts * inside[..., None]
    expected = words.sum(1) if combination == "sum" else words[:, 0]
    assert states.shape == expected.shape and torch.allclose(states, expected, atol=1e-6)
