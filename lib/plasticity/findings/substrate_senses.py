"""What the chapters on sound and film say, made from the numbers."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from plasticity.companion.statistics import Interval, mean_interval, summarise, values_by_seed
from plasticity.companion.tables import ABSENT, cell
from plasticity.experiments import substrate_video

CLEAN, NOISY = "test", "test, 0 dB"
GOAL_CLEAN, GOAL_NOISY = 100.0, 99.0  # percent
GRAPH = "accuracy"
FIFTH = 7  # semitones
REFERENCE_KILOBYTES = {"four_tones": 10, "four_motions": 30}  # neuron-graph's README


def accuracies(
    rows: pd.DataFrame, tasks: Mapping[str, str], readers: Mapping[str, str]
) -> pd.DataFrame:
    """Set out how many of the test every reader names, without noise and at 0 dB.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_audio`` or ``substrate_video``.
    tasks : mapping of str to str
        Names to show for the variants.
    readers : mapping of str to str
        Names to show for the metrics that readers are scored under.

    Returns
    -------
    DataFrame
        Texts, in percent; one row for each task and reader.
    """
    found = summarise(rows[(rows["step"] == 0) & rows["split"].isin([CLEAN, NOISY])])
    found = found.set_index(["variant", "metric", "split"])
    lines = {}
    for task, name in tasks.items():
        for metric, reader in readers.items():
            if (task, metric, CLEAN) in found.index:
                texts = [
                    cell(*found.loc[(task, metric, split), ["mean", "low", "high"]], "{:.1f}")
                    for split in (CLEAN, NOISY)
                ]
                lines[name, reader] = texts
    table = pd.DataFrame.from_dict(lines, orient="index", columns=["clean, %", "0 dB, %"])
    table.index = pd.MultiIndex.from_tuples(table.index, names=["task", "reader"])
    return table


def sizes(rows: pd.DataFrame, tasks: Mapping[str, str]) -> pd.DataFrame:
    """Set out what the graph of each task takes, and what validation chose.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows.
    tasks : mapping of str to str
        Names to show for the variants.

    Returns
    -------
    DataFrame
        Texts: bytes, the reference's size, winners chosen in the seeds, seconds to learn.
    """
    lines = {}
    for task, name in tasks.items():
        size = values_by_seed(rows, "bytes", task, CLEAN, 0)
        winners = values_by_seed(rows, "winners", task, CLEAN, 0)
        seconds = mean_interval(values_by_seed(rows, "seconds", task, "train", 0).to_numpy())
        reference = REFERENCE_KILOBYTES.get(task)
        lines[name] = [
            f"{size.max():,.0f}",
            ABSENT if reference is None else f"about {1000 * reference:,}",
            ", ".join(f"{value:.0f}" for value in sorted(set(winners))),
            f"{seconds.mean:.1f}",
        ]
    columns = ["bytes", "reference's bytes", "winners, by validation", "seconds to learn"]
    return pd.DataFrame.from_dict(lines, orient="index", columns=columns)


def audio(rows: pd.DataFrame, readers: Mapping[str, str]) -> str:
    """Say in Markdown what became of the sounds.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_audio``, all its variants.
    readers : mapping of str to str
        Names to show for the metrics that readers are scored under.

    Returns
    -------
    str
        A list of sentences, failures included.
    """
    return _listed(
        _source(rows, "four_tones", "The four tones"),
        _limit(rows, "four_tones", "by duration", "Four tones at 0 dB", "{:.0f} ms"),
        _goal(rows, "twelve_tones", "The twelve semitones"),
        _grid(rows, "twelve_tones_grid", "twelve_tones"),
        _limit(rows, "twelve_tones", "by snr", "Semitones", "{:.0f} dB"),
        _limit(rows, "twelve_tones", "by duration", "Semitones at 0 dB", "{:.0f} ms"),
        _range(rows, "twelve_tones", "by rate", "sample rates from {:,.0f} to {:,.0f} Hz"),
        _against(rows, "twelve_tones", "by duration", "Semitones", readers, "{:.0f} ms"),
        _against(rows, "instruments", "by snr", "Instruments never heard", readers, "{:.0f} dB"),
        _known(rows),
        _fifths(rows),
    )


def video(rows: pd.DataFrame, readers: Mapping[str, str]) -> str:
    """Say in Markdown what became of the films.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_video``, all its variants.
    readers : mapping of str to str
        Names to show for the metrics that readers are scored under.

    Returns
    -------
    str
        A list of sentences, failures included.
    """
    return _listed(
        _source(rows, "four_motions", "The four motions"),
        _limit(rows, "four_motions", "by frames", "Four motions at 0 dB", "{:.0f} frames"),
        _goal(rows, "motions", "Directions and speeds"),
        _grid(rows, "motions_grid", "motions"),
        _limit(rows, "motions", "by snr", "Directions and speeds", "{:.0f} dB"),
        _limit(rows, "motions", "by frames", "Directions and speeds at 0 dB", "{:.0f} frames"),
        _limit(rows, "motions", "by size", "Directions and speeds at 0 dB", "{:.0f} pixels"),
        _against(rows, "motions", "by snr", "Directions and speeds", readers, "{:.0f} dB"),
        _neighbours(rows),
        _against(rows, "digits", "by drift", "Digits", readers, "a drift of {:.0f} %"),
        _drift(rows),
    )


def _listed(*sentences: str) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _at(rows: pd.DataFrame, task: str, split: str, metric: str = GRAPH, step: int = 0) -> Interval:
    return mean_interval(values_by_seed(rows, metric, task, split, step).to_numpy())


def _text(found: Interval, form: str = "{:.1f}") -> str:
    return cell(found.mean, found.low, found.high, form)


def _curve(rows: pd.DataFrame, task: str, split: str, metric: str = GRAPH) -> pd.Series:
    """Return the mean over seeds by step, ascending."""
    own = (rows["variant"] == task) & (rows["split"] == split) & (rows["metric"] == metric)
    return rows[own].groupby("step")["value"].mean().sort_index()


def _source(rows: pd.DataFrame, task: str, name: str) -> str:
    clean, noisy = _at(rows, task, CLEAN), _at(rows, task, NOISY)
    size = values_by_seed(rows, "bytes", task, CLEAN, 0).max()
    same = "as in the reference" if clean.mean == GOAL_CLEAN else "where the reference has 100 %"
    return (
        f"{name} of the reference are named {_text(clean)} % right without noise, {same}, and "
        f"{_text(noisy)} % at 0 dB, all under conditions that none of the training had. The graph "
        f"takes {size:,.0f} bytes; the reference says about "
        f"{1000 * REFERENCE_KILOBYTES[task]:,}."
    )


def _goal(rows: pd.DataFrame, task: str, name: str) -> str:
    clean, noisy = _at(rows, task, CLEAN), _at(rows, task, NOISY)
    met = [clean.mean >= GOAL_CLEAN, noisy.mean >= GOAL_NOISY]
    verdict = {2: "both are met", 1: "one of them is met", 0: "neither is met"}[sum(met)]
    return (
        f"{name}: {_text(clean, '{:.2f}')} % without noise and {_text(noisy, '{:.2f}')} % at 0 dB. "
        f"The goals were {GOAL_CLEAN:.0f} and {GOAL_NOISY:.0f} %: {verdict}."
    )


def _grid(rows: pd.DataFrame, grid: str, task: str) -> str:
    coarse, fine = _at(rows, grid, CLEAN), _at(rows, task, CLEAN)
    best = _at(rows, grid, CLEAN, "regression_accuracy")
    lacking = max(coarse.mean, best.mean) < fine.mean - 10
    reason = " The input is what fails there, not the learning." if lacking else ""
    return (
        f"The same through the coarse grid that was enough for four classes: {_text(coarse)} % "
        f"without noise, and {_text(best)} % for logistic regression on it, against "
        f"{_text(fine)} %.{reason}"
    )


def _limit(rows: pd.DataFrame, task: str, split: str, name: str, form: str) -> str:
    """Say from which step on the graph names 99 % or more, and what the lowest step gives."""
    curve = _curve(rows, task, split)
    good = (curve >= GOAL_NOISY)[::-1].cummin()[::-1]
    lowest = f"{form.format(curve.index[0])} leave {curve.iloc[0]:.0f} %"
    if not good.any():
        return f"{name}: not even {form.format(curve.index[-1])} give {GOAL_NOISY:.0f} %; {lowest}."
    first = good[good].index[0]
    if first == curve.index[0]:
        return (
            f"{name}: {GOAL_NOISY:.0f} % or more at every point measured, from "
            f"{form.format(first)} on."
        )
    return (
        f"{name}: {GOAL_NOISY:.0f} % or more from {form.format(first)} on, to the end of what was "
        f"measured, {form.format(curve.index[-1])}; {lowest}."
    )


def _range(rows: pd.DataFrame, task: str, split: str, form: str) -> str:
    curve = _curve(rows, task, split)
    ends = form.format(curve.index[0], curve.index[-1])
    return f"At 0 dB and {ends} it names {curve.min():.1f} to {curve.max():.1f} % right."


def _against(
    rows: pd.DataFrame, task: str, split: str, name: str, readers: Mapping[str, str], form: str
) -> str:
    """Compare the graph with the other readers at 0 dB, and along one curve."""
    graph = values_by_seed(rows, GRAPH, task, NOISY, 0)
    parts, curve = [], _curve(rows, task, split)
    for metric, reader in readers.items():
        other = values_by_seed(rows, metric, task, NOISY, 0)
        if metric == GRAPH or other.empty:
            continue
        found = mean_interval((graph - other).to_numpy())
        gap = curve - _curve(rows, task, split, metric)
        worst = gap.idxmin()
        along = f", at worst {gap[worst]:+.0f} at {form.format(worst)}" if gap[worst] < 0 else ""
        parts.append(f"{reader} {_text(found, '{:+.1f}')} ({_side(found)}{along})")
    return (
        f"{name}, {_text(mean_interval(graph.to_numpy()))} % at 0 dB. The graph minus each other "
        f"reader of the same, in points: {'; '.join(parts)}."
    )


def _side(found: Interval) -> str:
    if found.low == found.high == 0:
        return "no difference"
    if np.isnan(found.low):
        return "one seed, so no interval"
    if found.low > 0:
        return "the graph is better"
    return "the graph is worse" if found.high < 0 else "no difference can be told"


def _known(rows: pd.DataFrame) -> str:
    known, unknown = (
        _at(rows, "instruments", split) for split in ("known instruments, 0 dB", NOISY)
    )
    sentence = (
        f"Fresh notes of the instruments that it learnt from: {_text(known)} % at 0 dB; of "
        f"instruments that it never heard: {_text(unknown)} %."
    )
    if known.mean <= unknown.mean:
        return sentence
    reason = "It learns which partials go with a note, not that they are multiples of one frequency"
    return f"{sentence} {reason}."


def _fifths(rows: pd.DataFrame) -> str:
    """Tell which instrument is misheard most, and how many of the mistakes are a fifth."""
    own = rows[(rows["variant"] == "instruments") & (rows["metric"] == "answer_share")]
    shares = own.groupby(["split", "step"])["value"].mean().unstack()
    shares.index = shares.index.str.removeprefix("interval, ")
    right, wrong = shares[0], shares.drop(columns=0)
    worst = right.idxmin()
    fifths = wrong.loc[worst, FIFTH] / max(wrong.loc[worst].sum(), 1e-9)
    parts = ", ".join(f"{name} {share:.0f} %" for name, share in right.items())
    even = 1 / wrong.shape[1]
    sentence = (
        f"By instrument at 0 dB: {parts}. The worst is “{worst}”, and {100 * fifths:.0f} % of its "
        f"mistakes are a fifth too high (an even spread would give {100 * even:.0f} %)"
    )
    if fifths < 2 * even:
        return f"{sentence}."
    return (
        f"{sentence}: the third partial of a note is the second of the fifth above it, and where "
        "the lowest partials are weak it is all that is heard of either."
    )


def _neighbours(rows: pd.DataFrame) -> str:
    """Say how far from the truth the wrong answers at the lowest signal-to-noise ratio lie."""
    task = substrate_video.TASKS["motions"]
    own = rows[(rows["variant"] == "motions") & rows["split"].str.startswith("confusion, true ")]
    true = own["split"].str.removeprefix("confusion, true ").astype(int).to_numpy()
    given, share = own["step"].to_numpy(), own["value"].to_numpy()
    turn = np.abs(given - true) % task.directions
    turn = np.minimum(turn, task.directions - turn)
    speeds, answers = true // task.directions, given // task.directions
    wrong = max(share[given != true].sum(), 1e-9)
    speed = 100 * share[(turn == 0) & (answers != speeds)].sum() / wrong
    beside = 100 * share[(turn == 1) & (answers == speeds)].sum() / wrong
    others = len(task.classes) - 1
    right = (given == true) * share
    named = [
        100 * right[speeds == i].sum() / share[speeds == i].sum() for i in range(len(task.speeds))
    ]
    by_speed = ", ".join(
        f"{share_:.0f} % at {speed_:g}" for speed_, share_ in zip(task.speeds, named, strict=True)
    )
    if sorted(named) == named:  # speeds ascend
        by_speed += (
            ": the slower, the less each wave turns from frame to frame, and the more of it goes "
            "when what stands still is taken out"
        )
    return (
        f"At {substrate_video.LOWEST_SNR:.0f} dB it names by speed, in shorter sides a film, "
        f"{by_speed}. Of the wrong answers {speed:.0f} % have the right direction and the wrong "
        f"speed (an even spread would give {100 * (len(task.speeds) - 1) / others:.0f} %), and "
        f"{beside:.0f} % the right speed and a direction beside it ({100 * 2 / others:.0f} %)."
    )


def _drift(rows: pd.DataFrame) -> str:
    curve, peer = (
        _curve(rows, "digits", "by drift", metric)
        for metric in (GRAPH, "phase_correlation_accuracy")
    )
    parts = ", ".join(f"{value:.0f} % at {step}" for step, value in curve.items())
    return (
        "Digits by the drift of the ground, in percent of the shorter side: the graph names "
        f"{parts}; correlation of frames goes from {peer.iloc[0]:.0f} to {peer.iloc[-1]:.0f} %. "
        f"In training the ground drifted by {100 * substrate_video.MOST_DRIFT:.0f} % at most. A "
        f"ground that moves as far as the slowest class, {100 * min(substrate_video.SPEEDS):.0f} "
        "%, is itself a motion, and a larger one than the digit."
    )
