"""Compiled code on the graph: finding, growing and changing synapses.

A synapse has an **edge number**: its place among the rows, or, while it is pending, the number of
synapses in rows plus its place among the pending ones. Rows are sorted by relation and target and
are searched by bisection; pending synapses are found through an open-addressing table of slots,
each 32 bits of a hash and 1 + a place. Every change goes through `_change`. All of it stands in one
file because numba's cache does not notice changes in another one.
"""

import numba
import numpy as np

from plasticity.substrate.prefetching import prefetch
from plasticity.substrate.rules import ADAM, COUNT, DELTA, HEBBIAN, OJA, REWARD, SANGER
from plasticity.substrate.structures import (
    FAN_OUT,
    FIRST,
    FIRST_SYNAPSE,
    NEXT,
    PENDING,
    RELATION,
    SECOND,
    SOURCE,
    STEPS,
    TARGET,
    WEIGHT,
)

MISSING = -1
BLOCK = 256  # pairs looked up at once: what they touch stays in the nearest cache
KERNEL = {"cache": True, "nogil": True}
# Constants of MurmurHash3's 64-bit finaliser (Appleby, 2011, public domain).
_MURMUR_1, _MURMUR_2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_SPREAD = np.uint32(0x9E3779B9)  # Knuth's multiplicative hash
_SHIFT, _HALF, _LOW = np.uint64(33), np.uint64(32), np.uint64(0xFFFFFFFF)

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
def _hash(source, target, relation):
    mixed = (np.uint64(source) << _HALF) ^ np.uint64(target) ^ (np.uint64(relation) * _MURMUR_2)
    mixed = (mixed ^ (mixed >> _SHIFT)) * _MURMUR_1
    mixed = (mixed ^ (mixed >> _SHIFT)) * _MURMUR_2
    return mixed ^ (mixed >> _SHIFT)


@numba.njit(inline="always")
def _owner(source, parts):
    """Return the part, of so many, that a source's synapses belong to."""
    return np.uint64(np.uint32(source * _SPREAD)) * np.uint64(parts) >> _HALF


@numba.njit(inline="always")
def _key(synapse_words, edge):
    """Return relation and target as one number, by which rows are sorted."""
    # The relation is the low byte of the upper half of the last word.
    relation = np.uint64(synapse_words[edge, 3] >> 16 & 0xFF)
    return relation << _HALF | np.uint64(synapse_words[edge, TARGET])


@numba.njit
def _search_rows(graph, sources, targets, relation, edges):
    """Write the edge number of each pair in its row, or MISSING.

    All bisections take a step before any takes the next: reads of memory overlap, and no branch
    has to be guessed.
    """
    words, long_words, synapse_words, _, _, _, _ = graph
    kind = np.uint64(relation) << _HALF
    left = np.empty(len(sources), np.int64)  # how much of its row is left
    longest = np.int64(0)
    for i in range(len(sources)):
        source = np.uint64(sources[i])
        left[i] = words[source, FAN_OUT]
        edges[i] = np.int64(long_words[source, FIRST_SYNAPSE]) * (left[i] > 0)
        longest = max(longest, left[i])
    while longest > 1:
        for i in range(len(sources)):
            half = left[i] >> 1
            other = _key(synapse_words, np.uint64(edges[i] + half))
            edges[i] += half * (other <= (kind | np.uint64(targets[i])))
            left[i] -= half
        longest -= longest >> 1
    for i in range(len(sources)):
        wanted = kind | np.uint64(targets[i])
        if left[i] == 0 or _key(synapse_words, np.uint64(edges[i])) != wanted:
            edges[i] = MISSING


@numba.njit(inline="always")
def _in_slots(slots, pending_words, pending_bytes, source, target, relation):
    """Return (place among the pending synapses or MISSING, slot where the search ended)."""
    mask = np.uint64(len(slots) - 1)
    mixed = _hash(source, target, relation)
    slot, tag = mixed & mask, mixed >> _HALF
    while slots[slot] != 0:
        if slots[slot] >> _HALF == tag:
            place = np.int64(slots[slot] & _LOW) - 1
            if (
                pending_words[place, SOURCE] == source
                and pending_words[place, TARGET] == target
                and pending_bytes[place, RELATION] == relation
            ):
                return place, slot
        slot = (slot + np.uint64(1)) & mask
    return MISSING, slot


