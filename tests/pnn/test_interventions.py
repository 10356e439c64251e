"""Interventions: hooks at named sites change what they say they change, and nothing else."""

import pytest
import torch
from torch import nn
from toy_masked import toy_model

from plasticity.pnn import interventions as change
from plasticity.pnn.interventions import SITES, Intervention, intervene
from plasticity.pnn.variants import VariantConfig, VariantForMaskedLM


@pytest.fixture(params=["as_released", "as_paper"])
def model(request):
    made = toy_model(reading=request.param)
    with torch.no_grad():  # the paper's zero start would leave nothing to change
        made.pnn.refiner.contract.weight.normal_(0, 0.3)
    return made


@pytest.fixture
def ids():
    return torch.tensor([[5, 6, 7, 8, 9, 10], [11, 12, 13, 0, 0, 0]])


def states(model, ids, *interventions, mask=None):
    with torch.no_grad(), intervene(model, *interventions):
        out = model.pnn(ids, mask, output_hidden_states=True, output_gates=True)
    return out.hidden_states, out.gates


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_an_identity_at_every_site_changes_no_bit(model, ids):
    plain = model.pnn(ids, (ids != 0).long(), output_hidden_states=True).hidden_states
    everywhere = [Intervention(site, change.identity) for site in SITES]
    changed, _ = states(model, ids, *everywhere, mask=(ids != 0).long())
    assert same(plain, changed)


def test_hooks_leave_with_the_context_even_after_an_error(model, ids):
    def fail(value, moment):
        raise RuntimeError("stop")

    before, _ = states(model, ids)
    with pytest.raises(RuntimeError, match="stop"):
        states(model, ids, Intervention("gate", fail))
    after, _ = states(model, ids)
    assert same(before, after)


@pytest.mark.parametrize("site", SITES)
def test_each_site_is_reached_at_the_step_asked_for(model, ids, site):
    before, _ = states(model, ids)
    after, _ = states(model, ids, Intervention(site, change.scale(0.5), steps={3}))
    assert same(before[:3], after[:3])
    if site == "raw_proposal" and not isinstance(model.pnn.refiner.proposal_norm, nn.Identity):
        # The norm behind the feed-forward network takes its scale away: specification 1.5.
        torch.testing.assert_close(before[3], after[3], rtol=1e-3, atol=1e-3)
    else:
        assert (before[3] - after[3]).abs().max() > 1e-3


def test_sites_are_what_their_names_say(model, ids):
    before, gates = states(model, ids)
    halved = {
        site: states(model, ids, Intervention(site, change.scale(0.5), steps={1}))[0]
        for site in ("gate", "delta", "state")
    }
    half_way = before[0] + 0.5 * (before[1] - before[0])
    torch.testing.assert_close(halved["gate"][1], half_way)
    torch.testing.assert_close(halved["delta"][1], half_way)
    torch.testing.assert_close(halved["state"][1], 0.5 * before[1])
    _, open_gates = states(model, ids, Intervention("gate", change.constant(1.0), steps={2}))
    assert (open_gates[1] == 1).all() and torch.equal(open_gates[0], gates[0])


def test_changes_at_one_site_apply_in_order(model, ids):
    half, opposite = change.scale(0.5), change.opposite

    def one(value, moment):
        return opposite(half(value, moment), moment)

    for site in ("gate", "delta"):
        together, _ = states(model, ids, Intervention(site, half), Intervention(site, opposite))
        alone, _ = states(model, ids, Intervention(site, one))
        assert same(together, alone)


def test_changes_do_what_they_say():
    torch.manual_seed(0)
    gate, moment = torch.rand(2, 3, 400) * 0.6, change.Moment(1)
    generator = torch.Generator().manual_seed(0)
    mirrored = change.opposite_about_mean(gate, moment)
    torch.testing.assert_close(mirrored.mean(-1), gate.mean(-1), atol=0.01, rtol=0)
    torch.testing.assert_close(change.partly(change.opposite, 0.0)(gate, moment), gate)
    torch.testing.assert_close(change.partly(change.opposite, 1.0)(gate, moment), 1 - gate)
    dropped = change.drop(0.25, generator)(gate, moment)
    assert 0.2 < (dropped == 0).float().mean() < 0.3
    assert ((dropped == 0) | (dropped == gate)).all()
    rescaled = change.drop(0.25, generator, rescaled=True)(gate, moment)
    torch.testing.assert_close(rescaled.mean(), gate.mean(), rtol=0.05, atol=0)
    assert change.add_noise(0.5, generator)(gate, moment).min() == 0
    assert change.add_logit_noise(5.0, generator)(gate, moment).min() > 0
    shuffled = change.shuffle_dimensions(generator)(gate, moment)
    assert torch.equal(shuffled.sort(-1).values, gate.sort(-1).values)
    assert not torch.equal(shuffled, gate)
    assert change.mean_of_token(gate, moment).std(-1).max() < 1e-6
    levels = torch.rand(2, 400)
    assert torch.equal(change.fixed_profile(levels)(gate, change.Moment(2))[1, 2], levels[1])


