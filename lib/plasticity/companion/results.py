"""The results store: what is finished is read, what is missing is measured, resumed and kept.

A result is one config with one seed. It is filed under a key made of the config, the code and the
data, so that a change of any of them leads to a new measurement and never to a stale number.
"""

import contextlib
import os
import platform
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from plasticity.companion import paths, profiles, provenance, results_files
from plasticity.companion.configuration import (
    ExperimentConfig,
    Runtime,
    check_range,
    experiment_module,
)
from plasticity.companion.datasets import DatasetUnavailable
from plasticity.companion.results_files import ResultCorrupt, StoreFull
from plasticity.companion.results_measure import Unit, checkpoint_folder, held_checkpoint, measure

__all__ = [
    "ResultCorrupt",
    "StoreFull",
    "Study",
    "checkpoint_folder",
    "held_checkpoint",
    "load",
    "run",
]

CUSTOM = "custom"
DEFAULT_RUNTIME = Runtime()


@dataclass(frozen=True, eq=False)
class Study:
    """The results of an experiment.

    Attributes
    ----------
    rows : DataFrame
        Columns experiment, variant, profile, seed, step, split, metric, value and unit.
    provenance : list of dict
        Where each result comes from, as stored; ``measured_with`` is a sentence where the code has
        changed since, and None otherwise.
    """

    rows: pd.DataFrame
    provenance: list[dict[str, Any]]

    @property
    def profile(self) -> str:
        """The profile of the results: ``custom`` as soon as one of them is."""
        stored = [record["profile"] for record in self.provenance]
        return CUSTOM if CUSTOM in stored else stored[0]

    def about(self) -> str:
        """Return, in Markdown, which profile, data, machine and code the results come from."""
        return provenance.describe(self.provenance)


def run(
    experiment: str,
    configs: Iterable[ExperimentConfig],
    seeds: Iterable[int],
    *,
    profile: str,
    fresh: bool = False,
    runtime: Runtime = DEFAULT_RUNTIME,
    size: str = "small",
) -> Study:
    """Return the results of an experiment, measuring those that are missing.

    Parameters
    ----------
    experiment : str
        Name of the experiment.
    configs : iterable of ExperimentConfig
        One for each variant. A config that is not its profile's is stored under ``custom``.
    seeds : iterable of int
        Seeds, 0 or more.
    profile : str
        The profile that the configs come from.
    fresh : bool
        Measure everything again, and replace what is stored.
    runtime : Runtime
        Device and number of processes.
    size : {"small", "reference"}
        The size that the configs come from.

    Returns
    -------
    Study
        Rows in the order of the configs and seeds.

    Raises
    ------
    ValueError
        If a name, config or seed is not allowed, the experiment's rows are malformed, or some of
        the results are stored already but were measured on other data than is at hand.
    ResultCorrupt
        If a stored result was truncated or altered.
    StoreFull
        If the disk is full.

    Notes
    -----
    One failing unit does not stop the others; the first error is raised when all are done.
    """
    configs, seeds = list(configs), list(seeds)
    _check(experiment, configs, seeds)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            "results.run was called by one of several processes of torchrun, which would wait for "
            "each other; use `plasticity train` there, and run the chapter in one process after it"
        )
    listed = profiles.configs(experiment, profile, size)
    units = [
        Unit(experiment, profile if config in listed else CUSTOM, config, seed)
        for config in configs
        for seed in seeds
    ]
    found = {} if fresh else _found(units)
    missing = [unit for unit in units if unit not in found]
    if missing:
        _refuse_other_data(found, missing)
        measure(missing, fresh, runtime)
        found = _found(units)
    return _study(experiment, [found[unit] for unit in units])


def load(experiment: str, profile: str, size: str = "small") -> Study:
    """Return the finished results of a profile's own configs; nothing is measured.

    Parameters
    ----------
    experiment : str
        Name of the experiment.
    profile : str
        Name of the profile.
    size : {"small", "reference"}
        Which of the profile's sizes.

    Returns
    -------
    Study
        Every seed that is stored; without rows where there is none.
    """
    records = []
    for config in profiles.configs(experiment, profile, size):
        with contextlib.suppress(DatasetUnavailable):  # nothing can have been measured on it here
            stored = _stored(experiment, profile, config)
            records += [stored[seed] for seed in sorted(stored)]
    return _study(experiment, _of_one_data(records))


def _check(experiment: str, configs: list[ExperimentConfig], seeds: list[int]) -> None:
    wanted = experiment_module(experiment).Config
    for config in configs:
        if type(config) is not wanted:
            raise TypeError(
                f"configs holds a {type(config).__module__}.{type(config).__name__}; allowed: "
                f"{wanted.__module__}.{wanted.__name__}"
            )
    for seed in seeds:
        if type(seed) is not int:
            raise TypeError(f"seeds holds {seed!r} ({type(seed).__name__}); allowed: int")
        check_range("seed", seed, 0, 2**32 - 1)
    for name, values in (("variants", [c.variant for c in configs]), ("seeds", seeds)):
        if not values or len(set(values)) < len(values):
            raise ValueError(f"{name} are {values}; allowed: one or more, each once")