@numba.njit
def _search_slots(graph, sources, targets, relation, edges):
    """Write the edge numbers of pairs that are MISSING so far but pending.

    All slots are asked for before any is looked at, and then all synapses that they point to.
    """
    words, _, synapse_words, _, pending_words, pending_bytes, slots = graph
    mask = np.uint64(len(slots) - 1)
    waiting, mixed = np.empty(len(sources), np.int64), np.empty(len(sources), np.uint64)
    waits = 0
    for i in range(len(sources)):
        if edges[i] == MISSING and words[np.uint64(sources[i]), PENDING]:
            mixed[waits] = _hash(sources[i], targets[i], relation)
            prefetch(slots.ctypes.data + (mixed[waits] & mask) * np.uint64(slots.itemsize))
            waiting[waits] = i
            waits += 1
    for j in range(waits):
        slot, tag = mixed[j] & mask, mixed[j] >> _HALF
        while slots[slot] != 0 and slots[slot] >> _HALF != tag:
            slot = (slot + np.uint64(1)) & mask
        if slots[slot] != 0:
            place = (slots[slot] & _LOW) - np.uint64(1)
            edges[waiting[j]] = place
            prefetch(pending_words.ctypes.data + place * np.uint64(pending_words.strides[0]))
    for i in waiting[:waits]:
        place = np.int64(edges[i])
        if place == MISSING:
            continue
        source, target = sources[i], targets[i]
        if (
            pending_words[np.uint64(place), SOURCE] != source
            or pending_words[np.uint64(place), TARGET] != target
            or pending_bytes[np.uint64(place), RELATION] != relation
        ):  # another pair of the same tag
            place, _ = _in_slots(slots, pending_words, pending_bytes, source, target, relation)
        edges[i] = MISSING if place == MISSING else len(synapse_words) + place


