"""A bound on the memory that a process keeps of mapped files while it reads them."""

import contextlib
import mmap
import os
from pathlib import Path

import numpy as np


def resident_bytes() -> int:
    """Return the memory that this process has in use, mapped files included.

    Raises
    ------
    OSError
        Where the system keeps no account of it under ``/proc``.
    """
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class ResidentLimit:
    """Gives mapped pages back to the system whenever the process holds more than a limit.

    They stay in the system's cache while there is room, so that reading them again is cheap. Pass
    it to `propagation.deliver` as ``release``: it is called after every few million synapses, and
    the process exceeds the limit by no more than these.

    Parameters
    ----------
    limit : int
        Bytes, more than 0.
    *records : ndarray
        Arrays mapped from files and **not written since**: a page that was written in private
        memory would be lost with its content. Arrays that are not mapped are passed over.

    Raises
    ------
    ValueError
        If the limit is not positive.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     np.arange(100_000).tofile(file.name)
    ...     mapped = np.memmap(file.name, np.int64, mode="r")
    ...     release = ResidentLimit(1, mapped)
    ...     release()
    ...     int(mapped.sum())
    4999950000
    """

    def __init__(self, limit: int, *records: np.ndarray):
        if limit <= 0:
            raise ValueError(f"limit is {limit}; allowed: more than 0 bytes")
        self.limit = limit
        self._maps = [found for each in records if (found := _map_of(each)) is not None]

    def __call__(self) -> None:
        """Let go of the mapped pages if the limit is exceeded."""
        with contextlib.suppress(OSError):
            if resident_bytes() <= self.limit:
                return
        for each in self._maps:
            each.madvise(mmap.MADV_DONTNEED)


def _map_of(records) -> mmap.mmap | None:
    """Return the map that an array looks into, or None."""
    while records is not None and not isinstance(records, mmap.mmap):
        records = records.obj if isinstance(records, memoryview) else getattr(records, "base", None)
    return records
