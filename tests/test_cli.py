import json
import subprocess
import sys
from types import SimpleNamespace

import pandas as pd
import pytest
from click.testing import CliRunner

from plasticity.companion import claims, notebooks, paths, results, results_files
from plasticity.companion.cli import main
from plasticity.companion.datasets import DatasetUnavailable


def call(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def error_of(*arguments):
    """Return the message that a command ends in."""
    result = call(*arguments)
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    assert result.output.startswith("Error: ")
    return result.output.strip()


@pytest.mark.parametrize("command", [[], ["run"], ["metric"], ["claims"], ["data"], ["train"]])
def test_help_of_every_command(command):
    result = call(*command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_help_loads_nothing_slow():
    code = (
        "import sys; from plasticity.companion.cli import main; main(['--help'], "
        "standalone_mode=False); assert not {'torch', 'pandas', 'papermill', 'numpy'} & "
        "set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_metric_table_and_json(toy):
    toy.run(seeds=(0, 1, 2))
    result = call("metric", "toy", "loss")
    assert result.exit_code == 0, result.output
    assert result.output.split()[:10] == (
        ["variant", "split", "step", "metric", "mean", "low", "high", "seeds", "unit", "profile"]
    )
    [line] = json.loads(call("metric", "toy", "loss", "--json").output)
    assert line["mean"] == pytest.approx(1.2)
    assert line["low"] < 1.2 < line["high"]
    assert (line["seeds"], line["step"], line["unit"]) == (3, 2, "nats")
    [line] = json.loads(call("metric", "toy", "loss", "--step", 0, "--json").output)
    assert line["mean"] == pytest.approx(1.0)


def test_metric_reads_the_size_that_is_asked_for(monkeypatch):
    asked = []
    rows = pd.DataFrame(
        [("toy", "a", "paper", 0, 0, "test", "loss", 1.0, "nats")], columns=results_files.COLUMNS
    )
    stored = SimpleNamespace(rows=rows)
    monkeypatch.setattr(results, "load", lambda *names: asked.append(names) or stored)
    result = call("metric", "toy", "loss", "--profile", "paper", "--size", "reference")
    assert result.exit_code == 0, result.output
    assert asked == [("toy", "paper", "reference")]


def test_what_is_not_stored_of_a_larger_size_is_asked_for_by_it(toy, monkeypatch):
    empty = SimpleNamespace(rows=pd.DataFrame(columns=results_files.COLUMNS))
    monkeypatch.setattr(results, "load", lambda *_: empty)
    for experiment, command in (
        ("pnn_refinement", "plasticity run 31_pnn_refinement --profile paper -p size reference"),
        ("pnn_speed", "python benchmarks/pnn_speed.py --profile paper --size reference"),
        ("pnn_model", "plasticity run 30_pnn_model --profile paper"),
        ("pnn_human_text", 'results.run("pnn_human_text", ..., size="reference") in Python'),
    ):
        said = error_of("metric", experiment, "x", "--profile", "paper", "--size", "reference")
        assert "at profile paper, size reference," in said and said.rstrip().endswith(command)


def test_one_seed_has_no_interval(toy):
    toy.run()
    [line] = json.loads(call("metric", "toy", "loss", "--json").output)
    assert (line["low"], line["high"], line["seeds"]) == (None, None, 1)


def test_metric_that_is_not_there(toy, monkeypatch, tmp_path):
    assert error_of("metric", "toy", "loss") == (
        "Error: nothing is stored of toy at profile laptop, size small, for the code and data at "
        "hand (is PLASTICITY_DATA set as it was?); "
        'measure it with: plasticity.companion.results.run("toy", ..., size="small") in Python'
    )
    monkeypatch.setattr("plasticity.companion.paths.NOTEBOOKS", tmp_path)
    (tmp_path / "07_toy.ipynb").write_text("results.run('toy')")
    assert "measure it with: plasticity run 07_toy --profile paper" in error_of(
        "metric", "toy", "loss", "--profile", "paper"
    )
    toy.run()
    assert "metric is 'lose'; allowed: 'loss'" in error_of("metric", "toy", "lose")
    assert "variant is 'x'; allowed: 'default'" in error_of(
        "metric", "toy", "loss", "--variant", "x"
    )
    assert "experiment is 'no'" in error_of("metric", "no", "loss")
    assert "profile is 'no'" in error_of("metric", "toy", "loss", "--profile", "no")


def test_corrupt_result_is_one_message(toy):
    toy.run()
    [record] = paths.results().rglob("*.json")
    record.write_text("{")
    assert f"{record.name} is not a whole record" in error_of("metric", "toy", "loss")


def test_claims_are_filtered_and_printed():
    everything = json.loads(call("claims", "--json").output)
    assert len(everything) == len(claims.load())
    some = json.loads(call("claims", "--system", "pnn", "--json").output)
    assert {line["system"] for line in some} == {"plastic-neural-networks"}
    verdict = everything[0]["verdict"]
    some = json.loads(call("claims", "--verdict", verdict, "--json").output)
    assert {line["verdict"] for line in some} == {verdict}
    assert everything[0]["id"] in call("claims").output
    assert "system is 'no'; allowed: " in error_of("claims", "--system", "no")


def test_data_lists_and_describes():
    listed = json.loads(call("data", "--json").output)
    assert "tinystories" in {line["dataset"] for line in listed}
    assert "tinystories" in call("data").output
    assert json.loads(call("data", "stories_sampled", "--json").output)["name"] == "stories_sampled"
    assert "sha256" in call("data", "stories_sampled").output
    assert "stories_sampled" in error_of("data", "no")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a value"),
        TypeError("a type"),
        KeyError("a key"),
        DatasetUnavailable("no data"),
        results_files.StoreFull(28, "no room"),
        notebooks.NotebookFailed("a cell"),
    ],
)
def test_errors_are_one_message(monkeypatch, error):
    def fail(*arguments, **named):
        raise error

    monkeypatch.setattr(notebooks, "parse", fail)
    assert str(error.args[-1]) in error_of("run", "31")


def test_run_names_wrong_parameters():
    assert "parameter is 'sedes'; allowed: " in error_of("run", "31", "-p", "sedes", "1")
    assert "seeds is 'x'; allowed: a value of type int" in error_of("run", "31", "-p", "seeds", "x")
    assert "notebook is '99'; allowed: a path, or one of " in error_of("run", "99")
    assert "profile is 'no'; allowed: 'smoke'" in error_of("run", "31", "--profile", "no")
    result = call("run", "31", "-p", "seeds", "1", "-p", "seeds", "2")
    assert result.exit_code == 2
    assert "-p seeds is given more than once" in result.output


def test_run_passes_what_was_typed(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(notebooks, "run", lambda *a, **k: seen.append((a, k)) or tmp_path)
    arguments = ["31", "-p", "seeds", "-1", "--profile", "smoke", "--output", tmp_path / "o.ipynb"]
    result = call("run", *arguments)
    assert result.output.strip() == str(tmp_path)
    named = {"profile": "smoke", "output": tmp_path / "o.ipynb"}
    assert seen == [(("31", {"seeds": -1}), named)]
