"""The store under several processes, kills and limits; each test starts real processes."""

import json
import os
import signal
import subprocess

import pytest

from plasticity.companion import paths, provenance, results_measure

pytestmark = pytest.mark.slow


def finish(process):
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def rows_of(process):
    code, out, err = finish(process)
    assert code == 0, err
    return json.loads(out)


def records():
    return sorted(paths.results().rglob("*-seed*[0-9].json"))


def temporaries():
    return list(paths.results().rglob("*.tmp"))


def test_two_processes_at_once_measure_once(toy):
    options = {"seeds": [0], "configs": [{"sleep": 0.7}]}
    both = [toy.start(**options), toy.start(**options)]
    first, second = (rows_of(process) for process in both)
    assert first == second
    assert toy.starts == ["default 0 from 0"]
    assert len(records()) == 1


def test_killed_run_resumes_where_it_was(toy, monkeypatch, tmp_path):
    monkeypatch.setenv("TOY_KILL_AT", "2")
    code, _, _ = finish(toy.start(seeds=[0]))
    assert code == -signal.SIGKILL
    assert records() == []
    monkeypatch.delenv("TOY_KILL_AT")
    resumed = rows_of(toy.start(seeds=[0]))
    assert toy.starts == ["default 0 from 0", "default 0 from 2"]
    assert json.loads(records()[0].read_text())["resumed"] is True
    monkeypatch.setenv("PLASTICITY_OUTPUT", str(tmp_path / "elsewhere"))
    assert rows_of(toy.start(seeds=[0])) == resumed


def test_waiting_process_takes_over_from_a_killed_one(toy, monkeypatch):
    options = {"seeds": [0], "configs": [{"sleep": 0.7}]}
    monkeypatch.setenv("TOY_KILL_AT", "2")
    doomed = toy.start(**options)
    monkeypatch.delenv("TOY_KILL_AT")
    heir = toy.start(**options)
    assert finish(doomed)[0] in (-signal.SIGKILL, 0)  # 0 where it came second
    assert len(rows_of(heir)) == 3
    assert len(records()) == 1


def test_several_processes_give_the_same_rows_as_one(toy, monkeypatch, tmp_path):
    options = {"seeds": [0, 1], "configs": [{"variant": "a"}, {"variant": "b", "offset": 1.0}]}
    several = rows_of(toy.start(**options, workers=2))
    assert sorted(toy.starts) == [f"{name} {seed} from 0" for name in "ab" for seed in (0, 1)]
    monkeypatch.setenv("PLASTICITY_OUTPUT", str(tmp_path / "elsewhere"))
    assert rows_of(toy.start(**options, workers=1)) == several


def test_a_failure_in_one_of_several_processes(toy):
    configs = [{"variant": "bad", "ending": "error"}, {"variant": "good"}]
    code, _, err = finish(toy.start(seeds=[0, 1], configs=configs, workers=2))
    assert code == 1
    assert "went wrong" in err
    assert [path.parent.name for path in records()] == ["good", "good"]


def test_a_killed_process_among_several_is_explained(toy):
    configs = [{"variant": "bad", "ending": "kill"}]
    code, _, err = finish(toy.start(seeds=[0, 1], configs=configs, workers=2))
    assert code == 1
    assert "a process of toy was killed" in err
    assert "Runtime(workers=1)" in err


def test_no_room_left_loses_nothing(toy):
    """A limit on the size of files makes every write of the rows fail half-way."""
    rows_of(toy.start(seeds=[0]))
    before = {path: path.read_bytes() for path in paths.results().rglob("*") if path.is_file()}
    settings = [{"steps": 20_000}]
    code, _, err = finish(toy.start(seeds=[0], configs=settings, largest_file=150_000))
    assert code == 1
    assert "StoreFull" in err
    assert "What was stored before is untouched" in err
    code, _, err = finish(toy.start(seeds=[0], fresh=True, largest_file=1_500))
    assert code == 1
    assert "StoreFull" in err
    assert temporaries() == []
    assert {path: path.read_bytes() for path in before} == before
    assert len(records()) == 1
    assert len(rows_of(toy.start(seeds=[0]))) == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts file systems")
def test_a_disk_that_is_really_full(toy, monkeypatch, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        monkeypatch.setenv("PLASTICITY_OUTPUT", str(disk))
        before = rows_of(toy.start(seeds=[0]))
        (disk / "filler").write_bytes(b"0" * 140_000)
        code, _, err = finish(toy.start(seeds=[1], configs=[{"steps": 20_000}]))
        assert code == 1
        assert "No space left on device" in err
        assert temporaries() == []
        assert rows_of(toy.start(seeds=[0])) == before
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(
    ("idle", "wanted"),
    [
        (4, [(["short"], 1), (["long"], 1), (["third", "fourth"], 2)]),
        (1, [(["short"], 1), (["long"], 1), (["third"], 1), (["fourth"], 1)]),  # a busy machine
    ],
)
def test_other_processes_start_once_a_run_is_worth_it(monkeypatch, idle, wanted):
    asked = []

    def attempts(units, fresh, runtime, workers):
        asked.append((units, workers))
        yield from ((unit, None) for unit in units)

    lasts = 2 * results_measure.START_SECONDS
    clock = iter((0.0, 0.1, 1.0, 1.0 + lasts, 100.0, 100.0 + lasts, 200.0, 200.0 + lasts))
    monkeypatch.setattr(results_measure, "_attempts", attempts)
    monkeypatch.setattr(results_measure.provenance, "idle_cores", lambda: idle)
    monkeypatch.setattr(results_measure.time, "perf_counter", lambda: next(clock))
    done = results_measure._attempts_until_long(
        ["short", "long", "third", "fourth"], False, None, 2
    )
    assert [unit for unit, _ in done] == ["short", "long", "third", "fourth"]
    assert asked == wanted


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity on this system")
def test_idle_cores_are_those_that_nobody_uses(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 2})
    for percents, idle in (([100, 0, 4, 100], 2), ([0, 100, 0, 0], 1), ([0, 100, 100, 0], 0)):
        monkeypatch.setattr(provenance.psutil, "cpu_percent", lambda p=percents, **_: p)
        assert provenance.idle_cores() == idle
