"""Measuring what the results store lacks: one unit at a time, or several processes at once."""

import contextlib
import datetime
import multiprocessing
import os
import shutil
import sys
import threading
import time
import traceback
import types
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tqdm import tqdm  # not tqdm.auto: a widget in an executed notebook loads its code from outside

from plasticity.companion import paths, provenance, results_files
from plasticity.companion.configuration import ExperimentConfig, Runtime, experiment_module

START_SECONDS = 10.0  # what starting two processes takes with their imports, about


@dataclass(frozen=True)
class Unit:
    """One config with one seed, and the profile that it is stored under."""

    experiment: str
    profile: str
    config: ExperimentConfig
    seed: int

    @property
    def path(self) -> Path:
        """The record of this result, measured with the code and data at hand."""
        folder = paths.results() / self.profile / self.experiment / self.config.variant
        key = provenance.result_key(self.experiment, self.config)
        return folder / f"{key}-seed{self.seed}.json"


def checkpoint_folder(experiment: str, config: ExperimentConfig, seed: int) -> Path:
    """Return the folder that an experiment writes into while it runs, and leaves behind.

    Parameters
    ----------
    experiment : str
        Name of the experiment.
    config : ExperimentConfig
        One of its configs.
    seed : int
        The seed.

    Returns
    -------
    Path
        The folder for the present code and data; it exists once the run has started.
    """
    key = provenance.result_key(experiment, config)
    return paths.checkpoints() / experiment / config.variant / f"{key}-seed{seed}"


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Give each process one thread: more are slower on small models, and may change last digits."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else None
    os.environ.update(dict.fromkeys(names, "1"))
    if torch:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        if torch:
            torch.set_num_threads(threads)


def measure(units: list[Unit], fresh: bool, runtime: Runtime) -> None:
    """Measure units, several at once where there are several, and store each as it is done.

    Parameters
    ----------
    units : list of Unit
        Units of one experiment.
    fresh : bool
        Start over, and replace what is stored.
    runtime : Runtime
        Device and number of processes.

    Raises
    ------
    Exception
        The first error of any unit, once all the others are done.
    """
    on_gpu = runtime.device == "cuda" or (
        runtime.device == "auto" and Path("/dev/nvidia0").exists()
    )
    workers = runtime.workers or (1 if on_gpu else provenance.usable_cores())
    attempts = _attempts if runtime.workers else _attempts_until_long
    errors = []
    with _one_thread(), tqdm(total=len(units), desc=units[0].experiment, unit="run") as bar:
        for unit, error in attempts(units, fresh, runtime, workers):
            bar.set_postfix(variant=unit.config.variant, seed=unit.seed)
            bar.update()
            errors += [error] if error else []
    if errors:
        raise errors[0]


def _attempts_until_long(
    units: list[Unit], fresh: bool, runtime: Runtime, workers: int
) -> Iterator[tuple[Unit, Exception | None]]:
    """Yield each unit when it is done; other processes start once one is worth their start.

    And only for cores that nobody uses: a chapter that is made beside another has one to itself.
    """
    for count, unit in enumerate(units, 1):
        started = time.perf_counter()
        yield from _attempts([unit], fresh, runtime, 1)
        if time.perf_counter() - started > START_SECONDS and units[count:]:
            free = min(workers, provenance.idle_cores())
            if free > 1:
                yield from _attempts(units[count:], fresh, runtime, free)
                return


def _attempts(
    units: list[Unit], fresh: bool, runtime: Runtime, workers: int
) -> Iterator[tuple[Unit, Exception | None]]:
    """Yield each unit when it is done, with the error that it ended in."""
    if workers == 1:
        for unit in units:
            yield unit, _attempt(unit, unit.path, fresh, runtime)
        return
    spawn = multiprocessing.get_context("spawn")
    workers = min(workers, len(units))
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_end_with_parent) as pool:
        futures = {
            pool.submit(_attempt_elsewhere, unit, unit.path, fresh, runtime): unit for unit in units
        }
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                f"a process of {units[0].experiment} was killed, most often for want of memory. "
                "What had finished is kept: run it again, with Runtime(workers=1)"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _end_with_parent() -> None:
    """Leave no worker behind when the notebook or program that started it is killed."""

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _attempt(unit: Unit, path: Path, fresh: bool, runtime: Runtime) -> Exception | None:
    """Measure one unit, and return the error instead of raising it."""
    try:
        if path != unit.path:
            raise RuntimeError(
                f"the code or data of {unit.experiment} changed while it was running; "
                "restart the notebook or program, and run it again"
            )
        _compute(unit, fresh, runtime)
    except Exception as error:
        return error
    return None


