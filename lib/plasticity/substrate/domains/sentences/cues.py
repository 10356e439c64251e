"""Which sentence is it? Words in their places point at the sentences that begin with them."""

from collections.abc import Sequence

import numpy as np

from plasticity.substrate import Brain
from plasticity.substrate.domains.sentences.corpus import PROMPT, Sentence


class Cues:
    """Sentence neurons, and the synapses that lead to them from the words of their prompts.

    One neuron stands for each word in each place of a prompt. A sentence that is met binds its own
    neuron to those of its prompt by one Hebbian step. A prompt then activates each sentence by the
    number of words they share, place by place; all `PROMPT` of them make a sentence fire.

    Parameters
    ----------
    brain : Brain
        Neurons and a relation are added to it.

    Examples
    --------
    >>> cues = Cues(Brain())
    >>> met = cues.meet([("a", "big", "dog", "ran"), ("a", "big", "cat", "ran")])
    >>> [cues.brain.name(i) for i in cues.recognise(("a", "big", "cat"))]
    ['sentence 1']
    """

    RELATION = "begins"

    def __init__(self, brain: Brain):
        self.brain = brain
        self.neurons = np.zeros(0, np.uint32)
        self._cues: dict[tuple[int, str], int] = {}
        # One step of full rate binds completely, and a second one changes nothing.
        brain.relation(self.RELATION, rule="hebbian", learning_rate=1.0, limit=1.0)

    def meet(self, sentences: Sequence[Sentence]) -> np.ndarray:
        """Grow a neuron for each sentence and bind it to its prompt; return them, uint32."""
        first = len(self.neurons)
        names = [f"sentence {first + i}" for i in range(len(sentences))]
        own = self.brain.neurons(names, threshold=PROMPT - 0.5)
        places = [item for s in sentences for item in enumerate(s[:PROMPT])]
        cues = self.brain.neurons([f"{place}:{word}" for place, word in places])
        self._cues.update(zip(places, cues.tolist(), strict=True))
        self.brain.learn(cues, np.repeat(own, PROMPT), self.RELATION)
        self.neurons = np.concatenate([self.neurons, own])
        return own

    def recognise(self, prompt: Sequence[str]) -> np.ndarray:
        """Return the sentence neurons that a whole prompt makes fire, uint32."""
        return self._spread(prompt).neurons

    def evidence(self, prompt: Sequence[str | None]) -> np.ndarray:
        """Return how strongly a prompt activates each sentence.

        Parameters
        ----------
        prompt : sequence of str or None
            Words in their places; None for a word that is not known.

        Returns
        -------
        ndarray of float32, shape (sentences,)
            In the order in which the sentences were met: words shared.
        """
        return self._spread(prompt).activation(self.neurons)

    def guess(self, prompt: Sequence[str | None]) -> int:
        """Return the place of the sentence that a prompt activates most; of equal ones, the first.

        -1 where none is activated.
        """
        evidence = self.evidence(prompt)
        best = int(np.argmax(evidence))
        return best if evidence[best] > 0 else -1

    def _spread(self, prompt: Sequence[str | None]):
        known = [self._cues[item] for item in enumerate(prompt) if item in self._cues]
        return self.brain.spread(known, relations=[self.RELATION])


def posterior(evidence: np.ndarray, sharpness: float) -> np.ndarray:
    """Return the probability of each sentence, given how strongly it was activated.

    Parameters
    ----------
    evidence : ndarray of float, shape (prompts, sentences)
    sharpness : float
        How much one more shared word counts: the odds grow by exp(sharpness).

    Returns
    -------
    ndarray of float64, shape (prompts, sentences)
        Rows sum to 1.

    Examples
    --------
    >>> posterior(np.array([[3.0, 3.0, 0.0]]), 20.0).round(3)
    array([[0.5, 0.5, 0. ]])
    """
    scores = sharpness * (evidence - evidence.max(axis=1, keepdims=True))
    odds = np.exp(np.asarray(scores, float))
    return odds / odds.sum(axis=1, keepdims=True)


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """Return the expected calibration error: mean distance of confidence from accuracy.

    Parameters
    ----------
    confidence : ndarray of float, shape (n,)
        Probability given to what was chosen, 0 to 1.
    right : ndarray of bool, shape (n,)
    bins : int
        Bins of equal width over 0 to 1, each weighted by what falls into it.

    Returns
    -------
    float
        0 to 1.

    Examples
    --------
    >>> calibration_error(np.array([0.5, 0.5]), np.array([True, False]))
    0.0
    """
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    counts = np.bincount(place, minlength=bins)
    gap = np.bincount(place, confidence, bins) - np.bincount(place, right.astype(float), bins)
    return float(np.abs(gap).sum() / counts.sum())
