"""Tasks of GLUE and SuperGLUE: what is read of their rows, and their scores."""

import dataclasses
from types import SimpleNamespace

import datasets as hub_datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plasticity.companion import datasets, profiles
from plasticity.companion.configuration import Runtime
from plasticity.experiments import pnn_transfer
from plasticity.pnn.glue import TASKS, Pairs, Task
from plasticity.pnn.glue_scores import accuracy_and_macro_f1, correlations

ROWS = {
    "super_glue_wic": {
        "word": ["bank"], "sentence1": ["By the bank."], "sentence2": ["A rich bank."],
        "label": [0],
    },
    "super_glue_wsc": {
        "text": ["Ann saw Eve when she left."], "span1_text": ["Ann"], "span2_index": [4],
        "label": [1],
    },
    "super_glue_copa": {
        "premise": ["It fell.", "It rang."], "question": ["cause", "effect"],
        "choice1": ["He pushed.", "She slept."], "choice2": ["It rained.", "She woke."],
        "label": [0, 1],
    },
    "super_glue_multirc": {
        "paragraph": 4 * ["A cat sat."], "question": 2 * ["Who?"] + 2 * ["Where?"],
        "answer": ["a cat", "a dog", "here", "there"], "label": [1, 0, 0, 0],
        "idx": [{"paragraph": 0, "question": n // 2, "answer": n} for n in range(4)],
    },
    "super_glue_record": {
        "passage": ["Rome won.\n@highlight\nNew York lost."], "query": ["@placeholder lost."],
        "entities": [["Rome", "New York", "the New York team"]], "answers": [["New York"]],
    },
}  # fmt: skip


def alone(labels) -> Pairs:
    each = np.arange(len(labels))
    return Pairs([], None, np.asarray(labels), each, each)


def test_scores_are_those_of_each_task():
    labels, said = alone([1, 1, 1, 0]), np.array([1, 1, 0, 0])
    cola = TASKS["glue_cola"]
    assert cola.scored(said, labels) == pytest.approx((2 * 1 - 0 * 1) / np.sqrt(2 * 3 * 1 * 2))
    assert cola.scored(np.ones(4), labels) == 0
    assert TASKS["glue_mrpc"].scored(said, labels) == pytest.approx((0.75 + 0.8) / 2)
    assert TASKS["glue_rte"].scored(said, labels) == 0.75
    assert correlations(np.array([3.0, 2.0, 1.0]), np.array([1.0, 2.0, 3.0])) == -1
    macro = accuracy_and_macro_f1(np.array([0, 0, 2]), np.array([0, 1, 2]))
    assert macro == pytest.approx((2 / 3 + (2 / 3 + 0 + 1) / 3) / 2)


def test_the_majority_is_taken_from_the_training_set():
    train, test = alone([0, 1, 1]), alone([0, 0, 0, 1])
    plain, stsb = Task(("a",)), TASKS["glue_stsb"]
    assert plain.scored(plain.majority(train, test), test) == 0.25
    assert TASKS["glue_cola"].scored(plain.majority(train, test), test) == 0
    assert stsb.majority(alone([1.0, 4.0]), alone([2.0, 3.0])).tolist() == [2.5, 2.5]


def test_every_task_is_in_the_manifest_with_its_columns():
    for name, task in TASKS.items():
        read = {*task.columns} if name == "super_glue_record" else {*task.columns, "label"}
        assert read <= set(datasets._entry(name)["columns"])


def test_a_pair_of_sentences_is_read_as_it_stands():
    pairs = TASKS["glue_rte"].pairs({"sentence1": ["a"], "sentence2": ["b"], "label": [1]})
    assert (pairs.first, pairs.second, pairs.labels.tolist()) == (["a"], ["b"], [1])
    assert TASKS["glue_cola"].pairs({"sentence": ["a"], "label": [1]}).second is None


@pytest.mark.parametrize(
    ("name", "first", "second", "targets", "questions"),
    [
        ("wic", ["bank: By the bank."], ["A rich bank."], [0], [0]),
        ("wsc", ["Ann saw Eve when * she * left."], ["Ann"], [1], [0]),
        ("copa", 2 * ["It fell. What was the cause?"]
         + 2 * ["It rang. What happened as a result?"],
         ["He pushed.", "It rained.", "She slept.", "She woke."], [1, 0, 0, 1], [0, 0, 1, 1]),
        ("multirc", 4 * ["A cat sat."],
         ["Who? a cat", "Who? a dog", "Where? here", "Where? there"], [1, 0, 0, 0], [0, 0, 1, 1]),
        ("record", 3 * ["Rome won.\n \nNew York lost."],
         ["Rome lost.", "New York lost.", "the New York team lost."], [0, 1, 0], [0, 0, 0]),
    ],
)  # fmt: skip
def test_rows_with_several_answers_become_pairs(name, first, second, targets, questions):
    task = TASKS[f"super_glue_{name}"]
    pairs = task.pairs(ROWS[f"super_glue_{name}"])
    assert pairs.first == first and pairs.second == second
    assert task.targets(pairs).tolist() == targets
    assert pairs.questions.tolist() == questions


def test_one_answer_of_each_question_is_chosen_and_scored():
    task = TASKS["super_glue_copa"]
    pairs = task.pairs(ROWS["super_glue_copa"])
    logits = np.array([[0, 3], [0, 1], [0, 5], [0, 2]])  # all say yes; the surest is taken
    assert task.predictions(logits, pairs).tolist() == [1, 0, 1, 0]
    assert task.scored(task.predictions(logits, pairs), pairs) == 0.5
    assert task.scored(np.array([1, 0, 0, 1]), pairs) == 1
    firsts = np.array([1.0, 0.0, 1.0, 0.0])
    both_first = Pairs([], None, firsts, pairs.questions, pairs.questions)
    assert task.majority(both_first, pairs).tolist() == [1, 0, 1, 0]
    record = TASKS["super_glue_record"]
    found = record.pairs(ROWS["super_glue_record"])
    assert record.scored(np.array([0, 1, 0]), found) == 1
    assert record.scored(np.array([0, 0, 1]), found) == pytest.approx((0 + 0.8) / 2)
    assert record.scored(np.array([1, 0, 0]), found) == 0


def test_answers_are_scored_one_by_one_and_by_question():
    task = TASKS["super_glue_multirc"]
    pairs = task.pairs(ROWS["super_glue_multirc"])
    assert task.scored(np.array([1, 0, 0, 0]), pairs) == 1
    assert task.scored(np.array([1, 0, 1, 0]), pairs) == pytest.approx((2 / 3 + 0.5) / 2)
    assert task.scored(np.zeros(4, int), pairs) == pytest.approx((0 + 0.5) / 2)


@given(
    st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3), min_size=1, max_size=8),
    st.integers(0, 2**32 - 1),
)
def test_whole_texts_are_drawn_and_their_questions_stay_apart(sizes, seed):
    """`sizes` holds, for each text, the number of answers of each of its questions."""
    per_question = [count for one in sizes for count in one]
    questions = np.repeat(np.arange(len(per_question)), per_question)
    texts = np.repeat(np.arange(len(sizes)), [sum(one) for one in sizes])
    pairs = Pairs([], None, np.arange(len(questions)), questions, texts)
    drawn = pairs.drawn(np.random.default_rng(seed))
    again = pairs.taken(drawn)
    chosen = np.random.default_rng(seed).integers(len(sizes), size=len(sizes))
    assert len(np.unique(again.questions)) == sum(len(sizes[n]) for n in chosen)
    for number in np.unique(again.questions):
        own = again.labels[again.questions == number]
        assert own.tolist() == np.flatnonzero(questions == questions[own[0]]).tolist()
    values = np.random.default_rng(seed).normal(size=(len(questions), 2))
    best = TASKS["super_glue_copa"].predictions(values, pairs)
    assert np.bincount(questions, weights=best).tolist() == [1] * len(per_question)


