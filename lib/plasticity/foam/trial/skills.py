"""Three skills to learn: calls of tools in JSON, an identity, and work by a plan.

Each has examples to train, validate and test on that share no arguments, and tests on wordings
that were never trained. What a model writes is judged strictly: parsed, not searched for strings.
"""

import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from plasticity.foam.trial import texts
from plasticity.foam.trial.words import (
    ATTRIBUTES,
    CITIES,
    DAYS,
    FRAMES,
    GOALS,
    IDENTITY,
    NUMBERS,
    OPENERS,
    REQUEST_OPENERS,
    REQUESTS,
    THINGS,
    TOOLS,
    Self,
)
from plasticity.foam.trial.world import World

SKILLS = ("tools", "identity", "autonomy")
SPLITS = ("train", "validation", "test")
REFERENCE_ITEMS = {"tools": 10, "identity": 5, "autonomy": 5}
TEST_ITEMS = {"arguments": 500, "templates": 250, "negatives": 250, "leakage": 200, "goals": 600}
VALIDATION_SHARE = 5  # validation sets are a fifth of the test sets


ACTIONS: dict[str, dict[str, type]] = {
    "larger": {"a": int, "b": int},
    **{tool: {"names": list} for tool in ("first", "last", "count")},
}
REGISTRY: dict[str, dict[str, type]] = {
    tool: {name: int if kind == "number" else str for name, kind in arguments.items()}
    for tool, arguments in TOOLS.items()
} | ACTIONS
PLAN = re.compile(r"<plan>((?: \d+\. [^<>]+?)+) <act> ([^<>]+) <check> ([^<>]+) <done> ([^<>]+)")
STEP = re.compile(r" (\d+)\. ")
LEAST_STEPS = 2
DRAWS = 2000  # tries to find arguments of a split
BASE_VALUES = {own.base.casefold() for own in IDENTITY.values()}
NEW_VALUES = {own.new.casefold() for own in IDENTITY.values()}


@dataclass(frozen=True)
class Example:
    """A request and the answer that it should get.

    Attributes
    ----------
    prompt : str
        Ends in ``Assistant:``.
    response : str
        Starts with a space; a model ends it with the end of text.
    skill : {"tools", "identity", "autonomy"}
    kind : str
        ``arguments``, ``templates``, ``negatives``; ``seen``, ``unseen``, ``leakage``; ``goals``.
    """

    prompt: str
    response: str
    skill: str
    kind: str


def skill_examples(
    world: World, skill: str, split: str, seed: int = 0, count: int = 4000
) -> list[Example]:
    """Write the examples of one skill.

    Parameters
    ----------
    world : World
    skill : {"tools", "identity", "autonomy"}
    split : {"train", "validation", "test"}
        Arguments of one split are in no other; nor are wordings of the kinds ``templates`` and
        ``unseen``.
    seed : int
        Of the training examples. Validation and test sets are the same for every seed.
    count : int
        Training examples; validation and test sets have their fixed sizes.

    Returns
    -------
    list of Example
        In random order.

    Raises
    ------
    ValueError
        If `skill` or `split` is none of these.

    Examples
    --------
    >>> from plasticity.foam.trial.world import build_world
    >>> world = build_world(entities=16)
    >>> example = skill_examples(world, "identity", "train", count=1)[0]
    >>> judge(example, example.response)["correct"]
    True
    """
    for name, value, allowed in (("skill", skill, SKILLS), ("split", split, SPLITS)):
        if value not in allowed:
            raise ValueError(f"{name} is {value!r}; allowed: {', '.join(allowed)}")
    stream = [SKILLS.index(skill), SPLITS.index(split), *([seed] if split == "train" else [])]
    rng = np.random.default_rng([world.seed, *stream])
    write = {"tools": _tools, "identity": _identity, "autonomy": _autonomy}[skill]
    found = write(world, split, rng, count)
    return [found[i] for i in rng.permutation(len(found))]


