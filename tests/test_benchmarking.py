"""Seconds and bytes: who is timed when, and how much memory a piece of work takes."""

import math
import multiprocessing
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from plasticity.companion import benchmarking

MEGABYTES = 1e6


def test_each_work_is_timed_once_a_turn_and_begins_in_its_turn(monkeypatch):
    monkeypatch.setattr(benchmarking, "SECONDS_OF_WARM_UP", 0.0)
    done = []
    works = {name: lambda name=name: done.append(name) for name in "abc"}
    turns = list(benchmarking.in_turns(works, 4))
    assert done == [*"abc", *"bca", *"cab", *"abc"]
    assert all(list(turn) == [*"abc"] for turn in turns)
    assert all(seconds >= 0 for turn in turns for seconds in turn.values())


def growth_after_freeing(megabytes: int) -> float:
    kept = np.ones(
        int(40 * MEGABYTES) // 8
    )  # freed again: what the allocator keeps of it is no room
    del kept
    return benchmarking.memory_growth(lambda: np.ones(int(megabytes * MEGABYTES) // 8).sum())


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the peak")
@pytest.mark.parametrize("megabytes", [20, 60])
def test_the_peak_of_a_piece_of_work_is_what_it_held(megabytes):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(growth_after_freeing, (megabytes,))
    assert found == pytest.approx(megabytes * MEGABYTES, abs=4 * MEGABYTES)


def peaks_after(megabytes: int) -> list[float]:
    found = [benchmarking.peak_memory()]
    np.ones(int(megabytes * MEGABYTES) // 8).sum()
    found.append(benchmarking.peak_memory())
    benchmarking.forget_peak()
    return [*found, benchmarking.peak_memory()]


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the peak")
def test_a_process_inherits_no_peak_and_forgets_its_own():
    held = np.ones(int(400 * MEGABYTES) // 8)  # by the parent
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        before, working, after = pool.apply(peaks_after, (200,))
    assert held.nbytes > before
    assert working > before + 150 * MEGABYTES > after + 100 * MEGABYTES


def test_peaks_of_a_gpu_are_forgotten_too(monkeypatch):
    calls = []
    cuda = SimpleNamespace(
        is_available=lambda: True, reset_peak_memory_stats=lambda: calls.append(1)
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    benchmarking.forget_peak()
    assert calls == [1]


def test_growth_of_memory_is_unknown_where_nothing_says(monkeypatch, tmp_path):
    monkeypatch.setattr(benchmarking, "ACCOUNT", tmp_path / "nothing")
    assert not benchmarking.forget_peak()
    assert math.isnan(benchmarking.peak_memory())
    assert math.isnan(benchmarking.memory_growth(lambda: None))
