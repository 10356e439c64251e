"""What the chapter on growth's mechanics says, made from the numbers."""

from collections.abc import Mapping

import pandas as pd

from plasticity.companion.statistics import (
    mean_interval,
    paired_difference,
    summarise,
    values_by_seed,
)
from plasticity.companion.tables import cell, interval_cell

GOALS = {"copy_and_noise": 1.5, "random": 2.5}  # GradMax's gradient at birth, as a multiple
STARTS = {"copy_and_noise": "copies with noise", "random": "random newborns"}
REAL = 1e-5  # a share of a newborn's length below which what is left is rounding
DOUBLED = 0.1  # how near to 2 a ratio counts as doubled


MEANINGS = {
    "gradient_percentile": "neurons with gradients above it are the sources of newborns",
    "max_growth_per_step": "newborns of an event, in each layer, at most",
    "growth_cooldown": "steps between events, at least",
    "maturation_age": "steps until a neuron learns like all others and may be retired",
    "enable_replacement": "let newborns take the place of neurons that do nothing (V3)",
}


def parameters(defaults: Mapping[str, float | bool]) -> pd.DataFrame:
    """Set out the README's settings.

    Parameters
    ----------
    defaults : mapping
        By name, as `foam_mechanics.parameters` returns them.

    Returns
    -------
    DataFrame
        Texts: one row for each setting.
    """
    return pd.DataFrame(
        {"default": [f"{value}" for value in defaults.values()],
         "what it does": [MEANINGS[name] for name in defaults]},
        index=list(defaults),
    )  # fmt: skip


def _mean(rows: pd.DataFrame, variant: str, metric: str, split: str, step: int = 0) -> float:
    return values_by_seed(rows, metric, variant, split, step).mean()


def _curve(rows: pd.DataFrame, variant: str, metric: str, split: str) -> pd.Series:
    own = rows[(rows["variant"] == variant) & (rows["metric"] == metric)]
    return own[own["split"] == split].groupby("step")["value"].mean()


def triggers(rows: pd.DataFrame) -> str:
    """Say in Markdown which rules fire on nothing, and which on a text that changes.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_mechanics``.
    """

    def share(phase: str, rule: str) -> float:
        return _mean(rows, "triggers", "firing_share", f"{phase}/{rule}")

    named = share("noise_1e-12", "check_growth")
    ratio, before, after = (
        share(phase, "pressure_ratio") for phase in ("noise_1e-12", "steady", "jump")
    )
    verdict = "always" if named == 100 else "mostly" if named > 50 else "seldom"
    pooled = share("noise_1e-12", "pooled_percentile")
    return _list(
        f"On gradients of at most 1e-12, which are nothing but noise, `check_growth` of the README "
        f"says **{verdict}** that it is time to grow: at {named:.0f} % of the steps. Some tenth of "
        "any numbers lies above their own 90th percentile.",
        f"Pooling all layers does not help: it says where, not whether, and fires at {pooled:.0f} "
        "% of the steps of noise. It is the cooldown alone that makes growth rare.",
        f"Beside its own past, pressure fires at {ratio:.0f} % of the steps of noise, at "
        f"{before:.0f} % while a trained model reads on, and at {after:.0f} % just after the text "
        "has changed.",
        f"A loss that stands still fires where nothing is left to learn: at "
        f"{share('noise_1e-12', 'plateau'):.0f} % of the steps of noise, at "
        f"{share('steady', 'plateau'):.0f} % of the model's last steps before the change, at "
        f"{share('jump', 'plateau'):.0f} % of those just after it.",
    )


