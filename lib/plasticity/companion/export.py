"""Results in the form that the reference's own script writes, for those who have its tools."""

import math
from typing import Any

import pandas as pd

from plasticity.companion.statistics import paired_difference, values_by_seed

KINDS = ("accumulator", "selector", "oscillator", "stable")
SAMPLED, SAMPLES = KINDS[:3], 5
TRUTHS = ("supports_", "easy_lower_entropy", "hard_tokens_interfere")
COUNTS = ("count", "total_tokens", "num_steps", "most_selective_step")
RANKED = ("attention", "ffn", "gate")


def evidence(rows: pd.DataFrame) -> dict[str, Any]:
    """Return what ``experimental_results.json`` holds.

    Parameters
    ----------
    rows : DataFrame
        Rows of ``pnn_evidence`` of one variant and one seed.

    Returns
    -------
    dict
        The reference's keys, of all ten experiments.

    Raises
    ------
    ValueError
        If there are no such rows, or those of several seeds.
    """
    found = rows[rows["metric"] == "released_evidence"].sort_values("step", kind="stable")
    if found.empty or found.duplicated(["split", "step"]).any():
        raise ValueError(
            f"rows hold {len(found)} numbers of the script's experiments, some of them twice or "
            "none at all; give those of one variant and seed"
        )
    tree: dict[str, Any] = {}
    for place, values in found.groupby("split", sort=False)["value"]:
        *parents, key = place.split("/")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[key] = _value(place, key, values.tolist())
    _complete(tree)
    return tree


def _value(place: str, key: str, values: list[float]) -> Any:
    if key in KINDS and "dimension_patterns" in place:
        return [int(value) for value in values]
    if key.startswith(TRUTHS):
        return bool(values[0])
    if key in COUNTS or "pattern_counts" in place:
        return int(values[0])
    listed = key in ("values", "mean_activity_per_step", "std_activity_per_step")
    listed |= place.startswith(("activation_patterns/", "dimensionwise_analysis/step_activities/"))
    listed |= place.startswith("token_difficulty_analysis/") and key in ("mean", "std")
    return values if listed else values[0]


def _complete(tree: dict[str, Any]) -> None:
    """Add what follows from the numbers: empty lists, the samples, and the ranking in its order."""
    dimensions = tree["dimensionwise_analysis"]
    patterns = dimensions.setdefault("dimension_patterns", {})
    dimensions["dimension_patterns"] = {kind: patterns.get(kind, []) for kind in KINDS}
    activities = dimensions["step_activities"]
    dimensions["step_activities"] = [activities[str(step)] for step in range(len(activities))]
    dimensions["sample_dimensions"] = {
        f"{kind}_samples": dimensions["dimension_patterns"][kind][:SAMPLES] for kind in SAMPLED
    }
    layers = tree["layer_importance_analysis"]
    scores = {name: layers[name]["suppression_75"]["accuracy_drop"] for name in RANKED}
    layers["importance_ranking"] = [
        {"component": name, "importance_score": scores[name]}
        for name in sorted(scores, key=scores.get, reverse=True)
    ]


def convergence(rows: pd.DataFrame) -> dict[str, Any]:
    """Return what ``convergence_analysis.json`` holds: the paper's figure 2 in numbers.

    The reference names this file but published neither the script that writes it nor a copy, so
    the keys are ours, in the manner of its other script.

    Parameters
    ----------
    rows : DataFrame
        Rows of ``pnn_convergence`` of one variant and one seed.

    Returns
    -------
    dict
        ``num_steps``, ``total_tokens``, ``mean_steps`` and, by class, ``count``, ``share`` (0 to
        1), ``mean_steps``, ``count_per_step`` and ``stability_per_step`` (0 to 1), steps from 1.
        A class without tokens has no mean (None).

    Raises
    ------
    ValueError
        If there are no such rows, or those of several variants or seeds.

    Examples
    --------
    >>> from plasticity.companion import results
    >>> rows = results.load("pnn_convergence", "paper").rows
    >>> found = convergence(rows[(rows["variant"] == "pnn") & (rows["seed"] == 0)])
    >>> list(found["difficulty_classes"])
    ['easy', 'medium', 'hard']
    """
    found = _lists(rows, "converged_tokens")
    total = sum(sum(counts) for counts in found.values())
    stability = _lists(rows, "prediction_stability", required=False)
    means = _lists(rows, "convergence_step")
    return {
        "num_steps": max(map(len, found.values())),
        "total_tokens": int(total),
        "mean_steps": means["all"][0],
        "difficulty_classes": {
            name: {
                "count": int(sum(counts)),
                "share": sum(counts) / total,
                "mean_steps": means[name][0] if name in means else None,
                "count_per_step": [int(count) for count in counts],
                "stability_per_step": [value / 100 for value in stability.get(name, [])],
            }
            for name, counts in found.items()
        },
    }


