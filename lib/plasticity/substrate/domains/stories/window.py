"""The source's own recipe: every word pulls at what follows within a few places; mistakes teach.

A word's score after a place is the sum of the weights from the last four words to it, each word
counting 0.6 times as much as the one after it. Where the best score is not that of the word that
follows, the weights to this word grow and those to the mistaken one shrink; all changes of a pass
over the stories are made at its end. Variants weaken weights to words drawn at random, or let words
further back pull a little.
"""

import numba
import numpy as np

from plasticity.substrate import Brain
from plasticity.substrate.domains.stories.text import Stream

WINDOW, DECAY, RATE, CLIP = 4, 0.6, 0.05, 5.0
FAR, FAR_PULL = 16, 0.1  # words back, and how strongly they pull
NEGATIVE_PULL = 0.1
FIRST_DECAY, SECOND_DECAY, TINY = 0.9, 0.999, 1e-8  # Adam's
SPREAD_CYCLES, KEPT = 2, 0.5  # what a word keeps of its activation in each cycle
FEWEST_WEIGHT = 0.01  # weaker synapses are left out of the graph
KERNEL = {"cache": True, "nogil": True}


class WindowModel:
    """Weights between all pairs of words, learnt from mistakes.

    Parameters
    ----------
    words : int
        Size of the vocabulary; memory is 4 bytes for each pair.
    negatives : int
        Words drawn for each place, to which weights are weakened; without any, steps are Adam's, as
        in the source.
    far : bool
        Whether words up to 16 places back pull, too.
    stories : int
        Stories that have a neuron of their own, which pulls wherever in the story it is.

    Attributes
    ----------
    weights : ndarray of float32, shape (words + stories, words)
        From a word, and from a story, to what follows.
    cues : ndarray of float32, shape (words, stories)
        From a word to the stories in which it stood beside mistakes.

    Examples
    --------
    >>> stream = Stream.of([np.array([4, 5, 4, 5])])
    >>> model = WindowModel(6)
    >>> for _ in range(3):
    ...     places = model.learn(stream, np.random.default_rng(0))
    >>> int(model.scores(stream, [2])[0].argmax())
    5
    """

    def __init__(self, words: int, negatives: int = 0, far: bool = False, stories: int = 0):
        self.words, self.negatives, self.far, self.passes = words, negatives, far, 0
        self.weights = np.zeros((words + stories, words), np.float32)
        self.cues = np.zeros((words, stories), np.float32)
        self._adam = not negatives and not stories  # as in the source
        self._moments = [np.zeros_like(self.weights) for _ in range(2 * self._adam)]

    def learn(self, stream: Stream, random: np.random.Generator) -> int:
        """Go over the stories once and change the weights at the end; return how many places."""
        change = np.zeros_like(self.weights)
        places = int(stream.scored.sum())
        drawn = random.integers(0, self.words, (places, self.negatives))
        reach = FAR if self.far else WINDOW
        cues = np.zeros_like(self.cues)
        mistakes(change, cues, self.weights, stream.words, stream.places, drawn, reach)
        self.passes += 1
        self.cues = np.clip(self.cues + RATE * cues, -CLIP, CLIP)
        if not self._adam:
            self.weights += RATE * change
        else:
            first, second = self._moments
            first += (1 - FIRST_DECAY) * (change - first)
            second += (1 - SECOND_DECAY) * (change**2 - second)
            mean = first / (1 - FIRST_DECAY**self.passes)
            spread = second / (1 - SECOND_DECAY**self.passes)
            self.weights += RATE * mean / (np.sqrt(spread) + TINY)
        np.clip(self.weights, -CLIP, CLIP, out=self.weights)
        return places

    def scores(
        self, stream: Stream, places: np.ndarray, bound: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the score of every word at some places.

        Parameters
        ----------
        stream : Stream
        places : ndarray of int
        bound : ndarray of int, optional
            The story whose neuron pulls at each of the places.

        Returns
        -------
        ndarray of float32, shape (places, words)
        """
        found = self._summed(self.weights, stream, np.asarray(places))
        return found if bound is None else found + self.weights[self.words + bound]

    def guess(self, stream: Stream, places: np.ndarray) -> np.ndarray:
        """Return the story that the last four words before each of some places point to."""
        return self._summed(self.cues, stream, np.asarray(places)).argmax(axis=1)

    def _summed(self, rows: np.ndarray, stream: Stream, places: np.ndarray) -> np.ndarray:
        found = np.zeros((len(places), rows.shape[1]), np.float32)
        for back in range(1, WINDOW + 1):
            there = stream.places[places] >= back
            own = rows[stream.words[places[there] - back]]
            found[there] += np.float32(DECAY ** (back - 1)) * own
        return found

    def graph(self, fan: int) -> Brain:
        """Return a brain of the words and of the strongest synapses of each.

        Parameters
        ----------
        fan : int
            Synapses kept for each word.
        """
        brain = Brain()
        brain.grow(self.words)
        fan = min(fan, self.words)
        size = np.abs(self.weights[: self.words])
        targets = np.argpartition(-size, fan - 1, axis=1)[:, :fan]
        sources = np.repeat(np.arange(self.words), fan)
        targets = targets.ravel()
        kept = size[sources, targets] >= FEWEST_WEIGHT
        sources, targets = sources[kept], targets[kept]
        brain.relation("predicts")
        brain.connect(sources, targets, self.weights[sources, targets], "predicts")
        brain.consolidate()
        return brain


def spread_scores(brain: Brain, stream: Stream, places: np.ndarray) -> np.ndarray:
    """Return the activation that spreads to every word from the last four, at some places.

    As in the source it spreads for two cycles; in each a word keeps half of what it had, and what
    is not above 0 falls silent. Of a word that stands twice the farther place counts.

    Returns
    -------
    ndarray of float32, shape (places, words)
    """
    found = np.zeros((len(places), len(brain)), np.float32)
    for level, place in zip(found, places, strict=True):
        back = np.arange(1, 1 + min(WINDOW, int(stream.places[place])))
        level[stream.words[place - back]] = DECAY ** (back - 1)
        for _ in range(SPREAD_CYCLES):
            active = np.flatnonzero(level)
            emission = brain.spread(active, level[active])
            level *= KEPT
            level[emission.hit] += emission.activations
            np.maximum(level, 0, out=level)
    return found


@numba.njit(**KERNEL)
def mistakes(change, cues, weights, words, places, drawn, reach):
    """Add up what one pass over the stories changes.

    Parameters
    ----------
    change : ndarray of float32, shape (words + stories, words)
        Written.
    cues : ndarray of float32, shape (words, stories)
        Written.
    weights : ndarray of float32, shape (words + stories, words)
    words, places : ndarray of int32
        Of a `Stream`.
    drawn : ndarray of int64, shape (places, negatives)
        Words to weaken the weights to.
    reach : int
        Words back that pull after a mistake; those beyond the window weakly.
    """
    size, bound = weights.shape[1], cues.shape[1] > 0
    score = np.zeros(size, np.float32)
    story = size - 1
    strengths = np.empty(WINDOW, np.float32)
    for back in range(WINDOW):
        strengths[back] = DECAY**back
    asked = 0
    for place in range(len(words)):
        if places[place] == 0:
            story += 1
            continue
        near = min(places[place], WINDOW)
        if bound:
            score[:] = weights[story]
        else:
            score[:] = 0
        for back in range(near):
            strength, row = strengths[back], weights[words[place - 1 - back]]
            for word in range(len(score)):
                score[word] += strength * row[word]
        guess, target = score.argmax(), words[place]
        blank = score[guess] <= 0
        if blank or guess != target:
            for back in range(near):
                context = words[place - 1 - back]
                change[context, target] += strengths[back]
                if not blank:
                    change[context, guess] -= strengths[back]
                if bound:
                    cues[context, story - size] += strengths[back]
            if bound:
                change[story, target] += np.float32(1)
                if not blank:
                    change[story, guess] -= np.float32(1)
            for back in range(near, min(places[place], reach)):
                change[words[place - 1 - back], target] += np.float32(FAR_PULL)
        for negative in drawn[asked]:
            if negative != target:
                for back in range(near):
                    pull = np.float32(NEGATIVE_PULL) * strengths[back]
                    change[words[place - 1 - back], negative] -= pull
        asked += 1