def orthogonal(rows: pd.DataFrame) -> str:
    """Say in Markdown what orthogonalising against all rows does, and what to do instead.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_mechanics``.
    """
    left = _curve(rows, "orthogonal", "remaining_share", "random_rows")
    same = _curve(rows, "orthogonal", "direction_agreement", "random_rows")
    full = [width for width in left.index if width >= 64]
    few = [width for width in left.index if width < 64]
    trained = rows[(rows["variant"] == "orthogonal") & (rows["split"] == "trained_rows")]
    trained = trained.groupby("metric")["value"].mean()
    likeness, source = (
        {
            name: _mean(rows, "orthogonal", metric, name)
            for name in ("copies", "orthogonal_all", "orthogonal_newborns", "gradmax")
        }
        for metric in ("newborn_likeness", "source_likeness")
    )
    lost = "nothing but rounding error" if left[full].max() < REAL else "something"
    return _list(
        f"With fewer rows than inputs, {left[few].min():.1e} to {left[few].max():.1e} of a copied "
        "newborn is left, all of it from the noise that was added, and both orders of computing "
        f"agree on its direction (cosine at least {same[few].min():.2f}).",
        f"With at least as many, {lost} is left ({left[full].max():.0e} of its length), and two "
        f"orders give different directions (cosines from {same[full].min():.2f} to "
        f"{same[full].max():.2f}). So it is in a trained model "
        f"({trained['remaining_share']:.0e}, {trained['direction_agreement']:.2f}), and in any "
        "language model, whose blocks have several times more neurons than inputs.",
        f"Among themselves such newborns have a mean cosine of {likeness['orthogonal_all']:.2f} "
        f"(copies: {likeness['copies']:.2f}), with their sources one of "
        f"{source['orthogonal_all']:.2f} (copies: {source['copies']:.2f}): rounding has taken the "
        "place of what was copied.",
        "The cure: orthogonal to the other newborns of the event only (cosine "
        f"{likeness['orthogonal_newborns']:.2f} among themselves, "
        f"{source['orthogonal_newborns']:.2f} with their sources). GradMax's newborns differ by "
        f"their gates and may look alike otherwise ({likeness['gradmax']:.2f}). `foam` refuses to "
        "orthogonalise where nothing would be left.",
    )


def zeroed(rows: pd.DataFrame) -> str:
    """Say in Markdown which projections of a newborn may be zero.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_mechanics``.
    """
    own = rows[rows["variant"] == "zeroed"]
    worst = own.pivot_table(index="split", columns="metric", values="value", aggfunc="max")
    least = own.pivot_table(index="split", columns="metric", values="value", aggfunc="min")
    order = list(dict.fromkeys(own["split"]))
    worst, least = worst.loc[order], least.loc[order]
    usable = least.index[(worst["logit_change"] == 0) & (least["newborn_movement"] > 0)]
    dead = worst.index[worst["newborn_movement"] == 0]
    pair = "gate+up"
    literal = (
        "is dead: every gradient is exactly zero, and it never moves"
        if pair in dead
        else f"moves by {least['newborn_movement'][pair]:.2g}"
    )
    return _list(
        f"Function kept and able to learn, in every seed: {_names(usable)} at zero, and just that.",
        f"A newborn with zero rows, as GradMax is written for blocks without a gate, {literal}. So "
        f"it is with {_names([name for name in dead if name != pair])}.",
        f"With nothing at zero, its birth moves a logit by up to "
        f"{worst['logit_change']['none']:.2g}.",
    )


def step_sizes(rows: pd.DataFrame) -> str:
    """Say in Markdown how far padded moments overshoot.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_mechanics``.
    """
    theory = _curve(rows, "step_sizes", "update_size", "theory")
    measured = _curve(rows, "step_sizes", "update_size", "constant")
    error = (measured / theory.reindex(measured.index).dropna() - 1).abs().max()
    ends = rows[(rows["metric"] == "overshoot_end") & (rows["variant"] == "step_sizes")]
    padded, cohort = (
        _curve(rows, "step_sizes", "update_size", split) for split in ("padded", "cohort")
    )
    early = padded.index <= 20
    return _list(
        "Where the moments of an old parameter are padded with zeros, its step counter says that "
        "nothing needs correcting. For a constant gradient the first step is "
        f"{theory.iloc[0]:.2f} learning rates long, the longest {theory.max():.2f} (step "
        f"{theory.idxmax()}), and only after {ends['value'].max():.0f} steps it is below 1.1. "
        f"Torch's AdamW does just that (largest deviation {100 * error:.1f} %).",
        f"With a real model's gradients, over the first 20 steps: {padded[early].mean():.2f} "
        f"learning rates a step with padding, {cohort[early].mean():.2f} in a cohort, whose "
        f"parameters are new to the optimizer: {padded[early].mean() / cohort[early].mean():.1f} "
        "times as long.",
    )


