"""Choosing each arm's learning rate or penalty: the same number of trials, on validation data."""

import copy
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from plasticity.companion.configuration import Runtime, check_choice, setting
from plasticity.experiments import foam_base, foam_trial
from plasticity.foam.trial.arms import ARMS

datasets, models = foam_trial.datasets, foam_trial.models
TUNED = ("learning_rate", "penalty_strength")


@dataclass(frozen=True)
class Config(foam_trial.Config):
    """An arm on a base, and what is tried."""

    tuned: str = setting("learning_rate", "the setting that is tried: " + " or ".join(TUNED))
    trials: tuple[float, ...] = setting((3e-4, 1e-3, 3e-3, 1e-2), "its values")

    def __post_init__(self):
        """Check ranges."""
        super().__post_init__()
        check_choice("tuned", self.tuned, TUNED)


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Try every value, and score it on validation data; the test set is not touched.

    Parameters
    ----------
    config : Config
    seed : int
    folder : Path
        Not used.
    runtime : Runtime
        Not used.

    Returns
    -------
    pandas.DataFrame
        Columns step (the trial), split, metric, value, unit.
    """
    from plasticity.foam.trial.learning import learn
    from plasticity.foam.trial.skills import SKILLS

    base, *_ = foam_base.load(config.base)
    exam = foam_trial.exam_of(config.base, "validation", config.test_items, config.probe_items)
    lessons = foam_trial.lessons_of(config.base, config.examples, seed, SKILLS)
    rows = []
    for trial, tried in enumerate(config.trials):
        schedule = dataclasses.replace(foam_trial.schedule_of(config), **{config.tuned: tried})
        model = learn(copy.deepcopy(base), lessons, ARMS[config.arm], schedule, seed).model
        rows += [
            *((trial, *each) for each in foam_trial.with_mean(exam.progress(model))),
            (trial, "old_texts", "divergence", exam.drift(base, model)["divergence"]),
            (trial, "tried", config.tuned, tried),
        ]
    return foam_trial.frame_of(rows)
