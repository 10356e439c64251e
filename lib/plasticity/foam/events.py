"""One growth event: who is born where, carried out as a whole or not at all."""

import hashlib
import math
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn

from plasticity.foam import distributed
from plasticity.foam.dormancy import replaceable
from plasticity.foam.feed_forward import is_transposed
from plasticity.foam.initializers import (
    SHARE_KEPT,
    GrowthSkipped,
    Newborns,
    at_zero,
    make_newborns,
)
from plasticity.foam.layer import PARTS, Cohort, GrowableLayer
from plasticity.foam.measuring import activations, evaluate, measure
from plasticity.foam.optimizers import YOUNG, clear_state, copy_state


@dataclass
class GrowthResult:
    """What an event did; reads like a dict as well: ``result["born"]``.

    Attributes
    ----------
    born : int
        Newborns in all layers.
    replaced : int
        How many of them took the place of a retired neuron.
    died : int
        Neurons retired whose place nobody took: 0, because nobody goes without a newborn.
    step, event : int
        Optimizer steps and events before.
    layers : dict
        Name of each layer that grew: numbers of sources, slots, retired neurons, and `sigma`, the
        norm of each newborn's gradient by unit of scale (gradmax).
    init : str
    loss_before, loss_after : float or None
        On the growth batch, where one was given.
    seconds : float
    reason : str
        Why nothing was born; empty after an event.

    Examples
    --------
    >>> GrowthResult(born=5, replaced=2)["born"]
    5
    """

    born: int = 0
    replaced: int = 0
    died: int = 0
    step: int = 0
    event: int = 0
    layers: dict[str, dict] = field(default_factory=dict)
    init: str = ""
    loss_before: float | None = None
    loss_after: float | None = None
    seconds: float = 0.0
    reason: str = ""

    def __getitem__(self, name: str):
        return getattr(self, name)

    def keys(self):
        """Return the names of the fields, so that ``dict(result)`` works."""
        return asdict(self).keys()


@dataclass
class LayerPlan:
    """What an event will do to one layer."""

    number: int
    sources: Tensor
    retired: Tensor
    newborns: Newborns | None = None


