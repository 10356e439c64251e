"""Where a result comes from: its code, data, packages and machine."""

import ast
import hashlib
import importlib.metadata
import os
import platform
import re
import shlex
import sys
import types
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import psutil

import plasticity
from plasticity.companion import datasets, models
from plasticity.companion.configuration import ExperimentConfig, experiment_module

MOST_NAMED = 12  # variants that are listed; of more, the number is told
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@cache
def _code(path: Path) -> tuple[str, tuple[str, ...]]:
    """Return a file's code without comments and docstrings, and the names that it imports.

    The code is written back from the syntax tree, which differs less between versions of Python
    than a dump of the tree does. A process reads each file once, as it loads each module once: a
    result is never filed under code that was edited after it was imported.
    """
    tree = ast.parse(path.read_bytes(), filename=str(path))
    imported = []
    for node in ast.walk(tree):
        if isinstance(node, Documented) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        if isinstance(node, ast.ImportFrom) and node.module:
            imported += [f"{node.module}.{name.name}" for name in node.names]
        elif isinstance(node, ast.Import):
            imported += [name.name for name in node.names]
    return ast.unparse(tree), tuple(imported)


@cache
def _deciding(name: str) -> list[Path]:
    """Return the files that an import brings in, of those that may decide a result.

    A name that a package gives away itself may come from any of its modules: then all of them, but
    none of its subpackages, whose names are imported from them.
    """
    _, part, *rest = [*name.split("."), "", ""]
    if part == "experiments":
        return [Path(experiment_module(rest[0]).__file__)] if rest[0] else []
    if not re.match(r"plasticity\.(foam|pnn|substrate|peers)\b", name):
        return []
    folder = Path(plasticity.__file__).parent / part
    for step in filter(None, rest):
        if (folder / f"{step}.py").exists():
            return [folder / f"{step}.py"]
        if not (folder / step).is_dir():
            break
        folder /= step
    return sorted(folder.glob("*.py"))


@cache
def code_hash(experiment: str) -> str:
    """Return the hash of the code that decides an experiment's results.

    That is the experiment's own module with the experiments and the modules of its system that it
    imports, and what those import in turn, without comments and docstrings. Files called
    ``__init__`` only name what a package offers and are left out.

    Parameters
    ----------
    experiment : str
        Name of the experiment.

    Returns
    -------
    str
        sha256 in hexadecimal.

    Raises
    ------
    ValueError
        If there is no such experiment.
    """
    waiting, seen = [Path(experiment_module(experiment).__file__)], set()
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += [found for name in _code(path)[1] for found in _deciding(name)]
    digest = hashlib.sha256()
    for path in sorted(seen, key=lambda path: (path.parent.name, path.name)):
        if path.stem != "__init__":
            digest.update(f"{path.parent.name}/{path.stem}\n{_code(path)[0]}\n".encode())
    return digest.hexdigest()


def _read(experiment: str, config: ExperimentConfig) -> list[tuple[types.ModuleType, str]]:
    """Return the names of what a config reads, each with the registry that knows it.

    Few experiments read a model's weights: those have a function `models` beside `datasets`.
    """
    module = experiment_module(experiment)
    weights = getattr(module, "models", lambda config: ())
    return [
        *((datasets, name) for name in module.datasets(config)),
        *((models, name) for name in weights(config)),
    ]


def data_fingerprint(experiment: str, config: ExperimentConfig) -> str:
    """Return the hash of the content of every dataset and model that a config reads.

    Raises
    ------
    datasets.DatasetUnavailable
        If one of them is nowhere to be found.
    datasets.DatasetAltered
        If one of them is not what the manifest says.
    """
    found = _read(experiment, config)
    return ",".join(f"{name}={registry.fingerprint(name)}" for registry, name in found)


def result_key(experiment: str, config: ExperimentConfig) -> str:
    """Return the name of a config's results: 16 hex digits over config, code and data."""
    parts = (config.hash, code_hash(experiment), data_fingerprint(experiment, config))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def data_records(experiment: str, config: ExperimentConfig) -> list[dict[str, Any]]:
    """Return name, source, note and sha256 of every dataset and model that a config reads."""
    kept = ("name", "source", "note", "sha256")
    found = [registry.provenance(name) for registry, name in _read(experiment, config)]
    return [{key: record.get(key) for key in kept} for record in found]


@cache
def packages() -> dict[str, str]:
    """Return the versions of Python, of this package and of what it depends on directly."""
    versions = {"python": platform.python_version(), "plasticity": plasticity.__version__}
    for requirement in importlib.metadata.requires("plasticity") or []:
        name = re.match(r"[\w.-]+", requirement)[0]
        if "extra ==" not in requirement:
            versions[name] = importlib.metadata.version(name)
    return versions


