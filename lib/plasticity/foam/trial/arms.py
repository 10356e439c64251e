"""The arms of the trial, as data, and how long they learn.

Every arm learns in the same loop (`plasticity.foam.trial.learning`). What may move, what is old in
a batch, what is born and what holds a weight back is all that an arm can differ in.
"""

import math
from dataclasses import dataclass

from plasticity.foam.configuration import check_range

TRAINED = ("all", "ffn", "newborns", "lora", "nothing")
GROWTH = ("", "gradual", "at_once")
PENALTIES = ("", "ewc", "kl")
REPLAYED = ("half", "everything", "self")
OPTIMIZERS = ("adamw", "adamw_8bit")
GROWN_BY = 0.4  # share of the steps after which nothing is born any more
FIRST_EVENT = 10  # steps that the running means of gradients need


@dataclass(frozen=True)
class Arm:
    """What one arm of the trial does; all that is left out, it does as full fine-tuning.

    Parameters
    ----------
    train : {"all", "ffn", "newborns", "lora", "nothing"}
        What moves: all weights, the feed-forward blocks, neurons that are born, or an adapter.
    replay : float
        Share of the tokens that is old, in [0, 1).
    replay_from : {"half", "everything", "self"}
        What is replayed, or tells the springs of EWC what matters: texts on one half of the
        entities, all old texts, or what the base itself generates, which needs no old data.
    growth : {"", "gradual", "at_once"}
        Neurons are born in several events, or in one at the start (static widening).
    init, orthogonalize : str
        As in `GrowthConfig`.
    random_placement : bool
        Newborns start from neurons drawn at random, not from those of high pressure.
    replacement : bool
        The reference's V3: dormant neurons make room.
    freeze_mature : bool
        Newborns rest once they have learnt for as many steps as one task has.
    penalty : {"", "ewc", "kl"}
        What holds the model near the base.
    curriculum : bool
        Easy examples first.
    slower : float
        Divides the learning rate.

    Raises
    ------
    ValueError
        If a value is not allowed.
    """

    train: str = "all"
    replay: float = 0.0
    replay_from: str = "half"
    growth: str = ""
    init: str = "gradmax"
    orthogonalize: str = "newborns"
    random_placement: bool = False
    replacement: bool = False
    freeze_mature: bool = False
    penalty: str = ""
    curriculum: bool = False
    slower: float = 1.0

    def __post_init__(self):
        """Check every value against its range."""
        choices = {
            "train": TRAINED,
            "growth": GROWTH,
            "penalty": PENALTIES,
            "replay_from": REPLAYED,
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {getattr(self, name)!r}")
        check_range("replay", self.replay, 0, 1)
        check_range("slower", self.slower, 0, math.inf, with_low=False)
        if self.train == "newborns" and not self.growth:
            raise ValueError("train='newborns' moves nothing without growth; set growth='gradual'")

    @property
    def grows(self) -> bool:
        """Whether neurons are born."""
        return bool(self.growth)

    @property
    def needs_old_data(self) -> bool:
        """Whether it asks for texts that the base has read, beyond what the base writes itself."""
        return self.replay_from != "self" and (self.replay > 0 or self.penalty == "ewc")


FROZEN = {"train": "newborns", "growth": "gradual"}
ARMS: dict[str, Arm] = {
    "base": Arm(train="nothing"),
    "full_fine_tuning": Arm(),
    "replay_1": Arm(replay=0.01),
    "replay_5": Arm(replay=0.05),
    "replay_20": Arm(replay=0.2),
    "ffn_only": Arm(train="ffn"),
    "ffn_replay": Arm(train="ffn", replay=0.2),
    "lora": Arm(train="lora"),
    "lora_replay": Arm(train="lora", replay=0.2),
    "ewc": Arm(penalty="ewc"),
    "growth": Arm(growth="gradual"),
    "growth_replay": Arm(growth="gradual", replay=0.2),
    "growth_ffn": Arm(train="ffn", growth="gradual"),
    "growth_freeze": Arm(**FROZEN),
    "reference_recipe": Arm(train="ffn", growth="gradual", replay=0.2),
    "growth_freeze_replay": Arm(**FROZEN, replay=0.2),
    "growth_freeze_self": Arm(**FROZEN, replay=0.2, replay_from="self"),
    "lora_self": Arm(train="lora", replay=0.2, replay_from="self"),
    "ewc_self": Arm(penalty="ewc", replay_from="self"),
    "growth_ewc_self": Arm(growth="gradual", penalty="ewc", replay_from="self"),
    "v3": Arm(train="ffn", growth="gradual", replay=0.2, replacement=True),
    "static_width": Arm(train="newborns", growth="at_once"),
    "random_init": Arm(**FROZEN, init="random"),
    "random_placement": Arm(**FROZEN, random_placement=True),
    "slow_fine_tuning": Arm(slower=10.0),
    "joint": Arm(replay=0.5, replay_from="everything"),
    "kl_to_base": Arm(penalty="kl"),
    "self_replay": Arm(replay=0.2, replay_from="self"),
    "curriculum": Arm(curriculum=True),
}
"""A0 to A17 of the specification, the cells of growth x replay x freezing, and the curriculum.

Four more have no old data either: growth-freeze and LoRA that rehearse what the base writes itself,
and all weights, with growth or without, held by springs that are set on such texts.
"""

SEQUENCE: dict[str, Arm] = {
    "full_fine_tuning": ARMS["full_fine_tuning"],
    "replay_20": ARMS["replay_20"],
    "ffn_only": ARMS["ffn_only"],
    "lora": ARMS["lora"],
    "grow_only": ARMS["growth_ffn"],
    "grow_only_replay": ARMS["reference_recipe"],
    "v3": Arm(train="ffn", growth="gradual", replacement=True),
    "v3_replay": ARMS["v3"],
    "growth_freeze": Arm(**FROZEN, freeze_mature=True),
}
"""Arms that learn one skill after another."""


@dataclass(frozen=True)
class Schedule:
    """How long every arm learns, in what steps, and how much may be born.

    Parameters
    ----------
    steps : int
        Steps of the optimizer.
    tokens_per_step : int
        New and old tokens together, on average.
    learning_rate : float
        At its highest; it rises over `warmup_share` of the steps and falls to 0 in a straight line.
    warmup_share : float
    evaluations : int
        How often the model is watched on the way, at equal distances.
    events : int
        Growth events.
    newborns : int
        Neurons born in each layer in an event.
    growth_rows : int
        New examples that an event looks at.
    penalty_strength : float
        Weight of the arm's penalty.
    optimizer : {"adamw", "adamw_8bit"}
        The second keeps its moments in 8 bits (bitsandbytes), as the reference does.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    steps: int = 300
    tokens_per_step: int = 1024
    learning_rate: float = 1e-3
    warmup_share: float = 0.05
    evaluations: int = 10
    events: int = 3
    newborns: int = 16
    growth_rows: int = 64
    penalty_strength: float = 1.0
    optimizer: str = "adamw"

    def __post_init__(self):
        """Check every value against its range."""
        counts = ("steps", "tokens_per_step", "evaluations", "events", "newborns", "growth_rows")
        for name in counts:
            check_range(name, getattr(self, name), 1, math.inf)
        for name in ("learning_rate", "penalty_strength"):
            check_range(name, getattr(self, name), 0, math.inf, with_low=False)
        check_range("warmup_share", self.warmup_share, 0, 1)
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {OPTIMIZERS}, got {self.optimizer!r}")

    def share(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0, relative to the highest."""
        warmup = max(1, round(self.warmup_share * self.steps))
        return min((step + 1) / warmup, (self.steps - step) / max(1, self.steps - warmup))

    @property
    def event_steps(self) -> list[int]:
        """After which steps neurons are born: from the first on which pressure is known."""
        last = max(FIRST_EVENT, int(GROWN_BY * self.steps))
        between = (last - FIRST_EVENT) / max(1, self.events - 1)
        return [FIRST_EVENT + round(n * between) for n in range(self.events)]
