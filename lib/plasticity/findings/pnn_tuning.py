"""What the trials of each arm's settings say, made from the numbers."""

from collections.abc import Mapping, Sequence

import pandas as pd

from plasticity.experiments.pnn_refinement import PLATEAU_MARGIN


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
    start = (
        "reference's start"
        if config.initialization == "normal"
        else f"positions × {config.position_scale:g}"
    )
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
        line = f"- {labels.get(arm, arm)}: {settings[best]}"
        left = int((own["accuracy_over_guess"] >= PLATEAU_MARGIN).sum())
        if left == 0:
            line += "; no trial left the plateau, so that the choice rests on small differences"
        else:
            line += f"; {left} of {len(own)} trials left the plateau"
        lines.append(f"{line}.")
    runs = f"Each trial is one run of one seed over {configs[0].train_tokens:,} tokens."
    return "\n".join([*lines, "", f"{_start(found, configs, labels)} {runs}"])


def _start(found: pd.DataFrame, configs: Sequence, labels: Mapping[str, str]) -> str:
    """Say what the size of positions does where nothing else differs."""
    arms = dict.fromkeys(arm for arm, _ in found.index)
    same = {}
    for config in configs:
        key = (config.learning_rate, config.warmup_steps, config.initialization)
        same.setdefault(key, {})[config.position_scale] = _trial(config.variant)
    (sizes,) = [trials for trials in same.values() if len(trials) > 1]
    small, large = sorted(sizes)
    better, worse = [], []
    for arm in arms:
        before, after = (found.loc[(arm, sizes[size]), "loss"] for size in (small, large))
        text = f"{labels.get(arm, arm)} ({before:.2f} → {after:.2f})"
        (better if after < before else worse).append(text)
    return (
        f"With positions {large:g} times the size of tokens rather than {small:g}, and all else "
        f"the same, the loss of {', '.join(better) or 'no arm'} is lower, that of "
        f"{', '.join(worse) or 'no arm'} is not: a start chosen on one arm alone decides the race."
    )
