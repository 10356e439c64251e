"""Compiled code of learning: every change of a synapse goes through `_change`."""

import numba
import numpy as np

from plasticity.substrate.rules import ADAM, COUNT, DELTA, HEBBIAN, OJA, REWARD, SANGER
from plasticity.substrate.structures import (
    FAN_OUT,
    FIRST,
    FIRST_SYNAPSE,
    NEXT,
    PENDING,
    RELATION,
    SECOND,
    STEPS,
    TARGET,
    WEIGHT,
)

FIRST_DECAY, SECOND_DECAY, TINY = np.float32(0.9), np.float32(0.999), np.float32(1e-8)  # Adam's
ELIGIBILITY_SCALE = np.float32(1 << 14)  # Q1.14: -2 to 2
ELIGIBILITY_RANGE = np.float32(32767)
MOST_STEPS = 65535
ONE = np.float32(1)

# Constants of SplitMix64 (Steele, Lea and Flood, 2014).
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_STEP = np.uint64(0x9E3779B97F4A7C15)
_SHIFT_1, _SHIFT_2, _SHIFT_3 = np.uint64(30), np.uint64(27), np.uint64(31)


@numba.njit(inline="always")
def random_bits(seed, counter):
    """Return 64 bits that depend on a seed and a counter alone: the same for any threads."""
    mixed = seed + (np.uint64(counter) + np.uint64(1)) * _STEP
    mixed = (mixed ^ (mixed >> _SHIFT_1)) * _MIX_1
    mixed = (mixed ^ (mixed >> _SHIFT_2)) * _MIX_2
    return mixed ^ (mixed >> _SHIFT_3)


@numba.njit(inline="always")
def _from_bfloat16(half):
    return np.uint32(np.uint32(half) << np.uint32(16)).view(np.float32)


@numba.njit(inline="always")
def _to_bfloat16(value, noise):
    """Round to bfloat16 up or down at random, so that small changes count on average."""
    bits = np.uint64(np.float32(value).view(np.uint32)) + (noise & np.uint64(0xFFFF))
    return np.uint16(bits >> np.uint64(16))


@numba.njit(inline="always")
def _clip(value, limit):
    return min(max(value, -limit), limit)


@numba.njit(inline="always")
def _adam(halves, edge, slope, noise):
    """Return Adam's step, 1 learning rate long, and keep its moments (Kingma and Ba, 2015)."""
    steps = min(np.int64(halves[edge, STEPS]) + 1, MOST_STEPS)
    first, second = _from_bfloat16(halves[edge, FIRST]), _from_bfloat16(halves[edge, SECOND])
    first = FIRST_DECAY * first + (ONE - FIRST_DECAY) * slope
    second = SECOND_DECAY * second + (ONE - SECOND_DECAY) * slope * slope
    halves[edge, FIRST] = _to_bfloat16(first, noise)
    halves[edge, SECOND] = _to_bfloat16(second, noise >> np.uint64(16))
    halves[edge, STEPS] = steps
    unbiased = np.float64(second) / (1 - np.float64(SECOND_DECAY) ** steps)
    step = np.float64(first) / (1 - np.float64(FIRST_DECAY) ** steps)
    return np.float32(step / (np.sqrt(unbiased) + np.float64(TINY)))


@numba.njit(inline="always")
def _eligibility(halves, edge, decay, tick):
    """Return the eligibility as it is now: it decays with every tick since its last use."""
    value = np.float32(np.int16(halves[edge, FIRST])) / ELIGIBILITY_SCALE
    elapsed = np.uint16(np.uint16(tick) - halves[edge, SECOND])
    return value * np.float32(np.float64(decay) ** np.int64(elapsed))


