"""Configurations of experiments: frozen, checked, hashable, unchanged by a trip through JSON."""

import dataclasses
import hashlib
import importlib
import json
import math
import pkgutil
import re
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Self

VARIANT_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise unless a number lies in a closed interval.

    Parameters
    ----------
    name : str
        What the number is called, for the message.
    value : float
        The number.
    low, high : float
        The bounds, both allowed; ``math.inf`` for none.

    Raises
    ------
    ValueError
        If the number is outside (or not a number).

    Examples
    --------
    >>> check_range("num_steps", 4, 1, 64)
    """
    if not low <= value <= high:
        raise ValueError(f"{name} is {value!r}; allowed: {low} to {high}")


def check_choice(name: str, value: Any, allowed: typing.Iterable[Any]) -> None:
    """Raise unless a value is one of those allowed.

    Raises
    ------
    ValueError
        If it is not; the message lists the allowed ones.

    Examples
    --------
    >>> check_choice("size", "small", ("small", "reference"))
    """
    allowed = list(allowed)
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; allowed: {', '.join(map(repr, allowed))}")


def _type_name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind)


def _checked(name: str, value: Any, kind: Any) -> Any:
    """Return a value in the canonical form of its type (floats for ints, tuples for lists)."""
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        if value is None and types.NoneType in arguments:
            return None
        kind = next(argument for argument in arguments if argument is not types.NoneType)
        return _checked(name, value, kind)
    if typing.get_origin(kind) is tuple and isinstance(value, list | tuple):
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) == len(value):
            pairs = zip(value, kinds, strict=True)
            return tuple(_checked(f"{name}[{i}]", v, k) for i, (v, k) in enumerate(pairs))
    elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value!r}; allowed: finite numbers")
        return float(value)
    elif kind in (int, bool, str) and type(value) is kind:
        return value
    hint = ""
    if kind is float and isinstance(value, str):
        hint = "; in YAML write 1.0e-4, not 1e-4"
    raise TypeError(
        f"{name} is {value!r} ({type(value).__name__}); allowed: {_type_name(kind)}{hint}"
    )


def setting(default: Any, help_text: str) -> Any:
    """Return a field of a config, with its default and its help text.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class Config(ExperimentConfig):
    ...     hidden_size: int = setting(64, "width of the state")
    >>> Config().hidden_size
    64
    """
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True)
class ExperimentConfig:
    """Everything that decides the result of one arm of an experiment, except the seed.

    A subclass adds its fields, each with a default and a ``help`` text in its metadata. Fields are
    of type int, float, bool, str, a tuple of these, or one of these or None. A subclass that checks
    ranges does it in ``__post_init__`` and calls ``super().__post_init__()`` first.

    Raises
    ------
    TypeError
        If a field has a value of another type.
    ValueError
        If a value is out of its range.

    Examples
    --------
    >>> config = ExperimentConfig(variant="bert")
    >>> ExperimentConfig.from_dict(config.to_dict()) == config
    True
    """

    variant: str = field(
        default="default", metadata={"help": "name of this arm in tables and figures"}
    )

    def __post_init__(self) -> None:
        """Check the type of every field, and bring it into one canonical form."""
        kinds = typing.get_type_hints(type(self))
        for item in dataclasses.fields(self):
            value = _checked(item.name, getattr(self, item.name), kinds[item.name])
            object.__setattr__(self, item.name, value)
        if not VARIANT_PATTERN.fullmatch(self.variant):
            raise ValueError(
                f"variant is {self.variant!r}; allowed: letters, digits and _ . + -, "
                "starting with a letter or digit (it names a folder)"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON types (lists for tuples)."""
        return json.loads(json.dumps(dataclasses.asdict(self), allow_nan=False))

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> Self:
        """Build a config from JSON types.

        Parameters
        ----------
        settings : dict
            Values by field name; fields left out keep their defaults.

        Raises
        ------
        ValueError
            If a key names no field.
        TypeError
            If a value has the wrong type.
        """
        allowed = [item.name for item in dataclasses.fields(cls)]
        for key in settings:
            if key not in allowed:
                raise ValueError(
                    f"{key!r} is no setting of {cls.__module__}.{cls.__name__}; "
                    f"allowed: {', '.join(allowed)}"
                )
        return cls(**settings)

    @property
    def hash(self) -> str:
        """The sha256 of the config as JSON with sorted keys, in hexadecimal."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Runtime:
    """How fast a run goes, never what it finds; not part of any hash."""

    device: str = field(default="auto", metadata={"help": "auto, cpu or cuda"})
    workers: int = field(
        default=0,
        metadata={"help": "processes at once; 0 = one per idle core once a run is worth it"},
    )

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_choice("device", self.device, ("auto", "cpu", "cuda"))
        check_range("workers", _checked("workers", self.workers, int), 0, 1024)


def experiment_names() -> list[str]:
    """Return the names of all experiments: the modules of ``plasticity.experiments``."""
    package = importlib.import_module("plasticity.experiments")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def experiment_module(name: str) -> types.ModuleType:
    """Import an experiment by name.

    Parameters
    ----------
    name : str
        A module of ``plasticity.experiments``, such as ``"pnn_refinement"``.

    Raises
    ------
    ValueError
        If there is none of that name; the message lists them.
    """
    check_choice("experiment", name, experiment_names())
    return importlib.import_module(f"plasticity.experiments.{name}")
