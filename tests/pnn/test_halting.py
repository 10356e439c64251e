"""Halting: rules at their limits, sequences that leave do not disturb those that stay."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_masked import RULE, toy_ids, toy_model

from plasticity.pnn.halting import (
    ChangedArgmax,
    Divergence,
    Entropy,
    Learned,
    Readout,
    learn_to_halt,
    refine_until,
    unrest_levels,
)
from plasticity.pnn.masking import IGNORED_LABEL, fixed_masks

MODEL = toy_model(3)
MASKED, LABELS = fixed_masks(toy_ids(20), RULE, 2)
HIDDEN = LABELS != IGNORED_LABEL
UNIT = torch.nn.Linear(16, 1)
KINDS = [Entropy(0.0), Divergence(0.0), ChangedArgmax(0.0), Learned(0.0, UNIT)]


def logits_at(steps: int) -> torch.Tensor:
    with torch.no_grad():
        return MODEL.head(MODEL.pnn(MASKED, num_steps=steps).last_hidden_state[HIDDEN])


@pytest.mark.parametrize("rule", KINDS, ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize(("threshold", "steps"), [(-1.0, 4), (math.inf, 1)])
def test_the_limits_are_all_steps_and_one(rule, threshold, steps):
    found = refine_until(MODEL, MASKED, HIDDEN, replace(rule, threshold=threshold))
    assert found.steps.tolist() == [steps] * len(MASKED)
    torch.testing.assert_close(found.logits, logits_at(steps))


@settings(deadline=None, max_examples=20)
@given(kind=st.sampled_from(KINDS), quantile=st.floats(0, 1))
def test_each_sequence_stops_at_its_own_step_as_if_it_were_alone(kind, quantile):
    levels = unrest_levels(MODEL, MASKED, HIDDEN, kind)
    rule = replace(kind, threshold=float(levels.quantile(quantile)) + 1e-5)
    found = refine_until(MODEL, MASKED, HIDDEN, rule)
    settled = levels <= rule.threshold
    settled[-1] = True
    assert found.steps.tolist() == (settled.float().argmax(0) + 1).tolist()
    paths, rows = torch.stack([logits_at(t) for t in range(1, 5)]), HIDDEN.nonzero()[:, 0]
    expected = paths[found.steps[rows] - 1, torch.arange(len(rows))]
    torch.testing.assert_close(found.logits, expected, atol=1e-5, rtol=1e-4)


@settings(deadline=None, max_examples=15)
@given(kind=st.sampled_from(KINDS), low=st.floats(0, 3), more=st.floats(0, 3))
def test_a_higher_threshold_never_takes_more_steps(kind, low, more):
    sure = refine_until(MODEL, MASKED, HIDDEN, replace(kind, threshold=low)).steps
    hasty = refine_until(MODEL, MASKED, HIDDEN, replace(kind, threshold=low + more)).steps
    assert (hasty <= sure).all()


def test_steps_that_are_not_taken_are_not_computed():
    levels = unrest_levels(MODEL, MASKED, HIDDEN, Entropy(0.0))
    rule, sizes = Entropy(float(levels[0].median())), []
    hook = MODEL.pnn.refiner.register_forward_hook(lambda m, i, o: sizes.append(len(i[0])))
    found = refine_until(MODEL, MASKED, HIDDEN, rule)
    hook.remove()
    assert sum(sizes) == int(found.steps.sum()) < 4 * len(MASKED)


def test_a_rule_that_looks_at_states_alone_reads_each_token_once():
    levels, read = unrest_levels(MODEL, MASKED, HIDDEN, KINDS[-1]), []
    rule = Learned(float(levels[:-1].median()), UNIT)
    hook = MODEL.head.register_forward_hook(lambda m, i, o: read.append(len(i[0])))
    found = refine_until(MODEL, MASKED, HIDDEN, rule)
    hook.remove()
    assert len(found.steps.unique()) > 1
    assert sum(read) == int(HIDDEN.sum())


def test_unrest_is_what_each_rule_says():
    logits = torch.tensor([[0.0, 0.0], [9.0, 0.0]])
    before = torch.tensor([[0.0, 0.0], [0.0, 9.0]])
    rows = torch.tensor([0, 2])
    readout = Readout(torch.nn.Identity(), logits, before, rows, sequences=3)
    assert Entropy(0.0).unrest(readout)[0] == pytest.approx(math.log(2))
    assert Divergence(0.0).unrest(readout)[0] == 0
    assert Divergence(0.0).unrest(readout)[1] > 8
    assert ChangedArgmax(0.0).unrest(readout).tolist() == [0, 1]
    assert ChangedArgmax(0.0).check(readout).tolist() == [True, True, False]


def test_halting_is_learned_better_than_by_chance():
    sequences = toy_ids(200)
    unit = learn_to_halt(MODEL, sequences, RULE, seed=5)
    masked, labels = RULE.apply(sequences, torch.Generator().manual_seed(6))
    scored = labels != IGNORED_LABEL
    with torch.no_grad():
        path = MODEL.pnn(masked, output_hidden_states=True).hidden_states[1:]
        states = torch.stack([state[scored] for state in path])
        said = MODEL.head(states).argmax(-1)
        changes = (said[:-1] != said[-1]).flatten()
        told = torch.sigmoid(unit(states[:-1].flatten(0, 1)))[:, 0]
    assert told[changes].mean() > told[~changes].mean() + 0.02
    again = learn_to_halt(MODEL, sequences, RULE, seed=5)
    assert torch.equal(unit.weight, again.weight)


def test_padding_is_heard_of():
    masked = MASKED.clone()
    masked[:, 9:] = 0
    hidden, mask = HIDDEN & (masked != 0), (masked != 0).long()
    found = refine_until(MODEL, masked, hidden, Entropy(-1.0), attention_mask=mask)
    with torch.no_grad():
        states = MODEL.pnn(masked, mask).last_hidden_state
    torch.testing.assert_close(found.logits, MODEL.head(states[hidden]))


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="max_steps must be at least 1, got 0"):
        refine_until(MODEL, MASKED, HIDDEN, Entropy(0.0), max_steps=0)
