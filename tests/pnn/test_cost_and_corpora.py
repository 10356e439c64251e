"""What a step costs, and arms scored on a second corpus."""

import pandas as pd
import pytest

from plasticity.companion import profiles
from plasticity.companion.configuration import Runtime
from plasticity.experiments import pnn_human_text, pnn_model, pnn_refinement, pnn_speed
from plasticity.findings import pnn_speed as findings

CPU = Runtime(device="cpu", workers=1)


@pytest.fixture(scope="module")
def speed() -> pd.DataFrame:
    (config,) = profiles.configs("pnn_speed", "smoke")
    rows = pnn_speed.run(config, 0, None, CPU)
    return rows.assign(variant=config.variant, seed=0)


@pytest.mark.slow
def test_every_comparison_has_time_memory_and_operations(speed):
    for comparison, other in pnn_speed.COMPARISONS.items():
        own = speed[speed["split"] == comparison].groupby("metric")["value"]
        memory = set() if comparison.endswith("blocks") else {"memory_ratio"}
        assert set(own.groups) == {"time_ratio", "flop_ratio"} | memory
        assert own.count()["time_ratio"] == 3
        pair = [
            speed[speed["split"] == f"{comparison}/{name}"].groupby("metric")["value"].median()
            for name in ("pnn", other)
        ]
        assert own.first()["flop_ratio"] == pytest.approx(
            pair[0]["step_flops"] / pair[1]["step_flops"]
        )
        assert all(one["step_seconds"] > 0 for one in pair)
    assert (speed[speed["metric"] == "peak_bytes"]["value"] > 0).all()


@pytest.mark.slow
def test_goals_compare_blocks_with_operations_and_steps_with_the_stock_model(speed):
    flops = speed.query("split == 'blocks' and metric == 'flop_ratio'")["value"].item()
    for ratio, met in ((flops + 0.02, "yes"), (flops + 0.04, "no")):
        timed = speed["metric"] == "time_ratio"
        rows = speed.assign(value=speed["value"].mask(timed, ratio))
        table = findings.goals(rows)
        blocks = table.loc[("tiny", findings.COMPARISONS["blocks"])]
        assert (blocks["goal"], blocks["met"]) == (f"≤ {flops + 0.03:.3f}", met)
        missed = findings.missed(rows)
        assert ("the blocks alone at tiny takes" in missed) == (met == "no")
        assert f"≤ {flops + 0.03:.3f} is wanted" in missed or met == "yes"
        assert table.loc[("tiny", findings.COMPARISONS["masked_step"]), "goal"] == "reported"
        assert table.loc[("tiny", findings.COMPARISONS["stock_step"]), "goal"] == "≤ 1.000"


@pytest.mark.slow
def test_the_papers_training_is_told_in_days(speed):
    table = findings.training(speed.assign(variant=findings.PAPER_MODELS), train_tokens=10**9)
    rate = speed.query("split == 'masked_step/pnn' and metric == 'tokens_per_second'")["value"]
    assert table.loc["PNN", "tokens/s"] == f"{rate.item():,.0f}"
    days = table.loc["PNN", "the paper's tokens would take, days"]
    assert days == f"{1e9 / rate.item() / 86400:,.0f}"
    assert findings.goals(speed.assign(variant=findings.PAPER_MODELS)).empty


def test_the_gate_is_what_pnn_has_more():
    config = pnn_speed.Config()
    pnn, bert = (pnn_speed._flops(config, "blocks", name) for name in ("pnn", "bert"))
    tokens, steps, width = 8 * 128, 4, 768
    assert pnn - bert == 6.0 * 2 * width**2 * steps * tokens  # two matrices at every step


def test_training_times_are_held_against_operations():
    rows = pd.concat(
        pnn_model.run(pnn_model.Config(**kind), 0, None, CPU).assign(variant=name, seed=0)
        for name, kind in (("as_released", {}), ("bert", {"architecture": "bert"}))
    )
    text = findings.training_time(rows)
    assert "PNN takes 1.09 times as long" in text  # 269.5 / 248.2
    values = rows.query("metric == 'source_teraflops_per_second'").set_index("variant")["value"]
    released = rows.query("metric == 'flops_per_token' and split == 'released'")
    flops = released.set_index("variant")["value"]
    for arm, minutes in (("as_released", 269.5), ("bert", 248.2)):
        assert values[arm] == pytest.approx(flops[arm] * 1.92e9 / (60 * minutes) / 1e12)
    head = 6.0 * 768 * 30522
    config = pnn_model.Config().model_config()
    assert flops["as_released"] == pytest.approx(
        4 * head + 6.0 * 4 * (6 * 768**2 + 2 * 768 * config.intermediate_size + 2 * 768 * 128)
    )


@pytest.mark.slow
def test_arms_are_scored_on_another_corpus_too(tmp_path, monkeypatch):
    monkeypatch.delenv("PLASTICITY_DATA", raising=False)
    arm = profiles.configs("pnn_refinement", "smoke")[0]
    config = pnn_human_text.Config.from_dict(arm.to_dict() | {"other_corpus": "other"})
    load = pnn_refinement.corpora.load
    lines = ["", "the dog saw the <unk> and the cat and the sun in the park today . "] * 200
    monkeypatch.setattr(
        pnn_human_text.corpora,
        "load",
        lambda name: {"test": {"text": lines}} if name == "other" else load(name),
    )
    rows = pnn_human_text.run(config, 0, tmp_path, CPU)
    scored = rows[rows["split"] == "other_test"].set_index("metric")["value"]
    assert scored["accuracy_over_guess"] == pytest.approx(
        scored["accuracy"] - scored["constant_guess_accuracy"]
    )
    assert scored["scored_tokens"] > 100
    assert {"validation", "test", "other_test"} <= set(rows["split"])
    assert pnn_human_text.datasets(config) == ("stories", "other")
