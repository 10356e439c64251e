import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plasticity.foam.trial import skills
from plasticity.foam.trial.skills import REGISTRY, Example, judge, parse_call, parse_plan
from plasticity.foam.trial.words import IDENTITY
from plasticity.foam.trial.world import build_world

WORLD = build_world(seed=1, entities=64)
TESTS = {skill: skills.skill_examples(WORLD, skill, "test") for skill in skills.SKILLS}


def one(skill: str, kind: str) -> Example:
    return next(example for example in TESTS[skill] if example.kind == kind)


def right(example: Example, text: str) -> bool:
    return judge(example, text)["correct"]


def test_test_sets_have_the_sizes_that_were_promised():
    counts = {skill: Counter(e.kind for e in examples) for skill, examples in TESTS.items()}
    assert counts["tools"] == {"arguments": 500, "templates": 250, "negatives": 250}
    assert counts["identity"] == {"seen": 250, "unseen": 250, "leakage": 200}
    assert counts["autonomy"] == {"goals": 600}
    assert len(IDENTITY) >= 10


@pytest.mark.parametrize("skill", skills.SKILLS)
def test_sets_are_the_same_for_every_seed_and_training_is_not(skill):
    assert skills.skill_examples(WORLD, skill, "test", seed=9) == TESTS[skill]
    first, second = (skills.skill_examples(WORLD, skill, "train", seed=s) for s in (0, 1))
    assert first != second and len(first) == 4000


@pytest.mark.parametrize("skill", skills.SKILLS)
def test_every_right_answer_is_judged_right(skill):
    for split in skills.SPLITS:
        for example in skills.skill_examples(WORLD, skill, split, count=600):
            assert judge(example, example.response)["correct"], example


def _prompts(skill: str, split: str) -> set[str]:
    return {e.prompt for e in skills.skill_examples(WORLD, skill, split) if e.kind != "seen"}


@pytest.mark.parametrize("skill", skills.SKILLS)
def test_no_prompt_of_one_split_is_in_another(skill):
    train, validation, test = (_prompts(skill, split) for split in skills.SPLITS)
    if skill == "identity":
        train = {e.prompt for e in skills.skill_examples(WORLD, skill, "train")}
    assert not train & validation and not train & test and not validation & test


def test_no_call_of_the_tests_was_trained():
    train, test = (
        {e.response for e in skills.skill_examples(WORLD, "tools", split) if "{" in e.response}
        for split in ("train", "test")
    )
    assert not train & test


def test_templates_of_the_tests_were_not_trained():
    def bare(example):
        words = example.prompt.split("\n")[0].split()[2:]
        names = {
            w for call in [parse_call(example.response)] for w in map(str, call["args"].values())
        }
        return " ".join("#" if word.strip(".") in names else word for word in words)

    trained = {
        bare(e) for e in skills.skill_examples(WORLD, "tools", "train") if e.kind == "arguments"
    }
    unseen = [bare(e) for e in TESTS["tools"] if e.kind == "templates"]
    assert not [template for template in unseen if template in trained]
    assert all(bare(e) in trained for e in TESTS["tools"] if e.kind == "arguments")


def test_identity_has_fifty_wordings_of_each_fact_half_of_them_unseen():
    asked = [e for e in TESTS["identity"] if e.kind != "leakage"]
    assert len({e.prompt for e in asked}) == 500
    per_fact = Counter((e.response, e.kind) for e in asked)
    assert set(per_fact.values()) == {25}


def test_the_references_items_are_ten_five_and_five_that_ask_for_something_new():
    for skill, count in (("tools", 10), ("identity", 5), ("autonomy", 5)):
        new = [e for e in TESTS[skill] if e.kind not in ("negatives", "leakage")]
        assert skills.REFERENCE_ITEMS[skill] == count < len(new)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "call Kalo",
        '{"tool": "timer"}',
        '{"tool": "timer", "args": {"minutes": "5"}}',
        '{"tool": "timer", "args": {"minutes": 5.0}}',
        '{"tool": "timer", "args": {"minutes": true}}',
        '{"tool": "timer", "args": {"minutes": 5, "day": "Monday"}}',
        '{"tool": "timer", "args": {}}',
        '{"tool": "clock", "args": {"minutes": 5}}',
        '{"tool": "timer", "args": {"minutes": 5}, "note": 1}',
        '{"tool": "timer", "args": {"minutes": 5}} {"tool": "timer", "args": {"minutes": 5}}',
        '{"tool": "timer", "args": {"minutes": 5}} done',
        'I say {"tool": "timer", "args": {"minutes": 5}}',
        '{"tool": "timer", "tool": "timer", "args": {"minutes": 5}}',
        '{"tool": "timer", "args": {"minutes": 6, "minutes": 5}}',
        '[{"tool": "timer", "args": {"minutes": 5}}]',
        '{"tool": ["timer"], "args": {"minutes": 5}}',
        '{"tool": "timer", "args": [5]}',
        '{"tool": "timer", "args": {"minutes": NaN}}',
        '{"tool": "timer", "args": {"minutes": 5}',
    ],
)
def test_what_is_not_exactly_one_call_is_refused_bug_78(text):
    assert parse_call(text) is None


