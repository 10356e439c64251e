"""One of two training processes: ``torchrun ... foam_process.py FOLDER`` writes what came of it."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from foam_toys import toy_batch, toy_growable, toy_optimizer
from safetensors.torch import save_file
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from plasticity.foam.distributed import whole


def train(rank: int, growth_seed: int = 0, **changes):
    """Train and grow; every step has a micro-batch under `no_sync` and one that is synchronised."""
    model = toy_growable(growth_cooldown=3, enable_replacement=True, **changes)
    model.growth_config.seed = growth_seed
    optimizer = toy_optimizer(model)
    wrapped = DistributedDataParallel(model)
    for step in range(10):
        ids = toy_batch(seed=step)["input_ids"].chunk(2)[rank]
        for part, last in zip(ids.chunk(2), (False, True), strict=True):
            with torch.enable_grad() if last else wrapped.no_sync():
                loss = wrapped(input_ids=part, labels=part).loss
                (loss / 2).backward()
        optimizer.step()
        optimizer.zero_grad()
        model.update_loss(loss.item())
        model.check_and_grow()
    return model


def train_sharded(rank: int, reserve_events: int = 3):
    model = toy_growable(growth_cooldown=3, reserve_events=reserve_events)
    fully_shard(model)
    optimizer = toy_optimizer(model)
    for step in range(10):
        ids = toy_batch(seed=step)["input_ids"].chunk(2)[rank]
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        model.check_and_grow()
    return model


def refusal(rank: int, **changes) -> str:
    try:
        train(rank, **changes)
    except (RuntimeError, NotImplementedError) as error:
        return str(error)
    return ""


def main(folder: Path) -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    model = train(rank, reserve_events=3)
    tensors = {name: each.contiguous().clone() for name, each in model.state_dict().items()}
    save_file(tensors, folder / f"{rank}.safetensors")
    (folder / f"{rank}.born").write_text(str(model.born))
    (folder / f"{rank}.plain").write_text(refusal(rank))
    (folder / f"{rank}.apart").write_text(refusal(rank, reserve_events=3, growth_seed=rank))
    model = train_sharded(rank)
    tensors = {name: whole(each).contiguous().clone() for name, each in model.state_dict().items()}
    save_file(tensors, folder / f"{rank}.sharded")
    (folder / f"{rank}.sharded_born").write_text(str(model.born))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
