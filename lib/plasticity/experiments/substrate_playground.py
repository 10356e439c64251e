"""A small taught brain to play with: a question in words, and all that happens in it.

The brain is taught anew for every answer, in a moment, so an answer depends on its question alone.
"""

import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from plasticity.companion import metrics
from plasticity.companion.configuration import ExperimentConfig, Runtime, check_range, setting
from plasticity.experiments.substrate_anatomy import followed
from plasticity.substrate import Brain

# What the brain is told, and how often: (source, relation, target, times).
FACTS = (
    ("cloud", "causes", "rain", 4),
    ("cloud", "prevents", "sun", 3),
    ("rain", "causes", "puddle", 4),
    ("rain", "causes", "cold", 2),
    ("rain", "causes", "flower", 2),
    ("sun", "causes", "flower", 2),
    ("sun", "causes", "warm", 4),
    ("flower", "is in", "garden", 3),
    ("cold", "calls for", "coat", 3),
    ("cold", "calls for", "fire", 2),
    ("fire", "is in", "house", 3),
    ("fire", "causes", "warm", 3),
    ("warm", "prevents", "cold", 3),
    ("warm", "causes", "sleep", 2),
    ("dog", "is in", "garden", 2),
    ("dog", "likes", "puddle", 3),
    ("dog", "does", "bark", 4),
    ("dog", "chases", "cat", 2),
    ("bark", "causes", "afraid", 2),
    ("cat", "is in", "house", 3),
    ("cat", "likes", "fish", 4),
    ("cat", "does", "purr", 3),
    ("cat", "chases", "mouse", 4),
    ("cat", "chases", "bird", 2),
    ("purr", "causes", "happy", 3),
    ("purr", "causes", "sleep", 1),
    ("mouse", "likes", "cheese", 4),
    ("mouse", "is in", "house", 1),
    ("cheese", "is in", "house", 3),
    ("bird", "does", "sing", 4),
    ("bird", "is in", "garden", 3),
    ("sing", "causes", "happy", 3),
    ("puddle", "causes", "happy", 1),
    ("fish", "is in", "pond", 4),
    ("rain", "causes", "pond", 2),
    ("pond", "is in", "garden", 2),
    ("afraid", "prevents", "sleep", 3),
    ("afraid", "prevents", "happy", 2),
    ("happy", "prevents", "afraid", 2),
)
INHIBITORY = ("prevents",)
LEARNING_RATE, LEAK, THRESHOLD = 0.3, 0.25, 0.05
MOST_CYCLES, MOST_MODULATOR = 8, 3.0
GOAL_STRENGTH = 0.3
LIVED = 2  # times that a brain lives its answer again, to learn from it
PATHS = 7  # listed by an explanation
REST = 40  # cycles after which nothing is left of an activation
NOTHING = "nothing"


class Question(NamedTuple):
    """What a brain is asked.

    Attributes
    ----------
    words : str
        Names of neurons, separated by blanks or commas: the input.
    cycles : int
        1 to 8.
    goal : str
        A name that is wanted, or ``nothing``.
    held : str
        Names held in working memory, the newest last, or ``nothing``.
    modulator : float
        0 to 3: how much the brain learns from what it answered.
    asked : str
        The neuron that is explained.
    """

    words: str
    cycles: int
    goal: str
    held: str
    modulator: float
    asked: str


FIRST = Question("cloud, dog", 4, "sleep", "cat", 1.0, "happy")


class Answer(NamedTuple):
    """What happened.

    Attributes
    ----------
    question : Question
    neurons, synapses : DataFrame
        As `substrate_anatomy.followed` returns them.
    paths : DataFrame
        Columns path, origin and contribution: where the asked neuron's activation came from;
        empty if nothing reached it.
    activation : float
        Of the asked neuron, in the last cycle in which it was hit.
    learnt : DataFrame
        Columns neuron, before and after: activations at the end of the same question, before and
        after the brain has learnt from it.
    """

    question: Question
    neurons: pd.DataFrame
    synapses: pd.DataFrame
    paths: pd.DataFrame
    activation: float
    learnt: pd.DataFrame


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """How the answers are timed."""

    repeats: int = setting(20, "answers timed")

    def __post_init__(self):
        """Check ranges."""
        super().__post_init__()
        check_range("repeats", self.repeats, 1, 10_000)


def datasets(config: Config) -> tuple[str, ...]:
    """Return the datasets that the run depends on: none."""
    return ()


def taught() -> Brain:
    """Return a brain that has been told the facts.

    Examples
    --------
    >>> taught().spread("dog", cycles=1).names()
    ['puddle', 'garden', 'bark', 'cat']
    """
    brain = Brain()
    names = dict.fromkeys(name for source, _, target, _ in FACTS for name in (source, target))
    brain.neurons(list(names), leak=LEAK, threshold=THRESHOLD)
    for name in dict.fromkeys(relation for _, relation, _, _ in FACTS):
        sign = -1 if name in INHIBITORY else 1
        brain.relation(name, sign=sign, rule="hebbian", learning_rate=LEARNING_RATE, limit=1.0)
        told = [(s, t) for s, relation, t, times in FACTS if relation == name for _ in range(times)]
        brain.learn(*zip(*told, strict=True), name)
    brain.consolidate()
    return brain