def _attempt_elsewhere(*arguments: Any) -> Exception | None:
    """Do so in another process: an error that holds more than its message comes back as text."""
    error = _attempt(*arguments)
    if error is None:
        return None
    if isinstance(type(error).__init__, types.FunctionType):  # made from more than its message
        error = RuntimeError(f"{type(error).__name__}: {error}").with_traceback(error.__traceback__)
    error.add_note("".join(traceback.format_tb(error.__traceback__)))
    return error


@contextlib.contextmanager
def held_checkpoint(experiment: str, config: ExperimentConfig, seed: int) -> Iterator[Path]:
    """Hold the checkpoint folder of another experiment, for an analysis of what it trained.

    Parameters
    ----------
    experiment : str
        Name of the other experiment.
    config : ExperimentConfig
        One of its configs.
    seed : int
        The seed.

    Yields
    ------
    Path
        The folder, made where it was missing; nobody else writes into it meanwhile.
    """
    folder = checkpoint_folder(experiment, config, seed)
    with results_files.disk_errors(folder.parent), _locked(folder):
        folder.mkdir(exist_ok=True)
        yield folder


def train(config: ExperimentConfig, seed: int, runtime: Runtime) -> Path:
    """Train one arm of ``pnn_refinement`` without scoring it, in each of torchrun's processes.

    The chapter on accuracy finds the finished model and scores it. Where a run broke off, the same
    call goes on from its last checkpoint.

    Parameters
    ----------
    config : ExperimentConfig
        A config of ``pnn_refinement``.
    seed : int
        Of the model, of batches and masks.
    runtime : Runtime
        Device and number of processes.

    Returns
    -------
    Path
        The folder of the trained model; the first of several processes alone writes into it.
    """
    arm = experiment_module("pnn_refinement")
    folder = checkpoint_folder("pnn_refinement", config, seed)
    first = os.environ.get("RANK", "0") == "0"
    held = held_checkpoint("pnn_refinement", config, seed) if first else contextlib.nullcontext()
    with held:
        corpus = arm.prepare_corpus(config)
        arm.train_arm(config, corpus, seed, folder, runtime, config.curve_sequences)
    return folder


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a checkpoint folder, waiting for whoever has it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f"{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tqdm.write(f"waiting for another process that runs {folder.name}", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _compute(unit: Unit, fresh: bool, runtime: Runtime) -> None:
    """Measure one unit and store it, unless another process just did."""
    experiment, config = experiment_module(unit.experiment), unit.config
    path, folder = unit.path, checkpoint_folder(unit.experiment, config, unit.seed)
    with results_files.disk_errors(folder.parent), _locked(folder):
        if path.exists() and not fresh:
            return
        work = folder.with_name(f"{folder.name}-fresh") if fresh else folder
        if fresh:
            shutil.rmtree(work, ignore_errors=True)
        resumed = work.exists() and any(work.iterdir())
        work.mkdir(exist_ok=True)
        record = _record(unit, runtime, resumed)
        started = time.perf_counter()
        try:
            rows = experiment.run(config, unit.seed, work, runtime)
            identity = {"experiment": unit.experiment, "variant": config.variant}
            rows = results_files.checked_rows(
                rows, **identity, profile=unit.profile, seed=unit.seed
            )
        except Exception as error:
            with contextlib.suppress(OSError):
                results_files.write_failure(path, record, f"{type(error).__name__}: {error}")
            raise
        record["wall_seconds"] = round(time.perf_counter() - started, 3)
        record["hardware"] = provenance.hardware(runtime.device)
        results_files.write_result(path, rows, record)
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
            work.rename(folder)


def _record(unit: Unit, runtime: Runtime, resumed: bool) -> dict[str, Any]:
    """Return what is known of a result before it is measured."""
    return {
        "experiment": unit.experiment,
        "variant": unit.config.variant,
        "profile": unit.profile,
        "seed": unit.seed,
        "config": unit.config.to_dict(),
        "config_hash": unit.config.hash,
        "code_hash": provenance.code_hash(unit.experiment),
        "datasets": provenance.data_records(unit.experiment, unit.config),
        "packages": provenance.packages(),
        "hardware": provenance.hardware(runtime.device),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "wall_seconds": None,
        "resumed": resumed,
        "command": provenance.command(unit.experiment, unit.profile, unit.config, unit.seed),
    }
