"""The records of the graph: a neuron of 64 bytes, one cache line, and a synapse of 16.

Compiled code reads the same buffers as plain columns, by the word positions at the end of this
module: ``array.view(np.float32).reshape(-1, 16)[:, ACTIVATION]`` is every activation.
"""

import numpy as np

NEURON_DTYPE = np.dtype(
    [
        ("identity", np.uint64),  # stable: a hash of the first name, or of the index if unnamed
        ("first_synapse", np.uint64),  # index of the first synapse of its row
        ("activation", np.float32),  # as of last_tick; decays from there
        ("threshold", np.float32),  # fires above it
        ("leak", np.float32),  # share of the activation kept per tick, 0 (no memory) to 1
        ("bias", np.float32),  # added whenever input arrives: a resting level or log-prior
        ("gain", np.float32),  # multiplies the input that arrives
        ("trace", np.float32),  # free for rules that keep a value by neuron, as a baseline
        ("last_tick", np.uint32),  # cycle of the last input
        ("fires", np.uint32),  # times it fired
        ("fan_out", np.uint32),  # synapses in its row
        ("pending", np.uint32),  # 1 + place of its newest pending synapse; 0 for none
        ("name", np.uint32),  # 1 + place of its name; 0 for none
        ("group", np.uint16),  # competes for the places of its group; 0 for none
        ("kind", np.uint8),  # free for the domain: modality, part of speech
        ("flags", np.uint8),  # reserved, 0
    ]
)
"""One neuron, 64 bytes."""

SYNAPSE_DTYPE = np.dtype(
    [
        ("target", np.uint32),  # index of the neuron it leads to
        ("weight", np.float32),
        ("first", np.uint16),  # state of the relation's rule, see `rules`:
        ("second", np.uint16),  # moments of an adaptive step, eligibility and its tick,
        ("steps", np.uint16),  # low and high half of a count, number of updates
        ("relation", np.uint8),  # index of its relation
        ("flags", np.uint8),  # PINNED: kept at consolidation however weak
    ]
)
"""One synapse, 16 bytes; its source is the neuron whose row it stands in."""

PENDING_DTYPE = np.dtype(
    [
        *SYNAPSE_DTYPE.descr,
        ("source", np.uint32),  # index of the neuron it comes from
        ("next", np.uint32),  # 1 + place of the source's pending synapse before it; 0 for none
    ]
)
"""A synapse grown since the last consolidation, 24 bytes, on a chain that starts at its source."""

NAME_DTYPE = np.dtype(
    [
        ("identity", np.uint64),  # hash of the name
        ("neuron", np.uint32),  # index of the neuron that it names
        ("length", np.uint32),  # bytes of UTF-8
        ("start", np.uint64),  # where they start in the text
    ]
)
"""A name or an alias, 24 bytes; the characters stand in one buffer of text."""

PINNED = np.uint8(1)

assert NEURON_DTYPE.itemsize == 64
assert SYNAPSE_DTYPE.itemsize == 16
assert PENDING_DTYPE.itemsize == 24

# 4-byte words of a neuron.
FIRST_SYNAPSE = 1  # as an 8-byte word
ACTIVATION, THRESHOLD, LEAK, BIAS, GAIN = 4, 5, 6, 7, 8
LAST_TICK, FIRES, FAN_OUT, PENDING = 10, 11, 12, 13
# 4-byte words of a synapse and of a pending synapse, whose synapse comes first.
TARGET, WEIGHT, SOURCE, NEXT = 0, 1, 4, 5
# 2-byte words, and the byte of the relation.
FIRST, SECOND, STEPS = 4, 5, 6
RELATION = 14


def words(records: np.ndarray, dtype: type) -> np.ndarray:
    """Return records as rows of plain words, without a copy.

    Parameters
    ----------
    records : ndarray of NEURON_DTYPE, SYNAPSE_DTYPE or PENDING_DTYPE, shape (n,)
        Contiguous.
    dtype : type
        ``np.float32``, ``np.uint32``, ``np.uint16``, ``np.uint64`` or ``np.uint8``.

    Returns
    -------
    ndarray of dtype, shape (n, words)
        A view on the same memory.

    Examples
    --------
    >>> neurons = np.zeros(3, NEURON_DTYPE)
    >>> words(neurons, np.float32)[:, ACTIVATION] = 2
    >>> neurons["activation"]
    array([2., 2., 2.], dtype=float32)
    """
    width = records.dtype.itemsize // np.dtype(dtype).itemsize
    return records.view(dtype).reshape(len(records), width)
