"""Compiled code that sorts the pending synapses into the rows."""

import numba
import numpy as np

from plasticity.substrate.structures import FAN_OUT, FIRST_SYNAPSE, PENDING, TARGET


@numba.njit(cache=True, nogil=True)
def merge(words, long_words, synapses, pending, order, starts, merged):
    """Write the rows of all neurons anew, with the pending synapses sorted in.

    Parameters
    ----------
    words, long_words : ndarray of uint32 and uint64
        Words of the neurons; row, fan-out and pending chain are written.
    synapses : ndarray of uint32, shape (synapses, 4)
        Rows as they are.
    pending : ndarray of uint32, shape (pending, 6)
    order : ndarray of int64, shape (pending,)
        Pending places sorted by source, relation and target.
    starts : ndarray of int64, shape (neurons + 1,)
        Where each source's part of `order` starts.
    merged : ndarray of uint32, shape (synapses + pending, 4)
        Written.
    """
    out = 0
    for neuron in range(len(words)):
        old = np.int64(long_words[neuron, FIRST_SYNAPSE])
        old_end = old + np.int64(words[neuron, FAN_OUT])
        new, new_end = starts[neuron], starts[neuron + 1]
        first = out
        while old < old_end or new < new_end:
            take_old = new == new_end
            if old < old_end and new < new_end:
                mine, other = synapses[old], pending[order[new]]
                # The relation is the low byte of the upper half of the last word.
                left, right = (mine[3] >> 16) & 0xFF, (other[3] >> 16) & 0xFF
                take_old = left < right or (left == right and mine[TARGET] < other[TARGET])
            if take_old:
                merged[out, :] = synapses[old]
                old += 1
            else:
                merged[out, :] = pending[order[new], :4]
                new += 1
            out += 1
        long_words[neuron, FIRST_SYNAPSE] = first
        words[neuron, FAN_OUT] = out - first
        words[neuron, PENDING] = 0
