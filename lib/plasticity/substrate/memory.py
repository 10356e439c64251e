"""Working memory: what is held in mind makes its neurons more sensitive."""

import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass
class WorkingMemory:
    """Neurons held in mind, the newest first.

    A held neuron's gain is multiplied by exp(strength * decay ** position): the newest stands at
    position 0. It is a gain, not a source: a held neuron that receives nothing stays silent.

    Parameters
    ----------
    capacity : int
        Places, at least 1; the oldest falls out.
    decay : float
        Share of the strength left from one position to the next, 0 to 1.

    Examples
    --------
    >>> memory = WorkingMemory(capacity=2, decay=0.5)
    >>> memory.hold([7])
    >>> memory.hold([3])
    >>> memory.held()
    [(3, 1.0), (7, 0.5)]
    """

    capacity: int = 7
    decay: float = 0.8

    def __post_init__(self):
        """Check ranges."""
        if self.capacity < 1:
            raise ValueError(f"capacity is {self.capacity}; allowed: 1 or more")
        if not 0 <= self.decay <= 1:
            raise ValueError(f"decay is {self.decay}; allowed: 0 to 1")
        self._held: list[tuple[int, float]] = []

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, neurons: Iterable[int], strength: float = 1.0) -> None:
        """Hold neurons, each in front of those before; one already held moves to the front.

        Parameters
        ----------
        neurons : iterable of int
            Indexes; of names, `Brain.indexes` gives them.
        strength : float
            Finite.

        Raises
        ------
        TypeError
            For a name, or a number that is not whole.
        ValueError
            For a number below 0, or a strength that is not finite.
        """
        if not math.isfinite(strength):
            raise ValueError(f"strength is {strength}; allowed: finite numbers")
        for neuron in neurons:
            if isinstance(neuron, str):
                raise TypeError(
                    f"neurons holds {neuron!r}; allowed: indexes, as brain.indexes({neuron!r})"
                )
            index = operator.index(neuron)
            if index < 0:
                raise ValueError(f"neurons holds {neuron}; allowed: indexes, from 0")
            others = [item for item in self._held if item[0] != index]
            self._held = [(index, float(strength)), *others][: self.capacity]

    def clear(self) -> None:
        """Forget everything held."""
        self._held = []

    def held(self) -> list[tuple[int, float]]:
        """Return (neuron, strength at its position), the newest first."""
        return [(n, s * self.decay**place) for place, (n, s) in enumerate(self._held)]

    def gains(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the held neurons, ascending, and the factor on the gain of each."""
        held = sorted(self.held())
        neurons = np.array([neuron for neuron, _ in held], np.uint32)
        return neurons, np.exp(np.array([strength for _, strength in held], np.float32))

    def state(self) -> dict:
        """Return what `restore` needs, as JSON."""
        return {"capacity": self.capacity, "decay": self.decay, "held": self._held}

    @classmethod
    def restore(cls, state: dict) -> "WorkingMemory":
        """Return the memory that `state` described."""
        memory = cls(state["capacity"], state["decay"])
        memory._held = [(int(neuron), float(strength)) for neuron, strength in state["held"]]
        return memory
