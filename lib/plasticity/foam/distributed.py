"""The same decision on every process: sums over processes, and a check that they agree."""

import hashlib

import torch
import torch.distributed as dist
from torch import Tensor


def processes() -> int:
    """Return how many processes train together; 1 without torch.distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor that FSDP has sharded in full, any other as it is.

    Examples
    --------
    >>> whole(torch.ones(1))
    tensor([1.])
    """
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


@torch.no_grad()
def write_rows(parameter: Tensor, rows: Tensor, columns: bool) -> None:
    """Write into the first rows of a parameter (or into its first columns), sharded or not.

    Parameters
    ----------
    parameter : Tensor
        Shape (n, d); (d, n) where `columns` is true; (n,) for a bias.
    rows : Tensor
        Shape (at most n, d) or (at most n,).
    columns : bool

    Examples
    --------
    >>> parameter = torch.zeros(2, 2)
    >>> write_rows(parameter, torch.ones(1, 2), columns=True)
    >>> parameter
    tensor([[1., 0.],
            [1., 0.]])
    """
    full = whole(parameter.detach())
    target = full.T if columns else full
    target[: len(rows)].copy_(rows)
    if hasattr(parameter, "full_tensor"):
        from torch.distributed.tensor import distribute_tensor

        shards = distribute_tensor(full, parameter.device_mesh, parameter.placements)
        parameter.copy_(shards)


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
