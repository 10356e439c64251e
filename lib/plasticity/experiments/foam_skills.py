"""Three skills before and after, on tests that can tell, and on the source's 10, 5 and 5 items."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from plasticity.companion import claims, metrics
from plasticity.companion.configuration import Runtime, setting
from plasticity.experiments import foam_base, foam_trial
from plasticity.experiments.foam_trial import datasets

if TYPE_CHECKING:
    from plasticity.foam.trial.bases import Base

__all__ = ["Config", "datasets", "models", "run"]

SOURCE = "source"
# The source's tests, by skill: the claim that states each, and our measurement of as many items.
CLAIMS = {
    "tools": ("foam-tool-use", "tool_use_of_ten"),
    "identity": ("foam-identity", "identity_of_five"),
    "autonomy": ("foam-autonomy", "autonomy_of_five"),
}
PARTS = {
    "parsed": "well_formed_share",
    "tool": "right_tool_share",
    "arguments": "right_arguments_share",
    "answer": "right_answer_share",
    "match": "right_value_share",
    "base_absent": "base_absent_share",
}


@dataclass(frozen=True)
class Config(foam_trial.Config):
    """One arm on one base; ``source`` counts what the source's own table lists."""

    test_items: int = setting(1000, "test examples of each skill, at most; 1000 are all")

    @property
    def allowed_arms(self) -> tuple[str, ...]:
        """What `arm` may be."""
        from plasticity.foam.trial.arms import ARMS

        return (SOURCE, *ARMS)


def models(config: Config) -> tuple[str, ...]:
    """Return the models that a run reads."""
    return () if config.arm == SOURCE else (foam_base.released_name(config.base),)


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Teach the skills to a base, and put every test question once.

    Parameters
    ----------
    config : Config
    seed : int
        Of the order of examples and of growth; the base and the tests are the same for all.
    folder : Path
        Not used.
    runtime : Runtime
        Not used: the models are too small for a GPU.

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit. Split is a skill, or a skill and a kind of
        question, ``tools templates``; step is 0, and the optimizer's for ``exact_answers``.
    """
    rows: list[tuple] = []
    if config.arm == SOURCE:
        listed = [claim for claim in claims.load() if claim.id in dict(CLAIMS.values())]
        rows.append((0, SOURCE, "source_skills", len(listed)))
    else:
        base = foam_base.load(config.base)
        model = _taught(config, base, seed, rows) if config.arm != "base" else base.model
        rows += _answers(model, base, config.test_items)
    frame = pd.DataFrame(rows, columns=["step", "split", "metric", "value"])
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])


def _taught(config: Config, base: "Base", seed: int, rows: list[tuple]):
    """Return a copy of the base that has learnt the skills; its way there is added to the rows."""
    from plasticity.foam.trial.arms import ARMS
    from plasticity.foam.trial.learning import learn
    from plasticity.foam.trial.skills import SKILLS

    watched = foam_trial.exam_of(config.base, "validation", config.progress_items, 8)

    def watch(model, step: int) -> None:
        found = watched.progress(model)
        rows.extend(
            (step, skill, metric, value)
            for (skill, metric), value in found.items()
            if metric == "exact_answers"
        )

    lessons = foam_trial.lessons_of(config.base, config.examples, seed, SKILLS)
    schedule = foam_trial.schedule_of(config)
    learnt = learn(copy.deepcopy(base.model), lessons, ARMS[config.arm], schedule, seed, watch)
    rows.append((0, "train", "tokens", learnt.tokens))
    return learnt.model


def _answers(model, base: "Base", items: int) -> list[tuple]:
    """Put all test questions of all skills."""
    from plasticity.foam.trial.scoring import score_skill
    from plasticity.foam.trial.skills import REFERENCE_ITEMS, SKILLS, skill_examples

    rows: list[tuple] = []
    for skill in SKILLS:
        examples = skill_examples(base.world, skill, "test")[:items]
        found = score_skill(model, base.tokenizer, examples)
        for kind, own in found.groupby("kind", sort=False):
            rows += _shares(f"{skill} {kind}", own)
        rows += _shares(skill, found[found["kind"] != "leakage"])
        new = found[~found["kind"].isin(("negatives", "leakage"))]  # as many as the source asked
        right = int(new["correct"].head(REFERENCE_ITEMS[skill]).sum())
        rows.append((0, skill, CLAIMS[skill][1], right))
    return rows


def _shares(split: str, found: pd.DataFrame) -> list[tuple]:
    """Return the number of answers, and the shares of them that are right, whole and in parts."""
    parts = {name: metric for name, metric in PARTS.items() if name in found}
    return [
        (0, split, "questions", len(found)),
        (0, split, "skill_accuracy", 100 * found["correct"].mean()),
        *(
            (0, split, metric, 100 * found[name].dropna().astype(float).mean())
            for name, metric in parts.items()
            if found[name].notna().any()
        ),
    ]