@numba.njit(inline="always")
def _change(floats, halves, edge, pre, post, feedback, settings, clock):
    """Change one synapse: the one call site of all three-factor rules.

    Parameters
    ----------
    floats, halves : ndarray of float32 and uint16, shape (synapses, words)
        Views of the synapses or of the pending ones.
    edge : int
        Place in them.
    pre, post : float32
        What the source and the target contribute.
    feedback : float32
        What Oja's and Sanger's rule take away from `pre`.
    settings : tuple of (int, float32, float32, float32)
        Rule, learning rate times modulator, limit, decay of eligibility.
    clock : tuple of (int, uint64)
        Tick of the brain, and random bits of this update.
    """
    rule, rate, limit, decay = settings
    tick, noise = clock
    weight = floats[edge, WEIGHT]
    if rule == HEBBIAN:
        both = pre * post
        side = ONE if both > 0 else -ONE
        weight += rate * both * (limit - side * weight)
    elif rule in (OJA, SANGER):
        weight += rate * post * (pre - feedback)
    elif rule == DELTA:
        weight += rate * pre * post
    elif rule == ADAM:
        weight += rate * _adam(halves, edge, pre * post, noise)
    elif rule == REWARD:
        value = _eligibility(halves, edge, decay, tick) + pre * post
        scaled = _clip(np.float32(np.rint(value * ELIGIBILITY_SCALE)), ELIGIBILITY_RANGE)
        halves[edge, FIRST] = np.uint16(np.int16(scaled))
        halves[edge, SECOND] = np.uint16(tick)
        halves[edge, STEPS] = min(np.int64(halves[edge, STEPS]) + 1, MOST_STEPS)
    elif rule == COUNT:
        low = np.int64(halves[edge, FIRST]) + 1
        halves[edge, FIRST] = np.uint16(low & 0xFFFF)
        halves[edge, SECOND] += np.uint16(low >> 16)
    floats[edge, WEIGHT] = _clip(weight, limit)


def _learn_pairs(graph, sources, edges, pre, post, settings, clock, threads):
    """Change the synapse of each pair, in order.

    Parameters
    ----------
    graph : tuple of ndarray
        float32 and uint16 words of the synapses, then of the pending ones.
    sources : ndarray of uint32, shape (pairs,)
        A synapse belongs to the thread of its source, so that the order of the changes of one
        synapse does not depend on the number of threads.
    edges : ndarray of int64, shape (pairs,)
        Edge numbers; negative ones are passed over.
    pre, post : ndarray of float32, shape (pairs,)
    settings : tuple
        As for `_change`.
    clock : tuple of (int, uint64)
        Tick of the brain, and seed of this call's random bits.
    threads : int
    """
    floats, halves, pending_floats, pending_halves = graph
    tick, seed = clock
    in_rows = len(floats)
    for thread in numba.prange(threads):
        for i in range(len(edges)):
            edge = edges[i]
            if edge < 0 or (threads > 1 and sources[i] % np.uint32(threads) != thread):
                continue
            now = (tick, random_bits(seed, i))
            if edge < in_rows:
                feedback = post[i] * floats[edge, WEIGHT]
                _change(floats, halves, edge, pre[i], post[i], feedback, settings, now)
            else:
                edge -= in_rows
                feedback = post[i] * pending_floats[edge, WEIGHT]
                _change(
                    pending_floats, pending_halves, edge, pre[i], post[i], feedback, settings, now
                )


learn_pairs = numba.njit(cache=True)(_learn_pairs)
learn_pairs_parallel = numba.njit(cache=True, parallel=True)(_learn_pairs)


@numba.njit(inline="always")
def _position(targets, target):
    """Return where a target stands in an ascending list, or -1."""
    place = np.searchsorted(targets, target)
    return place if place < len(targets) and targets[place] == target else -1


