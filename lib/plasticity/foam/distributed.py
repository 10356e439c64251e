"""The same decision on every process: sums over processes, and a check that they agree."""

import hashlib

import torch
import torch.distributed as dist
from torch import Tensor


def processes() -> int:
    """Return how many processes train together; 1 without torch.distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def total(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over processes.

    Examples
    --------
    >>> total(torch.ones(2))
    tensor([1., 1.])
    """
    if processes() > 1:
        tensor = tensor.contiguous()
        dist.all_reduce(tensor)
    return tensor


def average_(tensor: Tensor) -> None:
    """Replace a floating tensor by its mean over processes."""
    if processes() > 1:
        tensor.copy_(total(tensor.clone()) / processes())


def check_agreement(tensors: list[Tensor]) -> None:
    """Raise RuntimeError if processes are about to grow differently.

    Parameters
    ----------
    tensors : list of Tensor
        Sources and weights of the newborns.
    """
    if processes() == 1:
        return
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    own = int.from_bytes(digest.digest()[:7], "big")
    device = tensors[0].device if dist.get_backend() == "nccl" else "cpu"
    span = torch.tensor([own, -own], dtype=torch.int64, device=device)
    dist.all_reduce(span, op=dist.ReduceOp.MAX)
    if int(span[0]) != -int(span[1]):
        raise RuntimeError(
            "the processes were about to grow differently; give all of them the same model, "
            "GrowthConfig and steps (and a growth_batch to all or to none)"
        )
