"""Where an activation came from: the paths behind it, whose contributions add up to it."""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from plasticity.substrate.anatomy import DEFAULT_RELATION
from plasticity.substrate.spreading import Cycle

if TYPE_CHECKING:
    import pandas as pd

ORIGINS = ("input", "bias or goal", "activation before")


@dataclass(frozen=True)
class TracedCycle:
    """A cycle, and every synapse that delivered in it.

    Attributes
    ----------
    cycle : Cycle
    sources, targets : ndarray of uint32, shape (deliveries,)
    relations : ndarray of uint8
    contributions : ndarray of float32
        Sign times weight times emitted value, before the target's gain.
    """

    cycle: Cycle
    sources: np.ndarray
    targets: np.ndarray
    relations: np.ndarray
    contributions: np.ndarray


@dataclass(frozen=True)
class Path:
    """One way along which activation reached a neuron.

    Attributes
    ----------
    neurons : tuple of int
        From the origin to the neuron that is explained.
    relations : tuple of int
        Of the synapses between them.
    origin : str
        One of ``input`` (emitted from outside), ``bias or goal``, ``activation before``.
    contribution : float
        Share of the activation.
    """

    neurons: tuple[int, ...]
    relations: tuple[int, ...]
    origin: str
    contribution: float


@dataclass(frozen=True)
class Explanation:
    """The strongest paths behind an activation, and the sum of all others.

    Attributes
    ----------
    activation : float
        Activation of the neuron in the last cycle in which it was hit.
    paths : list of Path
        Strongest first.
    rest : float
        What the paths that are not listed contribute together.
    describe : callable
        Says a path in words.
    """

    activation: float
    paths: list[Path]
    rest: float
    describe: Callable[[Path], str]

    def table(self) -> "pd.DataFrame":
        """Return the paths in words with their contributions, the rest last."""
        import pandas as pd  # half of the time that importing a brain would take

        lines = [(self.describe(path), path.origin, path.contribution) for path in self.paths]
        if self.rest:
            lines.append(("all other paths", "", self.rest))
        return pd.DataFrame(lines, columns=["path", "origin", "contribution"])

    def __str__(self) -> str:
        return self.table().to_string(index=False)


def explain(
    traced: list[TracedCycle], target: int, most: int, describe: Callable[[Path], str]
) -> Explanation:
    """Follow an activation back to where it came from, the strongest contributions first.

    Parameters
    ----------
    traced : list of TracedCycle
        The cycles of one spread, in order.
    target : int
        Index of the neuron.
    most : int
        Paths to list; 0 for all, of which there may be very many.
    describe : callable
        Says a path in words.

    Returns
    -------
    Explanation
        Its paths and its rest add up to the activation, to the rounding of float32.

    Raises
    ------
    ValueError
        If the neuron was not hit in these cycles.
    """
    last = next(
        (c for c in range(len(traced) - 1, -1, -1) if _place(traced[c].cycle, target) >= 0), None
    )
    if last is None:
        raise ValueError(f"neuron {target} received nothing in the traced cycles")
    activation = float(traced[last].cycle.activations[_place(traced[last].cycle, target)])
    tie = itertools.count()  # equal shares: the one found first
    open_ = [(-abs(activation), next(tie), activation, last, (target,), ())]
    paths, known = [], 0.0
    while open_ and (not most or len(paths) < most):
        _, _, share, at, neurons, relations = heapq.heappop(open_)
        if isinstance(at, str):
            paths.append(Path(neurons, relations, at, share))
            known += share
            continue
        for part, origin, more in _parts(traced, at, neurons[0], share):
            via = ((more[0], *neurons), (more[1], *relations)) if more else (neurons, relations)
            heapq.heappush(open_, (-abs(part), next(tie), part, origin, *via))
    rest = activation - known if open_ else 0.0
    return Explanation(activation, paths, rest, describe)


def as_text(names: list[str], relations: list[str]) -> str:
    """Return a path in one line; relations are named, but for the default one.

    Examples
    --------
    >>> as_text(["rain", "wet", "wetness"], [DEFAULT_RELATION, "means"])
    'rain → wet —means→ wetness'
    """
    text = names[0]
    for name, relation in zip(names[1:], relations, strict=True):
        arrow = "→" if relation == DEFAULT_RELATION else f"—{relation}→"
        text += f" {arrow} {name}"
    return text


def _place(cycle: Cycle, neuron: int) -> int:
    """Return where a neuron stands among those hit, or -1."""
    place = int(np.searchsorted(cycle.hit, neuron))
    return place if place < len(cycle.hit) and cycle.hit[place] == neuron else -1


def _parts(traced: list[TracedCycle], at: int, neuron: int, share: float):
    """Yield what makes up a neuron's activation in one cycle: (share, origin or cycle, synapse)."""
    cycle, place = traced[at].cycle, _place(traced[at].cycle, neuron)
    activation = float(cycle.activations[place])
    scale = share / activation if activation else 1.0  # 0 only where the neuron explained is at 0
    if cycle.kept[place]:
        yield scale * float(cycle.kept[place]), "activation before", None
    if cycle.constants[place]:
        yield scale * float(cycle.constants[place]), "bias or goal", None
    for i in np.flatnonzero(traced[at].targets == neuron):
        part = scale * float(cycle.scales[place]) * float(traced[at].contributions[i])
        source = int(traced[at].sources[i])
        if not part:
            continue
        emitted_before = at > 0 and _emitted(traced[at - 1].cycle, source)
        origin = at - 1 if emitted_before else "input"
        yield part, origin, (source, int(traced[at].relations[i]))


def _emitted(cycle: Cycle, neuron: int) -> bool:
    place = _place(cycle, neuron)
    return place >= 0 and bool(cycle.emitted[place])
