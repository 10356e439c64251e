"""Contexts that vote for classes: the last hop of every recogniser of pictures."""

from collections.abc import Callable, Sequence

import numpy as np

from plasticity.substrate import Brain, Emission
from plasticity.substrate.learning import softmax_error

ALWAYS = -1e30  # a threshold that every score exceeds
WHOLE = 127  # largest absolute weight once weights are whole numbers
VOTES = "votes"
HALF_BYTE, LOW_HALF = 4, 15


class Voting:
    """A graph in which some neurons, the contexts, vote for classes.

    What makes a context emit is left to `active` of those that inherit from this.

    Parameters
    ----------
    brain : Brain
        Contexts and classes are grown in it.
    contexts : int
    classes : sequence of str
        Names of the classes, two or more, each once.
    rule : str
        Of the votes: delta or adam.
    learning_rate : float
    error : callable
        Maps scores and a label to the local error of each class.

    Raises
    ------
    ValueError
        For fewer than two classes, or one that occurs twice.
    """

    def __init__(
        self,
        brain: Brain,
        contexts: int,
        classes: Sequence[str],
        rule: str,
        learning_rate: float,
        error: Callable = softmax_error,
    ):
        if len(set(classes)) < max(2, len(classes)):
            raise ValueError(f"classes are {list(classes)}; allowed: two or more, each once")
        brain.group("classes", winners=1)
        brain.relation(VOTES, rule=rule, learning_rate=learning_rate)
        self.contexts = brain.grow(contexts)
        self.classes = brain.neurons(list(classes), group="classes", threshold=ALWAYS)
        brain.connect(self.contexts[:, None], self.classes, 0.0, VOTES)
        brain.consolidate()
        self.brain, self.error = brain, error

    def active(self, image: np.ndarray) -> np.ndarray:
        """Return the contexts that a picture makes emit: their places among all, ascending."""
        raise NotImplementedError

    def vote(self, active: np.ndarray, trace: bool = False) -> Emission:
        """Let contexts, given by their places among all, spread to the classes."""
        return self.brain.spread(self.contexts[active], 1.0, relations=[VOTES], trace=trace)

    def scores(self, emission: Emission) -> np.ndarray:
        """Return the score of each class after `vote`, float32, shape (classes,)."""
        return emission.activation(self.classes)

    def predict(self, image: np.ndarray) -> int:
        """Return the class of a picture; of equal scores the first, as for a picture of nothing."""
        return int(np.argmax(self.scores(self.vote(self.active(image)))))

    def learn(self, image: np.ndarray, label: int) -> None:
        """Learn the class of one picture, by the local error of each class.

        Raises
        ------
        ValueError
            If there is no such class.
        """
        check_labels(np.array([label]), len(self.classes))
        active = self.active(image)
        error = self.error(self.scores(self.vote(active)), label)
        self.brain.learn_rows(self.contexts[active], 1.0, self.classes, error, VOTES)

    def votes(self) -> np.ndarray:
        """Return the weight from every context to every class, float32, (contexts, classes)."""
        found = self.brain.weights(self.contexts[:, None], self.classes[None], VOTES)
        return found.reshape(len(self.contexts), len(self.classes))

    def set_votes(self, votes: np.ndarray) -> None:
        """Set the weight from every context to every class."""
        self.brain.connect(self.contexts[:, None], self.classes, votes, VOTES)


def whole_votes(votes: np.ndarray, clip: float = 1.0, bits: int = 8) -> np.ndarray:
    """Return votes as whole numbers of a few bits.

    Parameters
    ----------
    votes : ndarray of float32
    clip : float
        The largest vote, as a share of the largest absolute one, above 0 and up to 1: what is
        beyond it is cut off, and the others are rounded less.
    bits : int
        2 to 8: 8 leave votes from -127 to 127, 4 from -7 to 7.

    Returns
    -------
    ndarray of int8

    Examples
    --------
    >>> whole_votes(np.array([0.1, -0.5, 1.0]), clip=0.5)
    array([  25, -127,  127], dtype=int8)
    >>> whole_votes(np.array([0.1, -0.5, 1.0]), bits=4)
    array([ 1, -4,  7], dtype=int8)
    """
    if not 0 < clip <= 1:
        raise ValueError(f"clip is {clip}; allowed: above 0 and up to 1")
    if not 2 <= bits <= 8:
        raise ValueError(f"bits is {bits}; allowed: 2 to 8")
    largest, most = clip * float(np.abs(votes).max(initial=0)) or 1.0, 2 ** (bits - 1) - 1
    return np.rint(votes * (most / largest)).clip(-most, most).astype(np.int8)


def pack(votes: np.ndarray, bits: int) -> np.ndarray:
    """Return whole votes of so many bits as bytes: of 4 bits and less, two in each.

    Parameters
    ----------
    votes : ndarray of int8, shape (contexts, classes)
    bits : int

    Returns
    -------
    ndarray of int8, shape (contexts * classes,) or half of that

    Examples
    --------
    >>> packed = pack(np.array([[1, -7, 0], [7, -1, 2]], np.int8), bits=4)
    >>> packed.nbytes, unpack(packed, bits=4, classes=3).tolist()
    (3, [[1, -7, 0], [7, -1, 2]])
    """
    flat = np.ascontiguousarray(votes).ravel()
    if bits > HALF_BYTE:
        return flat
    even = np.append(flat, np.zeros(flat.size % 2, np.int8)).reshape(-1, 2)
    return ((even[:, 0] << HALF_BYTE) | (even[:, 1] & LOW_HALF)).astype(np.int8)


def unpack(packed: np.ndarray, bits: int, classes: int) -> np.ndarray:
    """Return the votes, int8, shape (contexts, classes), that `pack` was given."""
    if bits > HALF_BYTE:
        return packed.reshape(-1, classes)
    high, low = packed >> HALF_BYTE, (packed << HALF_BYTE).astype(np.int8) >> HALF_BYTE
    flat = np.stack([high, low], axis=1).ravel()
    return flat[: flat.size // classes * classes].reshape(-1, classes)


def check_labels(labels: np.ndarray, classes: int) -> None:
    """Raise unless labels are whole numbers from 0 to the number of classes.

    Raises
    ------
    ValueError, TypeError
    """
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels are {labels.dtype}; allowed: whole numbers")
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise ValueError(f"labels hold {wrong[0]}; allowed: 0 to {classes - 1}")
