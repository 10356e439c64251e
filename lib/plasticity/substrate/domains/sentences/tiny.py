"""A few sentences taught as facts, without any reward, and three ways to say them.

What is taught is what words are: a word is of a class, fills a slot, goes before others; a slot
expects a class; classes follow classes.
"""

from collections.abc import Sequence

import numpy as np

from plasticity.substrate import Brain
from plasticity.substrate.domains.sentences.corpus import SHAPE, Sentence

GENERATORS = ("slots", "context", "open")
CLASS, SLOT, CONTEXT = 8.0, 4.0, 0.4  # what class, slot and the word before add to a word
RECENCY = 0.6
FORGET = -2.0  # strength in working memory: words just said get a gain of exp(-2) for a while


class TinyModel:
    """A brain that was told a few sentences.

    Parameters
    ----------
    sentences : sequence of tuple of str
        Of `SHAPE`.
    seed : int

    Examples
    --------
    >>> from plasticity.substrate.domains.sentences.corpus import TWENTY
    >>> model = TinyModel(TWENTY[:1], seed=0)
    >>> " ".join(model.say(TWENTY[0][:3], "slots"))
    'cat sleeps under the old table'
    """

    def __init__(self, sentences: Sequence[Sentence], seed: int):
        self.brain = brain = Brain(seed=seed)
        for relation in ("is", "has", "expects", "filled", "before"):
            brain.relation(relation)
        brain.relation("follows", rule="count")
        brain.group("words", winners=1)
        brain.group("classes", winners=1)
        brain.neurons(sorted({word for s in sentences for word in s}), group="words")
        brain.neurons(list(dict.fromkeys(SHAPE)), group="classes")
        for sentence in sentences:
            self._teach(sentence)
        brain.consolidate()

    def _teach(self, words: Sentence) -> None:
        brain, shape = self.brain, list(SHAPE)
        slots = brain.neurons([f"slot {i}" for i in range(len(shape))])
        brain.connect(list(words), shape, 1.0, "is")
        brain.connect(shape, list(words), CLASS, "has")
        brain.connect(slots, shape, 1.0, "expects")
        brain.connect(slots, list(words), SLOT, "filled")
        brain.learn(shape[:-1], shape[1:], "follows")
        nearest: dict[tuple[str, str], int] = {}
        for distance in range(len(words) - 1, 0, -1):
            nearest |= dict.fromkeys(zip(words, words[distance:], strict=False), distance)
        first, later = zip(*nearest, strict=True)
        known = brain.weights(first, later, "before")  # nan where this sentence is the first
        taught = 1.0 / np.array(list(nearest.values()))
        brain.connect(first, later, np.fmax(known, taught), "before")

    def say(self, prompt: Sequence[str], generator: str, most: int = 6) -> list[str]:
        """Continue a prompt.

        Parameters
        ----------
        prompt : sequence of str
        generator : {'slots', 'context', 'open'}
            ``slots`` asks each next slot for a word of its class that fills it; ``context`` asks
            the same with the words said so far active too; ``open`` knows no slots: the class of
            the last word says which class follows, the words so far say which word, and working
            memory keeps it from repeating itself.
        most : int
            Words to say, at most.

        Raises
        ------
        ValueError
            For an unknown generator.
        """
        if generator not in GENERATORS:
            raise ValueError(f"generator is {generator!r}; allowed: {', '.join(GENERATORS)}")
        said = list(prompt)
        while len(said) < len(prompt) + most:
            if generator == "open":
                kind = self._strongest([self._strongest([said[-1]], "is")], "follows")
                sources = {kind: 1.0}
            elif (slot := f"slot {len(said)}") in self.brain:
                kind = self._strongest([slot], "expects")
                sources = {slot: 1.0, kind: 1.0}
            else:
                break
            if generator != "slots":
                sources |= _context(said)
            if generator == "open":
                self.brain.memory.hold(self.brain.indexes(said[-2:]), FORGET)
            said.append(self._strongest(sources, "has", "filled", "before"))
            self.brain.memory.clear()
        return said[len(prompt) :]

    def kind(self, word: str) -> str:
        """Return the class of a word."""
        return self._strongest([word], "is")

    def _strongest(self, sources, *relations: str) -> str:
        values = list(sources.values()) if isinstance(sources, dict) else 1.0
        fired = self.brain.spread(list(sources), np.asarray(values), relations=relations)
        return self.brain.name(fired.neurons[np.argmax(fired.values)])


def _context(said: Sequence[str]) -> dict[str, float]:
    """Return the words said, the last the strongest; a repeated word counts where it came last."""
    return {word: CONTEXT * RECENCY**age for age, word in reversed(list(enumerate(said[::-1])))}
