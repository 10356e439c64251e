"""What the growing playground says, made from the numbers."""

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from plasticity.experiments.foam_playground import Lesson

GOAL = 2.0  # seconds of an answer


def base(rows: pd.DataFrame) -> str:
    """Say in Markdown which base answers, how fast, and whether it comes back.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_playground``.
    """
    mean = rows.groupby("metric")["value"].mean()
    which = (
        "The base is the shipped one."
        if mean["base_is_released"] == 1
        else "**No base is shipped yet: this one has random weights, and talks accordingly.**"
    )
    met = "within" if mean["answer_seconds"] <= GOAL else "beyond"
    back = "every time" if mean["same_bits"] == 1 else "not every time"
    return (
        f"{which} An answer with something new to learn took {mean['answer_seconds']:.1f} s "
        f"({met} the goal of {GOAL:.0f} s); the base came back bit for bit {back}."
    )


def answer(found: "Lesson") -> str:
    """Say in Markdown what happened in one answer.

    Parameters
    ----------
    found : Lesson
    """
    first, last = found.curve.iloc[0], found.curve.iloc[-1]
    by_layer = found.born.groupby("layer").size()
    places = ", ".join(f"{count} in layer {layer}" for layer, count in by_layer.items())
    top = found.pressure["pressure"].rank(pct=True)[found.pressure["source"]].min()
    strongest, says = found.excited.iloc[0], found.written.iloc[0]
    off = "is the base again, bit for bit" if found.same_bits else "is **not** the base"
    return "\n".join(
        f"- {sentence}"
        for sentence in (
            f"{len(found.born)} newborns: {places}. The first ones' sources are among the "
            f"{100 * (1 - top):.0f} % of neurons under the highest pressure.",
            f"In {last['step']:.0f} steps the loss on the lesson went from {first['lesson']:.2f} "
            f"to {last['lesson']:.2f} nats a token, and on old texts from {first['old']:.2f} to "
            f"{last['old']:.2f}.",
            f"Newborn {found.question.newborn} answers most strongly to “{strongest['token']}”, "
            f"and then speaks for “{says['token']}”.",
            f"With growth switched off, the model {off}.",
        )
    )
