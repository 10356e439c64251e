import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from plasticity.companion import metrics
from plasticity.companion.statistics import (
    bootstrap_interval,
    hierarchical_interval,
    holm,
    mean_interval,
    paired_difference,
    paired_p_value,
    summarise,
    values_by_seed,
)

numbers = st.floats(-1e6, 1e6)


def tidy(values, metric="accuracy", split="test", step=0):
    """Return rows from {variant: values by seed}."""
    return pd.DataFrame(
        [
            {
                "experiment": "e",
                "variant": variant,
                "profile": "laptop",
                "seed": seed,
                "step": step,
                "split": split,
                "metric": metric,
                "value": float(value),
                "unit": "percent",
            }
            for variant, series in values.items()
            for seed, value in enumerate(series)
        ]
    )


@settings(deadline=None)
@given(st.lists(numbers, min_size=2, max_size=30))
def test_interval_contains_its_mean(values):
    found = mean_interval(values)
    assert found.low <= found.mean <= found.high
    assert found.count == len(values)


@settings(deadline=None)
@given(st.lists(numbers, min_size=3, max_size=30).filter(lambda v: np.std(v) > 1e-3))
def test_interval_is_students(values):
    found = mean_interval(values, confidence=0.9)
    expected = stats.t.interval(0.9, len(values) - 1, np.mean(values), stats.sem(values))
    np.testing.assert_allclose((found.low, found.high), expected, rtol=1e-9, atol=1e-6)


def test_interval_of_one_value_and_of_equal_values():
    alone = mean_interval([3.0])
    assert (alone.mean, alone.count) == (3.0, 1)
    assert np.isnan([alone.low, alone.high]).all()
    equal = mean_interval([3.0, 3.0, 3.0])
    assert (equal.low, equal.high) == (3.0, 3.0)


@pytest.mark.parametrize("interval", [mean_interval, bootstrap_interval])
def test_bad_arguments_are_named(interval):
    with pytest.raises(ValueError, match=r"values has shape \(0,\)"):
        interval([])
    with pytest.raises(ValueError, match=r"confidence is 1.5; allowed: between 0 and 1"):
        interval([1.0, 2.0], confidence=1.5)


def test_a_diverged_seed_shows_as_nan():
    assert np.isnan(mean_interval([1.0, np.nan, 2.0]).low)
    assert np.isnan(bootstrap_interval([1.0, np.nan, 2.0]).low)


@settings(deadline=None)
@given(st.integers(0, 2**16))
def test_bootstrap_is_deterministic_and_exact_on_constants(seed):
    values = np.random.default_rng(seed).normal(size=8)
    first, second = (bootstrap_interval(values, resamples=50, random_state=seed) for _ in range(2))
    assert first == second
    constant = bootstrap_interval([2.0, 2.0], resamples=50)
    assert (constant.low, constant.mean, constant.high) == (2.0, 2.0, 2.0)
    with pytest.raises(ValueError, match="resamples is 0"):
        bootstrap_interval(values, resamples=0)


def test_bootstrap_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = [
        bootstrap_interval(rng.exponential(size=40), resamples=400, random_state=k)
        for k in range(200)
    ]
    covered = np.mean([interval.low <= 1 <= interval.high for interval in found])
    assert 0.88 <= covered <= 0.99


@settings(deadline=None)
@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=12))
def test_paired_difference_is_antisymmetric(pairs):
    rows = tidy({"a": [a for a, _ in pairs], "b": [b for _, b in pairs]})
    forward = paired_difference(rows, "accuracy", "a", "b")
    back = paired_difference(rows, "accuracy", "b", "a")
    assert forward.mean == -back.mean
    assert (forward.low, forward.high) == (-back.high, -back.low)


def test_pairing_uses_the_seeds_that_both_have():
    rows = tidy({"a": [10, 20, 30], "b": [9, 19]})
    found = paired_difference(rows.sample(frac=1, random_state=0), "accuracy", "a", "b")
    assert (found.mean, found.low, found.high, found.count) == (1, 1, 1, 2)


def test_pairing_without_a_shared_seed_is_refused():
    with pytest.raises(ValueError, match="share no seed"):
        paired_difference(tidy({"a": [1, 2]}), "accuracy", "a", "b")


def test_several_values_a_seed_are_refused():
    rows = pd.concat([tidy({"a": [1, 2]}), tidy({"a": [3, 4]}, split="validation", step=5)])
    with pytest.raises(ValueError, match=r"splits \['test', 'validation'\], steps \[0, 5\]"):
        values_by_seed(rows, "accuracy", "a")
    assert values_by_seed(rows, "accuracy", "a", split="test").tolist() == [1, 2]
    assert values_by_seed(rows, "accuracy", "a", step=5).tolist() == [3, 4]
    with pytest.raises(ValueError, match="several values a seed"):
        summarise(rows, by=("variant",))


def test_summary_has_one_line_a_group():
    rows = pd.concat([tidy({"b": [1, 2, 3], "a": [5]}), tidy({"a": [7]}, metric="loss")])
    table = summarise(rows)
    assert list(table.columns) == [
        *("variant", "split", "step", "metric", "mean", "low", "high", "seeds", "unit")
    ]
    assert table["variant"].tolist() == ["b", "a", "a"]
    assert table["seeds"].tolist() == [3, 1, 1]
    assert table.loc[0, "mean"] == 2
    assert summarise(rows.iloc[:0]).empty


def test_metrics_are_declared_once():
    assert metrics.metric("loss").better == "lower"
    assert {m.better for m in metrics.METRICS.values()} == {"higher", "lower", None}
    assert all(m.unit for m in metrics.METRICS.values())
    with pytest.raises(ValueError, match=r"unknown metric 'acuracy'; known metrics: .*accuracy"):
        metrics.metric("acuracy")


def test_hierarchical_interval_counts_what_items_share_once():
    rng = np.random.default_rng(0)
    items = rng.normal(size=40)
    shared = np.repeat(items[None], 20, axis=0)  # all seeds agree: only items vary
    found = hierarchical_interval(shared, resamples=4000)
    expected = 2 * 1.96 * items.std() / np.sqrt(40)
    assert (found.high - found.low) == pytest.approx(expected, rel=0.1)


def test_hierarchical_interval_counts_seeds():
    rng = np.random.default_rng(1)
    seeds = rng.normal(size=30)
    found = hierarchical_interval(np.repeat(seeds[:, None], 50, axis=1), resamples=4000)
    expected = 2 * 1.96 * seeds.std() / np.sqrt(30)
    assert (found.high - found.low) == pytest.approx(expected, rel=0.1)
    assert found.count == 30


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((0, 2)), np.zeros((1, 2, 3))])
def test_hierarchical_interval_refuses_other_shapes(bad):
    with pytest.raises(ValueError, match="shape"):
        hierarchical_interval(bad)


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=8))
def test_paired_p_value_is_that_of_scipy(values):
    vector = np.array(values)
    if vector.std(ddof=1) > 1e-6:
        assert paired_p_value(values) == pytest.approx(stats.ttest_1samp(vector, 0).pvalue)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_order_and_never_lowers(values):
    corrected = holm(values)
    assert all(c >= min(v, 1) - 1e-12 and c <= 1 for c, v in zip(corrected, values, strict=True))
    order = np.argsort(values, kind="stable")
    assert np.all(np.diff(np.array(corrected)[order]) >= -1e-12)


def test_holm_leaves_what_is_not_known():
    assert holm([0.01, float("nan")])[0] == 0.02
    assert np.isnan(holm([0.01, float("nan")])[1])
