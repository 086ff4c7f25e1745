"""vse.gradient_cache: chunks give the loss and the gradients of one big batch, dropout and all."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from vse.configs import TrainConfig
from vse.encoders.image import ImageConfig
from vse.encoders.text import TextConfig
from vse.gradient_cache import ChunkedLoss
from vse.losses import InfoNCELoss, LossConfig
from vse.model import VSEConfig
from vse.runs.checkpoint import load
from vse.train import train


def encoders():
    torch.manual_seed(0)
    return nn.ModuleList([nn.Linear(5, 4), nn.Sequential(nn.Linear(3, 4), nn.Tanh())]).double()


def gradients(modules):
    return [p.grad.clone() for module in modules for p in module.parameters()]


@pytest.mark.parametrize("chunk", [1, 3, 7, 20])
def test_the_gradient_is_that_of_one_big_batch(chunk):
    modules, objective = encoders(), InfoNCELoss(0.1).double()
    views = [torch.randn(7, 5, dtype=torch.float64), torch.randn(7, 3, dtype=torch.float64)]
    same = torch.eye(7, dtype=torch.bool)

    def score(*vectors):
        return objective(*(nn.functional.normalize(v, dim=1) for v in vectors), same)

    whole = score(*(module(view) for module, view in zip(modules, views, strict=True)))
    whole.backward()
    expected = gradients([*modules, objective])
    for module in (*modules, objective):
        module.zero_grad()
    chunks = [[partial(m, part) for part in view.split(chunk)] for m, view in zip(modules, views, strict=True)]
    loss = ChunkedLoss(chunks, score)
    loss.backward()
    assert loss.detach() == pytest.approx(whole.item(), abs=1e-14)
    for ours, theirs in zip(gradients([*modules, objective]), expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-14)


def test_both_passes_draw_the_same_dropout_and_the_stream_goes_on():
    """A linear loss of dropped-out rows: its gradient shows which were dropped."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.ones(6))
    masks = []

    def encode():
        masks.append(nn.functional.dropout(torch.ones(2, 6), 0.5))
        return masks[-1] * weight

    loss = ChunkedLoss([[encode, encode], [encode]], lambda first, second: first.sum() + second.sum())
    after = torch.get_rng_state()
    loss.backward()
    assert all(torch.equal(a, b) for a, b in zip(masks[:3], masks[3:], strict=True))
    assert not torch.equal(masks[0], masks[1]) and torch.equal(weight.grad, sum(masks[:3]).sum(0))
    assert torch.equal(torch.get_rng_state(), after)


def test_a_sum_of_losses_adds_their_gradients():
    weight = nn.Parameter(torch.ones(3))
    parts = [
        ChunkedLoss([[lambda: weight[None]], [lambda: weight[None]]], lambda a, b, f=f: f * (a * b).sum())
        for f in (2, 3)
    ]
    total = parts[0] + parts[1]
    total.backward()
    assert total.detach() == 15 and torch.equal(weight.grad, torch.full((3,), 10.0))


@pytest.mark.parametrize("extra_pairs", [0, 4])
def test_a_training_in_chunks_is_the_training(dataset, features, tmp_path, extra_pairs):
    text = TextConfig(encoder="transformer", word_dim=8, hidden=8, layers=1)
    config = TrainConfig(
        model=VSEConfig(embed_dim=8, init_range=0.0, text=text, image=ImageConfig(pooling="qkv", width=8, heads=2)),
        loss=LossConfig(name="infonce"), epochs=2, batch_size=16, optimizer="sgd", learning_rate=0.5,
        extra_pairs=extra_pairs, precision="float32",
    )  # fmt: skip
    more = {"device": "cpu", "extra_text": dataset if extra_pairs else None}
    for name, chunk in (("whole", 0), ("chunks", 5)):
        train(replace(config, chunk_size=chunk), dataset, features, tmp_path / name, **more)
    whole, chunks = (load(tmp_path / name).state_dict() for name in ("whole", "chunks"))
    assert all(torch.allclose(whole[name], chunks[name], atol=2e-4) for name in whole)