def gates(rows: pd.DataFrame) -> dict[str, Any]:
    """Return what ``gate_statistics.json`` holds: the paper's figure 3 in numbers.

    As for `convergence`, the reference published the file's name only, so the keys are ours.

    Parameters
    ----------
    rows : DataFrame
        Rows of ``pnn_gates`` of one variant and one seed.

    Returns
    -------
    dict
        By population of positions (``with_padding`` is what the paper's figure seems to count,
        ``test`` the words alone): ``total_tokens``, ``mean_gate_per_step``, ``std_gate_per_step``,
        ``active_ratio_per_step`` (0 to 1) and ``token_gate_histogram`` (for each step the shares,
        0 to 1, of tokens whose mean gate lies in each of equal bins of [0, 1]); of ``test`` also
        ``dimension_gates``, the mean gate of the first dimensions at each step.

    Raises
    ------
    ValueError
        If there are no such rows, or those of several variants or seeds.

    Examples
    --------
    >>> from plasticity.companion import results
    >>> rows = results.load("pnn_gates", "paper").rows
    >>> found = gates(rows[(rows["variant"] == "pnn") & (rows["seed"] == 0)])
    >>> len(found["test"]["mean_gate_per_step"])
    4
    """
    means, spreads = _lists(rows, "gate_mean"), _lists(rows, "gate_std")
    active, tokens = _lists(rows, "gate_active_share"), _lists(rows, "tokens")
    histograms, dimensions = _lists(rows, "gate_token_share"), _lists(rows, "gate_dimension_mean")
    found = {}
    for name, mean in means.items():
        places = [f"{name}, step {step}" for step in range(1, len(mean) + 1)]
        found[name] = {
            "total_tokens": int(tokens[name][0]),
            "mean_gate_per_step": mean,
            "std_gate_per_step": spreads[name],
            "active_ratio_per_step": [value / 100 for value in active[name]],
            "token_gate_histogram": [[v / 100 for v in histograms[place]] for place in places],
        }
        if places[0] in dimensions:
            found[name]["dimension_gates"] = [dimensions[place] for place in places]
    return found


def _lists(rows: pd.DataFrame, metric: str, required: bool = True) -> dict[str, list[float]]:
    """Return a metric's values by split, in the order of their steps."""
    found = rows[rows["metric"] == metric].sort_values("step", kind="stable")
    if (required and found.empty) or found.duplicated(["split", "step"]).any():
        raise ValueError(
            f"rows hold {len(found)} values of {metric}, some of them twice or none at all; give "
            "those of one variant and seed"
        )
    return {name: own["value"].tolist() for name, own in found.groupby("split", sort=False)}


ABLATION = {"baseline": "ffn_replay", "neural_foam": "reference_recipe"}
ABLATED = {
    "tool_use": ("skill_accuracy", "tools"),
    "identity": ("skill_accuracy", "identity"),
    "autonomy": ("skill_accuracy", "autonomy"),
    "facts_never_replayed": ("accuracy", "unreplayed"),
    "facts_of_the_replayed_half": ("accuracy", "replayed"),
    "stories": ("accuracy", "stories"),
    "grammar": ("accuracy", "grammar"),
    "loss_on_old_text": ("loss", "old_texts"),
    "parameters_added": ("parameters", "added"),
}


def ablation(rows: pd.DataFrame) -> dict[str, Any]:
    """Return what ``ablation_comparison.json`` holds: growth off and on, side by side.

    Both train the feed-forward blocks on the same skills with the same replay, each at the learning
    rate that its profile gives it; the baseline is the model that does not grow.

    Parameters
    ----------
    rows : DataFrame
        Rows of ``foam_trial``, of both arms and all seeds.

    Returns
    -------
    dict
        For each of `ABLATION` and each capability the mean over seeds and each seed's value, and
        the difference with its 95 % interval, paired by seed.

    Raises
    ------
    ValueError
        If one of the arms was not measured.
    """
    missing = [arm for arm in ABLATION.values() if arm not in set(rows["variant"])]
    if missing:
        raise ValueError(f"rows hold nothing of {', '.join(missing)}; measure both arms first")
    tree: dict[str, Any] = {name: {"arm": arm} for name, arm in ABLATION.items()}
    tree["difference"] = {}
    for capability, (metric, split) in ABLATED.items():
        for name, arm in ABLATION.items():
            values = values_by_seed(rows, metric, arm, split, 0)
            tree[name][capability] = {"mean": values.mean(), "by_seed": values.tolist()}
        arms = ABLATION["neural_foam"], ABLATION["baseline"]
        found = paired_difference(rows, metric, *arms, split, 0)
        bounds = (found.mean, found.low, found.high)
        names = ("mean", "low", "high")
        tree["difference"][capability] = {
            name: value if math.isfinite(value) else None
            for name, value in zip(names, bounds, strict=True)
        }
    return tree


FORMS = {
    "pnn_evidence": ("experimental_results.json", evidence),
    "pnn_convergence": ("convergence_analysis.json", convergence),
    "pnn_gates": ("gate_statistics.json", gates),
    "foam_trial": ("ablation_comparison.json", ablation),
}
"""By experiment: the file's name in the reference, and what makes its content."""

WHOLE = ("foam_trial",)
"""Experiments whose file compares arms over all seeds."""
