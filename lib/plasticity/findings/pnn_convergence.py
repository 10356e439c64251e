"""What the chapter on convergence says, made from the numbers."""

from collections.abc import Mapping

import pandas as pd

from plasticity.companion.statistics import summarise
from plasticity.companion.tables import ABSENT, cell
from plasticity.experiments.pnn_convergence import (
    NULLS,
    RULES,
    SOURCE_SHARES,
    SOURCE_STEPS,
    THIRDS,
)
from plasticity.experiments.pnn_refinement import CLEAR_OF_PLATEAU, PLATEAU_MARGIN
from plasticity.pnn.convergence import CLASSES

RECONSTRUCTED = RULES[0]
NULL_NAMES = {
    "label_null": "classes exchanged",
    "target_null": "targets exchanged",
    "endpoint_null": "classes exchanged among like endpoints",
}
CONTRAST_NAMES = {"hard_minus_easy": "hard minus easy", "medium_minus_easy": "medium minus easy"}
NOTABLE = 0.1  # a rank correlation below this explains less than a hundredth of the variance


def _summary(rows: pd.DataFrame) -> pd.DataFrame:
    found = summarise(rows).query("step == 0")
    return found.set_index(["variant", "metric", "split"]).sort_index()


def _cell(summary: pd.DataFrame, key: tuple[str, str, str], form: str = "{:.2f}") -> str:
    if key not in summary.index:
        return ABSENT
    found = summary.loc[key]
    return cell(found["mean"], found["low"], found["high"], form)


def _arms(rows: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(rows["variant"]))