def rates(rows: pd.DataFrame) -> str:
    """Say in Markdown under which optimizers doubled gradients are a doubled rate.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_mechanics``.
    """
    own = rows[(rows["variant"] == "step_sizes") & (rows["metric"] == "step_ratio")]
    means = own.groupby("split", sort=False)["value"].mean()
    found = {way: _ways(means, way) for way in ("gradient", "group")}
    works = [name for name, ratio in found["gradient"].items() if abs(ratio - 2) < DOUBLED]
    idle = {name: ratio for name, ratio in found["gradient"].items() if name not in works}
    group = found["group"].values()
    return _list(
        f"Doubling the gradients doubles the way travelled under {_names(works)}, and does nothing "
        f"under {_names(idle)} (ratios {min(idle.values()):.3f} to {max(idle.values()):.3f}), "
        "which divide the gradient's size out again.",
        f"The rate of a parameter group works under all ({min(group):.2f} to {max(group):.2f}): "
        "that is what `foam` does.",
    )


def _ways(means: pd.Series, way: str) -> dict[str, float]:
    ending = f"/{way}"
    return {
        name.removesuffix(ending): value for name, value in means.items() if name.endswith(ending)
    }


def gradients(rows: pd.DataFrame) -> pd.DataFrame:
    """Set the gradient at birth and the learning that follows beside each other.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_mechanics``.

    Returns
    -------
    DataFrame
        Texts, one row for each start: means with intervals over seeds.
    """
    found = summarise(rows[rows["step"] == 0]).set_index(["variant", "split", "metric"])
    lines = {}
    for variant, name in (("gradmax", "GradMax"), *STARTS.items()):
        line = {}
        for title, split, metric, form in (
            ("gradient at birth", "own_batch", "birth_gradient", "{:.4f}"),
            ("on other data", "other_batch", "birth_gradient", "{:.4f}"),
            ("loss, mean of the curve", "test", "mean_curve_loss", "{:.3f}"),
            ("loss at its end", "test", "loss_after_growth", "{:.3f}"),
        ):
            one = found.loc[(variant, split, metric)]
            line[title] = cell(one["mean"], one["low"], one["high"], form)
        lines[name] = line
    return pd.DataFrame.from_dict(lines, orient="index")


def births(rows: pd.DataFrame) -> str:
    """Say in Markdown how GradMax's newborns compare with others, by gradient and by learning.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_mechanics``.
    """
    sentences = []
    for other, name in STARTS.items():
        ratios = values_by_seed(rows, "birth_gradient", "gradmax", "own_batch") / values_by_seed(
            rows, "birth_gradient", other, "own_batch"
        )
        found, goal = mean_interval(ratios), GOALS[other]
        met = "met" if ratios.min() >= goal else "not met in every seed"
        sentences.append(
            f"GradMax's gradient at birth is {interval_cell(found, '{:.1f}')} "
            f"times that of {name} of the same length (goal: {goal}; {met})."
        )
    for metric, when in (("mean_curve_loss", "on the way"), ("loss_after_growth", "in the end")):
        parts = [
            f"{_beside(rows, metric, 'gradmax', other)} than {name}"
            for other, name in STARTS.items()
        ]
        sentences.append(f"Loss {when}: newborns of GradMax are {' and '.join(parts)}.")
    if all("neither" in _beside(rows, "loss_after_growth", "gradmax", other) for other in STARTS):
        sentences.append(
            "AdamW divides the size of a gradient out, so a larger one at birth is no faster "
            "learning by itself: what remains of it is its direction."
        )
    claim = _beside(rows, "loss_after_growth", "copy_and_noise", "random")
    sentences.append(
        f"The README's claim is of copies beside random newborns: they end {claim}. Each start had "
        "the learning rate with the lowest validation loss of the same trials."
    )
    return _list(*sentences)


def _beside(rows: pd.DataFrame, metric: str, a: str, b: str) -> str:
    found = paired_difference(rows, metric, a, b, "test", 0)
    shown = f"({interval_cell(found, '{:+.3f}')} nats a byte)"
    if found.low > 0 or found.high < 0:  # of one seed there is no interval, and no verdict
        return f"{'better' if found.mean < 0 else 'worse'} {shown}"
    return f"neither better nor worse {shown}"