@numba.njit(cache=True)
def learn_rows(graph, index, sources, pre, targets, post, relation, settings, clock):
    """Change every synapse of a relation that leads from the sources to the targets.

    Parameters
    ----------
    graph : tuple of ndarray
        As for `learn_pairs`.
    index : tuple of ndarray
        uint32 and uint64 words of the neurons; uint32 words and bytes of the synapses, then of
        the pending ones.
    sources : ndarray of uint32, shape (sources,)
    pre : ndarray of float32, shape (sources,)
    targets : ndarray of uint32, shape (targets,)
        Ascending.
    post : ndarray of float32, shape (targets,)
    relation : int
    settings, clock : tuple
        As for `learn_pairs`.
    """
    floats, halves, pending_floats, pending_halves = graph
    words, long_words, synapse_words, synapse_bytes, pending_words, pending_bytes = index
    tick, seed = clock
    running = settings[0] == SANGER
    for i in range(len(sources)):
        source = sources[i]
        first = np.int64(long_words[source, FIRST_SYNAPSE])
        feedback = np.float32(0)
        for edge in range(first, first + np.int64(words[source, FAN_OUT])):
            if synapse_bytes[edge, RELATION] != relation:
                continue
            place = _position(targets, synapse_words[edge, TARGET])
            if place < 0:
                continue
            own = post[place] * floats[edge, WEIGHT]
            feedback = feedback + own if running else own
            now = (tick, random_bits(seed, edge))
            _change(floats, halves, edge, pre[i], post[place], feedback, settings, now)
        chain = np.int64(words[source, PENDING])
        while chain:
            edge = chain - 1
            chain = np.int64(pending_words[edge, NEXT])
            if pending_bytes[edge, RELATION] != relation:
                continue
            place = _position(targets, pending_words[edge, TARGET])
            if place < 0:
                continue
            own = post[place] * pending_floats[edge, WEIGHT]
            now = (tick, random_bits(seed, len(floats) + edge))
            _change(pending_floats, pending_halves, edge, pre[i], post[place], own, settings, now)


@numba.njit(cache=True)
def apply_reward(floats, halves, edges, surprise, rate, limit, decay, tick):
    """Turn eligibility into weight: w += rate surprise e.

    Parameters
    ----------
    floats, halves : ndarray of float32 and uint16
        Views of the synapses or of the pending ones.
    edges : ndarray of int64
        Places in them.
    surprise : float32
        Reward minus what was expected.
    rate, limit, decay : float32
    tick : int
    """
    for edge in edges:
        eligible = _eligibility(halves, edge, decay, tick)
        floats[edge, WEIGHT] = _clip(floats[edge, WEIGHT] + rate * surprise * eligible, limit)


@numba.njit(cache=True)
def sample_contrast(sources, targets, negatives, strength, table, seed, out):
    """Write each pair followed by its sampled negatives.

    Parameters
    ----------
    sources, targets : ndarray of uint32, shape (pairs,)
    negatives : int
        How many a pair.
    strength : float32
        Post of a negative is minus this.
    table : ndarray of uint32
        Neurons, each as often as it is to be drawn.
    seed : uint64
    out : tuple of ndarray
        Sources and targets, uint32, and post, float32, shape (pairs * (1 + negatives),).
    """
    all_sources, all_targets, post = out
    place = 0
    size = np.uint64(len(table))
    for i in range(len(sources)):
        all_sources[place], all_targets[place], post[place] = sources[i], targets[i], ONE
        place += 1
        for _ in range(negatives):
            drawn = table[random_bits(seed, place) % size]
            all_sources[place], all_targets[place], post[place] = sources[i], drawn, -strength
            place += 1


def softmax_error(scores: np.ndarray, target: int) -> np.ndarray:
    """Return the local error of a softmax on the last hop: 1 for the target, minus probabilities.

    Parameters
    ----------
    scores : ndarray of float, shape (classes,)
    target : int
        Place of the right class.

    Returns
    -------
    ndarray of float32, shape (classes,)

    Examples
    --------
    >>> softmax_error(np.zeros(2), 0)
    array([ 0.5, -0.5], dtype=float32)
    """
    shares = np.exp(scores - np.max(scores))
    error = -shares / shares.sum()
    error[target] += 1
    return error.astype(np.float32)


def margin_error(scores: np.ndarray, target: int, margin: float = 0.0) -> np.ndarray:
    """Return the error of a perceptron with a margin: +1 for the target, -1 for its rival.

    Parameters
    ----------
    scores : ndarray of float, shape (classes,)
        At least two.
    target : int
        Place of the right class.
    margin : float
        The target has to lead the best other class by more than this, else both are corrected.

    Returns
    -------
    ndarray of float32, shape (classes,)

    Examples
    --------
    >>> margin_error(np.array([1.0, 3.0, 0.0]), 0)
    array([ 1., -1.,  0.], dtype=float32)
    """
    others = np.array(scores, float)
    others[target] = -np.inf
    rival = int(np.argmax(others))
    error = np.zeros(len(others), np.float32)
    if scores[target] - others[rival] <= margin:
        error[target], error[rival] = 1, -1
    return error
