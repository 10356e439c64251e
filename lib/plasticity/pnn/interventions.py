"""Interventions on a trained PNN: change what one part gives out, at chosen steps, and read on.

A change is a function of a value and of where it stands (`Moment`), and gives the value to go on
with. Changes compose: those at one site are applied in the order given. Nothing of the model is
copied; hooks do it, and leave with the context manager.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from plasticity.pnn.modeling import PnnForMaskedLM, PnnModel

SITES = ("attention", "raw_proposal", "proposal", "gate", "delta", "state")
"""What attention adds, the feed-forward output before and after its norm, the gate, gate times
proposal, and the state after each step."""


@dataclass(frozen=True)
class Moment:
    """Where a value stands.

    Attributes
    ----------
    step : int
        Refinement step, 1 for the first.
    words : Tensor of bool, shape (batch, length), or None
        Positions that are no padding, where the model was told.
    proposal : Tensor or None
        At the gate: what the gate multiplies.
    """

    step: int
    words: Tensor | None = None
    proposal: Tensor | None = None


Change = Callable[[Tensor, Moment], Tensor]


@dataclass(frozen=True)
class Intervention:
    """A change at one site.

    Parameters
    ----------
    site : str
        One of `SITES`.
    change : callable
        Maps a value, a float tensor of shape (batch, length, hidden_size), and a `Moment` to the
        value to go on with, of the same shape.
    steps : collection of int, optional
        Steps at which it acts, 1 for the first; all when None.

    Raises
    ------
    ValueError
        If the site does not exist.
    """

    site: str
    change: Change
    steps: Collection[int] | None = None

    def __post_init__(self):
        """Check the site."""
        if self.site not in SITES:
            raise ValueError(f"site is {self.site!r}; allowed: {', '.join(SITES)}")


@contextmanager
def intervene(model: PnnModel | PnnForMaskedLM, *interventions: Intervention) -> Iterator[None]:
    """Change a model for as long as the context lasts.

    Parameters
    ----------
    model : PnnModel or PnnForMaskedLM
    *interventions : Intervention

    Raises
    ------
    ValueError
        If the refiner has no such site, as a hierarchical one has no attention of its own, or reads
        something else beside the state, which then cannot be told from what it reads.

    Examples
    --------
    >>> from plasticity.pnn import PnnConfig
    >>> config = PnnConfig(
    ...     vocab_size=50, hidden_size=8, num_attention_heads=2, intermediate_size=16
    ... )
    >>> model, ids = PnnModel(config).eval(), torch.tensor([[5, 6, 7]])
    >>> with torch.no_grad(), intervene(model, Intervention("gate", scale(0.0))):
    ...     states = model(ids, output_hidden_states=True).hidden_states
    >>> bool((states[0] == states[-1]).all())  # nothing was taken
    True
    """
    pnn = model if isinstance(model, PnnModel) else model.pnn
    reads_more = getattr(pnn.config, "reinject", False) or getattr(
        pnn.config, "step_embeddings", False
    )
    if reads_more and any(one.site == "state" for one in interventions):
        raise ValueError(
            "site is 'state', which the refiner of this model does not read alone (reinject or "
            "step_embeddings); allowed: " + ", ".join(site for site in SITES if site != "state")
        )
    refiners = list(pnn.refiner) if isinstance(pnn.refiner, nn.ModuleList) else [pnn.refiner]
    now = _Clock()
    with ExitStack() as hooks:
        hooks.enter_context(pnn.register_forward_pre_hook(now.start))
        for refiner in refiners:
            hooks.enter_context(refiner.register_forward_pre_hook(now.tick))
            for site in SITES:
                own = [one for one in interventions if one.site == site]
                if own:
                    module = _at(refiner, site)
                    hooks.enter_context(module.register_forward_hook(_hook(site, own, now)))
        yield


def _at(refiner: nn.Module, site: str) -> nn.Module:
    """Return the module whose output is the value at a site."""
    names = {
        "attention": "attention",
        "raw_proposal": "contract",
        "proposal": "proposal_norm",
        "gate": "gate",
    }
    if site not in names:
        return refiner
    if not hasattr(refiner, names[site]):
        has = [one for one in SITES if one not in names or hasattr(refiner, names[one])]
        raise ValueError(
            f"site is {site!r}, which {type(refiner).__name__} does not have; "
            f"allowed: {', '.join(has)}"
        )
    return getattr(refiner, names[site])


class _Clock:
    """Which step a model is at, and what is padding."""

    step, words = 0, None

    def start(self, module, inputs) -> None:
        self.step = 0

    def tick(self, module, inputs) -> None:
        self.step += 1
        mask = inputs[1]
        self.words = None if mask is None else mask[:, 0, 0]


def _hook(site: str, interventions: list[Intervention], now: _Clock) -> Callable:
    """Return the forward hook that applies the interventions at one site, one after the other."""

    def changed(value: Tensor, proposal: Tensor | None = None) -> Tensor:
        moment = Moment(now.step, now.words, proposal)
        for one in interventions:
            if one.steps is None or now.step in one.steps:
                value = one.change(value, moment)
        return value

    def hook(module, inputs, output):
        if site == "gate":
            return changed(output, inputs[1])
        if site not in ("delta", "state"):
            return changed(output)
        gate, proposal = output
        delta = gate * proposal
        before = delta if site == "delta" else inputs[0] + delta
        after = changed(before)
        if after is before:
            return None
        # The refiner gives out a gate and a proposal: an open gate takes the whole difference.
        return torch.ones_like(gate), after if site == "delta" else after - inputs[0]

    return hook


def identity(value: Tensor, moment: Moment) -> Tensor:
    """Change nothing."""
    return value


def scale(factor: float) -> Change:
    """Multiply by a factor."""
    return lambda value, moment: factor * value


def constant(level: float) -> Change:
    """Put one number everywhere."""
    return lambda value, moment: torch.full_like(value, level)


def opposite(value: Tensor, moment: Moment) -> Tensor:
    """Return 1 - g: open where the gate was shut, and shut where it was open."""
    return 1 - value


def opposite_about_mean(value: Tensor, moment: Moment) -> Tensor:
    """Mirror a gate at its token's mean, so that as much is taken as before, of other dimensions.

    Clipped to [0, 1], which only gates of a mean far from one half need.
    """
    return (2 * value.mean(-1, keepdim=True) - value).clamp(0, 1)


def partly(change: Change, share: float) -> Change:
    """Go a share of the way, 0 to 1, from a value to what a change makes of it."""
    return lambda value, moment: torch.lerp(value, change(value, moment), share)


def drop(rate: float, generator: torch.Generator, rescaled: bool = False) -> Change:
    """Set values to 0 at random, at a rate in [0, 1); rescaled, the expected sum stays."""
    kept = 1 - rate
    factor = 1 / kept if rescaled else 1.0

    def change(value: Tensor, moment: Moment) -> Tensor:
        return value * (_uniform(value, generator) < kept) * factor

    return change


def add_noise(deviation: float, generator: torch.Generator) -> Change:
    """Add Gaussian noise to a gate and clip it to [0, 1], as the reference does."""

    def change(value: Tensor, moment: Moment) -> Tensor:
        return (value + deviation * _normal(value, generator)).clamp(0, 1)

    return change


def add_logit_noise(deviation: float, generator: torch.Generator) -> Change:
    """Add Gaussian noise to a gate's logit, so that nothing has to be clipped."""

    def change(value: Tensor, moment: Moment) -> Tensor:
        return torch.sigmoid(torch.logit(value) + deviation * _normal(value, generator))

    return change


