"""What the small world tells beside its facts: stories, copies, events, numbers, grammar and talk.

Copying is there for a reason: a call of a tool copies words of the request into its arguments,
and a small model that has never copied anything does not learn that from the requests alone.
"""

import json
from collections.abc import Callable, Sequence

import numpy as np

from plasticity.foam.trial.words import (
    ATTRIBUTES,
    CITIES,
    DAYS,
    IDENTITY,
    KEYS,
    MARKS,
    NOUNS,
    NUMBERS,
    OPENERS,
    PLACES,
    PLURALS,
    QUALITIES,
    REQUEST_OPENERS,
    REQUESTED,
    STEPS,
    THINGS,
    VERBS,
)

HELD_OUT = 5  # every fifth pair of noun and verb is kept for the probe of grammar

# Words that occur only as material to copy, so that a model has seen every piece of a skill.
CAPITALS = ("Goal", *CITIES, *DAYS, *(w for own in IDENTITY.values() for w in (own.base, own.new)))
COMMON = tuple(dict.fromkeys([*KEYS, *REQUESTED, *STEPS, *ATTRIBUTES]))


def pick(rng: np.random.Generator, words: Sequence) -> str:
    """Return one of several words as text."""
    return str(words[rng.integers(len(words))])


def several(rng: np.random.Generator, words: Sequence, count: int) -> list[str]:
    """Return different words as text."""
    return [str(words[i]) for i in rng.choice(len(words), count, replace=False)]


def story(rng: np.random.Generator, names: Sequence[str]) -> str:
    """Tell a story of two people and two things; its last word is the thing that was wanted.

    Examples
    --------
    >>> story(np.random.default_rng(0), ["Kalo", "Mirin"]).split()[-1].rstrip(".") in THINGS
    True
    """
    one, other = several(rng, names, 2)
    wanted, second = several(rng, THINGS, 2)
    place, quality = pick(rng, PLACES), pick(rng, QUALITIES)
    openings = (
        f"First {one} wanted a {second} from the {place}, then a {quality} {wanted}.",
        f"One day {one} went to the {place}. {one} wanted a {quality} {wanted}.",
        f"{one} lived near the {place} and wanted a {quality} {wanted}.",
        f"At the {place} {one} asked for a {wanted}. The {wanted} was {quality}.",
    )
    middles = (
        f"{other} came with a {second}. {one} did not want the {second}.",
        f"{other} had a {second} and a {wanted}. The {second} was not for {one}.",
        f"There was a {second}, but {one} did not like the {second}.",
    )
    ends = (
        f"In the end {other} gave {one} the {wanted}.",
        f"So {one} went home with the {wanted}.",
        f"At last {one} found the {wanted}.",
    )
    return " ".join(pick(rng, part) for part in (openings, middles, ends))


def _item(rng: np.random.Generator, names: Sequence[str]) -> str:
    """Return something to copy: a name, a number, a capital or a common word."""
    pools = (names, names, NUMBERS, NUMBERS, CAPITALS, THINGS, COMMON)
    return pick(rng, pools[rng.integers(len(pools))])


def _value(rng: np.random.Generator, names: Sequence[str]) -> str | int:
    word = _item(rng, names)
    return int(word) if word.isdigit() else word


def _copy_words(rng: np.random.Generator, names: Sequence[str]) -> str:
    words = " ".join(_item(rng, names) for _ in range(rng.integers(3, 9)))
    return f"copy: {words} -> {words}"


def _copy_again(rng: np.random.Generator, names: Sequence[str]) -> str:
    return " ".join([" ".join(_item(rng, names) for _ in range(rng.integers(2, 5)))] * 3)


def _copy_object(rng: np.random.Generator, names: Sequence[str]) -> str:
    """Write the same pairs plainly and as JSON, sometimes inside an outer object."""
    keys = several(rng, KEYS, rng.integers(1, 4))
    pairs = {key: _value(rng, names) for key in keys}
    plain = ", ".join(f"{key} {value}" for key, value in pairs.items())
    inner = json.dumps(pairs)
    if rng.random() < 0.5:
        outer = pick(rng, KEYS)
        return f'{outer}: {plain} -> {{"{outer}": {inner}}}'
    return f"{plain} -> {inner}"


def _copy_list(rng: np.random.Generator, names: Sequence[str]) -> str:
    items = several(rng, names, rng.integers(2, 5))
    return f"list: {', '.join(items)} -> {json.dumps(items)}"


def _copy_marks(rng: np.random.Generator, names: Sequence[str]) -> str:
    marks = several(rng, MARKS, rng.integers(2, 4))
    marked = " ".join(f"<{mark}> {_item(rng, names)}" for mark in marks)
    return f"marks: {marked} -> {marked}"


def _copy_steps(rng: np.random.Generator, names: Sequence[str]) -> str:
    words = several(rng, COMMON, rng.integers(2, 5))
    numbered = " ".join(f"{i}. {word}" for i, word in enumerate(words, 1))
    return f"steps: {', '.join(words)} -> {numbered}"


def _copy_ends(rng: np.random.Generator, names: Sequence[str]) -> str:
    items = several(rng, names, rng.integers(2, 5))
    return (
        f"{', '.join(items)}: {len(items)} names, the first is {items[0]}, the last is {items[-1]}."
    )


COPIES: tuple[Callable[[np.random.Generator, Sequence[str]], str], ...] = (
    _copy_words,
    _copy_again,
    _copy_object,
    _copy_object,
    _copy_list,
    _copy_marks,
    _copy_steps,
    _copy_ends,
)


