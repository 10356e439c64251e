import errno
import json
import os

import pandas as pd
import pytest

from plasticity.companion import (
    datasets,
    paths,
    provenance,
    results,
    results_files,
    results_measure,
)
from plasticity.companion.datasets import DatasetAltered, DatasetUnavailable
from plasticity.companion.results import ResultCorrupt, StoreFull

COLUMNS = ["experiment", "variant", "profile", "seed", *results_files.MEASURED]


def stored(pattern="*-seed*[0-9].json"):
    return sorted(paths.results().rglob(pattern))


def test_measures_once_and_reads_afterwards(toy):
    first = toy.run(seeds=(0, 1))
    second = toy.run(seeds=(0, 1))
    assert toy.starts == ["default 0 from 0", "default 1 from 0"]
    pd.testing.assert_frame_equal(first.rows, second.rows)
    assert first.provenance == second.provenance
    assert list(first.rows) == COLUMNS
    assert first.rows.groupby("seed")["value"].apply(list).to_dict() == {
        0: [0.0, 0.1, 0.2],
        1: [1.0, 1.1, 1.2],
    }
    assert dict(first.rows.dtypes.astype(str))["value"] == "float64"
    pd.testing.assert_frame_equal(results.load("toy", "laptop").rows, first.rows)


def test_measures_only_what_is_missing(toy):
    toy.run(seeds=(0,))
    study = toy.run(seeds=(2, 0))
    assert toy.starts == ["default 0 from 0", "default 2 from 0"]
    assert study.rows["seed"].drop_duplicates().tolist() == [2, 0]
    assert results.load("toy", "laptop").rows["seed"].drop_duplicates().tolist() == [0, 2]


def test_record_says_where_the_rows_come_from(toy):
    record = toy.run(seeds=(1,)).provenance[0]
    assert record["schema_version"] == 1
    assert record["status"] == "success"
    assert record["config"] == toy.config().to_dict()
    assert record["config_hash"] == toy.config().hash
    assert record["code_hash"] == provenance.code_hash("toy")
    assert record["packages"]["numpy"]
    assert record["hardware"]["cores"] >= 1
    assert record["hardware"]["device"] == "cpu"
    assert record["started"].endswith("+00:00")
    assert record["wall_seconds"] >= 0
    assert (record["seed"], record["profile"], record["datasets"]) == (1, "laptop", [])
    assert record["measured_with"] is None
    assert str(paths.ROOT) not in json.dumps(record)


def test_settings_that_are_not_the_profiles_are_custom(toy):
    study = toy.run({"offset": 5.0})
    assert study.rows["profile"].unique().tolist() == ["custom"]
    assert "decide no claim" in study.about()
    assert results.load("toy", "laptop").rows.empty
    assert [path.parents[2].name for path in stored()] == ["custom"]


def test_fresh_measures_again_and_replaces(toy):
    toy.run()
    before = json.loads(stored()[0].read_text())
    toy.run(fresh=True)
    assert toy.starts == ["default 0 from 0"] * 2
    assert len(stored()) == 1
    assert json.loads(stored()[0].read_text())["started"] > before["started"]
    folder = results.checkpoint_folder("toy", toy.config(), 0)
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [folder.name]
    assert (folder / "steps.txt").read_text() == "0\n1\n2\n"


def test_failed_fresh_run_keeps_what_was_there(toy, monkeypatch):
    before = toy.run().rows
    with monkeypatch.context() as patch, pytest.raises(ValueError, match="broken"):
        patch.setattr(results_files, "checked_rows", raise_error)
        toy.run(fresh=True)
    pd.testing.assert_frame_equal(toy.run().rows, before)


def raise_error(*arguments, **named):
    raise ValueError("broken")


def test_other_code_is_measured_again_and_the_old_result_stays(toy):
    toy.run()
    toy.edit("step / 10", "step / 5")
    assert results.load("toy", "laptop").rows.empty
    assert toy.run().rows["value"].tolist() == [0.0, 0.2, 0.4]
    assert len(stored()) == 2
    toy.edit("step / 5", "step / 10")
    assert toy.run().rows["value"].tolist() == [0.0, 0.1, 0.2]
    assert len(toy.starts) == 2


def test_comments_and_docstrings_are_not_code(toy):
    before = provenance.code_hash("toy")
    toy.edit('"""Settings of the toy."""', '"""Other words."""  # and a remark')
    assert provenance.code_hash("toy") == before
    toy.edit("steps: int = field(default=3", "steps: int = field(default=4")
    assert provenance.code_hash("toy") != before


