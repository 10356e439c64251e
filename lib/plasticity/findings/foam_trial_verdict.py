"""What the chapter on the fair trial of growth concludes, made from the numbers."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from plasticity.companion.statistics import (
    Interval,
    mean_interval,
    paired_difference,
    values_by_seed,
)
from plasticity.companion.tables import cell, interval_cell
from plasticity.experiments.foam_trial import ALL
from plasticity.findings.foam_trial import (
    ALIKE,
    ARMS,
    BASES,
    INGREDIENTS,
    OUTCOMES,
    POINTS,
    WAY,
    bases,
    contrasts,
    has,
    interval,
    scores,
    way,
)
from plasticity.foam.trial.arms import ARMS as TAUGHT

MARGIN = 2.0  # points that an arm may lose and still retain, set beforehand
SHARE = 95.0  # percent of full fine-tuning's acquisition that growth-freeze is to reach
HOLM = "after Holm's correction"
MEANT = 95.0  # percent of the skills' items that full fine-tuning was meant to reach
WITHOUT_OLD_DATA = tuple(
    arm for arm in ARMS if arm not in ("base", "lora") and not TAUGHT[arm].needs_old_data
)


def verdict(rows: pd.DataFrame, rates: Mapping[str, float]) -> str:
    """Say in Markdown what the trial found, failures included; parameters as for `arms`."""
    sentences, few = [], scores(rows)
    for ending in bases(few):
        sentences += [_decomposed(few, rates, ending), _level(few, ending)]
        sentences.append(_share(rows, rates, ending))
        sentences += [*_goal(few, ending), *_recipes(few, ending), _kept(few, ending)]
        sentences.append(_at_one_rate(rows, ending))
    sentences.append(_jumps(few))
    return "\n".join(f"- {sentence}" for sentence in sentences if sentence)


def _rates(rates: Mapping[str, float], *variants: str) -> str:
    """Say that arms learn at unlike rates, where they do: those are part of what differs."""
    own = [rates[variant] for variant in variants]
    if len(set(own)) == 1:
        return ""
    named = ", ".join(f"{rate:g}" for rate in own)
    return f" Their learning rates differ ({named}), so this is of the arms as tuned."


def _decomposed(rows: pd.DataFrame, rates: Mapping[str, float], ending: str) -> str:
    found = way(rows)
    found = found[(found["base"] == BASES[ending]) & found["measure"].str.contains("kept")]
    if found.empty:
        return ""
    level, *changes, whole = found["mean"]
    parts = ", ".join(
        f"{change:+.1f} by {name}" for change, name in zip(changes, INGREDIENTS, strict=True)
    )
    return (
        f"**{BASES[ending].capitalize()} base.** Full fine-tuning keeps {level:.1f} % of the facts "
        f"that nobody replays, the reference's whole recipe {whole:.1f} %. The difference is made "
        f"up of {parts} (points).{_rates(rates, *(f'{arm}{ending}' for arm in WAY))}"
    )


def _level(rows: pd.DataFrame, ending: str) -> str:
    """Say how much of the skills can be had at all, since shares are taken of that."""
    names = [f"{arm}{ending}" for arm in ("base", WAY[0])]
    if not has(rows, *names):
        return ""
    base, full = (interval(rows, "skill_accuracy", name, ALL).mean for name in names)
    enough = "as" if full >= MEANT else "less than"
    return (
        f"Full fine-tuning answers {full:.1f} % of the skills' items, {enough} was meant "
        f"({MEANT:.0f} %); the base answers {base:.1f} %, items that ask for nothing new."
    )


def _share(rows: pd.DataFrame, rates: Mapping[str, float], ending: str) -> str:
    found = contrasts(rows, ending)
    own = found[found["contrast"] == "C1"].set_index("outcome")
    if own.empty:
        return ""
    kept, acquired = own.loc["kept"], own.loc["acquired"]
    bounds = ["mean", "low", "high"]
    answers = {
        "facts": ("helps to keep facts", "costs facts", "is not shown to change what is kept"),
        "skills": (
            "helps to learn skills",
            "costs skills",
            "is not shown to change what is learnt",
        ),
    }
    said = []
    for (what, (more, less, neither)), line in zip(answers.items(), (kept, acquired), strict=True):
        answer = _answer(line["low"], line["high"], more, less, neither)
        sure = "" if answer == neither else f", {'' if line['settled'] else 'not '}settled {HOLM}"
        said.append(f"{answer} ({cell(*line[bounds], POINTS)} points of {what}{sure})")
    unlike = _rates(rates, *own.iloc[0][["a", "b"]])
    return f"Growth itself, given replay and freezing (C1), {' and '.join(said)}.{unlike}"


def _answer(low: float, high: float, more: str, less: str, neither: str) -> str:
    """Return the answer that an interval of a difference gives."""
    return more if low > 0 else less if high < 0 else neither


def _goal(rows: pd.DataFrame, ending: str) -> list[str]:
    said = []
    for grown, lora in (("growth_freeze", "lora"), ("growth_freeze_self", "lora_self")):
        names = [f"{arm}{ending}" for arm in (grown, WAY[0], lora)]
        if has(rows, *names):
            said += _reached(rows, *names, ARMS[grown][0], ARMS[lora][0])
    return said


def _acquired(rows: pd.DataFrame, grown: str, plain: str) -> Interval:
    """Return the skills acquired in percent of full fine-tuning's, paired by seed."""
    own, full = (values_by_seed(rows, "skill_accuracy", arm, ALL, 0) for arm in (grown, plain))
    return mean_interval((100 * own / full).dropna().to_numpy())