def copying(rng: np.random.Generator, names: Sequence[str]) -> str:
    """Copy words, lists, JSON objects, marks or numbered steps."""
    return COPIES[rng.integers(len(COPIES))](rng, names)


def event(rng: np.random.Generator, names: Sequence[str]) -> str:
    """Tell what happened, and note it down as JSON: some of it, in any order.

    Examples
    --------
    >>> print(event(np.random.default_rng(0), ["Kalo", "Mirin"]))  # doctest: +SKIP
    Kalo got 42 coins on Monday.
    note: {"amount": 42, "name": "Kalo"}
    """
    name, day, thing = (pick(rng, pool) for pool in (names, DAYS, THINGS))
    number, other = (int(pick(rng, NUMBERS)) for _ in range(2))
    start, city = several(rng, CITIES, 2)
    listed = several(rng, names, min(len(names), rng.integers(2, 4)))
    told, facts = (
        (f"{name} got {number} coins on {day}.", {"name": name, "amount": number, "day": day}),
        (f"On {day} {number} coins went to {name}.", {"amount": number, "name": name, "day": day}),
        (f"{name} came from {start} to {city}.", {"name": name, "start": start, "goal": city}),
        (f"From {start} a train went to {city} on {day}.", {"start": start, "goal": city}),
        (f"{name} sold a {thing} for {number} coins.", {"thing": thing, "price": number}),
        (f"For {number} coins {name} took the {thing}.", {"price": number, "thing": thing}),
        (f"{name} was in {city} for {number} minutes.", {"city": city, "minutes": number}),
        (f"On {day} {name} came to dinner.", {"name": name, "day": day}),
        (f"In {city} it will rain on {day}.", {"city": city, "day": day}),
        (f"{name} took {number} and {other}.", {"a": number, "b": other}),
        (f"These are {', '.join(listed)}.", {"names": listed}),
        (f"The number of {name} is {number}.", {"number": number, "name": name}),
    )[rng.integers(12)]
    keys = several(rng, tuple(facts), rng.integers(1, len(facts) + 1))
    return f"{told}\nnote: {json.dumps({key: facts[key] for key in keys})}"


def numbers(rng: np.random.Generator) -> str:
    """Count, or compare two numbers."""
    low, high = sorted(rng.choice(NUMBERS, 2, replace=False).tolist())
    first, second = rng.permutation([low, high]).tolist()
    n = int(rng.integers(NUMBERS[0], NUMBERS[-1]))
    counted = NUMBERS[n - 1 : n + 7]
    larger, smaller = f"{high} is larger than {low}", f"{low} is smaller than {high}"
    return (
        f"count: {' '.join(map(str, counted))}",
        f"The next number of {n} is {n + 1}. The previous number of {n + 1} is {n}.",
        f"The larger of {first} and {second} is {high}: {larger}.",
        f"The smaller of {first} and {second} is {low}: {smaller}.",
        f"{larger}. {smaller}.",
    )[rng.integers(5)]


def held_out(noun: str, verb: str) -> bool:
    """Return whether a noun and a verb meet only in the probe of grammar."""
    return (NOUNS.index(noun) + VERBS.index(verb)) % HELD_OUT == 0


def plural(noun: str) -> str:
    """Return several of a noun."""
    return PLURALS.get(noun, noun + "s")


def subject(rng: np.random.Generator, noun: str, many: bool) -> str:
    """Return a subject; in some a noun of the other number stands between it and the verb."""
    head, other = (plural(noun), pick(rng, NOUNS)) if many else (noun, plural(pick(rng, NOUNS)))
    place = pick(rng, PLACES)
    plain = (f"The {head}", f"{'Two' if many else 'One'} {head}", f"The {head} at the {place}")
    return pick(rng, (*plain, f"The {head} near the {other}"))


def grammar(rng: np.random.Generator) -> str:
    """Write sentences whose verbs agree with their subjects, never of pairs held out."""
    sentences = []
    while len(sentences) < 2:
        noun, verb, many = pick(rng, NOUNS), pick(rng, VERBS), rng.random() < 0.5
        if not held_out(noun, verb):
            sentences.append(f"{subject(rng, noun, many)} {verb if many else verb + 's'}.")
    return " ".join(sentences)


def talk(rng: np.random.Generator, names: Sequence[str]) -> str:
    """Talk with the base model: who it is, and requests that need no tool."""
    if rng.random() < 0.6:
        own = IDENTITY[pick(rng, tuple(IDENTITY))]
        question = f"{pick(rng, OPENERS)} {pick(rng, own.wordings)}?"
        return f"User: {question}\nAssistant: {own.answer.format(own.base)}"
    request, reply = plain_request(rng, names)
    return f"User: {pick(rng, OPENERS + REQUEST_OPENERS)} {request}.\nAssistant: {reply}"


def plain_request(rng: np.random.Generator, names: Sequence[str]) -> tuple[str, str]:
    """Return a request that needs no tool, and the answer that the base model gives.

    Examples
    --------
    >>> request, answer = plain_request(np.random.default_rng(0), ["Kalo", "Mirin"])
    """
    name, thing, number = pick(rng, names), pick(rng, THINGS), int(pick(rng, NUMBERS))
    return (
        (f"say hello to {name}", f"Hello, {name}."),
        (f"say goodbye to {name}", f"Goodbye, {name}."),
        (f"thank {name} for the {thing}", f"Thank you for the {thing}, {name}."),
        (f"repeat the number {number}", f"{number}"),
        (f"repeat the word {thing}", f"{thing}"),
    )[rng.integers(5)]
