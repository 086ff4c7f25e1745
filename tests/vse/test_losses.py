"""vse.losses: the float64 loops of reference.py, gradients, and no negative from the same image."""

import dataclasses
import math

import numpy as np
import pytest
import reference
import torch

from vse.configs import TrainConfig
from vse.encoders.image import ImageConfig
from vse.encoders.text import TextConfig
from vse.losses import LossConfig, make_objective
from vse.runs.optimizer import make_optimizer, set_learning_rate
from vse.system.errors import InputError
from vse.system.settings import config_from_dict

CONFIGS = {
    "ranking": LossConfig(),
    "few": LossConfig(num_contrastive=2),
    "hardest": LossConfig(name="hardest"),
    "infonce": LossConfig(name="infonce"),
}


def unit(rows, dim=5, seed=0):
    vectors = torch.randn(rows, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(vectors, dim=1)


def batch(owner, seed=0):
    """(images, captions, same_image); rows of the same image have the same image embedding."""
    owner = torch.tensor(owner)
    return unit(10, seed=seed)[owner], unit(len(owner), seed=seed + 1), owner[:, None] == owner[None, :]


def objective(name, seed=0):
    return make_objective(CONFIGS[name], torch.Generator().manual_seed(seed)).double()


OWNER = [0, 1, 2, 0, 3, 1, 0]


@pytest.mark.parametrize("owner", [OWNER, [0, 1], [4, 4, 4, 2], list(range(8))])
@pytest.mark.parametrize(
    "name, loop, setting",
    [
        ("ranking", reference.ranking_loss, 0.2),
        ("hardest", reference.hardest_loss, 0.2),
        ("infonce", reference.info_nce, 0.05),
    ],
)
def test_the_loss_equals_the_loops(name, loop, setting, owner):
    images, captions, same = batch(owner)
    expected = loop(images.numpy(), captions.numpy(), owner, setting)
    assert expected > 0
    assert objective(name)(images, captions, same).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_equal_finite_differences(name):
    images, captions, same = unit(7, seed=3), unit(7, seed=4), batch(OWNER)[2]
    images.requires_grad_(), captions.requires_grad_()
    torch.autograd.gradcheck(lambda x, v: objective(name)(x, v, same), (images, captions))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_caption_of_the_same_image_is_never_a_negative(name):
    """The scores between rows 0 and 3, both of image 0, are poisoned; nothing changes, no gradient flows."""
    same = batch([0, 1, 2, 0, 3, 4, 5])[2]
    scores = unit(7).float() @ unit(7, seed=1).float().T
    results = []
    for poison in (0.0, 5.0):
        poisoned = scores.clone()
        poisoned[0, 3] = poisoned[3, 0] = poison
        poisoned.requires_grad_()
        loss = make_objective(CONFIGS[name], torch.Generator().manual_seed(1))
        value = loss(torch.eye(7), poisoned.T, same)  # so that scores = poisoned
        value.backward()
        assert poisoned.grad[0, 3] == poisoned.grad[3, 0] == 0
        assert poisoned.grad.abs().sum() > 0
        results.append(value.item())
    assert results[0] == results[1]


@pytest.mark.parametrize("name", ["ranking", "hardest"])
def test_pairs_apart_by_more_than_the_margin_cost_nothing(name):
    eye = torch.eye(6, dtype=torch.float64)
    assert objective(name)(eye, eye, eye.bool()) == 0
    near = objective(name)(0.19 * eye, eye, eye.bool())  # right pairs lead by 0.19, 0.01 short of the margin
    assert float(near) == pytest.approx(0.01 * 2 * (5 if name == "ranking" else 1))


@pytest.mark.parametrize("name", ["ranking", "hardest", "infonce"])
def test_the_order_of_pairs_does_not_matter(name):
    images, captions, same = batch(OWNER)
    order = torch.tensor([3, 1, 6, 0, 2, 5, 4])
    moved = objective(name)(images[order], captions[order], same[order][:, order])
    assert moved.item() == pytest.approx(objective(name)(images, captions, same).item(), rel=1e-12)


@pytest.mark.parametrize("name", ["ranking", "hardest", "infonce"])
def test_a_batch_of_one_image_alone_is_no_loss_and_no_nan(name):
    images, captions, same = batch([2, 2, 2])
    images.requires_grad_()
    value = objective(name)(images, captions, same)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-12) and torch.isfinite(images.grad).all()