def test_code_of_imported_experiments_counts(toy):
    other = toy.source.with_name("toy_part.py")
    other.write_text("SCALE = 1\n")
    toy.edit(
        "import pandas as pd", "import pandas as pd\nfrom plasticity.experiments import toy_part"
    )
    before = provenance.code_hash("toy")
    other.write_text("SCALE = 2\n")
    toy.forget()
    assert provenance.code_hash("toy") != before


def test_modules_of_a_system_count_where_they_are_imported(toy, tmp_path, monkeypatch):
    package = tmp_path / "plasticity" / "pnn"
    package.mkdir(parents=True)
    for name in ("used", "behind", "idle", "__init__"):
        (package / f"{name}.py").write_text("SCALE = 1\n")
    (package / "used.py").write_text("from plasticity.pnn.behind import SCALE\n")
    monkeypatch.setattr(provenance.plasticity, "__file__", str(package.parent / "__init__.py"))

    def changed(edited: str) -> bool:
        before = provenance.code_hash("toy")
        path = package / f"{edited}.py"
        path.write_text(path.read_text() + "MORE = 2\n")
        toy.forget()
        return provenance.code_hash("toy") != before

    first = "    done = Path(folder)"
    toy.edit(first, f"    from plasticity.pnn.used import SCALE\n{first}")
    names = ("used", "behind", "idle", "__init__")
    assert [changed(name) for name in names] == [True, True, False, False]
    toy.edit("plasticity.pnn.used import", "plasticity.pnn import")  # could come from any of them
    assert [changed(name) for name in names] == [True, True, True, False]


def test_data_is_part_of_the_key(toy, monkeypatch):
    record = {"name": "d", "source": "folder", "note": "A sample.", "path": "x", "sha256": "1"}
    monkeypatch.setattr(datasets, "provenance", lambda name: record)
    monkeypatch.setattr(datasets, "fingerprint", lambda name: record["sha256"])
    study = toy.run({"corpus": "d"})
    assert study.provenance[0]["datasets"] == [
        {"name": "d", "source": "folder", "note": "A sample.", "sha256": "1"}
    ]
    assert "d (from: folder). Note: A sample." in study.about()
    record["sha256"] = "2"
    toy.run({"corpus": "d"})
    assert len(toy.starts) == 2


def test_missing_data_is_an_error_to_measure_and_nothing_to_load(toy, monkeypatch):
    def missing(name):
        raise DatasetUnavailable(f"{name} is nowhere")

    monkeypatch.setattr(datasets, "fingerprint", missing)
    for name in ("laptop", "paper"):
        text = "seeds: 2\nexperiments: {toy: {all: {corpus: d}}}\n"
        (paths.PROFILES / f"{name}.yaml").write_text(text)
        with pytest.raises(DatasetUnavailable, match="d is nowhere"):
            toy.run({"corpus": "d"}, profile=name)
        assert results.load("toy", name).rows.empty


def test_paper_rows_outlive_code_and_data(toy, monkeypatch):
    measured = toy.run(profile="paper", seeds=(0, 1))
    paths.PAPER_RESULTS.parent.mkdir(parents=True)
    (paths.results() / "paper").rename(paths.PAPER_RESULTS)
    toy.edit("step / 10", "step / 5")
    monkeypatch.setattr(provenance, "result_key", raise_error)  # neither needs the data
    shown = toy.run(profile="paper", seeds=(0, 1))
    pd.testing.assert_frame_equal(shown.rows, measured.rows)
    pd.testing.assert_frame_equal(results.load("toy", "paper").rows, measured.rows)
    note = shown.provenance[0]["measured_with"]
    assert note.startswith("measured with code ")
    assert note in shown.about()
    assert "may be the same" not in note
    monkeypatch.setattr(results.platform, "python_version", lambda: "2.7.18")
    assert "may be the same" in results.load("toy", "paper").provenance[0]["measured_with"]
    assert len(toy.starts) == 2


def test_fresh_paper_rows_come_before_committed_ones(toy):
    toy.run(profile="paper")
    paths.PAPER_RESULTS.parent.mkdir(parents=True)
    (paths.results() / "paper").rename(paths.PAPER_RESULTS)
    toy.edit("step / 10", "step / 5")
    fresh = toy.run(profile="paper", fresh=True)
    assert fresh.rows["value"].tolist() == [0.0, 0.2, 0.4]
    assert fresh.provenance[0]["measured_with"] is None
    assert results.load("toy", "paper").rows["value"].tolist() == [0.0, 0.2, 0.4]
    assert len(list(paths.PAPER_RESULTS.rglob("*.parquet"))) == 1