def preservation(rows: pd.DataFrame) -> str:
    """Say in Markdown what a birth changes.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_mechanics``.
    """
    own = rows[(rows["variant"] == "preservation") & (rows["metric"] == "logit_change")]
    most = own.groupby("split")["value"].max()
    jumps = rows[(rows["variant"] == "preservation") & (rows["metric"] == "loss_jump")]
    jumps = jumps.groupby("split")["value"].max()
    beside = [split for split in most.index if split.endswith("/cohort")]
    exact = (most[beside] == 0).all() and (jumps[beside] == 0).all()
    changed = {
        split.split("/")[0]: own[(own["split"] == split) & (own["value"] > 0)]["step"]
        for split in most.index
        if split.endswith("/concat")
    }
    parts = [
        f"in {dtype} by up to {most[f'{dtype}/concat']:.1e}, from {steps.min()} newborns on"
        if len(steps)
        else f"in {dtype} by nothing here"
        for dtype, steps in changed.items()
    ]
    return _list(
        f"Beside the layer, in every type, at every size, in every seed, a birth changes loss and "
        f"logits by {'exactly 0' if exact else f'up to {most[beside].max():.1e}'}.",
        f"Inside a wider layer the same newborns, with the same zero columns, change logits "
        f"{', '.join(parts)}: a longer sum is added up in another order. Where that begins "
        "depends on the processor and its matrix library, so no event is safe from it.",
    )


def recipe(rows: pd.DataFrame) -> str:
    """Say in Markdown which of the README's rules hold by the README's names.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_mechanics``.
    """
    own = rows[rows["variant"] == "reference_recipe"]
    gap = own[own["metric"] == "growth_gap"]["value"].min()
    rate = _curve(rows, "reference_recipe", "rate_multiplier", "first_cohort")
    may = _curve(rows, "reference_recipe", "may_be_retired", "first_cohort")
    error = own[own["metric"] == "relative_error"]["value"].max()
    details = own[own["metric"] == "drop_in_detail"].groupby("split")["value"].min()
    retirable = may.index[may > 0]
    first = f"from the age of {retirable.min()} on" if len(retirable) else "not within this run"
    held = "all hold" if details.all() else f"fails: {_names(details.index[details == 0])}"
    return _list(
        f"Asked at every step, `GrowableQwen` lets at least {gap:.0f} steps pass between events.",
        f"The first cohort's steps are {rate.iloc[0]:.2f} times as long as the base's rate gives "
        f"at first, and {rate.iloc[-1]:.2f} times at the age of {rate.index[-1]}. Though it is the "
        f"least useful of all neurons, it may be retired {first}.",
        f"The running mean of gradients is that of 0.9 and 0.1 by hand, to {error:.0e}.",
        f"Drop-in: a `GrowableLinear` gives the outputs of its `nn.Linear` bit for bit, a wrapped "
        f"model the base's logits and tokens, an event the README's three numbers: {held}. What "
        "the README leaves out: a layer that grows alone no longer fits the layer that reads it. "
        "`link` names that layer, and both grow.",
    )


def averages(rows: pd.DataFrame) -> str:
    """Say in Markdown what bfloat16 does to a running mean.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_mechanics``.
    """
    full, half = (
        _curve(rows, "reference_recipe", "running_mean", dtype) for dtype in ("float32", "bfloat16")
    )
    moved = half.iloc[-1] - half.iloc[0]
    still = "has not moved at all" if moved == 0 else f"has moved by {moved:.4f}"
    return (
        f"Pulled at by 1.03 for {full.index[-1]} steps, a mean that starts at {full.iloc[0]:.0f} "
        f"reaches {full.iloc[-1]:.3f} in float32. In bfloat16 it **{still}**: a tenth of the "
        "difference is less than its last digit. `foam` keeps its statistics in float32, whatever "
        "the model's type."
    )


def _names(names) -> str:
    *most, last = [str(name).replace("+", " and ") for name in names] or ["none"]
    return f"{', '.join(most)} or {last}" if most else last


def _list(*sentences: str) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)
