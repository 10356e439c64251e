"""What the chapter on the three skills says, made from the numbers and from the source's claims."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from scipy import stats

from plasticity.companion import claims
from plasticity.companion.statistics import Interval, mean_interval, values_by_seed
from plasticity.companion.tables import ABSENT, cell
from plasticity.experiments.foam_arc import SOURCE_ITEMS, source_figures, unpaired_change
from plasticity.experiments.foam_skills import CLAIMS
from plasticity.findings.foam_arc import TITLES

ARMS = {
    "base": "base",
    "full_fine_tuning": "full fine-tuning",
    "reference_recipe": "the source's recipe",
}
SKILLS = {"tools": "tool calls", "identity": "identity", "autonomy": "work by a plan"}
QUESTIONS = {
    "tools arguments": "tool calls, unseen arguments",
    "tools templates": "tool calls, unseen wordings",
    "tools negatives": "no tool needed",
    "identity seen": "identity, trained wordings",
    "identity unseen": "identity, unseen wordings",
    "identity leakage": "identity not asked for, not mentioned",
    "autonomy goals": "work by a plan",
}
ACQUIRED = 95.0  # percent that plain fine-tuning must reach for the skills to be learnable
ALPHA = 0.05


def distinct(tests: Mapping[str, Sequence]) -> pd.DataFrame:
    """Count the questions of each kind in the tests, and how many of them differ.

    Parameters
    ----------
    tests : mapping of str to sequence of Example
        By skill.

    Returns
    -------
    DataFrame
        Index the question; columns items and distinct.
    """
    lines = [
        (QUESTIONS[f"{skill} {example.kind}"], example.prompt)
        for skill, examples in tests.items()
        for example in examples
    ]
    prompts = pd.DataFrame(lines, columns=["question", "prompt"]).groupby("question", sort=False)
    counts = prompts["prompt"].agg(["size", "nunique"]).rename_axis(None)
    order = [question for question in QUESTIONS.values() if question in counts.index]
    return counts.set_axis(["items", "distinct"], axis=1).loc[order]


def exact_interval(right: float, count: float) -> Interval:
    """Return a share with its exact interval (Clopper and Pearson 1934).

    Parameters
    ----------
    right, count : float
        Right answers, and answers in all; at least one.

    Returns
    -------
    Interval
        In percent.

    Raises
    ------
    ValueError
        If `count` is below 1, or `right` not between 0 and `count`.

    Examples
    --------
    >>> found = exact_interval(10, 10)
    >>> round(found.low, 1), found.high
    (69.2, 100.0)
    """
    if count < 1 or not 0 <= right <= count:
        raise ValueError(f"right is {right} of {count}; allowed: 0 to count, and count at least 1")
    found = stats.binomtest(round(right), round(count)).proportion_ci(1 - ALPHA, "exact")
    share = 100 * right / count
    return Interval(share, 100 * found.low, 100 * found.high, round(count))


def source() -> pd.DataFrame:
    """Return the source's own tests: right answers before and after, with exact intervals.

    Returns
    -------
    DataFrame
        Columns skill, items, before, after (counts), and mean, low, high of the share after, and
        before_low, before_high before, in percent. All from the ledger of claims.
    """
    known, lines = {claim.id: claim for claim in claims.load()}, []
    for skill, (name, _) in CLAIMS.items():
        claim = known[name]
        items = int(claim.unit.removeprefix("of "))
        before, after = (exact_interval(count, items) for count in (claim.base, claim.value))
        lines.append(
            {
                "skill": skill,
                "items": items,
                "before": claim.base,
                "after": claim.value,
                "mean": after.mean,
                "low": after.low,
                "high": after.high,
                "before_low": before.low,
                "before_high": before.high,
            }
        )
    return pd.DataFrame(lines)


def arc() -> pd.DataFrame:
    """Return the source's ARC figures and drops, with the intervals that its items allow.

    Returns
    -------
    DataFrame
        Columns test, when (before, after or change), mean, low, high, in percent or points. The
        change is unpaired: which items were right is not published.
    """
    lines = []
    for name, pair in source_figures().items():
        intervals = {
            when: exact_interval(share / 100 * SOURCE_ITEMS, SOURCE_ITEMS)
            for when, share in zip(("before", "after"), pair, strict=True)
        }
        intervals["change"] = unpaired_change(*pair)
        lines += [(TITLES[name], w, i.mean, i.low, i.high) for w, i in intervals.items()]
    return pd.DataFrame(lines, columns=["test", "when", "mean", "low", "high"])


def answers(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the share of right answers of every arm to every kind of question.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_skills``.

    Returns
    -------
    DataFrame
        Columns variant, split, mean, low, high, questions. The interval is over seeds; of a single
        one, as of the base, it is the exact one over questions.
    """
    lines = []
    for variant in ARMS:
        for split in QUESTIONS:
            values = values_by_seed(rows, "skill_accuracy", variant, split, 0)
            if values.empty:
                continue
            count = values_by_seed(rows, "questions", variant, split, 0).iloc[0]
            found = (
                mean_interval(values)
                if len(values) > 1 and variant != "base"
                else exact_interval(round(values.iloc[0] / 100 * count), count)
            )
            low, high = max(0.0, found.low), min(100.0, found.high)
            lines.append((variant, split, found.mean, low, high, int(count)))
    return pd.DataFrame(lines, columns=["variant", "split", "mean", "low", "high", "questions"])


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Set out what every arm answers.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_skills``.

    Returns
    -------
    DataFrame
        Texts, one row a kind of question.
    """
    found = answers(rows).set_index(["split", "variant"])
    lines = {}
    for split, name in QUESTIONS.items():
        if split not in found.index.get_level_values(0):
            continue
        line = {"questions": f"{found.loc[split]['questions'].iloc[0]:,}"}
        for variant, arm in ARMS.items():
            known = (split, variant) in found.index
            values = found.loc[(split, variant), ["mean", "low", "high"]] if known else ()
            line[f"{arm}, %"] = cell(*values) if known else ABSENT
        lines[name] = line
    return pd.DataFrame.from_dict(lines, orient="index")


def small_tests(rows: pd.DataFrame) -> pd.DataFrame:
    """Set the source's 10, 5 and 5 beside as many of our items, and beside all of them.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_skills``.

    Returns
    -------
    DataFrame
        Texts, one row a skill.
    """
    lines = {}
    for own in source().itertuples():
        metric = CLAIMS[own.skill][1]
        line = {
            "source": f"{own.after:.0f} of {own.items}",
            "its interval, %": f"{own.low:.1f} to {own.high:.1f}",
        }
        for variant in ("full_fine_tuning", "reference_recipe"):
            few = values_by_seed(rows, metric, variant, own.skill, 0)
            many = values_by_seed(rows, "skill_accuracy", variant, own.skill, 0)
            counts = ", ".join(f"{value:.0f}" for value in few)
            line[f"{ARMS[variant]}, as few items"] = counts or ABSENT
            line[f"{ARMS[variant]}, all items, %"] = cell(*_bounds(many)) if len(many) else ABSENT
        lines[SKILLS[own.skill]] = line
    return pd.DataFrame.from_dict(lines, orient="index")


def _bounds(values: pd.Series) -> tuple[float, float, float]:
    found = mean_interval(values)
    return found.mean, found.low, found.high


def luck(items: int, rate: float) -> float:
    """Return how often all of so many items come out right at a true rate, both in percent.

    Examples
    --------
    >>> round(luck(5, 80.0), 1)
    32.8
    """
    return 100 * (rate / 100) ** items


def skills(rows: pd.DataFrame) -> str:
    """Say in Markdown what was learnt, and what the source's tests can and cannot tell.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_skills``.

    Returns
    -------
    str
        A list of sentences, failures included.
    """
    sentences = [*_learnt(rows), *_kinds(rows), _resolution(), _arc()]
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _learnt(rows: pd.DataFrame) -> list[str]:
    sentences = []
    for variant in ("full_fine_tuning", "reference_recipe"):
        shares = {
            name: values_by_seed(rows, "skill_accuracy", variant, skill, 0).mean()
            for skill, name in SKILLS.items()
        }
        if any(math.isnan(share) for share in shares.values()):
            continue
        told = ", ".join(f"{name} {share:.1f} %" for name, share in shares.items())
        missing = [name for name, share in shares.items() if share < ACQUIRED]
        end = (
            f"below the {ACQUIRED:.0f} % asked for: {', '.join(missing)}."
            if missing
            else f"all at {ACQUIRED:.0f} % or more."
        )
        label = ARMS[variant]
        sentences.append(f"**{label[0].upper()}{label[1:]}** answers right: {told}; {end}")
    return sentences


def _kinds(rows: pd.DataFrame) -> list[str]:
    """Compare seen with unseen, and tell of leakage."""
    found = answers(rows).set_index(["variant", "split"])["mean"]
    variant = "full_fine_tuning"
    if (variant, "tools arguments") not in found.index:
        return []
    arguments, templates = found[variant, "tools arguments"], found[variant, "tools templates"]
    seen, unseen = found[variant, "identity seen"], found[variant, "identity unseen"]
    leaks = 100 - found[variant, "identity leakage"]
    return [
        f"New wordings cost {arguments - templates:.1f} points in tool calls and "
        f"{seen - unseen:.1f} in identity: a test on the trained wordings alone would hide that.",
        f"Asked for something else, the fine-tuned model still names its new identity in "
        f"{leaks:.1f} % of the answers.",
    ]


def _resolution() -> str:
    parts = []
    for own in source().itertuples():
        parts.append(
            f"{own.after:.0f} of {own.items} leaves {own.low:.0f} % to {own.high:.0f} % open"
        )
    few = source()["items"].min()
    most = source()["items"].max()
    return (
        f"Of the source's tests, {'; '.join(dict.fromkeys(parts))}. A model right in 80 % of all "
        f"cases gets {few} of {few} in {luck(few, 80.0):.0f} % of such tests, and {most} of {most} "
        f"in {luck(most, 80.0):.0f} %."
    )


def _arc() -> str:
    change = arc().set_index(["test", "when"]).xs("change", level="when")
    parts = [
        f"{test} changed by {own.mean:+.1f} points [{own.low:+.1f}, {own.high:+.1f}]"
        for test, own in zip(change.index, change.itertuples(), strict=True)
    ]
    open_ = all(own.low < 0 < own.high for own in change.itertuples())
    verdict = "neither is told apart from no change" if open_ else "not all include no change"
    return (
        "All its ARC figures are multiples of half a percent, so they rest on about "
        f"{SOURCE_ITEMS} questions: {'; '.join(parts)}; {verdict}. "
        f'"Only {-change["mean"].iloc[0]:.1f}" is the '
        "smaller of the two drops."
    )
