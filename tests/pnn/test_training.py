"""Training that can be trusted: resumed, split, interrupted and damaged runs."""

import itertools
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_training import toy_config, toy_model, toy_train

from plasticity.pnn.checkpoint import MODEL_FOLDER, RUN_FILE, STATE_FILE, CheckpointCorrupt
from plasticity.pnn.training import TrainingConfig, _check_machine, _optimizer

SCRIPT = Path(__file__).with_name("toy_training.py")


def start(*arguments, launcher=(sys.executable,), check=True, **environment):
    import os

    return subprocess.run(
        [*launcher, SCRIPT, *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""} | environment,
        check=check,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_killed_and_run_again_ends_in_the_same_weights(tmp_path):
    """Of 12 updates with 4 checkpoints; the last renamings are of the finished model."""
    start(tmp_path / "whole", tmp_path / "whole.safetensors")
    whole = load_file(tmp_path / "whole.safetensors")
    for place, calls in (("save", 1), ("update", 2), ("update", 8), ("replace", 5)):
        folder, out = tmp_path / f"{place}{calls}", tmp_path / f"{place}{calls}.safetensors"
        died = start(folder, out, place, calls, check=False)
        assert died.returncode == -signal.SIGKILL
        assert (folder / STATE_FILE).exists() == ((place, calls) != ("update", 2))
        assert not (folder / RUN_FILE).exists()
        start(folder, out)
        resumed = load_file(out)
        assert whole.keys() == resumed.keys()
        assert all(torch.equal(whole[name], resumed[name]) for name in whole)
        curve = (tmp_path / "whole.json").read_text()
        assert out.with_suffix(".json").read_text() == curve


@pytest.mark.slow
def test_two_processes_follow_the_same_curve_as_one(tmp_path):
    start(tmp_path / "one", tmp_path / "one.safetensors", TOY_DROPOUT="0")
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    start(
        tmp_path / "two",
        tmp_path / "two.safetensors",
        launcher=(*torchrun, "--nproc_per_node", "2"),
        TOY_DROPOUT="0",
    )
    shares = [(tmp_path / f"{name}.processes").read_text() for name in ("one", "two")]
    assert shares == ["1", "2"]  # else two runs of the whole batch would agree just as well
    one, two = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("one", "two"))
    assert [point["tokens"] for point in one] == [point["tokens"] for point in two]
    for name in ("train_loss", "loss"):
        assert [p[name] for p in two] == pytest.approx([p[name] for p in one], abs=1e-5)


def test_micro_batches_do_not_change_the_run(tmp_path):
    _, whole = toy_train(tmp_path / "whole", toy_model(dropout=0.0))
    _, parts = toy_train(tmp_path / "parts", toy_model(dropout=0.0), micro_batch_size=3)
    for name in ("train_loss", "loss"):
        expected = [point[name] for point in whole.curve]
        assert [point[name] for point in parts.curve] == pytest.approx(expected, abs=1e-5)


def test_a_finished_run_is_not_trained_again(tmp_path):
    trained, run = toy_train(tmp_path)
    assert not (tmp_path / STATE_FILE).exists()
    again, same = toy_train(tmp_path)
    assert same == run
    for name, weight in trained.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight)


def interrupted(folder: Path, monkeypatch) -> None:
    """Leave a checkpoint behind, as a kill would."""
    with monkeypatch.context() as patch:

        def fail(*_):
            raise KeyboardInterrupt

        patch.setattr("plasticity.pnn.training.save_finished", fail)
        with pytest.raises(KeyboardInterrupt):
            toy_train(folder)


def test_damaged_checkpoint_is_named_and_left(tmp_path, monkeypatch):
    interrupted(tmp_path, monkeypatch)
    path = tmp_path / STATE_FILE
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:-1] + bytes([content[-1] ^ 1])):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointCorrupt, match=r"training_state\.safetensors.*Move it away"):
            toy_train(tmp_path)
        assert path.read_bytes() == damaged
    path.write_bytes(content)
    toy_train(tmp_path)


