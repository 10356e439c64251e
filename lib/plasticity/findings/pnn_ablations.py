"""What the chapter on ablations says, made from the numbers."""

from collections.abc import Iterable, Iterator, Mapping

import pandas as pd

from plasticity.companion.statistics import Interval, paired_difference
from plasticity.companion.tables import cell, interval_cell
from plasticity.experiments.pnn_refinement import CLEAR_OF_PLATEAU
from plasticity.findings.pnn import worst_seeds

BLIND_GATES = ("no_gate", "constant_gate", "scalar_gate", "dimension_gate")  # see no token


def differences(rows: pd.DataFrame, metric: str = "loss") -> pd.DataFrame:
    """Compare every arm with PNN, paired by seed.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_ablations``.
    metric : str
        ``loss`` or ``accuracy``, of the test set.

    Returns
    -------
    DataFrame
        Index variant; columns mean, low, high, count: arm minus PNN, over the seeds of both.
    """
    found = {
        variant: paired_difference(rows, metric, variant, "pnn", split="test")
        for variant in dict.fromkeys(rows["variant"])
        if variant != "pnn"
    }
    columns = ["mean", "low", "high", "count"]
    lines = {name: [getattr(one, column) for column in columns] for name, one in found.items()}
    return pd.DataFrame.from_dict(lines, orient="index", columns=columns)


