"""scnlm.models: the float64 loops of reference_lm.py, the reductions from one model to the next, and who sees what."""

from dataclasses import replace

import numpy as np
import pytest
import reference_lm
import torch
from torch.func import functional_call

from scnlm.models import LBL, MODELS, NO_TAG, SCNLM, LMConfig, MultiplicativeLM, make_model
from vse.data.vocabulary import PAD_ID
from vse.system.errors import InputError
from vse.system.settings import config_from_dict

WORDS, TAGS, DIM = 9, 6, 4
TINY = LMConfig(word_dim=3, num_factors=5, context=2, gate_dim=7, tag_context=2, tag_dim=2)

every_model = pytest.mark.parametrize("kind", MODELS)


def make(kind="scnlm", seed=0, **changes):
    """A model in float64 whose numbers are all far from zero, biases too."""
    model = make_model(replace(TINY, model=kind, **changes), WORDS, DIM, TAGS).double().eval()
    draw = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -1.0, 1.0, generator=draw)
    return model


def text(length=6, sentences=3, seed=0):
    """(tokens, tags, u) of random sentences."""
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, WORDS, (sentences, length), generator=draw)
    tags = torch.randint(1, TAGS, (sentences, length), generator=draw)
    return tokens, tags, torch.randn(sentences, DIM, generator=draw, dtype=torch.float64)


def parameters(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def columns(model):
    """The parameters as the equations have them: a word or tag is a column, matrices multiply from the left."""
    p = {name: value.numpy() for name, value in parameters(model).items()}
    p["C"] = [matrix.T for matrix in p["C"]]
    if isinstance(model, SCNLM):
        p["t"], p["T"] = p["t"].T, [matrix.T for matrix in p["T"]]
    return p


def loops(model, tokens, tags, u):
    """P of every word at every position of one sentence, by the loops."""
    p, words, u = columns(model), tokens.tolist(), u.numpy()
    if type(model) is LBL:
        return reference_lm.lbl(words, p["R"].T, p["C"], p["b"])
    gated = p["R"].T, p["W_fk"], p["W_fu"], p["C"], p["b"]
    if type(model) is MultiplicativeLM:
        return reference_lm.multiplicative(words, [u] * len(words), *gated)
    return reference_lm.scnlm(words, tags.tolist(), u, p["t"], p["T"], p["T_u"], p["b_u"], *gated)


def set_to(model, **values):
    """Gives parameters of a model these values."""
    with torch.no_grad():
        for name, value in values.items():
            getattr(model, name).copy_(value)


def changed(a, b):
    """(b, t) true where the distributions at a position differ."""
    return ((a - b).abs() > 1e-9).any(-1)


# --- The equations ---------------------------------------------------------------------------------------------------


@every_model
@pytest.mark.parametrize("length", [1, 2, 6])
@pytest.mark.parametrize("context, tag_context", [(1, 0), (2, 2), (8, 7)])
def test_every_probability_is_that_of_the_loops(kind, length, context, tag_context):
    model = make(kind, context=context, tag_context=tag_context)
    sentences = text(length)
    found = model(*sentences).exp().detach().numpy()
    for row, expected in enumerate(loops(model, *sentence) for sentence in zip(*sentences, strict=True)):
        assert found[row] == pytest.approx(expected, abs=1e-12)


def test_the_factors_are_those_of_the_full_tensor():
    """T^u = W_fv^T diag(W_fu u) W_fk, with the tensor built entry by entry, in both gated models."""
    for kind in ("multiplicative", "scnlm"):
        model, sentences = make(kind), text()
        p = columns(model)
        tensor = reference_lm.full_tensor(p["R"].T, p["W_fk"], p["W_fu"])
        assert tensor.shape == (WORDS, 3, 4 if kind == "multiplicative" else 7)
        found = model(*sentences).exp().detach().numpy()
        for row, (words, tags, u) in enumerate(zip(*(x.tolist() for x in sentences), strict=True)):
            us = [np.array(u)] * len(words)
            if kind == "scnlm":
                content = p["t"], p["T"], p["T_u"], p["b_u"]
                us = [reference_lm.u_hat(tags, n, np.array(u), *content) for n in range(len(words))]
            expected = reference_lm.gated_tensor(words, us, tensor, p["W_fk"].T @ p["R"].T, p["C"], p["b"])
            assert found[row] == pytest.approx(expected, abs=1e-12)


def test_a_gate_of_ones_is_the_lbl():
    """W_fu u = 1 and W_fk a rotation: words are the LBL's, seen from another side."""
    lbl, gated, (tokens, tags, u) = make("lbl", word_dim=4), make("multiplicative", word_dim=4, num_factors=4), text()
    rotation = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))[0]
    set_to(gated, W_fk=rotation, R=lbl.R @ rotation.T, C=lbl.C, b=lbl.b, W_fu=torch.eye(4)[:1].expand(4, 4))
    u[:, 0] = 1.0
    assert torch.allclose(gated(tokens, tags, u), lbl(tokens, tags, u), atol=1e-12)
    u[:, 0] = 1.1
    assert changed(gated(tokens, tags, u), lbl(tokens, tags, u)).all()


