"""How newborns start: GradMax against its closed form, and starts that would be dead or undefined.

Bugs of the specification guarded here: 13, 14, 15, 16 and 58; for 17 see `test_preservation`.
"""

import contextlib
import copy

import pytest
import torch
import torch.nn.functional as F
from foam_toys import grow_everywhere, growth_batch, loss_for, toy_batch, toy_growable, toy_model
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from plasticity.foam.directions import orthogonalize, singular_directions
from plasticity.foam.events import generator_for
from plasticity.foam.initializers import GrowthSkipped, make_newborns
from plasticity.foam.measuring import measure


def gradients_at_birth(model, count=3, batch=None):
    """Grow the first layer for a batch; return the pairs seen, the cohort and the log's entry."""
    batch = growth_batch(model) if batch is None else batch
    _, pairs = measure(model, batch)
    result = model.grow({0: torch.arange(count)}, growth_batch=batch)
    model.zero_grad()
    loss_for(model).backward()
    [entry] = result.layers.values()
    return pairs[0], model.layers[0].cohorts[-1], entry


def scale(rows):
    return 0.5 * rows.norm(dim=1).mean()


def test_gated_gradient_is_c_sigma_one_of_its_own_gate():
    model = toy_growable(orthogonalize="none")
    (x, delta), cohort, entry = gradients_at_birth(model)
    c = scale(model.layers[0].block.up.weight)
    for j in range(3):
        exact = torch.linalg.svdvals((F.silu(x @ cohort.gate[j])[:, None] * delta).T @ x)[0]
        assert cohort.down.grad[:, j].norm().item() == pytest.approx((c * exact).item(), rel=1e-4)
        assert entry["sigma"][j] == pytest.approx(exact.item(), rel=1e-4)
    assert cohort.up.grad.count_nonzero() == 0
    assert cohort.gate.grad.count_nonzero() == 0


def test_gated_newborns_of_an_event_are_orthogonal_and_the_first_is_the_best():
    (x, delta), cohort, _ = gradients_at_birth(toy_growable(orthogonalize="newborns"), count=4)
    products = cohort.up @ cohort.up.T
    assert (products - products.diagonal().diag()).abs().max() < 1e-5 * products.max()
    exact = torch.linalg.svd((F.silu(x @ cohort.gate[0])[:, None] * delta).T @ x).Vh[0]
    assert F.cosine_similarity(cohort.up[0], exact, dim=0).abs().item() > 0.999


def test_up_zero_gives_c_sigma_one_to_the_up_row():
    model = toy_growable(zero="up", orthogonalize="none")
    c = scale(model.layers[0].block.down.weight.T)
    _, cohort, entry = gradients_at_birth(model)
    for j in range(3):
        expected = (c * entry["sigma"][j]).item()
        assert cohort.up.grad[j].norm().item() == pytest.approx(expected, rel=1e-4)
    assert cohort.down.grad.count_nonzero() == 0


def test_gate_zero_gives_c_sigma_one_to_the_gate_row():
    model = toy_growable(zero="gate", orthogonalize="none")
    c = scale(model.layers[0].block.down.weight.T)
    (x, delta), cohort, _ = gradients_at_birth(model)
    for j in range(3):
        exact = torch.linalg.svdvals((0.5 * (x @ cohort.up[j])[:, None] * delta).T @ x)[0]
        assert cohort.gate.grad[j].norm().item() == pytest.approx((c * exact).item(), rel=1e-4)


def test_ungated_fan_in_zero_is_the_optimum_of_the_paper():
    """No other columns of norm c, orthogonal, give the rows a larger gradient (Evci 2022)."""
    model = toy_growable("mlp", zero="up")
    c = scale(model.layers[0].block.down.weight.T)
    (x, delta), cohort, _ = gradients_at_birth(model, count=3)
    sigma = torch.linalg.svdvals(delta.T @ x)[:3]
    expected = c * 0.5 * sigma.square().sum().sqrt()  # GELU'(0) is 0.5
    assert cohort.up.grad.norm().item() == pytest.approx(expected.item(), rel=1e-3)


@pytest.mark.parametrize("kind", ["mlp", "gpt2"])
def test_ungated_zero_column_beats_random_and_is_what_sigma_says(kind):
    model = toy_growable(kind)
    c = scale(model.layers[0].rows("up"))
    _, cohort, entry = gradients_at_birth(model)
    found = cohort.down.grad.norm(dim=0)
    expected = c * torch.tensor(entry["sigma"])
    assert torch.allclose(found, expected, rtol=1e-3)
    others = toy_growable(kind, init="random")
    _, cohort, _ = gradients_at_birth(others)
    drawn = cohort.down.grad.norm(dim=0)
    assert found.max() > 1.5 * drawn.max()
    assert found.norm() > 1.2 * drawn.norm()


