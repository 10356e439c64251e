"""The refinement map: stretch and growth against dense Jacobians, paths against the model's own."""

import pytest
import torch
from toy_masked import toy_ids, toy_model

from plasticity.pnn import BertBaselineConfig, BertBaselineForMaskedLM
from plasticity.pnn.contraction import (
    growth,
    largest_stretch,
    path,
    refinement_map,
    relative_changes,
)

IDS = toy_ids(2)[:, :5]
PNN = toy_model(1).requires_grad_(False)


def shared_bert(**changes) -> BertBaselineForMaskedLM:
    torch.manual_seed(0)
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_attention_heads": 2}
    settings = {"intermediate_size": 24, "num_hidden_layers": 4, "share_layers": True}
    config = BertBaselineConfig(**sizes, **settings | {"hidden_dropout_prob": 0.0} | changes)
    return BertBaselineForMaskedLM(config).eval().requires_grad_(False)


@pytest.mark.parametrize("model", [PNN, shared_bert()], ids=["pnn", "universal_transformer"])
def test_stretch_and_growth_are_those_of_the_dense_jacobian(model):
    states = path(model, IDS, 3)
    function = refinement_map(model, states[0])
    stretch = largest_stretch(function, states[2], torch.Generator().manual_seed(0), 60)
    fastest = growth(function, states[2], torch.Generator().manual_seed(0), 200)
    for row in range(len(IDS)):
        start, state = states[0][row : row + 1], states[2][row : row + 1]
        one = refinement_map(model, start)
        jacobian = torch.autograd.functional.jacobian(one, state).view(80, 80)
        assert stretch[row] == pytest.approx(float(torch.linalg.matrix_norm(jacobian, 2)), rel=0.01)
        radius = torch.linalg.eigvals(jacobian).abs().max()
        assert fastest[row] == pytest.approx(float(radius), rel=0.03)


def test_a_map_that_shrinks_to_a_point_is_seen_to():
    state = torch.randn(3, 4, 16)
    shrink = lambda h: 0.5 * h + 1  # noqa: E731
    assert torch.allclose(largest_stretch(shrink, state, torch.Generator()), torch.tensor(0.5))
    states = [state]
    for _ in range(30):
        states.append(shrink(states[-1]))
    changes = relative_changes(tuple(states))
    assert changes.shape == (30, 3)
    assert (changes[-1] < 1e-6).all()


@pytest.mark.parametrize("model", [PNN, shared_bert()], ids=["pnn", "universal_transformer"])
def test_a_path_is_the_models_own_and_goes_on(model):
    states = path(model, IDS, 7)
    own = model(IDS, output_hidden_states=True).hidden_states
    for mine, theirs in zip(states, own, strict=False):
        torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(states[7], refinement_map(model, states[0])(states[6]))


def test_different_layers_have_no_one_map():
    with pytest.raises(ValueError, match="share_layers=True"):
        refinement_map(shared_bert(share_layers=False), torch.zeros(1, 5, 16))