@pytest.mark.parametrize("k", [1, 2, 3, 100])
def test_contrastive_items_are_k_allowed_ones_in_every_row(k):
    same = batch(OWNER)[2]
    loss = make_objective(LossConfig(num_contrastive=k), torch.Generator().manual_seed(0))
    for _ in range(20):
        drawn = loss._draw(~same)
        assert not (drawn & same).any()
        assert drawn.sum(1).tolist() == [min(k, n) for n in (~same).sum(1).tolist()]


def test_contrastive_items_are_drawn_evenly():
    same = batch(OWNER)[2]
    loss = make_objective(LossConfig(num_contrastive=2), torch.Generator().manual_seed(0))
    share = sum(loss._draw(~same).double() for _ in range(2000)) / 2000
    expected = (~same).double() * 2 / (~same).sum(1, keepdim=True)
    assert (share - expected).abs().max() < 0.05


def test_both_directions_draw_their_own_contrastive_items():
    """Each image meets k wrong captions, each caption k wrong images; each costs the margin."""
    scores = torch.zeros(8, 8, requires_grad=True)
    loss = make_objective(LossConfig(num_contrastive=3), torch.Generator().manual_seed(0))
    value = loss(torch.eye(8), scores.T, torch.eye(8).bool())
    value.backward()
    assert value.item() == pytest.approx(2 * 3 * 0.2)
    assert scores.grad.diagonal().tolist() == pytest.approx([-2 * 3 / 8] * 8)  # as often as it was compared


def test_the_generator_decides_the_draw():
    images, captions, same = batch(list(range(9)))
    values = [objective("few", seed)(images, captions, same).item() for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    again = objective("few")
    assert again(images, captions, same) != again(images, captions, same)  # redrawn every time


def test_as_many_contrastive_items_as_there_are_is_all_of_them():
    images, captions, same = batch(OWNER)
    for k in (6, 7, 50):
        drawn = make_objective(LossConfig(num_contrastive=k), torch.Generator())(images, captions, same)
        assert drawn.item() == objective("ranking")(images, captions, same).item()


def test_the_expected_loss_of_k_items_is_their_share_of_the_whole():
    images, captions, same = batch(list(range(9)))
    few = objective("few")
    mean = np.mean([few(images, captions, same).item() for _ in range(3000)])
    assert mean == pytest.approx(objective("ranking")(images, captions, same).item() * 2 / 8, rel=0.03)


def test_the_temperature_is_learned_only_when_asked_for():
    images, captions, same = batch(OWNER)
    learned = make_objective(LossConfig(name="infonce", temperature=0.2))
    assert learned.log_scale.exp().item() == pytest.approx(5)
    learned(images.float(), captions.float(), same).backward()
    assert learned.log_scale.grad != 0
    fixed = make_objective(LossConfig(name="infonce", learn_temperature=False))
    assert [p for p in fixed.parameters() if p.requires_grad] == []


def test_the_temperature_is_bounded():
    """From the start, after a step, and in a state of before there was the bound on the parameter."""
    images, captions, same = batch(OWNER)
    expected = reference.info_nce(images.numpy(), captions.numpy(), OWNER, 0.01)
    losses = [make_objective(LossConfig(name="infonce", temperature=t)).double() for t in (1e-4, 0.05, 0.05)]
    with torch.no_grad():
        losses[1].log_scale.fill_(20.0)
    losses[1].clamp_()
    losses[2].load_state_dict({"log_scale": torch.tensor(20.0)})
    for loss in losses:
        assert loss(images, captions, same).item() == pytest.approx(expected, rel=1e-5)


def test_a_temperature_at_its_bound_comes_back():
    """There the gradient is the derivative of the loss, and steps by it warm the temperature where that is better."""
    images, captions, same = unit(7), unit(7, seed=9), torch.eye(7).bool()  # nothing fits: an even guess is best
    loss = make_objective(LossConfig(name="infonce", temperature=1e-3)).double()
    optimizer = torch.optim.Adam(loss.parameters(), 0.1)
    value = loss(images, captions, same)
    value.backward()
    vectors = images.numpy(), captions.numpy()
    cooler, warmer = (reference.info_nce(*vectors, list(range(7)), 0.01 * factor) for factor in (1, 1.001))
    assert loss.log_scale.grad.item() == pytest.approx((cooler - warmer) / 0.001, rel=0.01) and cooler > warmer
    for _ in range(10):
        optimizer.step()
        loss.clamp_()
    assert loss.log_scale.exp().item() < 50


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "triplet"}, {"margin": 0.0}, {"temperature": -1.0}, {"num_contrastive": -1}, {"distill": 1.5},
        {"warmup_epochs": -1}, {"reduction": "max"}, {"num_contrastive": 2.0}, {"learn_temperature": "no"},
        *({name: math.nan} for name in ("margin", "temperature", "distill", "teacher_temperature")),
        *({name: math.inf} for name in ("margin", "temperature", "distill", "teacher_temperature")),
    ],
    ids=str,
)  # fmt: skip
def test_settings_without_sense_are_refused_in_one_line(wrong):
    with pytest.raises(InputError, match=r"loss\.") as error:
        config_from_dict(LossConfig, wrong, "loss")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [LossConfig, TextConfig, ImageConfig, TrainConfig])