def _sizes(split: str, *kinds: str) -> dict[str, int]:
    share = 1 if split == "test" else VALIDATION_SHARE
    return {kind: TEST_ITEMS[kind] // share for kind in kinds}


def _split_of(*parts: Any) -> str:
    """Return the split of arguments: eight in ten are to train, one each to the others."""
    tenth = zlib.crc32(json.dumps(parts).encode()) % 10
    return "train" if tenth < 8 else SPLITS[tenth - 7]


def _until(draw: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
    """Draw until something wanted is drawn."""
    for _ in range(DRAWS):
        if wanted(found := draw()):
            return found
    raise ValueError(
        f"none of {DRAWS} draws belongs to the split, as the world has too few people; "
        "build it with more entities"
    )


def _example(opening: str, request: str, response: str, skill: str, kind: str) -> Example:
    return Example(f"User: {opening} {request}\nAssistant:", f" {response}", skill, kind)


# --- calls of tools ---------------------------------------------------------------------------


def _arguments(world: World, rng: np.random.Generator, tool: str) -> dict[str, str | int]:
    pools = {"name": world.names, "day": DAYS, "city": CITIES, "thing": THINGS, "number": NUMBERS}
    drawn = {name: texts.pick(rng, pools[kind]) for name, kind in TOOLS[tool].items()}
    return {
        name: int(value) if TOOLS[tool][name] == "number" else value
        for name, value in drawn.items()
    }


def _call(tool: str, arguments: dict[str, Any]) -> str:
    return json.dumps({"tool": tool, "args": arguments})


def templates(tool: str, split: str) -> list[str]:
    """Return the wordings of a call: 16 to train, 4 to validate and 4 to test.

    Parameters
    ----------
    tool : str
        A key of `TOOLS`.
    split : {"train", "validation", "test"}

    Returns
    -------
    list of str
        Phrases in frames; all are in ``train``, these pairs are in no other split.
    """
    last = {"validation": len(FRAMES) - 2, "test": len(FRAMES) - 1}
    wanted = [last[split]] if split in last else range(len(FRAMES) - 2)
    return [
        frame.format(phrase)
        for i, phrase in enumerate(REQUESTS[tool])
        for j, frame in enumerate(FRAMES)
        if (i + j) % len(FRAMES) in wanted
    ]


def _request(
    world: World, rng: np.random.Generator, split: str, wordings: str, kind: str
) -> Example:
    """Write a request with arguments of one split in the wording of one, the same or another."""
    tool = texts.pick(rng, tuple(TOOLS))
    arguments = _until(
        lambda: _arguments(world, rng, tool), lambda drawn: _split_of(tool, drawn) == split
    )
    wording = texts.pick(rng, templates(tool, wordings)).format(**arguments)
    opening = texts.pick(rng, REQUEST_OPENERS)
    return _example(opening, f"{wording}.", _call(tool, arguments), "tools", kind)


def _negative(world: World, rng: np.random.Generator, split: str) -> Example:
    request, reply = _until(
        lambda: texts.plain_request(rng, world.names), lambda drawn: _split_of(drawn[0]) == split
    )
    opening = texts.pick(rng, REQUEST_OPENERS)
    return _example(opening, f"{request}.", reply, "tools", "negatives")


def _tools(world: World, split: str, rng: np.random.Generator, count: int) -> list[Example]:
    if split == "train":
        sizes = {"arguments": count - count // 4, "templates": 0, "negatives": count // 4}
    else:
        sizes = _sizes(split, "arguments", "templates", "negatives")
    return [
        *(_request(world, rng, split, "train", "arguments") for _ in range(sizes["arguments"])),
        *(_request(world, rng, split, split, "templates") for _ in range(sizes["templates"])),
        *(_negative(world, rng, split) for _ in range(sizes["negatives"])),
    ]


# --- identity ---------------------------------------------------------------------------------


def _wordings(split: str) -> Iterator[tuple[Self, str, str]]:
    """Yield what is asked, and how: 25 wordings to train, 5 to validate and 25 to test of each.

    Every opener and every question is in the training set, but not those of the tests together.
    """
    for own in IDENTITY.values():
        for i, wording in enumerate(own.wordings):
            for j, opener in enumerate(OPENERS):
                place = (3 * i + j) % len(OPENERS)
                if split == ("validation" if place == 10 else ("train", "test")[place % 2]):
                    yield own, opener, wording


def _identity(world: World, split: str, rng: np.random.Generator, count: int) -> list[Example]:
    def ask(part: str, kind: str) -> list[Example]:
        return [
            _example(opener, f"{wording}?", own.answer.format(own.new), "identity", kind)
            for own, opener, wording in _wordings(part)
        ]

    if split == "train":
        seen = ask("train", "seen")
        return [seen[i % len(seen)] for i in range(count)]
    others = [_other_request(world, rng) for _ in range(_sizes(split, "leakage")["leakage"])]
    seen = ask("train", "seen") if split == "test" else []
    return [*seen, *ask(split, "unseen"), *others]


def _other_request(world: World, rng: np.random.Generator) -> Example:
    """Ask for something that has nothing to do with who the model is."""
    opening = texts.pick(rng, OPENERS)
    if rng.random() < 0.5:
        name, attribute = texts.pick(rng, world.names), texts.pick(rng, tuple(ATTRIBUTES))
        question = f"what is the {attribute} of {name}?"
        return _example(opening, question, world.value(name, attribute), "identity", "leakage")
    request, reply = texts.plain_request(rng, world.names)
    return _example(opening, f"{request}.", reply, "identity", "leakage")


# --- work by a plan ---------------------------------------------------------------------------


def _goal(world: World, rng: np.random.Generator) -> tuple[str, dict[str, Any]]:
    """Draw a goal and the arguments of its call."""
    tool = texts.pick(rng, tuple(GOALS))
    if tool == "larger":
        first, second = texts.several(rng, NUMBERS, 2)
        return tool, {"a": int(first), "b": int(second)}
    return tool, {"names": texts.several(rng, world.names, rng.integers(2, 4))}


def solve(tool: str, arguments: dict[str, Any]) -> tuple[list[str], str, str]:
    """Return the steps, the check and the answer of a goal.

    Examples
    --------
    >>> solve("larger", {"a": 42, "b": 17})
    (['read', 'compare', 'write'], 'the larger of 42 and 17 is 42', '42')
    """
    if tool == "larger":
        first, second = arguments["a"], arguments["b"]
        answer = str(max(first, second))
        return (
            ["read", "compare", "write"],
            f"the larger of {first} and {second} is {answer}",
            answer,
        )
    names = arguments["names"]
    if tool == "count":
        return ["read", "count", "write"], f"{len(names)} names", str(len(names))
    answer = names[0 if tool == "first" else -1]
    return ["read", "find", "write"], f"the {tool} is {answer}", answer


def _autonomy(world: World, split: str, rng: np.random.Generator, count: int) -> list[Example]:
    size = count if split == "train" else _sizes(split, "goals")["goals"]
    found = []
    for _ in range(size):
        tool, arguments = _until(
            lambda: _goal(world, rng), lambda drawn: _split_of(*drawn) == split
        )
        shown = {k: ", ".join(v) if k == "names" else v for k, v in arguments.items()}
        steps, check, answer = solve(tool, arguments)
        plan = " ".join(f"{i}. {step}" for i, step in enumerate(steps, 1))
        response = f"<plan> {plan} <act> {_call(tool, arguments)} <check> {check} <done> {answer}"
        request = f"{GOALS[tool].format(**shown)}."
        found.append(_example("Goal:", request, response, "autonomy", "goals"))
    return found


# --- judges -----------------------------------------------------------------------------------


def parse_call(text: str) -> dict[str, Any] | None:
    """Read exactly one call: a JSON object with the keys ``tool`` and ``args`` and no other.

    Parameters
    ----------
    text : str

    Returns
    -------
    dict or None
        None unless the tool exists and has exactly these arguments, each of its type.

    Examples
    --------
    >>> parse_call('{"tool": "timer", "args": {"minutes": 5}}')
    {'tool': 'timer', 'args': {'minutes': 5}}
    >>> parse_call('{"tool": "timer", "args": {"minutes": "5"}}') is None
    True
    """
    try:
        call = json.loads(text, object_pairs_hook=_pairs)
    except (ValueError, RecursionError):
        return None
    if not isinstance(call, dict) or list(sorted(call)) != ["args", "tool"]:
        return None
    tool, arguments = call["tool"], call["args"]
    if not isinstance(tool, str) or tool not in REGISTRY or not isinstance(arguments, dict):
        return None
    types = REGISTRY[tool]
    typed = set(arguments) == set(types) and all(type(arguments[n]) is types[n] for n in types)
    return call if typed else None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that is written twice."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key is written twice")
    return dict(pairs)


def parse_plan(text: str) -> dict[str, str] | None:
    """Read a plan of numbered steps, one act, one check and the answer, in this order.

    Parameters
    ----------
    text : str

    Returns
    -------
    dict or None
        Keys plan, act, check and done; None unless the steps are numbered 1, 2, ... and there
        are at least two of them.

    Examples
    --------
    >>> parse_plan("<plan> 1. read 2. write <act> {} <check> fine <done> 42")["done"]
    '42'
    >>> parse_plan("<plan> 1. read 3. write <act> {} <check> fine <done> 42") is None
    True
    """
    found = PLAN.fullmatch(text)
    if not found:
        return None
    numbers = [int(number) for number in STEP.findall(found[1])]
    if len(numbers) < LEAST_STEPS or numbers != list(range(1, len(numbers) + 1)):
        return None
    return dict(zip(("plan", "act", "check", "done"), found.groups(), strict=True))


def normalise(text: str) -> str:
    """Return words in lower case, without punctuation, one space between them."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def judge(example: Example, generated: str) -> dict[str, bool]:
    """Judge what a model wrote.

    Parameters
    ----------
    example : Example
    generated : str
        All that it wrote up to the end of text.

    Returns
    -------
    dict of bool
        ``correct``, and the parts that the skill has: ``parsed, tool, arguments`` (tools),
        ``match, base_absent`` (identity), ``parsed, tool, arguments, answer`` (autonomy).
    """
    text = generated.strip()
    if example.kind == "leakage":
        return {"correct": not set(normalise(text).split()) & NEW_VALUES}
    if example.skill == "identity":
        return _judge_identity(example, text)
    if example.kind == "negatives":
        same = normalise(text) == normalise(example.response)
        return {"correct": same and "{" not in text}
    if example.skill == "tools":
        parts = _judge_call(example.response.strip(), text)
        return {"correct": all(parts.values()), **parts}
    wanted, found = parse_plan(example.response.strip()), parse_plan(text)
    if found is None:
        return dict.fromkeys(("correct", "parsed", "tool", "arguments", "answer"), False)
    parts = _judge_call(wanted["act"], found["act"]) | {"answer": found["done"] == wanted["done"]}
    return {"correct": all(parts.values()), **parts}


def _judge_call(wanted: str, text: str) -> dict[str, bool]:
    right, call = parse_call(wanted), parse_call(text)
    if call is None:
        return {"parsed": False, "tool": False, "arguments": False}
    tool = call["tool"] == right["tool"]
    return {"parsed": True, "tool": tool, "arguments": tool and call["args"] == right["args"]}


def _judge_identity(example: Example, text: str) -> dict[str, bool]:
    """Ask for the value wanted, and for no other value of the new identity or of the base's."""
    said, wanted = set(normalise(text).split()), set(normalise(example.response).split())
    match = said & NEW_VALUES == wanted & NEW_VALUES
    absent = not said & BASE_VALUES
    return {"correct": match and absent, "match": match, "base_absent": absent}
