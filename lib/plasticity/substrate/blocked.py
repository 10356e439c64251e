"""Propagation blocking: the path of large activations, on one thread or many.

Contributions are first dealt to bins of neighbouring targets, then added bin by bin, so that
additions stay in the cache. Every thread deals a slice of the synapses into segments of its own,
and then adds whole bins, slice after slice: the order of addition is that of one thread.

Threads are Python's: the kernels let go of its lock, and need no second way of being compiled.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise

import numba
import numpy as np

from plasticity.substrate.walking import (
    KERNEL,
    Frontier,
    Links,
    checked,
    count_in_bins,
    count_synapses,
    deal_contributions,
)

BIN = 17  # log2 of the targets in a bin: totals of half a megabyte
MOST_BINS = 512
SOURCES = 1 << 20  # sources looked at in one go
CHUNK = 1 << 23  # synapses dealt in one go: 64 megabytes of targets and contributions


@numba.njit(**KERNEL)
def _add_dealt(totals, targets, contributions):
    for i in range(len(targets)):
        totals[np.uint64(targets[i])] += contributions[i]


@contextmanager
def workers(threads: int):
    """Give a function that calls a kernel with each of several lists of arguments, at once."""
    if threads == 1:
        yield lambda kernel, *arguments: [kernel(*each) for each in zip(*arguments, strict=True)]
        return
    with ThreadPoolExecutor(threads) as pool:
        yield lambda kernel, *arguments: list(pool.map(kernel, *arguments))


def add_blocked(links, front, totals, threads, run, release=None) -> None:
    """Add to totals bin by bin, in chunks of synapses, each cut into a slice for each thread."""
    buffers = np.empty(0, np.uint32), np.empty(0, np.float32)
    for start in range(0, len(front.neurons), SOURCES):
        block = Frontier(*(column[start : start + SOURCES] for column in front))
        ends = np.cumsum(_degrees_of(links, block.neurons, threads, run))
        chunks = -(-int(ends[-1]) // CHUNK)
        cuts = [int(ends[-1]) * chunk // chunks for chunk in range(chunks + 1)] if chunks else []
        for begin, end in pairwise(cuts):
            if end - begin > len(buffers[0]):
                buffers = np.empty(end - begin, np.uint32), np.empty(end - begin, np.float32)
            _add_chunk(links, _slices(block, ends, begin, end, threads), totals, buffers, run)
            if release is not None:
                release()


def _degrees_of(links: Links, sources: np.ndarray, threads: int, run) -> np.ndarray:
    degrees = np.empty(len(sources), np.uint64)
    cuts = np.linspace(0, len(sources), threads + 1).astype(int)
    parts = [slice(*cut) for cut in pairwise(cuts)]
    results = run(
        count_synapses,
        [links] * threads,
        [sources[part] for part in parts],
        [degrees[part] for part in parts],
    )
    for result in results:
        checked(result, links)
    return degrees


def _slices(block: Frontier, ends: np.ndarray, begin: int, end: int, threads: int) -> list[tuple]:
    """Cut synapses begin to end of a block into (frontier, synapses to skip, to take)."""
    cuts = [begin + (end - begin) * part // threads for part in range(threads + 1)]
    slices = []
    for low, high in pairwise(cuts):
        first = int(np.searchsorted(ends, np.uint64(low), side="right"))
        skip = low - (int(ends[first - 1]) if first else 0)
        rest = Frontier(block.neurons[first:], block.values[first:])
        slices.append((rest, np.uint64(skip), np.uint64(high - low)))
    return slices


def _add_chunk(links: Links, slices: list[tuple], totals: np.ndarray, buffers, run) -> None:
    """Deal the slices' contributions into bins, a bin's slices in order, and add bin by bin."""
    threads, shift = len(slices), bin_shift(len(totals))
    bins = (len(totals) - 1 >> shift) + 1
    # A cache line between the rows, so that threads do not wait for each other's counts.
    counts = np.zeros((threads, bins + 8), np.uint64)[:, :bins]
    fixed = [np.uint64(shift)] * threads
    fronts, skips, mosts = zip(*slices, strict=True)
    every = [links] * threads
    results = run(count_in_bins, zip(counts, fixed, strict=True), every, fronts, skips, mosts)
    for result in results:
        checked(result, links)
    ends = np.cumsum(counts.T.ravel()).reshape(bins, threads)  # a bin's slices lie side by side
    counts[:] = ends.T - counts
    size, (targets, contributions) = int(ends[-1, -1]), buffers
    states = [(row, targets, contributions, np.uint64(shift)) for row in counts]
    run(deal_contributions, states, every, fronts, skips, mosts)
    goals = [size * part // threads for part in range(1, threads)]
    cuts = [0, *ends[np.searchsorted(ends[:, -1], goals), -1].tolist(), size]
    parts = [slice(*cut) for cut in pairwise(cuts)]
    run(
        _add_dealt,
        [totals] * threads,
        [targets[part] for part in parts],
        [contributions[part] for part in parts],
    )


def bin_shift(number: int) -> int:
    """Return log2 of the targets in a bin, for so many neurons."""
    return max(BIN, (max(number, 1) - 1).bit_length() - MOST_BINS.bit_length() + 1)
