"""A real model on a real benchmark: ARC before and after new skills are learnt."""

import contextlib
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

from plasticity.companion import claims, metrics
from plasticity.companion import datasets as data
from plasticity.companion import models as weights
from plasticity.companion.benchmarking import forget_peak, peak_memory
from plasticity.companion.configuration import (
    ExperimentConfig,
    Runtime,
    check_choice,
    check_range,
    setting,
)
from plasticity.companion.results import held_checkpoint
from plasticity.companion.statistics import Interval

if TYPE_CHECKING:
    from plasticity.foam.trial.learning import Learnt, Lessons

SETS = ("arc_easy", "arc_challenge")
RANDOM, SOURCE, BASE = "random", "source", "base"
REPLAYED = {"": (), "arc": SETS, "other": ("wikitext_2_raw_part",)}
PRECISIONS = ("float32", "mixed", "bfloat16")
TEXT_TOKENS = 64  # of a paragraph that is replayed
OLD_TEXTS = 2000
BATCH = {"cpu": 8, "cuda": 64}  # questions that are scored at once, by device
ALL = "all"
CLAIMS = {"arc_easy": "foam-arc-easy", "arc_challenge": "foam-arc-challenge"}
SOURCE_ITEMS = 200  # the source's figures are all multiples of half a percent


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """One arm on one model."""

    arm: str = setting(BASE, "a key of plasticity.foam.trial.arms.ARMS; source: its own figures")
    model: str = setting("smollm2_135m_instruct", "a key of data/models.yaml; random: a tiny one")
    replay: str = setting("", "what an arm replays: arc (training questions) or other (WikiText)")
    precision: str = setting("float32", "float32, mixed (products in bfloat16) or bfloat16")
    optimizer: str = setting("adamw", "adamw, or adamw_8bit")
    items: int = setting(0, "items of each test set, drawn once for all arms; 0 = all")
    skill_items: int = setting(20, "test examples of each skill")
    examples: int = setting(1000, "training examples of each skill")
    steps: int = setting(40, "steps of the optimizer")
    tokens_per_step: int = setting(256, "new and old tokens of a step")
    learning_rate: float = setting(1e-4, "at its highest")
    events: int = setting(2, "growth events")
    newborns: int = setting(16, "neurons born in each layer in an event")
    growth_rows: int = setting(16, "new examples that an event looks at")

    def __post_init__(self):
        """Check names and ranges."""
        super().__post_init__()
        check_choice("model", self.model, (RANDOM, *weights.names()))
        check_choice("replay", self.replay, REPLAYED)
        check_choice("precision", self.precision, PRECISIONS)
        check_range("items", self.items, 0, math.inf)
        for name in ("skill_items", "examples"):
            check_range(name, getattr(self, name), 1, math.inf)


def datasets(config: Config) -> tuple[str, ...]:
    """Return the datasets that a run reads."""
    return () if config.arm == SOURCE else tuple(dict.fromkeys((*SETS, *REPLAYED[config.replay])))


