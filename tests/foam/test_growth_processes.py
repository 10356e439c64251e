"""Several processes, compiled models.

Bugs of the specification guarded here: 47, 48, 49, 52 and 53.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from foam_toys import (
    grow_everywhere,
    loss_for,
    toy_batch,
    toy_growable,
    toy_optimizer,
    toy_train,
)
from safetensors.torch import load_file

from plasticity.foam import GrowthSkipped

SCRIPT = Path(__file__).with_name("foam_process.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two processes wrote, that trained in three ways."""
    folder = tmp_path_factory.mktemp("processes")
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    done = subprocess.run(
        [*torchrun, "--nproc_per_node", "2", str(SCRIPT), str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.slow
def test_two_processes_grow_alike_bugs_47_48_49(folder):
    """Each sees its own half of the data; weights and births are the same."""
    first, second = (load_file(folder / f"{rank}.safetensors") for rank in (0, 1))
    assert first.keys() == second.keys()
    learned = [n for n in first if ".neurons." not in n and "clock" not in n]
    assert all(torch.equal(first[name], second[name]) for name in learned)
    for name in ("source", "birth", "age", "active"):
        key = f"layers.0.neurons.{name}"
        assert torch.equal(first[key], second[key])
    assert int((folder / "0.born").read_text()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_growth_that_would_not_be_synchronised_is_refused_bug_47(folder, rank):
    assert "set reserve_events in GrowthConfig" in (folder / f"{rank}.plain").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_processes_that_disagree_are_stopped_bug_48(folder, rank):
    assert "about to grow differently" in (folder / f"{rank}.apart").read_text()


@pytest.mark.slow
def test_a_sharded_model_grows_into_reserved_room(folder):
    """`fully_shard` on two processes, against one process that sees both halves."""
    first, second = (load_file(folder / f"{rank}.sharded") for rank in (0, 1))
    learned = [n for n in first if ".neurons." not in n and "clock" not in n]
    assert all(torch.equal(first[name], second[name]) for name in learned)
    born = int((folder / "0.sharded_born").read_text())
    model = toy_growable(growth_cooldown=3, reserve_events=3)
    toy_train(model, toy_optimizer(model), 10)
    assert born == model.born > 0
    whole = model.state_dict()
    assert torch.equal(first["layers.0.neurons.birth"], whole["layers.0.neurons.birth"])
    for name in ("layers.0.cohorts.0.up", "base_model.model.layers.0.mlp.up_proj.weight"):
        assert torch.allclose(first[name], whole[name], atol=1e-3), name


@pytest.mark.slow
def test_reserved_room_needs_no_second_compilation_bugs_52_53():
    """One graph, without breaks; three events, and none of them compiles anything."""
    torch.compiler.reset()
    model = toy_growable("llama", reserve_events=4, maturation_age=2)
    optimizer = toy_optimizer(model)
    compiled = torch.compile(model.base_model, fullgraph=True, backend="aot_eager")
    batch = toy_batch()

    def step():
        optimizer.zero_grad()
        loss = compiled(**batch).loss
        loss.backward()
        optimizer.step()
        return loss.item()

    step()
    step()
    with torch.compiler.set_stance("fail_on_recompile"):
        for _ in range(3):
            before = step()
            result = model.grow({0: torch.arange(3), 1: torch.arange(3)}, growth_batch=batch)
            assert result.born == 6
            for _ in range(3):
                after = step()
    assert after < before
    eager = loss_for(model, batch)
    assert compiled(**batch).loss.item() == pytest.approx(eager.item(), rel=1e-5)
    torch.compiler.reset()


def test_room_that_is_used_up_is_said():
    model = toy_growable(reserve_events=1)
    toy_train(model, toy_optimizer(model), 6)
    result = model.check_and_grow()
    assert result.born == 0 and "reserve_events" in result.reason
    with pytest.raises(GrowthSkipped, match=r"the room reserved in .* is used up"):
        grow_everywhere(model)
    assert len(model.growth_log) == 1