def test_tokens_are_exchanged_whole_and_padding_stays():
    gate = torch.arange(12.0).view(2, 3, 2)
    words = torch.tensor([[True, True, True], [True, False, False]])
    generator = torch.Generator().manual_seed(1)
    exchanged = change.shuffle_tokens(generator)(gate, change.Moment(1, words))
    assert torch.equal(exchanged[~words], gate[~words])
    tokens = {tuple(token) for token in gate[words].tolist()}
    assert {tuple(token) for token in exchanged[words].tolist()} == tokens
    assert not torch.equal(exchanged[words], gate[words])


@pytest.mark.parametrize("sign", [1, -1])
def test_the_matched_scaling_is_of_the_same_size_and_keeps_the_direction(sign):
    torch.manual_seed(0)
    gate, proposal = torch.rand(2, 3, 16), torch.randn(2, 3, 16)
    moment = change.Moment(1, proposal=proposal)
    opposite = change.relative_size(gate, 1 - gate, moment)
    matched = change.of_the_same_size(change.opposite, sign)(gate, moment)
    torch.testing.assert_close(change.relative_size(gate, matched, moment), opposite)
    assert (torch.sign((matched - gate).mean(-1)) == sign).all()
    cosine = nn.functional.cosine_similarity(gate * proposal, matched * proposal, dim=-1)
    torch.testing.assert_close(cosine.abs(), torch.ones(2, 3))


def test_a_meter_measures_and_does_not_act(model, ids):
    before, _ = states(model, ids)
    meter = change.SizeMeter(change.scale(0.75))
    after, _ = states(model, ids, Intervention("gate", meter))
    assert same(before, after)
    assert meter.mean() == pytest.approx(0.25, abs=1e-5)


def test_an_unknown_site_is_refused():
    with pytest.raises(ValueError, match="site is 'ffn'; allowed: attention, raw_proposal"):
        Intervention("ffn", change.identity)


def test_a_refiner_for_each_step_is_reached_at_its_step(ids):
    torch.manual_seed(0)
    config = VariantConfig(
        vocab_size=40, hidden_size=16, num_attention_heads=2, intermediate_size=24, num_steps=3,
        share_refiner=False,
    )  # fmt: skip
    model = VariantForMaskedLM(config).eval()
    plain, _ = states(model, ids)
    closed, _ = states(model, ids, Intervention("gate", change.scale(0.0), steps={2}))
    assert same(plain[:2], closed[:2])
    assert torch.equal(closed[2], closed[1]) and not torch.equal(plain[2], plain[1])
    assert not torch.equal(closed[3], closed[2])  # the third goes on


def test_a_site_that_a_refiner_lacks_is_named():
    config = VariantConfig(
        vocab_size=40, hidden_size=16, num_attention_heads=2, block_sizes=[8, 16]
    )
    model = VariantForMaskedLM(config)
    with (
        pytest.raises(ValueError, match=r"'attention', which HierarchicalRefiner .* gate, delta"),
        intervene(model, Intervention("attention", change.identity)),
    ):
        pass
    assert not model.pnn._forward_pre_hooks and not model.pnn.refiner._forward_pre_hooks


@pytest.mark.parametrize("variant", ["reinject", "step_embeddings"])
def test_a_state_that_is_not_all_that_is_read_is_refused(variant):
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_attention_heads": 2}
    model = VariantForMaskedLM(VariantConfig(**sizes, **{variant: True}))
    with (
        pytest.raises(ValueError, match="site is 'state', which the refiner of this model"),
        intervene(model, Intervention("state", change.identity)),
    ):
        pass
    with intervene(model, Intervention("delta", change.identity)):
        pass
