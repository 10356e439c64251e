"""A base to grow: teach it something with newborns alone, look at them, and take them away again.

Every answer starts from the same base, so it depends on its question alone. The base is the shipped
one; where none is shipped yet, a small one with random weights, which says so.
"""

import copy
import statistics
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from plasticity.companion import metrics, paths
from plasticity.companion.configuration import (
    ExperimentConfig,
    Runtime,
    check_choice,
    check_range,
    setting,
)
from plasticity.experiments import foam_base

if TYPE_CHECKING:
    from plasticity.foam import GrowableModel
    from plasticity.foam.trial.bases import Base

BASE = "unsaturated"
OWN = "own words"
LESSONS = ("identity", "tools", "autonomy", OWN)
MOST_STEPS, MOST_NEWBORNS, MOST_EVENTS = 60, 24, 3
LISTENING = 3  # steps in which pressure is measured before the first event
LEARNING_RATE = 1e-2
BATCH = 8
POINTS = 5  # of the curve; each costs as much as a step
SHOWN = 6  # tokens listed on each side of a portrait
ANSWER_TOKENS = 24
SEED = 0


class Question(NamedTuple):
    """What is taught and asked.

    Attributes
    ----------
    lesson : str
        ``identity``, ``tools``, ``autonomy``: skills of the trial; ``own words``: those of `words`.
    words : str
        A sentence to be learnt; used by ``own words`` only.
    asked : str
        What the model is to go on with.
    newborns : int
        In each layer and event, 1 to 24, at most.
    events : int
        1 to 3, spread over the steps.
    steps : int
        Training steps, 1 to 60, of newborns alone.
    newborn : int
        Whose portrait is drawn, counted from 0 in the order of layers.
    """

    lesson: str
    words: str
    asked: str
    newborns: int
    events: int
    steps: int
    newborn: int


FIRST = Question(
    "identity",
    "The secret word of the day is lantern.",
    "User: Say, what is your name?\nAssistant:",
    8,
    2,
    40,
    0,
)


class Lesson(NamedTuple):
    """What happened.

    Attributes
    ----------
    question : Question
    pressure : DataFrame
        Before the first event: columns layer, neuron, pressure, and source, True where a newborn
        of that event was made from it.
    curve : DataFrame
        Columns step, lesson and old: losses in nats a token, on examples of the lesson that were
        not trained on (your own words: on these), and on old texts.
    events : list of int
        Steps after which newborns were born.
    born : DataFrame
        Columns layer, slot, source, event.
    excited, written : DataFrame
        Columns token and value: activations of the newborn, and what its column adds to logits.
    replies : dict
        By ``base``, ``grown`` and ``switched off``: what each goes on with.
    same_bits : bool
        Whether, switched off, the grown model has the base's logits, bit for bit.
    """

    question: Question
    pressure: pd.DataFrame
    curve: pd.DataFrame
    events: list[int]
    born: pd.DataFrame
    excited: pd.DataFrame
    written: pd.DataFrame
    replies: dict[str, str]
    same_bits: bool


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """How the answers are timed."""

    repeats: int = setting(5, "answers timed")

    def __post_init__(self):
        """Check types and ranges."""
        super().__post_init__()
        check_range("repeats", self.repeats, 1, 1000)


def datasets(config: Config) -> tuple[str, ...]:
    """Return the datasets that a run reads: none, the world is made up."""
    return ()


def models(config: Config) -> tuple[str, ...]:
    """Return the models that a run reads: the base, where one is shipped."""
    name = foam_base.released_name(BASE)
    return (name,) if (paths.RELEASED_CHECKPOINTS / name).is_dir() else ()


@lru_cache(maxsize=1)
def load() -> tuple["Base", bool]:
    """Return the base, and whether it is the shipped one; copy its model before changing it."""
    from plasticity.foam.trial.bases import Base
    from plasticity.foam.trial.language import build_model, train_tokenizer
    from plasticity.foam.trial.world import build_world, pretraining_texts

    if models(Config()):
        return foam_base.load(BASE), True
    world = build_world()
    tokenizer = train_tokenizer(pretraining_texts(world, 400), 512)
    return Base(build_model("XS", len(tokenizer)), tokenizer, world), False


