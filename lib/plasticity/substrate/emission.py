"""What comes out of a spread."""

from dataclasses import dataclass, field

import numpy as np

from plasticity.substrate.anatomy import Anatomy, Neurons
from plasticity.substrate.spreading import Cycle


@dataclass(frozen=True)
class Emission:
    """What came out of a spread.

    Attributes
    ----------
    neurons, values : ndarray of uint32 and float32
        Neurons that emit after the last cycle, ascending, and their activations.
    hit, activations : ndarray of uint32 and float32
        Every neuron that received something in the last cycle, emitting or not.
    cycles : list of Cycle
        What each cycle did.
    """

    neurons: np.ndarray
    values: np.ndarray
    hit: np.ndarray
    activations: np.ndarray
    cycles: list[Cycle] = field(repr=False)
    _brain: Anatomy = field(repr=False)

    def names(self) -> list[str | None]:
        """Return the names of the emitting neurons."""
        return [self._brain.name(neuron) for neuron in self.neurons]

    def value(self, neuron: int | str) -> float:
        """Return the activation of a neuron in the last cycle, 0 where it received nothing."""
        return float(self.activation(neuron)[0])

    def activation(self, neurons: Neurons) -> np.ndarray:
        """Return the activations of neurons in the last cycle, float32, 0 where nothing came."""
        indexes = self._brain.indexes(neurons)
        found = np.zeros(len(indexes), np.float32)
        if len(self.hit):
            places = np.minimum(np.searchsorted(self.hit, indexes), len(self.hit) - 1)
            there = self.hit[places] == indexes
            found[there] = self.activations[places[there]]
        return found

    def top(self, count: int = 1, group: str | None = None) -> list[tuple[int, float]]:
        """Return the strongest neurons of the last cycle, of one group or of all.

        Parameters
        ----------
        count : int
        group : str, optional

        Returns
        -------
        list of (int, float)
            Index and activation, strongest first; of equal ones the lower index first.
        """
        hit, activations = self.hit, self.activations
        if group is not None:
            inside = self._brain.get(hit, "group") == self._brain.group(group)
            hit, activations = hit[inside], activations[inside]
        order = np.argsort(-activations, kind="stable")[:count]
        return [(int(hit[i]), float(activations[i])) for i in order]
