"""A model whose feed-forward blocks grow: `get_growable_model` and what it returns."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from plasticity.foam import distributed
from plasticity.foam.configuration import GrowthConfig
from plasticity.foam.events import GrowthEvent, GrowthResult, checked_sources
from plasticity.foam.feed_forward import find_blocks
from plasticity.foam.initializers import GrowthSkipped
from plasticity.foam.layer import GrowableLayer
from plasticity.foam.merging import merge
from plasticity.foam.optimizers import OptimizerLink, moved_by, unwrapped, warn_unattached
from plasticity.foam.stepping import (
    after_step,
    arm,
    before_step,
    cohorts_in_order,
    parameter_groups,
    update_statistics,
)
from plasticity.foam.tied import save_tied_once
from plasticity.foam.triggers import Clock, decide
from plasticity.foam.wrapping import (
    check_processes,
    check_settings,
    freeze,
    require_gradient,
    show_signature,
)

WRAPPED = "_growable"


def get_growable_model(model: nn.Module, config: GrowthConfig | None = None) -> "GrowableModel":
    """Let the feed-forward blocks of a model grow, in place.

    Parameters
    ----------
    model : nn.Module
        A transformers model (Llama, Qwen2/3, Mistral, Gemma, GPT-2, ...), or a plain MLP.
    config : GrowthConfig, optional

    Returns
    -------
    GrowableModel

    Raises
    ------
    UnsupportedArchitecture
        If it has no block that can grow.
    ValueError
        If it is wrapped already.
    TypeError
        If either is something else.

    Examples
    --------
    >>> mlp = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))
    >>> growable = get_growable_model(mlp, GrowthConfig(init="random"))
    >>> x = torch.randn(3, 4)
    >>> before = growable(x)
    >>> growable.grow({0: torch.tensor([5, 6])}).born
    2
    >>> torch.equal(growable(x), before)
    True
    """
    for name, value, kind in (("model", model, nn.Module), ("config", config, GrowthConfig | None)):
        if not isinstance(value, kind):
            raise TypeError(f"{name} must be {kind}, got {type(value).__name__}")
    return GrowableModel(model, config or GrowthConfig())


class GrowableModel(nn.Module):
    """A base model and the neurons born beside its own; made by `get_growable_model`.

    Calls, `generate`, and every attribute that it does not have itself go to the base model, whose
    modules, names and parameters stay as they are.

    Parameters
    ----------
    base_model : nn.Module
    config : GrowthConfig

    Attributes
    ----------
    layers : nn.ModuleList
        One `GrowableLayer` for each block, in the model's order.
    clock : Clock
    growth_log : list of GrowthResult
        The events so far.
    link : OptimizerLink or None
        Set by `attach_optimizer`.
    moved_names : set of str
        What may differ from the base as it was, and so is saved: parameters that were trainable
        when it was wrapped or an optimizer was attached, and all that came with a checkpoint.
    """

    def __init__(self, base_model: nn.Module, config: GrowthConfig):
        super().__init__()
        if isinstance(base_model, GrowableModel) or getattr(base_model, WRAPPED, False):
            raise ValueError(
                f"this {type(base_model).__name__} is growable already; use that GrowableModel, or "
                "take it back with unload() or merge_and_unload() first"
            )
        blocks = find_blocks(base_model, config)
        for block in blocks:
            check_settings(block, config)
        self.growth_config = config
        self.base_model = base_model
        freeze(base_model, blocks, config.train_base)
        self.moved_names: set[str] = set()
        self._note_trained()
        self.layers = nn.ModuleList(GrowableLayer(block, config) for block in blocks)
        self.clock = Clock(config.plateau_window)
        self.growth_log: list[GrowthResult] = []
        self.link: OptimizerLink | None = None
        self.counted = False
        self.inside_ddp = False
        self.handles = [base_model.register_forward_pre_hook(self._before, with_kwargs=True)]
        embeddings = getattr(base_model, "get_input_embeddings", lambda: None)()
        if embeddings is not None and not any(block.trainable for block in blocks):
            self.handles.append(embeddings.register_forward_hook(require_gradient))
        # Each process keeps its own statistics, until they are averaged for a decision.
        names = [name for name, _ in self.named_buffers() if not name.startswith("base_model.")]
        self._ddp_params_and_buffers_to_ignore = names
        object.__setattr__(base_model, WRAPPED, True)
        save_tied_once(self)
        show_signature(self)
        self.register_load_state_dict_post_hook(_place_loaded)
        arm(self)

    def __getattr__(self, name: str):
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base_model":
                raise
            return getattr(self.base_model, name)

    def forward(self, *arguments, labels=None, **keywords):
        """Run the base model, its newborns included.

        `labels` is named because the Trainer looks for it in the class, to compute a loss when it
        evaluates; all other arguments are the base's.
        """
        given = {} if labels is None else {"labels": labels}
        return self.base_model(*arguments, **given, **keywords)

    def __getstate__(self):
        """Leave out what was made for this object; copies make their own."""
        own = ("forward", "_optimizer_handles")
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state):
        super().__setstate__(state)
        show_signature(self)
        if self.link is not None and not self.link.is_watched_by(self.clock):
            self._watch_steps()  # a copied optimizer comes without hooks

    def _before(self, module: nn.Module, arguments, keywords):
        if torch.compiler.is_compiling():
            return None
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            wrapper = nn.parallel.DistributedDataParallel
            self.inside_ddp |= wrapper._active_ddp_module is not None
        mask = keywords.get("attention_mask")
        for layer in self.layers:
            layer.recorder.mask = mask
        first = arguments[0] if arguments else None
        if not torch.is_tensor(first) or not first.is_floating_point() or first.requires_grad:
            return None
        frozen = not any(layer.block.trainable for layer in self.layers)
        if frozen and self.training and torch.is_grad_enabled():  # its blocks need a graph
            return (first.detach().requires_grad_(True), *arguments[1:]), keywords
        return None

    # Optimizer

    def param_groups(self, lr: float, weight_decay: float = 0.0) -> list[dict]:
        """Return parameter groups for an optimizer: the base, mature newborns, young newborns.

        Examples
        --------
        >>> mlp = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))
        >>> model = get_growable_model(mlp)
        >>> optimizer = torch.optim.AdamW(model.param_groups(lr=0.01))
        >>> [group["lr"] for group in optimizer.param_groups]
        [0.01, 0.01, 0.02]
        """
        return parameter_groups(self, lr, weight_decay)

    def attach_optimizer(self, optimizer, scheduler=None):
        """Tell a model which optimizer trains it, before the scheduler is made if possible.

        From then on newborns are registered with it, pressure is measured just before each of its
        steps (gradients accumulated, unscaled; call `update_statistics` yourself before clipping
        if they are clipped) and neurons age with each.

        Parameters
        ----------
        optimizer : torch.optim.Optimizer
        scheduler : LRScheduler, optional
            Only if it exists already.

        Returns
        -------
        torch.optim.Optimizer
            The same optimizer.

        Raises
        ------
        ValueError
            If the optimizer has none of the trainable parameters, or the scheduler came first.
        """
        self._check_wrapped()
        trained = {id(p) for p in self.base_model.parameters() if p.requires_grad}
        if trained and not trained & moved_by(optimizer):
            raise ValueError(
                "attach_optimizer got an optimizer without any of the model's trainable "
                "parameters; make it from model.parameters() or model.param_groups(lr)"
            )
        link = OptimizerLink(optimizer, self.growth_config.young_lr_multiplier, scheduler)
        self.detach_optimizer()
        self.link = link
        self._note_trained()
        link.place_all(cohorts_in_order(self))
        self._watch_steps()
        return optimizer

    def _note_trained(self) -> None:
        named = self.base_model.named_parameters("base_model", remove_duplicate=False)
        self.moved_names |= {name for name, p in named if p.requires_grad}

    def _watch_steps(self) -> None:
        self._optimizer_handles = [
            self.link.optimizer.register_step_pre_hook(self._before_step),
            self.link.optimizer.register_step_post_hook(self._after_step),
        ]

    def detach_optimizer(self) -> None:
        """Take the hooks off the attached optimizer, if there is one."""
        for handle in self.__dict__.pop("_optimizer_handles", []):
            handle.remove()
        self.link = None

    def _before_step(self, optimizer, arguments, keywords) -> None:
        before_step(self, optimizer)

    def _after_step(self, optimizer, arguments, keywords) -> None:
        after_step(self, optimizer)

    def update_statistics(self, factor: float = 1.0) -> None:
        """Take the gradients of one optimizer step into the running means.

        Called by the attached optimizer; call it yourself, between backward and clipping, only if
        gradients are clipped. It counts once for each step.

        Parameters
        ----------
        factor : float
            What gradients are multiplied by first (one over the scale of mixed precision).
        """
        update_statistics(self, factor)

    # Growth

    def update_loss(self, loss: float) -> None:
        """Tell the plateau trigger the loss of one step; the mean over processes is kept."""
        value = torch.tensor(float(loss), dtype=torch.float64)
        distributed.average_(value)
        self.clock.add_loss(float(value))

    def check_and_grow(self, optimizer=None, growth_batch=None, replay_batch=None) -> GrowthResult:
        """Grow if it is time to; call it between an optimizer step and the next forward pass.

        Parameters
        ----------
        optimizer : torch.optim.Optimizer, optional
            Attached first, where none is.
        growth_batch : optional
            Data to grow for, as in `measuring.loss_of`; None uses the last tokens trained on.
        replay_batch : optional
            Old data, on which neurons that are retired must be dormant too.

        Returns
        -------
        GrowthResult
            With `reason` where nothing was born.

        Raises
        ------
        RuntimeError
            If the optimizer that trains the model is not known.
        ValueError
            If another optimizer than the given one is attached.
        """
        self._check_wrapped()
        if optimizer is not None and self.link is None:
            self.attach_optimizer(optimizer)
        if optimizer is not None and self.link.optimizer is not unwrapped(optimizer):
            raise ValueError(
                "check_and_grow got another optimizer than the one attached, which counts the "
                "steps and gets the newborns; call attach_optimizer(optimizer) first to change it"
            )
        if self.link is None:
            raise RuntimeError(
                "check_and_grow does not know the optimizer, which would never move the newborns; "
                "call attach_optimizer(model, optimizer) once, before the training loop"
            )
        sources, reason = decide(self)
        if sources:
            try:
                return self.grow(sources, growth_batch, replay_batch)
            except GrowthSkipped as skipped:
                reason = str(skipped)
        return GrowthResult(step=int(self.clock.steps), init=self.growth_config.init, reason=reason)

    def grow(self, sources: dict[int, Tensor], growth_batch=None, replay_batch=None):
        """Let neurons be born now, whatever the triggers say.

        Parameters
        ----------
        sources : dict
            For each layer that grows, by number: whole numbers of the neurons to start from.
        growth_batch, replay_batch : optional
            As in `check_and_grow`.

        Returns
        -------
        GrowthResult

        Raises
        ------
        GrowthSkipped
            If they cannot be born now; the model is as it was.
        ValueError, TypeError
            If sources are not numbers of neurons in use.
        RuntimeError
            If the model was unloaded.
        NotImplementedError
            If the model is wrapped for several processes and nothing is reserved.
        """
        self._check_wrapped()
        sources = checked_sources(self.layers, sources, self.growth_config.init)
        check_processes(self, growth_batch is not None or replay_batch is not None)
        if self.link is None and any(p.grad is not None for p in self.parameters()):
            warn_unattached("model")
        result = GrowthEvent(self, sources, growth_batch, replay_batch).run()
        self.clock.grew()
        self.growth_log.append(result)
        arm(self)
        return result

    # Switching off, taking apart

    @contextmanager
    def disable_growth(self) -> Iterator[None]:
        """Run the base model alone, as it was if it is frozen."""
        self._check_wrapped()
        states = [layer.enabled for layer in self.layers]
        for layer in self.layers:
            layer.enabled = False
        try:
            yield
        finally:
            for layer, state in zip(self.layers, states, strict=True):
                layer.enabled = state

    def _check_wrapped(self) -> None:
        if not getattr(self.base_model, WRAPPED, False):
            raise RuntimeError(
                "this GrowableModel was unloaded, and no longer holds its base; wrap that anew "
                "with get_growable_model"
            )

    def unload(self) -> nn.Module:
        """Return the base model without its newborns and hooks.

        Raises
        ------
        RuntimeError
            If that was done before.
        """
        self._check_wrapped()
        self.detach_optimizer()
        for handle in self.handles:
            handle.remove()
        for layer in self.layers:
            layer.detach_hooks()
        object.__delattr__(self.base_model, WRAPPED)
        return self.base_model

    def merge_and_unload(self, pad_to_multiple_of: int = 1) -> nn.Module:
        """Return the base model with the newborns inside its own layers.

        All blocks get the width of the widest, filled up with zeros, because a transformers config
        has one `intermediate_size`; it is set to that.

        Parameters
        ----------
        pad_to_multiple_of : int
            Round that width up; 64 suits GPUs.

        Returns
        -------
        nn.Module
            The base model, a plain one of its own class.

        Raises
        ------
        ValueError
            If its config cannot hold that width, because some blocks do not grow, say.
        RuntimeError
            If it was unloaded before.
        """
        self._check_wrapped()
        merge(self, pad_to_multiple_of)
        return self.unload()

    @property
    def born(self) -> int:
        """Number of neurons alive that the base did not have."""
        return sum(layer.born for layer in self.layers)

    def parameter_counts(self) -> dict[str, int]:
        """Return numbers of parameters; room that is reserved but empty does not count as born."""
        base = list(self.base_model.parameters())
        born = sum(layer.born * layer.block.parameters_per_neuron for layer in self.layers)
        trainable = sum(p.numel() for p in base if p.requires_grad)
        return {"base": sum(p.numel() for p in base), "trainable_base": trainable, "born": born}

    def print_trainable_parameters(self) -> None:
        """Print how many parameters are trained, as peft does."""
        counts = self.parameter_counts()
        trained, whole = counts["trainable_base"] + counts["born"], counts["base"] + counts["born"]
        print(f"trainable: {trained:,} of {whole:,} parameters ({trained / whole:.2%}), "
              f"{counts['born']:,} of them born")  # fmt: skip

    def save_pretrained(self, folder) -> None:
        """Write the newborns, and what was trained of the base, into a folder.

        Parameters
        ----------
        folder : path
            Made if missing.

        Raises
        ------
        RuntimeError
            If the model was unloaded.
        """
        from plasticity.foam.saving import save

        self._check_wrapped()
        save(self, folder)

    @classmethod
    def from_pretrained(cls, base_model: nn.Module, folder) -> "GrowableModel":
        """Put the newborns that `save_pretrained` wrote onto the same base model again.

        Parameters
        ----------
        base_model : nn.Module
            As it was before it grew.
        folder : path

        Returns
        -------
        GrowableModel

        Raises
        ------
        FileNotFoundError, OtherBase, ValueError
            If a file is missing, the base has other weights or shapes, or a file is damaged.
        """
        from plasticity.foam.saving import load

        return load(base_model, folder, cls)


def attach_optimizer(model: GrowableModel, optimizer, scheduler=None):
    """Tell a growable model which optimizer trains it; see `GrowableModel.attach_optimizer`."""
    if not isinstance(model, GrowableModel):
        raise TypeError(
            f"model must be a GrowableModel, got {type(model).__name__}; make it one with "
            "get_growable_model(model)"
        )
    return model.attach_optimizer(optimizer, scheduler)


def _place_loaded(model: GrowableModel, keys) -> None:
    """Tell the optimizer of cohorts that came with a checkpoint."""
    if model.link is not None:
        model.link.place_all(cohorts_in_order(model))
    arm(model)
