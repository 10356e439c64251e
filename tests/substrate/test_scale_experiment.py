import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from plasticity.companion.configuration import Runtime
from plasticity.experiments import substrate_scale
from plasticity.experiments.substrate_scale import Config

TINY = {"neurons": 300, "frontier": 5, "repeats": 1}


def values(config, folder):
    rows = substrate_scale.run(config, 0, folder, Runtime())
    assert list(rows.columns) == ["step", "split", "metric", "value", "unit"]
    return rows.groupby(["split", "metric"])["value"].last()


@pytest.mark.parametrize("reach", [0, 20])
def test_all_ways_of_a_whole_activation_agree(tmp_path, reach):
    found = values(Config(**TINY, reach=reach), tmp_path)
    assert found["whole", "same_bits"] == 1
    assert {"whole/graph/1", "whole/view/2", "sparse/graph/1"} <= set(found.index.levels[0])
    assert found["sparse/graph/1", "time_ratio"] > 0


@pytest.mark.parametrize("limit", [0.0, 0.001])
def test_a_graph_on_disk_is_removed_afterwards(tmp_path, limit):
    found = values(Config(**TINY, kind="disk", resident_gigabytes=limit), tmp_path / "new")
    assert found["disk", "gigabytes"] == pytest.approx(300 * (64 + 160) / 1e9)
    assert ("whole/cycle/2", "cycle_seconds") in found.index or limit
    assert list((tmp_path / "new").iterdir()) == []


def test_a_graph_that_does_not_fit_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=80_000))
    found = values(Config(**TINY, kind="disk"), tmp_path)
    assert found["disk", "fits"] == 0
    assert ("disk", "build_seconds") not in found.index
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_a_hole_spreads(tmp_path):
    found = values(Config(kind="hole", neurons=1_000_000, frontier=5, repeats=1), tmp_path)
    assert found["hole", "disk_gigabytes"] < found["hole", "gigabytes"] / 10
    assert found["hole", "billion_neurons_spread"] == 0  # a million are not a billion
    assert list(tmp_path.iterdir()) == []


def test_a_spread_is_compared_with_what_numpy_adds_up():
    config = Config(**TINY)
    graph = substrate_scale._graph(config, 0)
    graph[1]["weight"] = 1
    few, emitted = np.arange(3, dtype=np.uint32), np.array([0.5, -0.25, 2], np.float32)
    part = graph[0], graph[1][:30], graph[2]
    assert substrate_scale._spreads_right(part, few, emitted)
    part[1]["weight"][7] = 2
    assert not substrate_scale._spreads_right(part, few, emitted)


def test_the_same_seed_draws_the_same_graph_in_chunks_and_whole(monkeypatch):
    config = Config(**TINY)
    *whole, _ = substrate_scale._graph(config, 3)
    assert whole[0]["first_synapse"].tolist() == list(range(0, 3000, 10))
    assert whole[1].tobytes() == substrate_scale._graph(config, 3)[1].tobytes()
    assert whole[1].tobytes() != substrate_scale._graph(config, 4)[1].tobytes()
    near = substrate_scale._graph(Config(**TINY, reach=20), 3)[1]["target"].astype(int)
    steps = (near.reshape(300, 10) - [[source] for source in range(300)] + 150) % 300 - 150
    assert abs(steps).max() <= 20


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="kind is 'tape'; allowed: 'memory', 'disk'"):
        Config(kind="tape")
    with pytest.raises(ValueError, match="frontier is 11; allowed: 1 to 10"):
        Config(neurons=10, frontier=11)
    with pytest.raises(ValueError, match="threads is 0; allowed: 1 to 64"):
        Config(threads=(0,))
