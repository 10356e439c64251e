"""Compiled code of the story model: what follows each place, and learning from what did.

The score of a word is a sum of what many neurons say for it; its probability is its share of the
exponentials. Four kinds of neurons speak:

- the words alone: the logarithm of how many different words each follows;
- chains of contexts: by how much their activation lifts a word above its share of the words alone;
- working memory: gains on the words met in this story, and on those that followed the same words;
- states: the place in the story and in the sentence, and the last two words.

Every weight is learnt by one rule, w += rate (target - probability) input, with steps that shrink
with the squares of earlier ones (Duchi, Hazan and Singer, 2011). All of it stands in one file
because numba's cache does not notice changes in another one.
"""

from typing import NamedTuple

import numba
import numpy as np

KERNEL = {"cache": True, "nogil": True, "error_model": "numpy"}
SIZES = 12  # classes of a context's count, by its power of two
AGES = 10  # classes of how many words ago, likewise
TIMES = 4  # classes of how often: 0, 1, 2, 3 or more
FREQUENCIES = 8  # classes of a word's logarithm of frequency
LONGEST = 3  # longest run of words that memory compares
RIVALS = 5  # classes of how many different words followed
IMPOSSIBLE = -50.0  # logarithm for words that never follow anything
ONE = np.float32(1)


class Weights(NamedTuple):
    """Weights that are learnt, or the squares of their steps.

    Attributes
    ----------
    base : ndarray of float64, shape (1,)
        Of the words alone.
    chains : ndarray of float64, shape (depths * SIZES, chains)
        By how long a context of the first chain is known, and its count.
    lengths : ndarray of float64, shape (chains, depths, SIZES)
        The same by each chain's own context.
    held : ndarray of float64, shape (TIMES, AGES, FREQUENCIES)
        Of words met in this story, by how often, how long ago, and frequency.
    words : ndarray of float64, shape (words, TIMES)
        The same by word.
    follows : ndarray of float64, shape (LONGEST, TIMES, RIVALS, FREQUENCIES)
        Of words that followed the last words in this story, by how many of these, how often, how
        many others did, and frequency.
    states : ndarray of float32, shape (states, words)
    """

    base: np.ndarray
    chains: np.ndarray
    lengths: np.ndarray
    held: np.ndarray
    words: np.ndarray
    follows: np.ndarray
    states: np.ndarray


class Desk(NamedTuple):
    """Room to work in, made anew by each call."""

    shares: np.ndarray  # of the words alone
    logs: np.ndarray
    frequency: np.ndarray
    lifts: np.ndarray  # by chain: what each word named by it gains
    named: np.ndarray
    sizes: np.ndarray  # by chain: words named, length and class of count of its context
    heard: np.ndarray  # activation of a chain, 0 between uses
    score: np.ndarray
    share: np.ndarray
    times: np.ndarray  # in this story so far
    last: np.ndarray
    met: np.ndarray
    followed: np.ndarray  # by length of the run
    followers: np.ndarray
    counts: np.ndarray  # words met; followers of each length


@numba.njit(**KERNEL)
def desk_of(chains, words):
    """Return a `Desk`."""
    return Desk(
        np.zeros(words),
        np.zeros(words),
        np.zeros(words, np.int64),
        np.zeros((chains, words), np.float32),
        np.zeros((chains, words), np.int32),
        np.zeros((chains, 3), np.int64),
        np.zeros(words),
        np.zeros(words, np.float32),
        np.zeros(words, np.float32),
        np.zeros(words, np.int64),
        np.zeros(words, np.int64),
        np.zeros(words, np.int32),
        np.zeros((LONGEST, words), np.int64),
        np.zeros((LONGEST, words), np.int32),
        np.zeros(1 + LONGEST, np.int64),
    )


@numba.njit(inline="always")
def _power(number):
    """Return how many binary digits a number has."""
    digits = 0
    while number > 0:
        number >>= 1
        digits += 1
    return digits


@numba.njit(**KERNEL)
def change(columns, edges, start, stop, sign):
    """Take the counts of places back (sign -1), or give them again (sign 1).

    Parameters
    ----------
    columns : Columns
        Counts, firsts, totals and base are written.
    edges : ndarray of int32, shape (levels, length)
        The synapse of each place at each level, -1 for none.
    start, stop : int
    sign : int
    """
    counts, firsts, totals = columns.counts, columns.firsts, columns.totals
    gone = 0 if sign < 0 else 1  # the count that a synapse vanishes at, or appears with
    for place in range(start, stop):
        for level in range(len(edges) - 1, -1, -1):
            edge = edges[level, place]
            if edge < 0:
                continue
            counts[edge] += sign
            own = columns.longest[level] or edges[level + 1, place] < 0
            if own or counts[edges[level + 1, place]] == gone:
                source, old = columns.sources[edge], firsts[edge]
                new = old + sign
                firsts[edge] = new
                totals[source, 0] += sign
                if old > 0:
                    totals[source, min(old, 3)] -= 1
                if new > 0:
                    totals[source, min(new, 3)] += 1
            if level == 0 and counts[edge] == gone:
                columns.base[columns.targets[edge]] += sign