@given(st.integers(2, 12), st.integers(1, 40), st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_singular_directions_are_those_of_the_matrix(size, tokens, seed):
    generator = torch.Generator().manual_seed(seed)
    x, delta = torch.randn(2, tokens, size, generator=generator, dtype=torch.float64)
    start = torch.randn(1, size, generator=generator, dtype=torch.float64)
    found = singular_directions(x, delta, torch.ones(tokens, 1, dtype=torch.float64), start)
    matrix = delta.T @ x
    top, second = torch.linalg.svdvals(matrix)[:2]
    begun = (matrix @ start[0]).norm() / start.norm()
    assert begun * (1 - 1e-9) <= found.sigma[0] <= top * (1 + 1e-9)
    # Of two directions about as strong, a few rounds may end between them: no less than either.
    assert found.sigma[0] >= 0.99 * (top if second < 0.7 * top else second)
    assert torch.allclose((matrix @ found.right[0]).norm(), found.sigma[0])
    assert torch.allclose(found.right.norm(dim=1), torch.ones(1, dtype=torch.float64))


def test_more_newborns_than_dimensions_do_not_break():
    model = toy_growable("llama")
    model.grow({0: torch.arange(20)}, growth_batch=toy_batch())
    assert torch.isfinite(model.layers[0].cohorts[0].up).all()


def test_orthogonal_to_rows_that_span_the_space_is_refused_bug_13():
    """The reference's rule at any real size: 8,960 rows in 1,536 dimensions."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(32, 8, generator=generator)
    with pytest.raises(ValueError, match=r"rank 8 of 8.*orthogonalize='none'"):
        orthogonalize(torch.randn(2, 8, generator=generator), rows)
    model = toy_growable(init="copy_noise", orthogonalize="nearest", nearest_rows=100)
    assert grow_everywhere(model).born == 6  # never more than half of the dimensions


def test_zero_vectors_do_not_become_nan_bug_14():
    with pytest.raises(ValueError, match="leave nothing of a candidate"):
        orthogonalize(torch.zeros(1, 4), torch.eye(4)[:1])
    model = toy_growable("llama")
    with torch.no_grad():
        model.layers[0].block.up.weight[:3] = 0
        model.layers[0].block.gate.weight[:3] = 0
    with contextlib.suppress(GrowthSkipped):
        model.grow({0: torch.arange(3)}, growth_batch=toy_batch())
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize("zero", ["down", "up", "gate"])
@pytest.mark.parametrize("init", ["gradmax", "copy_noise", "random"])
def test_no_newborn_is_dead_bug_15(zero, init):
    """Zeroing gate and up together, GradMax's rule taken literally, leaves no gradient at all."""
    model = toy_growable(zero=zero, init=init)
    _, cohort, _ = gradients_at_birth(model)
    norms = {name: p.grad.norm().item() for name, p in cohort.named_parameters()}
    assert norms.pop(zero) > 0
    assert not any(norms.values())
    with torch.no_grad():
        cohort.gate.zero_()
        cohort.up.zero_()
        cohort.down.normal_()
    model.zero_grad()
    loss_for(model).backward()
    assert not any(p.grad.count_nonzero() for p in cohort.parameters())


def test_relu_cannot_start_with_a_zero_row_bug_16():
    def relu():
        model = nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 16))
        return model

    from foam_toys import fast_config

    from plasticity.foam.model import get_growable_model

    with pytest.raises(ValueError, match=r"f\(0\) = 0 and f'\(0\) not 0.*use zero='down'"):
        get_growable_model(relu(), fast_config(zero="up"))
    with pytest.raises(ValueError, match="has no gate"):
        get_growable_model(relu(), fast_config(zero="gate"))
    model = get_growable_model(relu(), fast_config())
    _, cohort, _ = gradients_at_birth(model)
    assert cohort.down.grad.norm(dim=0).min() > 0


@pytest.mark.parametrize("init", ["gradmax", "copy_noise", "random", "pair", "split"])
def test_events_are_drawn_from_their_seed_and_leave_the_global_generator_alone_bug_58(init):
    states = []
    for _ in range(2):
        model = toy_growable(init=init, orthogonalize="nearest")
        before = torch.get_rng_state()
        model.grow({0: torch.arange(4), 1: torch.arange(4)}, growth_batch=toy_batch())
        assert torch.equal(before, torch.get_rng_state())
        states.append(model.state_dict())
        torch.rand(1)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    other = toy_growable(init=init, seed=0)
    other.growth_config.seed = 1
    other.grow({0: torch.arange(4)}, growth_batch=toy_batch())
    same = torch.equal(other.layers[0].cohorts[0].up, states[0]["layers.0.cohorts.0.up"])
    assert same == (init == "split")


