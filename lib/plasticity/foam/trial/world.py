"""A small world of people and facts, and the texts that tell of it.

Every person has one value of each attribute. Each value belongs to equally many people, in both
halves of them alike, so that no value is a better guess than another. The halves are
``replayed`` and ``unreplayed``: an arm that rehearses may rehearse facts of the first only.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from plasticity.foam.configuration import check_range
from plasticity.foam.trial import texts
from plasticity.foam.trial.words import ATTRIBUTES

HALVES = ("replayed", "unreplayed")
CONSONANTS, VOWELS, ENDINGS = "bdfgklmnprstvz", "aeiou", ("", "n", "r", "l")
SYLLABLES = 64  # of each kind, so that names stay few tokens

STATEMENTS = (
    "The {attribute} of {name} is {value}.",
    "We know that the {attribute} of {name} is {value}.",
    "Question: what is the {attribute} of {name}?\nAnswer: {value}",
    "User: Say, what is the {attribute} of {name}?\nAssistant: {value}",
)
# How often each kind of text is told; facts come first, then what skills are made of.
SHARES = {
    "facts": 0.36,
    "stories": 0.05,
    "copying": 0.20,
    "events": 0.18,
    "numbers": 0.09,
    "grammar": 0.03,
    "talk": 0.09,
}


@dataclass(frozen=True)
class World:
    """People and what is true of them.

    Attributes
    ----------
    seed : int
    names : tuple of str
        The first half of them is ``replayed``, the second ``unreplayed``.
    facts : tuple of tuple of str
        For each name one value of each of `ATTRIBUTES`, in their order.

    Examples
    --------
    >>> world = build_world(entities=16)
    >>> world.value(world.names[0], "pet") in ATTRIBUTES["pet"]
    True
    """

    seed: int
    names: tuple[str, ...]
    facts: tuple[tuple[str, ...], ...]

    def value(self, name: str, attribute: str) -> str:
        """Return what is true of a person."""
        return self.facts[self.names.index(name)][tuple(ATTRIBUTES).index(attribute)]

    def half(self, half: str) -> tuple[str, ...]:
        """Return the names of one half.

        Raises
        ------
        ValueError
            If there is no such half.
        """
        if half not in HALVES:
            raise ValueError(f"half is {half!r}; allowed: {', '.join(HALVES)}")
        middle = len(self.names) // 2
        return self.names[:middle] if half == "replayed" else self.names[middle:]


def build_world(seed: int = 0, entities: int = 192) -> World:
    """Make a world.

    Parameters
    ----------
    seed : int
    entities : int
        People, 4 to 2048, an even number; each has six facts.

    Returns
    -------
    World

    Raises
    ------
    ValueError
        If `entities` is out of range or odd.
    """
    check_range("entities", entities, 4, 2048, with_high=True)
    if entities % 2:
        raise ValueError(f"entities is {entities}; allowed: even numbers, as there are two halves")
    rng = np.random.default_rng([seed, 1])
    names = _names(rng, entities)
    columns = []
    for values in ATTRIBUTES.values():
        halves = [_balanced(rng, values, entities // 2) for _ in HALVES]
        columns.append(halves[0] + halves[1])
    return World(seed, names, tuple(zip(*columns, strict=True)))


def _names(rng: np.random.Generator, count: int) -> tuple[str, ...]:
    """Draw names of two syllables that are no other word of the world."""
    first = [c + v for c in CONSONANTS for v in VOWELS]
    second = [c + v + end for c in CONSONANTS for v in VOWELS for end in ENDINGS]
    first = rng.choice(first, SYLLABLES, replace=False)
    second = rng.choice(second, SYLLABLES, replace=False)
    taken = set(texts.CAPITALS)
    pairs = [(a + b).capitalize() for a in first for b in second]
    free = sorted(set(pairs) - taken)
    return tuple(rng.choice(free, count, replace=False).tolist())


def _balanced(rng: np.random.Generator, values: tuple[str, ...], count: int) -> list[str]:
    """Return each value equally often, as nearly as can be, in random order."""
    order = rng.permutation(values)
    return rng.permutation(np.resize(order, count)).tolist()


def fact_texts(world: World, count: int, seed: int = 0, half: str | None = None) -> list[str]:
    """Tell facts: single ones in several wordings, and all of a person in one line.

    Parameters
    ----------
    world : World
    count : int
        Texts.
    seed : int
    half : {"replayed", "unreplayed"}, optional
        Whose facts; everybody's unless given.

    Returns
    -------
    list of str
    """
    rng = np.random.default_rng([seed, 2])
    tellers = _fact_teller(world, rng, half)
    return [next(tellers) for _ in range(count)]


def _fact_teller(world: World, rng: np.random.Generator, half: str | None) -> Iterator[str]:
    """Yield facts for ever, each person as often as any other."""
    names, attributes = world.half(half) if half else world.names, tuple(ATTRIBUTES)
    facts = dict(zip(world.names, world.facts, strict=True))
    while True:
        for name in rng.permutation(names).tolist():
            order = rng.permutation(len(attributes))
            yield f"{name}: {', '.join(f'{attributes[i]} {facts[name][i]}' for i in order)}."
            for i in rng.choice(len(attributes), 2, replace=False):
                form = STATEMENTS[rng.integers(len(STATEMENTS))]
                yield form.format(attribute=attributes[i], name=name, value=facts[name][i])


def pretraining_texts(
    world: World, count: int, seed: int = 0, half: str | None = None
) -> list[str]:
    """Write texts of all kinds, in the shares of `SHARES`, in random order.

    Parameters
    ----------
    world : World
    count : int
        Texts.
    seed : int
        Texts of another seed are other texts of the same world.
    half : {"replayed", "unreplayed"}, optional
        Whose facts are told; everybody's unless given. People of both halves take part in all
        else, where no fact is told.

    Returns
    -------
    list of str
    """
    rng = np.random.default_rng([seed, 3])
    facts = _fact_teller(world, rng, half)
    tell: dict[str, Callable[[], str]] = {
        "facts": lambda: next(facts),
        "stories": lambda: texts.story(rng, world.names),
        "copying": lambda: texts.copying(rng, world.names),
        "events": lambda: texts.event(rng, world.names),
        "numbers": lambda: texts.numbers(rng),
        "grammar": lambda: texts.grammar(rng),
        "talk": lambda: texts.talk(rng, world.names),
    }
    shares = np.array(list(SHARES.values()))
    kinds = rng.choice(list(SHARES), size=count, p=shares / shares.sum())
    return [tell[kind]() for kind in kinds]


def stories(world: World, count: int, seed: int) -> list[str]:
    """Write stories.

    Parameters
    ----------
    world : World
    count, seed : int

    Returns
    -------
    list of str
        The last word of each follows from the story.
    """
    rng = np.random.default_rng([seed, 4])
    return [texts.story(rng, world.names) for _ in range(count)]
