"""What the reference's tools find here: its files of numbers, and its figures under its names."""

import json

import nbformat
import pandas as pd
import pytest
from click.testing import CliRunner

from plasticity.companion import export, paths, results
from plasticity.companion.cli import main
from plasticity.companion.yaml_files import read_yaml

# The three pictures of the reference's repository, and the ten that its script draws.
FIGURES = """
architecture_comparison convergence_no_base gate_activation_no_base
meg_temporal_patterns optogenetics_suppression brain_activity_patterns dimensionwise_patterns
token_difficulty_analysis layer_importance_analysis gate_specificity_tests
layerwise_activity_analysis cross_token_interference gate_entropy_analysis
"""
CLASSES = ("easy", "medium", "hard")


def stored(experiment: str) -> pd.DataFrame:
    rows = results.load(experiment, "paper").rows
    return rows[(rows["variant"] == "pnn") & (rows["seed"] == 1)]


def test_convergence_adds_up_and_agrees_with_the_rows():
    rows = stored("pnn_convergence")
    found = export.convergence(rows)
    value = rows.set_index(["metric", "split", "step"])["value"]
    classes = found["difficulty_classes"]
    assert tuple(classes) == CLASSES
    assert found["total_tokens"] == value["scored_tokens", "test", 0]
    assert sum(one["count"] for one in classes.values()) == found["total_tokens"]
    means = 0.0
    for name, one in classes.items():
        assert one["count"] == sum(one["count_per_step"])
        assert 100 * one["share"] == pytest.approx(value["token_share", name, 0])
        steps = enumerate(one["count_per_step"], start=1)
        assert one["mean_steps"] == pytest.approx(sum(s * n for s, n in steps) / one["count"])
        means += one["mean_steps"] * one["share"]
        for step, share in enumerate(one["stability_per_step"], start=1):
            assert 100 * share == pytest.approx(value["prediction_stability", name, step])
    assert found["mean_steps"] == pytest.approx(means)


def test_a_class_without_tokens_has_no_mean():
    measured = [
        *((step, "easy", "converged_tokens", float(step == 1)) for step in (1, 2)),
        *((step, "hard", "converged_tokens", 0.0) for step in (1, 2)),
        (0, "easy", "convergence_step", 1.0),
        (0, "all", "convergence_step", 1.0),
    ]
    found = export.convergence(pd.DataFrame(measured, columns=["step", "split", "metric", "value"]))
    assert found["difficulty_classes"]["hard"]["mean_steps"] is None
    assert found["difficulty_classes"]["easy"]["share"] == 1.0


def test_gates_agree_with_the_rows_and_histograms_are_whole():
    rows = stored("pnn_gates")
    found = export.gates(rows)
    value = rows.set_index(["metric", "split", "step"])["value"]
    assert {"test", "with_padding", "masked"} <= set(found)
    for name, one in found.items():
        assert one["total_tokens"] == value["tokens", name, 0]
        for step, (mean, active, counts) in enumerate(
            zip(
                one["mean_gate_per_step"],
                one["active_ratio_per_step"],
                one["token_gate_histogram"],
                strict=True,
            ),
            start=1,
        ):
            assert mean == value["gate_mean", name, step]
            assert 100 * active == pytest.approx(value["gate_active_share", name, step])
            assert sum(counts) == pytest.approx(1)
            middles = [(bin_ + 0.5) / len(counts) for bin_ in range(len(counts))]
            rough = sum(n * middle for n, middle in zip(counts, middles, strict=True))
            assert rough == pytest.approx(mean, abs=0.5 / len(counts))
    assert [len(row) for row in found["test"]["dimension_gates"]] == [64] * 4


@pytest.mark.parametrize("form", [export.convergence, export.gates])
def test_rows_of_several_models_or_of_none_are_refused(form):
    rows = pd.concat([stored("pnn_convergence"), stored("pnn_gates")])
    for wrong in (rows.iloc[:0], pd.concat([rows, rows])):
        with pytest.raises(ValueError, match="one variant and seed"):
            form(wrong)


@pytest.mark.parametrize(
    ("experiment", "name"),
    [
        ("pnn_convergence", "convergence_analysis.json"),
        ("pnn_gates", "gate_statistics.json"),
    ],
)
def test_the_command_writes_them_under_the_references_names(
    experiment, name, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    asked = ["export", experiment, "--profile", "paper", "--seed", "1"]
    answer = CliRunner().invoke(main, asked)
    assert answer.exit_code == 0, answer.output
    assert answer.output.strip() == name
    written = json.loads((tmp_path / name).read_text(encoding="utf-8"))
    assert written == export.FORMS[experiment][1](stored(experiment))


@pytest.mark.parametrize("name", FIGURES.split())
def test_every_figure_of_the_reference_is_drawn_under_its_name(name):
    entries = read_yaml(paths.BOOK / "source_figures.yaml")["Plastic Neural Networks"]
    [notebook] = {entry["notebook"] for entry in entries if name in entry.get("figures", ())}
    cells = nbformat.read(paths.NOTEBOOKS / f"{notebook}.ipynb", as_version=4).cells
    assert sum(f'"{name}"' in cell.source for cell in cells if cell.cell_type == "code") == 1
