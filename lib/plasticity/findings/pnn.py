"""What the PNN chapters say, made from the numbers."""

from collections.abc import Mapping, Sequence

import pandas as pd

from plasticity.companion.statistics import (
    Interval,
    mean_interval,
    paired_difference,
    summarise,
    values_by_seed,
)
from plasticity.companion.tables import ABSENT, cell
from plasticity.experiments.pnn_model import SOURCE_ACCURACY, TABLE_2
from plasticity.experiments.pnn_refinement import CLEAR_OF_PLATEAU

# Pairs of arms and what tells them apart; all but the last see the same tokens.
COMPARISONS = (
    ("pnn", "bert", "The paper's comparison"),
    ("bert", "bert_4", "What depth gives"),
    ("bert_4_stepwise", "bert_4", "What step-wise losses give"),
    ("bert_stepwise", "bert", "What step-wise losses give at 12 layers"),
    ("shared_block", "bert_4_stepwise", "What sharing the weights costs"),
    ("pnn", "shared_block", "What deltas and gates give"),
    ("pnn", "bert_4_stepwise", "All three against the losses alone"),
    ("pnn", "pnn_as_paper", "What the norm on the proposal gives"),
    ("pnn_equal_compute", "bert", "At BERT's compute"),
)

# How Choi (2025), Table 2, names the settings of `pnn_refinement.Config`.
TABLE_2_NAMES = {
    "hidden_size": "Hidden dimension",
    "num_attention_heads": "Attention heads",
    "intermediate_size": "FFN intermediate (PNN)",
    "bert_intermediate_size": "FFN intermediate (BERT)",
    "num_steps": "Refinement steps (PNN)",
    "num_hidden_layers": "Layers (BERT)",
    "sequence_length": "Max sequence length",
    "dropout": "Dropout",
    "learning_rate": "Learning rate",
    "warmup_steps": "Warmup steps",
    "min_learning_rate": "Cosine decay, minimum",
    "micro_batch_size": "Batch size",
    "batch_size": "Effective batch size",
    "train_tokens": "Tokens (1,000,000 samples x 15 epochs)",
    "mixed_precision": "Mixed precision",
    "clip_norm": "Gradient clipping",
    "weight_decay": "Weight decay",
    "mask_probability": "Mask probability",
    "corpus": "Dataset",
    "tokenizer": "Tokenizer",
    "vocab_size": "Vocabulary size",
}
# The rest of the table, which no setting changes here.
FIXED = [
    ("Optimizer", "AdamW", "same", "AdamW", "AdamW"),
    ("Learning rate schedule", "cosine", "linear", "cosine", "cosine"),
]
RELEASED_CODE = {
    "warmup_steps": "100 by default",
    "min_learning_rate": "3e-05, a tenth of the peak",
    "weight_decay": "on every parameter",
    "dropout": "at three further sites",
}


def table_2(default, used) -> pd.DataFrame:
    """Set the paper's settings beside the released code, our defaults and what a profile runs.

    Parameters
    ----------
    default, used : plasticity.experiments.pnn_refinement.Config
        The defaults, and the config of PNN at the profile.

    Returns
    -------
    DataFrame
        Texts, one row for each setting of Choi (2025), Table 2.
    """
    from plasticity.pnn import linear_step_weights  # loads torch, which no other sentence needs

    paper = {key: _shown(value) for key, value in TABLE_2.items()} | {"mixed_precision": "FP16"}
    rows = [
        (name, paper[key], RELEASED_CODE.get(key, "same"), _text(default, key), _text(used, key))
        for key, name in TABLE_2_NAMES.items()
    ]
    weights = [
        ", ".join(f"{weight:g}" for weight in linear_step_weights(config.num_steps))
        for config in (default, used)
    ]
    rows += [*FIXED, ("Step weights (PNN)", "0.1, 0.2, 0.3, 0.4", "same", *weights)]
    columns = ["setting", "paper", "released code", "our default", "this profile"]
    return pd.DataFrame(rows, columns=columns).set_index("setting").rename_axis(None)


def _text(config, key: str) -> str:
    value = getattr(config, key)
    if key == "micro_batch_size" and value == 0:
        return "the whole batch"
    return _shown(value)


def _shown(value: float | str) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else value


def settings(configs: Sequence, names: Sequence[str], labels: Mapping[str, str]) -> pd.DataFrame:
    """Return chosen settings of several arms as texts, one row for each arm.

    Parameters
    ----------
    configs : sequence of ExperimentConfig
    names : sequence of str
        Names of fields.
    labels : mapping of str to str
        Names to show for the variants.
    """
    lines = {labels.get(c.variant, c.variant): [_text(c, name) for name in names] for c in configs}
    return pd.DataFrame.from_dict(lines, orient="index", columns=list(names))


