"""The fair trial: every arm learns the same skills on the same base, and is asked what it kept."""

import copy
import dataclasses
import json
import math
import statistics
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from plasticity.companion import export, metrics
from plasticity.companion.configuration import (
    ExperimentConfig,
    Runtime,
    check_choice,
    check_range,
    setting,
)
from plasticity.experiments import foam_base
from plasticity.foam.trial.arms import ARMS, Schedule

if TYPE_CHECKING:
    from plasticity.foam.trial.exam import Exam
    from plasticity.foam.trial.learning import Learnt, Lessons

OLD_TEXTS = 2000  # written for replay
OLD_SEED = 70_001  # of those texts: other ones than the base has read
ALL = "all"
ON_THE_WAY, BY_ITEM = "on the way:", "by item:"  # begin the names of splits
ABLATION = "ablation"  # not an arm: the reference's script, which compares two of them


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """One arm on one base."""

    arm: str = setting("full_fine_tuning", "a key of plasticity.foam.trial.arms.ARMS")
    base: str = setting("unsaturated", "which base learns: unsaturated, saturated or larger")
    steps: int = setting(300, "steps of the optimizer")
    tokens_per_step: int = setting(1024, "new and old tokens of a step")
    learning_rate: float = setting(1e-3, "at its highest")
    penalty_strength: float = setting(1.0, "weight of the arm's penalty, where it has one")
    events: int = setting(3, "growth events")
    newborns: int = setting(16, "neurons born in each layer in an event")
    examples: int = setting(2000, "training examples of each skill")
    evaluations: int = setting(10, "points of the curve")
    progress_items: int = setting(60, "validation examples and facts at each point of the curve")
    test_items: int = setting(500, "test examples of each skill, at most")
    probe_items: int = setting(1000, "questions of each kind on old knowledge, at most")

    def __post_init__(self):
        """Check ranges."""
        super().__post_init__()
        check_choice("base", self.base, foam_base.BASES)
        check_choice("arm", self.arm, self.allowed_arms)
        check_range("examples", self.examples, 1, math.inf)
        for name in ("progress_items", "test_items", "probe_items"):
            check_range(name, getattr(self, name), 8, math.inf)

    @property
    def allowed_arms(self) -> tuple[str, ...]:
        """What `arm` may be."""
        return (*ARMS, ABLATION)


def datasets(config: Config) -> tuple[str, ...]:
    """Return the datasets that a run reads: none, the world is made up."""
    return ()


def models(config: Config) -> tuple[str, ...]:
    """Return the models that a run reads: the shipped base."""
    return (foam_base.released_name(config.base),)


def schedule_of(config: Config) -> Schedule:
    """Return how long an arm learns, and in what steps."""
    names = [field.name for field in dataclasses.fields(Schedule)]
    return Schedule(**{name: getattr(config, name) for name in names if hasattr(config, name)})


@lru_cache(maxsize=4)  # the arms that a process trains one after another share these
def exam_of(base: str, split: str, items: int, probe_items: int) -> "Exam":
    """Return the questions of a split."""
    from plasticity.foam.trial.exam import make_exam

    _, tokenizer, world = foam_base.load(base)
    return make_exam(world, tokenizer, split, items, probe_items)


@lru_cache(maxsize=4)
def lessons_of(base: str, examples: int, seed: int, skills: tuple[str, ...]) -> "Lessons":
    """Return what an arm may learn from."""
    from plasticity.foam.trial.learning import Lessons, skill_rows, text_rows
    from plasticity.foam.trial.skills import skill_examples
    from plasticity.foam.trial.world import fact_texts, pretraining_texts

    _, tokenizer, world = foam_base.load(base)
    new = [row for skill in skills for row in skill_rows(
        tokenizer, skill_examples(world, skill, "train", seed, examples)
    )]  # fmt: skip
    old = text_rows(tokenizer, fact_texts(world, OLD_TEXTS, OLD_SEED, "replayed"))
    everything = text_rows(tokenizer, pretraining_texts(world, OLD_TEXTS, OLD_SEED))
    return Lessons(new, old, everything)


