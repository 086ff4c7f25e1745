"""vse.encoders.dropout: the mask's chance, its scale, its gradient, and where its numbers come from."""

import pytest
import torch

from vse.encoders.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_an_element_is_zero_with_chance_p_and_else_divided_by_the_rest(p, kind):
    torch.manual_seed(0)
    x = torch.full((1000, 1001), 2.0, dtype=kind)
    y = Dropout(p)(x)
    assert y.dtype == kind and y.shape == x.shape
    assert set(y.unique().tolist()) == {0.0, (x[0, 0] * torch.tensor(1 / (1 - p), dtype=kind)).item()}
    assert (y == 0).double().mean().item() == pytest.approx(p, abs=4 * (p * (1 - p) / x.numel()) ** 0.5)


def test_neighbors_are_independent():
    torch.manual_seed(0)
    dropped = (Dropout(0.3)(torch.ones(1_000_000)) == 0).double()
    for distance in (1, 2, 3, 4, 5, 8):
        both = (dropped[:-distance] * dropped[distance:]).mean().item()
        assert both == pytest.approx(0.09, abs=0.002), distance


def test_the_gradient_has_the_masks_zeros_and_scale():
    torch.manual_seed(0)
    x = torch.randn(7, 5, requires_grad=True)
    y = Dropout(0.4)(x)
    y.sum().backward()
    assert torch.equal(x.grad, torch.where(y == 0, 0.0, 1 / 0.6))


def test_the_same_seed_gives_the_same_mask_and_the_stream_goes_on():
    layer, x = Dropout(0.5), torch.ones(101)
    torch.manual_seed(3)
    first, second = layer(x), layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first) and not torch.equal(first, second)


def test_outside_training_or_without_a_chance_nothing_changes():
    x, before = torch.randn(4, 4), torch.get_rng_state()
    assert Dropout(0.5).eval()(x) is x and Dropout(0.0)(x) is x
    assert torch.equal(torch.get_rng_state(), before)
