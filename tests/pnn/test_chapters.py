"""The PNN experiments, and the tables, sentences and figures made from their rows."""

import dataclasses

import pandas as pd
import pytest
from matplotlib import pyplot as plt

from plasticity.companion import profiles, results, statistics, tables
from plasticity.companion.configuration import Runtime
from plasticity.companion.results_files import COLUMNS
from plasticity.experiments import pnn_model, pnn_refinement, pnn_tuning
from plasticity.findings import pnn as findings
from plasticity.findings import pnn_tuning as tuning
from plasticity.plots import pnn as plots

CPU = Runtime(device="cpu", workers=1)


@pytest.fixture(autouse=True)
def shipped_sample_only(monkeypatch):
    monkeypatch.delenv("PLASTICITY_DATA", raising=False)


def config_of(variant: str):
    return next(c for c in profiles.configs("pnn_refinement", "smoke") if c.variant == variant)


def test_one_file_sets_the_paper_run_and_the_released_code_does_not(monkeypatch):
    def checks():
        rows = pnn_model.run(pnn_model.Config(hidden_size=48), 0, None, CPU)
        values = rows.set_index("metric")["value"]
        return values["one_file_sets_paper_run"], values["released_code_is_table_2"]

    assert checks() == (1, 0)
    monkeypatch.setitem(pnn_model.TABLE_2, "batch_size", 1)
    assert checks() == (0, 0)
    assert pnn_model.RELEASED_CODE.keys() <= pnn_model.TABLE_2.keys()


def test_the_headline_is_recomputed_from_the_source():
    rows = pnn_model.run(pnn_model.Config(hidden_size=48), 0, None, CPU).set_index("metric")
    assert rows.loc["source_relative_performance", "value"] == pytest.approx(83.158, abs=1e-3)
    assert rows.loc["source_efficiency_ratio", "value"] == pytest.approx(2.0457, abs=1e-3)
    assert rows.loc["source_readout_gain", "value"].tolist() == pytest.approx([29.7, 4.7, 4.1, 3.6])


def test_zero_start_survives_only_as_in_the_paper():
    for reading, survives in (("as_released", 0.0), ("as_paper", 1.0)):
        config = pnn_model.Config(variant=reading, reading=reading, hidden_size=48)
        rows = pnn_model.run(config, 0, None, CPU).set_index("metric")
        assert rows.loc["zero_init_survives", "value"] == survives


@pytest.mark.slow
def test_a_run_is_decided_by_its_seed(tmp_path):
    config = config_of("pnn")
    first, second, other = (
        pnn_refinement.run(config, seed, tmp_path / name, CPU)
        for name, seed in (("first", 0), ("second", 0), ("other", 1))
    )
    timed = ["seconds", "tokens_per_second"]
    pd.testing.assert_frame_equal(
        first[~first["metric"].isin(timed)], second[~second["metric"].isin(timed)]
    )
    loss = [frame.set_index("metric").loc["loss", "value"].iloc[0] for frame in (first, other)]
    assert loss[0] != loss[1]
    assert (tmp_path / "first" / "model" / "model.safetensors").exists()
    readouts = first[(first["metric"] == "readout_accuracy") & (first["split"] == "test")]
    assert readouts["step"].tolist() == [0, 1, 2, 3, 4]
    accuracy = first[(first["metric"] == "accuracy") & (first["split"] == "test")]["value"].item()
    assert readouts["value"].iloc[-1] == accuracy


@pytest.mark.slow
def test_tuning_does_not_touch_the_test_set(tmp_path, monkeypatch):
    config = pnn_tuning.Config.from_dict(config_of("bert_4_stepwise").to_dict())
    untested = dataclasses.replace(pnn_refinement.prepare_corpus(config), test=None)
    monkeypatch.setattr(pnn_tuning, "prepare_corpus", lambda _: untested)
    rows = pnn_tuning.run(config, 0, tmp_path, CPU)
    assert set(rows["split"]) == {"validation"}


