"""The brain: activation spreads over the graph, and what is active together changes it."""

from collections.abc import Sequence

import numpy as np

from plasticity.substrate import kernels, propagation, spreading, trace, views
from plasticity.substrate.anatomy import Anatomy, Neurons, finite
from plasticity.substrate.emission import Emission
from plasticity.substrate.memory import WorkingMemory
from plasticity.substrate.noise import noise_table
from plasticity.substrate.replay import EPISODE_STEP_DTYPE, Episodes
from plasticity.substrate.rules import COUNT, HEBBIAN, REWARD, SANGER, Relation
from plasticity.substrate.store import Store
from plasticity.substrate.structures import words


class Brain(Anatomy):
    """A graph of identity-bearing neurons that spreads activation and learns locally.

    Parameters
    ----------
    seed : int
        Of everything that is drawn at random; a brain that was saved keeps its own.
    store : Store, optional
        Where everything is kept; in memory unless given. `open` gives one.
    threads : int
        Parts that large spreads and updates are cut into; changes speed, never results.

    Attributes
    ----------
    modulator : float
        Global plasticity: multiplies every learning rate; 0 freezes all weights.
    memory : WorkingMemory
    tick : int
        Cycles so far.

    Examples
    --------
    >>> brain = Brain()
    >>> _ = brain.neurons(["rain", "wet", "slippery"])
    >>> brain.connect(["rain", "wet"], ["wet", "slippery"], [0.9, 0.5])
    >>> emission = brain.spread("rain", cycles=2, trace=True)
    >>> emission.names(), round(emission.value("slippery"), 2)
    (['slippery'], 0.45)
    >>> print(brain.explain("slippery"))  # doctest: +NORMALIZE_WHITESPACE
                     path origin  contribution
    rain → wet → slippery  input          0.45
    """

    def __init__(self, seed: int = 0, store: Store | None = None, threads: int = 1):
        if threads < 1:
            raise ValueError(f"threads is {threads}; allowed: 1 or more")
        super().__init__(store or Store())
        self.graph.threads = threads
        meta = self.store.meta
        self.seed = meta.setdefault("seed", int(seed))
        self.tick = meta.get("tick", 0)
        self.modulator = meta.get("modulator", 1.0)
        self._draws = meta.get("draws", 0)
        self.memory = WorkingMemory.restore(meta["memory"]) if "memory" in meta else WorkingMemory()
        self.episodes = Episodes(self.store)
        self._traced: list[trace.TracedCycle] = []
        self._derived: tuple[tuple, views.View] | None = None
        self._eligible: dict[int, list] | None = None if "tick" in meta else {}  # None: look
        self._noise: tuple[bytes | None, np.ndarray] = (None, np.zeros(0, np.uint32))

    @property
    def threads(self) -> int:
        """Parts that large spreads and updates are cut into."""
        return self.graph.threads

    def indexes(self, neurons: Neurons) -> np.ndarray:
        """Return the indexes, uint32, of neurons given by names or indexes."""
        return self._resolve(neurons)

    def spread(
        self,
        sources: Neurons,
        values: float | np.ndarray = 1.0,
        cycles: int = 1,
        goal: dict[str | int, float] | None = None,
        relations: Sequence[str] | None = None,
        trace: bool = False,
    ) -> Emission:
        """Let activation spread from neurons that emit a value.

        In every cycle each emitting neuron delivers sign * weight * value along its synapses; each
        neuron that receives something, or is a goal, becomes
        leak ** elapsed * activation + gain * input + bias + goal, and emits that if it is above
        its threshold and among the winners of its group. Sums beyond float32 are infinite.

        Parameters
        ----------
        sources : names or indexes
            What emits into the first cycle; of one that is repeated the values are added.
        values : float or ndarray of float32
            What they emit.
        cycles : int
            1 or more.
        goal : dict of name or index to float, optional
            Activation added to neurons in every cycle.
        relations : sequence of str, optional
            Only these carry activation.
        trace : bool
            Keep every delivery, for `explain`.

        Returns
        -------
        Emission
        """
        if cycles < 1:
            raise ValueError(f"cycles is {cycles}; allowed: 1 or more")
        frontier = self._frontier(sources, finite("values", values))
        goals = self._frontier(list(goal or {}), finite("goal", list((goal or {}).values())))
        boosts = self.memory.gains()
        carried = self._carriers(relations)
        winners = np.array([item[1] for item in self.store.meta["groups"]])
        done, traced = [], []
        for _ in range(cycles):
            self.tick += 1
            cycle = self._cycle(frontier, goals, boosts, carried, winners, trace)
            if trace:
                traced.append(self._trace(cycle, carried))
            done.append(cycle)
            frontier = spreading.emission(cycle, self.threads)
        if trace:
            self._traced = traced
        return Emission(*frontier, cycle.hit, cycle.activations, done, self)

    def derive(self, relations: Sequence[str] | None = None) -> None:
        """Make a copy of all synapses, in order of their targets, for spreads of most neurons.

        Until the graph changes, cycles in which half of the neurons or more emit along these
        relations use it: faster, and the same to the last bit. It takes 12 bytes a synapse.

        Parameters
        ----------
        relations : sequence of str, optional
            As for `spread`.

        Examples
        --------
        >>> brain = Brain()
        >>> _ = brain.grow(3)
        >>> brain.connect([0, 1], 2, [0.5, 0.25])
        >>> brain.derive()
        >>> brain.spread([0, 1]).value(2)
        0.75
        """
        arrays, carried = ("neurons", "synapses", "pending"), self._carriers(relations)
        for array in arrays:
            self.store.require(array)
        graph = (self.store[array] for array in arrays)
        self._derived = carried, views.build(*graph, *carried, self.graph.version)

    def explain(self, neuron: int | str, k: int = 5) -> trace.Explanation:
        """Return the paths behind a neuron's activation in the last traced spread.

        Parameters
        ----------
        neuron : int or str
        k : int
            Paths to list, strongest first; 0 for all.

        Returns
        -------
        Explanation
            Paths and rest add up to the activation.

        Raises
        ------
        ValueError
            Without a traced spread, or where the neuron received nothing in it.
        """
        if not self._traced:
            raise ValueError("nothing is traced; spread with trace=True first")
        [index] = self._resolve(neuron)
        return trace.explain(self._traced, int(index), k, self._describe)

    def learn(
        self,
        sources: Neurons,
        targets: Neurons,
        relation: str,
        pre: float | np.ndarray = 1.0,
        post: float | np.ndarray = 1.0,
        grow: bool = True,
    ) -> None:
        """Change the synapse of each pair by its relation's rule, one after the other.

        Parameters
        ----------
        sources, targets : names or indexes
            Broadcast against each other, and against `pre` and `post`.
        relation : str
        pre, post : float or ndarray of float32
            Activity of source and target, or the target's error (rules delta and adam).
        grow : bool
            Grow synapses that are missing, from weight 0; else pass over them.
        """
        activity = finite("pre", pre), finite("post", post)
        sources, targets, pre, post = self._pairs(sources, targets, *activity)
        kind = self._known(relation)
        find = self.graph.grown_edges if grow else self.graph.edges
        edges = find(sources, targets, kind.index)
        self._learn(sources, edges, pre, post, kind)

    def learn_contrast(
        self,
        sources: Neurons,
        targets: Neurons,
        relation: str,
        noise: np.ndarray,
        negatives: int = 3,
        strength: float = 0.1,
    ) -> None:
        """Strengthen pairs and weaken, for each, synapses of its source to targets drawn at random.

        Parameters
        ----------
        sources, targets : names or indexes
        relation : str
            Of rule hebbian.
        noise : ndarray of float, shape (neurons,)
            How often each neuron occurs as a target; drawn in proportion to its power 0.75.
        negatives : int
            How many are drawn for each pair; those without a synapse before are passed over.
        strength : float
            A negative counts as a target of minus this activity.

        Raises
        ------
        ValueError
            For fewer than 0 negatives, noise that nothing can be drawn from, or another rule.
        """
        if negatives < 0:
            raise ValueError(f"negatives is {negatives}; allowed: 0 or more")
        sources, targets = self._pairs(sources, targets)
        kind = self._known(relation)
        if kind.rule_index != HEBBIAN:
            raise ValueError(f"relation {relation!r} has rule {kind.rule!r}; allowed: 'hebbian'")
        noise = self.noise_table(noise), self.draw(), np.float32(-strength)
        how = self.settings_of(kind), (self.tick, self.draw())
        edges = np.empty((len(sources), 1 + negatives), np.int64)
        self.graph.require_rows(sources)
        pairs = self.graph.arrays, self._views(), sources, targets, kind.index
        self.graph.run(kernels.learn_contrast, edges.size, *pairs, noise, *how, edges)
        self._changed(edges.reshape(-1), kind)
        # No negative reaches a synapse that is grown now: its own pairs can be learnt last.
        missing = edges[:, 0] == kernels.MISSING
        if missing.any():
            late = np.full(len(sources), kernels.MISSING, np.int64)
            ends = sources[missing], targets[missing]
            late[missing] = self.graph.grown(*ends, kind.index, late[missing])
            ones = np.ones(len(sources), np.float32)
            pairs = self._views(), sources, late, ones, ones, 1 + negatives
            self.graph.run(kernels.learn_pairs, len(sources), *pairs, *how)
            self._changed(late, kind)

    def learn_rows(
        self,
        sources: Neurons,
        pre: float | np.ndarray,
        targets: Neurons,
        post: float | np.ndarray,
        relation: str,
    ) -> None:
        """Change every synapse there is from any of the sources to any of the targets.

        Parameters
        ----------
        sources, targets : names or indexes
            Each without repeats.
        pre, post : float or ndarray of float32
            Activity of each source and of each target, or the target's error.
        relation : str
            Sanger's rule takes the targets in the order of their indexes.

        Raises
        ------
        ValueError
            For Sanger's rule while synapses are pending: their order is not theirs yet.
        """
        kind = self._known(relation)
        if kind.rule_index == SANGER and len(self.graph.pending):
            raise ValueError("synapses are pending; consolidate() first, for Sanger's rule")
        sources = self._resolve(sources)
        pre = np.array(np.broadcast_to(finite("pre", pre), sources.shape))
        targets, post = self._frontier(targets, finite("post", post))
        self.graph.require_rows(sources)
        index = self.graph.arrays[:6]
        settings, clock = self.settings_of(kind), (self.tick, self.draw())
        kernels.learn_rows(
            self._views(), index, sources, pre, targets, post, kind.index, settings, clock
        )
        self.graph.touch_rows(sources)

    def reward(self, value: float, expected: float = 0.0) -> None:
        """Turn the eligibility of recently used synapses into weight.

        Parameters
        ----------
        value : float
            The reward.
        expected : float
            What was expected: the difference decides.
        """
        surprise = np.float32(value - expected)
        for kind in self._relations.values():
            if kind.rule_index != REWARD:
                continue
            edges = self._eligible_edges(kind)
            _, rate, limit, decay = self.settings_of(kind)
            in_rows = len(self.graph.synapses)
            parts = (edges[edges < in_rows], edges[edges >= in_rows] - in_rows)
            views = self._views()
            for part, floats, halves in zip(parts, views[::2], views[1::2], strict=True):
                kernels.apply_reward(floats, halves, part, surprise, rate, limit, decay, self.tick)
            self.graph.touch_edges(edges)

    def forget_eligibility(self) -> None:
        """Set every eligibility to 0, as at the end of an episode."""
        for kind in self._relations.values():
            if kind.rule_index == REWARD:
                edges = self._eligible_edges(kind)
                self.graph.set_field(edges, "first", np.zeros(len(edges), np.uint16))
        self._eligible = {}

    def record(self, steps: Sequence[tuple], reward: float) -> None:
        """Keep an episode for `replay`.

        Parameters
        ----------
        steps : sequence of (source, target, relation, pre, post)
            Uses of synapses in their order; source and target by name or index.
        reward : float
        """
        kept = np.zeros(len(steps), EPISODE_STEP_DTYPE)
        for place, (source, target, relation, pre, post) in enumerate(steps):
            ends = int(self._resolve(source)[0]), int(self._resolve(target)[0])
            kept[place] = (0, *ends, self._known(relation).index, pre, post)
        self.episodes.append(kept, reward)

    def replay(self, count: int, expected: float = 0.0) -> np.ndarray:
        """Live episodes again: those of surprising reward more often.

        Parameters
        ----------
        count : int
            How many are drawn, with repeats.
        expected : float
            The reward that would be no surprise.

        Returns
        -------
        ndarray of int64, shape (count,)
            Which episodes, 0 for the oldest.
        """
        if not len(self.episodes):
            return np.zeros(0, np.int64)
        drawn = self.episodes.draw(count, np.random.default_rng(int(self.draw())), expected)
        names = list(self._relations)
        for episode in drawn:
            self.forget_eligibility()
            for step in self.episodes.steps(int(episode)):
                self.tick += 1
                ends = int(step["source"]), int(step["target"])
                self.learn(*ends, names[step["relation"]], step["pre"], step["post"])
            self.reward(self.episodes.reward(int(episode)), expected)
        return drawn

    def consolidate(self, epsilon: float = 0.0, replay: int = 0) -> None:
        """Replay, merge what has grown into the rows, turn counts into weights, prune.

        Parameters
        ----------
        epsilon : float
            Synapses of a smaller absolute weight vanish, unless they are pinned; 0 keeps all.
        replay : int
            Episodes to live again before.
        """
        self.replay(replay)
        self._eligible = None
        self.graph.merge()
        for kind in self._relations.values():
            if kind.rule_index == COUNT:
                self.graph.counts_to_weights(kind.index)
        self.graph.prune(epsilon)

    def _frontier(self, neurons: Neurons, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ascending indexes and their values; those of repeated neurons are added."""
        indexes = self._resolve(neurons)
        values = np.broadcast_to(values, indexes.shape)
        if len(indexes) > 1 and not (indexes[1:] > indexes[:-1]).all():
            indexes, places = np.unique(indexes, return_inverse=True)
            added = np.zeros(len(indexes), np.float32)
            np.add.at(added, places, values)
            values = added
        return indexes, np.array(values)

    def _carriers(self, relations: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the sign of each relation, and which relations carry activation."""
        signs, allowed = np.ones(256, np.float32), np.zeros(256, np.bool_)
        for kind in self._relations.values():
            signs[kind.index] = kind.sign
            allowed[kind.index] = relations is None
        for name in relations or ():
            allowed[self._known(name).index] = True
        return signs, allowed

    def _cycle(self, frontier, goals, boosts, carried, winners, traced) -> spreading.Cycle:
        delivered = self._deliver(frontier, carried)
        neurons = self.graph.neurons
        self.store.require("neurons", delivered[0])
        cycle = spreading.integrate(
            neurons, delivered, goals, boosts, self.tick, frontier, self.threads, traced
        )
        spreading.compete(cycle, neurons, winners)
        self.store.touch("neurons", cycle.hit)
        return cycle

    def _deliver(self, frontier, carried) -> tuple[np.ndarray, np.ndarray]:
        """Return what arrives where, by way of the derived view if that is faster and right."""
        if self._derived is not None:
            made_for, view = self._derived
            if view.stale(self.graph.version):
                self._derived = None
            elif (
                2 * len(frontier[0]) >= len(self)
                and all(map(np.array_equal, made_for, carried))
                and (view.finite or len(frontier[0]) == len(self))
            ):
                return view.deliver(self.graph.version, *frontier, self.threads)
        self.graph.require_rows(frontier[0])
        graph = self.graph.neurons, self.graph.synapses, self.graph.pending
        return propagation.deliver(*graph, *frontier, *carried, threads=self.threads)

    def _trace(self, cycle: spreading.Cycle, carried) -> trace.TracedCycle:
        graph = self.graph.neurons, self.graph.synapses, self.graph.pending
        return trace.TracedCycle(
            cycle, *propagation.gather(*graph, cycle.sources, cycle.values, *carried)
        )

    def _describe(self, path: trace.Path) -> str:
        names = [self.name(neuron) or f"#{neuron}" for neuron in path.neurons]
        return trace.as_text(names, [self.relations[index].name for index in path.relations])

    def _learn(self, sources, edges, pre, post, kind: Relation) -> None:
        """Change edges, those that are missing passed over."""
        how = pre, post, 1, self.settings_of(kind), (self.tick, self.draw())
        self.graph.run(kernels.learn_pairs, len(edges), self._views(), sources, edges, *how)
        self._changed(edges, kind)

    def _changed(self, edges: np.ndarray, kind: Relation) -> None:
        """Note which edges were changed, those that are missing passed over."""
        self.graph.touch_edges(edges)
        if kind.rule_index == REWARD and self._eligible is not None:
            self._eligible.setdefault(kind.index, []).append(edges[edges >= 0])

    def settings_of(self, kind: Relation) -> tuple:
        """Return what the kernels need of a relation: rule, rate now, limit, eligibility decay."""
        rate = np.float32(kind.learning_rate * self.modulator)
        return kind.rule_index, rate, np.float32(kind.limit), np.float32(kind.eligibility_decay)

    def _views(self) -> tuple[np.ndarray, ...]:
        parts = self.graph.synapses, self.graph.pending
        return tuple(words(part, kind) for part in parts for kind in (np.float32, np.uint16))

    def draw(self) -> np.uint64:
        """Return the seed of one operation's random numbers."""
        self._draws += 1
        return np.uint64(kernels.random_bits(np.uint64(self.seed), self._draws))

    def noise_table(self, noise: np.ndarray) -> np.ndarray:
        """Return neurons, each as often as it is to be drawn; made once for the same noise."""
        key = np.asarray(noise, float).tobytes()
        if key != self._noise[0]:
            self._noise = key, noise_table(noise)
        return self._noise[1]

    def _eligible_edges(self, kind: Relation) -> np.ndarray:
        """Return the edges of a relation whose eligibility is not 0."""
        if self._eligible is None:
            self.graph.require_rows(np.arange(len(self)))
            edges = np.arange(len(self.graph.synapses) + len(self.graph.pending))
            edges = edges[self.graph.fields(edges, "relation") == kind.index]
        else:
            known = self._eligible.get(kind.index, [])
            edges = np.unique(np.concatenate([np.zeros(0, np.int64), *known]))
        edges = edges[self.graph.fields(edges, "first") != 0]
        if self._eligible is not None:
            self._eligible[kind.index] = [edges]
        return edges

    def _note(self) -> None:
        moved = {"tick": self.tick, "modulator": self.modulator, "draws": self._draws}
        self.store.meta.update(moved, memory=self.memory.state())
