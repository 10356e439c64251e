"""Whether a recurrent arm is as good as BERT for less, made from the numbers."""

from collections.abc import Mapping

import pandas as pd

from plasticity.companion.statistics import Interval, mean_interval, values_by_seed
from plasticity.companion.tables import interval_cell
from plasticity.experiments.pnn_refinement import CLEAR_OF_PLATEAU
from plasticity.findings.pnn import end_means, worst_seeds

RECURRENT = ("pnn", "pnn_as_paper", "shared_block")
BASELINES = ("bert", "bert_stepwise", "bert_4", "bert_4_stepwise")
# The goal, in percent of the baseline's: accuracy at least, the others at most. Parameters are
# counted the paper's way (untied) and without embeddings and head.
GOAL_ACCURACY, GOAL_UNTIED, GOAL_ENCODER, GOAL_FLOPS = 97.0, 41.0, 40.0, 100.0
COSTS = {
    "untied": ("parameters", "untied", GOAL_UNTIED),
    "encoder": ("parameters", "encoder", GOAL_ENCODER),
    "FLOPs": ("flops_per_token", "total", GOAL_FLOPS),
}

SAID = {"yes": "reached", "on average": "reached on average", "no": "not reached"}


def _share(rows: pd.DataFrame, arm: str, baseline: str) -> Interval:
    """Return the accuracy of an arm in percent of a baseline's, paired by seed."""
    ours, theirs = (values_by_seed(rows, "accuracy", name, "test", 0) for name in (arm, baseline))
    return mean_interval((100 * ours / theirs).dropna().to_numpy())


def _reached(accuracy: Interval, costs: Mapping[str, float]) -> str:
    if any(costs[name] > limit for name, (_, _, limit) in COSTS.items()):
        return "no"
    if accuracy.low >= GOAL_ACCURACY:
        return "yes"
    return "on average" if accuracy.mean >= GOAL_ACCURACY else "no"


def against_baselines(rows: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """Hold every recurrent arm against every BERT that has left the plateau, at equal tokens.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_refinement``.
    labels : mapping of str to str
        Names to show for the variants.

    Returns
    -------
    DataFrame
        Texts, one row for each pair: percent of the baseline's accuracy with a 95 % interval over
        seeds, of its parameters counted two ways and of its operations; and whether the goal is
        reached: the whole interval over it (yes), or the mean alone (on average).
    """
    worst = worst_seeds(rows)
    clear = set(worst.index[worst >= CLEAR_OF_PLATEAU])
    mean, lines = end_means(rows), {}
    for baseline in (name for name in BASELINES if name in clear):
        for arm in (name for name in RECURRENT if name in clear):
            costs = {
                name: 100 * mean[arm, metric, split] / mean[baseline, metric, split]
                for name, (metric, split, _) in COSTS.items()
            }
            accuracy = _share(rows, arm, baseline)
            lines[labels.get(arm, arm), labels.get(baseline, baseline)] = {
                "accuracy, %": interval_cell(accuracy, "{:.1f}"),
                **{f"{name}, %": f"{value:.1f}" for name, value in costs.items()},
                "goal": _reached(accuracy, costs),
            }
    return pd.DataFrame.from_dict(lines, orient="index")


def beyond(rows: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """Say in Markdown against which BERT the goal is reached, and which could not be compared.

    Parameters
    ----------
    rows, labels
        As for `against_baselines`.
    """
    table = against_baselines(rows, labels)
    worst = worst_seeds(rows)
    waiting = [
        labels.get(name, name)
        for name in (*BASELINES, *RECURRENT)
        if name in worst.index and worst[name] < CLEAR_OF_PLATEAU
    ]
    sentences = [
        f"The goal: {GOAL_ACCURACY:.0f} % of a BERT's accuracy at equal tokens, with "
        f"{GOAL_UNTIED:.0f} % of its parameters counted the paper's way, {GOAL_ENCODER:.0f} % "
        "without embeddings and head, and fewer operations."
    ]
    if waiting:
        sentences.append(
            f"**No ratio** for {' and '.join(waiting)}: a seed stood on the plateau at the end."
        )
    for baseline in dict.fromkeys(table.index.get_level_values(1)) if len(table) else ():
        own = table.xs(baseline, level=1)
        told = "; ".join(
            f"{arm} has {line['accuracy, %']} % ({SAID[line['goal']]})"
            for arm, line in own.iterrows()
        )
        sentences.append(f"Of **{baseline}**: {told}.")
    if len(table):
        sentences.insert(1, _strongest(rows, table, labels))
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _strongest(rows: pd.DataFrame, table: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """Name the most accurate BERT, since a weak one is easily matched."""
    at_end = rows.query("metric == 'accuracy' and split == 'test' and step == 0")
    mean = at_end.groupby("variant")["value"].mean()
    best = labels.get(name := mean[mean.index.isin(BASELINES)].idxmax(), name)
    own = table[table.index.get_level_values(1) == best]
    reached = [arm for arm, _ in own[own["goal"] != "no"].index]
    said = f"reached against it by {' and '.join(reached)}" if reached else "not reached against it"
    return f"The most accurate BERT after these tokens is **{best}**: the goal is {said}."
