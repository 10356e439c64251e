"""`CurriculumLearning`: easy examples first."""

import math
from collections.abc import Callable, Sequence

MEASURES = ("loss", "length")


class CurriculumLearning:
    """Sorts examples by difficulty, and cuts them into three phases.

    Parameters
    ----------
    difficulty : {"loss", "length"} or callable
        The field `loss` of an example, the length of its text, or a function from an example to a
        number. Examples of which nothing is known, None or NaN, are as hard as the median.

    Examples
    --------
    >>> curriculum = CurriculumLearning(difficulty=len)
    >>> curriculum.sort_by_difficulty(["ccc", "a", "bb"])
    ['a', 'bb', 'ccc']
    >>> curriculum.get_phases(["ccc", "a", "bb"])
    (['a'], ['bb'], ['ccc'])
    """

    def __init__(self, difficulty: str | Callable = "loss"):
        if not callable(difficulty) and difficulty not in MEASURES:
            raise ValueError(
                f"difficulty must be one of {MEASURES} or a function, got {difficulty!r}"
            )
        self.difficulty = difficulty

    def _scores(self, examples: Sequence) -> list[float]:
        own = self.difficulty
        measure = own if callable(own) else {"loss": _loss, "length": _length}[own]
        scores = [measure(example) for example in examples]
        scores = [None if s is None or math.isnan(float(s)) else float(s) for s in scores]
        known = sorted(score for score in scores if score is not None)
        middle = known[len(known) // 2] if known else 0.0
        return [middle if score is None else score for score in scores]

    def sort_by_difficulty(self, examples: Sequence) -> list:
        """Return the examples, easiest first, equal ones in their order; the input stays."""
        scores = self._scores(examples)
        return [examples[n] for n in sorted(range(len(scores)), key=scores.__getitem__)]

    def get_phases(self, examples: Sequence) -> tuple[list, list, list]:
        """Return easy, medium and hard examples: each example once, sizes that differ by 1."""
        ordered = self.sort_by_difficulty(examples)
        size, rest = divmod(len(ordered), 3)
        first = size + (rest > 0)
        second = first + size + (rest > 1)
        return ordered[:first], ordered[first:second], ordered[second:]


def _loss(example) -> float | None:
    return example.get("loss") if isinstance(example, dict) else getattr(example, "loss", None)


def _length(example) -> int:
    if isinstance(example, dict):
        return sum(len(value) for value in example.values() if isinstance(value, str))
    return len(example)