def test_equal_compute_is_equal():
    bert = config_of("bert")
    equal = dataclasses.replace(config_of("pnn"), budget="compute")
    from plasticity.pnn.accounting import flops_per_token

    def cost(config):
        per_token = flops_per_token(config.model_config(300), config.sequence_length)["total"]
        return per_token * config.training_config(300).train_tokens

    assert cost(equal) == pytest.approx(cost(bert), rel=1e-3)
    assert config_of("pnn").training_config(300).train_tokens == bert.train_tokens


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "gpt"}, "architecture is 'gpt'; allowed: 'pnn', 'bert'"),
        ({"budget": "euros"}, "budget is 'euros'; allowed: 'tokens', 'compute'"),
        ({"train_tokens": 0}, "train_tokens is 0"),
        (
            {"hidden_size": 10},
            r"hidden_size is 10; allowed: multiples of num_attention_heads \(12\)",
        ),
        ({"mask_probability": 0.0}, r"mask_probability is 0\.0; allowed: 0\.01 to 0\.99"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        pnn_refinement.Config(**changes)


def fabricated(accuracies: dict[str, tuple[float, ...]], guess: float = 6.0) -> pd.DataFrame:
    """Return rows of `pnn_refinement` with given test accuracies, one for each seed."""
    rows = []
    for variant, values in accuracies.items():
        for seed, value in enumerate(values):
            readouts = [guess - 1, value - 4, value - 2, value - 1, value]
            measured = [
                (0, "test", "accuracy", value),
                (0, "test", "accuracy_over_guess", value - guess),
                (0, "validation", "accuracy_over_guess", value - guess),
                (0, "test", "constant_guess_accuracy", guess),
                (0, "validation", "constant_guess_accuracy", guess),
                *((step, "test", "readout_accuracy", r) for step, r in enumerate(readouts)),
                (1, "test", "readout_gain", value - 4 - guess + 1),
                *((step, "test", "readout_gain", 2.0 if step == 2 else 1.0) for step in (2, 3, 4)),
                *((t, "validation", "curve_accuracy", value * t / 1000) for t in (500, 1000)),
            ]
            rows += [
                ("pnn_refinement", variant, "laptop", seed, *row, "percent") for row in measured
            ]
    return pd.DataFrame(rows, columns=COLUMNS)


def test_findings_say_who_is_ahead_and_who_is_still_on_the_plateau():
    rows = fabricated(
        {
            "pnn": (25.0, 25.4, 24.6),
            "bert": (6.5, 6.0, 6.9),
            "bert_4_stepwise": (25.1, 25.2, 24.8),
            "pnn_equal_compute": (30.0, 30.1, 30.2),
        }
    )
    text = findings.refinement(rows, plots.LABELS)
    assert "The paper's comparison: PNN minus 12-layer BERT is +18.5" in text
    assert "PNN has learnt sooner; where they end is open: 12-layer BERT stood on the" in text
    assert "plateau in 3 of 3 seeds" in text
    assert "4-layer BERT with PNN's losses is" in text
    assert "in each of 3 seeds: **PNN, 4-layer BERT with PNN's losses, PNN at" in text
    uneven = rows[(rows["variant"] != "pnn") | (rows["seed"] == rows["seed"].min())]
    assert "in each of 1 to 3 seeds: **PNN, " in findings.refinement(uneven, plots.LABELS)
    assert findings.shared_seeds(uneven)["seed"].nunique() == 1
    assert len(findings.shared_seeds(rows)) == len(rows)
    assert "no difference can be told" in text
    assert "At BERT's compute: PNN at BERT's compute minus 12-layer BERT is" in text
    assert "PNN reads out 5.0 → 21.0" in text
    assert RATIO not in text


def test_how_far_a_study_is_from_the_paper_is_said():
    rows = pd.DataFrame({"variant": ["pnn"], "metric": ["tokens"], "value": [1_920_000.0]})
    said = findings.distance(rows, 64)
    assert "1,920,000 tokens at width 64, 0.1 % of the 1,920,000,000" in said
    assert "No model of this study is of the paper's size." in said
    assert "No model" not in findings.distance(rows, 768)


RATIO = "of the accuracy of 12-layer BERT"


def test_a_ratio_needs_every_seed_of_both_arms_clear_of_the_plateau():
    arms = {"pnn": (25.0, 26.0, 24.0), "bert": (30.0, 31.2, 28.8)}
    text = findings.refinement(fabricated(arms), plots.LABELS)
    assert f"PNN has 83.3 % {RATIO}" in text
    assert "by the paper's own figures it is 83.2 %" in text
    one_stuck = {**arms, "bert": (40.0, 41.0, 6.5)}  # clear on average
    assert RATIO not in findings.refinement(fabricated(one_stuck), plots.LABELS)


def test_findings_of_one_seed_claim_nothing():
    text = findings.refinement(fabricated({"pnn": (25.0,), "bert": (6.5,)}), plots.LABELS)
    assert "one seed, so no interval" in text
    assert "is ahead" not in text


def test_table_2_sets_paper_and_run_side_by_side():
    table = findings.table_2(pnn_refinement.Config(), config_of("pnn"))
    assert table.loc["Hidden dimension", ["paper", "our default", "this profile"]].tolist() == [
        "768",
        "768",
        "16",
    ]
    assert table.loc["Learning rate", "our default"] == "0.0003"


def test_figures_have_what_the_rows_hold():
    rows = fabricated({"pnn": (25.0, 25.4, 24.6), "bert": (6.5, 6.0, 6.9)})
    summary = statistics.summarise(rows)
    curves = plots.learning_curves(
        summary.query("split == 'validation'"), {"pnn": 1e6, "bert": 3e6}
    )
    lines = {line.get_label(): line for line in curves.axes[0].lines}
    assert lines["PNN"].get_xdata().tolist() == [500 / 1e6, 1000 / 1e6]
    steps = plots.refinement(summary.query("split == 'test'"), (4.7, 34.4, 39.1, 43.2, 46.8))
    lines = {line.get_label(): line for line in steps.axes[0].lines}
    assert lines["PNN"].get_ydata().tolist() == pytest.approx([5, 21, 23, 24, 25])
    counts = pd.DataFrame(
        {"untied": [9e6, 20e6], "tied": [6e6, 17e6], "encoder": [2e6, 10e6]}, index=["pnn", "bert"]
    )
    assert len(plots.parameters(counts).axes[0].patches) == 6
    assert plots.architecture().axes
    plt.close("all")


def test_tables_show_means_with_intervals():
    summary = statistics.summarise(fabricated({"pnn": (25.0, 25.4, 24.6), "bert": (6.5, 6.0, 6.9)}))
    table = tables.by_variant(
        summary,
        {"accuracy": ("accuracy", "test", "{:.1f}"), "loss": ("loss", "test", "{:.1f}")},
        plots.LABELS,
    )
    assert table.loc["PNN"].tolist() == ["25.0 [24.0, 26.0]", "—"]
    assert tables.cell(2.0, 2.0, 2.0) == "2.0"


def test_headline_is_made_from_rows():
    rows = pnn_model.run(pnn_model.Config(hidden_size=48), 0, None, CPU).assign(
        variant="as_released"
    )
    text = findings.headline(rows)
    assert "**83.2 %**" in text
    assert "0.88" in text
    assert "2.05" in text


def test_per_million_takes_the_guess_off_and_leaves_out_the_plateau():
    rows = fabricated({"pnn": (26.0, 26.0), "bert": (7.0, 7.0)})
    counts = [("untied", 4e6), ("tied", 2e6), ("encoder", 1e6)]
    more = pd.DataFrame(
        [
            ("pnn_refinement", arm, "laptop", seed, 0, split, "parameters", count, "parameters")
            for arm in ("pnn", "bert")
            for seed in (0, 1)
            for split, count in counts
        ],
        columns=rows.columns,
    )
    table = findings.per_million(pd.concat([rows, more]), plots.LABELS)
    assert table.loc["PNN"].tolist() == ["6", "13", "26", "5", "10", "20"]
    assert set(table.loc["12-layer BERT"]) == {"—"}


def trials(losses: dict[str, tuple[float, float]], over: float = 9.0):
    """Return configs and rows of `pnn_tuning`: two trials an arm, small and large positions."""
    configs, rows = [], []
    for arm, pair in losses.items():
        for trial, (scale, loss) in enumerate(zip((1.0, 3.0), pair, strict=True), start=1):
            variant = f"{arm}-{trial}"
            configs.append(
                pnn_tuning.Config(
                    variant=variant, initialization="width_scaled", position_scale=scale
                )
            )
            rows += [(variant, 0, "loss", loss), (variant, 0, "accuracy_over_guess", over)]
    return configs, pd.DataFrame(rows, columns=["variant", "seed", "metric", "value"])


def test_trials_are_set_out_by_arm_and_the_lowest_is_ticked():
    configs, rows = trials({"pnn": (5.0, 4.5), "bert": (5.2, 5.6)})
    table = tuning.trials(rows, configs, plots.LABELS)
    assert table.columns.tolist() == ["PNN", "12-layer BERT"]
    assert table["PNN"].tolist() == ["5.00 (+9.0)", "4.50 (+9.0) ✓"]
    assert table.index.tolist() == [
        "rate 0.0003, warm-up 500, positions × 1",
        "rate 0.0003, warm-up 500, positions × 3",
    ]
    text = tuning.choice(rows, configs, plots.LABELS)
    best = "- PNN: rate 0.0003, warm-up 500, positions × 3 (the largest positions tried: better may"
    assert f"{best} lie beyond); 2 of 2 trials began to learn" in text
    assert "positions × 1; 2 of 2" in text
    assert (
        "With larger positions at the start, and all else the same (1 pair of trials), the loss "
        "changes on average by PNN -0.50, 12-layer BERT +0.40."
    ) in text
    assert "scaled with depth" not in text  # no two trials differ in that alone


def test_arms_take_the_settings_that_their_trials_chose():
    study = results.load("pnn_tuning", "paper")
    assert len({record["datasets"][0]["sha256"] for record in study.provenance}) == 1
    trials = {config.variant: config for config in profiles.configs("pnn_tuning", "paper")}
    assert set(study.rows["variant"]) == set(trials)  # every arm has all of its trials
    loss = study.rows.query("metric == 'loss'").set_index("variant")["value"]
    for profile in ("laptop", "paper"):
        for arm in profiles.configs("pnn_refinement", profile):
            name = "pnn" if arm.budget == "compute" else arm.variant
            best = trials[loss[loss.index.str.rsplit("-", n=1).str[0] == name].idxmin()]
            for setting in tuning.SETTINGS:
                assert getattr(arm, setting) == getattr(best, setting), (profile, name, setting)


def test_trials_that_never_left_the_plateau_say_so():
    configs, rows = trials({"bert": (5.2, 5.6)}, over=0.5)
    text = tuning.choice(rows, configs, plots.LABELS)
    assert "no trial began to learn" in text


def test_a_fresh_model_is_described_from_its_rows():
    rows = pd.concat(
        pnn_model.run(pnn_model.Config(reading=reading, hidden_size=48), 0, None, CPU).assign(
            variant=reading
        )
        for reading in ("as_released", "as_paper")
    )
    released, paper = findings.fresh(rows, plots.LABELS).splitlines()
    assert "does not start near zero" in released
    assert "0.000, so that it starts close to zero" in paper
    assert "before any training: every gate is exactly one half." in paper
    weighted, alike = findings.accumulation(rows).splitlines()
    assert "e-07 of its length: rounding" in weighted
    assert "a mean of nine means, they miss it by" in alike and "by 0.0 %" not in alike
