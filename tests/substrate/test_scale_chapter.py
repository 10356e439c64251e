"""The chapter on speed and scale: tables, sentences and figures of made-up rows."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot as plt

from plasticity.companion import profiles
from plasticity.experiments import substrate_pairs, substrate_scale
from plasticity.findings import substrate_scale as findings
from plasticity.plots import substrate_scale as plots

CONFIGS = {
    "memory_10k": substrate_scale.Config(),
    "memory_1m": substrate_scale.Config(neurons=1_000_000),
    "disk_10m": substrate_scale.Config(kind="disk", neurons=10_000_000),
    "disk_100m": substrate_scale.Config(kind="disk", neurons=100_000_000),
    "hole_1b": substrate_scale.Config(kind="hole", neurons=10**9),
    "start": substrate_scale.Config(kind="start"),
}
CONFIGS = {name: config.to_dict() for name, config in CONFIGS.items()}


def table(rows):
    columns = ["variant", "split", "metric", "value"]
    return pd.DataFrame(rows, columns=columns).assign(step=0, seed=0)


@pytest.fixture
def rows():
    found = []
    for variant, size, slow in (("memory_10k", 1e5, 1.0), ("memory_1m", 1e7, 2.0)):
        for split, seconds in (("scipy", 1.0), ("graph/1", 1.2), ("view/1", 0.7)):
            speed = 6e8 / seconds / slow
            found.append((variant, f"whole/{split}", "synapses_per_second", speed))
            found.append((variant, f"whole/{split}", "synapses_per_core_second", speed))
            found.append((variant, f"whole/{split}", "cycle_seconds", size / speed))
            if split != "scipy":
                found.append((variant, f"whole/{split}", "time_ratio", seconds * slow))
        for split in ("scipy_rows", "scipy_product", "graph/1"):
            found.append((variant, f"sparse/{split}", "frontier_seconds", 1e-4))
        found.append((variant, "sparse/graph/1", "time_ratio", 0.8))
        found.append((variant, "whole", "same_bits", 1.0))
    found += [
        ("disk_10m", "disk", "fits", 1.0),
        ("disk_10m", "disk", "gigabytes", 2.24),
        ("disk_10m", "disk", "open_seconds", 0.001),
        ("disk_10m", "whole/graph/1", "cycle_seconds", 1.0),
        ("disk_10m", "whole/graph/2", "cycle_seconds", 0.9),
        ("disk_100m", "disk", "fits", 0.0),
        ("disk_100m", "disk", "gigabytes", 22.4),
        ("disk_100m", "disk", "free_gigabytes", 12.0),
        ("hole_1b", "hole", "gigabytes", 64.0),
        ("hole_1b", "sparse/cycle/1", "frontier_seconds", 0.001),
        ("start", "process", "import_seconds", 2.0),
        ("start", "process", "first_call_seconds", 0.5),
        ("start", "machine", "load_average", 1.2),
    ]
    return table(found)


@pytest.fixture
def pair_rows():
    speeds = {"dense": 12e6, "dense_two_threads": 15e6, "pending": 4e6, "word2vec": 3e5}
    found = [
        (variant, split, "pairs_per_second", speed * factor)
        for variant, speed in speeds.items()
        for split, factor in (("wall", 1), ("processor", 1.1))
    ]
    return table([*found, ("dense", "machine", "load_average", 3.0)])


def test_pairs_are_set_out_with_goals_and_peers(pair_rows):
    found = findings.pairs(pair_rows)
    dense, two, pending, peer = (found.iloc[i] for i in range(4))
    assert dense["million pairs/s"] == "12.00" and dense["by each core"] == "13.20"
    assert dense["goal"] == "10 (met)" and two["goal"] == "16 (missed)"
    assert dense["times gensim"] == "40.0" and pending["goal"] == "5 (missed)"
    assert two["times gensim"] == peer["times gensim"] == peer["goal"] == "—"
    assert findings.labels(pair_rows)["dense_two_threads"] == "matrix of all pairs, 2 threads"


def test_spread_stands_beside_scipy(rows):
    found = findings.spread(rows, CONFIGS)
    line = found.loc["10K neurons, 100K synapses"]
    assert line["scipy, CSR product"] == "600"
    assert line["graph, 1 thread"] == "500 (×1.20)"
    assert line["sparse: 1,000 neurons"] == "100 µs (×0.80)"


def test_disk_leaves_out_what_did_not_fit(rows):
    found = findings.disk(rows, CONFIGS)
    assert list(found.index) == [
        "10 million neurons, 100 million synapses",
        "100 million neurons, 1 billion synapses",
        "1 billion neurons, 10 billion synapses, a hole",
    ]
    assert found["opened, ms"].tolist() == ["1.00", "—", "—"]


def test_goals_are_met_or_missed_in_so_many_words(rows, pair_rows):
    text = findings.goals(rows, pair_rows, CONFIGS)
    for sentence in (
        "up to 3.0 processes wanted to run",
        "matrix of all pairs, 1 thread: 12.00 million a second, goal 10: **met**",
        "matrix of all pairs, 2 threads: 15.00 million a second, goal 16: **missed**",
        "one thread: 500 million synapses a second, goal 400: **met**",
        "at most 1.40 times as long as scipy (1 million neurons, 10 million synapses), goal 1.5: "
        "**met**",
        "at most 0.80 times as long as scipy's faster way, goal below 1: **met**",
        "agree to the last bit",
        "a full cycle, one core: 1,000.0 ms, goal 1,300: **met**",
        "a full cycle, two cores: 900.0 ms, goal 800: **missed**",
        "left out, 12 gigabytes were free for 22.4",
        "import: 2.00 s, goal 1.5: **missed**",
    ):
        assert sentence in text
    rows.loc[rows["metric"] == "same_bits", "value"] = 0.0
    assert "**not** to the last bit" in findings.goals(rows, pair_rows, CONFIGS)


def test_every_shipped_variant_has_a_name():
    for profile in ("smoke", "laptop", "paper"):
        for config in profiles.configs("substrate_pairs", profile):
            assert config.kind == config.variant.removesuffix(findings.SECOND)
            assert config.threads == 1 + config.variant.endswith(findings.SECOND)
    assert set(substrate_pairs.KINDS) == set(findings.LEARNERS)


# Beyond one machine


def test_one_machine_holds_all_and_receives_nothing():
    cluster = findings.Cluster(neurons=1000, degree=10, network=8e3, cores=2)
    found = findings.beyond(cluster, 1e3, (1, 4), 0.5)
    assert found.loc[1].tolist() == pytest.approx([224e3 / 1e9, 0, 2.5, 2.5])
    assert found.loc[4].tolist() == pytest.approx([(56e3 + 12e3) / 1e9, 0.375, 0.625, 0.625])


@given(
    degree=st.integers(1, 1000),
    network=st.floats(1e6, 1e12),
    speed=st.floats(1e6, 1e10),
    share=st.floats(0.001, 1),
)
def test_at_the_limit_receiving_takes_as_long_as_adding_up(degree, network, speed, share):
    cluster = findings.Cluster(degree=degree, network=network, cores=4)
    machines = findings.limit(cluster, speed)
    found = findings.beyond(cluster, speed, (machines,), share).iloc[0]
    assert found["to receive, s"] == pytest.approx(found["to add up, s"])


def test_arithmetic_is_told_with_its_assumptions(rows):
    speed = findings.largest_graph_speed(rows, CONFIGS)
    assert speed == pytest.approx(250e6)
    text = findings.scaling(findings.Cluster(), speed)
    assert "250 million synapses a second" in text and "224 gigabytes" in text
    assert f"from {np.ceil(findings.limit(findings.Cluster(), speed)):.0f} machines on" in text


def test_figures_can_be_drawn(rows, pair_rows):
    found = findings.medians(rows)
    neurons = {name: CONFIGS[name]["neurons"] for name in ("memory_10k", "memory_1m")}
    whole, sparse = plots.spread(found, neurons).axes
    assert len(whole.lines) == 3 and len(sparse.lines) == 3
    names = findings.labels(pair_rows)
    [axes] = plots.pairs(findings.medians(pair_rows), names, findings.PAIR_GOALS).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == list(names.values())
    assert len(plots.blocks(3).axes[0].patches) == 3 * 4 + 2
    plt.close("all")