def names() -> list[str]:
    """Return the names of the taught brain's neurons, sorted."""
    return sorted({name for source, _, target, _ in FACTS for name in (source, target)})


def answer(question: Question) -> Answer:
    """Ask the taught brain.

    Parameters
    ----------
    question : Question

    Returns
    -------
    Answer

    Raises
    ------
    ValueError
        If there is no word, a word names no neuron, or a number is out of its range.

    Examples
    --------
    >>> answer(FIRST).paths["path"][0]
    'dog —chases→ cat —chases→ bird —does→ sing —causes→ happy'
    """
    check_range("cycles", question.cycles, 1, MOST_CYCLES)
    check_range("modulator", question.modulator, 0, MOST_MODULATOR)
    brain = taught()
    words = _known(brain, question.words)
    if not words:
        raise ValueError(f"words is {question.words!r}; allowed: names such as {FIRST.words}")
    [asked] = _known(brain, question.asked)
    goal = {name: GOAL_STRENGTH for name in _known(brain, question.goal)}
    brain.memory.hold(brain.indexes(_known(brain, question.held)))
    emission = brain.spread(words, 1.0, question.cycles, goal, trace=True)
    neurons, synapses = followed(brain, emission)
    try:
        explained = brain.explain(asked, PATHS)
        paths, activation = explained.table(), explained.activation
    except ValueError:  # nothing reached it
        paths, activation = pd.DataFrame(columns=["path", "origin", "contribution"]), 0.0
    after = _after_learning(brain, question.modulator, synapses, neurons, words, goal)
    last = neurons[neurons["cycle"] == question.cycles]
    learnt = pd.DataFrame(
        {"neuron": last["neuron"], "before": last["activation"], "after": after}
    ).reset_index(drop=True)
    return Answer(question, neurons, synapses, paths, activation, learnt)


def variations(question: Question) -> dict[str, pd.Series]:
    """Ask a question plainly, and with its goal, held neurons and learning one at a time.

    Parameters
    ----------
    question : Question

    Returns
    -------
    dict of str to Series
        Activations after the last cycle by neuron, the plain question first.
    """
    plain = question._replace(goal=NOTHING, held=NOTHING, modulator=0.0)
    asked = {
        "plain": plain,
        f"goal: {question.goal}": plain._replace(goal=question.goal),
        f"in mind: {question.held}": plain._replace(held=question.held),
        f"learnt, modulator {question.modulator:g}": plain._replace(modulator=question.modulator),
    }
    return {what: answer(one).learnt.set_index("neuron")["after"] for what, one in asked.items()}


def _known(brain: Brain, text: str) -> list[str]:
    """Return the names in a text, each once.

    Raises
    ------
    ValueError
        If one of them names no neuron.
    """
    found = [name for name in re.split(r"[\s,]+", text.strip().lower()) if name]
    if found == [NOTHING]:
        return []
    for name in found:
        try:
            brain.index(name)
        except KeyError as error:
            known = ", ".join(names())
            raise ValueError(f"{error.args[0]}; allowed: {known}") from error
    return list(dict.fromkeys(found))


def _after_learning(
    brain: Brain,
    modulator: float,
    synapses: pd.DataFrame,
    neurons: pd.DataFrame,
    words: Sequence[str],
    goal: dict[str, float],
) -> np.ndarray:
    """Let a brain learn from what it answered, and return every activation of asking again.

    Each synapse that delivered is used with what its source emitted and what its target became.
    """
    reached = neurons.set_index(["cycle", "neuron"])["activation"]
    used = synapses[synapses["delivered"] != 0]
    used = used.assign(
        pre=used["delivered"] / (used["sign"] * used["weight"]),
        post=used["sign"] * reached[zip(used["cycle"], used["target"], strict=True)].to_numpy(),
    )
    used = used[used["post"] > 0]  # what did as its relation says
    brain.modulator = modulator
    for relation, edges in used.groupby("relation", sort=False):
        for _ in range(LIVED):
            ends = edges["source"].tolist(), edges["target"].tolist()
            brain.learn(*ends, relation, edges["pre"], edges["post"].clip(upper=1.0))
    brain.spread([], cycles=REST)
    cycles = int(synapses["cycle"].max())
    found, _ = followed(brain, brain.spread(words, 1.0, cycles, goal))
    return found.loc[found["cycle"] == cycles, "activation"].to_numpy()


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Time the answer to the longest question, and say how large the brain is.

    Parameters
    ----------
    config : Config
    seed : int
        Not used; there is nothing random.
    folder : Path
        Nothing is written into it.
    runtime : Runtime
        Not used.

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit.
    """
    brain, everyone = taught(), ", ".join(names())
    longest = Question(everyone, MOST_CYCLES, FIRST.goal, everyone, MOST_MODULATOR, FIRST.asked)
    seconds = []
    answer(longest)  # the first loads compiled code
    for _ in range(config.repeats):
        started = time.perf_counter()
        answer(longest)
        seconds.append(time.perf_counter() - started)
    rows = [
        (MOST_CYCLES, "longest question", "answer_seconds", statistics.median(seconds)),
        (0, "taught brain", "neurons", len(brain)),
        (0, "taught brain", "synapses", len(brain.edges())),
        (0, "taught brain", "bytes", brain.bytes),
    ]
    frame = pd.DataFrame(rows, columns=["step", "split", "metric", "value"])
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])