def test_answers_without_a_right_one_are_no_error():
    rows = ROWS["super_glue_record"] | {"answers": [[]]}
    task = TASKS["super_glue_record"]
    pairs = task.pairs(rows)
    assert pairs.labels.tolist() == [0, 0, 0]
    assert task.majority(pairs, pairs).tolist() == [1, 0, 0]


def test_questions_of_one_text_are_not_parted_by_the_split():
    for name in ("super_glue_multirc", "super_glue_record"):
        assert "shuffle" not in datasets._entry(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_task_is_learnt_and_scored_by_name(name, monkeypatch):
    monkeypatch.delenv("PLASTICITY_DATA", raising=False)
    load = datasets.load
    made = hub_datasets.Dataset.from_dict({key: 8 * value for key, value in ROWS[name].items()})
    splits = dict.fromkeys(("train", "validation", "test"), made)
    fake = SimpleNamespace(load=lambda wanted: splits if wanted == name else load(wanted))
    monkeypatch.setattr(pnn_transfer, "corpora", fake)
    config = next(c for c in profiles.configs("pnn_transfer", "smoke") if c.variant == "glue")
    config = dataclasses.replace(config, dataset=name, pretrained=False)
    rows = pnn_transfer.run(config, 0, None, Runtime(device="cpu")).set_index(["split", "metric"])
    assert 0 <= rows.loc[("test", "task_score"), "value"] <= 1
    pairs = TASKS[name].pairs(made.to_dict())
    assert rows.loc[("test", "rows"), "value"] == len(pairs.labels)
