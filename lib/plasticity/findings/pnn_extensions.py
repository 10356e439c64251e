"""What the chapter on halting, digits and fine-tuning says, made from the numbers."""

from collections.abc import Mapping

import pandas as pd

from plasticity.companion.statistics import (
    Interval,
    mean_interval,
    paired_difference,
    values_by_seed,
)
from plasticity.companion.tables import interval_cell
from plasticity.experiments.pnn_extensions import ALLOWED_LOSS, BATCHES

GOAL = 1.5  # times as fast, for at most ALLOWED_LOSS


def halting(rows: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """Say in Markdown what halting saves and costs.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_extensions``.
    labels : mapping of str to str
        Names to show for the rules.

    Returns
    -------
    str
        A list of sentences, failures included.
    """
    own = rows[rows["variant"] == "halting"]
    chosen = own.loc[own["metric"] == "halting_chosen", "split"].value_counts()
    named = ", ".join(f"{labels.get(n, n)} ({count} of {chosen.sum()})" for n, count in
                      chosen.items())  # fmt: skip
    change = _interval(rows, "halting_accuracy_change", "chosen")
    steps = _interval(rows, "halted_steps", "chosen")
    compute = _interval(rows, "halted_compute", "chosen")
    sentences = [
        f"Chosen on validation texts, rule by number of seeds: {named}.",
        f"On test texts it takes **{interval_cell(steps, '{:.2f}')} steps** on average, "
        f"{interval_cell(compute, '{:.0f}')} % of the multiply-adds of all steps and one readout, "
        f"and changes accuracy by {interval_cell(change, '{:+.2f}')} points.",
        _over_fixed(rows),
        _speed(rows, change),
    ]
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _interval(rows: pd.DataFrame, metric: str, split: str, variant: str = "halting") -> Interval:
    return mean_interval(values_by_seed(rows, metric, variant, split, 0).to_numpy())


def _over_fixed(rows: pd.DataFrame) -> str:
    found = _interval(rows, "halting_over_fixed", "chosen")
    if found.low > 0:
        verdict = "so choosing by text is worth something"
    elif found.high < 0:
        verdict = "so it is worse than taking fewer steps for all"
    else:
        verdict = "so it cannot be told from taking fewer steps for all"
    return (
        "Against as many steps for every text, on a straight line between whole numbers, it has "
        f"{interval_cell(found, '{:+.2f}')} points: {verdict}."
    )


def _speed(rows: pd.DataFrame, change: Interval) -> str:
    ratios = {size: _interval(rows, "halting_speed_up", f"batch_{size}") for size in BATCHES}
    parts = " and ".join(
        f"{interval_cell(found, '{:.2f}')} times as fast at {size} text{'s' * (size > 1)} at a time"
        for size, found in ratios.items()
    )
    reached = all(found.mean >= GOAL for found in ratios.values()) and change.mean >= -ALLOWED_LOSS
    met = "is met" if reached else "is not met"
    return (
        f"Measured in wall time, inference is {parts}. The goal set beforehand, {GOAL} times for "
        f"at most {ALLOWED_LOSS} points, **{met}** on average."
    )


def digits(rows: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """Say in Markdown how PNN does on digits beside ViTs.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_extensions``.
    labels : mapping of str to str
        Names to show for the variants.
    """
    found = _interval(rows, "accuracy", "test", "vision")
    guess = _interval(rows, "constant_guess_accuracy", "test", "vision").mean
    sentences = [
        f"The same refiner on patches of digits is right on {interval_cell(found)} % of the test "
        f"images, where the commonest digit is {guess:.1f} % of them."
    ]
    for peer, what in (
        ("vit_equal_parameters", "about as many parameters"),
        ("vit_equal_compute", "about as much compute"),
    ):
        gap = paired_difference(rows, "accuracy", "vision", peer, split="test")
        sentences.append(f"Against {labels[peer]}, {what}: {interval_cell(gap, '{:+.1f}')} points"
                         f" ({_side(gap, 'PNN', labels[peer])}).")  # fmt: skip
    own = rows[(rows["variant"] == "vision") & (rows["metric"] == "readout_accuracy")]
    path = own.groupby("step")["value"].mean()
    trained = path.index[-1] // 2
    sentences.append(
        f"Read after 1 step it has {path[1]:.1f} %, after the {trained} of training "
        f"{path[trained]:.1f} %, and after twice as many {path.iloc[-1]:.1f} %."
    )
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _side(found: Interval, first: str, second: str) -> str:
    if not found.low <= found.high:
        return "one seed, so no interval"
    if found.low > 0:
        return f"{first} is ahead"
    if found.high < 0:
        return f"{second} is ahead"
    return "no difference that can be told"


def fine_tuning(rows: pd.DataFrame, score: str, labels: Mapping[str, str]) -> str:
    """Say in Markdown whether fine-tuning beats the majority, and PNN the others.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_transfer``.
    score : str
        What the task is scored with.
    labels : mapping of str to str
        Names to show for the variants.
    """
    sentences = []
    for variant in dict.fromkeys(rows["variant"]):
        found = _interval(rows, "task_score", "test", variant)
        beats = values_by_seed(rows, "fine_tuning_beats_majority", variant, "test", 0)
        sentences.append(
            f"{labels[variant]}: {score} {interval_cell(found, '{:.3f}')}; above the majority with "
            f"its whole interval over examples in {int(beats.sum())} of {len(beats)} seeds."
        )
    for peer in ("glue_bert", "glue_untrained"):
        gap = paired_difference(rows, "task_score", "glue", peer, split="test")
        sentences.append(
            f"{labels['glue']} minus {labels[peer]}: {interval_cell(gap, '{:+.3f}')} "
            f"({_side(gap, labels['glue'], labels[peer])})."
        )
    truncated = rows.loc[rows["metric"] == "truncated_share", "value"].mean()
    if truncated > 0:
        sentences.append(
            f"{truncated:.1f} % of the test examples are longer than was read of them."
        )
    return "\n".join(f"- {sentence}" for sentence in sentences)
