"""Checkpoints of a training run: one safetensors file, checksummed, replaced atomically."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.utils import logging

STATE_FILE = "training_state.safetensors"
MODEL_FOLDER = "model"
RUN_FILE = "training_run.json"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class CheckpointCorrupt(RuntimeError):
    """A checkpoint is unreadable, or its content does not match its checksum."""


def digest(tensors: dict[str, Tensor]) -> str:
    """Return the sha256 of named tensors, in hexadecimal.

    Examples
    --------
    >>> digest({"a": torch.zeros(2)}) == digest({"a": torch.zeros(2)})
    True
    """
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(tensors[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()


def _sealed(header: str, tensors: dict[str, Tensor]) -> str:
    return hashlib.sha256(f"{header}{digest(tensors)}".encode()).hexdigest()


def _check_identity(found: dict, wanted: dict, folder: Path) -> None:
    if found != json.loads(json.dumps(wanted)):
        raise ValueError(
            f"{folder} holds a training run with other settings ({found}); "
            f"this one has {wanted}. Give another folder, or move that one away"
        )


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk, which safetensors reports in words only, into the usual OSError."""
    try:
        yield
    except SafetensorError as error:
        if f"os error {errno.ENOSPC}" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from drawing a progress bar for a single file."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


class TrainingState:
    """The weights, the optimizer's moments and the record of an unfinished run.

    Parameters
    ----------
    folder : Path
    model : nn.Module
    optimizer : torch.optim.AdamW
    identity : dict
        JSON values that must be the same when the run goes on.
    """

    def __init__(self, folder: Path, model: nn.Module, optimizer, identity: dict):
        self.path = Path(folder) / STATE_FILE
        self.model, self.optimizer, self.identity = model, optimizer, identity

    def exists(self) -> bool:
        """Tell whether there is a checkpoint to continue from."""
        return self.path.exists()

    def save(self, step: int, record: dict) -> None:
        """Write the state after `step` updates; a kill leaves the old file or the new one."""
        tensors = {}
        for name, parameter in self.model.named_parameters():
            tensors[f"weight.{name}"] = parameter.detach()
            for moment in MOMENTS:
                tensors[f"{moment}.{name}"] = self.optimizer.state[parameter][moment]
        header = json.dumps({"step": step, "record": record, "identity": self.identity})
        metadata = {"header": header, "sha256": _sealed(header, tensors)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        try:
            with disk_errors(temporary):
                save_file({k: v.contiguous() for k, v in tensors.items()}, temporary, metadata)
            os.replace(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def load(self) -> tuple[int, dict]:
        """Put weights and moments back; return the number of updates made and the record.

        Raises
        ------
        CheckpointCorrupt
            If the file is truncated or altered; it is left where it is.
        ValueError
            If the run had other settings.
        """
        try:
            with safe_open(self.path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            intact = metadata.get("sha256") == _sealed(metadata.get("header", ""), tensors)
        except (SafetensorError, OSError) as error:
            raise self._corrupt(str(error)) from error
        if not intact:
            raise self._corrupt("its content does not match its checksum")
        header = json.loads(metadata["header"])
        _check_identity(header["identity"], self.identity, self.path.parent)
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(tensors[f"weight.{name}"])
                self.optimizer.state[parameter] = {
                    # torch keeps the count of a fused optimizer on the parameter's device
                    moment: tensors[f"{moment}.{name}"].to(parameter.device)
                    for moment in MOMENTS
                }
        return header["step"], header["record"]

    def remove(self) -> None:
        """Delete the checkpoint of a run that has finished."""
        self.path.unlink(missing_ok=True)

    def _corrupt(self, why: str) -> CheckpointCorrupt:
        return CheckpointCorrupt(
            f"the checkpoint {self.path} cannot be used: {why}. Move it away and run again: "
            f"training of this one run starts over, everything else stored is untouched"
        )


def save_finished(folder: Path, model: nn.Module, identity: dict, record: dict) -> None:
    """Store the trained model and the record of its run; the record appears last.

    Parameters
    ----------
    folder : Path
    model : PreTrainedModel
    identity, record : dict
        JSON values: the settings, and what to return when the run is asked for again.
    """
    temporary = folder / f"{MODEL_FOLDER}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    with _quiet(), disk_errors(temporary):
        model.save_pretrained(temporary)
    shutil.rmtree(folder / MODEL_FOLDER, ignore_errors=True)
    os.replace(temporary, folder / MODEL_FOLDER)
    sha256 = digest(dict(model.named_parameters()))
    text = json.dumps({"identity": identity, "sha256": sha256, "record": record})
    partial = folder / f"{RUN_FILE}.tmp"
    partial.write_text(text)
    os.replace(partial, folder / RUN_FILE)


def load_finished(folder: Path, model: nn.Module, identity: dict) -> dict | None:
    """Load the weights of a finished run into `model` and return its record, or None.

    Raises
    ------
    CheckpointCorrupt
        If the stored weights are unreadable or altered.
    ValueError
        If the run had other settings.
    """
    if not (folder / RUN_FILE).exists():
        return None
    try:
        run = json.loads((folder / RUN_FILE).read_text())
        _check_identity(run["identity"], identity, folder)
        with _quiet():
            stored = type(model).from_pretrained(folder / MODEL_FOLDER)
    except (SafetensorError, OSError, json.JSONDecodeError, KeyError) as error:
        raise CheckpointCorrupt(
            f"the finished run in {folder} cannot be read: {error}. "
            f"Move that folder away and run again to train it anew"
        ) from error
    if digest(dict(stored.named_parameters())) != run["sha256"]:
        raise CheckpointCorrupt(
            f"the model in {folder / MODEL_FOLDER} does not match its checksum. "
            f"Move {folder} away and run again to train it anew"
        )
    model.load_state_dict(stored.state_dict())
    return run["record"]