def compared(rows: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """Set out each arm's difference to PNN in loss and accuracy.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_ablations``.
    labels : mapping of str to str
        Names to show for the variants.

    Returns
    -------
    DataFrame
        Texts, one row an arm.
    """
    loss, accuracy = differences(rows), differences(rows, "accuracy")
    lines = {
        labels.get(variant, variant): {
            "loss against PNN's, nats": _text(loss.loc[variant], "{:+.3f}"),
            "accuracy against PNN's, points": _text(accuracy.loc[variant], "{:+.1f}"),
            "seeds": str(int(loss.loc[variant, "count"])),
        }
        for variant in loss.index
    }
    return pd.DataFrame.from_dict(lines, orient="index")


def _text(found, form: str) -> str:
    return cell(found["mean"], found["low"], found["high"], form)


def ablations(rows: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """Say in Markdown what the parts of PNN are worth.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_ablations``.
    labels : mapping of str to str
        Names to show for the variants.

    Returns
    -------
    str
        A list of sentences, failures included.
    """
    loss = differences(rows)
    sentences = [_standing(rows), _sides(loss, labels)]
    sentences += [_part(rows, name) for name in ("no_gate", "word_vectors") if name in loss.index]
    sentences += _front(rows, labels)
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _named(variants: Iterable[str], labels: Mapping[str, str]) -> str:
    return "; ".join(labels.get(name, name) for name in variants) or "none"


def _standing(rows: pd.DataFrame) -> str:
    worst = worst_seeds(rows)
    clear = worst.index[worst >= CLEAR_OF_PLATEAU]
    tokens = rows.loc[rows["metric"] == "tokens", "value"]
    count = f"{len(clear)} of {len(worst)} arms" if len(clear) else "no arm"
    meaning = (
        "so their accuracies can be compared"
        if len(clear) == len(worst)
        else "so accuracies say who learns earlier, and not who ends up higher"
    )
    return (
        f"After {tokens.max():,.0f} tokens {count} stood {CLEAR_OF_PLATEAU:.0f} points over the "
        f"constant guess in every seed (PNN's worst seed: {worst['pnn']:+.1f}), {meaning}."
    )


def _sides(loss: pd.DataFrame, labels: Mapping[str, str]) -> str:
    if loss["low"].isna().all():
        return "With one seed there are no intervals, and no verdicts."
    better, worse = loss.index[loss["high"] < 0], loss.index[loss["low"] > 0]
    rest = [name for name in loss.index if name not in {*better, *worse}]
    return (
        f"Paired by seed, a lower loss than PNN's: **{_named(better, labels)}**; a higher one: "
        f"**{_named(worse, labels)}**; no difference that can be told: {_named(rest, labels)}."
    )


def _part(rows: pd.DataFrame, variant: str) -> str:
    found = paired_difference(rows, "accuracy", variant, "pnn", split="test")
    what = {"no_gate": "Without the gate", "word_vectors": "Started from word vectors"}[variant]
    text = interval_cell(found, "{:+.1f}")
    after = "" if _all_clear(rows, ("pnn", variant)) else " after these tokens"
    return f"{what} accuracy changes by {text} points: {_direction(found)}{after}."


def _all_clear(rows: pd.DataFrame, variants: Iterable[str]) -> bool:
    """Tell whether arms have left the plateau in every seed, so that they show where they end."""
    return bool((worst_seeds(rows)[list(variants)] >= CLEAR_OF_PLATEAU).all())


def retrained_gates(rows: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """Say in Markdown how models end that were trained with a gate that cannot choose, or none.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_ablations``, with ``pnn``.
    labels : mapping of str to str
        Names to show for the variants.

    Returns
    -------
    str
        How far the arms got, one sentence for each such arm, and what follows for the gate.
    """
    rows = rows[rows["variant"].isin(("pnn", *BLIND_GATES))]
    found = {
        name: paired_difference(rows, "accuracy", name, "pnn", split="test")
        for name in BLIND_GATES
        if name in set(rows["variant"])
    }
    sentences = [_standing(rows)]
    sentences += [
        f"Trained with **{labels.get(name, name)}**: {interval_cell(one, '{:+.1f}')} points of "
        f"accuracy against PNN, {_direction(one)}."
        for name, one in found.items()
    ]
    sentences.append(_needed(found, _all_clear(rows, ("pnn", *found))))
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _needed(found: Mapping[str, Interval], clear: bool) -> str:
    """Say whether a model needed a gate that reads its token, as far as these arms tell."""
    if not clear:
        return (
            "Whether a model needs a gate that reads its token **stays open** here: some of these "
            "arms stood on the plateau at the end, so they tell who learns sooner."
        )
    if not all(one.low <= one.high for one in found.values()):
        return "With one seed there are no intervals, and no verdict."
    lost = [name for name, one in found.items() if one.high < 0]
    if len(lost) == len(found):
        return "So a gate that reads its token is worth something, even to models taught without."
    return (
        f"In {len(found) - len(lost)} of {len(found)} such arms no loss could be shown: what "
        "changing a trained gate costs tells what the model has come to rely on, which need not be "
        "what it needed."
    )


def _direction(found: Interval) -> str:
    if not found.low <= found.high:
        return "one seed, so no interval"
    if found.low > 0:
        return "a gain"
    if found.high < 0:
        return "a loss"
    return "no difference that can be told"


def _front(rows: pd.DataFrame, labels: Mapping[str, str]) -> list[str]:
    """Say which arms no other beats at its cost or less."""
    at_zero = rows[rows["step"] == 0].groupby(["metric", "split", "variant"])["value"].mean()
    accuracy = at_zero["accuracy"]["test"]
    sentences = []
    for cost, split, name in (
        ("flops_per_token", "total", "compute"),
        ("parameters", "encoder", "parameters without embeddings and head"),
    ):
        table = pd.DataFrame({"cost": at_zero[cost][split], "accuracy": accuracy})
        table = table.sort_values(["cost", "accuracy"], ascending=[True, False])
        best = table[table["accuracy"] > table["accuracy"].cummax().shift(fill_value=-1.0)]
        place = "is" if "pnn" in best.index else "is not"
        when = "" if _all_clear(rows, best.index) else " after these tokens"
        sentences.append(
            f"On the front of accuracy against {name}{when}, the cheapest first: "
            f"{_named(best.index, labels)}. PNN {place} on it."
        )
    return sentences


def contraction(rows: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """Say in Markdown what the refinement map does, in training and beyond.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_contraction`` or ``pnn_ablations``.
    labels : mapping of str to str
        Names to show for the variants.

    Returns
    -------
    str
        A list of sentences, two for each arm that applies one module again and again.
    """
    sentences = []
    for label, own in _followed(rows, labels):
        sentences += [_stretch(own, label), _deeper(own, label)]
    return "\n".join(f"- {sentence}" for sentence in sentences)


def maps(rows: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """Set out what every recurrent arm's map does, in training and beyond.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_contraction`` or ``pnn_ablations``.
    labels : mapping of str to str
        Names to show for the variants.

    Returns
    -------
    DataFrame
        Texts, one row for each arm, means over seeds: the largest stretch at the states of
        training, what small changes are multiplied by far beyond, and the steps that read best.
    """
    lines = {}
    for label, own in _followed(rows, labels):
        mean = own.groupby(["metric", "step"])["value"].mean()
        accuracy, best, last = _by_depth(own)
        lines[label] = {
            "largest stretch": f"{mean['jacobian_norm', 0]:.2f}",
            "small changes, a step": f"× {mean['spectral_radius', 0]:.3f}",
            "reads best after": f"{best} step{'s' * (best != 1)}: {accuracy[best]:.1f} %",
            f"after {last} steps": f"{accuracy[last]:.1f} %",
        }
    return pd.DataFrame.from_dict(lines, orient="index")


def _followed(rows: pd.DataFrame, labels: Mapping[str, str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the name and the test rows of every arm whose map was measured."""
    for variant in dict.fromkeys(rows.loc[rows["metric"] == "jacobian_norm", "variant"]):
        own = rows[(rows["variant"] == variant) & (rows["split"] == "test")]
        yield labels.get(variant, variant), own


def _by_depth(own: pd.DataFrame) -> tuple[pd.Series, int, int]:
    """Return the mean accuracy by step, the step that reads best, and the last."""
    accuracy = own[own["metric"] == "deeper_accuracy"].groupby("step")["value"].mean()
    return accuracy, int(accuracy.idxmax()), int(accuracy.index[-1])


def _stretch(own: pd.DataFrame, label: str) -> str:
    def mean(metric: str) -> float:
        return own.loc[own["metric"] == metric, "value"].mean()

    contracts, returns = mean("refinement_contracts"), mean("returns_to_fixed_point")
    said = {0.0: "does not contract", 1.0: "contracts"}.get(contracts, "contracts in some seeds")
    back = {0.0: "do not die out", 1.0: "die out"}.get(returns, "die out in some seeds")
    return (
        f"**{label} {said}**: at the states of training its map stretches the worst direction by "
        f"{mean('jacobian_norm'):.2f} on average, where a contraction stays below 1. Far beyond "
        f"training small changes {back}: each step multiplies them by "
        f"{mean('spectral_radius'):.3f}."
    )


def _deeper(own: pd.DataFrame, label: str) -> str:
    accuracy, best, last = _by_depth(own)
    change = own[own["metric"] == "relative_change"].groupby("step")["value"].mean()
    return (
        f"{label} reads best after {best} steps ({accuracy[best]:.1f} %), and after {last} steps "
        f"{accuracy[last]:.1f} %; its last change is still {100 * change[last]:.1f} % of the "
        "state's length."
    )
