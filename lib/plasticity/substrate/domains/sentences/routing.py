"""Which word comes next? Routes from a context to words, grown and weighted by reward alone.

Taught are only the words' classes and the shape of the sentence, which forces the class of each
next word. Everything else has to come from trying words and being told right or wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from plasticity.substrate import Brain
from plasticity.substrate.domains.sentences.corpus import PROMPT, SHAPE, Sentence, classes
from plasticity.substrate.domains.sentences.cues import Cues

GATE = 16.0
"""What its class adds to a word: far more than all routes together, so only that class can pass."""
RECENCY = 0.6
"""Strength of a word of the context compared with the word after it; the source's value."""
TIE = 1e-3
"""Largest resting level, drawn at random: which word is tried first where nothing is known."""
BINDINGS = ("none", "shared", "coincidence")
CARRIERS = ("contains", "routes")  # the relations along which words are activated


@dataclass(frozen=True)
class Step:
    """One word that was said.

    Attributes
    ----------
    word : int
        Its neuron.
    sources : ndarray of uint32, shape (context,)
        Neurons of the context it was said in.
    strengths : ndarray of float32, shape (context,)
        How active they were.
    heard : bool
        Whether the word's neuron was among those that fired: only then can it learn.
    """

    word: int
    sources: np.ndarray
    strengths: np.ndarray
    heard: bool