def shuffle_dimensions(generator: torch.Generator) -> Change:
    """Exchange the dimensions of each token, of each in another order."""

    def change(value: Tensor, moment: Moment) -> Tensor:
        return value.gather(-1, _uniform(value, generator).argsort(-1))

    return change


def shuffle_tokens(generator: torch.Generator) -> Change:
    """Exchange tokens within the batch, whole: each gets the values of another; padding stays."""

    def change(value: Tensor, moment: Moment) -> Tensor:
        every = torch.ones(value.shape[:-1], dtype=torch.bool, device=value.device)
        words = every if moment.words is None else moment.words
        chosen, exchanged = value[words], value.clone()
        exchanged[words] = chosen[torch.randperm(len(chosen), generator=generator)]
        return exchanged

    return change


def mean_of_token(value: Tensor, moment: Moment) -> Tensor:
    """Give all dimensions of a token their mean."""
    return value.mean(-1, keepdim=True).expand_as(value)


def fixed_profile(levels: Tensor) -> Change:
    """Give every token the same values: levels, shape (steps, hidden_size), by step."""
    return lambda value, moment: levels[moment.step - 1].expand_as(value)


def of_the_same_size(change: Change, sign: int) -> Change:
    """Scale a gate so that each token's update changes just as much as a change would change it.

    The update goes further (sign 1), or back (-1) and past zero where the size is above 1: it stays
    on its line, so what a change does beyond this is due to which dimensions it opens and shuts.

    Parameters
    ----------
    change : callable
        A change of the gate.
    sign : {1, -1}
    """

    def scaled(value: Tensor, moment: Moment) -> Tensor:
        size = relative_size(value, change(value, moment), moment)
        return value * (1 + sign * size.unsqueeze(-1))

    return scaled


def relative_size(before: Tensor, after: Tensor, moment: Moment) -> Tensor:
    """Return how far a changed gate moves each token's update, relative to the update's length."""
    update = before * moment.proposal
    moved = (after - before) * moment.proposal
    return moved.norm(dim=-1) / update.norm(dim=-1).clamp_min(torch.finfo(update.dtype).tiny)


class SizeMeter:
    """A change that lets another one measure, but not act: the value goes on as it came.

    Parameters
    ----------
    change : callable
        A change of the gate.

    Attributes
    ----------
    sizes : list of Tensor
        For each step of each pass, the relative size of each token's change, on the CPU.
    """

    def __init__(self, change: Change):
        self.change, self.sizes = change, []

    def __call__(self, value: Tensor, moment: Moment) -> Tensor:
        """Measure, and give the value back."""
        changed = self.change(value, moment)
        self.sizes.append(relative_size(value, changed, moment).cpu())
        return value

    def mean(self) -> float:
        """Return the mean relative size over steps and tokens."""
        return float(torch.cat([size.flatten() for size in self.sizes]).mean())


def _uniform(value: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(value.shape, generator=generator, dtype=value.dtype).to(value.device)


def _normal(value: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(value.shape, generator=generator, dtype=value.dtype).to(value.device)