def test_nothing_stored_is_an_empty_study(toy):
    study = results.load("toy", "laptop")
    assert list(study.rows) == COLUMNS
    assert study.rows.empty
    assert study.about() == "No results are stored."


@pytest.mark.parametrize("suffix", [".parquet", ".json"])
@pytest.mark.parametrize("keep", [0, 100])
def test_truncated_result_is_named_and_left(toy, suffix, keep):
    rows = toy.run().rows
    damaged = stored()[0].with_suffix(suffix)
    damaged.write_bytes(damaged.read_bytes()[:keep])
    for attempt in (toy.run, lambda: results.load("toy", "laptop")):
        with pytest.raises(ResultCorrupt, match=f"{damaged.name}.*fresh=True"):
            attempt()
    assert damaged.stat().st_size == keep
    assert len(toy.starts) == 1
    pd.testing.assert_frame_equal(toy.run(fresh=True).rows, rows)


def test_other_damage_is_named(toy):
    toy.run()
    record = stored()[0]
    text = record.read_text()
    record.write_text(text.replace('"schema_version": 1', '"schema_version": 99'))
    with pytest.raises(ResultCorrupt, match="schema version 99; this code reads 1"):
        toy.run()
    record.write_text(text)
    record.with_suffix(".parquet").unlink()
    with pytest.raises(ResultCorrupt, match="parquet is missing"):
        toy.run()


def test_a_kill_between_the_two_files_only_costs_a_measurement(toy):
    toy.run()
    record = stored()[0]
    record.unlink()
    stale = record.with_name(f".{record.name}.12345.tmp")
    stale.write_text("half")
    toy.run()
    assert record.exists()
    assert not stale.exists()


def test_one_failing_unit_does_not_lose_the_others(toy):
    configs = [{"variant": "bad", "ending": "error"}, {"variant": "good"}]
    with pytest.raises(ValueError, match="seed 0 went wrong"):
        toy.run(*configs, seeds=(0, 1))
    assert [path.parent.name for path in stored()] == ["good", "good"]
    failures = [json.loads(path.read_text()) for path in stored("*-failed.json")]
    assert [(f["variant"], f["status"]) for f in failures] == [("bad", "failed")] * 2
    assert failures[1]["error"] == "ValueError: seed 1 went wrong"
    assert len(toy.starts) == 4


def test_failure_record_goes_with_success(toy, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(ValueError, match="broken"):
        patch.setattr(results_files, "checked_rows", raise_error)
        toy.run()
    assert results.load("toy", "laptop").rows.empty
    assert len(stored("*-failed.json")) == 1
    toy.run()
    assert stored("*-failed.json") == []


def test_wrong_requests_are_named_before_anything_runs(toy):
    with pytest.raises(ValueError, match="profile is 'no'"):
        toy.run(profile="no")
    with pytest.raises(ValueError, match=r"seeds are \[0, 0\]; allowed: one or more, each once"):
        toy.run(seeds=(0, 0))
    with pytest.raises(ValueError, match=r"seeds are \[\]"):
        toy.run(seeds=())
    with pytest.raises(TypeError, match=r"seeds holds True \(bool\)"):
        toy.run(seeds=(True,))
    with pytest.raises(ValueError, match="seed is -1"):
        toy.run(seeds=(-1,))
    with pytest.raises(ValueError, match="variants are"):
        toy.run({}, {"offset": 1.0})
    with pytest.raises(TypeError, match=r"configs holds a .*ExperimentConfig; allowed: .*toy"):
        results.run("toy", [results.ExperimentConfig()], [0], profile="laptop")
    assert toy.starts == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1}, "columns"),
        ({"step": 0.5}, "step is of type float64; allowed: integers"),
        ({"value": "much"}, "value is of type .*; allowed: numbers"),
        ({"metric": None}, "metric is None; allowed: text"),
        ({"step": 1}, "loss on 'test' at step 1 more than once"),
    ],
)
def test_malformed_rows_are_refused(change, message):
    table = {"step": [0, 1], "split": "test", "metric": "loss", "value": 1.0, "unit": "nats"}
    rows = pd.DataFrame(table)
    for name, value in change.items():
        rows[name] = [value, value]
    identity = {"experiment": "e", "variant": "v", "profile": "p", "seed": 0}
    with pytest.raises(ValueError, match=message):
        results_files.checked_rows(rows, **identity)
    with pytest.raises(ValueError, match="are empty"):
        results_files.checked_rows(pd.DataFrame(table).head(0), **identity)


