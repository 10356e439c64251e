"""The source's way to learn votes: mistakes of a batch added up, then one step for every synapse.

Beside the graph, as a table. `LevelRecogniser.learn` goes picture by picture instead: Adam then
moves only the synapses that were used, and a tie is a mistake, whatever the label.
"""

import numba
import numpy as np

from plasticity.substrate.domains.images.levels import LevelRecogniser
from plasticity.substrate.domains.images.voting import check_labels
from plasticity.substrate.fast_images import Active, score
from plasticity.substrate.kernels import KERNEL

BATCH = 64
FIRST_DECAY, SECOND_DECAY, TINY = 0.9, 0.999, 1e-8  # Adam's


def active_levels(graph: LevelRecogniser, grids: np.ndarray) -> Active:
    """Return the neurons that grids make emit, ascending.

    Parameters
    ----------
    graph : LevelRecogniser
    grids : ndarray of uint8, shape (images, side, side)
        As its encoder gives them.
    """
    contexts = np.zeros((len(grids), grids.shape[1] ** 2), np.uint16)
    counts = np.zeros(len(grids), np.int64)
    for row, (grid, own) in enumerate(zip(grids, contexts, strict=True)):
        active = graph.active_in(grid)
        own[: len(active)], counts[row] = active, len(active)
    return Active(contexts, counts)


def fit_levels(
    graph: LevelRecogniser,
    active: Active,
    labels: np.ndarray,
    epochs: int = 10,
    batch: int = BATCH,
    seed: int = 0,
) -> None:
    """Learn from mistakes, batch after batch, and write the votes into the graph.

    Parameters
    ----------
    graph : LevelRecogniser
        Its rule says whether a step is the mistakes added up, or Adam's step of them.
    active : Active
        As `active_levels` gives it.
    labels : ndarray of int, shape (images,)
        0 to classes - 1.
    epochs, batch : int
        1 or more.
    seed : int
        Of the order.

    Examples
    --------
    >>> graph = LevelRecogniser(["dark", "light"], side=4)
    >>> pictures = np.stack([np.full((6, 6), 0.3), np.full((6, 6), 0.9)])
    >>> fit_levels(graph, active_levels(graph, graph.encoder(pictures)), np.array([0, 1]))
    >>> graph.predict(pictures[0]), graph.predict(pictures[1])
    (0, 1)
    """
    labels = np.asarray(labels)
    check_labels(labels, len(graph.classes))
    if len(labels) != len(active.counts) or not len(labels):
        raise ValueError(
            f"there are {len(labels)} labels and {len(active.counts)} images; allowed: one for each"
        )
    if min(epochs, batch) < 1:
        raise ValueError(f"epochs is {epochs}, batch {batch}; allowed: 1 or more")
    votes, kind = graph.votes(), graph.brain.relation("votes")
    random = np.random.default_rng(seed)
    state = tuple(np.zeros_like(votes) for _ in range(3))  # mistakes and Adam's two moments
    how, steps = (kind.rule == "adam", np.float32(kind.learning_rate), batch), 0
    for _ in range(epochs):
        order = random.permutation(len(labels))
        steps = _learn_batches(*active, votes, labels.astype(np.int64), order, state, how, steps)
    graph.set_votes(votes)


def scores_of(graph: LevelRecogniser, active: Active) -> np.ndarray:
    """Return the scores of every class, float32, shape (images, classes), as `spread` adds them."""
    scores = np.zeros((len(active.counts), len(graph.classes)), np.float32)
    score(*active, graph.votes(), scores)
    return scores


def verify_levels(graph: LevelRecogniser, grids: np.ndarray) -> int:
    """Count the pictures for which `spread` and the table predict the same class."""
    fast = scores_of(graph, active_levels(graph, grids)).argmax(axis=1)
    slow = [graph.scores(graph.vote(graph.active_in(grid))).argmax() for grid in grids]
    return int((fast == np.array(slow)).sum())


@numba.njit(**KERNEL)
def _learn_batches(contexts, counts, votes, labels, order, state, how, steps):
    """Learn every picture once; return the number of batches learnt so far."""
    mistakes, first, second = state
    adaptive, rate, batch = how
    classes = votes.shape[1]
    scores = np.zeros(classes, np.float32)
    for start in range(0, len(order), batch):
        mistakes[:] = 0
        for place in range(start, min(start + batch, len(order))):
            k = order[place]
            scores[:] = 0
            for i in range(counts[k]):
                for c in range(classes):
                    scores[c] += votes[contexts[k, i], c]
            answer = np.argmax(scores)
            if answer != labels[k]:
                for i in range(counts[k]):
                    mistakes[contexts[k, i], labels[k]] += 1
                    mistakes[contexts[k, i], answer] -= 1
        steps += 1
        if adaptive:
            _adam(mistakes, first, second, votes, rate, steps)
        else:
            votes += rate * mistakes
    return steps


@numba.njit(**KERNEL)
def _adam(slopes, first, second, votes, rate, steps):
    """Move every vote by Adam's step (Kingma and Ba, 2015)."""
    one, two = 1 - FIRST_DECAY**steps, 1 - SECOND_DECAY**steps
    for i in range(votes.shape[0]):
        for c in range(votes.shape[1]):
            slope = slopes[i, c]
            first[i, c] = FIRST_DECAY * first[i, c] + (1 - FIRST_DECAY) * slope
            second[i, c] = SECOND_DECAY * second[i, c] + (1 - SECOND_DECAY) * slope * slope
            votes[i, c] += rate * (first[i, c] / one) / (np.sqrt(second[i, c] / two) + TINY)
