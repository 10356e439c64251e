"""What positions are worth, learnt: a synapse for each position."""

import math

import numpy as np

from plasticity.substrate import Brain
from plasticity.substrate.domains.tictactoe.game import (
    CANONICAL,
    OPEN,
    STATES,
    scores,
)


class PositionValues:
    """The worth of positions, each the weight of one synapse of 16 bytes.

    A position's number, written in a base as large as there are neurons, names the neuron that the
    synapse comes from and the one that it leads to: 26 neurons have room for all 626 positions that
    are left when those turned or mirrored into each other count once. A position that was never met
    has no synapse and is worth 0.

    Parameters
    ----------
    brain : Brain
        Grows the neurons, without names.
    learning_rate : float
        Share of the error that one lesson takes away, above 0.
    symmetry : bool
        Whether turned and mirrored positions share a synapse.
    rule : {'delta', 'reward'}
        Whether each position has an error of its own (`learn`) or one reward reaches all that are
        eligible (`mark` and ``brain.reward``).

    Examples
    --------
    >>> head = PositionValues(Brain(), learning_rate=0.5)
    >>> head.learn([1], [1.0])  # a stone in a corner wins
    >>> head.values([1, 9]).tolist()  # the same, mirrored
    [0.5, 0.5]
    """

    def __init__(
        self, brain: Brain, learning_rate: float, symmetry: bool = True, rule: str = "delta"
    ):
        self.brain = brain
        brain.relation("value", rule=rule, learning_rate=learning_rate, limit=1.0)
        self._keys = CANONICAL if symmetry else np.arange(STATES)
        known = np.unique(self._keys[OPEN])
        self._numbers = np.zeros(STATES, np.int64)
        self._numbers[known] = np.arange(len(known))
        self._neurons = brain.grow(math.isqrt(len(known) - 1) + 1)

    def keys(self, states: np.ndarray) -> np.ndarray:
        """Return what positions are filed under: equal for those that share a synapse."""
        return self._keys[states]

    def _ends(self, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        number = self._numbers[self._keys[states]]
        source, target = np.divmod(number, len(self._neurons))
        return self._neurons[source], self._neurons[target]

    def values(self, states: np.ndarray) -> np.ndarray:
        """Return the worth of open positions to the player who has just moved there.

        Parameters
        ----------
        states : array of int, shape (...)

        Returns
        -------
        ndarray of float32, shape (...)
            From -1, lost, to 1, won.
        """
        states = np.asarray(states)
        weights = self.brain.weights(*self._ends(states), "value")
        return np.nan_to_num(weights, nan=0.0).reshape(states.shape)

    def learn(self, states: np.ndarray, errors: np.ndarray, eligible: np.ndarray = 1.0) -> None:
        """Change each position by its own error: by learning rate times eligibility times error.

        Parameters
        ----------
        states : array of int, shape (lessons,)
            Open positions.
        errors : array of float, shape (lessons,)
            How much more they turned out to be worth.
        eligible : array of float, shape (lessons,), or float
        """
        self.brain.learn(*self._ends(np.asarray(states)), "value", pre=eligible, post=errors)

    def mark(self, states: np.ndarray, eligible: np.ndarray) -> None:
        """Make positions eligible for the reward to come; negative where it is the opponent's."""
        self.brain.learn(*self._ends(np.asarray(states)), "value", pre=eligible)

    def table(self) -> np.ndarray:
        """Return the worth of every state, float64, shape (19683,); 0 where the game is over."""
        values = np.zeros(STATES)
        values[OPEN] = self.values(OPEN)
        return values

    def worth(self) -> np.ndarray:
        """Return what every move is worth, as `game.scores` does."""
        return scores(self.table())
