"""Seconds and bytes of a piece of work."""

import ctypes
import gc
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

SECONDS_OF_WARM_UP = 1.0
ACCOUNT = Path("/proc/self")  # where Linux says how much memory a process has
M_MMAP_THRESHOLD, LARGE_BLOCK = -3, 2**16  # of malloc.h, and bytes


def timed(work: Callable[[], object]) -> float:
    """Run a piece of work once, and return the seconds it took, those of a GPU included.

    Examples
    --------
    >>> 0 <= timed(lambda: None) < 1
    True
    """
    torch = sys.modules.get("torch")  # what did not load it has nothing on a GPU
    started = time.perf_counter()
    work()
    if torch is not None and torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def in_turns(works: dict[str, Callable[[], object]], repeats: int) -> Iterator[dict[str, float]]:
    """Yield the seconds of all works, once each: what the machine does meanwhile hits them alike.

    Each is warmed up before; who begins changes from turn to turn.

    Parameters
    ----------
    works : dict of str to callable
    repeats : int
        Turns.

    Yields
    ------
    dict of str to float
        In the order of `works`.

    Examples
    --------
    >>> turns = in_turns({"nothing": lambda: None, "little": lambda: sum(range(100))}, repeats=2)
    >>> [list(turn) for turn in turns]
    [['nothing', 'little'], ['nothing', 'little']]
    """
    for work in works.values():
        warm = 0.0
        while warm < SECONDS_OF_WARM_UP:
            warm += timed(work)
    names = list(works)
    for repeat in range(repeats):
        turned = names[repeat % len(names) :] + names[: repeat % len(names)]
        times = {name: timed(works[name]) for name in turned}
        yield {name: times[name] for name in names}


def memory_growth(work: Callable[[], object]) -> float:
    """Run a piece of work, and return by how much the memory of this process grew at most.

    The allocator is told to give large blocks back at once, for as long as the process lives:
    otherwise what was freed and kept is used again unseen. Ask in a process of its own.

    Parameters
    ----------
    work : callable
        Called once, without arguments.

    Returns
    -------
    float
        Bytes, the resident memory's peak less what was resident before; nan where there is no
        Linux to ask.

    Examples
    --------
    >>> memory_growth(lambda: None) < 1e9 or sys.platform != "linux"
    True
    """
    allocator = ctypes.CDLL(None)
    if hasattr(allocator, "mallopt"):  # glibc
        allocator.mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)
        allocator.malloc_trim(0)
    forgotten = forget_peak()
    before = psutil.Process().memory_info().rss
    work()
    return peak_memory() - before if forgotten else math.nan


def forget_peak() -> bool:
    """Let the peaks of memory, of this process and of its GPU, count from here.

    Returns
    -------
    bool
        Whether this process's does: it takes a Linux that lets itself be told.

    Examples
    --------
    >>> forget_peak() or sys.platform != "linux"
    True
    """
    gc.collect()  # models with hooks are cycles, and would be counted until then
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        (ACCOUNT / "clear_refs").write_text("5", encoding="utf-8")
    except OSError:
        return False
    return True


def peak_memory() -> float:
    """Return the most resident memory of this process since `forget_peak`, in bytes.

    Not what `resource` tells: a process inherits that from the one that started it. Where there is
    no Linux to ask, nan.
    """
    try:
        lines = (ACCOUNT / "status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return math.nan
    peaks = [1024.0 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return peaks[0] if peaks else math.nan
