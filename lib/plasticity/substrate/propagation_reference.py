"""Spread in plain Python: one synapse after the other, as the kernels must do it to the bit."""

from collections.abc import Iterator

import numpy as np


def delivered(
    neurons, synapses, pending, frontier, values, signs, allowed
) -> Iterator[tuple[int, int, int, np.float32]]:
    """Yield (source, target, relation, contribution) in the order of addition.

    Parameters
    ----------
    neurons, synapses, pending, frontier, values, signs, allowed
        As for `propagation.deliver`, arrays of the types named there.
    """
    for source, value in zip(frontier.tolist(), values, strict=True):
        first, fan_out = int(neurons["first_synapse"][source]), int(neurons["fan_out"][source])
        records = list(synapses[first : first + fan_out])
        link = int(neurons["pending"][source])
        while link:
            records.append(pending[link - 1])
            link = int(pending[link - 1]["next"])
        for record in records:
            relation = int(record["relation"])
            if allowed[relation]:
                with np.errstate(over="ignore", invalid="ignore"):
                    contribution = (signs[relation] * record["weight"]) * value
                yield source, int(record["target"]), relation, contribution


def deliver(
    neurons, synapses, pending, frontier, values, signs, allowed
) -> tuple[np.ndarray, np.ndarray]:
    """Return what arrives at each neuron.

    Parameters
    ----------
    neurons, synapses, pending, frontier, values, signs, allowed
        As for `propagation.deliver`, arrays of the types named there.

    Returns
    -------
    targets : ndarray of uint32
        Ascending, without totals of 0.
    totals : ndarray of float32

    Examples
    --------
    >>> from plasticity.substrate.structures import NEURON_DTYPE, PENDING_DTYPE, SYNAPSE_DTYPE
    >>> neurons, synapses = np.zeros(2, NEURON_DTYPE), np.zeros(1, SYNAPSE_DTYPE)
    >>> neurons["fan_out"][0], synapses["target"], synapses["weight"] = 1, 1, 3
    >>> frontier, values = np.array([0], np.uint32), np.array([0.5], np.float32)
    >>> relations = np.ones(256, np.float32), np.ones(256, np.uint8)
    >>> deliver(neurons, synapses, np.zeros(0, PENDING_DTYPE), frontier, values, *relations)
    (array([1], dtype=uint32), array([1.5], dtype=float32))
    """
    totals: dict[int, np.float32] = {}
    synapses = delivered(neurons, synapses, pending, frontier, values, signs, allowed)
    for _, target, _, contribution in synapses:
        with np.errstate(over="ignore", invalid="ignore"):
            totals[target] = totals.get(target, np.float32(0)) + contribution
    targets = sorted(target for target, total in totals.items() if total != 0)
    return (
        np.array(targets, np.uint32),
        np.array([totals[target] for target in targets], np.float32),
    )
