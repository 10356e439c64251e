"""`GrowableLinear`: a drop-in for `nn.Linear` whose outputs grow."""

import warnings
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plasticity.foam.configuration import GrowthConfig, reference_config
from plasticity.foam.directions import apart, singular_directions, unit_rows
from plasticity.foam.dormancy import LARGEST_SHARE
from plasticity.foam.events import GrowthResult, generator_for, neuron_numbers
from plasticity.foam.initializers import GrowthSkipped
from plasticity.foam.linear_block import (
    COLUMNS,
    ROWS,
    Block,
    blocks_in,
    born_together,
    check_supported,
    newest,
    place_loaded,
    rebuild,
)
from plasticity.foam.neurons import Neurons
from plasticity.foam.optimizers import (
    MATURE,
    YOUNG,
    OptimizerLink,
    clear_state,
    shaped_state,
    warn_unattached,
)
from plasticity.foam.stepping import has_skipped
from plasticity.foam.triggers import Clock, percentile_threshold


class GrowableLinear(nn.Module):
    """A linear layer that gains outputs where gradients are large.

    Weights and bias keep their names and shapes; what is born lies beside them, so that old outputs
    stay bit-equal. The layer that reads the outputs has to grow with it: `link` it. Statistics need
    no call: the layer sees its gradients, and that an optimizer has stepped.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    enable_replacement : bool
        Retire outputs that do nothing; needs a linked consumer, whose columns say so.
    gradient_percentile, max_growth_per_step, growth_cooldown, maturation_age
        As in `GrowthConfig`.
    config : GrowthConfig, optional
        Instead of those five; then they are ignored. The percentile of the layer's own decides
        who grows, whatever the trigger (with ``plateau``, only while the clock stands still);
        what concerns a whole model, its budget and kinds of dormancy, has no effect here.
    device, dtype : optional

    Raises
    ------
    ValueError
        If the config asks for an ``init`` or for reserved room that a single layer has not.

    Attributes
    ----------
    in_features, out_features : int
        What they are now.
    gradient_ema, neuron_age : Tensor
        One value for each output.

    Examples
    --------
    >>> layer, reader = GrowableLinear(4, 8), GrowableLinear(8, 2)
    >>> layer.link(reader)
    >>> x = torch.randn(3, 4)
    >>> before = reader(layer(x).relu())
    >>> layer.perform_growth(torch.tensor([0, 5]))["born"]
    2
    >>> torch.equal(reader(layer(x).relu()), before), layer.out_features, reader.in_features
    (True, 10, 10)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        enable_replacement: bool = False,
        gradient_percentile: float = 90.0,
        max_growth_per_step: int = 10,
        growth_cooldown: int = 200,
        maturation_age: int = 500,
        config: GrowthConfig | None = None,
        device=None,
        dtype=None,
    ):
        super().__init__()
        self.config = config or reference_config(
            enable_replacement=enable_replacement,
            gradient_percentile=gradient_percentile,
            max_growth_per_step=max_growth_per_step,
            growth_cooldown=growth_cooldown,
            maturation_age=maturation_age,
        )
        check_supported(self.config)
        start = nn.Linear(in_features, out_features, bias, device=device, dtype=dtype)
        self.weight, self.bias = start.weight, start.bias
        self.blocks = nn.ModuleList()
        self.neurons = Neurons(
            out_features, self.config.maturation_age, self.config.pressure_window, device
        )
        self.clock = Clock(self.config.plateau_window)
        self.growth_log: list[GrowthResult] = []
        self.optimizer_link: OptimizerLink | None = None
        # Not children: they belong to their own parents.
        self.__dict__["consumer"] = self.__dict__["producer"] = None
        self.norms: dict[int, Tensor] = {}
        self.version = -1
        self.producer_inputs: list = []
        self.tape: list[tuple[Tensor, Tensor]] = []
        self.register_load_state_dict_post_hook(place_loaded)

    @classmethod
    def from_linear(cls, linear: nn.Linear, **settings) -> "GrowableLinear":
        """Return a growable layer with the same weight and bias parameters as `linear`."""
        has_bias = linear.bias is not None
        layer = cls(linear.in_features, linear.out_features, has_bias, device="meta", **settings)
        layer.weight, layer.bias = linear.weight, linear.bias
        layer.neurons = Neurons(
            linear.out_features,
            layer.config.maturation_age,
            layer.config.pressure_window,
            linear.weight.device,
        )
        return layer

    @property
    def in_features(self) -> int:
        """Number of inputs now."""
        grown = sum(b.weight.shape[1] for b in self.blocks if b.kind == COLUMNS)
        return self.weight.shape[1] + grown

    @property
    def out_features(self) -> int:
        """Number of outputs now."""
        return self.weight.shape[0] + sum(b.weight.shape[0] for b in self.blocks if b.kind == ROWS)

    @property
    def gradient_ema(self) -> Tensor:
        """Running mean of the gradient norm of each output's row."""
        self._notice_step()
        return self.neurons.corrected_pressure(self.config.ema_beta)

    @property
    def neuron_age(self) -> Tensor:
        """Optimizer steps that each output has taken."""
        self._notice_step()
        return self.neurons.age

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features)."""
        if self.training and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            self._notice_step()
            self._watch()
        width = self.weight.shape[1]
        # Contiguous, or the old product would run over other strides and round differently.
        output = F.linear(inputs[..., :width].contiguous(), self.weight, self.bias)
        for block in self.blocks:
            if block.kind == COLUMNS:
                following = width + block.weight.shape[1]
                output = output + F.linear(inputs[..., width:following], block.weight)
                width = following
            else:
                grown = F.linear(inputs[..., :width], block.weight, block.bias)
                output = torch.cat([output, grown], dim=-1)
        self._record(inputs, output)
        return output

    def _record(self, inputs: Tensor, output: Tensor) -> None:
        """Hand inputs to the consumer; as a consumer, keep them beside the gradient of outputs."""
        if not (self.training and torch.is_grad_enabled()) or torch.compiler.is_compiling():
            return
        if self.consumer is not None and (self._is_due() or self.config.enable_replacement):
            pair = (self, inputs.detach())
            self.consumer.producer_inputs = [*self.consumer.producer_inputs[-3:], pair]
        waiting, self.producer_inputs = self.producer_inputs, []
        if waiting:
            hidden = inputs.detach().reshape(-1, inputs.shape[-1]).float()
            for producer, given in waiting:
                producer.neurons.update_activation(hidden.square().mean(0), hidden.abs().mean(0))
                if output.requires_grad and producer._is_due():
                    output.register_hook(partial(producer._keep, given))

    def _is_due(self) -> bool:
        """Tell whether newborns may come after the next step: only then gradients are kept."""
        since = int(self.clock.steps) + 1 - int(self.clock.last_growth)
        return since >= self.config.growth_cooldown

    def _keep(self, inputs: Tensor, gradient: Tensor) -> None:
        pair = [t.detach().reshape(-1, t.shape[-1]).float() for t in (inputs, gradient)]
        self.tape = [*self.tape[-3:], tuple(each[-self.config.growth_tokens :] for each in pair)]

    def _row_holders(self):
        """Yield this layer and its blocks of rows, each with the number of its first output."""
        start = 0
        for holder in (self, *(block for block in self.blocks if block.kind == ROWS)):
            yield start, holder
            start += holder.weight.shape[0]

    def _watch(self) -> None:
        for start, holder in self._row_holders():
            if holder.weight.requires_grad and not holder.weight._post_accumulate_grad_hooks:
                holder.weight.register_post_accumulate_grad_hook(partial(self._note, start))

    def _note(self, start: int, parameter: nn.Parameter) -> None:
        self.norms[start] = parameter.grad.detach().float().norm(dim=1)
        self.version = self.weight._version

    def _notice_step(self) -> None:
        """Take pending gradients into the statistics once an optimizer has moved the weights."""
        if self.norms and self.weight._version != self.version:
            self.update_statistics()

    @torch.no_grad()
    def update_statistics(self) -> None:
        """Count one optimizer step, with the gradients seen since the last one.

        Called by itself; only needed where weights are moved in ways that torch does not count.
        """
        whole = torch.full((self.out_features,), float("nan"), device=self.neurons.age.device)
        for start, norms in self.norms.items():
            whole[start : start + len(norms)] = norms
        self.norms = {}
        top = self.config.max_growth_per_step
        self.neurons.update_pressure(whole, self.config.ema_beta, top)
        self.neurons.age += torch.isfinite(whole)
        self.clock.steps += 1
        if self.optimizer_link is not None:
            self._promote()

    def _promote(self) -> None:
        for age, blocks in born_together(self):
            for block in blocks if age == self.config.adult_age else ():
                self.optimizer_link.place(block, MATURE)

    def link(self, consumer: "GrowableLinear") -> None:
        """Name the layer that reads the outputs, through anything elementwise; it grows along.

        Raises
        ------
        TypeError
            If it is not a `GrowableLinear`; make it one with `GrowableLinear.from_linear`.
        ValueError
            If it does not read as many values as this layer writes.
        """
        if not isinstance(consumer, GrowableLinear):
            raise TypeError(
                f"consumer must be a GrowableLinear, got {type(consumer).__name__}; make it one "
                "with GrowableLinear.from_linear(layer)"
            )
        if consumer.in_features != self.out_features:
            raise ValueError(
                f"consumer must have in_features={self.out_features}, the outputs of this layer, "
                f"got {consumer.in_features}"
            )
        self.__dict__["consumer"], consumer.__dict__["producer"] = consumer, self

    def attach_optimizer(self, optimizer, scheduler=None):
        """Register newborns, here and in the consumer, with an optimizer from now on.

        As `plasticity.foam.GrowableModel.attach_optimizer`: before a scheduler is made.
        """
        link = OptimizerLink(optimizer, self.config.young_lr_multiplier, scheduler)
        for handle in self.__dict__.pop("_optimizer_handles", []):
            handle.remove()
        self.optimizer_link = link
        self._watch_steps()
        return optimizer

    def _watch_steps(self) -> None:  # fused optimizers move weights without torch's counting it
        optimizer = self.optimizer_link.optimizer
        self._optimizer_handles = [optimizer.register_step_post_hook(self._after_step)]

    def __getstate__(self):
        """Leave out the hooks; copies put their own on."""
        return {n: value for n, value in self.__dict__.items() if n != "_optimizer_handles"}

    def __setstate__(self, state):
        super().__setstate__(state)
        link = self.optimizer_link
        if link is not None and not link.is_watched_by(self.clock):
            self._watch_steps()

    def _after_step(self, optimizer, arguments, keywords) -> None:
        if has_skipped(optimizer):
            self.norms = {}
        if self.norms:
            self.update_statistics()

    def check_growth(self) -> tuple[bool, Tensor]:
        """Return whether to grow, and the outputs of highest gradient pressure, int64.

        By the reference's rule: the cooldown has passed, and the running mean of the gradient is
        above the percentile of the layer's own.
        """
        self._notice_step()
        ema = self.neurons.corrected_pressure(self.config.ema_beta)
        mature = self.neurons.mature(self.config.maturation_age) & (self.neurons.updates > 0)
        ranked = torch.where(mature, ema, -1.0).argsort(descending=True, stable=True)
        threshold = percentile_threshold(ema[mature], self.config.gradient_percentile)
        above = ranked[ema[ranked] > max(threshold, 0.0)]
        sources = above[mature[above]][: self.config.max_growth_per_step]
        if self.config.trigger == "plateau":
            fires = self.clock.stands_still(self.config.plateau_threshold)
        else:
            fires = True
        grow = fires and self.clock.may_grow(self.config) and len(sources) > 0
        return bool(grow), sources

    @torch.no_grad()
    def perform_growth(self, source_indices: Tensor) -> GrowthResult:
        """Let one output be born from each of some outputs.

        With a consumer whose gradients were seen, along the directions of GradMax; otherwise by
        the reference's rule, the source's row plus noise. The consumer's new columns are zero.

        Parameters
        ----------
        source_indices : Tensor
            int64, each in [0, out_features).

        Returns
        -------
        GrowthResult
            Reads like a dict: ``result["born"]``, ``result["replaced"]``, ``result["died"]``.

        Raises
        ------
        ValueError, TypeError
            If a source is no output's number, or the optimizer keeps what cannot be cleared for it.
        GrowthSkipped
            If newborns would not be finite, or not differ. Nothing is changed then, in any case.
        """
        sources = neuron_numbers("source_indices", source_indices, self.weight.device)
        if not len(sources) or not bool(((sources >= 0) & (sources < self.out_features)).all()):
            raise ValueError(
                f"source_indices must be in [0, {self.out_features}), at least one, got "
                f"{sources.tolist()}"
            )
        self._warn_if_alone()
        retired = self._dormant(len(sources))
        rows, how = self._newborn_rows(sources)
        if not bool(torch.isfinite(rows).all()):
            raise GrowthSkipped(
                "the newborns' rows are not finite; look for NaN in the weights and losses, and "
                "lower the learning rate"
            )
        self._retire(retired)
        first = self.out_features
        block = self._add(ROWS, (len(sources), self.in_features))
        block.weight.copy_(rows)
        self.neurons.extend(len(sources))
        slots = torch.arange(first, first + len(sources), device=sources.device)
        self.neurons.bear(slots, sources, int(self.clock.events))
        if self.consumer is not None:
            self.consumer._add(COLUMNS, (self.consumer.out_features, len(sources)), self)
        result = GrowthResult(
            born=len(sources),
            replaced=len(retired),
            step=int(self.clock.steps),
            event=int(self.clock.events),
            layers={"": {"sources": sources.tolist(), "retired": retired.tolist()}},
            init=how,
        )
        self.clock.grew()
        self.growth_log.append(result)
        return result

    def _warn_if_alone(self) -> None:
        if self.optimizer_link is None and int(self.clock.steps):
            warn_unattached("layer", stacklevel=5)  # above this, `perform_growth` and its decorator
        if self.consumer is None:
            warnings.warn(
                f"no consumer is linked: what reads this layer gets more than "
                f"{self.out_features} values from now on; call layer.link(reader)",
                stacklevel=4,
            )

    def _add(self, kind: str, shape: tuple[int, int], owner=None) -> Block:
        link = (owner or self).optimizer_link
        order = 0 if link is None else link.newborns
        block = Block(kind, shape, self.weight, self.bias is not None, order)
        self.blocks.append(block)
        if link is not None:
            link.place(block, YOUNG)
        return block

    def _newborn_rows(self, sources: Tensor) -> tuple[Tensor, str]:
        generator = generator_for(self.config.seed, int(self.clock.events), 0)
        rows = self.full_weight()[sources].float()
        noise = torch.randn(rows.shape, generator=generator).to(rows.device)
        scale = self.full_weight()[self.neurons.active].float().norm(dim=1).mean()
        if self.tape and self.config.init == "gradmax" and len(self.tape[0][0]):
            inputs, gradients = newest(self.tape)
            same = inputs.shape[1] == rows.shape[1]
            if same and bool(torch.isfinite(gradients).all()) and bool(gradients.any()):
                weights = torch.ones(len(inputs), 1, device=inputs.device)
                found = singular_directions(inputs, gradients, weights, rows + scale * noise)
                return found.right * scale * self.config.init_scale, "gradmax"
        if self.config.init == "random":
            return unit_rows(noise) * scale * self.config.init_scale, "random"
        rows = rows + self.config.noise * rows.std(dim=1, keepdim=True) * noise
        if self.config.orthogonalize != "none":
            try:
                rows = apart(rows)
            except ValueError as error:
                raise GrowthSkipped(str(error)) from error
        return rows, "copy_noise"

    def _dormant(self, most: int) -> Tensor:
        if not self.config.enable_replacement or self.consumer is None:
            return torch.empty(0, dtype=torch.int64, device=self.weight.device)
        columns = self.consumer.full_weight().float().norm(dim=0)
        utility = columns * self.neurons.mean_square.sqrt()
        mature = self.neurons.mature(self.config.maturation_age) & (self.neurons.observations > 0)
        low = utility < self.config.dormancy_tau * utility[self.neurons.active].median()
        ranked = torch.where(low & mature, utility, float("inf")).argsort(stable=True)
        share = max(1, int(LARGEST_SHARE * int(self.neurons.active.sum())))
        return ranked[: min(most, share, int((low & mature).sum()))]

    def _retire(self, outputs: Tensor) -> None:
        """Set outputs to zero, here and in the consumer, moments too."""
        if not len(outputs):
            return
        entries = list(self._entries(outputs))
        if self.optimizer_link is not None:
            for parameter, _ in entries:  # what cannot be cleared is refused before any is
                shaped_state(self.optimizer_link.optimizer, parameter)
        for parameter, index in entries:
            parameter.data[index] = 0
            if self.optimizer_link is not None:
                clear_state(self.optimizer_link.optimizer, parameter, index)
        self.neurons.active[outputs] = False

    def _entries(self, outputs: Tensor):
        """Yield every parameter that holds a part of some outputs, with the index of that part."""
        for start, holder in self._row_holders():
            last = start + len(holder.weight)
            own = outputs[(outputs >= start) & (outputs < last)] - start
            yield from ((p, own) for p in (holder.weight, holder.bias) if p is not None)
        first = 0
        for columns in self.consumer._column_parameters():
            last = first + columns.shape[1]
            own = outputs[(outputs >= first) & (outputs < last)] - first
            yield columns, (slice(None), own)
            first = last

    def _column_parameters(self):
        """Yield the parameters that hold the columns of inputs, in order, rows born later last."""
        yield self.weight
        yield from (block.weight for block in self.blocks if block.kind == COLUMNS)

    def full_weight(self) -> Tensor:
        """Return the whole weight as one tensor, shape (out_features, in_features), detached."""
        whole = self.weight.detach()
        for block in self.blocks:
            whole = torch.cat([whole, block.weight.detach()], dim=0 if block.kind == ROWS else 1)
        return whole

    def to_linear(self) -> nn.Linear:
        """Return a plain `nn.Linear` that computes the same, with parameters of its own."""
        whole = self.full_weight()
        plain = nn.Linear(whole.shape[1], whole.shape[0], self.bias is not None, device="meta")
        plain.weight = nn.Parameter(whole.clone(), requires_grad=self.weight.requires_grad)
        if self.bias is not None:
            bias = torch.cat([holder.bias.detach() for _, holder in self._row_holders()])
            plain.bias = nn.Parameter(bias, requires_grad=self.bias.requires_grad)
        return plain.train(self.training)

    def _load_from_state_dict(self, state_dict, prefix, *arguments):
        """Build the blocks of a checkpoint, unless they are here, before their values are read."""
        start = f"{prefix}blocks."
        wanted = blocks_in(state_dict, start)
        if wanted != [(block.kind, tuple(block.weight.shape)) for block in self.blocks]:
            rebuild(self, wanted)
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def _link_of(self, block: Block) -> OptimizerLink | None:
        """Return what knows the optimizer of a block; that of columns came with their rows."""
        owner = self if block.kind == ROWS else self.producer
        return None if owner is None else owner.optimizer_link
