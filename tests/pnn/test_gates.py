"""The gate: its values, what they vary with, their modes, and the chapter made of them."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from matplotlib import pyplot as plt
from tokenizers import Tokenizer, models

from plasticity.companion import metrics, profiles, statistics
from plasticity.companion.configuration import Runtime
from plasticity.experiments import pnn_gates
from plasticity.findings import pnn_gates as findings
from plasticity.plots import pnn_gates as plots
from plasticity.pnn import PnnConfig, PnnForMaskedLM
from plasticity.pnn.gates import gate_values, modes, variance_shares
from plasticity.pnn.masking import IGNORED_LABEL
from plasticity.pnn.tokenization import SPECIAL_TOKENS

CPU = Runtime(device="cpu", workers=1)
PAD, SEP, MASK = 0, 3, 4
PARTS = ["step", "dimension", "token", "step_dimension", "step_token", "dimension_token", "rest"]


@pytest.fixture(autouse=True)
def shipped_sample_only(monkeypatch):
    monkeypatch.delenv("PLASTICITY_DATA", raising=False)


def fresh_model(hidden_size: int = 16, seed: int = 0) -> PnnForMaskedLM:
    torch.manual_seed(seed)
    config = PnnConfig(
        vocab_size=60,
        hidden_size=hidden_size,
        num_attention_heads=4,
        intermediate_size=24,
        max_position_embeddings=12,
    )
    return PnnForMaskedLM(config).eval()


@pytest.fixture
def model() -> PnnForMaskedLM:
    return fresh_model()


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(5, 60, (20, 10), generator=torch.Generator().manual_seed(1))


# The library


@torch.no_grad()
def test_gate_values_are_those_of_the_models_own_gate(model, ids):
    ids[:, 7:] = PAD
    chosen = torch.zeros_like(ids, dtype=torch.bool)
    chosen[2, 5] = chosen[0, 1] = chosen[2, 9] = True
    found = gate_values(model, ids, chosen, pad_token_id=PAD, batch_size=7)
    assert found.shape == (4, 16, 3)
    assert found.dtype == np.float32
    state, mask = model.pnn.embeddings(ids), (ids != PAD)[:, None, None]
    for step in range(4):
        gate, proposal = model.pnn.refiner(state, mask)
        own = model.pnn.refiner.gate
        product = own.query(state) * own.key(proposal)
        by_hand = 1 / (1 + torch.exp(-product / own.temperature))
        expected = torch.stack([by_hand[0, 1], by_hand[2, 5], by_hand[2, 9]], dim=-1)
        np.testing.assert_allclose(found[step], expected, atol=1e-6)
        state = state + gate * proposal


def test_padding_is_not_attended_to(model, ids):
    words = torch.zeros_like(ids, dtype=torch.bool)
    words[:, :6] = True
    padded = ids.where(words, PAD)
    alone = gate_values(model, ids[:, :6], words[:, :6])
    np.testing.assert_allclose(
        gate_values(model, padded, words, pad_token_id=PAD), alone, atol=1e-6
    )
    assert np.abs(gate_values(model, padded, words) - alone).max() > 1e-5


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (
            torch.ones(2, 3, dtype=torch.bool),
            r"chosen must have the shape .*\(20, 10\), got \(2, 3\)",
        ),
        (torch.zeros(20, 10, dtype=torch.bool), "nothing to look at"),
    ],
)
def test_wrong_positions_are_named(model, ids, chosen, message):
    with pytest.raises(ValueError, match=message):
        gate_values(model, ids, chosen)


@pytest.mark.parametrize(
    ("effect", "part"),
    [
        (np.arange(4.0)[:, None, None], "step"),
        (np.arange(6.0)[None, :, None], "dimension"),
        (np.arange(50.0)[None, None, :], "token"),
        (np.outer([1, -1, 1, -1], [1, 1, 1, -1, -1, -1])[:, :, None], "step_dimension"),
        (np.outer([1, -1, 1, -1], [1, -1] * 25)[:, None, :], "step_token"),
        (np.outer([1, 1, 1, -1, -1, -1], [1, -1] * 25)[None, :, :], "dimension_token"),
    ],
)
def test_a_pure_effect_has_all_the_variance(effect, part):
    shares = variance_shares(0.5 + np.broadcast_to(effect, (4, 6, 50)) / 100)
    assert list(shares) == PARTS
    assert shares.pop(part) == pytest.approx(100)
    assert max(shares.values()) < 1e-9


def test_noise_spreads_like_its_degrees_of_freedom():
    noise = np.random.default_rng(0).normal(size=(5, 20, 400))
    shares = variance_shares(noise)
    total = noise.size - 1
    assert shares["token"] == pytest.approx(100 * 399 / total, rel=0.15)
    assert shares["rest"] == pytest.approx(100 * 4 * 19 * 399 / total, rel=0.02)


@settings(deadline=None, max_examples=50)
@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=3, max_dims=3, max_side=5),
        elements=st.floats(0, 1, width=32),
    ).filter(lambda values: np.ptp(values) > 1e-3)
)
def test_shares_of_variance_are_parts_of_a_whole(gates):
    shares = variance_shares(gates)
    assert sum(shares.values()) == pytest.approx(100)
    assert min(shares.values()) >= 0
    shifted = variance_shares(gates[:, :, ::-1].astype(float) * 2 - 1)
    assert shifted == pytest.approx(shares, abs=1e-6)


@pytest.mark.parametrize(
    ("gates", "message"), [(np.ones((2, 2)), "axes"), (np.ones((2, 2, 2)), "must vary, got 1 ")]
)
def test_what_has_no_variance_to_split_is_refused(gates, message):
    with pytest.raises(ValueError, match=message):
        variance_shares(gates)


@pytest.mark.parametrize("centres", [(0.4,), (0.25, 0.6), (0.17, 0.49, 0.81)])
def test_humps_are_counted_and_found(centres):
    generator = np.random.default_rng(0)
    values = np.concatenate([generator.normal(centre, 0.05, 3000) for centre in centres])
    assert modes(values, width=0.02) == pytest.approx(centres, abs=0.03)


def test_what_counts_as_a_mode():
    generator = np.random.default_rng(0)
    large, small = generator.normal(0.3, 0.05, 9900), generator.normal(0.7, 0.05, 100)
    assert len(modes(np.concatenate([large, small]), width=0.02)) == 1
    assert len(modes(np.concatenate([large, small]), width=0.02, prominence=0.005)) >= 2
    close = np.repeat([0.50, 0.52], 100)
    assert len(modes(close, width=0.02)) == 1
    assert len(modes(close, width=0.002)) == 2
    assert modes(np.array([0.3]), width=0.02) == pytest.approx([0.3], abs=0.002)
    for arguments, message in (
        ((close, 0.0), "width must be above 0"),
        ((close, 0.1, 1.0), "prominence"),
        ((close[:0], 0.1), "got none"),
    ):
        with pytest.raises(ValueError, match=message):
            modes(*arguments)


def test_an_untrained_gate_of_the_reference_is_one_half():
    ids = torch.randint(5, 60, (8, 12), generator=torch.Generator().manual_seed(1))
    for seed in range(3):
        values = gate_values(fresh_model(64, seed), ids, torch.ones_like(ids, dtype=torch.bool))
        assert values.mean() == pytest.approx(0.5, abs=0.005)
        assert 100 * (values > 0.5).mean() == pytest.approx(50, abs=8)


# The experiment


def corpus_of(ids: torch.Tensor, pad_token_id: int | None) -> SimpleNamespace:
    """Return what `populations` reads of a corpus; every third token is masked."""
    hidden = (torch.arange(ids.shape[1]) % 3 == 1) & (ids >= 5)
    vocabulary = {token: number for number, token in enumerate(SPECIAL_TOKENS)}
    return SimpleNamespace(
        test=(ids.masked_fill(hidden, MASK), ids.masked_fill(~hidden, IGNORED_LABEL)),
        tokenizer=Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]")),
        pad_token_id=pad_token_id,
    )


def test_populations_count_padding_only_where_they_should(model, ids):
    ids[:, 4] = SEP
    found = pnn_gates.populations(model, corpus_of(ids, None), 15)
    count = {name: values.shape[-1] for name, values in found.items()}
    cut = pnn_gates.shorten(ids[:15], PAD)
    assert count["test"] == 15 * 9
    assert count["masked"] == 15 * 2  # positions 1 and 7; the mark at 4 is never hidden
    assert count["masked"] + count["unmasked"] == count["test"]
    assert count["with_padding"] == 150
    assert count["padding"] == int((cut == PAD).sum())
    assert count["without_padding"] == int(((cut != PAD) & (cut != SEP)).sum())
    ordinary = (ids[:15] != SEP).flatten().numpy()
    everywhere = gate_values(model, corpus_of(ids, None).test[0][:15], torch.ones(15, 10).bool())
    np.testing.assert_allclose(found["test"], everywhere[..., ordinary], atol=1e-6)


def test_a_corpus_of_padded_lines_is_taken_as_it_is(model, ids):
    ids[:, 6:] = PAD
    found = pnn_gates.populations(model, corpus_of(ids, PAD), 20)
    assert found["padding"].shape[-1] == 20 * 4
    np.testing.assert_array_equal(found["test"], found["without_padding"])


def test_sequences_are_cut_to_the_papers_share_of_padding():
    ids = torch.arange(5, 37).repeat(2000, 1)
    cut = pnn_gates.shorten(ids, PAD)
    assert torch.equal(cut, pnn_gates.shorten(ids, PAD))
    padding = cut == PAD
    assert torch.equal(padding, padding.cummax(1).values), "padding is at the end only"
    assert torch.equal(cut[~padding], ids[~padding])
    assert padding.any(1).all()
    assert not padding[:, 0].any()
    assert float(padding.float().mean()) == pytest.approx(pnn_gates.SOURCE_PADDING_SHARE, abs=0.02)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sequences": 7}, "sequences is 7; allowed: 8"),
        ({"architecture": "bert"}, "architecture is 'bert'; allowed: 'pnn'"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        pnn_gates.Config(**changes)


@pytest.mark.slow
def test_a_run_measures_trained_and_untrained(tmp_path):
    trained, null = profiles.configs("pnn_gates", "smoke")
    assert (trained.trained, null.trained) == (True, False)
    one, other = (pnn_gates.run(config, 0, tmp_path, CPU) for config in (trained, null))
    for rows in (one, other):
        assert not rows.duplicated(["step", "split", "metric"]).any()
        assert np.isfinite(rows["value"]).all()
        values = rows.set_index(["metric", "split", "step"])["value"].sort_index()
        for step in (1, 2, 3, 4):
            assert values["gate_token_share", f"masked, step {step}"].sum() == pytest.approx(100)
            heat_map = values["gate_dimension_mean", f"test, step {step}"]
            assert len(heat_map) == trained.hidden_size
            assert heat_map.mean() == pytest.approx(values["gate_mean", "test", step], abs=1e-5)
        for population in ("masked", "unmasked"):
            parts = [values["gate_variance_share", f"{population}, {part}", 0] for part in PARTS]
            assert sum(parts) == pytest.approx(100)
    assert metrics.metric("gate_modes").unit == one.query("metric == 'gate_modes'")["unit"].iloc[0]
    active = [rows.query("metric == 'gate_active_share'")["value"] for rows in (one, other)]
    assert active[0].tolist() != active[1].tolist()


# What is said and drawn of the rows


def fabricated(active, null=((50.0,) * 4,) * 3, several=(1, 1, 1), padded=(1, 1, 1)):
    """Return rows with given active shares (seeds by steps) and numbers of modes at the end."""
    rows = []
    for variant, shares in (("pnn", active), ("pnn_untrained", null)):
        for seed, by_step in enumerate(shares):
            last = len(by_step)
            measured = [
                (0, "test", "last_gate_is_bimodal", float(several[seed] > 1)),
                (0, "with_padding", "padding_makes_second_mode", padded[seed] > several[seed]),
                (0, "with_padding", "padding_share", 40.0),
            ]
            for population in plots.POPULATIONS:
                tokens = {"with_padding": 100, "without_padding": 60, "padding": 40}
                measured.append((0, population, "tokens", tokens.get(population, 90)))
                for step, share in enumerate(by_step, start=1):
                    at = f"{population}, step {step}"
                    count = padded if population == "with_padding" else several
                    humps = count[seed] if step == last else 1
                    measured += [
                        (step, population, "gate_mean", share / 100),
                        (step, population, "gate_std", 0.1),
                        (step, population, "gate_active_share", share),
                        (step, population, "gate_distance_from_half", abs(share / 100 - 0.5)),
                        (step, population, "gate_modes", humps),
                        *(
                            (number + 1, at, "gate_mode", 0.2 + 0.5 * number)
                            for number in range(humps)
                        ),
                        *((number, at, "gate_token_share", 2.0) for number in range(50)),
                        *((number, at, "gate_dimension_mean", 0.1 * number) for number in range(8)),
                    ]
            shares_of_variance = (10, 20, 5, 15, 5, 25, 20)
            measured += [
                (0, f"{population}, {part}", "gate_variance_share", value)
                for population in ("masked", "unmasked")
                for part, value in zip(PARTS, shares_of_variance, strict=True)
            ]
            rows += [("pnn_gates", variant, "laptop", seed, *row, "unit") for row in measured]
    columns = ["experiment", "variant", "profile", "seed", "step", "split", "metric"]
    frame = pd.DataFrame(rows, columns=[*columns, "value", "unit"])
    return frame.assign(value=frame["value"].astype(float))


LIKE_THE_PAPER = ((77.0, 58.0, 53.0, 66.0), (78.0, 57.0, 52.0, 67.0), (76.0, 59.0, 54.0, 65.0))
CLOSING = ((40.0, 30.0, 25.0, 20.0), (41.0, 31.0, 26.0, 21.0), (39.0, 29.0, 24.0, 19.0))


def test_findings_of_gates_like_the_papers():
    text = findings.gates(fabricated(LIKE_THE_PAPER, several=(1, 1, 1), padded=(3, 3, 3)))
    assert "goes 77.0 → 58.0 → 53.0 → 66.0 % over the steps" in text
    assert "ours falls until step 3 and then rises" in text
    assert "shows in 3 of 3 seeds" in text
    assert "training leaves more active at steps 1, 2, 3 and 4" in text
    assert "more decided after training" in text
    assert "more than one mode in 0 of 3 seeds" in text
    assert "adds a mode at the last step in 3 of 3 seeds: padding makes a mode here" in text
    assert "explains 45 % of the gate's variance at masked tokens" in text


def test_findings_of_gates_unlike_the_papers():
    text = findings.gates(fabricated(CLOSING, several=(2, 1, 2), padded=(2, 2, 2)))
    assert "ours falls at every step" in text
    assert "shows in 0 of 3 seeds" in text
    assert "training leaves fewer active at steps 1, 2, 3 and 4" in text
    assert "more than one mode in 2 of 3 seeds" in text
    assert "They lie at 0.20, 0.70; 0.20, 0.70." in text
    assert "in 1 of 3 seeds: the seeds disagree" in text


def test_findings_claim_no_more_than_the_seeds_allow():
    wild = ((40.0, 60.0, 40.0, 20.0), (60.0, 61.0, 39.0, 21.0), (50.0, 62.0, 41.0, 19.0))
    text = findings.gates(fabricated(wild))
    assert "ours rises until step 2 and then falls" in text
    assert (
        "training leaves fewer active at steps 3 and 4 and more active at step 2, and elsewhere "
        "none can be told" in text
    )
    assert "in this model padding does not make the paper's second mode" in text
    alone = findings.gates(fabricated(CLOSING[:1], null=((50.0,) * 4,)))
    assert alone.count("one seed, so no interval") == 3
    assert "0 of 1 seed" in alone
    assert "has a single step" in findings.gates(fabricated(((40.0,),), null=((50.0,),)))


def test_tables_set_the_paper_beside_every_population():
    rows = fabricated(CLOSING, several=(2, 1, 2))
    source = pnn_gates.SOURCE_ACTIVE_SHARE
    table = findings.by_step(rows, "gate_active_share", "{:.1f}", source, plots.POPULATIONS)
    assert list(table.columns) == ["step 1", "step 2", "step 3", "step 4"]
    assert table.loc["paper, padding counted"].tolist() == ["77.4", "57.5", "52.8", "66.6"]
    assert table.loc["all tokens", "step 4"] == "20.0 [17.5, 22.5]"
    assert table.loc["untrained PNN, all tokens", "step 1"] == "50.0"
    assert table.loc["the padding alone", "step 1"].startswith("40.0")
    counts = findings.modes(rows, plots.POPULATIONS)
    assert counts.loc["all tokens", ["positions", "modes at step 3"]].tolist() == ["90", "1"]
    assert counts.loc["all tokens", "modes at step 4"] == "1 to 2"


def test_figures_have_what_the_rows_hold():
    rows = fabricated(CLOSING)
    summary = statistics.summarise(rows[rows["metric"] != "gate_mode"])
    source = {
        "gate_mean": pnn_gates.SOURCE_GATE_MEAN,
        "gate_std": pnn_gates.SOURCE_GATE_STD,
        "gate_active_share": pnn_gates.SOURCE_ACTIVE_SHARE,
    }
    figure = plots.figure_3(rows, summary, source)
    means, active, heat, tokens = figure.axes[:4]
    assert len(means.containers) == 3
    lines = {line.get_label(): list(line.get_ydata()) for line in active.lines}
    assert lines["PNN"] == pytest.approx([40, 30, 25, 20])
    assert lines["paper"] == list(pnn_gates.SOURCE_ACTIVE_SHARE)
    image = heat.images[0].get_array()
    assert image.shape == (4, 8)
    assert image[0, 3] == pytest.approx(0.3)
    assert [text.get_text() for text in tokens.get_legend().get_texts()] == [
        f"step {step}" for step in (1, 2, 3, 4)
    ]
    masked = plots.masked(rows, summary)
    assert [axes.get_title(loc="left") for axes in masked.axes][2].endswith("step 4")
    stacked = plots.padding(rows, pnn_gates.SOURCE_MODES).axes
    assert len(stacked) == 4
    below, above = (patch.get_data() for patch in stacked[-1].patches)
    assert below.values[0] == pytest.approx(0.8)  # 40 of 100 positions, 2 % of them in a bin
    assert above.baseline[0] == pytest.approx(0.8)
    assert above.values[0] == pytest.approx(2.0)
    bars = plots.variance(summary).axes[0]
    assert len(bars.patches) == 4 * len(PARTS)
    assert bars.patches[-1].get_x() + bars.patches[-1].get_width() == pytest.approx(100)
    plt.close("all")