def test_a_call_may_be_spaced_and_ordered_otherwise():
    text = '{ "args" : {"minutes":5}, "tool":"timer" }'
    assert parse_call(text)["args"] == {"minutes": 5}


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80))
def test_judges_survive_any_text_and_accept_no_noise(text):
    for examples in TESTS.values():
        for kind in {e.kind for e in examples} - {"leakage", "negatives"}:
            example = next(e for e in examples if e.kind == kind)
            assert right(example, text) == (text.strip() == example.response.strip())


def test_a_right_call_with_wrong_arguments_is_told_apart_from_a_wrong_call():
    example = one("tools", "arguments")
    call = parse_call(example.response)
    name, value = next(iter(call["args"].items()))
    other = value + 1 if isinstance(value, int) else "Nobody"
    changed = json.dumps({**call, "args": {**call["args"], name: other}})
    assert judge(example, changed) == {
        "correct": False,
        "parsed": True,
        "tool": True,
        "arguments": False,
    }
    tool = "timer" if call["tool"] != "timer" else "add"
    kinds = {int: 1, str: "x", list: []}
    wrong = {"tool": tool, "args": {n: kinds[t] for n, t in REGISTRY[tool].items()}}
    found = judge(example, json.dumps(wrong))
    assert found["parsed"] and not found["tool"] and not found["correct"]


def test_a_request_without_need_of_a_tool_must_be_answered_without_one():
    example = one("tools", "negatives")
    assert right(example, example.response.upper())
    assert not right(example, '{"tool": "timer", "args": {"minutes": 5}}')
    assert not right(example, "Something else.")


def test_an_identity_must_be_the_new_one_and_no_other():
    example = one("identity", "unseen")
    own = next(o for o in IDENTITY.values() if o.new in example.response)
    assert right(example, f"well, {own.new.upper()}!")
    assert not right(example, own.answer.format(own.base))
    assert not right(example, f"{own.new}, once {own.base}")
    assert not right(example, " ".join(other.new for other in IDENTITY.values()))
    assert not right(example, f"{own.new}ish")


def test_leakage_is_a_value_of_the_new_identity_where_nobody_asked():
    example = one("identity", "leakage")
    assert right(example, "blue") and right(example, "Pebble")
    assert not right(example, "My name is Foam.")


@pytest.mark.parametrize(
    "text",
    [
        "<plan> 1. read <act> {} <check> fine <done> 42",
        "<plan> 1. read 3. write <act> {} <check> fine <done> 42",
        "<plan> 2. read 3. write <act> {} <check> fine <done> 42",
        "<plan> 1. read 2. write <check> fine <act> {} <done> 42",
        "<plan> 1. read 2. write <act> {} <done> 42",
        "<plan> 1. read 2. write <act> {} <check> fine <done>",
        "<plan> 1. read 2. write <act> {} <check> fine <done> 42 <done> 42",
        "<plan> 1. read 2. write <act> {} <act> {} <check> fine <done> 42",
        "well <plan> 1. read 2. write <act> {} <check> fine <done> 42",
        "1. read 2. write <act> {} <check> fine <done> 42",
        "<plan> <act> {} <check> fine <done> 42",
    ],
)
def test_what_does_not_go_through_all_states_is_no_plan(text):
    assert parse_plan(text) is None


def test_the_form_alone_is_not_enough():
    example = one("autonomy", "goals")
    wanted = parse_plan(example.response.strip())
    wrong = example.response.rpartition("<done>")[0] + "<done> Nobody"
    found = judge(example, wrong)
    assert found["parsed"] and found["arguments"] and not found["answer"]
    assert not found["correct"]
    other = example.response.replace(wanted["act"], '{"tool": "timer", "args": {"minutes": 5}}')
    assert judge(example, other)["answer"] and not right(example, other)


@pytest.mark.parametrize(
    ("tool", "arguments", "answer"),
    [
        ("larger", {"a": 9, "b": 10}, "10"),
        ("first", {"names": ["Kalo", "Mirin"]}, "Kalo"),
        ("last", {"names": ["Kalo", "Mirin"]}, "Mirin"),
        ("count", {"names": ["Kalo", "Mirin", "Suba"]}, "3"),
    ],
)
def test_answers_of_goals(tool, arguments, answer):
    assert skills.solve(tool, arguments)[2] == answer


def test_a_world_with_too_few_people_is_refused():
    with pytest.raises(ValueError, match="more entities"):
        for seed in range(20):
            skills.skill_examples(build_world(seed=seed, entities=4), "tools", "test")


@pytest.mark.parametrize(("skill", "split"), [("cooking", "test"), ("tools", "dev")])
def test_unknown_skills_and_splits_are_refused(skill, split):
    with pytest.raises(ValueError, match="allowed"):
        skills.skill_examples(WORLD, skill, split)
