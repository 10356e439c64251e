"""Kills at random moments: nothing committed is lost, and a loss would be noticed."""

import pandas as pd
import pytest

from plasticity.companion import profiles
from plasticity.companion.configuration import Runtime
from plasticity.experiments import substrate_kills
from plasticity.findings import substrate_kills as findings
from plasticity.substrate import kills
from plasticity.substrate.kill_workloads import BrainWorkload, StoreWorkload
from plasticity.substrate.pages import CorruptionError
from plasticity.substrate.store import Store


class Forgetful(Store):
    """A store that says that it commits, and does not."""

    def commit(self):
        pass

    checkpoint = commit


class ForgetfulWorkload(StoreWorkload):
    def open(self, folder, mode="w"):
        return Forgetful.open(folder, mode)


@pytest.mark.slow
@pytest.mark.parametrize("workload", [StoreWorkload, BrainWorkload])
def test_kills_lose_and_tear_nothing(workload, tmp_path):
    lives = kills.survive(workload, tmp_path / "kept", kills=20)
    assert [life for life in lives if not life.same_bits] == []
    assert len(lives) == 20
    assert lives[-1].found > 20


def test_a_life_without_a_commit_leaves_what_was_there(tmp_path, monkeypatch):
    monkeypatch.setattr(kills, "MOST_STEPS", 0)  # killed as soon as it says that it opens
    monkeypatch.setattr(kills, "MOST_SECONDS", 0)
    [life] = kills.survive(StoreWorkload, tmp_path / "kept", kills=1)
    assert life == kills.Life("opening", reported=0, found=0)
    assert life.same_bits


def test_a_commit_that_was_none_is_noticed(tmp_path):
    [life] = kills.survive(ForgetfulWorkload, tmp_path / "kept", kills=1)
    assert life.reported > 0
    assert not life.at_commit and not life.same_bits
    assert "found step 0 after" in life.faults[0]


def test_a_differing_bit_is_noticed(tmp_path, monkeypatch):
    """The replay differs, in the last record of one array; the killed process does not."""
    learn = StoreWorkload.learn

    def learn_otherwise(self, subject, random):
        learn(self, subject, random)
        subject["neurons"]["bias"][-1:] += 1

    monkeypatch.setattr(StoreWorkload, "learn", learn_otherwise)
    [life] = kills.survive(StoreWorkload, tmp_path / "kept", kills=1)
    assert life.at_commit and not life.same_bits
    assert life.faults == (f"neurons differs at step {life.found}",)


def test_what_does_not_open_is_noticed_and_begun_anew(tmp_path, monkeypatch):
    def damaged(self, folder, mode="w"):
        raise CorruptionError(folder / "log.bin", 7, "damaged")

    monkeypatch.setattr(StoreWorkload, "open", damaged)
    lives = kills.survive(StoreWorkload, tmp_path / "kept", kills=2)
    assert [life.found for life in lives] == [-1, -1]
    assert all("log.bin, byte 7: damaged" in life.faults[0] for life in lives)
    assert not any(life.at_commit for life in lives)


def test_a_process_that_ends_by_itself_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(StoreWorkload, "create", lambda self, folder: None)
    with pytest.raises(RuntimeError, match=r"ended by itself: [\s\S]*FileNotFoundError"):
        kills.survive(StoreWorkload, tmp_path / "kept", kills=1)


LIVES = [
    kills.Life("growing", 3, 3),
    kills.Life("committing", 7, 8),
    kills.Life("checkpointing", 8, 8, ("synapses differs at step 8",)),
]


def test_lives_become_rows_tables_and_sentences(tmp_path, monkeypatch):
    monkeypatch.setattr(substrate_kills, "survive", lambda *_: LIVES)
    with pytest.warns(UserWarning, match="store, life 2, checkpointing: synapses differs"):
        rows = substrate_kills.run(
            substrate_kills.Config(workload="store", kills=3), 0, tmp_path, Runtime()
        )
    rows = rows.assign(variant="store", seed=0)
    line = findings.lives(rows).loc["the store alone"]
    assert line["kills"] == "3" and line["while checkpointing"] == "1"
    assert line["while opening"] == "0"
    assert line["at the last commit"] == "3 of 3" and line["bitwise a replay"] == "2 of 3"
    assert line["steps survived"] == "8"
    assert "**1 times** what was found" in findings.survived(rows)
    assert "1 of them came after" in findings.survived(rows)
    whole = rows[rows["step"] < 2]
    assert "Of 2 kills: each time the last commit" in findings.survived(whole)
    both = pd.concat([whole, whole.assign(variant="brain")])
    assert "Of 4 kills" in findings.survived(both)


def test_every_shipped_variant_has_a_name():
    for profile in profiles.names():
        for config in profiles.configs("substrate_kills", profile):
            assert config.variant == config.workload in findings.NAMES


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="workload is 'disk'; allowed: 'store', 'brain'"):
        substrate_kills.Config(workload="disk")
    with pytest.raises(ValueError, match="kills is 0; allowed: 1 to"):
        substrate_kills.Config(kills=0)
