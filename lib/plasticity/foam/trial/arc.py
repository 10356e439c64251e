"""The AI2 Reasoning Challenge as lm-evaluation-harness asks it, and as old examples to replay."""

from collections.abc import Iterable, Mapping

from plasticity.foam.trial.probes import MultipleChoice
from plasticity.foam.trial.skills import Example


def arc_questions(rows: Iterable[Mapping], kind: str) -> list[MultipleChoice]:
    r"""Return the items of a split: no examples before them, no chat template, choices in full.

    Parameters
    ----------
    rows : iterable of mapping
        ``question``, ``choices`` (``text`` and ``label``, most often four of each) and
        ``answerKey``, as in ``allenai/ai2_arc``.
    kind : str
        What to call them, such as ``arc_easy``.

    Returns
    -------
    list of MultipleChoice
        Their clusters are their numbers: every question stands alone.

    Raises
    ------
    ValueError
        If the key of an item is none of its labels.

    Examples
    --------
    >>> choices = {"text": ["the Moon", "the Sun"], "label": ["A", "B"]}
    >>> row = {"question": "What is a star?", "choices": choices, "answerKey": "B"}
    >>> (item,) = arc_questions([row], "arc_easy")
    >>> item.prompt, item.choices[item.answer]
    ('Question: What is a star?\nAnswer:', 'the Sun')
    """
    items = []
    for number, row in enumerate(rows):
        texts, labels = row["choices"]["text"], list(row["choices"]["label"])
        if row["answerKey"] not in labels:
            raise ValueError(
                f"the key of item {number} of {kind} is {row['answerKey']!r}; its labels: {labels}"
            )
        prompt = f"Question: {row['question']}\nAnswer:"
        answer = labels.index(row["answerKey"])
        items.append(MultipleChoice(prompt, tuple(texts), answer, kind, str(number)))
    return items


def arc_examples(rows: Iterable[Mapping], kind: str) -> list[Example]:
    """Return questions with their right answers, in the form in which they are scored.

    Parameters
    ----------
    rows, kind
        As in `arc_questions`; rows of a split that is never scored.
    """
    return [
        Example(item.prompt, f" {item.choices[item.answer]}", skill=item.kind, kind="replay")
        for item in arc_questions(rows, kind)
    ]