def _recipes(rows: pd.DataFrame, ending: str) -> list[str]:
    """Say which arms without old data reach both goals on a base, with growth and without."""
    plain, lora = f"{WAY[0]}{ending}", f"lora{ending}"
    tried = [arm for arm in WITHOUT_OLD_DATA if has(rows, f"{arm}{ending}", plain, lora)]
    grown = [arm for arm in tried if TAUGHT[arm].grows]
    if not grown:
        return []
    others = [arm for arm in tried if arm not in grown]
    said = [
        f"Of the {len(grown)} recipes that add neurons without old data "
        f"({'; '.join(ARMS[arm][0] for arm in grown)}), the double goal, {SHARE:.0f} % of full "
        "fine-tuning's skills and more facts than LoRA (intervals not corrected for how many "
        f"recipes are asked), is reached {_reaching(rows, grown, ending)}. Of arms that add none, "
        f"and have no old data either, it is reached {_reaching(rows, others, ending)}."
    ]
    if has(rows, f"growth_ewc_self{ending}", f"ewc_self{ending}"):
        said.append(_growth_of_springs(rows, ending))
    return said


def _reaching(rows: pd.DataFrame, arms: list[str], ending: str) -> str:
    """Say which of some arms reach the double goal, and whether beyond doubt."""
    found = [_both_goals(rows, arm, ending) for arm in arms]
    parts = []
    for how, sure in (("", True), ("on average, though not beyond doubt, ", False)):
        names = [text for text, beyond in found if text and beyond is sure]
        parts += [f"{how}by {'; '.join(names)}"] if names else []
    return "; ".join(parts) or "**by none**"


def _both_goals(rows: pd.DataFrame, arm: str, ending: str) -> tuple[str, bool]:
    """Return an arm with its figures, or nothing if it misses a goal, and if beyond doubt."""
    own = f"{arm}{ending}"
    share = _acquired(rows, own, f"{WAY[0]}{ending}")
    change = paired_difference(rows, "accuracy", own, f"lora{ending}", "unreplayed", 0)
    if share.mean < SHARE or not change.low > 0:
        return "", False
    figures = f"{interval_cell(share)} %, {interval_cell(change, POINTS)} points"
    return f"{ARMS[arm][0]} ({figures})", bool(share.low >= SHARE)


