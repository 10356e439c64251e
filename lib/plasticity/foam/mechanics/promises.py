"""What must hold of a growing model on any machine: resuming, processes, compiling, merging.

Each function trains a small model by the README's loop, with events every few steps, and returns
what was measured.
"""

import copy
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch.nn.parallel import DistributedDataParallel

from plasticity.foam.configuration import GrowthConfig
from plasticity.foam.mechanics.reading import batches, small_model
from plasticity.foam.model import GrowableModel, get_growable_model

TEXT = "One day a little model read a story, and then it read the same story again. " * 20
STEPS = 12


def growing_model(seed: int = 0, **changes) -> GrowableModel:
    """Return a small model that grows every three steps."""
    settings = {
        "trigger": "always",
        "warmup_steps": 0,
        "growth_cooldown": 3,
        "ema_beta": 0.5,
        "max_growth_per_step": 3,
        "max_growth_ratio": None,
        "maturation_age": 5,
    }
    config = GrowthConfig(**settings | changes)
    return get_growable_model(small_model("llama", 16, 24, 2, seed), config)


def prepared(model: GrowableModel) -> torch.optim.Optimizer:
    """Return an optimizer that knows the model."""
    return model.attach_optimizer(torch.optim.AdamW(model.param_groups(1e-2, 0.1)))


def read_on(model, optimizer, first: int, steps: int, rank: int = 0, ranks: int = 1) -> None:
    """Train and grow on the batches of some steps, of which several processes share each."""
    own = getattr(model, "module", model)
    model.train()
    for step in range(first, first + steps):
        ids = next(batches(TEXT, 16, 4, step))["input_ids"].chunk(ranks)[rank]
        loss = model(input_ids=ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        own.update_loss(loss.item())
        own.check_and_grow()


def differences(one: GrowableModel, other: GrowableModel) -> float:
    """Return how many of their tensors differ in any bit, those that only one has included."""
    first, second = one.state_dict(), other.state_dict()
    shared = first.keys() & second.keys()
    unlike = sum(not torch.equal(first[name], second[name]) for name in shared)
    return float(unlike + len(first.keys() ^ second.keys()))


def resume_difference(folder: Path) -> float:
    """Train at once, and in two halves with saving and loading between; count unlike tensors."""
    whole = growing_model()
    read_on(whole, prepared(whole), 0, 2 * STEPS)
    half = growing_model()
    optimizer = prepared(half)
    read_on(half, optimizer, 0, STEPS)
    half.save_pretrained(folder)
    moments = copy.deepcopy(optimizer.state_dict())
    again = GrowableModel.from_pretrained(small_model("llama", 16, 24, 2, 0), folder)
    optimizer = prepared(again)
    optimizer.load_state_dict(moments)
    read_on(again, optimizer, STEPS, STEPS)
    if not whole.born:
        raise RuntimeError("nothing was born, so nothing was tested")
    return differences(whole, again)


def process_difference(folder: Path) -> float:
    """Train with DistributedDataParallel in two processes; count tensors unlike between them.

    The running statistics are each process's own between events, and left out.
    """
    torch.multiprocessing.spawn(_one_process, args=(str(folder),), nprocs=2)
    first, second = (load_file(folder / f"{rank}.safetensors") for rank in (0, 1))
    if first.keys() != second.keys() or not any(".cohorts." in name for name in first):
        raise RuntimeError("the processes grew differently, or not at all")
    return float(sum(not torch.equal(first[name], second[name]) for name in first))


def _one_process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    model = growing_model(reserve_events=4)
    optimizer = prepared(model)
    read_on(DistributedDataParallel(model), optimizer, 0, STEPS, rank, 2)
    own = ("pressure", "history", "mean_square", "mean_absolute")
    state = {
        name: tensor.contiguous().clone()
        for name, tensor in model.state_dict().items()
        if not name.endswith(own)
    }
    save_file(state, f"{folder}/{rank}.safetensors")
    dist.destroy_process_group()


def recompilations(events: int = 3) -> float:
    """Train a compiled model with reserved room; count the compilations that events cause."""
    from torch._dynamo.utils import counters

    torch.compiler.reset()
    model = growing_model(reserve_events=events + 1)
    optimizer = prepared(model)
    compiled = torch.compile(model.base_model, backend="aot_eager")
    model.train()

    def step(number: int) -> None:
        optimizer.zero_grad()
        compiled(**next(batches(TEXT, 16, 4, number))).loss.backward()
        optimizer.step()

    step(0)
    step(1)
    before = counters["stats"]["unique_graphs"]
    for event in range(events):
        batch = next(batches(TEXT, 16, 4, event))  # compiled passes are not recorded
        model.grow({0: torch.arange(3), 1: torch.arange(3)}, growth_batch=batch)
        step(2 + event)
    after = counters["stats"]["unique_graphs"]
    torch.compiler.reset()
    if not before:
        raise RuntimeError("nothing was compiled, so nothing was tested")
    return float(after - before)


def reload_difference(folder: Path) -> float:
    """Grow, merge, save, load as a plain model; return the largest change of a logit."""
    model = growing_model()
    read_on(model, prepared(model), 0, STEPS)
    model.eval()
    batch = next(batches(TEXT, 16, 4, STEPS))
    with torch.no_grad():
        before = model(**batch).logits
        merged = model.merge_and_unload()
        merged.save_pretrained(folder)
        again = type(merged).from_pretrained(folder).eval()
        return float((again(**batch).logits - before).abs().max())
