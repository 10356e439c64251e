"""What may grow, when, where and how: one dataclass, checked as it is made."""

import dataclasses
import json
import numbers
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

CONFIG_FILE = "growth_config.json"
AGAIN = "write the folder again with save_pretrained"
CHOICES = {
    "init": ("gradmax", "copy_noise", "split", "pair", "random"),
    "zero": ("down", "up", "gate"),
    "orthogonalize": ("newborns", "nearest", "none"),
    "percentile_scope": ("global", "layer"),
    "trigger": ("pressure_ratio", "plateau", "always"),
    "train_base": ("ffn", "all", "none"),
    "dormancy": ("wanda", "redo", "cbp"),
}
AT_LEAST = {
    "reserve_events": 0,
    "nearest_rows": 1,
    "pressure_window": 2,
    "plateau_window": 2,
    "max_growth_per_step": 1,
    "growth_cooldown": 0,
    "warmup_steps": 0,
    "maturation_age": 0,
    "pad_multiple": 1,
    "growth_tokens": 1,
    "seed": 0,
}
# name: (lowest, highest, lowest is allowed, highest is allowed)
RANGES = {
    "init_scale": (0.0, float("inf"), False, False),
    "noise": (0.0, float("inf"), True, False),
    "gradient_percentile": (0.0, 100.0, True, False),
    "pressure_ratio": (0.0, float("inf"), False, False),
    "plateau_threshold": (0.0, float("inf"), False, False),
    "ema_beta": (0.0, 1.0, True, False),
    "young_lr_multiplier": (0.0, float("inf"), False, False),
    "dormancy_tau": (0.0, float("inf"), True, False),
    "protect_quantile": (0.0, 1.0, True, True),
    "max_prune_jump": (0.0, float("inf"), True, False),
}
SWITCHES = ("freeze_mature", "enable_replacement", "protect_base")


