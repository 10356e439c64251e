"""Growth on disk: one JSON file and one safetensors file, never a pickle."""

import dataclasses
import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from plasticity import __version__
from plasticity.foam.configuration import AGAIN, CONFIG_FILE, GrowthConfig, read_record
from plasticity.foam.events import GrowthResult
from plasticity.foam.optimizers import MATURE
from plasticity.foam.stepping import cohorts_in_order

MODEL_FILE = "growth_model.safetensors"
FORMAT = 1
BASE = "base_model."
FIELDS = {"growth", "base_class", "base_sha256", "base_model_name_or_path", "widths", "growth_log"}


class OtherBase(ValueError):
    """The base model is not the one that the newborns grew in."""


def digest(tensors: dict[str, Tensor]) -> str:
    """Return the sha256 of named tensors, names and types included.

    Examples
    --------
    >>> digest({"a": torch.zeros(2)}) == digest({"a": torch.ones(2)})
    False
    """
    found = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()


def _split(model) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return what is saved of a model, and what of its base is as it was."""
    moved = _may_differ(model)
    kept, frozen = {}, {}
    for name, tensor in model.state_dict().items():
        if name.startswith(BASE) and name not in moved:
            frozen[name] = tensor
        else:
            kept[name] = tensor
    return kept, frozen


def _may_differ(model) -> set[str]:
    """Return the names of what training or growth may have changed in the base."""
    base, own = model.base_model, {"prefix": BASE.rstrip("."), "remove_duplicate": False}
    changed = set()  # by events, frozen or not
    for layer in model.layers:
        block = layer.block
        retired = not bool(layer.neurons.active[: block.width].all())
        split = model.growth_config.init == "split" and layer.born
        changed |= {id(p) for p in block.module.parameters() if retired or split}
    moved = {name for name, _ in base.named_buffers(**own)}
    for name, parameter in base.named_parameters(**own):
        if parameter.requires_grad or id(parameter) in changed:
            moved.add(name)
    return moved | model.moved_names


def save(model, folder) -> None:
    """Write the newborns with their statistics, and the trained tensors of the base.

    Parameters
    ----------
    model : GrowableModel
    folder : path
        Made if missing. Of what is as it was in the base only the sha256 is written; trained
        tensors, buffers, and blocks in which neurons were split or retired are written whole.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    kept, frozen = _split(model)
    settings = getattr(model.base_model, "config", None)
    record = {
        "format": FORMAT,
        "library": f"plasticity {__version__}",
        "growth": model.growth_config.to_dict(),
        "base_model_name_or_path": getattr(settings, "_name_or_path", ""),
        "base_revision": getattr(settings, "_commit_hash", None),  # of the Hub, where it is known
        "base_class": type(model.base_model).__name__,
        "base_sha256": digest(frozen),
        "widths": [[cohort.width for cohort in layer.cohorts] for layer in model.layers],
        "growth_log": [dataclasses.asdict(result) for result in model.growth_log],
    }
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in kept.items()}
    _replace(folder / MODEL_FILE, lambda path: save_file(tensors, path, {"format": "pt"}))
    text = json.dumps(record, indent=2) + "\n"
    _replace(folder / CONFIG_FILE, lambda path: path.write_text(text, encoding="utf-8"))


