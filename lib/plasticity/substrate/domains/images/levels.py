"""The source's recipe: a neuron for each cell and grey level, which vote for classes."""

from collections.abc import Sequence

import numpy as np

from plasticity.substrate import Brain
from plasticity.substrate.domains.images.encoder import WHITE, ImageEncoder
from plasticity.substrate.domains.images.voting import Voting
from plasticity.substrate.learning import margin_error


class LevelRecogniser(Voting):
    """Names pictures by the grey level of every cell of a coarse grid.

    Of the neurons of a cell the one whose level the cell has emits; that of the lowest level is
    silent, as most of a picture is background. Votes learn from mistakes alone.

    Parameters
    ----------
    classes : sequence of str
    side : int
        Of the grid.
    levels : int
        2 to 256.
    rule : {'adam', 'delta'}
        Of the votes.
    learning_rate : float
    seed : int
        Of the brain.

    Examples
    --------
    >>> graph = LevelRecogniser(["dark", "light"], side=4, rule="delta")
    >>> for _ in range(3):
    ...     graph.learn(np.full((6, 6), 0.3), 0)
    ...     graph.learn(np.full((6, 6), 0.9), 1)
    >>> graph.predict(np.full((9, 7), 0.8))
    1
    """

    def __init__(
        self,
        classes: Sequence[str],
        side: int = 16,
        levels: int = 4,
        rule: str = "adam",
        learning_rate: float = 0.01,
        seed: int = 0,
    ):
        if not 2 <= levels <= WHITE + 1:
            raise ValueError(f"levels is {levels}; allowed: 2 to {WHITE + 1}")
        self.encoder, self.levels = ImageEncoder(side, upright=False), levels
        brain = Brain(seed=seed)
        super().__init__(brain, side**2 * levels, classes, rule, learning_rate, margin_error)

    def active(self, image: np.ndarray) -> np.ndarray:
        """Return the neurons that a picture makes emit: their places among all, ascending."""
        return self.active_in(self.encoder(np.asarray(image)[None])[0])

    def active_in(self, grid: np.ndarray) -> np.ndarray:
        """Return the same for a picture as the encoder gives it, uint8, shape (side, side)."""
        level = grid.ravel().astype(np.int64) * self.levels // WHITE
        level = np.minimum(level, self.levels - 1)
        places = np.arange(level.size) * self.levels + level
        return places[level > 0]
