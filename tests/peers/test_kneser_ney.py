"""The Kneser-Ney peer against the formulas of Chen and Goodman, word by word in plain Python."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plasticity.peers.kneser_ney import KneserNey, discounts_of

WORDS = 5
END, OPEN = WORDS, WORDS + 1
TEXTS = st.lists(
    st.lists(st.integers(0, WORDS - 1), max_size=8).map(np.array), min_size=1, max_size=12
)


def counted(texts, order):
    """Count the n-grams of each order as lmplz does."""
    padded = [(OPEN, *map(int, text), END) for text in texts]
    raw = {
        n: Counter(t[i : i + n] for t in padded for i in range(len(t) - n + 1))
        for n in range(1, order + 1)
    }
    counts = {order: raw[order]}
    for n in range(1, order):
        left = Counter(gram[1:] for gram in raw[n + 1])
        counts[n] = {g: raw[n][g] if g[0] == OPEN else left[g] for g in raw[n]}
    counts[1].pop((OPEN,))
    return counts


def probability(counts, context, word, order):
    """Return the interpolated probability of a word after a context of order - 1 words."""
    if order == 0:
        return 1 / (WORDS + 1)
    lower = probability(counts, context[1:], word, order - 1)
    grams = {g: c for g, c in counts[order].items() if g[:-1] == context}
    if not grams:
        return lower
    taken = [0, *discounts_of(np.array(list(counts[order].values())))]
    total = sum(grams.values())
    own = grams.get((*context, word), 0)
    share = (own - taken[min(own, 3)]) / total
    return share + sum(taken[min(c, 3)] for c in grams.values()) / total * lower


@settings(deadline=None, max_examples=60)
@given(TEXTS, TEXTS, st.integers(2, 4))
def test_scores_are_those_of_the_formulas(texts, others, order):
    model, counts = KneserNey(texts, WORDS, order), counted(texts, order)
    for text, logs in zip(others, model.log_probabilities(others), strict=True):
        words = (OPEN, *map(int, text), END)
        for place, log in enumerate(logs, 1):
            context = words[max(0, place - order + 1) : place]
            expected = probability(counts, context, words[place], len(context) + 1)
            assert np.exp(log) == pytest.approx(expected)


@settings(deadline=None, max_examples=60)
@given(TEXTS, st.lists(st.integers(0, WORDS - 1), max_size=5), st.integers(1, 5))
def test_probabilities_sum_to_one(texts, context, order):
    model, total = KneserNey(texts, WORDS, order), 0.0
    for word in range(WORDS):
        total += np.exp(model.log_probabilities([np.array([*context, word])])[0][len(context)])
    total += np.exp(model.log_probabilities([np.array(context, int)])[0][-1])
    assert total == pytest.approx(1)


def test_discounts_are_chen_and_goodmans():
    counts = np.repeat([1, 2, 3, 4, 9], [100, 40, 20, 10, 30])
    share = 100 / 180
    expected = [1 - 2 * share * 0.4, 2 - 3 * share * 0.5, 3 - 4 * share * 0.5]
    assert discounts_of(counts) == pytest.approx(expected)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="texts is empty"):
        KneserNey([], WORDS, 2)
    with pytest.raises(ValueError, match="0 to 4"):
        KneserNey([np.array([5])], WORDS, 2)
    with pytest.raises(ValueError, match="order is 0"):
        KneserNey([np.array([1])], WORDS, 0)