def _replace(path: Path, write) -> None:
    """Write under another name first, so that a reader never sees half a file."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load(base_model: nn.Module, folder, model_class):
    """Wrap a base model and put the newborns of a folder into it.

    Parameters
    ----------
    base_model : nn.Module
        As it was before it grew. What was trained is in the folder and replaces its weights: where
        all was (``train_base="all"``), any base of these shapes will do.
    folder : path
        Written by `save`.
    model_class : type
        `GrowableModel`, or a class derived from it.

    Returns
    -------
    model_class

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    OtherBase
        If the base has other weights or shapes.
    ValueError
        If the format is a later one, or a file is damaged.
    """
    folder = Path(folder)
    config = GrowthConfig.from_pretrained(folder)
    record = read_record(folder)
    if record.get("format") != FORMAT or not (folder / MODEL_FILE).exists():
        raise ValueError(
            f"{folder} does not hold a growable model of format {FORMAT}, got format "
            f"{record.get('format')!r} and files {sorted(p.name for p in folder.iterdir())}; give "
            "a folder that save_pretrained of this version wrote (a checkpoint of the Trainer's: "
            "wrap the base with GrowthConfig.from_pretrained(folder), then load_state_dict)"
        )
    growth_log = _check_record(record, folder / CONFIG_FILE)
    tensors = _read_tensors(folder / MODEL_FILE)
    _check_shapes(base_model, tensors, record, folder)
    trained = {p: p.requires_grad for p in base_model.parameters()}
    model = model_class(base_model, config=config)
    try:
        _check_base(model, record, tensors, folder)
        _make_room(model, tensors, record, folder / MODEL_FILE)
        model.load_state_dict(tensors, strict=False)
    except BaseException:
        model.unload()
        for parameter, state in trained.items():
            parameter.requires_grad_(state)
        raise
    model.moved_names |= {name for name in tensors if name.startswith(BASE)}
    model.growth_log = growth_log
    if config.freeze_mature:  # as `stepping.after_step` leaves them
        for cohort, tag in cohorts_in_order(model):
            cohort.requires_grad_(tag != MATURE)
    return model


def _check_record(record: dict, path: Path) -> list[GrowthResult]:
    """Return the events of a record; raise ValueError unless it has all that is needed."""
    missing = sorted(FIELDS - set(record))
    if missing:
        raise ValueError(f"{path} lacks {missing}; {AGAIN}")
    try:
        [int(width) for widths in record["widths"] for width in widths]
        bytes.fromhex(record["base_sha256"])
        return [GrowthResult(**entry) for entry in record["growth_log"]]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}); {AGAIN}") from error


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); {AGAIN}") from error


def _make_room(model, tensors: dict, record: dict, path: Path) -> None:
    """Give a model the cohorts of a record; raise unless the file has each of their tensors."""
    for layer, widths in zip(model.layers, record["widths"], strict=True):
        while len(layer.cohorts):
            layer.remove_last_cohort()
        for width in widths:
            layer.add_cohort(width)
    expected, found = (
        {n: t.shape for n, t in each.items() if not n.startswith(BASE)}
        for each in (model.state_dict(), tensors)
    )
    wrong = sorted(n for n in expected | found if expected.get(n) != found.get(n))
    if wrong:
        raise ValueError(
            f"{path} does not have the newborns that {CONFIG_FILE} beside it tells of, widths "
            f"{record['widths']}: missing, unknown or of another shape are {wrong[:3]}; {AGAIN}"
        )


def _base_of(record: dict) -> str:
    """Return where the base of a folder came from, as far as is known."""
    name, revision = record["base_model_name_or_path"], record.get("base_revision")
    return f"{name} at revision {revision}" if revision else name or "that it was grown on"


def _check_shapes(base_model: nn.Module, tensors: dict, record: dict, folder: Path) -> None:
    own = {f"{BASE}{name}": tensor.shape for name, tensor in base_model.state_dict().items()}
    for name, tensor in tensors.items():
        if name.startswith(BASE) and own.get(name) != tensor.shape:
            raise OtherBase(
                f"{folder} was grown on a {record['base_class']} whose {name.removeprefix(BASE)} "
                f"has shape {tuple(tensor.shape)}, got {own.get(name) and tuple(own[name])}; load "
                f"the base {_base_of(record)} first"
            )


def _check_base(model, record: dict, tensors: dict, folder: Path) -> None:
    saved = {name for name in tensors if name.startswith(BASE)}
    state = model.state_dict()
    frozen = {n: t for n, t in state.items() if n.startswith(BASE) and n not in saved}
    if digest(frozen) != record["base_sha256"]:
        raise OtherBase(
            f"{folder} was grown on another base: the sha256 of its frozen weights is "
            f"{record['base_sha256'][:12]}..., got {digest(frozen)[:12]}...; load the base "
            f"{_base_of(record)} first, in its type"
        )
    if len(record["widths"]) != len(model.layers):
        raise OtherBase(
            f"{folder} has {len(record['widths'])} growing blocks, the base has "
            f"{len(model.layers)}; load the base that it was grown on"
        )