def generator_for(seed: int, event: int, layer: int) -> torch.Generator:
    """Return the generator of one layer's newborns in one event, independent of all others.

    Examples
    --------
    >>> first, again = (torch.rand(1, generator=generator_for(0, 1, 2)) for _ in range(2))
    >>> bool(first == again)
    True
    """
    digest = hashlib.sha256(f"{seed}:{event}:{layer}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def neuron_numbers(name: str, given, device) -> Tensor:
    """Return numbers of neurons as int64, shape (k,); raise TypeError where they are none.

    Examples
    --------
    >>> neuron_numbers("sources", [3, 5], "cpu")
    tensor([3, 5])
    """
    numbers = torch.as_tensor(given, device=device).reshape(-1)
    if len(numbers) and (numbers.dtype == torch.bool or numbers.is_floating_point()):
        raise TypeError(
            f"{name} must be whole numbers of neurons, got {numbers.dtype}; of a mask, give "
            "mask.nonzero()[:, 0]"
        )
    return numbers.long()


def checked_sources(layers: nn.ModuleList, sources: dict, init: str) -> dict[int, Tensor]:
    """Return the neurons that newborns start from, as int64; raise where they may not."""
    if not isinstance(sources, dict) or not sources:
        raise ValueError(
            "sources must name the neurons of at least one layer, such as "
            f"{{0: torch.tensor([3, 5])}}, got {sources if sources == {} else type(sources)}"
        )
    for number in sources:
        if not hasattr(number, "__index__") or number not in range(len(layers)):
            raise ValueError(f"sources name layer {number!r}, of [0, {len(layers)})")
    return {number: _checked(layers[number], number, sources[number], init) for number in sources}


def _checked(layer: GrowableLayer, number: int, given, init: str) -> Tensor:
    neurons = layer.neurons
    rows = neuron_numbers(f"sources of layer {number}", given, neurons.age.device)
    outside = rows[(rows < 0) | (rows >= len(neurons))]
    if len(outside) or not len(rows) or not bool(neurons.active[rows].all()):
        raise ValueError(
            f"sources of layer {number} must be neurons in use, at least one, in "
            f"[0, {len(neurons)}), got {rows.tolist()}"
        )
    if init == "split" and len(rows.unique()) < len(rows):
        raise ValueError(
            f"sources of layer {number} must differ from each other where init='split' halves "
            f"them, got {rows.tolist()}"
        )
    return rows


class GrowthEvent:
    """An event of a growable model.

    Parameters
    ----------
    model : GrowableModel
    sources : dict
        For the numbers of the layers that grow: the neurons that newborns start from, int64.
    growth_batch, replay_batch : optional
        As in `measuring.loss_of`.
    """

    def __init__(self, model, sources: dict[int, Tensor], growth_batch=None, replay_batch=None):
        self.model, self.config = model, model.growth_config
        self.batch, self.replay = growth_batch, replay_batch
        nothing = torch.empty(0, dtype=torch.int64)
        self.plans = [LayerPlan(number, rows, nothing) for number, rows in sorted(sources.items())]
        self.number = int(model.clock.events)

    def run(self) -> GrowthResult:
        """Carry it out; an exception leaves the model, and the optimizer, as they were."""
        start = time.perf_counter()
        result = GrowthResult(
            step=int(self.model.clock.steps), event=self.number, init=self.config.init
        )
        if self.batch is not None:
            result.loss_before, pairs = measure(self.model, self.batch)
            if not math.isfinite(result.loss_before):
                raise GrowthSkipped(
                    f"the loss on growth_batch is {result.loss_before}; look for NaN in the "
                    "weights and the batch, and lower the learning rate"
                )
        else:
            pairs = [layer.recorder.pairs() for layer in self.model.layers]
        self._prepare(pairs)
        with ExitStack() as undo, torch.no_grad():
            for plan in self.plans:
                layer = self.model.layers[plan.number]
                slots = self._commit(plan, layer, undo)
                result.layers[layer.block.name] = _entry(plan, slots)
            if self.batch is not None:
                result.loss_after = evaluate(self.model, self.batch)
                self._check_jump(result)
            undo.pop_all()
        result.born = sum(len(plan.sources) for plan in self.plans)
        result.replaced = sum(len(plan.retired) for plan in self.plans)
        result.seconds = time.perf_counter() - start
        return result

    def _prepare(self, pairs: list) -> None:
        """Work out everything that can fail before anything is changed."""
        if self.config.init == "split":
            self._keep_splittable()
        replay = [None] * len(self.model.layers)
        if self.config.enable_replacement and self.replay is not None:
            replay = activations(self.model, self.replay)
        for plan in self.plans:
            layer = self.model.layers[plan.number]
            if self.config.init == "pair":  # both of two start from the first one's source
                plan.sources = plan.sources[torch.arange(len(plan.sources)) // 2 * 2]
            if self.config.enable_replacement:
                plan.retired = replaceable(layer, len(plan.sources), replay[plan.number])
                plan.retired = plan.retired[~torch.isin(plan.retired, plan.sources)]
                _check_retirement(layer, plan.retired)
            plan.newborns = make_newborns(
                layer,
                plan.sources,
                generator_for(self.config.seed, self.number, plan.number),
                pairs[plan.number],
                distributed.total,
            )
            _check_finite(layer, plan.newborns)
        decided = [each for plan in self.plans for each in (plan.sources, plan.retired)]
        rows = [getattr(plan.newborns, name, None) for plan in self.plans for name in PARTS]
        distributed.check_agreement([*decided, *(each for each in rows if each is not None)])

    def _keep_splittable(self) -> None:
        """Split neurons of the base alone; a layer without any among its sources is left out."""
        for plan in self.plans:
            plan.sources = plan.sources[plan.sources < self.model.layers[plan.number].block.width]
        self.plans = [plan for plan in self.plans if len(plan.sources)]
        if not self.plans:
            raise GrowthSkipped(
                "init='split' halves neurons of the base, and all sources are newborns; give "
                "sources below the block's own width, or init='gradmax'"
            )

    def _check_jump(self, result: GrowthResult) -> None:
        jump = result.loss_after - result.loss_before
        retired = any(len(plan.retired) for plan in self.plans)
        if retired and not jump <= self.config.max_prune_jump:
            raise GrowthSkipped(
                f"retiring dormant neurons raised the loss by {jump:.4g}, more than max_prune_jump="
                f"{self.config.max_prune_jump:g}; nothing was changed"
            )

    def _commit(self, plan: LayerPlan, layer: GrowableLayer, undo: ExitStack) -> Tensor:
        neurons = layer.neurons
        before = {name: getattr(neurons, name).clone() for name in neurons.PER_NEURON}
        undo.callback(_restore, neurons, before)
        if len(plan.retired):
            self._retire(layer, plan.retired, undo)
        if self.config.init == "split":
            _share_columns(layer, plan.sources, undo)
        cohort, slots = self._place(layer, len(plan.sources), undo)
        for name in PARTS:
            rows = getattr(plan.newborns, name, None)
            parameter = getattr(cohort, name)
            if rows is not None and parameter is not None:
                distributed.write_rows(parameter, rows, columns=name == "down")
        neurons.bear(slots, plan.sources, self.number)
        if self.config.init == "split" and self.model.link is not None:
            self._inherit(layer, cohort, plan.sources)
        return slots

    def _place(self, layer: GrowableLayer, count: int, undo: ExitStack) -> tuple[Cohort, Tensor]:
        """Return the cohort that newborns go into, known to the optimizer, and their slots."""
        link = self.model.link
        if self.config.reserve_events:
            number = layer.free_cohort()
            if number is None or count > layer.cohorts[number].width:
                raise GrowthSkipped(
                    f"the room reserved in {layer.block.name} is used up; wrap the model with "
                    f"reserve_events above {self.config.reserve_events}, or with 0 (no limit)"
                )
            cohort = layer.cohorts[number]
            undo.callback(_zero, cohort)
            if link is not None:
                undo.callback(link.optimizer.state.update, _present(link.forget(cohort)))
        else:
            cohort = layer.add_cohort(layer.padded(count))
            undo.callback(layer.remove_last_cohort)
            if link is not None:
                undo.callback(link.forget, cohort)
                undo.callback(link.remove, cohort)
                link.place(cohort, YOUNG)
            number = len(layer.cohorts) - 1
        return cohort, layer.slots(number)[:count]

    def _retire(self, layer: GrowableLayer, retired: Tensor, undo: ExitStack) -> None:
        """Set neurons to zero, moments too: without gradient, they stay so."""
        optimizer = None if self.model.link is None else self.model.link.optimizer
        for parameter, index in _entries(layer, retired):
            undo.callback(_put_back, parameter.data, index, parameter.data[index].clone())
            parameter.data[index] = 0
            if parameter.grad is not None:
                parameter.grad[index] = 0
            if optimizer is not None:
                for state, where, value in clear_state(optimizer, parameter, index):
                    undo.callback(_put_back, state, where, value)
        layer.neurons.active[retired] = False

    def _inherit(self, layer: GrowableLayer, cohort: Cohort, sources: Tensor) -> None:
        """Give the copies of split neurons the moments of what they were copied from."""
        optimizer = self.model.link.optimizer
        for name in PARTS:
            new = getattr(cohort, name)
            part = getattr(layer.block, name.removesuffix("_bias"))
            if new is None or part is None:
                continue
            old = part.bias if name.endswith("_bias") else part.weight
            columns = (name == "down") != (is_transposed(part) and not name.endswith("_bias"))
            copy_state(optimizer, old, new, _selector(sources, columns, new))


def _selector(sources: Tensor, columns: bool, new: nn.Parameter):
    def select(moments: Tensor) -> Tensor:
        chosen = moments[:, sources] if columns else moments[sources]
        if chosen.shape != new.shape and chosen.dim() == 2 and chosen.T.shape == new.shape:
            chosen = chosen.T
        whole = torch.zeros_like(new.data, dtype=chosen.dtype)
        whole[tuple(slice(0, size) for size in chosen.shape)] = chosen
        return whole

    return select


def _entries(layer: GrowableLayer, numbers: Tensor):
    """Yield every parameter that holds a part of some neurons, with the index of that part."""
    block, width = layer.block, layer.block.width
    base = numbers[numbers < width]
    if len(base):
        for part in block.inputs:
            yield part.weight, (slice(None), base) if is_transposed(part) else (base,)
            if part.bias is not None:
                yield part.bias, (base,)
        turned = is_transposed(block.down)
        yield block.down.weight, (base,) if turned else (slice(None), base)
    for number, cohort in enumerate(layer.cohorts):
        slots = layer.slots(number)
        own = numbers[(numbers >= slots[0]) & (numbers <= slots[-1])] - slots[0]
        if not len(own):
            continue
        for name in PARTS:
            parameter = getattr(cohort, name)
            if parameter is not None:
                yield parameter, (slice(None), own) if name == "down" else (own,)


def _check_retirement(layer: GrowableLayer, retired: Tensor) -> None:
    if layer.block.quantised and bool((retired < layer.block.width).any()):
        raise ValueError(
            f"enable_replacement cannot retire neurons of the quantised {layer.block.name}; load "
            "the base in bfloat16 or float32, or set enable_replacement=False"
        )
    value, _ = at_zero(layer.block)
    if len(retired) and layer.block.gate is None and value != 0:
        raise ValueError(
            f"enable_replacement needs an activation with f(0) = 0, got {value:g}: a "
            "retired neuron would come back to life; set enable_replacement=False"
        )


def _check_finite(layer: GrowableLayer, newborns: Newborns) -> None:
    for name in PARTS:
        rows = getattr(newborns, name, None)
        if rows is not None and not bool(torch.isfinite(rows).all()):
            raise GrowthSkipped(
                f"{name} of the newborns of {layer.block.name} is not finite; look for NaN in the "
                "weights and losses, and lower the learning rate"
            )


def _share_columns(layer: GrowableLayer, sources: Tensor, undo: ExitStack) -> None:
    weight = layer.block.down.weight.data
    index = (sources,) if is_transposed(layer.block.down) else (slice(None), sources)
    undo.callback(_put_back, weight, index, weight[index].clone())
    weight[index] *= SHARE_KEPT


def _entry(plan: LayerPlan, slots: Tensor) -> dict:
    sigma = plan.newborns.sigma
    return {
        "sources": plan.sources.tolist(),
        "slots": slots.tolist(),
        "retired": plan.retired.tolist(),
        "sigma": None if sigma is None else sigma.tolist(),
    }


def _put_back(tensor: Tensor, index, value: Tensor) -> None:
    tensor[index] = value


def _restore(neurons, before: dict[str, Tensor]) -> None:
    for name, value in before.items():
        setattr(neurons, name, value)


def _zero(cohort: Cohort) -> None:
    for parameter in cohort.parameters():
        parameter.data.zero_()


def _present(state: dict) -> dict:
    return {parameter: value for parameter, value in state.items() if value is not None}
