"""Kill a process at random moments while it grows, learns and keeps, and see what is left.

``python -m plasticity.substrate.kills module:Workload folder seed`` opens what is in the folder
and goes on for ever, saying what comes next. `survive` starts it, kills it with a signal that no
process can catch, opens what is left and compares it with a replay in memory.
"""

import importlib
import itertools
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from plasticity.substrate.kill_workloads import Workload
from plasticity.substrate.pages import StoreError

KEEPING = ("committing", "checkpointing")
DOING = ("opening", "growing", "learning", *KEEPING)
CHECKPOINTS = 3  # every third step is kept by a checkpoint, the others by a commit
MOST_STEPS = 12  # of one life, before the moment of its death is drawn
MOST_SECONDS = 0.01  # from what was waited for to the kill; half the time less than an eighth of it


class Life(NamedTuple):
    """One process, from its start to its death, and what it left.

    Attributes
    ----------
    doing : str
        What it had said last: one of `DOING`. A commit writes a checkpoint by itself once the log
        is long; that is ``committing``.
    reported : int
        The last step that it had finished keeping, by its own account.
    found : int
        The last step in what was opened afterwards; -1 if it could not be opened.
    faults : tuple of str
        What could not be opened, was lost, or differs from a replay of all steps; empty if nothing.

    Examples
    --------
    >>> [Life(doing, reported=7, found=8).at_commit for doing in ("growing", "committing")]
    [False, True]
    """

    doing: str
    reported: int
    found: int
    faults: tuple[str, ...] = ()

    @property
    def at_commit(self) -> bool:
        """Whether the last commit was found, or the one that was being written."""
        return self.reported <= self.found <= self.reported + (self.doing in KEEPING)

    @property
    def same_bits(self) -> bool:
        """Whether the last commit was found, and every bit of it is as in a replay."""
        return self.at_commit and not self.faults


def start(workload: type[Workload], folder: Path, seed: int) -> subprocess.Popen:
    """Start a process that goes on from what is in the folder, and says what it does."""
    name = f"{workload.__module__}:{workload.__name__}"
    return subprocess.Popen(
        [sys.executable, "-m", __spec__.name, name, str(folder), str(seed)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def survive(workload: type[Workload], folder: Path, kills: int, seed: int = 0) -> list[Life]:
    """Kill a process again and again, each going on from what the one before it left.

    Parameters
    ----------
    workload : type
        A `Workload` at the top of an importable module.
    folder : Path
        A new folder.
    kills : int
        1 or more.
    seed : int
        Draws the steps, and the moments of the kills.

    Returns
    -------
    list of Life
        After a fault the next life begins anew, at step 0.

    Raises
    ------
    RuntimeError
        If a process ended by itself.
    """
    work, random, replayed = workload(seed), np.random.default_rng(seed), None
    lives = []
    for _ in range(kills):
        if replayed is None:
            shutil.rmtree(folder, ignore_errors=True)
            work.create(folder)
            replayed = work.fresh()
        sentences = int(random.integers(1, 3 * MOST_STEPS + 2))
        delay = MOST_SECONDS * random.random() ** 3
        said = _live(start(workload, folder, seed), sentences, delay)
        lives.append(_reopen(work, folder, replayed, said))
        if not lives[-1].same_bits:
            replayed = None
    return lives


def _live(process: subprocess.Popen, sentences: int, delay: float) -> list[str]:
    """Let a process say so many sentences, kill it a moment later; return all that it said."""
    said = []
    with process:
        try:
            while len(said) < sentences:
                line = process.stdout.readline()
                if not line:
                    raise RuntimeError(f"the process ended by itself: {process.stderr.read()}")
                said.append(line.strip())
            time.sleep(delay)
        finally:
            process.kill()
        rest, complaint = process.stdout.read(), process.stderr.read()
    if complaint:
        raise RuntimeError(f"the process complained before it was killed: {complaint}")
    # A last line without its end was cut by the kill: it was not said.
    return said + [line.strip() for line in rest.splitlines(keepends=True) if line.endswith("\n")]


def _reopen(work: Workload, folder: Path, replayed, said: list[str]) -> Life:
    """Open what a life left, replay up to where it came, and compare."""
    doing, number = said[-1].split()
    # At the start of a life, what was found before is all that is known to be kept.
    reported = work.number(replayed) if doing == "opening" else int(number) - 1
    try:
        subject = work.open(folder)
    except (StoreError, OSError) as error:
        return Life(doing, reported, -1, (str(error),))
    try:
        life = Life(doing, reported, work.number(subject))
        if not life.at_commit:
            return life._replace(faults=(f"found step {life.found} after {said[-3:]}",))
        for step in range(work.number(replayed) + 1, life.found + 1):
            work.step(replayed, step)
        found, expected = work.state(subject), work.state(replayed)
        different = [n for n in {**found, **expected} if found.get(n) != expected.get(n)]
        return life._replace(
            faults=tuple(f"{name} differs at step {life.found}" for name in different)
        )
    finally:
        subject.close()


def main(name: str, folder: str, seed: str) -> None:
    """Go on for ever: grow, learn and keep, and say before each what comes, with its step."""
    module, workload = name.split(":")
    work = getattr(importlib.import_module(module), workload)(int(seed))

    def say(doing: str, number: int) -> None:
        print(doing, number, flush=True)

    say("opening", 0)
    subject = work.open(Path(folder))
    for number in itertools.count(work.number(subject) + 1):
        work.step(subject, number, say)
        if number % CHECKPOINTS:
            say("committing", number)
            subject.commit()
        else:
            say("checkpointing", number)
            subject.checkpoint()


if __name__ == "__main__":
    main(*sys.argv[1:])
