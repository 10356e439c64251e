"""Seconds and bytes: who is timed when, and how much memory a piece of work takes."""

import multiprocessing
import sys

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
