import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import plasticity.experiments
from plasticity.companion import paths, provenance, results
from plasticity.companion.configuration import Runtime, experiment_module

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

collect_ignore = ["toy_run.py", "toy_experiments"]  # started by tests, in processes of their own
TESTS = Path(__file__).parent
TOY_PROFILE = "seeds: 2\nexperiments:\n  toy: {}\n"


@pytest.fixture(autouse=True)
def output_root(tmp_path_factory, monkeypatch):
    """Give every test an output folder of its own, so that a reader's results are never touched."""
    folder = tmp_path_factory.mktemp("output")
    monkeypatch.setenv("PLASTICITY_OUTPUT", str(folder))
    return folder


@dataclass
class Toy:
    """The toy experiment of a test, and what it did."""

    source: Path
    log: Path

    @property
    def starts(self) -> list[str]:
        """Lines 'variant seed from step', one for each time that it was run."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def config(self, **settings):
        return experiment_module("toy").Config(**settings)

    def run(self, *settings, seeds=(0,), profile="laptop", **options):
        configs = [self.config(**each) for each in settings or [{}]]
        return results.run(
            "toy", configs, seeds, profile=profile, runtime=Runtime(workers=1), **options
        )

    def edit(self, old: str, new: str) -> None:
        """Change the experiment's code, as if another version were installed."""
        text = self.source.read_text()
        assert old in text
        self.source.write_text(text.replace(old, new))
        self.forget()

    def forget(self) -> None:
        sys.modules.pop("plasticity.experiments.toy", None)
        vars(plasticity.experiments).pop("toy", None)
        for remembered in (provenance._code, provenance._deciding, provenance.code_hash):
            remembered.cache_clear()

    def start(self, **options) -> subprocess.Popen:
        """Run it in another process."""
        return subprocess.Popen(
            [sys.executable, str(TESTS / "toy_run.py"), json.dumps(options)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Make the toy experiment and its profiles known, here and to other processes."""
    for name in ("experiments", "profiles"):
        (tmp_path / name).mkdir()
    source = tmp_path / "experiments" / "toy.py"
    shutil.copy(TESTS / "toy_experiments" / "toy.py", source)
    for name in ("smoke", "laptop", "paper"):
        (tmp_path / "profiles" / f"{name}.yaml").write_text(TOY_PROFILE)
    monkeypatch.setenv("TOY_FOLDER", str(source.parent))
    monkeypatch.setenv("TOY_PROFILES", str(tmp_path / "profiles"))
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # an edit may keep size and time
    monkeypatch.setattr(paths, "PROFILES", tmp_path / "profiles")
    monkeypatch.setattr(paths, "PAPER_RESULTS", tmp_path / "committed" / "paper")
    folders = [*plasticity.experiments.__path__, str(source.parent)]
    monkeypatch.setattr(plasticity.experiments, "__path__", folders)
    toy = Toy(source, tmp_path / "log")
    toy.forget()
    yield toy
    toy.forget()
