"""A recogniser of fixed grids: cells compete, the winners vote, local errors teach the votes.

Sound and film differ in what fills the grid; what learns from it is the same graph.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from plasticity.substrate import Brain, Emission
from plasticity.substrate.learning import softmax_error

ALWAYS = -1e30  # a threshold that every score exceeds


class Recogniser:
    """A graph that names what fills a grid.

    Receptors hand their input on to cells; in each cycle only the strongest cells emit; they spread
    to one neuron for each class, and the class with the highest score wins. Only the synapses from
    cells to classes learn, each by the error at the class that it leads to.

    Parameters
    ----------
    receptors : int
        Size of the grid.
    classes : sequence of str
        Names of the classes.
    winners : int
        Cells that may emit at once, 1 or more.
    pooled : int
        Receptors that share a cell: receptor i leads to cell ``i % (receptors // pooled)``, so that
        a grid of frames and bands is pooled over its frames.
    learning_rate : float
        Of the delta rule.
    seed : int
        Seed of the brain.

    Raises
    ------
    ValueError
        If `winners` is below 1, or the receptors cannot be shared out evenly.

    Examples
    --------
    >>> recogniser = Recogniser(receptors=4, classes=["left", "right"], winners=1)
    >>> for _ in range(20):
    ...     recogniser.learn([1, 0, 0, 0.2], 0)
    ...     recogniser.learn([0, 0.1, 0, 1], 1)
    >>> recogniser.predict([0.1, 0, 0, 1])
    1
    """

    def __init__(
        self,
        receptors: int,
        classes: Sequence[str],
        winners: int,
        pooled: int = 1,
        learning_rate: float = 0.5,
        seed: int = 0,
    ):
        if winners < 1:
            raise ValueError(f"winners is {winners}; allowed: 1 or more cells")
        if pooled < 1 or receptors % pooled:
            raise ValueError(f"pooled is {pooled}; allowed: divisors of {receptors}, the receptors")
        brain = Brain(seed=seed)
        cells = receptors // pooled
        brain.group("cells", winners=min(winners, cells))
        brain.group("classes", winners=1)
        brain.relation("hands on", rule="static")
        brain.relation("means", rule="delta", learning_rate=learning_rate)
        self.receptors = brain.grow(receptors)
        self.cells = brain.grow(cells, group="cells")
        self.classes = brain.neurons(list(classes), group="classes", threshold=ALWAYS)
        brain.connect(self.receptors, np.tile(self.cells, pooled), 1 / pooled, "hands on")
        sources, targets = np.repeat(self.cells, len(classes)), np.tile(self.classes, cells)
        brain.connect(sources, targets, 0.0, "means")
        brain.consolidate()
        self.brain = brain

    def spread(self, grid: np.ndarray) -> Emission:
        """Let a grid spread to the classes.

        Parameters
        ----------
        grid : array of float, shape (receptors,) or any other of that size
            What the receptors emit; zeros stay silent.

        Returns
        -------
        Emission
            Of the brain. What the cells emitted is the source of its second cycle; it ends in the
            class.
        """
        values = np.asarray(grid, np.float32).ravel()
        heard = np.flatnonzero(values)
        return self.brain.spread(self.receptors[heard], values[heard], cycles=2)

    def scores(self, emission: Emission) -> np.ndarray:
        """Return the score of each class after a spread, float32, shape (classes,)."""
        scores = np.zeros(len(self.classes), np.float32)
        places = emission.hit - self.classes[0]
        scores[places] = emission.activations
        return scores

    def learn(self, grid: np.ndarray, label: int) -> None:
        """Learn the class of one grid, by the softmax error of the classes.

        Parameters
        ----------
        grid : array of float, shape (receptors,) or any other of that size
        label : int
            Index of its class.
        """
        emission = self.spread(grid)
        heard = emission.cycles[1]
        error = softmax_error(self.scores(emission), label)
        self.brain.learn_rows(heard.sources, heard.values, self.classes, error, "means")

    def predict(self, grid: np.ndarray) -> int:
        """Return the index of the class that a grid's spread ends in; -1 if nothing emitted."""
        emission = self.spread(grid)
        return int(emission.neurons[0] - self.classes[0]) if len(emission.neurons) else -1

    def fit(self, grids: np.ndarray, labels: np.ndarray, epochs: int, seed: int = 0) -> None:
        """Learn a set of grids several times over, each time in another order.

        Parameters
        ----------
        grids : ndarray of float32, shape (examples, ...)
        labels : ndarray of int, shape (examples,)
        epochs : int
            Times that each is learnt.
        seed : int
            Of the orders.
        """
        random = np.random.default_rng(seed)
        for _ in range(epochs):
            for i in random.permutation(len(grids)):
                self.learn(grids[i], int(labels[i]))

    def accuracy(self, grids: np.ndarray, labels: np.ndarray) -> float:
        """Return the percentage of grids whose class is predicted."""
        return percent([self.predict(grid) for grid in grids] == np.asarray(labels))


def choose(
    candidates: Sequence[int],
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    classes: Sequence[str],
    epochs: int,
    pooled: int = 1,
    seed: int = 0,
) -> tuple[Recogniser, dict[int, float]]:
    """Fit a recogniser with each number of winners and keep the one that validates best.

    Parameters
    ----------
    candidates : sequence of int
        Numbers of winners; of equally good ones the first is kept.
    train, validation : tuple of (ndarray, ndarray)
        Grids, shape (examples, ...), and their labels, shape (examples,).
    classes : sequence of str
    epochs, pooled, seed : int
        As for `Recogniser` and its `fit`.

    Returns
    -------
    Recogniser
        The one that is kept.
    dict of int to float
        Validation accuracy of each candidate, in percent.
    """
    receptors = train[0][0].size
    found, accuracies = {}, {}
    for winners in candidates:
        found[winners] = Recogniser(receptors, classes, winners, pooled, seed=seed)
        found[winners].fit(*train, epochs, seed)
        accuracies[winners] = found[winners].accuracy(*validation)
    return found[max(candidates, key=accuracies.get)], accuracies


class Panel:
    """Readers that are scored side by side, on the same stimuli.

    Parameters
    ----------
    draw : callable
        Maps a generator, a number of examples of each class, and changes of what is usual, to
        stimuli with a ``label``.
    encode : callable
        Maps a stimulus to its grid.
    gridded, direct : dict of str to callable
        By metric: what maps a grid to a class, and what maps a stimulus to one.
    seed : int
        Draws the stimuli.
    """

    def __init__(self, draw: Callable, encode: Callable, gridded: dict, direct: dict, seed: int):
        self.draw, self.encode = draw, encode
        self.gridded, self.direct = gridded, direct
        self.seed, self.drawn = seed, 1  # 0 and 1 were training and validation

    def answers(self, examples: int, **changes) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the labels of fresh stimuli and every reader's answers, by its metric."""
        self.drawn += 1
        random = np.random.default_rng([self.seed, self.drawn])
        labels, answers = [], {metric: [] for metric in (*self.gridded, *self.direct)}
        for stimulus in self.draw(random, examples, **changes):
            labels.append(stimulus.label)
            grid = self.encode(stimulus)
            for metric, read in self.gridded.items():
                answers[metric].append(read(grid))
            for metric, read in self.direct.items():
                answers[metric].append(read(stimulus))
        return np.array(labels), {metric: np.array(given) for metric, given in answers.items()}

    def rows(self, step: int, split: str, examples: int, **changes) -> Iterator[tuple]:
        """Yield each reader's accuracy in percent on fresh stimuli, as rows."""
        labels, answers = self.answers(examples, **changes)
        yield from (
            (step, split, name, percent(given == labels)) for name, given in answers.items()
        )

    def confusion(self, classes: int, examples: int, **changes) -> Iterator[tuple]:
        """Yield what the graph took the stimuli of each class for, in percent, as rows."""
        labels, answers = self.answers(examples, **changes)
        for label in range(classes):
            given = answers["accuracy"][labels == label]
            for answer in range(classes):
                share = percent(given == answer)
                yield answer, f"confusion, true {label}", "answer_share", share


def percent(held: np.ndarray) -> float:
    """Return the share of what holds in percent."""
    return 100 * float(np.mean(held))
