"""What the measurements of PNN's cost say, made from the numbers."""

import numpy as np
import pandas as pd

from plasticity.companion.statistics import Interval, bootstrap_interval
from plasticity.companion.tables import cell

COMPARISONS = {
    "blocks": "the blocks alone",
    "masked_step": "a training step, heads on hidden tokens",
    "stock_step": "a training step against transformers' BERT",
    "albert_blocks": "the blocks alone against transformers' ALBERT",
    "albert_step": "a training step against transformers' ALBERT",
}
OTHERS = ("bert", "stock", "albert")
MODELS = {"pnn": "PNN", "bert": "12-layer BERT"}
# Variants with the paper's own pair, of unequal depth, and what tells them apart.
PAPER_MODELS = {"paper_models": "", "paper_models_compiled": ", layers compiled"}
SLACK = 0.03  # of the time ratio over the ratio of operations


def goals(rows: pd.DataFrame) -> pd.DataFrame:
    """Set each comparison's time and memory beside its operations and its goal.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_speed``. Only pairs of equal depth have goals.

    Returns
    -------
    DataFrame
        Texts, one row for each size and comparison. A time ratio is the median over the repeats
        with a 95% bootstrap interval; where all was measured several times, the median of those
        medians, and the lowest and the highest of them. A goal is met if the median meets it;
        runs says of how many runs that is true.
    """
    lines = {}
    alike = rows[~rows["variant"].isin(PAPER_MODELS)]
    for variant, own in alike.groupby("variant", sort=False):
        for comparison, name in COMPARISONS.items():
            part = own[own["split"] == comparison]
            if part.empty:  # rows from before there was this comparison
                continue
            ratios = part[part["metric"] == "time_ratio"]
            ratio, runs = _time_ratio(ratios), _runs(ratios)
            flops, memory = (
                part.loc[part["metric"] == measured, "value"].median()
                for measured in ("flop_ratio", "memory_ratio")
            )
            goal = {"blocks": flops + SLACK, "stock_step": 1.0}.get(comparison)
            lines[variant, name] = {
                "PNN, s": f"{_median(own, comparison, 'pnn'):.3f}",
                "the other, s": f"{_median(own, comparison, *OTHERS):.3f}",
                "time ratio": cell(ratio.mean, ratio.low, ratio.high, "{:.3f}"),
                "FLOP ratio": f"{flops:.3f}",
                "goal": "reported" if goal is None else f"≤ {goal:.3f}",
                "met": "" if goal is None else _met(ratio.mean, goal),
                "runs": f"{len(runs)}" if goal is None else f"{sum(runs <= goal)} of {len(runs)}",
                "memory ratio": "" if np.isnan(memory) else f"{memory:.2f}",
                "memory goal met": ""
                if comparison != "stock_step" or np.isnan(memory)
                else _met(memory, 1.0),
            }
    return pd.DataFrame.from_dict(lines, orient="index")


def missed(rows: pd.DataFrame) -> str:
    """Say in Markdown which goals of time and memory were missed, and which not in every run.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_speed``.
    """
    table = goals(rows)
    lines = [
        f"{name} at {variant.replace('_', ' ')} takes {line['time ratio']} times as long, where "
        f"{line['goal']} is wanted ({line['runs']} runs meet it)"
        for (variant, name), line in table.iterrows()
        if line["met"] == "no"
    ]
    lines += [
        f"{name} at {variant.replace('_', ' ')} takes {line['memory ratio']} times the memory"
        for (variant, name), line in table.iterrows()
        if line["memory goal met"] == "no"
    ]
    if table.empty:
        return ""
    told = (
        f"**Missed**: {'; '.join(lines)}. The other goals are met" if lines else "Every goal is met"
    )
    unsure = [
        f"{name} at {variant.replace('_', ' ')} ({line['runs']})"
        for (variant, name), line in table.iterrows()
        if line["met"] == "yes" and len(set(line["runs"].split(" of "))) > 1
    ]
    return f"{told}, though not in every run: {'; '.join(unsure)}." if unsure else f"{told}."


def _runs(rows: pd.DataFrame) -> pd.Series:
    """Return the median over the repeats of each run."""
    return rows.groupby("seed")["value"].median()


def _time_ratio(rows: pd.DataFrame) -> Interval:
    """Return the median ratio, and its interval over repeats or its range over runs."""
    runs = _runs(rows)
    if len(runs) == 1:
        return bootstrap_interval(rows["value"], statistic=np.median)
    return Interval(runs.median(), runs.min(), runs.max(), len(runs))