def classes(rows: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """Set the paper's shares and mean steps of each class beside ours.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_convergence``.
    labels : mapping of str to str
        Names to show for the variants and rules.

    Returns
    -------
    DataFrame
        Texts, one row for each class; a dash where a class has no tokens.
    """
    summary = _summary(rows)
    columns = {
        "share, %: paper": [f"{SOURCE_SHARES[name]:.1f}" for name in CLASSES],
        "steps: paper": [f"{SOURCE_STEPS[name]:.2f}" for name in CLASSES],
    }
    for arm in _arms(rows):
        shares = [_cell(summary, (arm, "token_share", name), "{:.1f}") for name in CLASSES]
        columns[f"share, %: {labels[arm]}"] = shares
        steps = [_cell(summary, (arm, RECONSTRUCTED, name)) for name in CLASSES]
        columns[f"steps: {labels[arm]}"] = steps
    table = pd.DataFrame(columns, index=list(CLASSES))
    return table[sorted(columns, key=lambda name: name.startswith("steps"))]


def rules(rows: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """Set out the mean step of each class, and of each third by frequency, by every rule.

    Parameters
    ----------
    rows, labels
        As for `classes`.

    Returns
    -------
    DataFrame
        Texts, one row for each arm and rule.
    """
    summary = _summary(rows)
    lines = {
        (labels[arm], labels[rule]): [
            *(_cell(summary, (arm, rule, split)) for split in (*CLASSES, "all", *THIRDS)),
            _cell(summary, (arm, "frequency_correlation", f"{rule}:all")),
            _cell(summary, (arm, "frequency_correlation", f"{rule}:not_easy")),
        ]
        for arm in _arms(rows)
        for rule in RULES
    }
    headings = [*CLASSES, "all", *THIRDS, "rank correlation with frequency", "without easy"]
    return pd.DataFrame(lines.values(), pd.MultiIndex.from_tuples(lines), columns=headings)


def nulls(rows: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """Set the gaps between classes beside what the nulls give, by every rule.

    Parameters
    ----------
    rows, labels
        As for `classes`.

    Returns
    -------
    DataFrame
        Texts, one row for each arm, gap and rule: steps; for a null its mean over exchanges, with
        the value that it stays under in 97.5% of them.
    """
    summary = _summary(rows)
    lines = {}
    for arm in _arms(rows):
        for contrast, contrast_name in CONTRAST_NAMES.items():
            for rule in RULES:
                split = f"{rule}:{contrast}"
                lines[labels[arm], contrast_name, labels[rule]] = [
                    _cell(summary, (arm, "step_gap", split), "{:+.2f}"),
                    *(_null_cell(summary, (arm, f"{null}_gap", split)) for null in NULLS),
                ]
    columns = ["measured", *(NULL_NAMES[null] for null in NULLS)]
    return pd.DataFrame(lines.values(), pd.MultiIndex.from_tuples(lines), columns=columns)


def _null_cell(summary: pd.DataFrame, key: tuple[str, str, str]) -> str:
    if key not in summary.index:
        return ABSENT
    arm, metric, split = key
    bound = summary.loc[(arm, f"{metric}_bound", split), "mean"]
    return f"{summary.loc[key, 'mean']:+.2f} (under {bound:+.2f})"


def convergence(rows: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """Say in Markdown what of the gap is emergent and what the definition forces.

    Parameters
    ----------
    rows, labels
        As for `classes`.

    Returns
    -------
    str
        A list of sentences for each arm.
    """
    summary = _summary(rows)
    lines = []
    for arm in _arms(rows):
        own, name = rows[rows["variant"] == arm], labels[arm]
        lines += [f"- **{name}.** {_standing(summary, arm)} {_gap(own, summary, arm)}"]
        lines += [f"- **{name}, other rules.** {_order(summary, arm, labels)}"]
        lines += [f"- **{name}, frequency of the word.** {_frequency(summary, arm)}"]
    return "\n".join([*lines, f"- **Steps or layers.** {_alike(rows, labels)}"])


def _alike(rows: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """Say for which arms both gaps are more than forced in every seed."""
    more, no_more = [], []
    for arm in _arms(rows):
        own = rows[rows["variant"] == arm]
        every = all(_seeds_beyond(own, name) == own["seed"].nunique() for name in CONTRAST_NAMES)
        (more if every else no_more).append(labels[arm])
    if not more:
        return "In none of these models do easy tokens settle sooner in every seed than is forced."
    text = f"In every seed easy tokens settle sooner than the definition forces in {_and(more)}."
    return f"{text} Not so in {_and(no_more)}." if no_more else text


def _and(names: list[str]) -> str:
    return " and ".join(names)


def _standing(summary: pd.DataFrame, arm: str) -> str:
    over = round(summary.loc[(arm, "accuracy_over_guess", "test"), "mean"], 1) + 0.0  # no "-0.0"
    shares = [summary.loc[(arm, "token_share", name), "mean"] for name in CLASSES]
    text = (
        f"It ends {over:+.1f} points against the constant guess; "
        + ", ".join(f"{share:.1f} %" for share in shares)
        + " of the hidden tokens are easy, medium and hard."
    )
    if over < PLATEAU_MARGIN:
        text += (
            " That is the plateau on which predictions hardly depend on the text, so that its steps"
            " tell little about words."
        )
    elif over < CLEAR_OF_PLATEAU:
        text += (
            " It has begun to learn from context, but is not clear of the plateau: its steps may"
            " yet change."
        )
    return text


def _gap(own: pd.DataFrame, summary: pd.DataFrame, arm: str) -> str:
    split = f"{RECONSTRUCTED}:hard_minus_easy"
    if (arm, "step_gap", split) not in summary.index:
        missing = [c for c in CLASSES if (arm, RECONSTRUCTED, c) not in summary.index]
        return f"No token is {' or '.join(missing)}, so hard and easy cannot be compared."
    gap = summary.loc[(arm, "step_gap", split), "mean"]
    text = f"By the reconstructed rule hard tokens take {gap:+.2f} steps against easy ones"
    medium = (arm, "step_gap", f"{RECONSTRUCTED}:medium_minus_easy")
    if medium in summary.index:
        text += f", medium ones {summary.loc[medium, 'mean']:+.2f}"
    text += "."
    if gap <= 0:
        return f"{text} Easy tokens do not settle sooner: there is no curriculum to explain."
    forced = {null: summary.loc[(arm, f"{null}_gap", split), "mean"] for null in NULLS[1:]}
    share = min(100 * max(0, *forced.values()) / gap, 100)
    return (
        f"{text} With targets exchanged, so that nothing known of a word is left, the gap is "
        f"{forced['target_null']:+.2f}; with classes exchanged among tokens that alike end on "
        f"their first guess or on another, {forced['endpoint_null']:+.2f}. An easy token that ends "
        "right ends on its first guess, and a medium one never does: the definition **forces "
        f"{share:.0f} % of the gap**{_forced_of_medium(summary, arm)}. {_rest(own)}"
    )


def _forced_of_medium(summary: pd.DataFrame, arm: str) -> str:
    """Say how much of the gap of medium tokens the definition forces, where they settle later."""
    split = f"{RECONSTRUCTED}:medium_minus_easy"
    keys = [(arm, name, split) for name in ("step_gap", *(f"{null}_gap" for null in NULLS[1:]))]
    if not all(key in summary.index for key in keys):
        return ""
    gap, *forced = (summary.loc[key, "mean"] for key in keys)
    if gap <= 0:
        return ""
    return f", and {min(100 * max(0, *forced) / gap, 100):.0f} % of that of medium tokens"


def _seeds_beyond(own: pd.DataFrame, contrast: str) -> int:
    """Return in how many seeds a gap passes every null, by the tests that the claim demands."""
    split = f"{RECONSTRUCTED}:{contrast}"
    values = own[own["split"] == split].pivot(index="seed", columns="metric", values="value")
    nulls = [f"{null}_gap" for null in NULLS]
    bounds = [f"{null}_bound" for null in nulls]
    values = values.reindex(columns=["step_gap", "step_gap_low", *nulls, *bounds])
    above = values["step_gap"] > values[bounds].max(axis=1, skipna=False)
    surely = values["step_gap_low"] > values[nulls].max(axis=1, skipna=False)
    return int((above & surely).sum())  # never where a class is empty: nan


def _rest(own: pd.DataFrame) -> str:
    """Say whether what the definition does not force of the gaps is more than chance."""
    seeds = own["seed"].nunique()
    beyond = {name: _seeds_beyond(own, name) for name in CONTRAST_NAMES}
    texts = [f"{CONTRAST_NAMES[name]} in {count}" for name, count in beyond.items()]
    where = f"of {seeds} seed{'s' * (seeds > 1)}, the gap passes every null for "
    where += " and ".join(texts)
    if set(beyond.values()) == {seeds}:
        return f"The rest is emergent: {where}."
    if set(beyond.values()) == {0}:
        return f"The rest cannot be told from chance: {where}."
    return (
        f"Only part of the rest is more than chance: {where}. The claim needs both in every seed."
    )


def _order(summary: pd.DataFrame, arm: str, labels: Mapping[str, str]) -> str:
    agree, differ, silent = [], [], []
    for rule in RULES[1:]:
        found = [(arm, rule, name) for name in CLASSES]
        if not all(key in summary.index for key in found):
            silent.append(rule)
            continue
        easy, medium, hard = (summary.loc[key, "mean"] for key in found)
        (agree if easy < medium < hard else differ).append(rule)
    parts = [
        f"{text}: {', '.join(labels[rule] for rule in chosen)}."
        for text, chosen in (
            ("Easy before medium before hard, as claimed, by", agree),
            ("Not in this order by", differ),
            ("No order, since a class has no tokens, by", silent),
        )
        if chosen
    ]
    forced = "By the rule “right for good” every hard token counts as the last step by definition."
    return " ".join([*parts, forced])


def _frequency(summary: pd.DataFrame, arm: str) -> str:
    texts = []
    for split, tokens in (("all", "all hidden tokens"), ("not_easy", "those that are not easy")):
        key = (arm, "frequency_correlation", f"{RECONSTRUCTED}:{split}")
        if key in summary.index:
            value = summary.loc[key, "mean"]
            texts.append(f"{value:+.2f} for {tokens}")
    if not texts:
        return "All tokens settle at the same step, so frequency predicts nothing."
    overall = summary.loc[(arm, "frequency_correlation", f"{RECONSTRUCTED}:all"), "mean"]
    if abs(overall) < NOTABLE:
        verdict = "this difficulty, which owes nothing to the model, hardly predicts the step"
    elif overall < 0:
        verdict = "frequent words settle sooner"
    else:
        verdict = "frequent words settle later"
    return (
        "The rank correlation between how often a word occurs in the training set and its step is "
        f"{' and '.join(texts)}: {verdict}."
    )
