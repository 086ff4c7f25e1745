"""Both encoders: unit vectors, nothing behind a sentence's end, and the cells against PyTorch's and the loops."""

import itertools

import numpy as np
import pytest
import reference
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from vse.data.vocabulary import PAD_ID, UNK_ID
from vse.encoders.image import ImageConfig, ImageEncoder
from vse.encoders.text import BagOfWordsEncoder, ConvEncoder, PeepholeLSTM, TextConfig, make_text_encoder
from vse.system.errors import InputError
from vse.system.settings import config_from_dict

WORDS, DIM = 30, 6
RECURRENT = [
    TextConfig(encoder=cell, word_dim=5, hidden=4, bidirectional=both, pooling=pooling)
    for cell, both, pooling in itertools.product(("lstm", "peephole", "gru"), (False, True), ("last", "max", "mean"))
]
CONV = [TextConfig(encoder="conv", word_dim=5, hidden=4, pooling=pooling) for pooling in ("last", "max", "mean")]
ALL = [*RECURRENT, *CONV, TextConfig(encoder="bow", word_dim=5), TextConfig(encoder="bow", word_dim=DIM)]


def name(config):
    return f"{config.encoder}{'-both' * config.bidirectional}-{config.pooling}-{config.word_dim}"


every_encoder = pytest.mark.parametrize("config", ALL, ids=name)


def make(config, embed_dim=DIM, seed=0):
    torch.manual_seed(seed)
    encoder = make_text_encoder(config, WORDS, embed_dim)
    for parameter in encoder.parameters():
        nn.init.uniform_(parameter, -0.8, 0.8)  # far from zero, peepholes and biases too
    with torch.no_grad():
        encoder.words.vectors.weight[PAD_ID] = 0.0
    return encoder.eval()


def sentences(lengths=(3, 7, 1, 5, 7, 2), seed=0):
    """(tokens, lengths) with words 1 .. WORDS - 1."""
    tokens = torch.randint(1, WORDS, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(seed))
    for row, length in enumerate(lengths):
        tokens[row, length:] = PAD_ID
    return tokens, torch.tensor(lengths)


@every_encoder
def test_sentences_become_unit_vectors(config):
    vectors = make(config)(*sentences())
    assert vectors.shape == (6, DIM) and vectors.dtype == torch.float32
    assert torch.allclose(vectors.norm(dim=1), torch.ones(6))


@every_encoder
def test_padding_changes_nothing(config):
    encoder, (tokens, lengths) = make(config), sentences()
    plain = encoder(tokens, lengths)
    wider = encoder(nn.functional.pad(tokens, (0, 4), value=PAD_ID), lengths)
    assert torch.allclose(plain, wider, atol=1e-6)
    for row, length in enumerate(lengths):  # and so each sentence stands for itself
        alone = encoder(tokens[row : row + 1, :length], lengths[row : row + 1])
        assert torch.allclose(plain[row], alone[0], atol=1e-6)


@pytest.mark.parametrize("config", [*RECURRENT, *CONV], ids=name)
def test_words_behind_the_end_change_nothing(config):
    """Even real words there, for encoders that are told the lengths."""
    encoder, (tokens, lengths) = make(config), sentences()
    junk = tokens.masked_fill(tokens == PAD_ID, 9)
    assert torch.allclose(encoder(tokens, lengths), encoder(junk, lengths), atol=1e-6)


@every_encoder
def test_every_word_of_a_sentence_matters(config):
    encoder, (tokens, lengths) = make(config), sentences()
    if config.encoder == "conv" and config.pooling == "last":
        pytest.skip("sees the last word only")
    plain = encoder(tokens, lengths)
    for position in range(3) if config.pooling != "max" else []:  # a maximum may overlook a word
        changed = tokens.clone()
        changed[0, position] = (tokens[0, position] + 1) % (WORDS - 1) + 1
        assert not torch.allclose(encoder(changed, lengths)[0], plain[0], atol=1e-5)


@every_encoder
def test_the_order_of_a_batch_does_not_matter(config):
    encoder, (tokens, lengths) = make(config), sentences()
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    assert torch.allclose(encoder(tokens[order], lengths[order]), encoder(tokens, lengths)[order], atol=1e-6)


@pytest.mark.parametrize("groups", [2, 4, 6, 9])
@pytest.mark.parametrize("config", [RECURRENT[0], RECURRENT[9], RECURRENT[16], *CONV], ids=name)
def test_reading_in_groups_of_like_length_changes_nothing(config, groups):
    encoder, (tokens, lengths) = make(config), sentences()
    whole = encoder(tokens, lengths)
    encoder.groups = groups
    assert torch.allclose(encoder(tokens, lengths), whole, atol=1e-6)