def test_without_structure_the_scnlm_is_the_multiplicative_model():
    """Zero structure, T_u = I, b = 0 and u >= 0: u_hat = u. A u below zero is cut, so there they part."""
    plain, full, (tokens, tags, u) = make("multiplicative"), make("scnlm", gate_dim=DIM), text()
    set_to(full, **parameters(plain), T=torch.zeros(3, 2, DIM), T_u=torch.eye(DIM), b_u=torch.zeros(DIM))
    assert torch.allclose(full(tokens, tags, u.abs()), plain(tokens, tags, u.abs()), atol=1e-12)
    assert changed(full(tokens, tags, -u.abs()), plain(tokens, tags, -u.abs())).all()
    cut = u.clamp(min=0)
    assert (u < 0).any() and torch.allclose(full(tokens, tags, u), plain(tokens, tags, cut), atol=1e-12)


@every_model
def test_probabilities_sum_to_one(kind):
    log_p = make(kind)(*text(length=8, sentences=5))
    assert log_p.shape == (5, 8, WORDS)
    assert torch.allclose(log_p.exp().sum(-1), torch.ones(5, 8, dtype=torch.float64), atol=1e-14)
    far = make(kind)
    set_to(far, b=1e4 * far.b)  # no overflow
    assert torch.allclose(far(*text()).exp().sum(-1), torch.ones(3, 6, dtype=torch.float64), atol=1e-14)


@every_model
@pytest.mark.parametrize("seed", [0, 1])
def test_gradients_equal_finite_differences(kind, seed):
    model, (tokens, tags, u) = make(kind, seed=seed), text(length=4, sentences=2, seed=seed)
    names, values = zip(*model.named_parameters(), strict=True)

    def nats(u, *values):
        log_p = functional_call(model, dict(zip(names, values, strict=True)), (tokens, tags, u))
        return log_p.gather(2, tokens[:, :, None]).sum((1, 2))

    assert torch.autograd.gradcheck(nats, (u.requires_grad_(), *values))


# --- Who sees what ---------------------------------------------------------------------------------------------------


@every_model
@pytest.mark.parametrize("context", [1, 3])
def test_a_position_sees_exactly_the_words_of_its_context(kind, context):
    """Not its own word, none behind it, and none further back: another word at j matters at j + 1 .. j + context."""
    model, (tokens, tags, u) = make(kind, context=context), text(length=7)
    before = model(tokens, tags, u)
    for j in range(7):
        other = tokens.clone()
        other[:, j] = tokens[:, j] % (WORDS - 1) + 1
        found = changed(model(other, tags, u), before)
        assert found.tolist() == [[j < t <= j + context for t in range(7)]] * 3


@pytest.mark.parametrize("tag_context", [0, 1, 3])
def test_a_position_sees_its_own_tag_and_exactly_as_many_forward(tag_context):
    model, (tokens, tags, u) = make("scnlm", tag_context=tag_context, gate_dim=20), text(length=7)
    before = model(tokens, tags, u)
    for j in range(7):
        other = tags.clone()
        other[:, j] = tags[:, j] % (TAGS - 1) + 1
        found = changed(model(tokens, other, u), before)
        assert found.tolist() == [[t <= j <= t + tag_context for t in range(7)]] * 3