def models(config: Config) -> tuple[str, ...]:
    """Return the models that a run reads."""
    return () if config.arm == SOURCE or config.model == RANDOM else (config.model,)


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Let one arm learn the skills, then score both test sets of ARC.

    Parameters
    ----------
    config : Config
    seed : int
        Of the training examples, their order, growth and adapters; the base has none, and is
        scored once for all seeds.
    folder : Path
        Keeps what was right and wrong.
    runtime : Runtime

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit. ``item_correct`` and ``item_correct_norm`` hold
        each item, by its number in the test set in the place of the step.
    """
    if config.arm == SOURCE:
        rows = _source_rows()
    else:
        with contextlib.ExitStack() as stack:
            if config.arm == BASE and seed:
                folder = stack.enter_context(held_checkpoint("foam_arc", config, 0))
            file = folder / "rows.parquet"
            if not file.exists():
                _measured(config, seed, runtime).to_parquet(file)
            rows = pd.read_parquet(file)
    return rows.assign(unit=[metrics.metric(name).unit for name in rows["metric"]])


def _measured(config: Config, seed: int, runtime: Runtime) -> pd.DataFrame:
    """Train, and put the questions once, at the end."""
    from plasticity.foam.trial.arms import ARMS, Schedule
    from plasticity.foam.trial.learning import learn
    from plasticity.foam.trial.world import build_world

    check_choice("arm", config.arm, ARMS)
    forget_peak()
    model, tokenizer = _loaded(config, runtime)
    world = build_world()
    begun = time.perf_counter()
    names = ("steps", "tokens_per_step", "learning_rate", "events", "newborns", "growth_rows")
    schedule = Schedule(
        **{name: getattr(config, name) for name in names}, optimizer=config.optimizer
    )
    lessons = _lessons(config, tokenizer, world, seed)
    learnt = learn(model, lessons, ARMS[config.arm], schedule, seed)
    rows = [(0, "train", "seconds", time.perf_counter() - begun), *_cost_rows(learnt, model)]
    begun = time.perf_counter()
    rows += _arc_rows(config, learnt.model, tokenizer)
    rows += _skill_rows(config, learnt.model, tokenizer, world)
    rows += [
        (0, "test", "seconds", time.perf_counter() - begun),
        (0, ALL, "peak_bytes", _peak_bytes(model)),
    ]
    if models(config):
        shares = weights.quantisation(config.model)
        rows += [(0, kind, "parameter_share", share) for kind, share in shares.items()]
    return pd.DataFrame(rows, columns=["step", "split", "metric", "value"])


def _loaded(config: Config, runtime: Runtime) -> tuple:
    """Return the model, where and in the precision in which it is to run, and its tokenizer."""
    import torch

    if config.model == RANDOM:
        from plasticity.foam.trial.language import build_model, train_tokenizer

        tokenizer = train_tokenizer(data.load(SETS[0])["train"]["question"][:], 512)
        model = build_model("XS", len(tokenizer))
        model = model.to(torch.bfloat16) if config.precision == "bfloat16" else model
    else:
        kept = "bfloat16" if config.precision == "bfloat16" else "float32"
        model, tokenizer = weights.load(config.model, kept)
    there = torch.cuda.is_available() if runtime.device == "auto" else runtime.device == "cuda"
    device = "cuda" if there else "cpu"
    if config.precision == "mixed":
        model.forward = torch.autocast(device, torch.bfloat16)(model.forward)
    return model.to(device), tokenizer


def _lessons(config: Config, tokenizer, world, seed: int) -> "Lessons":
    """Return the examples of the skills, and what is replayed among them."""
    from plasticity.foam.trial.arc import arc_examples
    from plasticity.foam.trial.learning import Lessons, Row, skill_rows, text_rows
    from plasticity.foam.trial.skills import SKILLS, skill_examples

    new = [
        row
        for skill in SKILLS
        for row in skill_rows(
            tokenizer, skill_examples(world, skill, "train", seed, config.examples)
        )
    ]
    old: list[Row] = []
    for name in REPLAYED[config.replay]:
        train = data.load(name)["train"]
        if name in SETS:
            old += skill_rows(tokenizer, arc_examples(train, name))
        else:
            paragraphs = [text for text in train["text"][:] if len(text) > 4 * TEXT_TOKENS]
            rows = text_rows(tokenizer, paragraphs[:OLD_TEXTS])
            old += [Row(row.ids[:TEXT_TOKENS]) for row in rows]
    return Lessons(new, old)


def _arc_rows(config: Config, model, tokenizer) -> list[tuple]:
    """Score the items of both test sets, or the first of one order that all arms share."""
    from plasticity.foam.trial.arc import arc_questions
    from plasticity.foam.trial.scoring import score_choices

    rows: list[tuple] = []
    batch = BATCH[model.device.type]
    for name in SETS:
        items = arc_questions(data.load(name)["test"], name)
        order = np.random.default_rng(0).permutation(len(items))
        drawn = np.sort(order[: config.items or len(items)]).tolist()
        found = score_choices(model, tokenizer, [items[number] for number in drawn], batch)
        rows.append((0, name, "rows", len(found)))
        for suffix in ("", "_norm"):
            right = 100 * found[f"correct{suffix}"].astype(float)
            rows.append((0, name, f"accuracy{suffix}", right.mean()))
            pairs = zip(drawn, right, strict=True)
            rows += [(number, name, f"item_correct{suffix}", value) for number, value in pairs]
    return rows


def _skill_rows(config: Config, model, tokenizer, world) -> list[tuple]:
    """Let the model answer the first test examples of each skill."""
    from plasticity.foam.trial.scoring import score_skill
    from plasticity.foam.trial.skills import SKILLS, skill_examples

    rows: list[tuple] = []
    for skill in SKILLS:
        examples = skill_examples(world, skill, "test")[: config.skill_items]
        found = score_skill(model, tokenizer, examples)
        rows.append((0, skill, "skill_accuracy", 100 * found["correct"].mean()))
        rows.append((0, skill, "rows", len(found)))
    mean = float(np.mean([value for *_, metric, value in rows if metric == "skill_accuracy"]))
    return [*rows, (0, ALL, "skill_accuracy", mean)]


def _cost_rows(learnt: "Learnt", base) -> list[tuple]:
    """Return what an arm cost."""
    born = sum(event.born for event in learnt.events)
    trained = sum(p.numel() for p in learnt.model.parameters() if p.requires_grad)
    return [
        (0, "trained", "parameters", trained),
        (0, "added", "parameters", 3 * base.config.hidden_size * born),
        (0, "train", "tokens", learnt.tokens),
        (0, "new_task", "tokens", learnt.new_tokens),
        (0, "growth", "seconds", sum(learnt.event_seconds)),
    ]


def _peak_bytes(model) -> float:
    """Return the most memory that was held: the accelerator's, or this process's."""
    import torch

    return torch.cuda.max_memory_allocated() if model.device.type == "cuda" else peak_memory()


def _source_rows() -> pd.DataFrame:
    """Return the README's figures, and whether its drop is more than 200 items can show."""
    figures = source_figures()
    changes = {name: unpaired_change(*pair) for name, pair in figures.items()}
    largest = max(-change.mean for change in changes.values())
    rows: list[tuple] = [(0, ALL, "source_largest_drop", largest)]
    for name, change in changes.items():
        rows += [
            (0, name, "accuracy", figures[name][1]),
            (0, name, "accuracy_change", change.mean),
            (0, name, "accuracy_change_low", change.low),
            (0, name, "accuracy_change_high", change.high),
        ]
    rows.append((0, ALL, "drop_exceeds_sampling_error", float(changes[SETS[0]].high < 0)))
    return pd.DataFrame(rows, columns=["step", "split", "metric", "value"])


def source_figures() -> dict[str, tuple[float, float]]:
    """Return the source's ARC, percent before and after growing, as the ledger has it.

    Examples
    --------
    >>> source_figures()["arc_easy"]
    (77.5, 74.0)
    """
    known = {claim.id: claim for claim in claims.load()}
    return {name: (known[claim].base, known[claim].value) for name, claim in CLAIMS.items()}


def unpaired_change(before: float, after: float, items: int = SOURCE_ITEMS) -> Interval:
    """Return a change of accuracy whose items are not published, so that they cannot be paired.

    Parameters
    ----------
    before, after : float
        Percent.
    items : int
        In each of the two.

    Returns
    -------
    Interval
        Points; the normal approximation, 95 %.

    Examples
    --------
    >>> change = unpaired_change(77.5, 74.0)
    >>> round(change.low, 1), round(change.high, 1)
    (-11.9, 4.9)
    """
    variance = sum(share * (100 - share) for share in (before, after)) / items
    half = float(stats.norm.ppf(0.975)) * math.sqrt(variance)
    return Interval(after - before, after - before - half, after - before + half, items)