def test_error_that_cannot_travel_between_processes_keeps_its_text(monkeypatch):
    error = DatasetAltered(paths.ROOT / "x", "1", "2")
    monkeypatch.setattr(results_measure, "_attempt", lambda *arguments: error)
    found = results_measure._attempt_elsewhere(None, None, False, None)
    assert type(found) is RuntimeError
    assert "expected sha256 1, got 2" in str(found)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_full_disk_is_one_clear_error(tmp_path):
    message = r"bytes free.*stored before is untouched"
    with (
        pytest.raises(StoreFull, match=message) as caught,
        open("/dev/full", "wb", buffering=0) as full,
        results_files.disk_errors(tmp_path),
    ):
        full.write(b"x")
    assert caught.value.errno == errno.ENOSPC


def test_runtime_does_not_change_the_threads_of_the_caller(toy, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    toy.run()
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_seeds_of_a_paper_study_share_their_data(toy, monkeypatch):
    data = {"sha256": "full"}
    monkeypatch.setattr(
        datasets, "provenance", lambda name: {"name": name, "source": "folder", "note": "", **data}
    )
    monkeypatch.setattr(datasets, "fingerprint", lambda name: data["sha256"])
    text = "seeds: 2\nexperiments: {toy: {all: {corpus: d}}}\n"
    (paths.PROFILES / "paper.yaml").write_text(text)
    toy.run({"corpus": "d"}, profile="paper", seeds=(0, 1))
    data["sha256"] = "sample"
    toy.run({"corpus": "d"}, profile="paper", seeds=(0,), fresh=True)
    for here, seeds in (("sample", [0]), ("full", [0, 1]), ("neither", [0, 1])):
        data["sha256"] = here
        study = results.load("toy", "paper")
        assert sorted(set(study.rows["seed"])) == seeds
        assert len({each["datasets"][0]["sha256"] for each in study.provenance}) == 1


@pytest.fixture
def corpus(monkeypatch) -> dict[str, str]:
    """Put one dataset at hand, whose content a test may change."""
    data = {"sha256": "full"}
    monkeypatch.setattr(
        datasets, "provenance", lambda name: {"name": name, "source": "folder", "note": "", **data}
    )
    monkeypatch.setattr(datasets, "fingerprint", lambda name: data["sha256"])
    variants = "{one: {offset: 1.0}, two: {offset: 2.0}, three: {offset: 3.0}}"
    text = f"seeds: 1\nexperiments: {{toy: {{all: {{corpus: d}}, variants: {variants}}}}}\n"
    (paths.PROFILES / "paper.yaml").write_text(text)
    return data


def arm(name: str, offset: float) -> dict:
    return {"variant": name, "offset": offset, "corpus": "d"}


def test_a_study_begun_on_other_data_is_not_mixed(toy, corpus):
    one, two = arm("one", 1.0), arm("two", 2.0)
    toy.run(one, profile="paper")
    corpus["sha256"] = "sample"
    with pytest.raises(ValueError, match=r"1 of the results of toy .*PLASTICITY_DATA.*fresh=True"):
        toy.run(one, two, profile="paper")
    assert toy.starts == ["one 0 from 0"]  # refused before anything runs
    toy.run(one, two, profile="paper", fresh=True)
    assert len(toy.starts) == 3


def test_arms_measured_on_other_data_than_most_are_passed_over(toy, corpus):
    toy.run(arm("one", 1.0), arm("two", 2.0), profile="paper")
    corpus["sha256"] = "sample"
    toy.run(arm("three", 3.0), profile="paper")
    with pytest.warns(UserWarning, match="1 of 3 results were measured on other data"):
        study = results.load("toy", "paper")
    assert sorted(set(study.rows["variant"])) == ["one", "two"]


def test_a_worker_of_torchrun_is_refused(toy, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="several processes of torchrun"):
        toy.run()


def test_a_domain_depends_on_its_own_modules_alone():
    def files(name):
        return [path.name for path in provenance._deciding(name)]

    assert files("plasticity.substrate.domains.tictactoe.game.X") == ["game.py"]
    assert files("plasticity.substrate.domains.audio") == ["audio.py"]
    assert "audio.py" not in files("plasticity.substrate.Brain")
    assert {"brain.py", "kernels.py"} <= set(files("plasticity.substrate.Brain"))
    assert files("plasticity.companion.metrics") == files("numpy.array") == []