def _met(ratio: float, goal: float) -> str:
    return "yes" if ratio <= goal else "no"


def _median(rows: pd.DataFrame, comparison: str, *models: str) -> float:
    splits = [f"{comparison}/{model}" for model in models]
    chosen = (rows["metric"] == "step_seconds") & rows["split"].isin(splits)
    return rows.loc[chosen, "value"].median()


def training(rows: pd.DataFrame, train_tokens: int) -> pd.DataFrame:
    """Set out what training the paper's own models would take on the machine that was measured.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_speed`` with the variant ``paper_models``, compiled or not.
    train_tokens : int
        Tokens that the paper's training sees.

    Returns
    -------
    DataFrame
        Texts, one row for each model; a step has the head on hidden tokens only. Without rows
        where the paper's models were not timed.
    """
    lines = {}
    for variant, how in PAPER_MODELS.items():
        own = rows[rows["variant"] == variant]
        peaks = own[own["metric"] == "peak_bytes"].groupby("split")["value"].max()
        for model, name in MODELS.items() if len(own) else ():
            step = own[own["split"] == f"masked_step/{model}"].set_index("metric")["value"]
            names = ("tokens_per_second", "step_flops", "step_seconds")
            rate, flops, seconds = (np.median(step[name]) for name in names)
            lines[name + how] = {
                "tokens/s": f"{rate:,.0f}",
                "peak memory, GB": f"{peaks[model] / 1e9:.1f}",
                "TFLOP/s": f"{flops / seconds / 1e12:,.2f}",
                "the paper's tokens would take, hours": f"{train_tokens / rate / 3600:,.1f}",
            }
    return pd.DataFrame.from_dict(lines, orient="index")


def papers_pair(rows: pd.DataFrame, model_rows: pd.DataFrame) -> str:
    """Say in Markdown how the paper's own pair compares in time, here and in the paper.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_speed`` with the variant ``paper_models``, compiled or not.
    model_rows : DataFrame
        Tidy rows of ``pnn_model`` at the paper's size.
    """
    minutes = model_rows[model_rows["metric"] == "source_minutes"]
    minutes = minutes.groupby("variant")["value"].first()
    lines = []
    for variant, how in PAPER_MODELS.items():
        for split, against in (
            ("masked_step", "BERT of twelve layers, both heads on hidden tokens"),
            ("stock_step", "transformers' BERT, which reads out every position"),
        ):
            own = rows[(rows["variant"] == variant) & (rows["split"] == split)]
            if own.empty:
                continue
            values = own.set_index("metric")["value"]
            flops, memory = (np.median(values[name]) for name in ("flop_ratio", "memory_ratio"))
            ratio = _time_ratio(own[own["metric"] == "time_ratio"])
            times = cell(ratio.mean, ratio.low, ratio.high, "{:.2f}")
            lines.append(
                f"- Against {against}{how}: **{times}** times as long a step, "
                f"{flops:.2f} times the operations, "
                f"{memory:.2f} times the memory."
            )
    source = minutes["as_released"] / minutes["bert"]
    lines.append(f"- The paper's own training times make it {source:.2f} times as long.")
    return "\n".join(lines)


def training_time(rows: pd.DataFrame) -> str:
    """Say in Markdown what the paper's training times mean in operations.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_model`` at the paper's size.
    """
    chosen = rows[rows["variant"].isin(["as_released", "bert"]) & (rows["seed"] == 0)]
    values = chosen.set_index(["metric", "split", "variant"])["value"].sort_index()
    flops, minutes = values["flops_per_token"], values["source_minutes", "source"]
    rate = values["source_teraflops_per_second", "source"]

    def ratio(split: str) -> float:
        return flops[split, "as_released"] / flops[split, "bert"]

    return (
        f"The paper trains PNN for {minutes['as_released']:.1f} minutes and BERT for "
        f"{minutes['bert']:.1f}: PNN takes {minutes['as_released'] / minutes['bert']:.2f} times as "
        f"long, although its blocks need {ratio('blocks'):.2f} times BERT's operations. The head "
        f"explains it: read out at every position after every step, as the released code does, PNN "
        f"needs {ratio('released'):.2f} times BERT's operations in all, and both times then amount "
        f"to about the same rate, {rate['as_released']:.0f} and {rate['bert']:.0f} TFLOP/s. With "
        f"the head on hidden tokens only, as here, the ratio is {ratio('total'):.2f}."
    )