@lru_cache(maxsize=4)
def _answers_of_base(base: str, items: int, probe_items: int) -> pd.DataFrame:
    return exam_of(base, "test", items, probe_items).answers(foam_base.load(base)[0])


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Let one arm learn the skills, and put the test questions once, at the end.

    The arm `ABLATION` runs the two that the reference's script compares, and writes its JSON.

    Parameters
    ----------
    config : Config
    seed : int
        Of the order of examples, of growth and of adapters; the base is the same for all.
    folder : Path
        Gets the JSON of the comparison.
    runtime : Runtime
        Not used: the models are too small for a GPU.

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit. Step is 0, but for splits that begin with
        `ON_THE_WAY` (the optimizer's step) or `BY_ITEM` (the number of the example or person), and
        for `loss_jump`.
    """
    from plasticity.foam.trial.learning import learn
    from plasticity.foam.trial.skills import SKILLS

    if config.arm == ABLATION:
        return frame_of(
            [(0, "json", "ablation_comparison_written", _compared(config, seed, folder))]
        )
    base, *_ = foam_base.load(config.base)
    exam = exam_of(config.base, "test", config.test_items, config.probe_items)
    watched = exam_of(config.base, "validation", config.progress_items, config.progress_items)
    rows: list[tuple] = []

    def watch(model, step: int) -> None:
        found = with_mean(watched.progress(model))
        rows.extend((step, f"{ON_THE_WAY} {split}", *rest) for split, *rest in found)

    lessons = lessons_of(config.base, config.examples, seed, SKILLS)
    learnt = learn(copy.deepcopy(base), lessons, ARMS[config.arm], schedule_of(config), seed, watch)
    before = _answers_of_base(config.base, config.test_items, config.probe_items)
    rows += _kept(exam.answers(learnt.model), before)
    drift = exam.drift(base, learnt.model)
    rows += [(0, "old_texts", metric, value) for metric, value in drift.items()]
    rows += _costs(learnt, base.config.hidden_size)
    return frame_of(rows)


def frame_of(rows: list[tuple]) -> pd.DataFrame:
    """Return rows of step, split, metric and value with the units of their metrics."""
    frame = pd.DataFrame(rows, columns=["step", "split", "metric", "value"])
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])


def _compared(config: Config, seed: int, folder: Path) -> float:
    """Write the comparison of growth and no growth, read it, and say whether it is whole."""
    tables = []
    for arm in export.ABLATION.values():
        own = dataclasses.replace(config, arm=arm, variant=arm)
        tables.append(run(own, seed, folder, Runtime()).assign(variant=arm, seed=seed))
    name, form = export.FORMS["foam_trial"]
    (folder / name).write_text(json.dumps(form(pd.concat(tables)), indent=2), encoding="utf-8")
    found = json.loads((folder / name).read_text(encoding="utf-8"))
    return float(all(set(export.ABLATED) <= set(found[side]) for side in export.ABLATION))


def with_mean(found: dict[tuple[str, str], float]) -> list[tuple]:
    """Return (split, metric, value) of what is measured on the way, with the mean over skills."""
    exact = [value for (_, metric), value in found.items() if metric == "exact_answers"]
    return [
        *((*key, value) for key, value in found.items()),
        (ALL, "exact_answers", statistics.fmean(exact)),
    ]


def _kept(answers: pd.DataFrame, before: pd.DataFrame) -> list[tuple]:
    """Return accuracies, retention beside the base, and what intervals over items need."""
    from plasticity.foam.trial.skills import SKILLS

    rows, skills = [], []
    base = before.groupby("split")["correct"].mean()
    for split, own in answers.groupby("split", sort=False):
        accuracy = 100 * own["correct"].mean()
        if split in SKILLS:
            skills.append(accuracy)
            rows.append((0, split, "skill_accuracy", accuracy))
        else:
            rows.append((0, split, "accuracy", accuracy))
            rows.append((0, split, "retention", accuracy / base[split]))
        if split in (*SKILLS, "replayed", "unreplayed"):
            clusters = 100 * own.groupby("cluster", sort=False)["correct"].mean()
            rows += [(n, f"{BY_ITEM} {split}", "item_accuracy", v) for n, v in enumerate(clusters)]
    return [*rows, (0, ALL, "skill_accuracy", statistics.fmean(skills))]


def _costs(learnt: "Learnt", size: int) -> list[tuple]:
    """Return what an arm cost, and what its growth events did."""
    trained = sum(p.numel() for p in learnt.model.parameters() if p.requires_grad)
    born = sum(event.born for event in learnt.events)
    rows = [
        (0, "trained", "parameters", trained),
        (0, "added", "parameters", 3 * size * born),
        (0, "train", "tokens", learnt.tokens),
        (0, "new_task", "tokens", learnt.new_tokens),
        (0, "born", "neurons", born),
        (0, "replaced", "neurons", sum(event.replaced for event in learnt.events)),
    ]
    if learnt.step_seconds:
        rows.append((0, "train", "step_seconds", statistics.median(learnt.step_seconds)))
        rows.append((0, "events", "seconds", sum(learnt.event_seconds)))
    for event in learnt.events:
        rows.append((event.step, "events", "loss_jump", event.loss_after - event.loss_before))
    return rows