def headline(rows: pd.DataFrame) -> str:
    """Say in Markdown what the paper's own figures give for its headline ratios.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_model``.
    """
    own = rows[rows["variant"] == "as_released"].set_index(["metric", "split"])["value"]
    own = own.sort_index()
    share = own["parameter_share"]
    return (
        f"The paper's own accuracies give **{own['source_relative_performance', 'source']:.1f} %** "
        "of BERT's performance. The figure it prints equals "
        f"{own['source_accuracy_per_million', 'pnn']:.2f}, its accuracy per million parameters, "
        "from the neighbouring column. Its efficiency ratio of "
        f"{own['source_efficiency_ratio', 'source']:.2f} is right as arithmetic, but rests on the "
        f"untied head: PNN has {share['untied']:.1f} % of BERT's parameters untied, "
        f"{share['tied']:.1f} % tied, and {share['encoder']:.1f} % counting encoders alone."
    )


def end_means(rows: pd.DataFrame) -> pd.Series:
    """Return means over seeds of what stands at step 0, by variant, metric and split."""
    found = summarise(rows).query("step == 0").set_index(["variant", "metric", "split"])
    return found["mean"].sort_index()


def per_million(rows: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """Divide test accuracy by millions of parameters, counted three ways.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_refinement``.
    labels : mapping of str to str
        Names to show for the variants.

    Returns
    -------
    DataFrame
        Texts, one row for each arm, with the same division for the points over the constant
        guess, which costs no parameters at all. An arm that is not clear of that guess has a dash.
    """
    mean, worst = end_means(rows), worst_seeds(rows)
    lines = {}
    for arm in dict.fromkeys(rows["variant"]):
        counts = mean[arm, "parameters"] / 1e6
        clear = worst[arm] >= CLEAR_OF_PLATEAU
        scores = {"accuracy": "accuracy", "over the guess": "accuracy_over_guess"}
        lines[labels.get(arm, arm)] = {
            f"{name} per million, {kind}": f"{mean[arm, metric, 'test'] / counts[kind]:.0f}"
            if clear
            else ABSENT
            for name, metric in scores.items()
            for kind in ("untied", "tied", "encoder")
        }
    return pd.DataFrame.from_dict(lines, orient="index")


def fresh(rows: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """Say in Markdown what a model does before any training.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_model``.
    labels : mapping of str to str
        Names to show for the variants.
    """
    chosen = rows.query("split == 'fresh' and (step == 1 or metric == 'zero_init_survives')")
    values = chosen.set_index(["variant", "metric"])["value"].sort_index()
    lines = []
    for variant in ("as_released", "as_paper"):
        own = values[variant]
        starts = "starts close to zero" if own["zero_init_survives"] else "does not start near zero"
        lines.append(
            f"- **{labels.get(variant, variant)}**: the first update has a root mean square of "
            f"{own['delta_rms']:.3f}, so that it {starts}; the gate averages "
            f"{own['gate_mean']:.4f}, and {own['gate_active_share']:.1f} % of the dimensions count "
            f"as active (gate above one half) before any training{_tie(own)}."
        )
    return "\n".join(lines)


def _tie(own: pd.Series) -> str:
    """Say why no gate counts as active where all of them are exactly one half."""
    return ": every gate is exactly one half" if own["gate_std"] == 0 else ""


def accumulation(rows: pd.DataFrame) -> str:
    """Say in Markdown whether nine micro-batches of 128 make one batch of 1,152.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_model``, of one seed.
    """
    own = rows[(rows["variant"] == "as_released") & (rows["metric"] == "accumulation_error")]
    error = own.set_index("split")["value"]
    return (
        "- **Weighted by their hidden tokens**, as the training loop here does, nine micro-batches "
        f"give the gradient of their batch to {error['weighted']:.0e} of its length: rounding.\n"
        f"- **Counted alike**, a mean of nine means, they miss it by {100 * error['means']:.1f} %: "
        "micro-batches hide different numbers of tokens, so some tokens count more than others."
    )


def refinement(rows: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """Say in Markdown what PNN against BERT came to.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_refinement``.
    labels : mapping of str to str
        Names to show for the variants.

    Returns
    -------
    str
        A list of sentences, failures included.
    """
    worst = worst_seeds(rows)
    lines = [_standing(rows, worst, labels)]
    for ours, theirs, question in COMPARISONS:
        if {ours, theirs} <= set(worst.index):
            difference = paired_difference(rows, "accuracy", ours, theirs, split="test")
            lines.append(f"{question}: {_compared(rows, ours, theirs, difference, labels)}")
    if {"pnn", "bert"} <= set(worst[worst >= CLEAR_OF_PLATEAU].index):
        lines.append(_ratio(rows, labels))
    lines.append(_steps(rows, "pnn", labels))
    if rows.query("metric == 'tokenizer_trained_here'")["value"].any():
        lines.append("The word pieces were trained on the training texts of this corpus.")
    return "\n".join(f"- {line}" for line in lines)


def distance(rows: pd.DataFrame, hidden_size: int) -> str:
    """Say in Markdown how far a study is from the paper's own training.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_refinement``.
    hidden_size : int
        Width of its models.
    """
    own = rows[(rows["metric"] == "tokens") & (rows["variant"] == "pnn")]["value"]
    tokens, wanted = own.max(), TABLE_2["train_tokens"]
    return (
        f"How far this is from the paper: an arm saw {tokens:,.0f} tokens at width {hidden_size}, "
        f"{100 * tokens / wanted:.1f} % of the {wanted:,} of its fifteen epochs at width "
        f"{TABLE_2['hidden_size']}. "
        + (
            "No model of this study is of the paper's size."
            if hidden_size < TABLE_2["hidden_size"]
            else "The models are of the paper's size."
        )
    )


def shared_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the seeds that every arm has, so that their means are of the same runs.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of several variants.
    """
    own = rows.groupby("variant")["seed"].unique().map(set)
    return rows[rows["seed"].isin(set.intersection(*own) if len(own) else set())]


def worst_seeds(rows: pd.DataFrame) -> pd.Series:
    """Return by arm how far its worst seed is over the constant guess, in points of the test.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows that have the metric ``accuracy_over_guess``.
    """
    chosen = rows.query("split == 'test' and metric == 'accuracy_over_guess'")
    return chosen.groupby("variant", sort=False)["value"].min()


def _standing(rows: pd.DataFrame, worst: pd.Series, labels: Mapping[str, str]) -> str:
    clear = worst.index[worst >= CLEAR_OF_PLATEAU]
    named = ", ".join(labels.get(name, name) for name in clear) or "no arm"
    counts = rows.groupby("variant")["seed"].nunique()
    span = " to ".join(dict.fromkeys((str(counts.min()), str(counts.max()))))
    where = f"each of {span} seeds" if counts.max() > 1 else "its one seed"
    return (
        f"Clear of the constant guess by {CLEAR_OF_PLATEAU:.0f} points or more in {where}: "
        f"**{named}**. Accuracies are put in a ratio only between arms that are."
    )


def _ratio(rows: pd.DataFrame, labels: Mapping[str, str]) -> str:
    ours, theirs = (values_by_seed(rows, "accuracy", arm, "test", 0) for arm in ("pnn", "bert"))
    found = mean_interval((100 * ours / theirs).to_numpy())
    return (
        f"{labels['pnn']} has {cell(found.mean, found.low, found.high, '{:.1f}')} % of the "
        f"accuracy of {labels['bert']} here; by the paper's own figures it is "
        f"{100 * SOURCE_ACCURACY['pnn'] / SOURCE_ACCURACY['bert']:.1f} %, on other text at "
        "another size."
    )


def _compared(rows: pd.DataFrame, ours: str, theirs: str, found: Interval, labels) -> str:
    first, second = labels.get(ours, ours), labels.get(theirs, theirs)
    text = cell(found.mean, found.low, found.high, "{:+.1f}")
    waiting = [note for arm in (ours, theirs) if (note := _waiting(rows, arm, labels))]
    ahead = "has learnt sooner" if waiting else "is ahead"
    if not found.low <= found.high:
        verdict = "one seed, so no interval"
    elif found.low > 0:
        verdict = f"{first} {ahead}"
    elif found.high < 0:
        verdict = f"{second} {ahead}"
    else:
        verdict = "no difference can be told"
    note = f"; where they end is open: {' and '.join(waiting)}" if waiting else ""
    return f"{first} minus {second} is {text} points of test accuracy: {verdict}{note}."


def _waiting(rows: pd.DataFrame, arm: str, labels: Mapping[str, str]) -> str:
    """Say in how many seeds an arm stood on the plateau; nothing where in none."""
    over = values_by_seed(rows, "accuracy_over_guess", arm, "test", 0)
    count = int((over < CLEAR_OF_PLATEAU).sum())
    on = f"in {count} of {len(over)} seeds" if len(over) > 1 else "in its one seed"
    return f"{labels.get(arm, arm)} stood on the plateau {on}" if count else ""


def _steps(rows: pd.DataFrame, variant: str, labels: Mapping[str, str]) -> str:
    found = summarise(rows).query("variant == @variant and split == 'test'")
    by_metric = {name: part.sort_values("step")["mean"] for name, part in found.groupby("metric")}
    readouts = " → ".join(f"{value:.1f}" for value in by_metric["readout_accuracy"])
    gains = ", ".join(f"{value:+.1f}" for value in by_metric["readout_gain"])
    guess = by_metric["constant_guess_accuracy"].iloc[0]
    added = by_metric["readout_gain"].to_numpy()
    largest = int(added.argmax()) + 1
    alike = "about equal" if added.max() < 2 * added.min() else "far from equal"
    return (
        f"{labels.get(variant, variant)} reads out {readouts} % from the embeddings to the last "
        f"step, so the steps add {gains} points: the largest gain is that of step {largest}, and "
        f"the gains are {alike}. The embeddings score {by_metric['readout_accuracy'].iloc[0]:.1f}"
        f" % where the constant guess scores {guess:.1f} %."
    )
