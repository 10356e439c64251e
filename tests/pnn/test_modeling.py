"""The PNN model: the published counts, the equations, and what a fresh model does."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from plasticity.pnn import (
    BertBaselineConfig,
    BertBaselineForMaskedLM,
    PnnConfig,
    PnnForMaskedLM,
    PnnModel,
)
from plasticity.pnn.accounting import flops_per_token, parameter_counts
from plasticity.pnn.masking import IGNORED_LABEL

SIZES = {"vocab_size": 60, "hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 24}


def small(**changes) -> PnnConfig:
    return PnnConfig(**SIZES, max_position_embeddings=12, hidden_dropout_prob=0.0, **changes)


@pytest.fixture
def model() -> PnnForMaskedLM:
    torch.manual_seed(0)
    return PnnForMaskedLM(small()).eval()


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(5, 60, (3, 10), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("model_class", "config", "untied", "encoder"),
    [
        (PnnForMaskedLM, PnnConfig(), 53_707_323, 6_695_169),
        (BertBaselineForMaskedLM, BertBaselineConfig(), 132_066_618, 85_054_464),
    ],
)
def test_counts_at_paper_size(model_class, config, untied, encoder):
    with torch.device("meta"):
        counts = parameter_counts(model_class(config))
    assert counts["untied"] == untied
    assert counts["encoder"] == encoder
    assert counts["tied"] == untied - 30522 * 768


def test_flops_follow_the_matrices():
    config = PnnConfig()
    matrices = 4 * 768**2 + 2 * 768 * 2048 + 2 * 768**2
    attention = 2 * 768 * 128
    assert flops_per_token(config, 128)["blocks"] == 6 * 4 * (matrices + attention)
    assert flops_per_token(config, 128, 0.3)["head"] == 2 * flops_per_token(config, 128)["head"]


def test_steps_are_one_module_applied_again(model, ids):
    out = model.pnn(ids, output_hidden_states=True, output_gates=True, output_deltas=True)
    assert len(out.hidden_states) == 5
    state = out.hidden_states[0]
    for step in range(4):
        gate, proposal = model.pnn.refiner(state, None)
        assert torch.equal(out.gates[step], gate)
        assert torch.equal(out.deltas[step], gate * proposal)
        state = state + gate * proposal
        torch.testing.assert_close(out.hidden_states[step + 1], state)
        state = out.hidden_states[step + 1]
    assert torch.equal(model.pnn(ids, num_steps=2).last_hidden_state, out.hidden_states[2])
    assert torch.equal(model.pnn(ids, num_steps=0).last_hidden_state, out.hidden_states[0])


def test_attention_is_torch_multi_head_attention(model, ids):
    ours = model.pnn.refiner.attention
    theirs = torch.nn.MultiheadAttention(16, 4, batch_first=True)
    theirs.in_proj_weight.data = ours.projection.weight.data
    theirs.in_proj_bias.data = ours.projection.bias.data
    theirs.out_proj.load_state_dict(ours.output.state_dict())
    state = model.pnn.embeddings(ids)
    padding = torch.ones(3, 10, dtype=torch.bool)
    padding[1, 6:] = False
    expected = theirs(state, state, state, key_padding_mask=~padding, need_weights=False)[0]
    found = ours(state, padding[:, None, None, :])
    torch.testing.assert_close(found, expected)


def test_gate_is_the_paper_equation(model, ids):
    gate = model.pnn.refiner.gate
    state, proposal = torch.randn(2, 3, 10, 16)
    query = state @ gate.query.weight.T + gate.query.bias
    key = proposal @ gate.key.weight.T + gate.key.bias
    torch.testing.assert_close(gate(state, proposal), torch.sigmoid(query * key / 4.0))


def test_padding_changes_nothing(model, ids):
    padded = torch.cat([ids, torch.zeros(3, 2, dtype=torch.long)], dim=1)
    mask = (padded != 0).long()
    torch.testing.assert_close(model(padded, mask).logits[:, :10], model(ids).logits)


def test_loss_on_masked_positions_is_the_weighted_sum_over_steps(model, ids):
    labels = torch.full_like(ids, IGNORED_LABEL)
    labels[:, 2:5] = ids[:, 2:5]
    out = model(ids, labels=labels, output_hidden_states=True)
    expected = sum(
        weight * F.cross_entropy(model.head(state).flatten(0, 1), labels.flatten())
        for weight, state in zip((0.1, 0.2, 0.3, 0.4), out.hidden_states[1:], strict=True)
    )
    torch.testing.assert_close(out.loss, expected)
    torch.testing.assert_close(out.logits, model(ids).logits[:, 2:5].flatten(0, 1))
    halved = model(ids, labels=labels, num_items_in_batch=18).loss
    torch.testing.assert_close(halved, expected / 2)


def test_any_number_of_steps_has_weights(model, ids):
    labels = ids.clone()
    for steps in (1, 2, 6):
        assert torch.isfinite(model(ids, labels=labels, num_steps=steps).loss)
    with pytest.raises(ValueError, match="at least one readout"):
        model(ids, labels=labels, num_steps=0)


def test_fresh_model_as_released_updates_at_once():
    torch.manual_seed(0)
    config = PnnConfig(vocab_size=500, num_steps=1)
    ids = torch.randint(5, 500, (2, 64))
    out = PnnModel(config).eval()(ids, output_gates=True, output_deltas=True)
    assert out.gates[0].mean().item() == pytest.approx(0.5, abs=1e-3)
    assert out.deltas[0].pow(2).mean().sqrt().item() == pytest.approx(0.5, abs=0.01)


def test_fresh_model_as_in_the_paper_starts_at_zero():
    torch.manual_seed(0)
    for initialization in ("normal", "width_scaled", "depth_scaled"):
        model = PnnModel(small(reading="as_paper", initialization=initialization))
        out = model.eval()(torch.arange(5, 13)[None], output_deltas=True)
        assert all(delta.abs().max() == 0 for delta in out.deltas)


def test_initializations():
    torch.manual_seed(0)
    normal = PnnModel(PnnConfig(vocab_size=2000))
    assert normal.refiner.expand.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert normal.refiner.gate.temperature.item() == pytest.approx(768**0.5)
    scaled = PnnModel(PnnConfig(vocab_size=2000, initialization="width_scaled"))
    assert scaled.embeddings.token.weight.std().item() == pytest.approx(768**-0.5, rel=0.02)
    xavier = (6 / (768 + 2048)) ** 0.5 / 3**0.5
    assert scaled.refiner.expand.weight.std().item() == pytest.approx(xavier, rel=0.02)


@pytest.mark.parametrize(
    "model",
    [
        PnnForMaskedLM(small(step_weights=[0.5, 0.5], num_steps=2)),
        BertBaselineForMaskedLM(
            BertBaselineConfig(**SIZES, num_hidden_layers=2, max_position_embeddings=12)
        ),
    ],
    ids=["pnn", "bert"],
)
def test_saved_and_loaded_is_the_same(model, ids, tmp_path):
    model.save_pretrained(tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"]
    loaded = type(model).from_pretrained(tmp_path)
    assert loaded.config.to_diff_dict() == model.config.to_diff_dict()
    assert torch.equal(model.eval()(ids).logits, loaded.eval()(ids).logits)


def test_transformers_finds_the_token_embedding(model):
    bert = BertBaselineForMaskedLM(
        BertBaselineConfig(**SIZES, num_hidden_layers=1, max_position_embeddings=12)
    )
    for one in (model, bert):
        assert one.get_input_embeddings().weight.shape == (60, 16)
        one.resize_token_embeddings(64)
        assert one.get_input_embeddings().weight.shape == (64, 16)


def test_bert_readouts_enter_the_loss(ids):
    torch.manual_seed(0)
    config = BertBaselineConfig(
        **SIZES, num_hidden_layers=4, num_readouts=2, max_position_embeddings=12
    )
    model = BertBaselineForMaskedLM(config).eval()
    labels = ids.clone()
    out = model(ids, labels=labels, output_hidden_states=True)
    assert len(out.hidden_states) == 5
    assert config.readout_layers == [2, 4]
    expected = sum(
        weight * F.cross_entropy(model.head(out.hidden_states[layer]).flatten(0, 1), ids.flatten())
        for weight, layer in ((1 / 3, 2), (2 / 3, 4))
    )
    torch.testing.assert_close(out.loss, expected)


def test_shared_layers_are_one_layer_applied_again(ids):
    config = BertBaselineConfig(
        **SIZES, num_hidden_layers=3, share_layers=True, max_position_embeddings=12
    )
    model = BertBaselineForMaskedLM(config).eval()
    assert len(model.layers) == 1
    states = model(ids, output_hidden_states=True).hidden_states
    assert len(states) == 4
    for before, after in itertools.pairwise(states):
        torch.testing.assert_close(model.layers[0](before, None), after)
    assert not torch.equal(states[1], states[2])


@pytest.mark.parametrize("model_class", [PnnForMaskedLM, BertBaselineForMaskedLM])
def test_positions_start_at_the_size_that_is_asked_for(model_class):
    def size(scale):
        config = model_class.config_class(
            **SIZES, initialization="width_scaled", position_scale=scale
        )
        return (
            model_class(config)
            .get_submodule("pnn.embeddings" if model_class is PnnForMaskedLM else "embeddings")
            .position.weight.norm()
        )

    torch.testing.assert_close(size(3.0), 3 * size(1.0))


@pytest.mark.parametrize(
    ("model_class", "changes", "branches", "factor"),
    [
        (PnnForMaskedLM, {"num_steps": 2}, ("refiner.attention.output", "refiner.contract"), 0.5),
        (
            BertBaselineForMaskedLM,
            {"num_hidden_layers": 8},
            ("attention.output.dense", "output.dense"),
            0.25,
        ),
    ],
    ids=["pnn", "bert"],
)
def test_a_depth_scaled_start_shrinks_what_is_added_to_the_state(
    model_class, changes, branches, factor
):
    def start(initialization):
        torch.manual_seed(0)
        config = model_class.config_class(**SIZES, **changes, initialization=initialization)
        return dict(model_class(config).named_parameters())

    width, depth = start("width_scaled"), start("depth_scaled")
    shrunk = [name for name in width if name.endswith(tuple(f"{b}.weight" for b in branches))]
    assert len(shrunk) == 2 * changes.get("num_hidden_layers", 1)
    for name, weight in width.items():
        torch.testing.assert_close(depth[name], weight * (factor if name in shrunk else 1.0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"position_scale": 0.0}, "position_scale must be above 0, got 0.0"),
        ({"hidden_size": 10}, "multiple of num_attention_heads"),
        ({"num_steps": 0}, "num_steps must be at least 1, got 0"),
        ({"hidden_dropout_prob": 1.0}, r"hidden_dropout_prob must be in \[0, 1\), got 1.0"),
        ({"reading": "as_dreamt"}, "reading must be one of"),
        ({"initialization": "zero"}, "initialization must be one of"),
        ({"step_weights": [1.0]}, "one weight for each of the 4 steps, got 1"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        PnnConfig(**changes)


def test_bad_calls_are_named(model):
    with pytest.raises(ValueError, match="at most 12 tokens"):
        model(torch.zeros(1, 13, dtype=torch.long))
    with pytest.raises(ValueError, match="num_steps must be 0 or more, got -1"):
        model(torch.zeros(1, 3, dtype=torch.long), num_steps=-1)
    with pytest.raises(ValueError, match="num_readouts must divide"):
        BertBaselineConfig(num_readouts=5)