def test_the_groups_come_from_the_config():
    assert make(TextConfig(word_dim=5, hidden=4, length_groups=3)).groups == 3


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("both", [False, True])
def test_the_last_state_is_that_of_a_packed_pytorch_cell(kind, both):
    encoder = make(TextConfig(encoder=kind, word_dim=5, hidden=3, bidirectional=both), embed_dim=6 if both else 3)
    assert isinstance(encoder.out, nn.Identity)
    cell = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](5, 3, batch_first=True, bidirectional=both)
    for reader, suffix in zip(encoder.readers, ("", "_reverse"), strict=False):
        for key, value in reader.state_dict().items():
            getattr(cell, key + suffix).data.copy_(value)
    tokens, lengths = sentences()
    packed = pack_padded_sequence(encoder.words(tokens), lengths, batch_first=True, enforce_sorted=False)
    states, last = cell(packed)
    last = last[0] if kind == "lstm" else last
    expected = nn.functional.normalize(torch.cat(list(last), 1), dim=1)
    assert torch.allclose(encoder(tokens, lengths), expected, atol=1e-6)

    states = pad_packed_sequence(states, batch_first=True, padding_value=-torch.inf)[0]
    encoder.pooling = "max"
    assert torch.allclose(encoder(tokens, lengths), nn.functional.normalize(states.amax(1), dim=1), atol=1e-6)
    encoder.pooling = "mean"
    mean = states.masked_fill(states == -torch.inf, 0).sum(1) / lengths[:, None]
    assert torch.allclose(encoder(tokens, lengths), nn.functional.normalize(mean, dim=1), atol=1e-6)


def peephole_cell(width=5, hidden=4, seed=0):
    torch.manual_seed(seed)
    cell = PeepholeLSTM(width, hidden).double()
    for parameter in cell.parameters():
        nn.init.uniform_(parameter, -1.0, 1.0)
    return cell


def test_the_peephole_cell_equals_the_loop():
    cell, words = peephole_cell(), torch.randn(3, 6, 5, dtype=torch.float64)
    with torch.no_grad():
        states = cell(words)[0].numpy()
        gates = [p.detach().numpy().reshape(4, 4, -1) for p in (cell.weight_ih_l0, cell.weight_hh_l0)]
        bias = (cell.bias_ih_l0 + cell.bias_hh_l0).numpy().reshape(4, 4)
        peepholes = [p.numpy() for p in (cell.peep_i, cell.peep_f, cell.peep_o)]
    W, U, b = (dict(zip("ifgo", part, strict=True)) for part in (*gates, bias))
    for row in range(3):
        assert np.allclose(states[row], reference.peephole_lstm(words[row].numpy(), W, U, b, *peepholes), atol=1e-12)


def test_the_peephole_cell_without_peepholes_is_pytorchs_lstm():
    cell, words = peephole_cell(), torch.randn(3, 6, 5, dtype=torch.float64)
    lstm = nn.LSTM(5, 4, batch_first=True).double()
    lstm.load_state_dict({k: v for k, v in cell.state_dict().items() if not k.startswith("peep")})
    assert not torch.allclose(cell(words)[0], lstm(words)[0], atol=1e-3)
    for peephole in (cell.peep_i, cell.peep_f, cell.peep_o):
        nn.init.zeros_(peephole)
    assert torch.allclose(cell(words)[0], lstm(words)[0], atol=1e-12)


def test_the_peephole_cell_starts_without_peepholes():
    assert not any(p.any() for n, p in PeepholeLSTM(5, 4).named_parameters() if n.startswith("peep"))