@numba.njit(**KERNEL)
def alone(base, discounts, never, desk):
    """Work out the shares of the words alone; those that never follow anything have none."""
    total, taken = 0, 0.0
    for word in range(len(base)):
        total += base[word]
        taken += discounts[min(base[word], 3)]
    if total == 0:  # the only story is taken back
        total, taken = 1, 1.0
    even = taken / total / (len(base) - len(never))
    for word in range(len(base)):
        share = (base[word] - discounts[min(base[word], 3)]) / total + even
        desk.shares[word] = share
        desk.logs[word] = np.log(share)
        desk.frequency[word] = min(FREQUENCIES - 1, max(0, int(-desk.logs[word] - 1.5)))
    for word in never:
        desk.shares[word], desk.logs[word] = 0.0, IMPOSSIBLE


@numba.njit(**KERNEL)
def spread_chain(columns, first, stop, found, place, desk, chain):
    """Let activation spread along one chain, and list what each word named gains.

    Walks from the longest context that is known to the shortest, each weighed by the gains of those
    before: the same sum as spreading from the shortest, without touching the other words.
    """
    rows, targets, firsts, totals = columns.rows, columns.targets, columns.firsts, columns.totals
    heard, named, lifts = desk.heard, desk.named[chain], desk.lifts[chain]
    desk.sizes[chain, :] = 0
    scale, count = 1.0, 0
    for level in range(stop - 1, first - 1, -1):
        source = found[level, place]
        if source < 0 or totals[source, 0] == 0:
            continue
        total = totals[source, 0]
        if scale == 1.0 and desk.sizes[chain, 1] == 0:
            desk.sizes[chain, 1] = level - first + 1
            desk.sizes[chain, 2] = min(_power(total), SIZES - 1)
        one, two, more = columns.discounts[level, 1:]
        weight = scale / total
        for edge in range(rows[source], rows[source + 1]):
            own = firsts[edge]
            if own > 0:
                word = targets[edge]
                if heard[word] == 0.0:
                    named[count] = word
                    count += 1
                heard[word] += (own - (one if own == 1 else two if own == 2 else more)) * weight
        left = one * totals[source, 1] + two * totals[source, 2] + more * totals[source, 3]
        scale *= left / total
    for i in range(count):
        word = named[i]
        lifts[i] = np.log(ONE + np.float32(heard[word] / (scale * desk.shares[word])))
        heard[word] = 0.0
    desk.sizes[chain, 0] = count


@numba.njit(**KERNEL)
def remember(words, start, place, desk):
    """List what followed the last one, two and three words before in this story."""
    desk.counts[1:] = 0
    for earlier in range(start + 1, place):
        length = 0
        while (
            length < LONGEST
            and earlier - 1 - length >= start
            and words[earlier - 1 - length] == words[place - 1 - length]
        ):
            length += 1
        word = words[earlier]
        for run in range(length):
            if desk.followed[run, word] == 0:
                desk.followers[run, desk.counts[1 + run]] = word
                desk.counts[1 + run] += 1
            desk.followed[run, word] += 1


@numba.njit(**KERNEL)
def forget(desk):
    """Clear what `remember` listed."""
    for run in range(LONGEST):
        for i in range(desk.counts[1 + run]):
            desk.followed[run, desk.followers[run, i]] = 0


@numba.njit(**KERNEL)
def add_up(weights, desk, states, place, memory):
    """Add up the score of every word, and turn scores into shares; return the log of their sum."""
    score, share = desk.score, desk.share
    base = np.float32(weights.base[0])
    for word in range(len(score)):
        score[word] = base * np.float32(desk.logs[word])
    for state in states[place]:
        if state >= 0:
            row = weights.states[state]
            for word in range(len(score)):
                score[word] += row[word]
    selected = desk.sizes[0, 1] * SIZES + desk.sizes[0, 2]
    for chain in range(len(desk.sizes)):
        count, length, size = desk.sizes[chain]
        weight = weights.chains[selected, chain] + weights.lengths[chain, length, size]
        for i in range(count):
            score[desk.named[chain, i]] += weight * desk.lifts[chain, i]
    if memory:
        for i in range(desk.counts[0]):
            word = desk.met[i]
            times, age = min(desk.times[word], TIMES - 1), _age(place, desk.last[word])
            gain = weights.held[times, age, desk.frequency[word]] + weights.words[word, times]
            score[word] += gain
        for run in range(LONGEST):
            rivals = min(desk.counts[1 + run], RIVALS) - 1
            for i in range(desk.counts[1 + run]):
                word = desk.followers[run, i]
                times = min(desk.followed[run, word], TIMES - 1)
                score[word] += weights.follows[run, times, rivals, desk.frequency[word]]
    highest = score.max()
    total = 0.0
    for word in range(len(score)):
        share[word] = np.exp(score[word] - highest)
        total += share[word]
    scale = np.float32(1 / total)
    for word in range(len(score)):
        share[word] *= scale
    return highest + np.log(total)


