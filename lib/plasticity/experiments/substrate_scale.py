"""How fast the substrate spreads and how large it gets, beside scipy's sparse product.

Of one random graph: in memory, a whole activation and a sparse one, from the graph itself, from a
derived view and by scipy; or on disk, memory-mapped: built, opened, a sparse and a whole cycle; or
mostly a hole in a file, of more neurons than memory holds; or the start of a process.
"""

import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from plasticity.companion import metrics
from plasticity.companion.configuration import (
    ExperimentConfig,
    Runtime,
    check_choice,
    check_range,
    setting,
)
from plasticity.substrate import Brain, propagation, residency, spreading, views
from plasticity.substrate.store import Store
from plasticity.substrate.structures import NEURON_DTYPE, PENDING_DTYPE, SYNAPSE_DTYPE

KINDS = ("memory", "disk", "hole", "start")
CHUNK = 1 << 20  # neurons of a graph made at once
RESERVE = 1.3  # of its own size must be free before a graph is built on disk
GIGABYTE = 1e9
BILLION = 10**9
ALL_RELATIONS = (np.ones(256, np.float32), np.ones(256, np.bool_))
START = """
import time
started = time.perf_counter()
import plasticity.substrate
from plasticity.substrate import Brain
print(time.perf_counter() - started)
brain = Brain()
brain.connect(brain.grow(3), 0, 1.0)
started = time.perf_counter()
brain.spread([1, 2], 1.0)
print(time.perf_counter() - started)
"""


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """One graph, or the start of a process."""

    kind: str = setting("memory", "memory, disk, hole (in a file) or start (of a process)")
    neurons: int = setting(10_000, "neurons of the graph")
    degree: int = setting(10, "synapses of each neuron")
    reach: int = setting(0, "targets lie so far from their source at most; 0 for anywhere")
    frontier: int = setting(1000, "neurons of the sparse activation")
    threads: tuple[int, ...] = setting((1, 2), "numbers of threads of the whole activation")
    whole: bool = setting(True, "whether a graph on disk is activated as a whole, too")
    resident_gigabytes: float = setting(0.0, "bound on memory, graph on disk; 0 for none")
    repeats: int = setting(10, "how often each time is taken, in turns")

    def __post_init__(self):
        """Check types and ranges."""
        super().__post_init__()
        check_choice("kind", self.kind, KINDS)
        check_range("neurons", self.neurons, 2, 2**32 - 2)
        check_range("degree", self.degree, 1, 10_000)
        check_range("reach", self.reach, 0, self.neurons // 2)
        check_range("frontier", self.frontier, 1, self.neurons)
        check_range("resident_gigabytes", self.resident_gigabytes, 0, math.inf)
        check_range("repeats", self.repeats, 1, math.inf)
        for count in self.threads:
            check_range("threads", count, 1, 64)


def datasets(config: Config) -> tuple[str, ...]:
    """Return the datasets that a run reads: none, the graphs are random."""
    return ()


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Measure one kind.

    Parameters
    ----------
    config : Config
    seed : int
        Draws the graph.
    folder : Path
        A graph on disk is written into it, and removed afterwards.
    runtime : Runtime
        Not used: the numbers of threads are settings.

    Returns
    -------
    pandas.DataFrame
        Columns step (the repeat), split (what was measured), metric, value, unit.
    """
    kinds = {"memory": _memory, "disk": _disk, "hole": _hole, "start": _start}
    rows = kinds[config.kind](config, seed, folder / "graph")
    rows.append((0, "machine", "load_average", os.getloadavg()[0]))
    frame = pd.DataFrame(rows, columns=["step", "split", "metric", "value"])
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])


def _chunks(config: Config, seed: int, what: str) -> Iterator[np.ndarray]:
    """Yield the neurons or synapses of a random graph, bit by bit, the same for the same seed."""
    for number, first in enumerate(range(0, config.neurons, CHUNK)):
        count = min(CHUNK, config.neurons - first)
        if what == "neurons":
            neurons = np.zeros(count, NEURON_DTYPE)
            neurons["identity"] = np.arange(first, first + count)
            neurons["first_synapse"] = neurons["identity"] * np.uint64(config.degree)
            neurons["fan_out"], neurons["gain"] = config.degree, 1
            yield neurons
            continue
        generator = np.random.default_rng([seed, number])
        synapses = np.zeros(count * config.degree, SYNAPSE_DTYPE)
        if config.reach:
            sources = np.repeat(np.arange(first, first + count), config.degree)
            steps = generator.integers(-config.reach, config.reach + 1, len(synapses))
            synapses["target"] = (sources + steps) % config.neurons
        else:
            drawn = generator.integers(0, config.neurons, len(synapses), np.uint32)
            synapses["target"] = drawn
        synapses["weight"] = generator.standard_normal(len(synapses), np.float32)
        yield synapses


def _graph(config: Config, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    neurons, synapses = (
        np.concatenate(list(_chunks(config, seed, what))) for what in ("neurons", "synapses")
    )
    return neurons, synapses, np.zeros(0, PENDING_DTYPE)


def _sparse_frontier(config: Config, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng([seed, 2**31])
    drawn = np.unique(generator.integers(0, config.neurons, 2 * config.frontier, np.uint32))
    chosen = np.sort(generator.permutation(drawn)[: config.frontier])
    return chosen, generator.standard_normal(len(chosen), np.float32)


def _in_turns(
    works: dict[str, Callable], repeats: int, after: Callable = lambda: None
) -> dict[str, list[tuple[float, float]]]:
    """Return wall and processor seconds of each work, alternating, after one turn unmeasured."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for repeat in range(-1, repeats):
        for name, work in works.items():
            wall, processor = time.perf_counter(), time.process_time()
            kept = work()
            spent = time.perf_counter() - wall, time.process_time() - processor
            del kept
            if repeat >= 0:
                times[name].append(spent)
            after()
    return times


def _time_rows(times: dict[str, list[tuple[float, float]]], edges: int, metric: str) -> list[tuple]:
    """Return seconds and synapses a second, by the clock and by the processor, of each repeat."""
    rows = []
    for name, spent in times.items():
        for repeat, (wall, processor) in enumerate(spent):
            rows += [
                (repeat, name, metric, wall),
                (repeat, name, "synapses_per_second", edges / wall),
                (repeat, name, "synapses_per_core_second", edges / max(processor, 1e-9)),
                (repeat, name, "cores_used", processor / wall),
            ]
    return rows


def _ratio_rows(times: dict[str, list[tuple[float, float]]], peers: tuple[str, ...]) -> list[tuple]:
    """Return each time over that of the fastest peer in the same turn."""
    best = [min(times[peer][i][0] for peer in peers) for i in range(len(times[peers[0]]))]
    return [
        (repeat, name, "time_ratio", wall / best[repeat])
        for name, spent in times.items()
        if name not in peers
        for repeat, (wall, _) in enumerate(spent)
    ]


def _memory(config: Config, seed: int, folder: Path) -> list[tuple]:
    """Return rows of whole and sparse activations of a graph in memory."""
    graph = _graph(config, seed)
    everyone = np.arange(config.neurons, dtype=np.uint32)
    values = np.random.default_rng(seed).standard_normal(config.neurons, np.float32)
    started = time.perf_counter()
    view = views.build(*graph, *ALL_RELATIONS, version=0)
    rows = [(0, "view", "build_seconds", time.perf_counter() - started)]
    rows.append((0, "view", "gigabytes", 12 * len(view.targets) / GIGABYTE))
    ends = np.arange(0, len(graph[1]) + 1, config.degree)
    targets = np.ascontiguousarray(graph[1]["target"]).view(np.int32)
    outward = sparse.csr_matrix((graph[1]["weight"], targets, ends), (config.neurons,) * 2)
    inward = outward.T.tocsr()
    works: dict[str, Callable] = {"whole/scipy": lambda: inward @ values}
    for n in config.threads:
        works[f"whole/graph/{n}"] = lambda n=n: propagation.deliver(
            *graph, everyone, values, *ALL_RELATIONS, threads=n
        )
        works[f"whole/view/{n}"] = lambda n=n: view.totals(0, values, n)
    rows.append((0, "whole", "same_bits", _same_bits(works)))
    times = _in_turns(works, config.repeats)
    rows += _time_rows(times, len(graph[1]), "cycle_seconds")
    rows += _ratio_rows(times, ("whole/scipy",))
    few, emitted = _sparse_frontier(config, seed)
    row = sparse.csr_matrix((emitted, few.astype(np.int32), [0, len(few)]), (1, config.neurons))
    works = {
        "sparse/scipy_rows": lambda: outward[few].T @ emitted,
        "sparse/scipy_product": lambda: row @ outward,
        "sparse/graph/1": lambda: propagation.deliver(*graph, few, emitted, *ALL_RELATIONS),
    }
    times = _in_turns(works, max(config.repeats, 20))
    rows += _time_rows(times, len(few) * config.degree, "frontier_seconds")
    return rows + _ratio_rows(times, ("sparse/scipy_rows", "sparse/scipy_product"))


def _same_bits(works: dict[str, Callable]) -> float:
    """Return whether all ways of a whole activation but scipy's agree to the last bit."""
    found = []
    for name, work in works.items():
        result = work()
        if "/view/" in name:
            hit = np.flatnonzero(result)
            result = hit, result[hit]
        if "scipy" not in name:
            found.append((result[0].astype(np.uint32).tobytes(), result[1].tobytes()))
    return float(all(each == found[0] for each in found))


def _free_disk(folder: Path) -> float:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return shutil.disk_usage(folder.parent).free


def _disk(config: Config, seed: int, folder: Path) -> list[tuple]:
    """Return rows of a graph on disk; of one that does not fit, only how much room there is."""
    size = config.neurons * (NEURON_DTYPE.itemsize + config.degree * SYNAPSE_DTYPE.itemsize)
    free = _free_disk(folder)
    rows = [
        (0, "disk", "gigabytes", size / GIGABYTE),
        (0, "disk", "free_gigabytes", free / GIGABYTE),
        (0, "disk", "fits", float(free >= RESERVE * size)),
    ]
    if free < RESERVE * size:
        return rows
    try:
        started = time.perf_counter()
        _build(config, seed, folder)
        rows.append((0, "disk", "build_seconds", time.perf_counter() - started))
        rows.append((0, "disk", "resident_gigabytes", _peak() / GIGABYTE))
        for repeat in range(config.repeats):
            started = time.perf_counter()
            store = Store.open(folder)
            rows.append((repeat, "disk", "open_seconds", time.perf_counter() - started))
            store.close()
        rows += _mapped_sparse(config, seed, folder)
        if config.whole:
            rows += _mapped_whole(config, seed, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return rows


def _build(config: Config, seed: int, folder: Path) -> None:
    """Write a brain straight into the first generation of a store, never whole in memory."""
    empty = Brain(seed=seed)
    store, counts = empty.store, {"neurons": 1, "synapses": config.degree}
    arrays = {name: (store[name].dtype, len(store[name]), [store[name]]) for name in store.names}
    for name, factor in counts.items():
        arrays[name] = (
            store[name].dtype,
            config.neurons * factor,
            _chunks(config, seed, name),
        )
    Store.build(folder, arrays, store.meta)


def _peak() -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _mapped_sparse(config: Config, seed: int, folder: Path) -> list[tuple]:
    """Return rows of a sparse cycle of a brain on disk: cold, then warm, and of its delivery."""
    few, emitted = _sparse_frontier(config, seed)
    with Brain.open(folder) as brain:
        started = time.perf_counter()
        brain.spread(few, emitted)
        rows = [(0, "first/cycle/1", "frontier_seconds", time.perf_counter() - started)]
        graph = brain.graph.neurons, brain.graph.synapses, brain.graph.pending
        works = {
            "sparse/cycle/1": lambda: brain.spread(few, emitted),
            "sparse/graph/1": lambda: propagation.deliver(*graph, few, emitted, *ALL_RELATIONS),
        }
        times = _in_turns(works, max(config.repeats, 20))
    return rows + _time_rows(times, len(few) * config.degree, "frontier_seconds")


def _mapped_whole(config: Config, seed: int, folder: Path) -> list[tuple]:
    """Return rows of whole cycles of a brain on disk, or of bounded deliveries."""
    rows, everyone = [], np.arange(config.neurons, dtype=np.uint32)
    values = np.random.default_rng(seed).standard_normal(config.neurons, np.float32)
    with Store.open(folder) as store:
        started = time.perf_counter()
        for name in ("neurons", "synapses"):
            store.require(name)
        rows.append((0, "disk", "verify_seconds", time.perf_counter() - started))
        graph = store["neurons"], store["synapses"], store["pending"]
        limit = int(config.resident_gigabytes * GIGABYTE)
        release = residency.ResidentLimit(limit, *graph) if limit else None
        highest = []

        def watch():
            highest.append(residency.resident_bytes())
            if release is not None:
                release()

        brains = {n: Brain(store=store, threads=n) for n in config.threads}
        works: dict[str, Callable] = {}
        for n, brain in brains.items():
            works[f"whole/graph/{n}"] = lambda n=n: propagation.deliver(
                *graph, everyone, values, *ALL_RELATIONS, threads=n, release=watch
            )
            if not limit:  # a whole cycle writes every neuron, in private memory
                works[f"whole/cycle/{n}"] = lambda b=brain: b.spread(everyone, values)
        times = _in_turns(works, config.repeats)
        if not limit:
            for brain in brains.values():
                brain.derive()
            works = {f"whole/derived_cycle/{n}": works[f"whole/cycle/{n}"] for n in brains}
            times |= _in_turns(works, config.repeats)
    rows += _time_rows(times, config.neurons * config.degree, "cycle_seconds")
    return [*rows, (0, "whole/graph", "resident_gigabytes", max(highest) / GIGABYTE)]


def _hole(config: Config, seed: int, folder: Path) -> list[tuple]:
    """Return rows of a file of neurons that is a hole but for those of a sparse frontier."""
    _free_disk(folder)
    few, emitted = _sparse_frontier(config, seed)
    path = folder.with_suffix(".neurons")
    try:
        with open(path, "wb") as file:
            file.truncate(config.neurons * NEURON_DTYPE.itemsize)
        started = time.perf_counter()
        neurons = np.memmap(path, NEURON_DTYPE, mode="r+")
        rows = [(0, "hole", "open_seconds", time.perf_counter() - started)]
        synapses = np.zeros(len(few) * config.degree, SYNAPSE_DTYPE)
        synapses["target"] = np.random.default_rng(seed).integers(0, len(neurons), len(synapses))
        synapses["weight"] = 1
        neurons["first_synapse"][few] = np.arange(0, len(synapses), config.degree)
        neurons["fan_out"][few] = config.degree
        graph, nothing = (neurons, synapses, np.zeros(0, PENDING_DTYPE)), spreading.NOTHING

        def cycle():
            found = propagation.deliver(*graph, few, emitted, *ALL_RELATIONS)
            return spreading.integrate(neurons, found, nothing, nothing, 1, (few, emitted))

        rows += _time_rows(
            _in_turns({"sparse/cycle/1": cycle}, max(config.repeats, 20)),
            len(synapses),
            "frontier_seconds",
        )
        right = _spreads_right(graph, few, emitted)
        holds = float(right and len(neurons) >= BILLION)
        rows.append((0, "hole", "billion_neurons_spread", holds))
        neurons.flush()
        rows.append((0, "hole", "gigabytes", path.stat().st_size / GIGABYTE))
        rows.append((0, "hole", "disk_gigabytes", path.stat().st_blocks * 512 / GIGABYTE))
    finally:
        path.unlink(missing_ok=True)
    return rows


def _spreads_right(graph: tuple, few: np.ndarray, emitted: np.ndarray) -> bool:
    """Whether a sparse activation, all of whose weights are 1, arrives as NumPy adds it up."""
    targets = graph[1]["target"]
    reached, places = np.unique(targets, return_inverse=True)
    totals = np.zeros(len(reached), np.float32)
    np.add.at(totals, places, np.repeat(emitted, len(targets) // len(few)))
    found = propagation.deliver(*graph, few, emitted, *ALL_RELATIONS)
    kept = totals != 0
    return np.array_equal(found[0], reached[kept]) and np.array_equal(found[1], totals[kept])


def _start(config: Config, seed: int, folder: Path) -> list[tuple]:
    """Return rows of new processes: the import, and the first spread with kernels in the cache."""
    rows = []
    for repeat in range(-1, config.repeats):
        command = [sys.executable, "-c", START]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        imported, called = (float(line) for line in done.stdout.split())
        if repeat >= 0:
            rows.append((repeat, "process", "import_seconds", imported))
            rows.append((repeat, "process", "first_call_seconds", called))
    return rows
