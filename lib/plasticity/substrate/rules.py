"""Typed relations, and the rules by which their synapses change.

Every rule is local: a change depends on the two neurons of a synapse, on what the synapse itself
remembers in its 16 bytes, and on one global scalar, the modulator.

========= ============================================== ==================================
rule      change of the weight w for pre x and post y    first, second, steps
========= ============================================== ==================================
static    none                                           unused
hebbian   r x y (limit - w sign(x y))                    unused
oja       r y (x - y w)                                  unused
sanger    r y (x - sum of y' w' up to this target)       unused
delta     r x y, where y is an error                     unused
adam      the same through Adam's moments                bfloat16 moments, number of updates
reward    at a reward: r (reward - expected) e           eligibility e (Q1.14), its tick, visits
count     none; a use is counted                         low and high half of the count, unused
========= ============================================== ==================================

r is the learning rate times the modulator. Weights stay within +- limit.
"""

import math
from dataclasses import dataclass

RULES = ("static", "hebbian", "oja", "sanger", "delta", "adam", "reward", "count")
STATIC, HEBBIAN, OJA, SANGER, DELTA, ADAM, REWARD, COUNT = range(len(RULES))
MOST_RELATIONS = 255


@dataclass(frozen=True)
class Relation:
    """A type of synapse.

    Parameters
    ----------
    name : str
    index : int
        Its place in the table of relations, 0 to 254.
    sign : {1, -1}
        Whether it excites or inhibits: multiplies every weight when activation spreads.
    rule : {'static', 'hebbian', 'oja', 'sanger', 'delta', 'adam', 'reward', 'count'}
    learning_rate : float
        Above 0.
    limit : float
        Largest absolute weight, above 0; infinite for none.
    eligibility_decay : float
        Share of the eligibility that is left after one tick, 0 to 1; used by ``reward``.

    Raises
    ------
    ValueError
        For a setting out of its range.

    Examples
    --------
    >>> Relation("means", 0, rule="hebbian", limit=1.0).rule_index
    1
    """

    name: str
    index: int
    sign: int = 1
    rule: str = "static"
    learning_rate: float = 0.1
    limit: float = math.inf
    eligibility_decay: float = 0.9

    def __post_init__(self):
        """Check ranges."""
        checks = {
            "index": (0 <= self.index < MOST_RELATIONS, f"0 to {MOST_RELATIONS - 1}"),
            "sign": (self.sign in (1, -1), "1 or -1"),
            "rule": (self.rule in RULES, ", ".join(RULES)),
            "learning_rate": (self.learning_rate > 0, "above 0"),
            "limit": (self.limit > 0, "above 0"),
            "eligibility_decay": (0 <= self.eligibility_decay <= 1, "0 to 1"),
        }
        for name, (holds, allowed) in checks.items():
            if not holds:
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed: {allowed}")
        if self.rule == "hebbian" and math.isinf(self.limit):
            raise ValueError("limit is infinite; allowed for rule 'hebbian': finite, such as 1.0")

    @property
    def rule_index(self) -> int:
        """The rule's number in compiled code."""
        return RULES.index(self.rule)
