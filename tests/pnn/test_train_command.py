"""The command that trains an arm in several processes leaves what the chapter finds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from plasticity.companion import profiles, results, results_measure
from plasticity.companion.cli import main
from plasticity.companion.configuration import Runtime
from plasticity.experiments import pnn_refinement


@pytest.mark.slow
def test_an_arm_trained_by_torchrun_is_scored_by_the_chapter_without_more_training(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("PLASTICITY_OUTPUT", str(tmp_path))
    command = Path(sys.executable).with_name("plasticity")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python"]
    torchrun += ["--nproc_per_node", "2", str(command), "train", "--profile", "smoke"]
    done = subprocess.run(
        [*torchrun, "--device", "cpu"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    config = {c.variant: c for c in profiles.configs("pnn_refinement", "smoke")}["pnn"]
    folder = results_measure.checkpoint_folder("pnn_refinement", config, 0)
    assert done.stdout.split() == [str(folder)] * 2
    trained = (folder / "model" / "model.safetensors").stat().st_mtime_ns
    pnn_refinement._prepared.cache_clear()  # another test may have left its own texts there
    runtime = Runtime(device="cpu", workers=1)
    rows = results.run("pnn_refinement", [config], [0], profile="smoke", runtime=runtime).rows
    assert len(rows) and (folder / "model" / "model.safetensors").stat().st_mtime_ns == trained


def test_an_unknown_arm_is_named():
    found = CliRunner().invoke(main, ["train", "--variant", "pmn", "--profile", "smoke"])
    assert found.exit_code == 1 and "variant is 'pmn'; allowed: 'pnn'" in found.output
