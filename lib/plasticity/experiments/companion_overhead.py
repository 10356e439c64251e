"""What the companion itself costs: looking up a finished result, and running a notebook."""

import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import pandas as pd

from plasticity.companion import results
from plasticity.companion.configuration import (
    ExperimentConfig,
    Runtime,
    check_choice,
    check_range,
)

UNIT = "seconds"
COMMAND = "from plasticity.companion.cli import main; main()"
PARAMETERS = """\
profile = "laptop"  # type: str  smoke, laptop or paper
seeds = 0  # type: int  number of seeds, 0 for the profile's
fresh = False  # type: bool  measure again what is stored
device = "auto"  # type: str  auto, cpu or cuda
"""


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """Settings of the measurement of the companion's own cost."""

    work: str = field(
        default="measure",
        metadata={"help": "measure, or rows: only write rows, as the result that is looked up"},
    )
    repeats: int = field(default=5, metadata={"help": "how often each time is taken, 1 to 1000"})
    rows: int = field(default=2000, metadata={"help": "rows of the looked-up result, 1 to 1e6"})
    corpus: str = field(default="", metadata={"help": "dataset of the looked-up result, if any"})

    def __post_init__(self) -> None:
        """Check types and ranges."""
        super().__post_init__()
        check_choice("work", self.work, ("measure", "rows"))
        check_range("repeats", self.repeats, 1, 1000)
        check_range("rows", self.rows, 1, 1_000_000)


def datasets(config: Config) -> tuple[str, ...]:
    """Return the datasets that the run depends on: the corpus of a looked-up result."""
    return (config.corpus,) if config.corpus else ()


def look_up(rows: int) -> float:
    """Return the seconds that it takes to look up a stored result measured on a corpus."""
    target = Config(variant="target", work="rows", rows=rows, corpus="stories")
    started = time.perf_counter()
    results.run("companion_overhead", [target], [0], profile="smoke", runtime=Runtime(workers=1))
    return time.perf_counter() - started


def _lookup_seconds(config: Config) -> list[float]:
    """Return the times of further look-ups in one process."""
    look_up(config.rows)  # stores it, the first time
    return [look_up(config.rows) for _ in range(config.repeats)]


def _first_lookup_seconds(config: Config) -> list[float]:
    """Return the times of the first look-up in a new process, its imports left out."""
    command = f"from {__name__} import look_up; print(look_up({config.rows}))"
    return [
        float(subprocess.check_output([sys.executable, "-c", command], text=True))
        for _ in range(config.repeats)
    ]


def _write_notebook(path: Path) -> None:
    """Write a notebook of a few cells that do next to nothing."""
    cells = [nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell(f"print({number})") for number in range(5)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.write(notebook, path)


def _notebook_seconds(config: Config, folder: Path) -> list[float]:
    """Return the times that running a notebook takes beyond its cells."""
    source, output = folder / "cells.ipynb", folder / "executed.ipynb"
    _write_notebook(source)
    times = []
    for _ in range(config.repeats):
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", COMMAND, "run", str(source), "--output", str(output)],
            check=True,
            capture_output=True,
        )
        wall = time.perf_counter() - started
        cells = nbformat.read(output, as_version=4).cells
        times.append(wall - sum(cell.metadata.papermill.duration or 0 for cell in cells))
    return times


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Take the times, each `repeats` times over.

    Parameters
    ----------
    config : Config
        The settings.
    seed : int
        Not used; there is nothing random.
    folder : Path
        Holds the notebook that is run.
    runtime : Runtime
        Not used.

    Returns
    -------
    DataFrame
        Metrics lookup_seconds, first_lookup_seconds and notebook_overhead_seconds; the step counts
        the repeats.
    """
    if config.work == "rows":
        steps = range(config.rows)
        table = pd.DataFrame({"step": steps, "metric": "seconds", "value": 0.0})
        return table.assign(split="all", unit=UNIT)
    measured = {
        "lookup_seconds": _lookup_seconds(config),
        "first_lookup_seconds": _first_lookup_seconds(config),
        "notebook_overhead_seconds": _notebook_seconds(config, folder),
    }
    return pd.DataFrame(
        [
            {"step": step, "split": "all", "metric": metric, "value": value, "unit": UNIT}
            for metric, values in measured.items()
            for step, value in enumerate(values)
        ]
    )