class Router:
    """A brain that continues sentences of one shape, class by class.

    The context of a word is the last three words, each weaker than the one after it; a neuron for
    the place; and, with ``shared`` binding, one for the sentence. With ``coincidence`` binding it
    is one neuron that fires only where this sentence and this place meet.

    Parameters
    ----------
    sentences : sequence of tuple of str
        Of `SHAPE`; each word in one class only.
    seed : int
        Of resting levels; the brain's too.
    binding : {'none', 'shared', 'coincidence'}
    learning_rate : float
        Of the routes, above 0.
    sparsity : int
        Words of a class that may fire at once; 0 for all.

    Raises
    ------
    ValueError
        For an unknown binding.

    Examples
    --------
    >>> from plasticity.substrate.domains.sentences.corpus import TWENTY
    >>> router = Router(TWENTY, seed=0)
    >>> steps = router.say(TWENTY[0][:3], sentence=0)
    >>> len(steps), router.brain.name(steps[0].word) in classes(TWENTY)["NOUN"]
    (6, True)
    """

    def __init__(
        self,
        sentences: Sequence[Sentence],
        seed: int,
        binding: str = "none",
        learning_rate: float = 0.4,
        sparsity: int = 0,
    ):
        if binding not in BINDINGS:
            raise ValueError(f"binding is {binding!r}; allowed: {', '.join(BINDINGS)}")
        self.sentences, self.binding = list(sentences), binding
        self.brain = brain = Brain(seed=seed)
        brain.relation("contains")
        brain.relation("routes", rule="delta", learning_rate=learning_rate, limit=1.0)
        self.kinds, self.members = {}, {}
        generator = np.random.default_rng(seed)
        for kind, words in classes(self.sentences).items():
            brain.group(kind, winners=sparsity)
            members = brain.neurons(words, group=kind, threshold=GATE / 2)
            brain.set(members, bias=generator.uniform(0, TIE, len(members)))
            self.kinds[kind], self.members[kind] = brain.neuron(kind), members
            brain.connect(self.kinds[kind], members, GATE, "contains")
        self.places = brain.neurons([f"place {i}" for i in range(PROMPT, len(SHAPE))])
        self.cues = Cues(brain) if binding != "none" else None
        if self.cues:
            self.cues.meet(self.sentences)
        if binding == "coincidence":
            brain.relation("meets")
            self._grow_coincidences()

    def _grow_coincidences(self) -> None:
        """Grow a neuron for each sentence in each place, which fires only if both are active."""
        brain, own = self.brain, self.cues.neurons
        for place in self.places:
            names = [f"{brain.name(sentence)} at {brain.name(place)}" for sentence in own]
            grown = brain.neurons(names, threshold=1.5)
            brain.connect(own, grown, 1.0, "meets")
            brain.connect(place, grown, 1.0, "meets")

    def say(
        self,
        prompt: Sequence[str],
        sentence: int | None = None,
        explore: float = 0.0,
        generator: np.random.Generator | None = None,
    ) -> list[Step]:
        """Continue a prompt to the end of the shape.

        Parameters
        ----------
        prompt : sequence of str
            The first three words.
        sentence : int, optional
            Place of the sentence that it is taken for; not used without binding.
        explore : float
            Probability of a random word of the class instead of the strongest.
        generator : numpy.random.Generator, optional
            Needed to explore.

        Returns
        -------
        list of Step
        """
        said = [int(i) for i in self.brain.indexes(list(prompt))]
        steps = []
        for place, kind in enumerate(SHAPE[PROMPT:]):
            sources, strengths = self._context(said, place, sentence)
            word, heard = self._choose(kind, sources, strengths, explore, generator)
            steps.append(Step(word, sources, strengths, heard))
            said.append(word)
        return steps

    def words(self, steps: Sequence[Step]) -> list[str]:
        """Return what was said."""
        return [self.brain.name(step.word) for step in steps]

    def explain(self, said: Sequence[str], sentence: int | None = None) -> pd.DataFrame:
        """Return what makes the next word the strongest of its class.

        Parameters
        ----------
        said : sequence of str
            Three words or more, fewer than the shape.
        sentence : int, optional
            As for `say`.

        Returns
        -------
        DataFrame
            Paths to the word with their contributions, which add up to its activation.
        """
        place = len(said) - PROMPT
        known = [int(i) for i in self.brain.indexes(list(said))]
        active, values = self._active(SHAPE[len(said)], *self._context(known, place, sentence))
        fired = self.brain.spread(active, values, relations=CARRIERS, trace=True)
        return self.brain.explain(int(fired.neurons[np.argmax(fired.values)]), k=0).table()

    def guess(self, prompt: Sequence[str]) -> int | None:
        """Return the sentence that a prompt is taken for, None without binding."""
        return self.cues.guess(prompt) if self.cues else None

    def _context(self, said: list[int], place: int, sentence: int | None):
        """Return the neurons of the context and how active they are."""
        at = int(self.places[place])
        if self.binding == "coincidence" and sentence is not None:
            own = int(self.cues.neurons[sentence])
            met = self.brain.spread([own, at], relations=["meets"]).neurons
            return met, np.ones(len(met), np.float32)
        sources = [*said[-3:], at]
        strengths = [RECENCY**2, RECENCY, 1.0, 1.0]
        if self.binding == "shared" and sentence is not None:
            sources.append(int(self.cues.neurons[sentence]))
            strengths.append(1.0)
        return np.array(sources, np.uint32), np.array(strengths, np.float32)

    def _choose(self, kind, sources, strengths, explore, generator) -> tuple[int, bool]:
        """Return a word of a class, and whether its neuron fired."""
        active, values = self._active(kind, sources, strengths)
        fired = self.brain.spread(active, values, relations=CARRIERS)
        if explore and generator.random() < explore:
            word = int(generator.choice(self.members[kind]))
            return word, bool(np.isin(word, fired.neurons))
        return int(fired.neurons[np.argmax(fired.values)]), True

    def _active(self, kind: str, sources, strengths) -> tuple[np.ndarray, np.ndarray]:
        """Return what is active when a word of a class is due: the context, and the class."""
        return np.append(sources, np.uint32(self.kinds[kind])), np.append(strengths, np.float32(1))

    def learn(self, steps: Sequence[Step], credits: Sequence[float], rate: float = 1.0) -> None:
        """Correct the routes behind words by what they earned beyond what was expected.

        The expected credit of a word is what its context's routes add to its activation.

        Parameters
        ----------
        steps : sequence of Step
        credits : sequence of float
            One for each step; 0 teaches nothing.
        rate : float
            The brain's modulator meanwhile.
        """
        pairs = zip(steps, credits, strict=True)
        taught = [(step, credit) for step, credit in pairs if credit and step.heard]
        if not taught:
            return
        sizes = [len(step.sources) for step, _ in taught]
        sources = np.concatenate([step.sources for step, _ in taught])
        strengths = np.concatenate([step.strengths for step, _ in taught])
        targets = np.repeat([step.word for step, _ in taught], sizes)
        known = strengths * np.nan_to_num(self.brain.weights(sources, targets, "routes"))
        expected = np.add.reduceat(known, np.cumsum([0, *sizes[:-1]]))
        errors = np.repeat([credit for _, credit in taught] - expected, sizes)
        self.brain.modulator = rate
        self.brain.learn(sources, targets, "routes", strengths, errors)
        self.brain.modulator = 1.0
