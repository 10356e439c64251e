"""Kill a process at random moments while it changes something durable, and see what is left.

A workload is a class, made with a seed, that has

- ``create(folder)``: put something durable into a new folder, at step 0
- ``open(folder)``: open it to go on, as its writer; ``close(subject)``
- ``fresh()``: the same thing at step 0, in memory only
- ``step(subject, number)``: change it; the change depends on seed, number and state only
- ``keep(subject, number)``: make it durable
- ``number(subject)``: the last step that it holds
- ``state(subject)``: all that it holds, as a dict of name to bytes

`survive` starts ``python kill.py module:Workload folder seed``, which goes on step by step from
what is in the folder, kills it, opens what is left and compares it with a replay in memory.
"""

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from plasticity.substrate.store import Store
from plasticity.substrate.structures import NEURON_DTYPE, PENDING_DTYPE, SYNAPSE_DTYPE

MOST_STEPS = 12
"""Steps of one life, at most."""


class StoreWorkload:
    """A store under every operation that it has."""

    def __init__(self, seed: int):
        self.seed = seed

    def create(self, folder):
        store = self.fresh()
        store.save(folder)
        store.close()

    def open(self, folder, mode="w"):
        return Store.open(folder, mode)

    def close(self, store):
        store.close()

    def fresh(self):
        store = Store()
        store.create("neurons", NEURON_DTYPE)
        store.create("synapses", SYNAPSE_DTYPE)
        store.create("pending", PENDING_DTYPE)
        store.meta["step"] = 0
        return store

    def step(self, store, number):
        random = np.random.default_rng([self.seed, number])
        if number == 3:
            store.create("text", np.uint8)
        for name in store.names:
            store.require(name)
            if random.random() < 0.7:
                first = store.extend(name, int(random.integers(1, 400)))
                self._write(store, name, slice(first, None), random)
            if len(store[name]) and random.random() < 0.7:
                where = random.integers(0, len(store[name]), random.integers(1, 20))
                self._write(store, name, where, random)
        if random.random() < 0.1:
            store.replace("synapses", store["synapses"][::2])
            store.shrink("pending", len(store["pending"]) // 3)
        store.meta["step"] = number

    def keep(self, store, number):
        if number % 4 == 0:
            store.checkpoint()
        else:
            store.commit()

    def number(self, store):
        return store.meta["step"]

    def state(self, store):
        for name in store.names:
            store.require(name)
        contents = {name: store[name].tobytes() for name in store.names}
        return contents | {"meta": str(store.meta).encode()}

    def _write(self, store, name, where, random):
        records = store[name]
        words = records.view(np.uint8).reshape(len(records), -1)
        words[where] = random.integers(0, 256, words[where].shape, np.uint8)
        store.touch(name, where)


def start(workload: type, folder: Path, seed: int) -> subprocess.Popen:
    """Start a process that goes on from what is in the folder, and says what it does."""
    own = [Path(__file__).parent, Path(sys.modules[workload.__module__].__file__).parent]
    module = "kill" if workload.__module__ == "__main__" else workload.__module__
    return subprocess.Popen(
        [sys.executable, __file__, f"{module}:{workload.__name__}", str(folder), str(seed)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, own)), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def live(process: subprocess.Popen, steps: int, delay: float) -> list[str]:
    """Let a process open and keep so many steps, kill it a moment later; return what it said."""
    said = []
    while len(said) <= 2 * steps + (steps > 0):
        line = process.stdout.readline()
        if not line:
            raise AssertionError(f"the process ended by itself: {process.stderr.read()}")
        said.append(line.strip())
    time.sleep(delay)
    process.kill()
    with process:
        rest, complaint = process.stdout.read(), process.stderr.read()
    assert not complaint, complaint
    # A last line without its end was cut by the kill: it was not said.
    return said + [line.strip() for line in rest.splitlines(keepends=True) if line.endswith("\n")]


def survive(workload: type, folder: Path, kills: int, seed: int = 0) -> dict[str, int]:
    """Kill a process again and again; assert each time that nothing committed was lost or torn.

    Parameters
    ----------
    workload : type
        A class at the top of an importable module.
    folder : Path
        A new folder.
    kills : int
    seed : int

    Returns
    -------
    dict of str to int
        ``kills``; ``steps`` kept in all; how many kills came while the process was ``opening``,
        ``stepping`` or ``keeping``; ``ahead``: how often a step was kept that had not been
        reported yet.
    """
    work, random = workload(seed), np.random.default_rng(seed)
    work.create(folder)
    replayed = work.fresh()
    counts = dict.fromkeys(["kills", "steps", "opening", "stepping", "keeping", "ahead"], 0)
    for _ in range(kills):
        process = start(workload, folder, seed)
        steps = int(random.integers(0, MOST_STEPS + 1))
        said = live(process, steps, delay=float(random.uniform(0, 0.01)))
        doing = said[-1].split()[0]
        kept = [int(line.split()[1]) for line in said if line.startswith("stepping")]
        reported = kept[-1] - 1 if kept else work.number(replayed)
        subject = work.open(folder)
        try:
            number = work.number(subject)
            assert reported <= number <= reported + (doing == "keeping"), (said[-3:], number)
            while work.number(replayed) < number:
                work.step(replayed, work.number(replayed) + 1)
            found, expected = work.state(subject), work.state(replayed)
            assert found.keys() == expected.keys()
            for name, content in expected.items():
                assert found[name] == content, f"{name} differs at step {number} after {said[-1]}"
        finally:
            work.close(subject)
        counts["kills"] += 1
        counts[doing] += 1
        counts["steps"] = number
        counts["ahead"] += number > reported
    return counts


def main(name: str, folder: str, seed: str) -> None:
    """Go on for ever, saying what comes next: ``opening``, then ``stepping`` and ``keeping`` n."""
    module, workload = name.split(":")
    work = getattr(importlib.import_module(module), workload)(int(seed))
    print("opening", flush=True)
    subject = work.open(folder)
    while True:
        number = work.number(subject) + 1
        print("stepping", number, flush=True)
        work.step(subject, number)
        print("keeping", number, flush=True)
        work.keep(subject, number)


if __name__ == "__main__":
    main(*sys.argv[1:])
