"""What the page of the substrate's playground says, made from the numbers."""

import pandas as pd

from plasticity.experiments.substrate_playground import (
    LIVED,
    MOST_CYCLES,
    NOTHING,
    Answer,
)

SEEN = 0.005  # smaller activations and changes are not told


def brain(rows: pd.DataFrame) -> str:
    """Say in Markdown how large the taught brain is and how fast it answers.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_playground``.
    """
    value = rows.groupby("metric")["value"].mean()
    return (
        f"It has {value['neurons']:.0f} neurons and {value['synapses']:.0f} synapses, "
        f"{value['bytes']:,.0f} bytes with all names. To teach it and to answer the longest "
        f"question, every word at once for {MOST_CYCLES} cycles with learning and explanation, "
        f"took {1000 * value['answer_seconds']:.0f} ms, its figure left out."
    )


def answer(found: Answer, seconds: float) -> str:
    """Say in Markdown what one answer shows.

    Parameters
    ----------
    found : Answer
    seconds : float
        That answer and figure took.
    """
    question, last = found.question, found.learnt.set_index("neuron")
    top = last.loc[last["before"] >= SEEN, "before"].nlargest(3)
    strongest = ", ".join(f"*{name}* ({value:.2f})" for name, value in top.items()) or NOTHING
    change = (last["after"] - last["before"]).abs()
    learnt = (
        f"Living it {LIVED} times more with a modulator of {question.modulator:g} changes "
        f"*{change.idxmax()}* most: {last['before'][change.idxmax()]:.2f} → "
        f"{last['after'][change.idxmax()]:.2f}."
        if change.max() > SEEN
        else f"With a modulator of {question.modulator:g} the same question has the same answer "
        "afterwards."
    )
    return (
        f"After {question.cycles} cycles the strongest are {strongest}. {_why(found)} {learnt} "
        f"Answer and figure took {seconds:.1f} s."
    )


def _why(found: Answer) -> str:
    asked = found.question.asked
    if found.paths.empty:
        return f"Nothing reached *{asked}*."
    first = found.paths.iloc[0]
    origin = "" if first["origin"] == "input" else f" ({first['origin']})"
    reached = found.neurons[found.neurons["hit"] & (found.neurons["neuron"] == asked)]
    return (
        f"In cycle {reached['cycle'].max()}, when it was reached last, *{asked}* stood at "
        f"{found.activation:.2f}; its strongest path is {first['path']}"
        f"{origin}, with {first['contribution']:+.2f}."
    )


def changes(found: dict[str, pd.Series]) -> str:
    """Say in Markdown what a goal, held neurons and learning change.

    Parameters
    ----------
    found : dict of str to Series
        As `plasticity.experiments.substrate_playground.variations` returns it.
    """
    (_, plain), *others = found.items()
    lines = []
    for what, values in others:
        change = (values - plain).abs()
        name = change.idxmax()
        if change[name] < SEEN:
            lines.append(f"- {what}: nothing changes.")
            continue
        text = f"{plain[name]:.2f} → {values[name]:.2f}"
        count = int((change > SEEN).sum())
        lines.append(f"- {what}: {count} of {len(change)} neurons change, *{name}* most, {text}.")
    return "\n".join(lines)
