"""What the trials of each arm's settings say, made from the numbers."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from plasticity.experiments.pnn_refinement import PLATEAU_MARGIN

SETTINGS = ("learning_rate", "warmup_steps", "position_scale", "initialization")


class StartChange(NamedTuple):
    """A change of one setting of the start, between two trials that are otherwise alike."""

    setting: str
    plain: float | str
    changed: float | str
    name: str


STARTS = (
    StartChange("position_scale", 1.0, 3.0, "larger positions at the start"),
    StartChange("initialization", "width_scaled", "depth_scaled", "a start scaled with depth"),
)


def trials(rows: pd.DataFrame, configs: Sequence, labels: Mapping[str, str]) -> pd.DataFrame:
    """Set out the validation loss of every trial, the lowest of each arm ticked.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_tuning``, whose variants are called ``<arm>-<number of the trial>``.
    configs : sequence of pnn_tuning.Config
        The trials.
    labels : mapping of str to str
        Names to show for the arms.

    Returns
    -------
    DataFrame
        Texts, one row for each trial, one column for each arm: loss in nats, and points of
        accuracy over the constant guess.
    """
    found = _by_trial(rows)
    settings = {_trial(c.variant): _settings(c) for c in configs}
    arms = dict.fromkeys(arm for arm, _ in found.index)
    table = pd.DataFrame(index=list(settings.values()))
    for arm in arms:
        best = found.loc[arm, "loss"].idxmin()
        texts = {}
        for trial, own in found.loc[arm].iterrows():
            text = f"{own['loss']:.2f} ({own['accuracy_over_guess']:+.1f})"
            texts[settings[trial]] = f"{text} ✓" if trial == best else text
        table[labels.get(arm, arm)] = pd.Series(texts)
    return table.fillna("—")


def _trial(variant: str) -> int:
    return int(variant.rsplit("-", 1)[1])


def _by_trial(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one line for each arm and trial, with a column for each metric."""
    names = rows["variant"].str.rsplit("-", n=1)
    keyed = rows.assign(arm=names.str[0], trial=names.str[1].astype(int))
    wide = keyed.pivot_table(index=["arm", "trial"], columns="metric", values="value", sort=False)
    return wide.sort_index(level="trial", sort_remaining=False)


def _settings(config) -> str:
    """Return what a trial sets, in words."""
    start = {
        "normal": "reference's start",
        "width_scaled": f"positions × {config.position_scale:g}",
        "depth_scaled": f"positions × {config.position_scale:g}, scaled with depth",
    }[config.initialization]
    return f"rate {config.learning_rate:g}, warm-up {config.warmup_steps}, {start}"


def choice(rows: pd.DataFrame, configs: Sequence, labels: Mapping[str, str]) -> str:
    """Say in Markdown which settings the trials chose, and what they cannot tell.

    Parameters
    ----------
    rows, configs, labels
        As for `trials`.
    """
    found = _by_trial(rows)
    settings = {_trial(c.variant): _settings(c) for c in configs}
    lines = []
    for arm in dict.fromkeys(arm for arm, _ in found.index):
        own = found.loc[arm]
        best = own["loss"].idxmin()
        line = f"- {labels.get(arm, arm)}: {settings[best]}{_ends(configs, best)}"
        learning = int((own["accuracy_over_guess"] >= PLATEAU_MARGIN).sum())
        if learning == 0:
            line += "; no trial began to learn, so that the choice rests on small differences"
        else:
            line += f"; {learning} of {len(own)} trials began to learn from context"
        lines.append(f"{line}.")
    runs = f"Each trial is one run of one seed over {configs[0].train_tokens:,} tokens."
    starts = [_start(found, configs, labels, start) for start in STARTS]
    return "\n".join([*lines, "", " ".join([*filter(None, starts), runs])])


def _ends(configs: Sequence, best: int) -> str:
    """Say which numbers of the best trial are the largest or the smallest that were tried."""
    chosen = {_trial(config.variant): config for config in configs}[best]
    at = []
    for name, shown in (("learning_rate", "rate"), ("position_scale", "positions")):
        tried, value = {getattr(config, name) for config in configs}, getattr(chosen, name)
        if len(tried) > 1 and value == max(tried):
            at.append(f"the largest {shown}")
        elif len(tried) > 1 and value == min(tried) and name == "learning_rate":
            at.append(f"the smallest {shown}")
    return f" ({' and '.join(at)} tried: better may lie beyond)" if at else ""


def _start(
    found: pd.DataFrame, configs: Sequence, labels: Mapping[str, str], start: StartChange
) -> str:
    """Say what one change of the start does to every arm's loss where nothing else differs."""
    same: dict[tuple, dict] = {}
    for config in configs:
        key = tuple(getattr(config, name) for name in SETTINGS if name != start.setting)
        same.setdefault(key, {})[getattr(config, start.setting)] = _trial(config.variant)
    wanted = {start.plain, start.changed}
    pairs = [trials for trials in same.values() if wanted <= trials.keys()]
    if not pairs:
        return ""
    changes = []
    for arm in dict.fromkeys(arm for arm, _ in found.index):
        loss = found.loc[arm, "loss"]
        mean = sum(loss[pair[start.changed]] - loss[pair[start.plain]] for pair in pairs)
        changes.append(f"{labels.get(arm, arm)} {mean / len(pairs):+.2f}")
    return (
        f"With {start.name}, and all else the same ({len(pairs)} "
        f"pair{'s' if len(pairs) > 1 else ''} of trials), the loss changes on average by "
        f"{', '.join(changes)}."
    )