def _seed(path: Path) -> int:
    return int(path.stem.rpartition("-seed")[2])


def _stored(experiment: str, profile: str, config: ExperimentConfig) -> dict[int, Path]:
    """Return the finished results of a config, by seed.

    Results of the paper profile count whatever code and data they were measured with: they took
    hours. But the seeds of one study must share their data: those measured on the data at hand
    come first, then the largest set. Of each seed the present code's result comes before others,
    and a later one before an earlier one.
    """
    folder = Path(experiment, config.variant)
    if profile != "paper":
        key = provenance.result_key(experiment, config)
        files = (paths.results() / profile / folder).glob(f"{key}-seed*[0-9].json")
        return {_seed(path): path for path in files}
    code, here = provenance.code_hash(experiment), _data_here(experiment, config)
    sets: dict[str, list] = {}
    for path in {
        path
        for root in (paths.PAPER_RESULTS, paths.results() / profile)
        for path in (root / folder).glob("*-seed*[0-9].json")
    }:
        try:
            record = results_files.read_record(path)
        except ResultCorrupt as error:
            warnings.warn(f"passed over: {error}", stacklevel=2)
            continue
        if record.get("config_hash") == config.hash:
            rank = (record["code_hash"] == code, record["started"], path)
            sets.setdefault(_data_of(record["datasets"]), []).append(rank)
    if not sets:
        return {}
    chosen = max(sets, key=lambda data: (data == here, len({_seed(p) for *_, p in sets[data]})))
    return {_seed(path): path for *_, path in sorted(sets[chosen])}


def _data_of(datasets: list[dict[str, Any]]) -> str:
    return ",".join(f"{data['name']}={data['sha256']}" for data in datasets)


def _data_here(experiment: str, config: ExperimentConfig) -> str:
    """Return what identifies the data at hand; empty where a dataset cannot be reached."""
    with contextlib.suppress(DatasetUnavailable):
        return provenance.data_fingerprint(experiment, config)
    return ""


def _datasets(path: Path) -> dict[str, str]:
    """Return the sha256 of every dataset that a result was measured on, by name."""
    return {data["name"]: data["sha256"] for data in results_files.read_record(path)["datasets"]}


def _of_one_data(records: list[Path]) -> list[Path]:
    """Leave out what was measured on other data than most: arms of a study must share theirs."""
    found = {path: _datasets(path) for path in records}
    counts: dict[str, Counter] = {}
    for name, sha256 in (item for data in found.values() for item in data.items()):
        counts.setdefault(name, Counter())[sha256] += 1
    usual = {name: count.most_common(1)[0][0] for name, count in counts.items()}
    kept = [path for path, data in found.items() if all(usual[n] == data[n] for n in data)]
    if len(kept) < len(records):
        warnings.warn(
            f"{len(records) - len(kept)} of {len(records)} results were measured on other data "
            "than the rest and are passed over",
            stacklevel=3,
        )
    return kept


def _refuse_other_data(found: dict[Unit, Path], missing: list[Unit]) -> None:
    """Raise unless what is missing would be measured on the data of what is stored."""
    stored = {name: sha256 for path in found.values() for name, sha256 in _datasets(path).items()}
    for unit in missing if stored else ():
        for data in provenance.data_records(unit.experiment, unit.config):
            if stored.get(data["name"], data["sha256"]) != data["sha256"]:
                raise ValueError(
                    f"{len(found)} of the results of {unit.experiment} are stored, measured on "
                    f"other data than {data['name']!r} from {data['source']!r}, which is at hand "
                    "for the rest; name the data that they were measured on (PLASTICITY_DATA), "
                    "or run with fresh=True to measure all of them here"
                )


def _found(units: list[Unit]) -> dict[Unit, Path]:
    """Return the record of every unit that is finished."""
    stored, found = {}, {}
    for unit in units:
        if unit.config not in stored:
            stored[unit.config] = _stored(unit.experiment, unit.profile, unit.config)
        if unit.seed in stored[unit.config]:
            found[unit] = stored[unit.config][unit.seed]
    return found


def _study(experiment: str, records: list[Path]) -> Study:
    tables, origins = [results_files.empty_rows()], []
    for path in records:
        rows, record = results_files.read_result(path)
        current, there = provenance.code_hash(experiment), record["packages"]
        same_python = there["python"].split(".")[:2] == platform.python_version().split(".")[:2]
        changed = (
            f"measured with code {record['code_hash'][:12]} (plasticity {there['plasticity']}, "
            f"Python {there['python']}); the code here is {current[:12]}"
            + ("" if same_python else ", which may be the same: hashes depend on Python's version")
        )
        tables.append(rows)
        origins.append(
            {**record, "measured_with": None if record["code_hash"] == current else changed}
        )
    return Study(pd.concat(tables, ignore_index=True), origins)
