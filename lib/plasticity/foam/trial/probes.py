"""What must not be forgotten, as questions with choices: facts, stories and grammar.

References
----------
Spec of the companion's trial: R1 facts, R2 cloze of held-out stories, R3 minimal pairs of grammar.
R4, the loss on held-out text, is `plasticity.foam.trial.scoring.text_loss`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from plasticity.foam.trial import texts
from plasticity.foam.trial.words import ATTRIBUTES, NOUNS, THINGS, VERBS
from plasticity.foam.trial.world import World

CHOICES = 4
PAIRS = 1000


@dataclass(frozen=True)
class MultipleChoice:
    """A text and the ways to go on.

    Attributes
    ----------
    prompt : str
        Without a space at its end.
    choices : tuple of str
        Scored with one space before each.
    answer : int
        Index of the right one; its position is drawn by lot, so that a tie is no advantage.
    kind : str
    cluster : str
        Items of one cluster share what is asked about, and are not independent.
    """

    prompt: str
    choices: tuple[str, ...]
    answer: int
    kind: str
    cluster: str


def _item(
    rng: np.random.Generator, prompt: str, right: str, wrong: Sequence[str], kind: str, cluster: str
) -> MultipleChoice:
    order = rng.permutation([right, *wrong]).tolist()
    return MultipleChoice(prompt, tuple(order), order.index(right), kind, cluster)


def fact_questions(world: World, half: str) -> list[MultipleChoice]:
    """Ask for every fact of one half, among four values of the same attribute (R1).

    Parameters
    ----------
    world : World
    half : {"replayed", "unreplayed"}

    Returns
    -------
    list of MultipleChoice
        Kind is the half, cluster the person. Every value is as frequent in the world as any
        other, so that chance, and a model that knows frequencies only, is right in 25 %.

    Examples
    --------
    >>> from plasticity.foam.trial.world import build_world
    >>> len(fact_questions(build_world(entities=16), "replayed"))
    48
    """
    rng = np.random.default_rng([world.seed, 10, len(half)])
    items = []
    for name in world.half(half):
        for attribute, values in ATTRIBUTES.items():
            right = world.value(name, attribute)
            others = [value for value in values if value != right]
            wrong = texts.several(rng, others, CHOICES - 1)
            items.append(_item(rng, f"The {attribute} of {name} is", right, wrong, half, name))
    return items


def cloze_questions(stories: Sequence[str]) -> list[MultipleChoice]:
    """Ask for the last word of every story, among four things (R2).

    Parameters
    ----------
    stories : sequence of str
        Held-out ones of `plasticity.foam.trial.world.stories`.

    Returns
    -------
    list of MultipleChoice
        One of the wrong things also occurs in the story.

    Raises
    ------
    ValueError
        If a story does not end in a thing of the world.
    """
    rng = np.random.default_rng(11)
    items = []
    for number, story in enumerate(stories):
        prompt, _, last = story.rpartition(" ")
        right = last.rstrip(".")
        if right not in THINGS:
            raise ValueError(
                f"story {number} ends in {right!r}; allowed: a thing of the world, such as "
                f"{THINGS[0]!r} (write stories with plasticity.foam.trial.world.stories)"
            )
        told = set(story.replace(".", " ").split())
        near = [thing for thing in THINGS if thing in told and thing != right]
        far = [thing for thing in THINGS if thing not in told]
        wrong = [*near[:1], *texts.several(rng, far, CHOICES - 1 - len(near[:1]))]
        items.append(_item(rng, prompt, right, wrong, "stories", str(number)))
    return items


def grammar_questions(world: World) -> list[MultipleChoice]:
    """Ask for the verb that agrees, of pairs of noun and verb that no text holds (R3).

    Parameters
    ----------
    world : World
        Its seed draws the items.

    Returns
    -------
    list of MultipleChoice
        1000 minimal pairs; chance is 50 %.
    """
    rng = np.random.default_rng([world.seed, 12])
    pairs = [(noun, verb) for noun in NOUNS for verb in VERBS if texts.held_out(noun, verb)]
    items: dict[str, MultipleChoice] = {}
    while len(items) < PAIRS:
        noun, verb = pairs[rng.integers(len(pairs))]
        many = bool(rng.random() < 0.5)
        prompt = texts.subject(rng, noun, many)
        # With the full stop: without it the shorter form is likelier where it begins the longer.
        forms = (f"{verb}.", f"{verb}s.") if many else (f"{verb}s.", f"{verb}.")
        items.setdefault(
            f"{prompt} {verb}", _item(rng, prompt, forms[0], forms[1:], "grammar", f"{noun} {verb}")
        )
    return list(items.values())
