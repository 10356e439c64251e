"""Dropout with cheap masks: the rate, the scale and the gradient of torch's own."""

import pytest
import torch

from plasticity.pnn.dropout import Dropout


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_drops_at_the_rate_and_keeps_the_mean(rate):
    torch.manual_seed(0)
    out = Dropout(rate)(torch.ones(1000, 1001))
    spread = (rate * (1 - rate) / out.numel()) ** 0.5
    assert (out == 0).float().mean().item() == pytest.approx(rate, abs=5 * spread)
    assert out.max().item() == pytest.approx(1 / (1 - rate), rel=1e-3)


def test_neighbours_are_dropped_independently():
    """Four elements share a draw."""
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(2**20)) > 0).double() - 0.5
    for apart in range(1, 5):
        correlation = (kept[apart:] * kept[:-apart]).mean().item() / 0.25
        assert abs(correlation) < 5 * len(kept) ** -0.5


def test_the_gradient_passes_where_the_value_does():
    inputs = torch.randn(5, 7, requires_grad=True)
    out = Dropout(0.3)(inputs)
    out.sum().backward()
    torch.testing.assert_close(out, inputs * inputs.grad)


def test_a_seed_decides_the_mask():
    outs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outs.append(Dropout(0.5)(torch.ones(64)))
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])


@pytest.mark.parametrize("shape", [(), (0, 3), (3,), (2, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_shape_and_type_is_kept(shape, dtype):
    out = Dropout(0.5)(torch.ones(shape, dtype=dtype))
    assert (out.shape, out.dtype) == (shape, dtype)


def test_nothing_is_dropped_outside_training_or_at_rate_zero():
    inputs = torch.randn(3, 4)
    assert Dropout(0.5).eval()(inputs) is inputs
    assert torch.equal(Dropout(0.0)(inputs), inputs)
    assert not Dropout(1.0)(inputs).any()