def test_tags_and_content_matter_where_the_model_has_them():
    tokens, tags, u = text()
    for kind, by_tags, by_content in (("lbl", False, False), ("multiplicative", False, True), ("scnlm", True, True)):
        model = make(kind)
        before = model(tokens, tags, u)
        assert changed(model(tokens, tags % (TAGS - 1) + 1, u), before).all().item() is by_tags
        assert changed(model(tokens, tags, -u), before).all().item() is by_content


@every_model
def test_padding_behind_the_end_changes_nothing(kind):
    model, (tokens, tags, u) = make(kind), text()
    padded = torch.nn.functional.pad(tokens, (0, 4), value=PAD_ID), torch.nn.functional.pad(tags, (0, 4), value=NO_TAG)
    assert torch.allclose(model(*padded, u)[:, :6], model(tokens, tags, u), atol=1e-12)


@every_model
def test_a_sentence_stands_for_itself(kind):
    model, sentences = make(kind), text(sentences=5)
    together = model(*sentences)
    for row in range(5):
        assert torch.allclose(together[row], model(*(x[row : row + 1] for x in sentences))[0], atol=1e-12)


# --- Start, dropout, settings ----------------------------------------------------------------------------------------


@every_model
def test_a_model_starts_near_the_uniform_distribution(kind):
    """At the default sizes: the first loss is about log V, not one of guesses that are sure and wrong."""
    torch.manual_seed(0)
    model = make_model(LMConfig(model=kind), 1000, 300, 20)
    draw = torch.Generator().manual_seed(1)
    tokens = torch.randint(4, 1000, (20, 8), generator=draw)
    u = torch.nn.functional.normalize(torch.randn(20, 300, generator=draw), dim=1)
    with torch.inference_mode():
        log_p = model(tokens, torch.randint(0, 20, (20, 8), generator=draw), u)
    nats = -log_p.gather(2, tokens[:, :, None]).mean().item()
    assert nats == pytest.approx(np.log(1000), abs=0.06)


@every_model
def test_dropout_is_for_training_alone(kind):
    model, sentences = make(kind, dropout=0.5), text()
    before = make(kind)(*sentences)
    assert torch.equal(model(*sentences), before)
    torch.manual_seed(0)
    model.train()
    assert changed(model(*sentences), before).any()
    assert changed(model(*sentences), model(*sentences)).any()


def test_each_model_adds_to_the_one_before():
    kinds = [type(make(kind)) for kind in ("lbl", "multiplicative", "scnlm")]
    assert kinds == [LBL, MultiplicativeLM, SCNLM] and [kind.__base__ for kind in kinds[1:]] == kinds[:2]
    shapes = {name: tuple(p.shape) for name, p in make("scnlm").named_parameters()}
    assert shapes == {
        "R": (WORDS, 5), "C": (2, 3, 3), "b": (WORDS,), "W_fk": (5, 3), "W_fu": (5, 7),
        "t": (TAGS, 2), "T": (3, 2, 7), "T_u": (7, DIM), "b_u": (7,),
    }  # fmt: skip
    assert {name: tuple(p.shape) for name, p in make("lbl").named_parameters()} == {
        "R": (WORDS, 3), "C": (2, 3, 3), "b": (WORDS,)
    }  # fmt: skip
    assert make("multiplicative").W_fu.shape == (5, DIM)


@pytest.mark.parametrize(
    "wrong, says",
    [
        ({"model": "rnn"}, "model = 'rnn': expected lbl, multiplicative or scnlm"),
        *(
            ({name: size}, f"{name} = {size}: expected")
            for name in ("word_dim", "num_factors", "context", "gate_dim", "tag_dim")
            for size in (0, 70_000, 8.0)
        ),
        ({"tag_context": -1}, "tag_context = -1: expected a number in [0, "),
        ({"dropout": 1.0}, "dropout = 1.0: expected"),
        ({"dropout": -0.1}, "dropout = -0.1: expected"),
        ({"dropout": float("nan")}, "dropout = nan: expected"),
    ],
    ids=str,
)
def test_settings_without_sense_are_refused_in_one_line(wrong, says):
    with pytest.raises(InputError) as error:
        config_from_dict(LMConfig, wrong)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_the_defaults_are_the_papers():
    assert (LMConfig().model, LMConfig().num_factors) == ("scnlm", 100)
