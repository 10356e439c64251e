"""The story model as a `Brain`: the same counts and weights, and nothing but `spread`.

Everything that the compiled path does is done here neuron by neuron, slowly; a test compares the
two. A context neuron leads to the words that followed it and to its next shorter context; that of
no words leads to every word. Voices, one for each word and chain, lead to the words.
"""

import numpy as np

from plasticity.substrate import Brain
from plasticity.substrate.domains.stories import kernels
from plasticity.substrate.domains.stories.circuit import NEVER
from plasticity.substrate.domains.stories.model import StoryModel
from plasticity.substrate.domains.stories.states import states_of
from plasticity.substrate.domains.stories.text import Stream


class StoryBrain:
    """The neurons and synapses of a story model.

    Parameters
    ----------
    model : StoryModel

    Attributes
    ----------
    brain : Brain
        Words first, then the neuron of no context, the contexts, the voices and the states.
    """

    def __init__(self, model: StoryModel):
        self.model, self.brain = model, Brain()
        for name in ("follows", "backs off", "says"):
            self.brain.relation(name)
        self.size = len(model.vocabulary)
        columns = model.circuit.columns
        self.words = self.brain.neurons(list(model.vocabulary.words), threshold=np.inf)
        self.alone = self.brain.neuron("(no context)")
        self.contexts = self.brain.grow(len(columns.totals))
        chains = len(model.parts.chains)
        self.voices = self.brain.grow((1 + chains) * self.size).reshape(-1, self.size)
        self.states = self.brain.grow(len(model.weights.states))
        self._count(columns)
        self._connect_voices()
        self.brain.consolidate()

    def _count(self, columns) -> None:
        """Grow the synapses that counts give weights to, and those of back-off."""
        base, last = columns.base, columns.discounts[-1]
        taken = last[np.minimum(base, 3)]
        even = taken.sum() / base.sum() / (self.size - len(NEVER))
        self.shares = (base - taken) / base.sum() + even
        self.shares[list(NEVER)] = 0
        self.brain.connect(self.alone, self.words, self.shares, "follows")
        levels = self.model.circuit.level_of_contexts
        discounts = columns.discounts[levels]
        totals = columns.totals[:, 0]
        own = (
            columns.firsts
            - np.take_along_axis(
                discounts[columns.sources], np.minimum(columns.firsts, 3)[:, None], axis=1
            ).ravel()
        )
        weights = own / totals[columns.sources]
        sources, targets = self.contexts[columns.sources], self.words[columns.targets]
        self.brain.connect(sources, targets, weights, "follows")
        gains = (discounts[:, 1:] * columns.totals[:, 1:]).sum(axis=1) / totals
        shorter = self.model.circuit.shorter
        lower = np.where(shorter >= 0, self.contexts[shorter], self.alone)
        self.brain.connect(self.contexts, lower, gains, "backs off")

    def _connect_voices(self) -> None:
        for voices in self.voices:
            self.brain.connect(voices, self.words, 1.0, "says")
        states, words = np.nonzero(self.model.weights.states)
        weights = self.model.weights.states[states, words]
        self.brain.connect(self.states[states], self.words[words], weights, "says")

    def hear(self, context: int) -> tuple[np.ndarray, float]:
        """Let activation spread from a context until it has come to the words alone.

        Parameters
        ----------
        context : int
            A context neuron of the circuit; -1 for none.

        Returns
        -------
        heard : ndarray of float64, shape (words,)
            The activation that reached each word, of all cycles.
        left : float
            What reached the neuron of no context.
        """
        heard, left = np.zeros(self.size), 1.0
        source = self.alone if context < 0 else int(self.contexts[context])
        emission = self.brain.spread(
            source, cycles=self._steps(context), relations=["follows", "backs off"]
        )
        for cycle in emission.cycles:
            words = cycle.hit < self.size
            heard[cycle.hit[words]] += cycle.activations[words]
            if self.alone in cycle.hit:
                left = float(cycle.activations[cycle.hit == self.alone][0])
        return heard, left

    def _steps(self, context: int) -> int:
        steps = 1
        while context >= 0:
            context, steps = int(self.model.circuit.shorter[context]), steps + 1
        return steps

    def probabilities(self, stream: Stream, place: int) -> np.ndarray:
        """Return the probability of every word at one place of a stream.

        Returns
        -------
        ndarray of float64, shape (words,)
        """
        model, weights = self.model, self.model.weights
        found = model.circuit.find(stream)[:, place]
        with np.errstate(divide="ignore"):
            logs = np.where(self.shares > 0, np.log(self.shares), kernels.IMPOSSIBLE)
        said = [weights.base[0] * logs]
        lengths = []
        for first, stop in zip(model.circuit.ends, model.circuit.ends[1:], strict=False):
            known = np.flatnonzero(found[first:stop] >= 0)
            context = int(found[first + known[-1]]) if len(known) else -1
            heard, left = self.hear(context)
            with np.errstate(divide="ignore", invalid="ignore"):
                lift = np.where(heard > 0, np.log(heard / (left * self.shares)), 0.0)
            said.append(lift)
            size = 0 if context < 0 else int(model.circuit.columns.totals[context, 0])
            size = min(size.bit_length(), kernels.SIZES - 1)
            lengths.append((len(known), size))
        selected = lengths[0][0] * kernels.SIZES + lengths[0][1]
        for chain, (length, size) in enumerate(lengths):
            said[1 + chain] *= (
                weights.chains[selected, chain] + weights.lengths[chain, length, size]
            )
        active = states_of(stream, model.vocabulary, model.parts.states)[place]
        sources = np.concatenate([self.voices.ravel(), self.states[active[active >= 0]]])
        values = np.concatenate([np.concatenate(said), np.ones(np.count_nonzero(active >= 0))])
        goal = self._memory(stream, place, logs) if model.parts.memory else {}
        emission = self.brain.spread(sources, values, goal=goal, relations=["says"])
        score = np.zeros(self.size)
        score[emission.hit[emission.hit < self.size]] = emission.activations[
            emission.hit < self.size
        ]
        share = np.exp(score - score.max())
        return share / share.sum()

    def _memory(self, stream: Stream, place: int, logs: np.ndarray) -> dict[int, float]:
        """Return what working memory adds to the words that it holds."""
        weights, gains = self.model.weights, {}
        start = place - int(stream.places[place])
        story = stream.words[start:place].tolist()
        frequency = np.clip((-logs - 1.5).astype(int), 0, kernels.FREQUENCIES - 1)
        for word in set(story[1:]):
            times = min(story[1:].count(word), kernels.TIMES - 1)
            ago = len(story) - max(at for at, other in enumerate(story) if other == word)
            age = min(ago.bit_length(), kernels.AGES - 1)
            gain = weights.held[times, age, frequency[word]] + weights.words[word, times]
            gains[int(self.words[word])] = float(gain)
        for run in range(1, min(kernels.LONGEST, len(story)) + 1):
            last = story[len(story) - run :]
            followers = [story[at] for at in range(run, len(story)) if story[at - run : at] == last]
            rivals = min(len(set(followers)), kernels.RIVALS) - 1
            for word in set(followers):
                times = min(followers.count(word), kernels.TIMES - 1)
                gain = weights.follows[run - 1, times, rivals, frequency[word]]
                gains[int(self.words[word])] = gains.get(int(self.words[word]), 0) + float(gain)
        return gains
