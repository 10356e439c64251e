"""Skills learnt one after another: what is left of the earlier ones, and of the base's facts."""

import copy
import dataclasses
import statistics
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from plasticity.companion.configuration import Runtime
from plasticity.experiments import foam_base, foam_trial
from plasticity.foam.trial.arms import SEQUENCE

datasets, models = foam_trial.datasets, foam_trial.models
ORDER = ("tools", "identity", "autonomy")


@dataclass(frozen=True)
class Config(foam_trial.Config):
    """One arm on one base; steps, events and newborns are those of each skill."""

    @property
    def allowed_arms(self) -> tuple[str, ...]:
        """What `arm` may be."""
        return tuple(SEQUENCE)


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Let one arm learn three skills in turn, and test all of them after each.

    Parameters
    ----------
    config : Config
    seed : int
        Of the order of examples, of growth and of adapters.
    folder : Path
        Not used.
    runtime : Runtime
        Not used: the models are too small for a GPU.

    Returns
    -------
    pandas.DataFrame
        Columns step (how many skills have been learnt), split, metric, value, unit.
    """
    from plasticity.foam.trial.learning import learn

    base, *_ = foam_base.load(config.base)
    exam = foam_trial.exam_of(config.base, "test", config.test_items, config.probe_items)
    model, before = copy.deepcopy(base), []
    found = [_tested(exam, base)]
    rows: list[tuple] = []
    for stage, skill in enumerate(ORDER, 1):
        lessons = foam_trial.lessons_of(config.base, config.examples, seed, (skill,))
        lessons = dataclasses.replace(lessons, old=[*lessons.old, *before])
        schedule = foam_trial.schedule_of(config)
        learnt = learn(model, lessons, SEQUENCE[config.arm], schedule, seed)
        model, before = learnt.model, [*before, *lessons.new]
        found.append(_tested(exam, model))
        rows += [
            (stage, "born", "neurons", sum(event.born for event in learnt.events)),
            (stage, "replaced", "neurons", sum(event.replaced for event in learnt.events)),
            (stage, "train", "tokens", learnt.tokens),
        ]
    rows += [(stage, *key, value) for stage, own in enumerate(found) for key, value in own.items()]
    rows += _kept(found)
    return foam_trial.frame_of(rows)


def _tested(exam, model) -> dict[tuple[str, str], float]:
    """Return percent right of every skill and of every kind of old knowledge."""
    shares = 100 * exam.answers(model).groupby("split", sort=False)["correct"].mean()
    return {
        (split, "skill_accuracy" if split in ORDER else "accuracy"): share
        for split, share in shares.items()
    }


def _kept(found: list[dict[tuple[str, str], float]]) -> list[tuple]:
    """Return backward transfer and forgetting of all skills but the last, and facts retained.

    Backward transfer compares the end with the moment after a skill was learnt; forgetting
    compares it with the skill's best moment (Lopez-Paz and Ranzato 2017; Chaudhry et al. 2018).
    """
    transfers, losses, last = [], [], len(ORDER)
    for stage, skill in enumerate(ORDER[:-1], 1):
        course = [own[skill, "skill_accuracy"] for own in found]
        transfers.append(course[last] - course[stage])
        losses.append(max(course[stage:]) - course[last])
    facts = ("unreplayed", "accuracy")
    at_the_end = [found[last][skill, "skill_accuracy"] for skill in ORDER]
    return [
        (last, foam_trial.ALL, "backward_transfer", statistics.fmean(transfers)),
        (last, foam_trial.ALL, "forgetting", statistics.fmean(losses)),
        (last, foam_trial.ALL, "skill_accuracy", statistics.fmean(at_the_end)),
        *(
            (stage, "unreplayed", "retention", 100 * own[facts] / found[0][facts])
            for stage, own in enumerate(found)
        ),
    ]
