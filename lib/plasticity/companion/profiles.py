"""Profiles: one code path and three sets of numbers, in ``notebooks/profiles/*.yaml``."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from plasticity.companion import paths
from plasticity.companion.configuration import (
    ExperimentConfig,
    check_choice,
    check_range,
    experiment_module,
)
from plasticity.companion.yaml_files import read_yaml

ORDER = ("smoke", "laptop", "paper")
PARTS = {"small": "experiments", "reference": "reference"}  # size: where a profile has it
SIZES = tuple(PARTS)


def names() -> list[str]:
    """Return the names of the profiles, from the quickest to the most thorough."""
    found = [path.stem for path in paths.PROFILES.glob("*.yaml")]
    return sorted(found, key=lambda name: (ORDER.index(name) if name in ORDER else 9, name))


@lru_cache(maxsize=32)
def _parsed(path: Path, modified: int, size: int) -> dict[str, Any]:
    """Return a profile's file as a dict; the times and sizes are there to refresh the cache."""
    try:
        content = read_yaml(path)
    except yaml.YAMLError as error:
        raise ValueError(f"{path.name} is not valid YAML: {error}") from error
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} holds a {type(content).__name__}; allowed: a mapping")
    for key in content:
        check_choice(f"a key of {path.name}", key, ("seeds", "experiments", "reference"))
    check_range(f"seeds in {path.name}", content.get("seeds", 0), 1, 1000)
    return content


def _profile(name: str) -> dict[str, Any]:
    check_choice("profile", name, names())
    path = paths.PROFILES / f"{name}.yaml"
    status = path.stat()
    return _parsed(path, status.st_mtime_ns, status.st_size)


def listed(profile: str, size: str = "small") -> dict[str, Any]:
    """Return the entries of a profile by experiment: what it can run at a size.

    Raises
    ------
    ValueError
        If the profile or the size is unknown.
    """
    check_choice("size", size, SIZES)
    return _profile(profile).get(PARTS[size]) or {}


def _section(profile: str, size: str, experiment: str) -> dict[str, Any]:
    """Return one experiment's entry in a profile at a size."""
    entries = listed(profile, size)
    if experiment not in entries:
        raise ValueError(
            f"experiment is {experiment!r}; {PARTS[size]} of profile {profile!r}: "
            f"{', '.join(sorted(entries)) or 'none'}"
        )
    section = entries[experiment] or {}
    for key in section:
        check_choice(f"a key of {experiment} in {profile}.yaml", key, ("all", "variants"))
    return section


def _merged(*parts: dict[str, Any] | None) -> dict[str, Any]:
    return {key: value for part in parts if part for key, value in part.items()}


def configs(
    experiment: str, profile: str, size: str = "small", **changes: Any
) -> list[ExperimentConfig]:
    """Return an experiment's configs at a profile, one per variant, in the file's order.

    Parameters
    ----------
    experiment : str
        Name of the experiment.
    profile : str
        ``smoke``, ``laptop`` or ``paper``.
    size : {"small", "reference"}
        ``reference`` takes the sources' own sizes, where the profile has them (`paper` does).
    **changes
        Settings that override the profile's in every variant; None leaves the profile's.

    Returns
    -------
    list of ExperimentConfig
        Instances of the experiment's own ``Config``.

    Raises
    ------
    ValueError
        If a name or a setting is unknown, or a value is out of its range.
    TypeError
        If a value has the wrong type.
    """
    check_choice("size", size, SIZES)
    base = _section(profile, "small", experiment)
    over = _section(profile, "reference", experiment) if size == "reference" else {}
    base_variants, over_variants = base.get("variants") or {}, over.get("variants") or {}
    variants = list(dict.fromkeys([*base_variants, *over_variants])) or ["default"]
    given = {key: value for key, value in changes.items() if value is not None}
    config = experiment_module(experiment).Config
    return [
        config.from_dict(
            _merged(
                base.get("all"),
                base_variants.get(variant),
                over.get("all"),
                over_variants.get(variant),
                given,
                {"variant": variant},
            )
        )
        for variant in variants
    ]


def seeds(profile: str, count: int = 0) -> list[int]:
    """Return the seeds of a profile.

    Parameters
    ----------
    profile : str
        Name of the profile.
    count : int
        How many seeds, 0 to 1000; 0 takes the profile's number.

    Returns
    -------
    list of int
        0, 1, ... up to the number of seeds.

    Raises
    ------
    ValueError
        If the profile is unknown or the count out of range.

    Examples
    --------
    >>> seeds("laptop", count=2)
    [0, 1]
    """
    check_range("seeds", count, 0, 1000)
    return list(range(count or _profile(profile)["seeds"]))