@numba.njit(**KERNEL)
def locate(part, parts, graph, sources, targets, relation, edges):
    """Write the edge number of each pair, MISSING where there is no synapse.

    Parameters
    ----------
    part, parts : int
        Which part of the pairs this call looks up; the parts may run at once.
    graph : tuple of arrays
        `Graph.arrays`.
    sources, targets : ndarray of uint32, shape (pairs,)
    relation : int
    edges : ndarray of int64, shape (pairs,)
        Written.
    """
    end = len(sources) * (part + 1) // parts
    for start in range(len(sources) * part // parts, end, BLOCK):
        own = slice(start, min(start + BLOCK, end))
        pairs = sources[own], targets[own], relation, edges[own]
        _search_rows(graph, *pairs)
        _search_slots(graph, *pairs)


@numba.njit(**KERNEL)
def grow(graph, sources, targets, relation, edges, count):
    """Grow the pairs whose edge is MISSING, in order, each once; return the pending count.

    Parameters
    ----------
    graph : tuple of arrays
        `Graph.arrays`; the pending synapses must have room, and the slots be at most half full.
    sources, targets : ndarray of uint32, shape (pairs,)
    relation : int
    edges : ndarray of int64, shape (pairs,)
        Edge numbers; those grown are written.
    count : int
        Pending synapses so far.
    """
    words, _, synapse_words, _, pending_words, pending_bytes, slots = graph
    for i in range(len(sources)):
        if edges[i] != MISSING:
            continue
        source, target = sources[i], targets[i]
        place, slot = _in_slots(slots, pending_words, pending_bytes, source, target, relation)
        if place == MISSING:
            place, count = count, count + 1
            pending_words[place, TARGET] = target
            pending_words[place, SOURCE] = source
            pending_bytes[place, RELATION] = relation
            pending_words[place, NEXT] = words[source, PENDING]
            words[source, PENDING] = place + 1
            tag = _hash(source, target, relation) >> _HALF
            slots[slot] = (tag << _HALF) | np.uint64(place + 1)
        edges[i] = len(synapse_words) + place
    return count


@numba.njit(**KERNEL)
def enter(pending_words, pending_bytes, slots):
    """Enter every pending synapse into empty slots."""
    mask = np.uint64(len(slots) - 1)
    for place in range(len(pending_words)):
        source, target = pending_words[place, SOURCE], pending_words[place, TARGET]
        mixed = _hash(source, target, pending_bytes[place, RELATION])
        slot = mixed & mask
        while slots[slot] != 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = (mixed >> _HALF << _HALF) | np.uint64(place + 1)


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
def _adam(halves, edge, slope, seed, counter):
    """Return Adam's step, 1 learning rate long, and keep its moments (Kingma and Ba, 2015)."""
    noise = random_bits(seed, counter)
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
    clock : tuple of (int, uint64, int)
        Tick of the brain, and what this update's random bits depend on: seed and counter.
    """
    rule, rate, limit, decay = settings
    tick, seed, counter = clock
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
        weight += rate * _adam(halves, edge, pre * post, seed, counter)
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


@numba.njit(inline="always")
def _change_edge(views, edge, pre, post, settings, clock):
    """Change one synapse wherever it stands, by a rule that looks at no other synapse."""
    floats, halves, pending_floats, pending_halves = views
    place = np.uint64(edge)
    if edge < len(floats):
        feedback = post * floats[place, WEIGHT]
        _change(floats, halves, place, pre, post, feedback, settings, clock)
    else:
        place = np.uint64(edge - len(floats))
        feedback = post * pending_floats[place, WEIGHT]
        _change(pending_floats, pending_halves, place, pre, post, feedback, settings, clock)


@numba.njit(**KERNEL)
def learn_pairs(part, parts, graph, sources, edges, pre, post, stride, settings, clock):
    """Change the synapse of each pair, in order.

    Parameters
    ----------
    part, parts : int
        A synapse belongs to the part of its source, so that the order of the changes of one
        synapse does not depend on the number of parts; they may run at once.
    graph : tuple of ndarray
        float32 and uint16 words of the synapses, then of the pending ones.
    sources : ndarray of uint32, shape (pairs,)
    edges : ndarray of int64, shape (pairs,)
        Edge numbers; negative ones are passed over.
    pre, post : ndarray of float32, shape (pairs,)
    stride : int
        The counter of pair i's random bits is i times this.
    settings : tuple
        As for `_change`.
    clock : tuple of (int, uint64)
        Tick of the brain, and seed of this call's random bits.
    """
    tick, seed = clock
    for i in range(len(edges)):
        if edges[i] >= 0 and _owner(sources[i], parts) == np.uint64(part):
            _change_edge(graph, edges[i], pre[i], post[i], settings, (tick, seed, i * stride))


@numba.njit(inline="always")
def _sample(pairs, each, sources, targets, noise, all_sources, all_targets):
    """Write each of these pairs followed by its negatives, so many in all."""
    table, seed, _ = noise
    mask = np.uint64(len(table) - 1)
    place = 0
    for i in pairs:
        all_sources[place : place + each], all_targets[place] = sources[i], targets[i]
        for k in range(1, each):
            all_targets[place + k] = table[random_bits(seed, i * each + k) & mask]
        place += each


@numba.njit(**KERNEL)
def learn_contrast(
    part, parts, graph, views, sources, targets, relation, noise, settings, clock, edges
):
    """Change the synapses there are of each pair and, after it, of its sampled negatives.

    Parameters
    ----------
    part, parts, graph, sources, targets, relation
        As for `locate`; a pair belongs to the part of its source, as for `learn_pairs`.
    views, settings, clock : tuple
        As graph, settings and clock for `learn_pairs`.
    noise : tuple of (ndarray of uint32, uint64, float32)
        Neurons to draw from, each as often as it is to be drawn, a power of two in all; seed;
        post of a negative.
    edges : ndarray of int64, shape (pairs, 1 + negatives)
        Written: edge numbers of each pair and its negatives, MISSING where there is none.
    """
    tick, seed = clock
    activity, each = noise[2], edges.shape[1]
    own = np.empty(max(1, BLOCK // each), np.int64)
    all_sources = np.empty(len(own) * each, np.uint32)
    all_targets, found = np.empty_like(all_sources), np.empty(len(all_sources), np.int64)
    i = 0
    while i < len(sources):
        pairs = 0
        while i < len(sources) and pairs < len(own):  # without a branch on whose pair it is
            own[pairs] = i
            pairs += _owner(sources[i], parts) == np.uint64(part)
            i += 1
        _sample(own[:pairs], each, sources, targets, noise, all_sources, all_targets)
        count = pairs * each
        block = all_sources[:count], all_targets[:count], relation, found
        _search_rows(graph, *block)
        _search_slots(graph, *block)
        place = 0
        for pair in own[:pairs]:
            for k in range(each):
                edge, post = found[place], ONE if k == 0 else activity
                place += 1
                edges[pair, k] = edge
                if edge != MISSING:
                    now = (tick, seed, pair * each + k)
                    _change_edge(views, edge, ONE, post, settings, now)


@numba.njit(inline="always")
def _position(targets, target):
    """Return where a target stands in an ascending list, or -1."""
    place = np.searchsorted(targets, target)
    return place if place < len(targets) and targets[place] == target else -1


@numba.njit(**KERNEL)
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
            now = (tick, seed, edge)
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
            now = (tick, seed, len(floats) + edge)
            _change(pending_floats, pending_halves, edge, pre[i], post[place], own, settings, now)


@numba.njit(**KERNEL)
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
