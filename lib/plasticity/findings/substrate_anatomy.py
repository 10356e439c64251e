"""What the chapter on the anatomy says, made from the numbers."""

import pandas as pd

from plasticity.companion.tables import cell


def anatomy(rows: pd.DataFrame, rules: pd.DataFrame) -> str:
    """Say in Markdown what the primitives came to.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_anatomy``, one variant.
    rules : DataFrame
        Tidy rows of ``substrate_rules``, one variant.

    Returns
    -------
    str
        A list of sentences, failures included.
    """
    sentences = (
        _memory(rows),
        _source(rows),
        _paths(rows),
        _laws(rows, rules),
        _principal(rules),
        _adam(rules),
        _counts(rules),
        _consolidation(rules),
        _crash(rows),
    )
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _of(rows: pd.DataFrame, metric: str, split: str | None = None) -> pd.DataFrame:
    chosen = rows[rows["metric"] == metric]
    return chosen if split is None else chosen[chosen["split"] == split]


def _one(rows: pd.DataFrame, metric: str, split: str) -> float:
    """Return a value that every seed has alike."""
    return float(_of(rows, metric, split)["value"].iloc[0])


def _holds(rows: pd.DataFrame, metric: str, split: str | None = None) -> bool:
    return bool((_of(rows, metric, split)["value"] == 1).all())


def _memory(rows: pd.DataFrame) -> str:
    neuron, synapse = (_one(rows, "bytes", name) for name in ("neuron", "synapse"))
    laid = "do" if _holds(rows, "memory_layout_holds", "rows") else "do not"
    starts = "starts" if _holds(rows, "memory_layout_holds", "cache line") else "does not start"
    return (
        f"A neuron takes {neuron:.0f} bytes and a synapse {synapse:.0f}; after consolidation the "
        f"synapses {laid} lie in rows sorted by source, relation and target. A neuron in memory "
        f"{starts} at a cache line. The ten neurons drawn above, with their synapses and names, "
        f"take {_one(rows, 'bytes', 'ten neurons'):,.0f} bytes."
    )


def _source(rows: pd.DataFrame) -> str:
    found = "no" if _holds(rows, "no_matrix_product") else "**a**"
    foreign = int(_one(rows, "primitive_uses", "not public"))
    reach = "nothing else of the engine" if not foreign else f"**{foreign} other parts of it**"
    count = int(_one(rows, "domains", "all"))
    decided = _of(rows, "domains_share_primitives")
    open_ = "" if len(decided) else " The source's claim is about six, so it is still open."
    return (
        f"The source code holds {found} matrix product and no library that computes gradients, "
        "outside modules that are named for it. "
        f"{count} domains are written so far, and they use the brain's public primitives and "
        f"{reach}.{open_}"
    )


def _paths(rows: pd.DataFrame) -> str:
    errors, counts = _of(rows, "path_error")["value"], _of(rows, "paths")["value"]
    verdict = "add up" if _holds(rows, "paths_add_up") else "do **not** add up"
    return (
        f"In {len(errors)} random brains the paths behind every activation {verdict}: the largest "
        f"error is {errors.max():.1e} of the sum of all paths, of which there were up to "
        f"{counts.max():,.0f}."
    )


def _laws(rows: pd.DataFrame, rules: pd.DataFrame) -> str:
    gain, credit = _distance(rows, "gain"), _distance(rules, "weight")
    return (
        "Working memory's gain differs from exp(strength × decay^position) by at most "
        f"{gain:.1e}, and the credit of a delayed reward from decay^ticks by at most "
        f"{credit:.1e} (eligibility is kept in 16 bits)."
    )


def _distance(rows: pd.DataFrame, metric: str) -> float:
    """Return the largest difference between what was measured and its law."""
    values = _of(rows, metric).set_index(["split", "step", "seed"])["value"]
    laws = values[values.index.get_level_values("split").str.endswith(", law")]
    own = [(split.removesuffix(", law"), *rest) for split, *rest in laws.index]
    return float(abs(values[own].to_numpy() - laws.to_numpy()).max())


def _principal(rules: pd.DataFrame) -> str:
    found = _of(rules, "alignment")
    last = found[found["step"] == found["step"].max()].groupby("split", sort=False)["value"]
    texts = {name: cell(v.mean(), v.min(), v.max(), "{:.3f}") for name, v in last}
    parts = [f"{name.replace(', component ', ' ')} {text}" for name, text in texts.items()]
    return (
        f"After {int(found['step'].max()):,} updates the cosines to the principal directions are, "
        f"mean [least, most] over the seeds: {'; '.join(parts)}."
    )


def _adam(rules: pd.DataFrame) -> str:
    difference = _of(rules, "weight_difference", "errors, adam - float")["value"]
    errors = _of(rules, "squared_error")
    last = errors[errors["step"] == errors["step"].max()].groupby("split")["value"].mean()
    return (
        "Adam with its moments rounded into the synapse's 16 bytes ends "
        f"{difference.max():.1e} of the largest weight away from Adam in floating point; their "
        f"squared errors end at {last['errors, adam']:.1e} and {last['errors, float']:.1e}, that "
        f"of the plain delta rule, with the same learning rate, at {last['errors, delta']:.1e}."
    )


def _counts(rules: pd.DataFrame) -> str:
    counted = rules["split"].str.startswith("count")
    worst = _of(rules[counted], "weight_difference")["value"].max()
    return f"Weights of the rule of counts are the counted shares, to {worst:.1e}."


def _consolidation(rules: pd.DataFrame) -> str:
    held = _of(rules, "synapses", "consolidation, rows")
    first = held[held["seed"] == held["seed"].min()].set_index("step")["value"]
    return (
        f"In the drawing above consolidation moves {first[1]:.0f} pending synapses into rows, and "
        f"pruning leaves {first[2]:.0f} of them."
    )


def _crash(rows: pd.DataFrame) -> str:
    found = _of(rows, "commits_found")
    verdict = "Every time" if _holds(rows, "reopens_at_a_commit") else "**Not every time**"
    return (
        f"The log was cut at {len(found)} places. {verdict} the brain reopens exactly as it was at "
        "one of its commits, and with the whole log at the last; what was not committed is gone."
    )
