"""Newborns in an optimizer that is already running.

Cohorts live in two parameter groups of their own, ``young`` and ``mature``, which exist before the
learning-rate scheduler does: schedulers do not cope with groups that come later. A cohort that
comes of age changes group; its state is keyed by its parameters and goes with it.
"""

import sys
import warnings
from collections.abc import Iterable

import torch
from torch import Tensor, nn

TAG = "growth"
YOUNG, MATURE = "young", "mature"
# What optimizers keep beside tensors of the parameter's shape; all else is unknown, and refused.
BESIDE = ("step", "qmap1", "qmap2", "absmax1", "absmax2", "gnorm_vec", "unorm_vec")


def unwrapped(optimizer):
    """Return the torch optimizer inside an accelerate wrapper, or itself."""
    inner = getattr(optimizer, "optimizer", optimizer)
    if not isinstance(inner, torch.optim.Optimizer):
        raise TypeError(
            f"optimizer must be a torch.optim.Optimizer, got {type(optimizer).__name__}; pass the "
            "optimizer that optimizer.step() is called on"
        )
    return inner


def moved_by(optimizer) -> set[int]:
    """Return the identities of all parameters that an optimizer moves."""
    return {id(p) for group in unwrapped(optimizer).param_groups for p in group["params"]}


class OptimizerLink:
    """Keeps the cohorts of a model in the right groups of one optimizer.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
    multiplier : float
        Learning rate of the young group, relative to the first group's.
    scheduler : LRScheduler, optional
        One that exists already; only `LambdaLR` can be told of the new groups.

    Raises
    ------
    ValueError
        If a scheduler was made before, and is not given or cannot be told.

    Examples
    --------
    >>> optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(2))], lr=0.1)
    >>> link = OptimizerLink(optimizer, multiplier=2.0)
    >>> [group["lr"] for group in optimizer.param_groups]
    [0.1, 0.1, 0.2]
    """

    def __init__(self, optimizer, multiplier: float, scheduler=None):
        self.optimizer = unwrapped(optimizer)
        self.placed: dict[nn.Parameter, None] = {}
        missing = [tag for tag in (MATURE, YOUNG) if self.group(tag) is None]
        if missing:
            scheduler = getattr(scheduler, "scheduler", scheduler)
            self._check_scheduler(scheduler)
            for tag in missing:
                self._add_group(tag, multiplier if tag == YOUNG else 1.0, scheduler)

    def group(self, tag: str) -> dict | None:
        """Return the young or the mature group."""
        return next((g for g in self.optimizer.param_groups if g.get(TAG) == tag), None)

    def _check_scheduler(self, scheduler) -> None:
        if "initial_lr" not in self.optimizer.param_groups[0]:
            return
        if not isinstance(scheduler, torch.optim.lr_scheduler.LambdaLR):
            raise ValueError(
                "a learning-rate scheduler was made before the groups of newborns, got "
                f"scheduler={type(scheduler).__name__}; call attach_optimizer before you make the "
                "scheduler, or pass scheduler= (a LambdaLR, such as transformers' get_*_schedule)"
            )

    def _add_group(self, tag: str, multiplier: float, scheduler) -> None:
        first = self.optimizer.param_groups[0]
        group = {name: value for name, value in first.items() if name != "params"}
        group |= {"params": [], TAG: tag, "lr": first["lr"] * multiplier}
        if tag == YOUNG:
            group["weight_decay"] = 0.0  # decay would only pull at columns that start at zero
        if "initial_lr" in first:
            group["initial_lr"] = first["initial_lr"] * multiplier
            scheduler.base_lrs.append(group["initial_lr"])
            scheduler.lr_lambdas.append(scheduler.lr_lambdas[0])
            scheduler._last_lr = [*scheduler.get_last_lr(), group["lr"]]
        self.optimizer.add_param_group(group)

    @property
    def newborns(self) -> int:
        """Number of parameters in both groups."""
        return sum(len(self.group(tag)["params"]) for tag in (MATURE, YOUNG))

    def has_elsewhere(self, cohort: nn.Module) -> bool:
        """Tell whether a cohort's parameters are in a group of the base's."""
        others = [group["params"] for group in self.optimizer.param_groups if TAG not in group]
        return any(id(p) in {id(each) for each in cohort.parameters()} for g in others for p in g)

    def is_watched_by(self, clock) -> bool:
        """Tell whether the optimizer calls the owner of a clock after its steps."""
        hooks = self.optimizer._optimizer_step_post_hooks.values()
        owners = [getattr(hook, "__self__", None) for hook in hooks]
        return any(getattr(owner, "clock", None) is clock for owner in owners)

    def place_all(self, cohorts: Iterable) -> None:
        """Place all of a model's cohorts, in this order; forget those that it has no longer."""
        before, cohorts = list(self.placed), list(cohorts)
        for cohort, tag in cohorts:
            self.place(cohort, tag)
        kept = {id(parameter) for cohort, _ in cohorts for parameter in cohort.parameters()}
        for parameter in before:
            if id(parameter) not in kept:
                self._take_out({id(parameter)})
                self.placed.pop(parameter)
                self.optimizer.state.pop(parameter, None)

    def place(self, cohort: nn.Module, tag: str) -> None:
        """Put a cohort's parameters into one of the two groups, out of any other."""
        self.remove(cohort)
        self.group(tag)["params"].extend(cohort.parameters())
        self.placed |= dict.fromkeys(cohort.parameters())
        if tag == YOUNG:
            keep_in_full(cohort)

    def remove(self, cohort: nn.Module) -> None:
        """Take a cohort's parameters out of all groups; their state stays."""
        self._take_out({id(parameter) for parameter in cohort.parameters()})
        for parameter in cohort.parameters():
            self.placed.pop(parameter, None)

    def _take_out(self, own: set[int]) -> None:
        for group in self.optimizer.param_groups:
            group["params"] = [p for p in group["params"] if id(p) not in own]

    def forget(self, cohort: nn.Module) -> dict:
        """Drop and return the state of a cohort's parameters, so that their steps count from 0."""
        state = self.optimizer.state
        return {parameter: state.pop(parameter, None) for parameter in cohort.parameters()}


