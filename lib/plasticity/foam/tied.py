"""Tied weights are saved once: safetensors refuses tensors that share memory."""

from torch import nn


def save_tied_once(model: nn.Module) -> None:
    """Leave a module's tied parameters out of its state_dict, and put them back when it is read.

    Parameters
    ----------
    model : nn.Module

    Examples
    --------
    >>> model = nn.ModuleDict({"a": nn.Linear(2, 2, False), "b": nn.Linear(2, 2, False)})
    >>> model["b"].weight = model["a"].weight
    >>> save_tied_once(model)
    >>> list(model.state_dict())
    ['a.weight']
    >>> model.load_state_dict(model.state_dict())
    <All keys matched successfully>
    """
    first: dict[int, str] = {}
    pairs = [(name, id(p)) for name, p in model.named_parameters(remove_duplicate=False)]
    model.aliases = {n: first[key] for n, key in pairs if first.setdefault(key, n) != n}
    model._register_state_dict_hook(_drop)
    model.register_load_state_dict_pre_hook(_add)


def _drop(model: nn.Module, state: dict, prefix: str, metadata) -> None:
    for alias in model.aliases:
        state.pop(prefix + alias, None)


def _add(model: nn.Module, state: dict, prefix: str, *arguments) -> None:
    for alias, name in model.aliases.items():
        if prefix + name in state:
            state.setdefault(prefix + alias, state[prefix + name])