def _processor() -> str:
    """Return the processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _cores() -> Collection[int]:
    """Return the numbers of the cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return affinity(0) if affinity else range(os.cpu_count() or 1)


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(_cores())


def idle_cores() -> int:
    """Return how many of the usable cores had nothing to do, in half a second."""
    busy = psutil.cpu_percent(interval=0.5, percpu=True)
    return round(sum(1 - busy[core] / 100 for core in _cores()))


def hardware(device: str) -> dict[str, Any]:
    """Return the machine a result was measured on.

    Parameters
    ----------
    device : str
        The device asked for: auto, cpu or cuda.

    Returns
    -------
    dict
        ``cpu`` (its model), ``cores`` (usable ones), ``memory`` (bytes) and ``device`` (the
        accelerator's name, or cpu).
    """
    torch = sys.modules.get("torch")  # an experiment that did not load torch ran on the processor
    accelerated = device != "cpu" and torch is not None and torch.cuda.is_available()
    return {
        "cpu": _processor(),
        "cores": usable_cores(),
        "memory": psutil.virtual_memory().total,
        "device": torch.cuda.get_device_name() if accelerated else "cpu",
    }


def command(experiment: str, profile: str, config: ExperimentConfig, seed: int) -> str:
    """Return a shell command that makes this one result again, from any folder."""
    lines = (
        "from plasticity.companion import configuration, results",
        f"experiment = configuration.experiment_module({experiment!r})",
        f"config = experiment.Config.from_dict({config.to_dict()!r})",
        f"results.run({experiment!r}, [config], [{seed}], profile={profile!r}, fresh=True)",
    )
    return f"python -c {shlex.quote('; '.join(lines))}"


def _listed(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(value for value in values if value))


def _profile_line(records: list[dict[str, Any]]) -> str:
    seeds = {variant: 0 for variant in (record["variant"] for record in records)}
    for record in records:
        seeds[record["variant"]] += 1
    counts = sorted(set(seeds.values()))
    numbers = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    profiles = _listed(record["profile"] for record in records)
    named = ", ".join(seeds) if len(seeds) <= MOST_NAMED else str(len(seeds))
    line = f"**Profile** {profiles}, seeds per variant: {numbers}, variants: {named}."
    if any(record["profile"] == "smoke" for record in records):
        line += " A smoke run shows that the code works; its numbers are not results."
    if any(record["profile"] == "custom" for record in records):
        line += " Custom: some settings are not a profile's, so these numbers decide no claim."
    return line


def data_line(records: list[dict[str, Any]]) -> str:
    """Say in Markdown which data results were measured on, with what is to be known of them."""
    used = [data for record in records for data in record["datasets"]]
    by_source: dict[str, list[str]] = {}
    for data in used:
        by_source.setdefault(data["source"], []).append(data["name"])
    named = "; ".join(f"{_listed(names)} (from: {source})" for source, names in by_source.items())
    # Corpora share parts, and with them sentences.
    sentences = (s for data in used for s in re.split(r"(?<=\.)\s+", data["note"] or "") if s)
    notes = " ".join(dict.fromkeys(sentences))
    return f"**Data** {named or 'none'}.{f' Note: {notes}' if notes else ''}"


def _machine_line(records: list[dict[str, Any]]) -> str:
    seconds = sum(record["wall_seconds"] for record in records)
    time = f"{seconds / 60:.1f} minutes" if seconds >= 90 else f"{seconds:.1f} seconds"
    resumed = sum(record["resumed"] for record in records)
    days = sorted({record["started"][:10] for record in records})
    machines = _listed(
        f"{hardware['cores']} cores of {hardware['cpu']}, {hardware['memory'] / 2**30:.0f} GiB"
        + ("" if hardware["device"] == "cpu" else f", {hardware['device']}")
        for hardware in (record["hardware"] for record in records)
    )
    return (
        f"**Measured** {' to '.join(dict.fromkeys((days[0], days[-1])))} on {machines}; "
        f"{time} over {len(records)} runs"
        + (f", {resumed} of them resumed and counted from there." if resumed else ".")
    )


def describe(records: list[dict[str, Any]]) -> str:
    """Say in Markdown where results come from.

    Parameters
    ----------
    records : list of dict
        Records of results, with ``measured_with``.

    Returns
    -------
    str
        Four lines: profile, data, machine and time, code.
    """
    if not records:
        return "No results are stored."
    code = _listed(
        record["measured_with"]
        or f"{record['code_hash'][:12]}, plasticity "
        f"{record['packages']['plasticity']}, Python {record['packages']['python']}"
        for record in records
    )
    lines = (_profile_line(records), data_line(records), _machine_line(records))
    return "\n".join(f"- {line}" for line in (*lines, f"**Code** {code}."))