def check_range(name: str, value, low, high, with_low=True, with_high=False) -> None:
    """Raise ValueError, naming the value and the range allowed, if a number is outside it.

    Examples
    --------
    >>> check_range("replay_ratio", 1.0, 0, 1)
    Traceback (most recent call last):
    ValueError: replay_ratio must be in [0, 1), got 1.0
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    above = number and (value >= low if with_low else value > low)
    below = number and (value <= high if with_high else value < high)
    if not (above and below):
        span = f"{'[' if with_low else '('}{low:g}, {high:g}{']' if with_high else ')'}"
        raise ValueError(f"{name} must be in {span}, got {value!r}")


@dataclass
class GrowthConfig:
    """How a model grows; `get_growable_model(model, config)` reads it.

    A neuron is always a whole: its gate row, its up row and its down column (without a gate: its
    row, its bias and its column).

    Parameters
    ----------
    target_modules : list of str or str, optional
        Endings of the names of the feed-forward blocks that may grow, or one regular expression
        for whole names; None means every block that is recognised.
    layers_to_transform : list of int, optional
        Which of those blocks, counted from 0; None means all.
    reserve_events : int
        Room for so many events is made at the start, as zeros that are inert: no shape changes
        later (torch.compile, DDP). 0: memory is taken when neurons are born.
    init : {"gradmax", "copy_noise", "split", "pair", "random"}
        How newborns start; see `plasticity.foam.initializers`.
    zero : {"down", "up", "gate"}
        The one part of a newborn that starts at zero, so that the function is unchanged.
    init_scale : float
        Norm of a newborn's row beside the mean norm of the rows that exist, above 0.
    noise : float
        Noise of copied rows, relative to their size, at least 0.
    orthogonalize : {"none", "newborns", "nearest"}
        What a newborn's row is made orthogonal to: nothing, the other newborns of the event, or
        those and the `nearest_rows` most similar rows. Never all rows: they span the space. With
        gradmax it costs the later newborns their best direction; without a gate, where all would
        be the same, they are kept apart in any case.
    nearest_rows : int
        At least 1; used by ``orthogonalize="nearest"``.
    gradient_percentile : float
        In [0, 100): neurons whose pressure is above this percentile are candidates.
    percentile_scope : {"global", "layer"}
        Rank pressure relative to the weights over all layers, or gradients inside each layer, as
        the reference writes it.
    trigger : {"pressure_ratio", "plateau", "always"}
        What makes a layer grow: its pressure beside its own past, a loss that stands still, or
        nothing but the cooldown.
    pressure_ratio : float
        Above 0: how far pressure must exceed the median of its past.
    pressure_window : int
        How many optimizer steps that past has, at least 2.
    plateau_window : int
        Losses compared, in two halves, at least 2.
    plateau_threshold : float
        Relative change of the loss below which it stands still, above 0.
    ema_beta : float
        In [0, 1): decay of the running mean of gradient norms, per optimizer step.
    max_growth_per_step : int
        Most neurons that one layer gains in one event, at least 1.
    max_growth_ratio : float, optional
        Most parameters of newborns, relative to the feed-forward blocks; None: no limit.
    max_growth_per_layer : int, optional
        Most neurons that one layer gains in all, at least 1; None: no limit.
    growth_cooldown : int
        Optimizer steps between events, at least 0.
    warmup_steps : int
        No event before so many optimizer steps.
    young_lr_multiplier : float
        Learning rate of neurons younger than `maturation_age`, relative to the others'.
    maturation_age : int
        In optimizer steps that the neuron itself has taken.
    train_base : {"ffn", "all", "none"}
        What of the base stays trainable: the feed-forward blocks, all that was, or nothing.
    freeze_mature : bool
        Stop training neurons once they are mature.
    enable_replacement : bool
        Retire dormant neurons for newborns, so that the width stays (the reference's V3).
    dormancy : {"wanda", "redo", "cbp"}
        The utility that says which neurons are dormant.
    dormancy_tau : float
        Dormant: utility below this fraction of the layer's median (``redo``: mean).
    protect_base : bool
        Retire newborns only, never neurons of the base.
    protect_quantile : float
        In [0, 1]: neurons whose utility on a replay batch is above this quantile stay. Without a
        `replay_batch`, nothing is known of old data.
    max_prune_jump : float
        An event whose retirements raise the loss by more than this is undone. The loss is that on
        the `growth_batch` given to `check_and_grow`; without one it is not looked at.
    pad_multiple : int
        Round a cohort's width up to a multiple; what is added is inert.
    growth_tokens : int
        How many of the last tokens initialisers look at when no batch is given.
    seed : int
        Seed of everything random in growth; the global generator is never used.

    Raises
    ------
    ValueError
        If a value is outside its range, or two settings exclude each other.

    Examples
    --------
    >>> config = GrowthConfig(init="random", max_growth_per_step=4)
    >>> GrowthConfig.from_dict(config.to_dict()) == config
    True
    """

    target_modules: list[str] | str | None = None
    layers_to_transform: list[int] | None = None
    reserve_events: int = 0
    init: str = "gradmax"
    zero: str = "down"
    init_scale: float = 0.5
    noise: float = 0.01
    orthogonalize: str = "none"
    nearest_rows: int = 8
    gradient_percentile: float = 90.0
    percentile_scope: str = "global"
    trigger: str = "pressure_ratio"
    pressure_ratio: float = 1.25
    pressure_window: int = 200
    plateau_window: int = 100
    plateau_threshold: float = 0.01
    ema_beta: float = 0.9
    max_growth_per_step: int = 10
    max_growth_ratio: float | None = 0.1
    max_growth_per_layer: int | None = None
    growth_cooldown: int = 200
    warmup_steps: int = 100
    young_lr_multiplier: float = 2.0
    maturation_age: int = 500
    train_base: str = "ffn"
    freeze_mature: bool = False
    enable_replacement: bool = False
    dormancy: str = "wanda"
    dormancy_tau: float = 0.1
    protect_base: bool = False
    protect_quantile: float = 0.5
    max_prune_jump: float = 0.01
    pad_multiple: int = 1
    growth_tokens: int = 4096
    seed: int = 0

    def __post_init__(self):
        """Check every value against its range."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if hasattr(value, "item") and getattr(value, "shape", None) == ():  # of numpy
                setattr(self, field.name, value.item())
        self._check_layers()
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {getattr(self, name)!r}")
        for name, least in AT_LEAST.items():
            self._check_whole(name, least)
        for name in SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, got {getattr(self, name)!r}")
        if self.max_growth_per_layer is not None:
            self._check_whole("max_growth_per_layer", 1)
        for name, (low, high, with_low, with_high) in RANGES.items():
            check_range(name, getattr(self, name), low, high, with_low, with_high)
        if self.max_growth_ratio is not None:
            check_range("max_growth_ratio", self.max_growth_ratio, 0, float("inf"), False)
        self._check_combinations()

    def _check_whole(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} must be a whole number, at least {least}, got {value!r}")

    def _check_layers(self) -> None:
        wanted = self.layers_to_transform
        if wanted is None:
            return
        if not isinstance(wanted, Collection) or not all(
            isinstance(each, numbers.Integral) for each in wanted
        ):
            raise ValueError(
                f"layers_to_transform must be a list of whole numbers, or None for all, got "
                f"{wanted!r}"
            )
        self.layers_to_transform = [int(each) for each in wanted]

    def _check_combinations(self) -> None:
        if self.reserve_events and self.freeze_mature:
            raise ValueError(
                "freeze_mature needs parameters that may leave the optimizer, which reserved ones "
                f"may not; got reserve_events={self.reserve_events}: set it to 0, or leave "
                "freeze_mature off"
            )
        if self.enable_replacement and self.train_base == "none" and not self.protect_base:
            raise ValueError(
                "enable_replacement retires neurons of the base, which train_base='none' promises "
                "to keep; set protect_base=True, train_base='ffn', or enable_replacement=False"
            )
        if self.init == "split" and self.train_base == "none":
            raise ValueError(
                "init='split' halves columns of the base, which train_base='none' promises to "
                "keep; set train_base='ffn', or init='gradmax'"
            )

    @property
    def adult_age(self) -> int:
        """The age from which neurons count as mature: newborns never do before their first step."""
        return max(1, self.maturation_age)

    def to_dict(self) -> dict:
        """Return the settings as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, settings: dict) -> "GrowthConfig":
        """Make a configuration from JSON values; names it does not know are warned of."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(settings) - known)
        if unknown:
            warnings.warn(f"GrowthConfig does not know {unknown}: ignored", stacklevel=2)
        return cls(**{name: value for name, value in settings.items() if name in known})

    def save_pretrained(self, folder) -> None:
        """Write `growth_config.json` into a folder."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        text = json.dumps({"growth": self.to_dict()}, indent=2) + "\n"
        (Path(folder) / CONFIG_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder) -> "GrowthConfig":
        """Read the configuration that `save_pretrained` of a config or of a model wrote."""
        path = Path(folder) / CONFIG_FILE
        if not path.exists():
            raise FileNotFoundError(
                f"{path} does not exist; give a folder that save_pretrained of a growable model "
                "or of a GrowthConfig wrote"
            )
        settings = read_record(folder).get("growth")
        if not isinstance(settings, dict):
            raise ValueError(f"{path} has no settings under 'growth', got {settings!r}; {AGAIN}")
        return cls.from_dict(settings)


def read_record(folder) -> dict:
    """Return what `growth_config.json` in a folder says; ValueError if it cannot be read."""
    path = Path(folder) / CONFIG_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); {AGAIN}") from error
    if not isinstance(record, dict):
        raise ValueError(f"{path} must hold an object, got a {type(record).__name__}; {AGAIN}")
    return record


def reference_config(**changes) -> GrowthConfig:
    """Return the settings of the reference's README, where they differ from `GrowthConfig()`.

    Its percentile ranks inside one layer and nothing else decides; newborns are made orthogonal to
    each other; no warm-up, no limit.

    Examples
    --------
    >>> reference_config(growth_cooldown=50).trigger
    'always'
    """
    rule = {
        "trigger": "always",
        "percentile_scope": "layer",
        "orthogonalize": "newborns",
        "warmup_steps": 0,
        "max_growth_ratio": None,
    }
    return GrowthConfig(**rule | changes)