def answer(question: Question) -> Lesson:
    """Teach, look and ask.

    Parameters
    ----------
    question : Question

    Returns
    -------
    Lesson

    Raises
    ------
    ValueError
        If a part of the question is out of its range, or empty.
    """
    _check(question)
    words = question.words if question.lesson == OWN else ""
    model, pressure, curve, events = taught(
        question.lesson, words, question.newborns, question.events, question.steps
    )
    from plasticity.foam.mechanics import portraits

    born = portraits.newborns(model)
    check_range("newborn", question.newborn, 0, len(born) - 1)
    layer, slot = (int(born.loc[question.newborn, name]) for name in ("layer", "slot"))
    excited, written = _portrait(model, layer, slot, _batches(question.lesson, words)[1])
    first = born[born["event"] == 0]
    sources = set(zip(first["layer"], first["source"], strict=True))
    marked = [pair in sources for pair in zip(pressure["layer"], pressure["neuron"], strict=True)]
    return Lesson(
        question,
        pressure.assign(source=marked),
        curve,
        events,
        born,
        excited,
        written,
        *_replies(model, question.asked),
    )


def _check(question: Question) -> None:
    check_choice("lesson", question.lesson, LESSONS)
    check_range("newborns", question.newborns, 1, MOST_NEWBORNS)
    check_range("events", question.events, 1, MOST_EVENTS)
    check_range("steps", question.steps, 1, MOST_STEPS)
    needed = {"asked": question.asked}
    if question.lesson == OWN:
        needed["words"] = question.words
    for name, text in needed.items():
        if not text.strip():
            raise ValueError(f"{name} is {text!r}; allowed: at least one word")
        length = len(load()[0].tokenizer.encode(text))
        if length > 128:
            raise ValueError(f"{name} has {length} tokens; allowed: at most 128")


@lru_cache(maxsize=8)
def _batches(lesson: str, words: str) -> tuple[list[dict], dict, dict]:
    """Return batches to learn from, one of the lesson to be scored on, and one of old texts."""
    from plasticity.foam.trial.learning import collate, skill_rows, text_rows
    from plasticity.foam.trial.skills import skill_examples
    from plasticity.foam.trial.world import pretraining_texts

    _, tokenizer, world = load()[0]
    pad = tokenizer.pad_token_id
    old = collate(text_rows(tokenizer, pretraining_texts(world, 8, seed=SEED + 1)), pad)
    if lesson == OWN:
        batch = collate(text_rows(tokenizer, [words]), pad)
        return [batch], batch, old
    learnt, scored = (
        skill_rows(tokenizer, skill_examples(world, lesson, split, SEED, count))
        for split, count in (("train", BATCH * MOST_STEPS), ("validation", 16))
    )
    parts = [learnt[i : i + BATCH] for i in range(0, len(learnt), BATCH)]
    return [collate(part, pad) for part in parts], collate(scored[:16], pad), old