def keep_in_full(cohort: nn.Module) -> None:
    """Have bitsandbytes, where it is used, keep the moments of newborns in 32 bits."""
    library = sys.modules.get("bitsandbytes")
    if library is not None:
        manager = library.optim.GlobalOptimManager.get_instance()
        # By parameter, never by position: those of other groups would be meant.
        for parameter in cohort.parameters():
            manager.override_config(parameter, "optim_bits", 32)


def shaped_state(optimizer, parameter: nn.Parameter) -> dict[str, Tensor]:
    """Return what an optimizer keeps of a parameter in tensors of its shape.

    Raises
    ------
    ValueError
        If it keeps something else that would have to be changed with them (Adafactor's factors).

    Examples
    --------
    >>> weight = nn.Parameter(torch.ones(2))
    >>> optimizer = torch.optim.AdamW([weight])
    >>> weight.sum().backward()
    >>> optimizer.step()
    >>> sorted(shaped_state(optimizer, weight))
    ['exp_avg', 'exp_avg_sq']
    """
    found = {}
    for name, value in optimizer.state.get(parameter, {}).items():
        if torch.is_tensor(value) and value.shape == parameter.shape and value.dim():
            found[name] = value
        elif torch.is_tensor(value) and value.numel() > 1 and name not in BESIDE:
            raise ValueError(
                f"{type(optimizer).__name__} keeps {name} of shape {tuple(value.shape)} for a "
                f"parameter of shape {tuple(parameter.shape)}, which cannot be cleared for one "
                "neuron; use AdamW, Adam, SGD, RMSprop, Lion or 8-bit Adam with replacement"
            )
    return found


def zero_of(state: dict, name: str):
    """Return what zero is in a state tensor: 0, or its code in an 8-bit one (127 if signed)."""
    if state[name].dtype != torch.uint8:
        return 0
    codes = state[name.replace("state", "qmap")]
    return int(codes.abs().argmin())


def clear_state(optimizer, parameter: nn.Parameter, index) -> list[tuple[Tensor, object, Tensor]]:
    """Set the moments of some entries of a parameter to zero; return what was there.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
    parameter : nn.Parameter
    index : tuple or Tensor
        Which entries, as in ``parameter[index]``.

    Returns
    -------
    list of (Tensor, index, Tensor)
        ``tensor[index] = before`` undoes it.
    """
    before = []
    for name, tensor in shaped_state(optimizer, parameter).items():
        before.append((tensor, index, tensor[index].clone()))
        tensor[index] = zero_of(optimizer.state[parameter], name)
    return before


def copy_state(optimizer, old: nn.Parameter, new: nn.Parameter, select) -> None:
    """Give a new parameter the moments of the entries of an old one that it was made of.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
    old, new : nn.Parameter
    select : callable
        From a tensor of the old shape to one of the new shape; applied to each moment.
    """
    shaped = shaped_state(optimizer, old)
    if any(tensor.dtype == torch.uint8 for tensor in shaped.values()) or not shaped:
        return  # 8-bit blocks do not map onto others; the newborn starts without moments
    state = dict(optimizer.state[old])
    state |= {name: select(tensor).clone() for name, tensor in shaped.items()}
    if torch.is_tensor(state.get("step")):
        state["step"] = state["step"].clone()
    optimizer.state[new] = state


def warn_unattached(what: str, stacklevel: int = 3) -> None:
    """Warn that newborns of a layer, or of a model, will not be trained."""
    warnings.warn(
        f"the {what} is being trained, but its optimizer is not known and will not move the "
        f"newborns; call {what}.attach_optimizer(optimizer) before training",
        stacklevel=stacklevel,
    )
