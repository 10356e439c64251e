"""What the chapter on speed and scale says, made from the numbers."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from plasticity.companion.tables import ABSENT
from plasticity.substrate.structures import NEURON_DTYPE, SYNAPSE_DTYPE

MILLION, GIGABYTE = 1e6, 1e9
EMITTED_BYTES = 8  # of one emitted value on the network: which neuron, and how much
ROW_BYTES = 12  # of a row's start and length, which every owner keeps for every source
LEARNERS = {
    "dense": "matrix of all pairs",
    "pending": "graph, synapses pending (found by hash)",
    "rows": "graph, synapses in rows",
    "scored": "every word scored before each pair",
    "word2vec": "gensim's word2vec",
}
SECOND = "_two_threads"
# What this project set out to reach: pairs a second, by variant of ``substrate_pairs``.
PAIR_GOALS = {
    "dense": 10e6,
    f"dense{SECOND}": 16e6,
    "pending": 5e6,
    f"pending{SECOND}": 8e6,
    "scored": 1e6,
}
RATIO_GOAL = 1.5  # of a whole cycle's time to scipy's, at most
CACHED_GOAL = 400e6  # synapses a second of a graph that fits the cache
WAYS = {
    "whole/scipy": "scipy, CSR product",
    "whole/graph/1": "graph, 1 thread",
    "whole/graph/2": "graph, 2 threads",
    "whole/view/1": "derived view, 1 thread",
    "whole/view/2": "derived view, 2 threads",
}
# Seconds at most, by the neurons of the graph on disk: (split, metric, what it is, goal).
DISK_GOALS = {
    10_000_000: (
        ("whole/graph/1", "cycle_seconds", "a full cycle, one core", 1.3),
        ("whole/graph/2", "cycle_seconds", "a full cycle, two cores", 0.8),
    ),
    100_000_000: (
        ("disk", "open_seconds", "to open", 0.005),
        ("sparse/graph/1", "frontier_seconds", "a warm frontier of a thousand neurons", 0.002),
    ),
}
START_GOALS = {"import_seconds": ("import", 1.5), "first_call_seconds": ("first spread", 1.0)}


def medians(rows: pd.DataFrame) -> pd.Series:
    """Return the median over repeats and seeds, by variant, split and metric."""
    return rows.groupby(["variant", "split", "metric"], sort=False)["value"].median()


def pairs(rows: pd.DataFrame) -> pd.DataFrame:
    """Set out how many pairs a second every way of learning takes in.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_pairs``.

    Returns
    -------
    DataFrame
        Texts, one row for each variant: threads, millions of pairs a second by the clock and by
        each core, the goal, and how often gensim's.
    """
    found, lines = medians(rows), {}
    for variant in dict.fromkeys(rows["variant"]):
        kind, threads = variant.removesuffix(SECOND), 2 if variant.endswith(SECOND) else 1
        wall, processor = (found[variant, s, "pairs_per_second"] for s in ("wall", "processor"))
        peer = f"word2vec{SECOND}" if threads == 2 else "word2vec"
        known = (peer, "wall", "pairs_per_second") in found.index and kind != "word2vec"
        goal = PAIR_GOALS.get(variant)
        lines[variant] = {
            "how": LEARNERS[kind],
            "threads": str(threads),
            "million pairs/s": f"{wall / MILLION:.2f}",
            "by each core": f"{processor / MILLION:.2f}",
            "goal": f"{goal / MILLION:.0f} ({_met(wall >= goal)})" if goal else ABSENT,
            "times gensim": f"{wall / found[peer, 'wall', 'pairs_per_second']:.1f}"
            if known
            else ABSENT,
        }
    return pd.DataFrame.from_dict(lines, orient="index").set_index("how")


def labels(rows: pd.DataFrame) -> dict[str, str]:
    """Return names to show for the variants of ``substrate_pairs``, by variant."""
    return {variant: _learner(variant) for variant in dict.fromkeys(rows["variant"])}


def _learner(variant: str) -> str:
    kind, threads = variant.removesuffix(SECOND), 2 if variant.endswith(SECOND) else 1
    return f"{LEARNERS[kind]}, {threads} thread{'s' * (threads > 1)}"


def spread(rows: pd.DataFrame, configs: dict[str, dict]) -> pd.DataFrame:
    """Set out how fast whole and sparse activations of graphs in memory spread.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_scale``.
    configs : dict of str to dict
        Settings by variant.

    Returns
    -------
    DataFrame
        Texts, one row for each graph: millions of synapses a second of every way, with its time
        relative to scipy's in the same turn; and microseconds of the sparse activation, with its
        time relative to scipy's faster way.
    """
    found, lines = medians(rows), {}
    for variant in _of_kind(rows, configs, "memory"):
        settings = configs[variant]
        line = {}
        for split, name in WAYS.items():
            key = (variant, split, "synapses_per_second")
            if key in found.index:
                ratio = found.get((variant, split, "time_ratio"))
                line[name] = f"{found[key] / MILLION:,.0f}" + (f" (×{ratio:.2f})" if ratio else "")
        sparse = found[variant, "sparse/graph/1", "frontier_seconds"]
        ratio = found[variant, "sparse/graph/1", "time_ratio"]
        line[f"sparse: {settings['frontier']:,} neurons"] = f"{1e6 * sparse:,.0f} µs (×{ratio:.2f})"
        lines[_graph_name(settings)] = line
    return pd.DataFrame.from_dict(lines, orient="index").fillna(ABSENT)


def disk(rows: pd.DataFrame, configs: dict[str, dict]) -> pd.DataFrame:
    """Set out what graphs on disk take.

    Parameters
    ----------
    rows, configs
        As for `spread`.

    Returns
    -------
    DataFrame
        Texts, one row for each graph on disk or hole in a file.
    """
    found, lines = medians(rows), {}
    quantities = {
        "gigabytes": ("gigabytes", 1, "{:,.2f}"),
        "built, s": ("build_seconds", 1, "{:,.1f}"),
        "opened, ms": ("open_seconds", 1e3, "{:.2f}"),
        "resident at most, GB": ("resident_gigabytes", 1, "{:.2f}"),
    }
    timed = {
        "first sparse cycle, ms": ("first/cycle/1", "frontier_seconds", 1e3, "{:,.1f}"),
        "warm sparse cycle, ms": ("sparse/cycle/1", "frontier_seconds", 1e3, "{:,.2f}"),
        "of it delivery, ms": ("sparse/graph/1", "frontier_seconds", 1e3, "{:,.2f}"),
        "whole, 1 thread, s": ("whole/graph/1", "cycle_seconds", 1, "{:,.2f}"),
        "whole, 2 threads, s": ("whole/graph/2", "cycle_seconds", 1, "{:,.2f}"),
    }
    for variant in (*_of_kind(rows, configs, "disk"), *_of_kind(rows, configs, "hole")):
        kind = configs[variant]["kind"]
        cells = {name: (kind, *rest) for name, rest in quantities.items()} | timed
        line = {
            name: form.format(scale * found[variant, split, metric])
            for name, (split, metric, scale, form) in cells.items()
            if (variant, split, metric) in found.index
        }
        lines[_graph_name(configs[variant]) + (", a hole" if kind == "hole" else "")] = line
    return pd.DataFrame.from_dict(lines, orient="index").fillna(ABSENT)


def goals(rows: pd.DataFrame, pair_rows: pd.DataFrame, configs: dict[str, dict]) -> str:
    """Say in Markdown which goals were met.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_scale``.
    pair_rows : DataFrame
        Tidy rows of ``substrate_pairs``.
    configs : dict of str to dict
        Settings by variant of ``substrate_scale``.

    Returns
    -------
    str
        A list of sentences, failures included.
    """
    sentences = [
        *_load(rows, pair_rows),
        *_pair_goals(pair_rows),
        *_memory_goals(rows, configs),
        *_disk_goals(rows, configs),
        *_start_goals(rows),
    ]
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _load(rows: pd.DataFrame, pair_rows: pd.DataFrame):
    loads = [table[table["metric"] == "load_average"]["value"] for table in (rows, pair_rows)]
    busiest = max(load.max() for load in loads)
    yield (
        f"While it was measured, up to {busiest:.1f} processes wanted to run at once. With more "
        "than there are cores the clock runs on while others work; the figures by each core leave "
        "that out."
    )


def _pair_goals(rows: pd.DataFrame):
    found = medians(rows)
    for variant, goal in PAIR_GOALS.items():
        key = (variant, "wall", "pairs_per_second")
        if key in found.index:
            yield (
                f"Pairs, {_learner(variant)}: {found[key] / MILLION:.2f} million a second, goal "
                f"{goal / MILLION:.0f}: **{_met(found[key] >= goal)}**."
            )


def _memory_goals(rows: pd.DataFrame, configs: dict[str, dict]):
    found = medians(rows)
    variants = _of_kind(rows, configs, "memory")
    if not variants:
        return
    smallest = min(variants, key=lambda variant: configs[variant]["neurons"])
    speed = found[smallest, "whole/graph/1", "synapses_per_second"]
    yield (
        f"Spread, {_graph_name(configs[smallest])}, one thread: {speed / MILLION:,.0f} million "
        f"synapses a second, goal {CACHED_GOAL / MILLION:.0f}: **{_met(speed >= CACHED_GOAL)}**."
    )
    ratios = {
        variant: min(
            found[variant, split, "time_ratio"]
            for split in WAYS
            if (variant, split, "time_ratio") in found.index
        )
        for variant in variants
    }
    worst = max(ratios, key=ratios.get)
    yield (
        "The faster of graph and view takes at most "
        f"{ratios[worst]:.2f} times as long as scipy ({_graph_name(configs[worst])}), goal "
        f"{RATIO_GOAL}: **{_met(ratios[worst] <= RATIO_GOAL)}**."
    )
    sparse = max(found[variant, "sparse/graph/1", "time_ratio"] for variant in variants)
    yield (
        f"A sparse activation takes at most {sparse:.2f} times as long as scipy's faster way, goal "
        f"below 1: **{_met(sparse < 1)}**."
    )
    same = all(found[variant, "whole", "same_bits"] == 1 for variant in variants)
    yield (
        "Graph and view, with every number of threads, agree "
        f"{'to the last bit' if same else '**not** to the last bit'}."
    )


def _disk_goals(rows: pd.DataFrame, configs: dict[str, dict]):
    found = medians(rows)
    for variant in _of_kind(rows, configs, "disk"):
        settings = configs[variant]
        if found[variant, "disk", "fits"] != 1:
            yield (
                f"{_graph_name(settings)} on disk: left out, "
                f"{found[variant, 'disk', 'free_gigabytes']:.0f} gigabytes were free for "
                f"{found[variant, 'disk', 'gigabytes']:.1f}."
            )
            continue
        for split, metric, what, goal in DISK_GOALS.get(settings["neurons"], ()):
            if (variant, split, metric) in found.index:
                seconds = found[variant, split, metric]
                yield (
                    f"{_graph_name(settings)} on disk, {what}: {1e3 * seconds:,.1f} ms, goal "
                    f"{1e3 * goal:,.0f}: **{_met(seconds <= goal)}**."
                )


def _start_goals(rows: pd.DataFrame):
    found = rows[rows["split"] == "process"].groupby("metric")["value"].median()
    for metric, (what, goal) in START_GOALS.items():
        if metric in found.index:
            yield (
                f"A new process, {what}: {found[metric]:.2f} s, goal {goal}: "
                f"**{_met(found[metric] <= goal)}**."
            )


def _met(met: bool) -> str:
    return "met" if met else "missed"


def _of_kind(rows: pd.DataFrame, configs: dict[str, dict], kind: str) -> list[str]:
    """Return the measured variants of one kind."""
    return [v for v in dict.fromkeys(rows["variant"]) if configs[v]["kind"] == kind]


def _graph_name(settings: dict) -> str:
    neurons, near = settings["neurons"], ", near targets" if settings["reach"] else ""
    return f"{_count(neurons)} neurons, {_count(neurons * settings['degree'])} synapses{near}"


def _count(number: int) -> str:
    for size, letter in ((10**9, " billion"), (10**6, " million"), (10**3, "K")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return str(number)


@dataclass(frozen=True)
class Cluster:
    """Machines that share one graph; what is assumed, not measured.

    Parameters
    ----------
    neurons : int
    degree : int
        Synapses of each.
    network : float
        Bytes a second that a machine receives.
    cores : int
        Of each machine.
    """

    neurons: int = 10**9
    degree: int = 10
    network: float = 1.25e9
    cores: int = 16

    @property
    def bytes(self) -> int:
        """Bytes of all records."""
        return self.neurons * (NEURON_DTYPE.itemsize + self.degree * SYNAPSE_DTYPE.itemsize)


def beyond(cluster: Cluster, speed: float, machines: tuple[int, ...], share: float) -> pd.DataFrame:
    """Reckon what a cycle costs where each machine owns a block of post-synaptic neurons.

    Parameters
    ----------
    cluster : Cluster
    speed : float
        Synapses a second of one core, as measured.
    machines : tuple of int
    share : float
        Of the neurons, how many emit in a cycle, 0 to 1.

    Returns
    -------
    DataFrame
        One row for each number of machines: gigabytes on each; seconds to receive every emitted
        value and to add up the synapses of its block; and the longer of the two, as they overlap.
    """
    lines = {}
    for count in machines:
        own = cluster.bytes / count
        index = ROW_BYTES * cluster.neurons if count > 1 else 0
        received = share * cluster.neurons * EMITTED_BYTES * (count - 1) / count
        added = share * cluster.neurons * cluster.degree / count
        network = received / cluster.network
        adding = added / (speed * cluster.cores)
        lines[count] = (
            (own + index) / GIGABYTE,
            network,
            adding,
            max(network, adding),
        )
    columns = ["gigabytes on each", "to receive, s", "to add up, s", "a cycle, s"]
    return pd.DataFrame.from_dict(lines, orient="index", columns=columns).rename_axis("machines")


def limit(cluster: Cluster, speed: float) -> float:
    """Return the number of machines beyond which a cycle waits for the network.

    Receiving takes nearly the same on however many machines, adding up less with each; both are
    in proportion to what emits, so the limit does not depend on it.

    Examples
    --------
    >>> round(limit(Cluster(degree=10, network=1e9, cores=1), speed=1e8), 1)
    13.5
    """
    per_neuron = cluster.degree / (speed * cluster.cores)
    return 1 + per_neuron * cluster.network / EMITTED_BYTES


def largest_graph_speed(rows: pd.DataFrame, configs: dict[str, dict]) -> float:
    """Return synapses a second of one core on the largest graph measured in memory or on disk."""
    found = medians(rows)
    variants = [v for kind in ("memory", "disk") for v in _of_kind(rows, configs, kind)]
    known = [v for v in variants if (v, "whole/graph/1", "synapses_per_core_second") in found.index]
    largest = max(known, key=lambda variant: configs[variant]["neurons"])
    return float(found[largest, "whole/graph/1", "synapses_per_core_second"])


def scaling(cluster: Cluster, speed: float) -> str:
    """Say in Markdown what the arithmetic of several machines comes to."""
    index = ROW_BYTES * cluster.neurons
    return (
        f"With {cluster.cores} cores a machine, each as fast as the core measured here "
        f"({speed / MILLION:,.0f} million synapses a second), and a network of "
        f"{cluster.network / GIGABYTE:g} gigabytes a second: the graph takes "
        f"{cluster.bytes / GIGABYTE:,.0f} gigabytes, and the starts of rows, which every machine "
        f"keeps, are {index / GIGABYTE:,.0f} more on each. Receiving what the others emitted takes "
        "nearly the same time on however many machines, adding up takes less with each, so from "
        f"{np.ceil(limit(cluster, speed)):.0f} machines on a cycle waits for the network."
    )