@numba.njit(inline="always")
def _age(place, last):
    return min(_power(place - last), AGES - 1)


@numba.njit(inline="always")
def _step(weights, squares, at, slope, rate):
    """Change one weight against its slope."""
    squares[at] += slope * slope
    weights[at] -= rate * slope / np.sqrt(squares[at] + 1)


@numba.njit(**KERNEL)
def learn(weights, squares, desk, states, place, memory, rates, followed):
    """Change every weight that spoke; `desk.share` becomes the slopes of the scores."""
    slope, rate = desk.share, rates[0]
    slope[followed] -= ONE
    total = 0.0
    for word in range(len(slope)):
        total += slope[word] * desk.logs[word]
    _step(weights.base, squares.base, 0, total, rate)
    selected = desk.sizes[0, 1] * SIZES + desk.sizes[0, 2]
    for chain in range(len(desk.sizes)):
        count, length, size = desk.sizes[chain]
        total = 0.0
        for i in range(count):
            total += slope[desk.named[chain, i]] * desk.lifts[chain, i]
        if count:
            _step(weights.chains, squares.chains, (selected, chain), total, rate)
            _step(weights.lengths, squares.lengths, (chain, length, size), total, rate)
    if memory:
        for i in range(desk.counts[0]):
            word = desk.met[i]
            times, age = min(desk.times[word], TIMES - 1), _age(place, desk.last[word])
            at = times, age, desk.frequency[word]
            _step(weights.held, squares.held, at, slope[word], rate)
            _step(weights.words, squares.words, (word, times), slope[word], rate)
        for run in range(LONGEST):
            rivals = min(desk.counts[1 + run], RIVALS) - 1
            for i in range(desk.counts[1 + run]):
                word = desk.followers[run, i]
                times = min(desk.followed[run, word], TIMES - 1)
                at = run, times, rivals, desk.frequency[word]
                _step(weights.follows, squares.follows, at, slope[word], rate)
    rate = np.float32(rates[1])
    for state in states[place]:
        if state >= 0:
            row, square = weights.states[state], squares.states[state]
            for word in range(len(slope)):
                square[word] += slope[word] * slope[word]
                row[word] -= rate * slope[word] / np.sqrt(square[word] + ONE)


@numba.njit(**KERNEL)
def read(part, parts, stream, stories, columns, ends, never, mixture, learning, results):
    """Go through stories place by place; score what follows, and learn from it if asked to.

    Parameters
    ----------
    part, parts : int
        Which part of the stories this call reads; parts may run at once unless they learn.
    stream : tuple
        Words, starts of stories, context neurons (levels, length), states (length, kinds).
    stories : ndarray of int64
        Which to read, in this order.
    columns : Columns
    ends : ndarray of int64
        Where the levels of each chain start.
    never : ndarray of int64
        Words that never follow anything.
    mixture : tuple
        Weights, squares, and whether memory speaks.
    learning : tuple
        Rates at the first story, of single weights and of states, from where they fall evenly to 0
        after the last one; and the synapses of each place (levels, length), by
        which each story is taken back while it is read; of length 0 to read without learning.
    results : tuple
        Written: logarithms of the probability of each place's word, shape (length,); and for places
        with a row of 0 or more, shape (length,), the probability of every word, (rows, words).
    """
    words, starts, found, states = stream
    weights, squares, memory = mixture
    rates, edges = learning
    logs, rows, shares = results
    learns = edges.shape[1] > 0
    desk = desk_of(len(ends) - 1, len(columns.base))
    discounts = columns.discounts[len(columns.discounts) - 1]
    alone(columns.base, discounts, never, desk)
    for i in range(len(stories) * part // parts, len(stories) * (part + 1) // parts):
        start, stop = starts[stories[i]], starts[stories[i] + 1]
        if learns:
            change(columns, edges, start, stop, -1)
            alone(columns.base, discounts, never, desk)
        left = 1 - i / len(stories)
        pace = rates[0] * left, rates[1] * left
        desk.counts[0] = 0
        for place in range(start + 1, stop):
            for chain in range(len(ends) - 1):
                spread_chain(columns, ends[chain], ends[chain + 1], found, place, desk, chain)
            if memory:
                remember(words, start, place, desk)
            word = words[place]
            logs[place] = -add_up(weights, desk, states, place, memory)
            logs[place] += desk.score[word]
            if rows[place] >= 0:
                shares[rows[place]] = desk.share
            if learns:
                learn(weights, squares, desk, states, place, memory, pace, word)
            if memory:
                forget(desk)
            if desk.times[word] == 0:
                desk.met[desk.counts[0]] = word
                desk.counts[0] += 1
            desk.times[word] += 1
            desk.last[word] = place
        for k in range(desk.counts[0]):
            desk.times[desk.met[k]] = 0
        if learns:
            change(columns, edges, start, stop, 1)