@pytest.mark.parametrize("pooling", ["last", "max", "mean"])
def test_the_convolution_equals_the_loop(pooling):
    encoder = make(TextConfig(encoder="conv", word_dim=5, hidden=4, pooling=pooling), embed_dim=12)
    tokens, lengths = sentences()
    expected = []
    for row, length in zip(tokens, lengths, strict=True):
        words = encoder.words.vectors.weight[row[:length]].detach().double().numpy()
        pooled = []
        for width, filters in zip(ConvEncoder.WIDTHS, encoder.filters, strict=True):
            parameters = [p.detach().double().numpy() for p in filters.parameters()]
            states = reference.conv_states(list(words), parameters, width)
            pooled.append({"last": states[-1], "max": states.max(0), "mean": states.mean(0)}[pooling])
        v = np.concatenate(pooled)
        expected.append(v / np.linalg.norm(v))
    assert np.allclose(encoder(tokens, lengths).detach().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("word_dim", [5, DIM])
def test_a_bag_of_words_is_the_direction_of_the_sum_of_its_words(word_dim):
    encoder = make(TextConfig(encoder="bow", word_dim=word_dim))
    assert isinstance(encoder, BagOfWordsEncoder)
    tokens, lengths = sentences()
    of_word = encoder.out(encoder.words.vectors.weight).detach()  # every word in the joint space, not scaled
    for row, length, vector in zip(tokens, lengths, encoder(tokens, lengths), strict=True):
        total = sum(of_word[word] for word in row[:length])
        assert torch.allclose(vector, total / total.norm(), atol=1e-6)


def test_dropped_words_are_read_as_unknown_and_only_in_training():
    encoder = make(TextConfig(encoder="bow", word_dim=DIM, word_dropout=0.5))
    tokens, lengths = sentences((400, 3))
    expected = encoder.words.vectors(tokens)
    assert torch.equal(encoder.words(tokens), expected)
    unknown = (encoder.train().words(tokens) == encoder.words.vectors.weight[UNK_ID]).all(2)
    assert not unknown[1, 3:].any()  # <pad> stays
    assert 0.4 < unknown[0].float().mean() < 0.6


def test_word_vectors_that_are_not_tuned_get_no_gradient():
    for tuned in (True, False):
        encoder = make(TextConfig(word_dim=5, hidden=4, tune_words=tuned))
        encoder(*sentences()).sum().backward()
        assert (encoder.words.vectors.weight.grad is not None) == tuned
        if tuned:
            assert not encoder.words.vectors.weight.grad[PAD_ID].any()


def image_encoder(seed=0, **settings):
    torch.manual_seed(seed)
    encoder = ImageEncoder(ImageConfig(**settings), 8, DIM)
    encoder.start()
    return encoder.eval()


IMAGE_CONFIGS = [{}, {"hidden": 7}, {"pooling": "attention", "heads": 2}, {"pooling": "attention", "hidden": 7}]


@pytest.mark.parametrize("settings", IMAGE_CONFIGS)
@pytest.mark.parametrize("regions", [1, 9])
def test_features_become_unit_vectors(settings, regions):
    vectors = image_encoder(**settings)(torch.randn(5, regions, 8))
    assert vectors.shape == (5, DIM) and torch.allclose(vectors.norm(dim=1), torch.ones(5))


def test_an_image_is_its_mean_region_times_W_I():
    encoder, features = image_encoder(), torch.randn(5, 4, 8)
    x = features.mean(1) @ encoder.W_I.weight.T
    assert torch.allclose(encoder(features), x / x.norm(dim=1, keepdim=True), atol=1e-6)
    assert [n for n, _ in encoder.named_parameters()] == ["W_I.weight"]


@pytest.mark.parametrize("settings", IMAGE_CONFIGS)
def test_the_order_of_regions_does_not_matter(settings):
    encoder, features = image_encoder(**settings), torch.randn(5, 6, 8)
    for parameter in encoder.parameters():
        nn.init.uniform_(parameter, -1, 1)
    assert torch.allclose(encoder(features), encoder(features[:, torch.randperm(6)]), atol=1e-6)


def test_attention_starts_as_the_mean_of_the_regions():
    encoder, features = image_encoder(pooling="attention", heads=4), torch.randn(5, 6, 8)
    x = features.mean(1) @ encoder.W_I.weight.T
    assert torch.allclose(encoder(features), x / x.norm(dim=1, keepdim=True), atol=1e-6)


def test_each_head_of_attention_can_look_at_another_region_with_its_part_of_the_feature():
    encoder, features = image_encoder(pooling="attention", heads=2), torch.rand(1, 4, 8)
    features[0, :, :2] = 0.0
    features[0, 1, 0] = features[0, 3, 1] = 1.0
    with torch.no_grad():
        encoder.attention.weight[0, 0] = encoder.attention.weight[1, 1] = 100.0  # head 0: region 1, head 1: region 3
    x = torch.cat([features[0, 1, :4], features[0, 3, 4:]]) @ encoder.W_I.weight.T
    assert torch.allclose(encoder(features)[0], x / x.norm(), atol=1e-6)


def test_heads_must_share_the_feature_evenly():
    with pytest.raises(InputError, match="heads = 3: expected a divisor of the 8"):
        image_encoder(pooling="attention", heads=3)


def test_dropout_only_in_training():
    encoder, features = image_encoder(dropout=0.5), torch.randn(5, 2, 8)
    assert torch.equal(encoder(features), encoder(features))
    encoder.train()
    assert not torch.equal(encoder(features), encoder(features))


@pytest.mark.parametrize(
    "make_config",
    [
        lambda: config_from_dict(TextConfig, {"encoder": "transformers"}, "text"),
        lambda: config_from_dict(TextConfig, {"pooling": "first"}, "text"),
        lambda: TextConfig(dropout=1.0),
        lambda: TextConfig(word_dropout=-0.1),
        lambda: TextConfig(hidden=0),
        lambda: TextConfig(length_groups=0),
        lambda: config_from_dict(ImageConfig, {"pooling": "max"}, "image"),
        lambda: ImageConfig(heads=0),
        lambda: ImageConfig(dropout=2.0),
    ],
)
def test_settings_without_sense_are_refused_in_one_line(make_config):
    with pytest.raises(InputError, match=r"(text|image)\.") as error:
        make_config()
    assert "\n" not in str(error.value)
