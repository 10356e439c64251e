"""Results in the form that the reference's own script writes, for those who have its tools."""

from typing import Any

import pandas as pd

KINDS = ("accumulator", "selector", "oscillator", "stable")
SAMPLED, SAMPLES = KINDS[:3], 5
TRUTHS = ("supports_", "easy_lower_entropy", "hard_tokens_interfere")
COUNTS = ("count", "total_tokens", "num_steps", "most_selective_step")
RANKED = ("attention", "ffn", "gate")


def evidence(rows: pd.DataFrame) -> dict[str, Any]:
    """Return what ``experimental_results.json`` holds, of experiments 1 to 6 and 8 to 10.

    Parameters
    ----------
    rows : DataFrame
        Rows of ``pnn_evidence`` of one variant and one seed.

    Returns
    -------
    dict
        The reference's keys. Experiment 7 is not among them.

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


FORMS = {"pnn_evidence": ("experimental_results.json", evidence)}
"""By experiment: the file's name in the reference, and what makes its content."""