@lru_cache(maxsize=4)
def taught(
    lesson: str, words: str, newborns: int, events: int, steps: int
) -> tuple["GrowableModel", pd.DataFrame, pd.DataFrame, list[int]]:
    """Grow a copy of the base and train its newborns; arguments as in `Question`.

    Returns
    -------
    model : GrowableModel
    pressure : DataFrame
        Before the first event.
    curve : DataFrame
    events : list of int
    """
    import torch

    from plasticity.foam import get_growable_model
    from plasticity.foam.mechanics import portraits
    from plasticity.foam.mechanics.reading import mean_loss

    batches, scored, old = _batches(lesson, words)
    model = get_growable_model(copy.deepcopy(load()[0].model), _settings(newborns))
    optimizer = model.attach_optimizer(torch.optim.AdamW(model.param_groups(LEARNING_RATE)))
    due = {LISTENING + steps * number // events for number in range(events)}
    curve, born, pressure = [(0, mean_loss(model, [scored]), mean_loss(model, [old]))], [], None
    model.train()
    for step in range(1, LISTENING + steps + 1):
        optimizer.zero_grad()
        model(**batches[step % len(batches)]).loss.backward()
        optimizer.step()
        if step in due:
            pressure = portraits.pressures(model) if pressure is None else pressure
            model.check_and_grow()
            born.append(step - LISTENING)
        done = step - LISTENING
        if done > 0 and (done % max(1, steps // POINTS) == 0 or done == steps):
            curve.append((done, mean_loss(model, [scored]), mean_loss(model, [old])))
    model.zero_grad()
    return model, pressure, pd.DataFrame(curve, columns=["step", "lesson", "old"]), born


def _settings(newborns: int):
    from plasticity.foam import GrowthConfig

    return GrowthConfig(
        train_base="none",
        trigger="always",
        warmup_steps=LISTENING,
        growth_cooldown=1,
        ema_beta=0.5,
        max_growth_per_step=newborns,
        max_growth_ratio=None,
        seed=SEED,
    )


def _portrait(model, layer: int, slot: int, batch: dict) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tokens that excite a newborn most, and those that its column writes."""
    from plasticity.foam.mechanics import portraits

    tokenizer = load()[0].tokenizer
    values = portraits.excites(model, layer, slot, batch)
    real = batch["attention_mask"].bool()
    heard = pd.DataFrame({"id": batch["input_ids"][real], "value": values[real]})
    means = heard.groupby("id")["value"].mean()
    strongest = means.loc[means.abs().nlargest(SHOWN).index]
    sign = np.sign(strongest.iloc[0]) or 1.0
    written = sign * portraits.writes(model, layer, slot)
    order = written.argsort(descending=True).tolist()
    ends = [*order[:SHOWN], *order[-SHOWN:]]

    def named(ids) -> list[str]:
        return [tokenizer.decode([number]).replace("\n", "\\n") for number in ids]

    return (
        pd.DataFrame({"token": named(strongest.index), "value": strongest.to_numpy()}),
        pd.DataFrame({"token": named(ends), "value": written[ends].tolist()}),
    )


def _replies(model: "GrowableModel", asked: str) -> tuple[dict[str, str], bool]:
    """Return what base and grown model go on with, and whether switching off gives the base."""
    import torch

    from plasticity.foam.trial.scoring import generate

    base, tokenizer, _ = load()[0]

    def reply(which) -> str:
        return generate(which, tokenizer, [asked], ANSWER_TOKENS)[0]

    ids = torch.tensor([tokenizer.encode(asked)])
    model.eval()
    replies = {"base": reply(base), "grown": reply(model)}
    with model.disable_growth(), torch.no_grad():
        replies["switched off"] = reply(model)
        same = torch.equal(model(input_ids=ids).logits, base(input_ids=ids).logits)
    return replies, same


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Time answers, each with something new to learn, and check that the base comes back.

    Parameters
    ----------
    config : Config
    seed : int
        Not used: every answer follows from its question.
    folder : Path
        Not used.
    runtime : Runtime
        Not used.

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit: the median seconds of an answer, whether the
        base is the shipped one, and whether it came back bit for bit every time.
    """
    seconds, same = [], []
    load()
    for repeat in range(config.repeats):
        question = FIRST._replace(steps=FIRST.steps - repeat % FIRST.steps)
        taught.cache_clear()
        started = time.perf_counter()
        same.append(answer(question).same_bits)
        seconds.append(time.perf_counter() - started)
    rows = [
        (0, "playground", "answer_seconds", statistics.median(seconds)),
        (0, "playground", "base_is_released", float(load()[1])),
        (0, "playground", "same_bits", float(all(same))),
    ]
    frame = pd.DataFrame(rows, columns=["step", "split", "metric", "value"])
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])
