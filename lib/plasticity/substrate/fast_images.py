"""Many pictures at once: what `ImageRecogniser` and `FilterLearner` do one by one, in bulk.

The graph stays the truth: filters and votes are read from it and written back, and
`verify_recogniser` spreads pictures through it to see that both say the same. Scores of whole votes
are sums of whole numbers, the same in any order, so that they agree exactly. While one thread
learns a chunk of pictures, the others draw the next one.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numba
import numpy as np

from plasticity.substrate.blocked import workers
from plasticity.substrate.domains.images.encoder import STILL, Jitter, draw
from plasticity.substrate.domains.images.filters import FilterLearner, slowing
from plasticity.substrate.domains.images.recogniser import MOST_CONTEXTS, ImageRecogniser
from plasticity.substrate.domains.images.voting import check_labels
from plasticity.substrate.kernels import KERNEL

CHUNK = 2048  # pictures that are drawn while as many are learnt
PART = 256  # of them, drawn by one call
LANES = 16  # float32 numbers of a cache line: rows of votes are padded to it


class Active(NamedTuple):
    """The contexts that pictures make emit: a row for each, uint16, and how many are in it."""

    contexts: np.ndarray
    counts: np.ndarray

    def part(self, chosen: slice) -> "Active":
        """Return some of the rows, as views."""
        return Active(self.contexts[chosen], self.counts[chosen])


class FastRecogniser:
    """The votes of a graph of pictures as a table.

    Parameters
    ----------
    graph : ImageRecogniser
        Its filters are used, and its votes are the first ones.
    threads : int
        1 or more; results do not depend on it.

    Attributes
    ----------
    votes : ndarray of float32, shape (contexts, classes padded to 16)

    Examples
    --------
    >>> from plasticity.substrate.domains.images.encoder import ImageEncoder
    >>> from plasticity.substrate.domains.images.filters import Bank
    >>> from plasticity.substrate.domains.images.voting import whole_votes
    >>> bars = np.zeros((2, 8, 8))
    >>> bars[0, 3:5], bars[1, :, 3:5] = 1, 1
    >>> edge = np.array([[[-1, -1], [1, 1]], [[-1, 1], [-1, 1]]], np.float32)
    >>> eye = ImageEncoder(side=8, upright=False)
    >>> graph = ImageRecogniser(["flat", "upright"], [edge], [Bank(2, 2, 2)], eye)
    >>> fast = FastRecogniser(graph)
    >>> losses = fast.fit(eye.grids(bars), np.array([0, 1]), epochs=5)
    >>> fast.write_back(whole_votes(fast.votes))
    >>> verify_recogniser(graph, eye.grids(bars))
    2
    """

    def __init__(self, graph: ImageRecogniser, threads: int = 1):
        if threads < 1:
            raise ValueError(f"threads is {threads}; allowed: 1 or more")
        self.graph, self.threads = graph, threads
        classes = len(graph.classes)
        self.votes = np.zeros((len(graph.contexts), -(-classes // LANES) * LANES), np.float32)
        self.votes[:, :classes] = graph.votes()
        pairs = [member.shape[1] ** 2 * len(member) ** 2 for member in graph.members]
        self._most = sum(map(min, pairs, [bank.contexts for bank in graph.banks]))

    def fit(
        self,
        grids: np.ndarray,
        labels: np.ndarray,
        epochs: int = 8,
        learning_rate: float = 3.0,
        jitter: Jitter = STILL,
        seed: int = 0,
    ) -> np.ndarray:
        """Learn the votes by the delta rule of a softmax, picture after picture.

        Parameters
        ----------
        grids : ndarray of uint8, shape (images, side, side)
            As `ImageEncoder.grids` gives them.
        labels : ndarray of int, shape (images,)
            0 to classes - 1.
        epochs : int
            Times that each picture is learnt, 1 or more.
        learning_rate : float
            Share of an error that a picture of average contexts takes back at first; it falls to 0.
        jitter : Jitter
            How far each picture is moved, anew in every epoch.
        seed : int
            Of the order and of the moves.

        Returns
        -------
        ndarray of float32, shape (epochs,)
            Mean loss in nats, of each picture before it was learnt.

        Raises
        ------
        ValueError
            Without pictures or epochs, or where labels are out of range or not one for each.
        """
        labels = np.asarray(labels)
        check_labels(labels, len(self.graph.classes))
        if len(labels) != len(grids) or not len(grids):
            raise ValueError(
                f"there are {len(labels)} labels and {len(grids)} images; allowed: one for each"
            )
        if epochs < 1:
            raise ValueError(f"epochs is {epochs}; allowed: 1 or more")
        random, total = np.random.default_rng(seed), epochs * len(grids)
        usual = max(1.0, self.active(grids[:CHUNK]).counts.mean())
        rates = (learning_rate / usual * (1 - np.arange(total) / total)).astype(np.float32)
        order = np.concatenate([random.permutation(len(grids)) for _ in range(epochs)])
        labels, losses = labels[order].astype(np.int64), np.zeros(total, np.float32)
        known = grids, self.graph.encoder.frames(grids), jitter
        classes = len(self.graph.classes)

        def learn(part: slice, active: Active) -> None:
            taught = labels[part], rates[part], losses[part]
            _learn(*active, self.votes, classes, *taught)

        moves = random.integers(0, 2**63, epochs)
        parts = list(_slices(total, CHUNK, len(grids)))
        seen = [(order[part], int(moves[part.start // len(grids)])) for part in parts]
        self._run(known, seen, [partial(learn, part) for part in parts])
        return losses.reshape(epochs, -1).mean(axis=1)

    def active(self, grids: np.ndarray) -> Active:
        """Return the contexts that grids make emit, in the order in which they are met.

        Parameters
        ----------
        grids : ndarray of uint8, shape (images, side, side)
            Not upright yet.
        """
        found = self._room(len(grids))
        known = grids, self.graph.encoder.frames(grids), STILL
        with workers(self.threads) as run:
            run(_call, self._jobs(known, np.arange(len(grids)), 0, found))
        return found

    def scores(self, grids: np.ndarray, votes: np.ndarray | None = None) -> np.ndarray:
        """Return the scores of every class.

        Parameters
        ----------
        grids : ndarray of uint8, shape (images, side, side)
        votes : ndarray of float32 or int8, shape (contexts, classes or more), optional
            Other votes than those of the table.

        Returns
        -------
        ndarray of float32, or int32 for whole votes, shape (images, classes)
        """
        votes = self.votes if votes is None else votes
        kind = np.int32 if votes.dtype.kind == "i" else np.float32
        scores = np.zeros((len(grids), len(self.graph.classes)), kind)
        parts = list(_slices(len(grids), CHUNK, max(1, len(grids))))
        known = grids, self.graph.encoder.frames(grids), STILL
        jobs = [lambda active, part=part: score(*active, votes, scores[part]) for part in parts]
        self._run(known, [(np.arange(part.start, part.stop), 0) for part in parts], jobs)
        return scores

    def write_back(self, votes: np.ndarray | None = None) -> None:
        """Set the votes of the graph to those of the table, or to others."""
        votes = self.votes if votes is None else votes
        self.graph.set_votes(votes[:, : len(self.graph.classes)])

    def _run(self, known: tuple, seen: list[tuple], then: list[Callable]) -> None:
        """Draw chunk after chunk, and do with each what is to be done while the next is drawn."""
        room, spare = self._room(CHUNK), self._room(CHUNK)
        with workers(self.threads) as run:
            for at in range(len(seen) + 1):
                jobs = []
                if at:
                    jobs.append(partial(then[at - 1], spare.part(slice(len(seen[at - 1][0])))))
                if at < len(seen):
                    jobs += self._jobs(known, *seen[at], room)
                run(_call, jobs)
                room, spare = spare, room

    def _jobs(self, known: tuple, chosen: np.ndarray, seed: int, room: Active) -> list[Callable]:
        parts = _slices(len(chosen), PART, max(1, len(chosen)))
        return [partial(self._draw, known, chosen[part], seed, room.part(part)) for part in parts]

    def _draw(self, known: tuple, chosen: np.ndarray, seed: int, room: Active) -> None:
        """Draw some pictures and write their contexts."""
        grids, frames, jitter = known
        drawn, first = draw(grids, frames, chosen, jitter, seed), 0
        room.counts[:] = 0
        for bank, filters, members in zip(
            self.graph.banks, self.graph.filters, self.graph.members, strict=True
        ):
            _find(drawn, filters, members, first, bank.blocks, *room)
            first += bank.contexts

    def _room(self, images: int) -> Active:
        return Active(np.empty((images, self._most), np.uint16), np.empty(images, np.int64))


def learn_filters(learner: FilterLearner, patches: np.ndarray) -> None:
    """Do what `FilterLearner.learn` does, to the last bit, and write the weights back.

    Parameters
    ----------
    learner : FilterLearner
    patches : ndarray of float, shape (patches, pixels)

    Examples
    --------
    >>> from plasticity.substrate.domains.images.filters import Bank
    >>> slow, fast = FilterLearner(Bank(2, 2, 1)), FilterLearner(Bank(2, 2, 1))
    >>> patches = np.random.default_rng(0).normal(size=(50, 4))
    >>> slow.learn(patches), learn_filters(fast, patches)
    (None, None)
    >>> bool((slow.weights() == fast.weights()).all())
    True
    """
    weights = learner.weights()
    rate = learner.brain.relation("sees").learning_rate
    rates = (rate * slowing(len(patches)).astype(float)).astype(np.float32)
    _sanger(np.ascontiguousarray(patches, np.float32), rates, weights)
    learner.set_weights(weights)


def verify_recogniser(graph: ImageRecogniser, grids: np.ndarray) -> int:
    """Count the pictures of which `spread` and the fast path say exactly the same.

    Parameters
    ----------
    graph : ImageRecogniser
        Of whole votes.
    grids : ndarray of uint8, shape (images, side, side)
        As `ImageEncoder.grids` gives them.

    Returns
    -------
    int
        Pictures whose contexts are the same ones and whose scores are all equal.
    """
    fast = FastRecogniser(graph)
    votes = np.ascontiguousarray(fast.votes.astype(np.int8))
    if (votes != fast.votes).any():
        raise ValueError("votes are not whole; allowed: whole numbers of one byte, see whole_votes")
    drawn = draw(grids, graph.encoder.frames(grids), np.arange(len(grids)))
    found, scores, same = fast.active(grids), fast.scores(grids, votes), 0
    for grid, contexts, count, own in zip(drawn, *found, scores, strict=True):
        active = graph.active_in(grid)
        spread = graph.scores(graph.vote(active))
        same += np.array_equal(active, np.sort(contexts[:count])) and np.array_equal(spread, own)
    return same


def _slices(total: int, size: int, whole: int) -> Iterator[slice]:
    """Yield slices of at most a size that end where a whole ends."""
    for start in range(0, total, whole):
        for first in range(start, min(start + whole, total), size):
            yield slice(first, min(first + size, start + whole, total))


def _call(job: Callable) -> None:
    job()


@numba.njit(**KERNEL)
def _respond(plane, side, kernel, sums):
    """Write what a filter answers at each place of a plane; places run on from row to row."""
    size = len(kernel)
    places = (side - size) * (side + 1) + 1
    for place in range(places):
        sums[place] = 0
    for i in range(size):
        for j in range(size):
            weight = kernel[i, j]
            shifted = plane[i * side + j :]
            for place in range(places):
                sums[place] += weight * shifted[place]


@numba.njit(**KERNEL)
def _find(grids, filters, members, first, blocks, contexts, counts):
    """Append the contexts of one bank that each grid makes emit.

    Parameters
    ----------
    grids : ndarray of uint8, shape (images, side, side)
    filters : ndarray of float32, shape (filters, size, size)
        Whole numbers.
    members : ndarray of int64, shape (places, most)
        Blocks that each place on an axis belongs to.
    first, blocks : int
        First context of the bank, and rows of blocks.
    contexts : ndarray of uint16, shape (images, most)
        Written from `counts` on, in the order in which they are met.
    counts : ndarray of int64, shape (images,)
        Raised.
    """
    side, number, size = grids.shape[1], len(filters), filters.shape[1]
    plane, sums = np.zeros(side * side, np.float32), np.zeros(side * side, np.float32)
    codes, met = np.zeros(side * side, np.uint8), np.zeros(MOST_CONTEXTS, np.bool_)
    places = side - size + 1
    for k in range(len(grids)):
        for i in range(side):
            for j in range(side):
                plane[i * side + j] = grids[k, i, j]
        codes[:] = 0
        for f in range(number):
            _respond(plane, side, filters[f], sums)
            bit = np.uint8(1 << f)
            for place in range(len(codes)):
                codes[place] |= bit * np.uint8(sums[place] > 0)
        start = counts[k]
        count = start
        for i in range(places):
            for j in range(places):
                code = codes[i * side + j]
                if code == 0:
                    continue
                for row in members[i]:
                    for column in members[j]:
                        if row < 0 or column < 0:
                            continue
                        context = first + (((row * blocks + column) << number) | code)
                        if not met[context]:
                            met[context] = True
                            contexts[k, count] = context
                            count += 1
        for place in range(start, count):
            met[contexts[k, place]] = False
        counts[k] = count


@numba.njit(**KERNEL)
def score(contexts, counts, votes, scores):
    """Add up the votes of the contexts of each picture."""
    for k in range(len(counts)):
        for place in range(counts[k]):
            row = votes[contexts[k, place]]
            for c in range(scores.shape[1]):
                scores[k, c] += row[c]


@numba.njit(**KERNEL)
def _learn(contexts, counts, votes, classes, labels, rates, losses):
    """Change the votes of each picture's contexts by the softmax error: w += rate * error.

    Parameters
    ----------
    contexts, counts : ndarray
        Of `Active`.
    votes : ndarray of float32, shape (contexts, width)
        Changed; columns beyond the classes stay 0.
    classes : int
    labels : ndarray of int64, shape (images,)
    rates : ndarray of float32, shape (images,)
    losses : ndarray of float32, shape (images,)
        Written.
    """
    width = votes.shape[1]
    scores, step = np.zeros(width, np.float32), np.zeros(width, np.float32)
    for k in range(len(counts)):
        scores[:] = 0
        for place in range(counts[k]):
            context = contexts[k, place]
            for c in range(width):
                scores[c] += votes[context, c]
        highest, total = scores[:classes].max(), np.float32(0)
        for c in range(classes):
            step[c] = np.exp(scores[c] - highest)
            total += step[c]
        losses[k] = np.log(total) + highest - scores[labels[k]]
        for c in range(classes):
            step[c] = rates[k] * (np.float32(c == labels[k]) - step[c] / total)
        for place in range(counts[k]):
            context = contexts[k, place]
            for c in range(width):
                votes[context, c] += step[c]


@numba.njit(**KERNEL)
def _sanger(patches, rates, weights):
    """Change filters by Sanger's rule, patch after patch, in the order of the graph's kernels."""
    pixels, filters = weights.shape
    responses = np.zeros(filters, np.float32)
    for k in range(len(patches)):
        responses[:] = 0
        for i in range(pixels):
            for f in range(filters):
                responses[f] += weights[i, f] * patches[k, i]
        for i in range(pixels):
            told = np.float32(0)
            for f in range(filters):
                told += responses[f] * weights[i, f]
                weights[i, f] += rates[k] * responses[f] * (patches[k, i] - told)