def test_damaged_model_is_named(tmp_path):
    toy_train(tmp_path)
    path = tmp_path / MODEL_FOLDER / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointCorrupt, match="does not match its checksum"):
        toy_train(tmp_path)
    path.write_bytes(content[:100])
    with pytest.raises(CheckpointCorrupt, match="cannot be read"):
        toy_train(tmp_path)
    (tmp_path / RUN_FILE).write_text("{")
    with pytest.raises(CheckpointCorrupt, match="cannot be read"):
        toy_train(tmp_path)


def test_other_settings_in_the_same_folder_are_refused(tmp_path, monkeypatch):
    interrupted(tmp_path, monkeypatch)
    with pytest.raises(ValueError, match="other settings"):
        toy_train(tmp_path, learning_rate=0.5)
    toy_train(tmp_path)
    with pytest.raises(ValueError, match="other settings"):
        toy_train(tmp_path, weight_decay=0.5)


def test_only_matrices_decay():
    model = toy_model()
    decayed, free = _optimizer(model, toy_config()).param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    undecayed = {names[id(parameter)] for parameter in free["params"]}
    assert "pnn.refiner.gate.temperature" in undecayed
    assert all("norm" in n or n.endswith(("bias", "temperature")) for n in undecayed)
    assert len(decayed["params"]) + len(free["params"]) == len(names)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.01, 0.0)


def test_learning_rate_warms_up_and_follows_a_cosine():
    config = TrainingConfig(1, 1, learning_rate=1.0, min_learning_rate=0.1, warmup_steps=4)
    rates = [config.learning_rate_at(step, 104) for step in range(105)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[54] == pytest.approx(0.55)
    assert rates[104] == pytest.approx(0.1)
    assert all(a >= b for a, b in itertools.pairwise(rates[3:]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_tokens": 0}, "train_tokens must be above 0, got 0"),
        ({"warmup_steps": -1}, "warmup_steps must be 0 or more, got -1"),
        ({"mixed_precision": "fp8"}, "mixed_precision must be 'no' or 'bf16', got 'fp8'"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        toy_config(**changes)


@pytest.mark.slow
def test_compiled_blocks_compute_the_same(tmp_path):
    short = {"train_tokens": 16 * 8 * 3, "evaluations": 3}
    _, plain = toy_train(tmp_path / "plain", toy_model(dropout=0.0), **short)
    _, fast = toy_train(tmp_path / "compiled", toy_model(dropout=0.0), compile_blocks=True, **short)
    for name in ("train_loss", "loss"):
        expected = [point[name] for point in plain.curve]
        assert [point[name] for point in fast.curve] == pytest.approx(expected, abs=1e-3)


def test_a_missing_compiler_is_named(tmp_path):
    torch.compiler.reset()  # forget what another test compiled
    message = r"compile_blocks is True, but .*no-such-compiler.*g\+\+"
    absent = torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)})
    with absent, pytest.raises(ValueError, match=message):
        toy_train(tmp_path, compile_blocks=True)
    assert not list(tmp_path.iterdir())


def test_half_precision_is_not_the_same_run(tmp_path):
    _, whole = toy_train(tmp_path / "whole")
    _, half = toy_train(tmp_path / "half", mixed_precision="bf16")
    expected = [point["loss"] for point in whole.curve]
    found = [point["loss"] for point in half.curve]
    assert found != expected
    assert found == pytest.approx(expected, rel=0.02)


def test_a_gpu_without_half_precision_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "an old GPU")
    with pytest.raises(ValueError, match="'bf16', which an old GPU cannot compute; use 'no'"):
        _check_machine(toy_config(mixed_precision="bf16"), "cuda")


def test_a_missing_gpu_is_named(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    from plasticity.pnn.training import _accelerator

    with pytest.raises(ValueError, match="torch sees no GPU; use 'cpu' or 'auto'"):
        _accelerator("cuda")