def _growth_of_springs(rows: pd.DataFrame, ending: str) -> str:
    """Say what growth adds to the springs that the base's own texts set."""
    grown, held = f"growth_ewc_self{ending}", f"ewc_self{ending}"
    alike = has(rows, f"{held}{ALIKE}")
    how, held = ("at one strength", f"{held}{ALIKE}") if alike else ("each as tuned", held)
    said = []
    for what, (metric, split, _) in (("learnt", OUTCOMES["acquired"]), ("kept", OUTCOMES["kept"])):
        found = paired_difference(rows, metric, grown, held, split, 0)
        answers = f"adds to what is {what}", f"takes from what is {what}"
        neither = f"is not shown to change what is {what}"
        answer = _answer(found.low, found.high, *answers, neither)
        said.append(f"{answer} ({interval_cell(found, POINTS)} points)")
    return (
        f"With springs set on texts of the base's own, {how}, growth {' and '.join(said)} beside "
        "the same springs alone."
    )


def _reached(rows: pd.DataFrame, grown: str, plain: str, lora: str, *names: str) -> list[str]:
    share = _acquired(rows, grown, plain)
    if share.low >= SHARE:
        reached = "reaches"
    elif share.mean >= SHARE:
        reached = "on average, though not beyond doubt, reaches"
    else:
        reached = "does not reach"
    change = paired_difference(rows, "accuracy", grown, lora, "unreplayed", 0)
    answers = "keeps more than", "keeps less than", "is not shown to keep more than"
    more = _answer(change.low, change.high, *answers)
    sides = [interval(rows, "retention", arm, "unreplayed").mean for arm in (grown, lora)]
    beside = interval_cell(_acquired(rows, lora, plain))
    return [
        f"Without old data, {names[0]} acquires {interval_cell(share)} % of what full fine-tuning "
        f"does and so {reached} the {SHARE:.0f} % set as the goal.",
        f"It {more} {names[1]}, of as many parameters: {sides[0]:.1f} % of the base's facts "
        f"against {sides[1]:.1f} %; of all facts asked, {interval_cell(change, POINTS)} points. "
        f"{names[1]} acquires {beside} %: who learns more forgets more, and the trials of both "
        "show how far that goes at other rates.",
    ]


def _kept(rows: pd.DataFrame, ending: str) -> str:
    """Say which arms lose no more than the margin set beforehand, and which cannot be judged."""
    base, kept, unjudged = f"base{ending}", [], []
    for arm, (name, _) in ARMS.items():
        variant = f"{arm}{ending}"
        if arm == "base" or not has(rows, variant, base):
            continue
        change = paired_difference(rows, "accuracy", variant, base, "unreplayed", 0)
        if np.isnan(change.low):
            unjudged.append(name)
        elif change.low > -MARGIN:
            kept.append(name)
    who = "; ".join(kept) if kept else "no arm"
    rest = f" Not judged, for want of seeds: {'; '.join(unjudged)}." if unjudged else ""
    return (
        f"By the margin set beforehand (the whole interval above -{MARGIN:.0f} points), the facts "
        f"that nobody replays are retained by: {who}.{rest}"
    )


def _at_one_rate(rows: pd.DataFrame, ending: str) -> str:
    """Say which contrasts are settled where both arms learn at the rate of the first."""
    found = contrasts(rows, ending, alike=True)
    if found.empty:
        return ""
    named = [
        f"{line.contrast}, {line.outcome} ({line.mean:+.1f} points)"
        for line in found[found["settled"]].itertuples()
    ]
    asked = ", ".join(dict.fromkeys(found["contrast"]))
    return (
        f"Arms tuned to unlike rates, compared again at one rate, which was not set beforehand "
        f"({asked}): settled is {'; '.join(named) or 'nothing'}."
    )


def _jumps(rows: pd.DataFrame) -> str:
    jumps = rows[rows["metric"] == "loss_jump"]
    v3 = jumps["variant"].str.startswith("v3")
    largest = jumps.loc[~v3, "value"].abs().max()
    if pd.isna(largest):
        return ""
    size = "exactly 0" if largest == 0 else f"at most {largest:.1g} nats"
    return f"A growth event without retirement changes the loss by {size} ({(~v3).sum()} events)."