def test_no_number_of_a_config_may_be_none(kind):
    """Also where the dataclass is made in Python, with a range or without one."""
    for field in dataclasses.fields(kind):
        if isinstance(field.default, float):
            for value in (math.nan, math.inf, -math.inf):
                with pytest.raises(InputError, match=rf"{field.name} = -?(nan|inf): expected a finite number"):
                    kind(**{field.name: value})


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_weights_decay_but_not_gains_biases_and_the_temperature(optimizer):
    """With gradients of zero only the decay moves a parameter."""
    shapes = {"matrix": (3, 2), "tensor": (2, 3, 2), "bias": (3,), "temperature": ()}
    parameters = {name: torch.nn.Parameter(torch.ones(shape)) for name, shape in shapes.items()}
    config = TrainConfig(optimizer=optimizer, learning_rate=0.1, weight_decay=0.5)
    stepper = make_optimizer(config, parameters)
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    set_learning_rate(stepper, config, 0, 1)
    stepper.step()
    moved = [bool((parameter != 1).any()) for parameter in parameters.values()]
    assert moved == ([True, True, False, False] if optimizer == "adamw" else [False] * 4)
    assert make_optimizer(config, {"bias": parameters["bias"]})  # only such


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_some_parameters_learn_at_a_rate_of_their_own(optimizer):
    parameters = {name: torch.nn.Parameter(torch.ones(2, 2)) for name in ("cnn.weight", "head.weight")}
    config = TrainConfig(optimizer=optimizer, learning_rate=0.1, schedule="constant", warmup_steps=2)
    stepper = make_optimizer(config, parameters, {"cnn.": 0.1})
    for step in range(3):
        for parameter in parameters.values():
            parameter.grad = torch.ones_like(parameter)
        set_learning_rate(stepper, config, step, 1)
        stepper.step()
    moved = {name: 1 - float(parameter.mean()) for name, parameter in parameters.items()}
    assert moved["cnn.weight"] == pytest.approx(0.1 * moved["head.weight"], rel=1e-4) and moved["head.weight"] > 0.2
