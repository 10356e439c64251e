"""The graph: neurons, their rows of synapses, and the log of synapses grown since."""

import functools
from collections.abc import Callable, Sequence

import numpy as np

from plasticity.substrate import kernels, merging
from plasticity.substrate.blocked import workers
from plasticity.substrate.names import Names, identity
from plasticity.substrate.store import Store
from plasticity.substrate.structures import (
    NEURON_DTYPE,
    PENDING_DTYPE,
    PINNED,
    SYNAPSE_DTYPE,
    words,
)

EDGE_DTYPE = np.dtype(
    [
        ("source", np.uint32),
        ("target", np.uint32),
        ("weight", np.float32),
        ("relation", np.uint8),
    ]
)
"""A synapse together with its source, as `Graph.row` and `Graph.every_edge` list it."""

MOST_NEURONS = 2**32 - 2
FEWEST_SLOTS = 1024
GROWN_AT_ONCE = 1 << 14
PARALLEL_PAIRS = 1 << 15  # fewer are done sooner by one thread


class Graph:
    """Neurons and typed synapses in arrays of a store.

    Parameters
    ----------
    store : Store
        Its arrays ``neurons``, ``synapses`` and ``pending`` and the tables of names are made where
        they are missing.

    Attributes
    ----------
    threads : int
        Parts of large updates that run at once.
    version : int
        Changes with neurons and synapses, their weights too: derived views compare it.
    """

    def __init__(self, store: Store):
        self.store = store
        self.names = Names(store)
        if "neurons" not in store:
            store.create("neurons", NEURON_DTYPE)
            store.create("synapses", SYNAPSE_DTYPE)
            store.create("pending", PENDING_DTYPE)
        self.threads = 1
        self.version = 0
        self._slots = np.zeros(0, np.uint64)  # made when first needed

    @property
    def neurons(self) -> np.ndarray:
        """The neurons, NEURON_DTYPE."""
        return self.store["neurons"]

    @property
    def synapses(self) -> np.ndarray:
        """The synapses in rows, SYNAPSE_DTYPE, sorted by source, relation and target."""
        return self.store["synapses"]

    @property
    def pending(self) -> np.ndarray:
        """The synapses grown since the last consolidation, PENDING_DTYPE, oldest first."""
        return self.store["pending"]

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """What `kernels` reads: words of neurons, synapses and pending, and slots."""
        return (
            words(self.neurons, np.uint32),
            words(self.neurons, np.uint64),
            words(self.synapses, np.uint32),
            words(self.synapses, np.uint8),
            words(self.pending, np.uint32),
            words(self.pending, np.uint8),
            self._slots_for(0),
        )

    def grow_neurons(self, count: int, names: Sequence[str] | None = None, **fields) -> np.ndarray:
        """Append neurons.

        Parameters
        ----------
        count : int
            How many.
        names : sequence of str, optional
            A new name for each.
        **fields
            Fields of NEURON_DTYPE; gain is 1 unless given, all others 0.

        Returns
        -------
        ndarray of uint32, shape (count,)
            Their indexes.

        Raises
        ------
        ValueError
            If the graph would have more than 2**32 - 2 neurons.
        """
        if len(self.neurons) + count > MOST_NEURONS:
            raise ValueError(
                f"count is {count:,} with {len(self.neurons):,} neurons there; a graph has at "
                f"most {MOST_NEURONS:,}"
            )
        first = self.store.extend("neurons", count)
        new = self.neurons[first:]
        new["gain"] = 1.0
        for field, value in fields.items():
            new[field] = value
        indexes = np.arange(first, first + count, dtype=np.uint32)
        if names is None:
            new["identity"] = indexes
        else:
            new["identity"] = [identity(name) for name in names]
            new["name"] = self.names.add(names, indexes) + 1
        self.store.touch("neurons", slice(first, first + count))
        self.version += 1
        return indexes

    def edges(self, sources: np.ndarray, targets: np.ndarray, relation: int) -> np.ndarray:
        """Return the edge number of each pair, -1 where there is no synapse.

        Parameters
        ----------
        sources, targets : ndarray of uint32, shape (pairs,)
        relation : int

        Returns
        -------
        ndarray of int64, shape (pairs,)
        """
        self.require_rows(sources)
        found = np.empty(len(sources), np.int64)
        self.run(kernels.locate, len(sources), self.arrays, sources, targets, relation, found)
        return found

    def grown_edges(self, sources: np.ndarray, targets: np.ndarray, relation: int) -> np.ndarray:
        """Return the edge number of each pair; synapses that are missing are grown, weight 0.

        Parameters
        ----------
        sources, targets : ndarray of uint32, shape (pairs,)
        relation : int

        Returns
        -------
        ndarray of int64, shape (pairs,)
        """
        return self.grown(sources, targets, relation, self.edges(sources, targets, relation))

    def grown(
        self, sources: np.ndarray, targets: np.ndarray, relation: int, found: np.ndarray
    ) -> np.ndarray:
        """Return edge numbers, as `edges` found them, with the missing ones grown."""
        missing = np.flatnonzero(found == kernels.MISSING)
        # Many of them may be the same synapse: room is made for a part at a time.
        for start in range(0, len(missing), GROWN_AT_ONCE):
            part = missing[start : start + GROWN_AT_ONCE]
            self._slots_for(len(part))
            first = self.store.extend("pending", len(part))
            absent, origins = found[part], sources[part]
            end = kernels.grow(self.arrays, origins, targets[part], relation, absent, first)
            self.store.shrink("pending", end)
            found[part] = absent
            self.store.touch("pending", slice(first, end))
            self.store.touch("neurons", origins)
            self.version += 1
        return found

    def fields(self, edges: np.ndarray, field: str) -> np.ndarray:
        """Return one field of each edge.

        Parameters
        ----------
        edges : ndarray of int64, shape (n,)
            Edge numbers, none missing.
        field : str
            A field of SYNAPSE_DTYPE.
        """
        in_rows = len(self.synapses)
        pending = edges >= in_rows
        values = np.empty(len(edges), SYNAPSE_DTYPE[field])
        values[pending] = self.pending[field][edges[pending] - in_rows]
        values[~pending] = self.synapses[field][edges[~pending]]
        return values

    def set_field(self, edges: np.ndarray, field: str, values: np.ndarray) -> None:
        """Set one field of each edge, in order: the last of equal edges wins.

        Parameters
        ----------
        edges : ndarray of int64, shape (n,)
            Edge numbers, none missing.
        field : str
            A field of SYNAPSE_DTYPE.
        values : ndarray, shape (n,)
        """
        in_rows = len(self.synapses)
        pending = edges >= in_rows
        self.pending[field][edges[pending] - in_rows] = values[pending]
        self.synapses[field][edges[~pending]] = values[~pending]
        self.touch_edges(edges)

    def touch_edges(self, edges: np.ndarray) -> None:
        """Mark edges as changed since the last commit; missing ones are passed over."""
        self.version += 1
        if self.store.path is None:
            return
        edges = edges[edges >= 0]
        in_rows = len(self.synapses)
        pending = edges >= in_rows
        self.store.touch("pending", edges[pending] - in_rows)
        self.store.touch("synapses", edges[~pending])

    def require_rows(self, neurons: np.ndarray) -> None:
        """Verify the checksums of neurons and their synapses, where that has not been done yet.

        All pending synapses are verified: a chain may lead anywhere among them.
        """
        self.store.require("neurons", neurons)
        self.store.require("pending")
        if not self.store.verified("synapses"):
            self.store.require("synapses", *self._extents(neurons))

    def touch_rows(self, neurons: np.ndarray) -> None:
        """Mark every edge of these sources as changed since the last commit."""
        self.version += 1
        if self.store.path is None:
            return
        self.store.touch("synapses", *self._extents(neurons))
        self.store.touch("pending", np.flatnonzero(np.isin(self.pending["source"], neurons)))

    def _extents(self, neurons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where the rows of neurons start, and how long they are."""
        records = self.neurons[neurons]
        return records["first_synapse"].astype(np.int64), records["fan_out"].astype(np.int64)

    def sources(self) -> np.ndarray:
        """Return the source of every synapse in rows, uint32."""
        neurons = np.arange(len(self.neurons), dtype=np.uint32)
        return np.repeat(neurons, self.neurons["fan_out"])

    def run(self, kernel: Callable, pairs: int, *arguments) -> None:
        """Call a kernel on pairs: in one part, or in as many as there are threads if they are many.

        Parameters
        ----------
        kernel : callable
            Takes the part and the number of parts, then the arguments.
        pairs : int
        *arguments
        """
        parts = self.threads if pairs >= PARALLEL_PAIRS else 1
        with workers(parts) as run:
            run(functools.partial(_part, kernel, parts, arguments), range(parts))

    def row(self, neuron: int) -> np.ndarray:
        """Return the edges of one source, EDGE_DTYPE: those in its row, then the pending ones."""
        self.require_rows(np.array([neuron], np.uint32))
        record = self.neurons[neuron]
        first = int(record["first_synapse"])
        rows = self.synapses[first : first + int(record["fan_out"])]
        places, place = [], int(record["pending"])
        while place:
            places.append(place - 1)
            place = int(self.pending["next"][place - 1])
        return _edges(np.full(len(rows), neuron), rows, self.pending[places])

    def every_edge(self) -> np.ndarray:
        """Return every edge, EDGE_DTYPE: those in rows, then the pending ones, oldest first."""
        for array in ("neurons", "synapses", "pending"):
            self.store.require(array, slice(None))
        return _edges(self.sources(), self.synapses, self.pending)

    def merge(self) -> None:
        """Merge the pending synapses into the rows."""
        for array in ("neurons", "synapses", "pending"):
            self.store.require(array, slice(None))
        pending = self.pending
        if not len(pending):
            return
        order = np.lexsort((pending["target"], pending["relation"], pending["source"]))
        counts = np.bincount(pending["source"], minlength=len(self.neurons))
        starts = np.concatenate([[0], np.cumsum(counts)])
        merged = np.empty(len(self.synapses) + len(pending), SYNAPSE_DTYPE)
        merging.merge(
            words(self.neurons, np.uint32),
            words(self.neurons, np.uint64),
            words(self.synapses, np.uint32),
            words(pending, np.uint32),
            order,
            starts,
            words(merged, np.uint32),
        )
        self._replace(merged)
        self.store.replace("pending", np.empty(0, PENDING_DTYPE))
        self._slots = np.zeros(0, np.uint64)

    def prune(self, epsilon: float) -> None:
        """Drop synapses in rows whose absolute weight is below epsilon, unless they are pinned."""
        synapses = self.synapses
        weak = (np.abs(synapses["weight"]) < epsilon) & (synapses["flags"] & PINNED == 0)
        if not weak.any():
            return
        fan_out = np.bincount(self.sources()[~weak], minlength=len(self.neurons))
        self.neurons["fan_out"] = fan_out
        self.neurons["first_synapse"] = np.cumsum(fan_out) - fan_out
        self._replace(synapses[~weak])

    def counts_to_weights(self, relation: int) -> None:
        """Set the weights of a counting relation, in rows, to shares of its source's count."""
        own = np.flatnonzero(self.synapses["relation"] == relation)
        chosen = self.synapses[own]
        counts = chosen["first"].astype(np.int64) + (chosen["second"].astype(np.int64) << 16)
        sources = self.sources()[own]
        totals = np.bincount(sources, counts, minlength=len(self.neurons))
        self.synapses["weight"][own] = counts / np.maximum(totals[sources], 1)
        self.store.touch("synapses", own)
        self.version += 1

    def _replace(self, synapses: np.ndarray) -> None:
        self.store.replace("synapses", synapses)
        self.store.touch("neurons", slice(None))
        self.version += 1

    def _slots_for(self, more: int) -> np.ndarray:
        """Return the slots of the pending synapses, with room for more, at most half full."""
        needed = 2 * (len(self.pending) + more)
        if len(self._slots) < max(1, needed):
            self.store.require("pending", slice(None))
            size = max(FEWEST_SLOTS, 1 << (needed - 1).bit_length())
            self._slots = np.zeros(size, np.uint64)
            pending = self.pending
            kernels.enter(words(pending, np.uint32), words(pending, np.uint8), self._slots)
        return self._slots


def _part(kernel: Callable, parts: int, arguments: tuple, part: int) -> None:
    kernel(part, parts, *arguments)


def _edges(sources: np.ndarray, rows: np.ndarray, pending: np.ndarray) -> np.ndarray:
    found = np.empty(len(rows) + len(pending), EDGE_DTYPE)
    found["source"] = np.concatenate([sources, pending["source"]])
    for field in ("target", "weight", "relation"):
        found[field] = np.concatenate([rows[field], pending[field]])
    return found
