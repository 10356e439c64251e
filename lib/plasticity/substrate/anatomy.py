"""What a brain is made of: named neurons, groups, typed relations, synapses; where it is kept."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from plasticity.substrate.graph import Graph
from plasticity.substrate.replay import EPISODE_STEP_DTYPE
from plasticity.substrate.rules import MOST_RELATIONS, Relation
from plasticity.substrate.store import Store
from plasticity.substrate.structures import (
    NAME_DTYPE,
    NEURON_DTYPE,
    PENDING_DTYPE,
    SYNAPSE_DTYPE,
)

Neurons = int | str | Sequence[int] | Sequence[str] | np.ndarray
DEFAULT_RELATION = "connects"
SETTINGS = ("threshold", "leak", "bias", "gain", "trace", "kind", "group")
LAYOUTS = {
    "neurons": NEURON_DTYPE,
    "synapses": SYNAPSE_DTYPE,
    "pending": PENDING_DTYPE,
    "names": NAME_DTYPE,
    "episode_steps": EPISODE_STEP_DTYPE,
}


def finite(name: str, values: float | np.ndarray) -> np.ndarray:
    """Return numbers as float32; raise ValueError, with what they are called, if any is not one.

    Examples
    --------
    >>> finite("weights", 0.5)
    array(0.5, dtype=float32)
    """
    values = np.asarray(values, np.float32)
    fine = np.isfinite(values)
    if not fine.all():
        raise ValueError(f"{name} holds {values[~fine].flat[0]}; allowed: finite numbers")
    return values


class Anatomy:
    """Neurons, groups, relations and synapses; the part of `Brain` that does not move.

    Parameters
    ----------
    store : Store
        Where everything is kept.
    """

    def __init__(self, store: Store):
        self.store = store
        self.graph = Graph(store)
        store.meta.setdefault("relations", [])
        store.meta.setdefault("groups", [["", 0]])  # group 0: no competition
        self._relations = {item["name"]: Relation(**item) for item in store.meta["relations"]}
        self.relation(DEFAULT_RELATION)

    def __len__(self) -> int:
        return len(self.graph.neurons)

    def __contains__(self, name: str) -> bool:
        return bool(self.graph.names.find([name])[0] >= 0)

    @property
    def bytes(self) -> int:
        """Bytes of the model: neurons, synapses and names, without what can be made again."""
        arrays = ("neurons", "synapses", "pending", "names", "text")
        return sum(self.store[name].nbytes for name in arrays)

    def relation(self, name: str, **settings) -> Relation:
        """Look a relation up, or declare it.

        Parameters
        ----------
        name : str
        **settings
            Of `Relation`; a relation that is declared already keeps its own.

        Returns
        -------
        Relation

        Raises
        ------
        ValueError
            If there are 255 relations, or the relation exists with other settings.
        """
        if name in self._relations:
            known = self._relations[name]
            for key, value in settings.items():
                if getattr(known, key) != value:
                    raise ValueError(
                        f"{key} of relation {name!r} is {getattr(known, key)!r} already, not "
                        f"{value!r}; declare a relation of another name"
                    )
            return known
        if len(self._relations) == MOST_RELATIONS:
            raise ValueError(f"relation {name!r} is one too many; allowed: {MOST_RELATIONS}")
        made = Relation(name, len(self._relations), **settings)
        self._relations[name] = made
        self.store.meta["relations"] = [vars(relation) for relation in self._relations.values()]
        return made

    @property
    def relations(self) -> list[Relation]:
        """The relations, in the order of their indexes."""
        return list(self._relations.values())

    def group(self, name: str, winners: int | None = None) -> int:
        """Look a group of competing neurons up, or declare it, or change its winners.

        Parameters
        ----------
        name : str
        winners : int, optional
            How many of the group may emit in one cycle, 0 or more; 0 for all.

        Returns
        -------
        int
            Its index, from 1; group 0 never competes.

        Raises
        ------
        ValueError
            For fewer than 0 winners.
        """
        if winners is not None and winners < 0:
            raise ValueError(f"winners is {winners}; allowed: 0 or more, 0 for all")
        groups = self.store.meta["groups"]
        for index, item in enumerate(groups):
            if index and item[0] == name:
                if winners is not None:
                    item[1] = int(winners)
                return index
        groups.append([name, int(winners or 0)])
        return len(groups) - 1

    def neuron(self, name: str, **settings) -> int:
        """Find a neuron by its name, or grow it.

        Parameters
        ----------
        name : str
            Any Unicode text.
        **settings
            Of a new neuron: threshold, leak (0 to 1), bias, gain, trace, kind, group (a name).

        Returns
        -------
        int
            Its index.
        """
        return int(self.neurons([name], **settings)[0])

    def neurons(self, names: Sequence[str], **settings) -> np.ndarray:
        """Find neurons by name, or grow those that are missing.

        Parameters
        ----------
        names : sequence of str
            Repeated names are one neuron.
        **settings
            Of new neurons, as for `neuron`.

        Returns
        -------
        ndarray of uint32, shape (n,)
        """
        found = self.graph.names.find(names)
        missing = dict.fromkeys(name for name, at in zip(names, found, strict=True) if at < 0)
        if missing:
            fields = self._fields(settings)
            grown = self.graph.grow_neurons(len(missing), list(missing), **fields)
            places = dict(zip(missing, grown, strict=True))
            found = [places[n] if at < 0 else at for n, at in zip(names, found, strict=True)]
        return np.asarray(found, np.uint32)

    def grow(self, count: int, **settings) -> np.ndarray:
        """Grow neurons without names; settings as for `neuron`; return their indexes, uint32."""
        return self.graph.grow_neurons(count, **self._fields(settings))

    def alias(self, alias: str, name: str) -> None:
        """Give a neuron one more name.

        Raises
        ------
        ValueError
            If the alias names another neuron already.
        """
        neuron = self.index(name)
        [taken] = self.graph.names.find([alias])
        if taken < 0:
            self.graph.names.add([alias], np.array([neuron]))
        elif taken != neuron:
            raise ValueError(f"{alias!r} is the name of neuron {taken} already, not of {name!r}")

    def index(self, name: str) -> int:
        """Return the index of a neuron.

        Raises
        ------
        KeyError
            If nobody has the name.
        """
        return int(self._resolve(name)[0])

    def name(self, neuron: int) -> str | None:
        """Return the first name of a neuron, None if it has none."""
        [neuron] = self._resolve(int(neuron))
        place = int(self.get(neuron, "name")[0])
        return self.graph.names.text(place - 1) if place else None

    def set(self, neurons: Neurons, **settings) -> None:
        """Set fields of neurons: threshold, leak, bias, gain, trace, kind, group (a name)."""
        indexes = self._resolve(neurons)
        for field, value in self._fields(settings).items():
            self.graph.neurons[field][indexes] = value
        self.store.touch("neurons", indexes)

    def get(self, neurons: Neurons, field: str) -> np.ndarray:
        """Return a field of NEURON_DTYPE of neurons."""
        if field not in NEURON_DTYPE.names:
            raise ValueError(f"field is {field!r}; allowed: {', '.join(NEURON_DTYPE.names)}")
        indexes = self._resolve(neurons)
        self.store.require("neurons", indexes)
        return self.graph.neurons[field][indexes]

    def connect(
        self,
        sources: Neurons,
        targets: Neurons,
        weights: float | np.ndarray = 0.0,
        relation: str = DEFAULT_RELATION,
    ) -> None:
        """Set the weights of synapses, growing those that are missing.

        Parameters
        ----------
        sources, targets : names or indexes
            Broadcast against each other and against the weights; a neuron may lead to itself.
        weights : float or ndarray of float32
            Finite.
        relation : str
            Declared with `relation`, or the default one.

        Raises
        ------
        KeyError
            For a neuron or a relation that does not exist.
        ValueError
            For a weight that is not finite.
        """
        weights = finite("weights", weights)
        sources, targets, weights = self._pairs(sources, targets, weights)
        edges = self.graph.grown_edges(sources, targets, self._known(relation).index)
        self.graph.set_field(edges, "weight", weights)

    def weights(
        self, sources: Neurons, targets: Neurons, relation: str = DEFAULT_RELATION
    ) -> np.ndarray:
        """Return the weight of each pair, float32, nan where there is no synapse."""
        sources, targets = self._pairs(sources, targets)
        edges = self.graph.edges(sources, targets, self._known(relation).index)
        found = np.full(len(edges), np.nan, np.float32)
        found[edges >= 0] = self.graph.fields(edges[edges >= 0], "weight")
        return found

    def synapses(self, neuron: int | str, relation: str | None = None) -> np.ndarray:
        """Return what leads away from a neuron: source, target, weight, relation; rows first."""
        [index] = self._resolve(neuron)
        found = self.graph.row(index)
        if relation is None:
            return found
        return found[found["relation"] == self._known(relation).index]

    def edges(self, relation: str | None = None) -> np.ndarray:
        """Return every synapse of a relation, or of all: source, target, weight, relation."""
        found = self.graph.every_edge()
        if relation is None:
            return found
        return found[found["relation"] == self._known(relation).index]

    def save(self, path: str | Path) -> None:
        """Write everything into a folder, and go on there; a brain that was there is replaced.

        Raises
        ------
        StoreError
            If the folder holds other things, or another writer has it open (LockedError).
        """
        self._note()
        self.store.save(path)

    @classmethod
    def open(cls, path: str | Path, mode: str = "r") -> Self:
        """Open a folder: ``mode`` is ``r`` to read (nothing is ever written) or ``w`` to change."""
        return cls(store=Store.open(path, mode, LAYOUTS))

    def commit(self) -> None:
        """Make all changes since the last commit durable, all of them or none."""
        self._note()
        self.store.commit()

    def checkpoint(self) -> None:
        """Write a new generation and start an empty log."""
        self._note()
        self.store.checkpoint()

    def close(self) -> None:
        """Let the folder go; what was not committed is lost."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _note(self) -> None:
        """Write what is not in an array into the store's meta."""

    def _known(self, relation: str) -> Relation:
        if relation not in self._relations:
            known = ", ".join(self._relations)
            raise KeyError(f"no relation {relation!r}; declared: {known}")
        return self._relations[relation]

    def _fields(self, settings: dict) -> dict:
        """Return fields of NEURON_DTYPE for settings, checked."""
        for name in settings:
            if name not in SETTINGS:
                raise TypeError(f"unknown setting {name!r}; allowed: {', '.join(SETTINGS)}")
        leak = np.asarray(settings.get("leak", 0.0))
        if not ((leak >= 0) & (leak <= 1)).all():
            raise ValueError(f"leak is {settings['leak']}; allowed: 0 to 1")
        if isinstance(settings.get("group"), str):
            settings = {**settings, "group": self.group(settings["group"])}
        groups, declared = np.asarray(settings.get("group", 0)), len(self.store.meta["groups"])
        if groups.dtype.kind not in "iu" or not ((groups >= 0) & (groups < declared)).all():
            raise ValueError(
                f"group is {settings['group']}; allowed: a name, or a declared index, "
                f"0 to {declared - 1}"
            )
        return settings

    def _resolve(self, neurons: Neurons) -> np.ndarray:
        """Return indexes, uint32, of names or of indexes, checked."""
        if isinstance(neurons, str):
            neurons = [neurons]
        if isinstance(neurons, Iterable) and not isinstance(neurons, np.ndarray):
            neurons = list(neurons)
            if neurons and isinstance(neurons[0], str):
                return self._indexes(neurons)
        indexes = np.atleast_1d(np.asarray(neurons))
        if indexes.size == 0:
            return np.zeros(0, np.uint32)
        if indexes.dtype.kind not in "iu":
            raise TypeError(f"neurons are {indexes.dtype}; allowed: names or whole numbers")
        if indexes.max() >= len(self) or indexes.min() < 0:
            wrong = indexes[(indexes >= len(self)) | (indexes < 0)][0]
            raise IndexError(f"neuron is {wrong}; allowed: 0 to {len(self) - 1}")
        return indexes.astype(np.uint32, copy=False)

    def _indexes(self, names: list[str]) -> np.ndarray:
        found = self.graph.names.find(names)
        if (found < 0).any():
            name = names[int(np.argmax(found < 0))]
            near = self.graph.names.near(name)
            hint = f"; near: {', '.join(near)}" if near else ""
            raise KeyError(f"no neuron is called {name!r}{hint}")
        return found.astype(np.uint32)

    def _pairs(self, sources: Neurons, targets: Neurons, *values) -> list[np.ndarray]:
        """Return sources, targets and values, broadcast to one flat length."""
        ends = (self._resolve(sources), self._resolve(targets))
        spread = np.broadcast_arrays(*ends, *(np.asarray(v, np.float32) for v in values))
        return [np.array(array).reshape(-1) for array in spread]
