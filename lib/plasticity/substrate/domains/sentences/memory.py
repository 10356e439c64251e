"""Many real sentences: recognised by their first words, said again, or continued freely.

No part of speech is given, not even to choose among. A neuron stands for each pair of neighbouring
words; pairs follow pairs as often as they did in the sentences met. A sentence that is recognised
brings its own pairs to mind, the first ones most (a primacy gradient: Page and Norris, 1998); what
is in mind wins, and leaves it once it is said.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from plasticity.substrate import Brain
from plasticity.substrate.domains.sentences.corpus import END, PROMPT, Sentence
from plasticity.substrate.domains.sentences.cues import Cues

BACKOFF = 0.1
"""What the last word alone suggests counts this much of what the last pair suggests."""
IN_MIND, FADING = 10.0, 0.8
"""Strength in working memory of the next pair of a recognised sentence, and its decay by place."""
PRIMACY = 0.9
"""Weight from a sentence to a pair compared with the pair before it."""
LONGEST = 30


class SentenceMemory:
    """A brain that has met sentences.

    Parameters
    ----------
    sentences : sequence of tuple of str
        Words that END ends, at least five with it.
    seed : int

    Examples
    --------
    >>> met = [("a", "dog", "ran", "home", "."), ("a", "cat", "ran", "up", ".")]
    >>> SentenceMemory(met, seed=0).say(("a", "cat", "ran"))
    ['up', '.']
    """

    def __init__(self, sentences: Sequence[Sentence], seed: int):
        self.brain = brain = Brain(seed=seed)
        brain.memory.capacity, brain.memory.decay = max(map(len, sentences)), FADING
        brain.relation("follows", rule="count")
        brain.relation("holds", rule="hebbian", learning_rate=1.0, limit=1.0)
        brain.group("pairs", winners=1)
        self.cues = Cues(brain)
        self._meet(sentences)

    def _meet(self, sentences: Sequence[Sentence]) -> None:
        brain = self.brain
        own = self.cues.meet(sentences)
        chains = [list(itertools.pairwise(s)) for s in sentences]
        after = [pair for chain in chains for pair in chain[1:]]
        words = brain.neurons([first for first, _ in after])
        befores = [_name(pair) for chain in chains for pair in chain[:-1]]
        brain.neurons(befores, group="pairs")
        pairs = brain.neurons([_name(pair) for pair in after], group="pairs")
        brain.learn(brain.indexes(befores), pairs, "follows")
        brain.learn(words, pairs, "follows")
        rests = [chain[PROMPT - 1 :] for chain in chains]
        held = brain.indexes([_name(pair) for rest in rests for pair in rest])
        strengths = PRIMACY ** np.concatenate([np.arange(len(rest)) for rest in rests])
        brain.learn(np.repeat(own, [len(rest) for rest in rests]), held, "holds", strengths)
        brain.consolidate()

    def knows(self, prompt: Sequence[str]) -> bool:
        """Return whether the last word of a prompt has ever been followed by another."""
        return prompt[-1] in self.brain

    def say(
        self,
        prompt: Sequence[str],
        generator: np.random.Generator | None = None,
        recall: bool = True,
    ) -> list[str]:
        """Continue a prompt until a sentence ends.

        Parameters
        ----------
        prompt : sequence of str
            Three words or more that the brain `knows`.
        generator : numpy.random.Generator, optional
            Draws each word in proportion to its activation; the strongest is said where absent.
        recall : bool
            Whether a sentence that begins with the prompt comes to mind; of several, the first.

        Returns
        -------
        list of str
            Without the prompt; ends with `END` unless it was cut at `LONGEST` words.
        """
        in_mind = self._recall(prompt) if recall else []
        said = list(prompt)
        while said[-1] != END and len(said) < LONGEST:
            pair = self._next(said, in_mind, generator)
            in_mind = [other for other in in_mind if other != pair]
            said.append(self.brain.name(pair).split()[1])
        return said[len(prompt) :]

    def _recall(self, prompt: Sequence[str]) -> list[int]:
        """Return the pairs of the sentence that a prompt belongs to, the last ones first."""
        sentences = self.cues.recognise(prompt[:PROMPT])
        if not len(sentences):
            return []
        found = self.brain.spread(sentences[:1], relations=["holds"])
        return found.hit[np.argsort(found.activations, kind="stable")].tolist()

    def _next(
        self, said: list[str], in_mind: list[int], generator: np.random.Generator | None
    ) -> int:
        """Return the pair that follows what was said."""
        sources, values = [said[-1]], [BACKOFF]
        if _name(said[-2:]) in self.brain:
            sources, values = [_name(said[-2:]), *sources], [1.0, *values]
        self.brain.memory.hold(in_mind, IN_MIND)  # each in front of those before
        fired = self.brain.spread(sources, values, relations=["follows"])
        self.brain.memory.clear()
        if generator is None:
            return int(fired.neurons[0])
        shares = fired.activations.astype(float)
        return int(generator.choice(fired.hit, p=shares / shares.sum()))


def _name(pair: Sequence[str]) -> str:
    return " ".join(pair)