def test_both_of_a_pair_are_said_to_come_from_the_first_ones_source():
    model = toy_growable(init="pair", noise=0.0)
    entry = model.grow({0: torch.tensor([3, 7, 5, 2])}).layers[model.layers[0].block.name]
    assert entry["sources"] == [3, 3, 5, 5]
    layer = model.layers[0]
    assert layer.neurons.source[-4:].tolist() == [3, 3, 5, 5]
    assert torch.equal(layer.cohorts[0].up, layer.rows("up")[[3, 3, 5, 5]])


def test_copies_that_cannot_be_told_apart_are_not_born():
    model = toy_growable(init="copy_noise", noise=0.0, orthogonalize="newborns")
    with pytest.raises(GrowthSkipped, match="orthogonalize='none', more noise"):
        model.grow({0: torch.tensor([3, 3])})
    assert model.born == 0


def test_generators_of_layers_and_events_differ():
    drawn = {
        torch.rand(1, generator=generator_for(s, e, n)).item()
        for s in (0, 1)
        for e in (0, 1)
        for n in (0, 1)
    }
    assert len(drawn) == 8


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_gradients_that_say_nothing_skip_the_event(value):
    model = toy_growable()
    pairs = (torch.ones(5, 16), torch.full((5, 16), value))
    with pytest.raises(GrowthSkipped, match="finite and not all zero"):
        make_newborns(model.layers[0], torch.arange(2), generator_for(0, 0, 0), pairs)
    with pytest.raises(GrowthSkipped, match="has seen no gradients"):
        make_newborns(model.layers[0], torch.arange(2), generator_for(0, 0, 0), None)


def test_gradmax_beats_copies_and_random_rows_of_the_same_norm():
    """The goals of the specification, 1.5 and 2.5 times, on a briefly trained model."""
    found = {}
    for init in ("gradmax", "copy_noise", "random"):
        model = toy_growable(init=init, orthogonalize="none")
        optimizer = torch.optim.AdamW(model.base_model.parameters(), lr=1e-2)
        for step in range(30):
            optimizer.zero_grad()
            loss_for(model, toy_batch(seed=step % 3)).backward()
            optimizer.step()
        _, cohort, _ = gradients_at_birth(model, batch=toy_batch(seed=0))
        found[init] = (cohort.down.grad.norm(dim=0) / cohort.up.norm(dim=1)).mean().item()
    assert found["gradmax"] > 1.5 * found["copy_noise"]
    assert found["gradmax"] > 2.5 * found["random"]


def test_growing_for_a_batch_leaves_gradients_and_modes_alone():
    base = toy_model("gpt2")
    base.transformer.h[0].mlp.dropout.p = 0.5
    from plasticity.foam.model import get_growable_model

    model = get_growable_model(base)
    model.train()
    model.base_model.lm_head.eval()
    measured = [measure(model, toy_batch())[0] for _ in range(2)]
    assert measured[0] == measured[1]
    assert all(p.grad is None for p in model.parameters())
    assert base.transformer.h[0].mlp.dropout.training and not base.lm_head.training


def same_bits(model, before) -> bool:
    now = model.state_dict()
    return now.keys() == before.keys() and all(torch.equal(now[n], before[n]) for n in before)


def test_a_batch_whose_loss_is_not_finite_bears_nobody():
    model = toy_growable("mlp", init="random")
    before = copy.deepcopy(model.state_dict())

    def lost(base):
        return base(torch.full((2, 16), float("nan"))).square().mean()

    with pytest.raises(GrowthSkipped, match="the loss on growth_batch is nan"):
        grow_everywhere(model, growth_batch=lost)
    assert same_bits(model, before)
    with pytest.raises(ValueError, match="batch is empty; allowed: a batch, or a list of one"):
        grow_everywhere(model, growth_batch=[])


def test_newborns_alone_cannot_be_split():
    model = toy_growable(init="split")
    grow_everywhere(model, growth_batch=toy_batch())
    width = model.layers[0].block.width
    before, born = copy.deepcopy(model.state_dict()), model.born
    with pytest.raises(GrowthSkipped, match="all sources are newborns"):
        model.grow({0: torch.tensor([width, width + 1])}, growth_batch=toy_batch())
    assert same_bits(model, before)
    mixed = {0: torch.tensor([width]), 1: torch.tensor([0, width])}
    result = model.grow(mixed, growth_batch=toy_batch())
    assert result.born == 1 == model.born - born and len(result.layers) == 1
