"""Variants of PNN: defaults change nothing, exchanges do what they say, counts are true."""

import itertools

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from plasticity.pnn import PnnConfig, PnnForMaskedLM
from plasticity.pnn.accounting import parameter_counts
from plasticity.pnn.variants import VariantConfig, VariantForMaskedLM

SIZES = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 12,
    "hidden_dropout_prob": 0.0,
    "initialization": "depth_scaled",
}
EXCHANGES = [
    {},
    {"gate": "constant"},
    {"gate": "scalar"},
    {"gate": "per_dimension"},
    {"normalise_proposal": False},
    {"start_at_zero": True},
    {"share_refiner": False},
    {"step_embeddings": True},
    {"reinject": True},
    {"num_base_layers": 2},
    {"block_sizes": [12, 24, 12]},
]


def variant(seed: int = 0, **changes) -> VariantForMaskedLM:
    torch.manual_seed(seed)
    return VariantForMaskedLM(VariantConfig(**SIZES, **changes)).eval()


@pytest.fixture(scope="module")
def ids() -> torch.Tensor:
    return torch.randint(5, 60, (3, 10), generator=torch.Generator().manual_seed(1))


def test_the_defaults_are_pnn_itself_seed_for_seed(ids):
    torch.manual_seed(0)
    plain = PnnForMaskedLM(PnnConfig(**SIZES)).eval()
    assert torch.equal(variant()(ids).logits, plain(ids).logits)


@pytest.mark.parametrize("changes", EXCHANGES, ids=str)
def test_products_are_counted_as_torch_counts_them(changes, ids):
    model = variant(**changes)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:
        model.pnn(ids)
    assert counted.get_total_flops() == 2 * ids.numel() * model.config.multiply_adds(ids.shape[1])


@pytest.mark.parametrize("changes", EXCHANGES, ids=str)
def test_padding_is_not_attended_to_and_more_steps_can_be_asked_for(changes, ids):
    model, mask = variant(**changes), torch.ones_like(ids)
    mask[:, 8:] = 0
    other = ids.clone()
    other[:, 8:] = 7
    one, two = (model(x, mask, num_steps=6).logits[:, :8] for x in (ids, other))
    torch.testing.assert_close(one, two)
    if not model.config.start_at_zero:  # then no step changes anything yet
        assert not torch.allclose(one, model(ids, mask).logits[:, :8])


@pytest.mark.parametrize("changes", EXCHANGES, ids=str)
def test_a_saved_variant_comes_back(changes, ids, tmp_path):
    model = variant(**changes)
    model.save_pretrained(tmp_path)
    again = VariantForMaskedLM.from_pretrained(tmp_path).eval()
    assert torch.equal(model(ids).logits, again(ids).logits)


def test_a_constant_gate_of_one_adds_the_whole_proposal(ids):
    model = variant(gate="constant", gate_level=1.0)
    states = model.pnn(ids, output_hidden_states=True).hidden_states
    for before, after in itertools.pairwise(states):
        torch.testing.assert_close(after, before + model.pnn.refiner.propose(before, None))


def test_learned_gates_start_as_the_constant_gate_of_one_half(ids):
    constant, scalar, dimensions = (
        variant(gate=kind) for kind in ("constant", "scalar", "per_dimension")
    )
    for learned in (scalar, dimensions):
        learned.load_state_dict(constant.state_dict(), strict=False)
        torch.testing.assert_close(learned(ids).logits, constant(ids).logits)
    assert scalar.pnn.refiner.gate.logit.shape == ()
    assert dimensions.pnn.refiner.gate.logit.shape == (16,)


def test_a_true_zero_start_proposes_nothing_and_still_learns(ids):
    model = variant(start_at_zero=True)
    states = model.pnn(ids, output_hidden_states=True).hidden_states
    torch.testing.assert_close(states[-1], states[0])
    model(ids, labels=ids).loss.backward()
    assert model.pnn.refiner.contract.weight.grad.abs().max() > 0


def test_step_embeddings_and_reinjection_change_what_a_step_reads(ids):
    plain = variant()
    state = start = plain.pnn.start(ids, None)
    for changes in ({"step_embeddings": True}, {"reinject": True}):
        model = variant(**changes)
        model.load_state_dict(plain.state_dict(), strict=False)
        read = start if "reinject" in changes else model.pnn.step_embedding.weight[1]
        wanted = plain.pnn.refiner(state + read, None)
        for got, expected in zip(model.pnn.refine(1, state, start, None), wanted, strict=True):
            torch.testing.assert_close(got, expected)


def test_refiners_of_their_own_are_used_in_turn(ids):
    model = variant(share_refiner=False)
    assert len(model.blocks) == 4
    state = model.pnn.start(ids, None)
    for step, number in ((0, 0), (3, 3), (9, 3)):  # beyond training the last goes on
        gate, proposal = model.pnn.refine(step, state, state, None)
        expected = model.blocks[number](state, None)
        assert torch.equal(gate, expected[0]) and torch.equal(proposal, expected[1])


@pytest.mark.parametrize(
    ("sizes", "count"),
    [([1024, 1536, 2048, 1536, 1024], 76_947_520), ([640, 896, 1024, 896, 640], 72_225_856)],
)
def test_the_hierarchical_refiner_has_the_counts_of_the_reference(sizes, count):
    with torch.device("meta"):
        model = VariantForMaskedLM(VariantConfig(block_sizes=sizes))
    assert parameter_counts(model)["untied"] == count


def test_a_hierarchy_of_one_block_with_open_last_gate_is_pnn(ids):
    plain, model = variant(), variant(block_sizes=[24])
    own = {f"pnn.refiner.blocks.0.{k}": v for k, v in plain.pnn.refiner.state_dict().items()}
    model.load_state_dict(plain.state_dict() | own, strict=False)
    state = plain.pnn.start(ids, None)
    gate, proposal = plain.pnn.refiner(state, None)
    torch.testing.assert_close(model.pnn.refiner(state, None)[1], gate * proposal)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"gate": "open"}, "gate"),
        ({"gate_level": 0.0}, "gate_level"),
        ({"num_base_layers": -1}, "num_base_layers"),
        ({"block_sizes": []}, "block_sizes"),
    ],
)
def test_what_is_out_of_range_is_named(changes, named):
    with pytest.raises(ValueError, match=f"^{named} must be"):
        VariantConfig(**SIZES, **changes)
