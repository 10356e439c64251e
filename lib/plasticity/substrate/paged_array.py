"""One growing array of a store: its buffer, and which of its pages changed or are unverified."""

from collections.abc import Iterator

import numpy as np

from plasticity.substrate.pages import PAGE, PageFile, pages_in, pages_of

CHUNK = 1 << 22
"""Bytes written at a time."""
CACHE_LINE = 64
"""Bytes."""


class PagedArray:
    """Records in a buffer with room to grow.

    Parameters
    ----------
    buffer : ndarray, shape (room,)
    count : int
        Records in use.
    file : PageFile, optional
        What the buffer maps, while pages of it are unverified.

    Attributes
    ----------
    dirty : ndarray of bool, shape (pages,), or None
        Pages to commit; None where nothing will ever be committed.
    changed : bool
        Whether a commit has anything to say of it.

    Examples
    --------
    >>> array = PagedArray(np.zeros(2000, np.uint32), 2000)
    >>> array.clean()
    >>> array.mark([1])
    >>> array.runs()
    [[1, 2]]
    """

    __slots__ = ("buffer", "changed", "count", "dirty", "file")

    def __init__(self, buffer: np.ndarray, count: int, file: PageFile | None = None):
        self.buffer, self.count, self.file = buffer, count, file
        self.dirty, self.changed = None, False

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the records."""
        return self.buffer.dtype

    @property
    def records(self) -> np.ndarray:
        """The records in use, a view."""
        return self.buffer[: self.count]

    @property
    def bytes(self) -> memoryview:
        """The bytes of the records in use, a view."""
        return memoryview(self.records.view(np.uint8))

    def resize(self, count: int) -> None:
        """Change the number of records; new ones are zero, also where others were before."""
        if count > len(self.buffer):
            buffer = _aligned(max(count, self.count + self.count // 2, 64), self.dtype)
            buffer[: self.count] = self.records
            self.buffer = buffer
            if self.dirty is not None:
                dirty = np.zeros(pages_in(buffer.nbytes), bool)
                dirty[: len(self.dirty)] = self.dirty
                self.dirty = dirty
        if count > self.count:
            self.buffer[self.count : count].view(np.uint8)[:] = 0
        self.count = count
        self.changed = True

    def replace(self, records: np.ndarray) -> None:
        """Take other records; all pages count as changed."""
        self.release()
        self.buffer, self.count, self.changed = records, len(records), True
        if self.dirty is not None:
            self.dirty = np.ones(pages_in(records.nbytes), bool)

    def mark(self, pages) -> None:
        """Count pages as changed, if anyone will ask."""
        if self.dirty is not None:
            self.dirty[pages] = True
            self.changed = True

    def clean(self) -> None:
        """Keep account of changes from now on: all is on disk."""
        self.dirty, self.changed = np.zeros(pages_in(self.buffer.nbytes), bool), False

    def runs(self) -> list[list[int]]:
        """Return the changed pages as ``[first, stop]``, ascending."""
        pages = np.flatnonzero(self.dirty[: pages_in(self.count * self.dtype.itemsize)])
        if not pages.size:
            return []
        breaks = np.flatnonzero(np.diff(pages) != 1)
        firsts = np.concatenate([pages[:1], pages[breaks + 1]])
        stops = np.concatenate([pages[breaks], pages[-1:]]) + 1
        return np.stack([firsts, stops], axis=1).tolist()

    def contents(self, runs: list[list[int]]) -> Iterator[memoryview]:
        """Yield the bytes of runs of pages, as views."""
        data = self.bytes
        for first, stop in runs:
            yield data[first * PAGE : stop * PAGE]

    def chunks(self) -> Iterator[np.ndarray]:
        """Yield the records bit by bit, verified."""
        step = max(1, CHUNK // self.dtype.itemsize)
        for start in range(0, self.count, step):
            where = slice(start, min(self.count, start + step))
            self.verify(pages_of(where, None, self.dtype.itemsize, self.count))
            yield self.records[where]

    def read(self, runs: list[list[int]], file) -> None:
        """Read the bytes of runs of pages from an open file; they need no checksum any more."""
        for first, stop in runs:
            file.readinto(self.bytes[first * PAGE : stop * PAGE])
            if self.file is not None:
                self.file.trust(np.arange(first, stop))

    def verify(self, pages: slice | np.ndarray) -> None:
        """Verify pages, where that has not been done yet."""
        if self.file is not None:
            self.file.verify(pages)
            if not self.file.unverified:
                self.release()

    def release(self) -> None:
        """Let go of the file; the map lives on in the buffer."""
        if self.file is not None:
            self.file.close()
            self.file = None


def _aligned(count: int, dtype: np.dtype) -> np.ndarray:
    """Return room for records that starts at a line of the cache: a neuron is to fill just one."""
    size = count * dtype.itemsize
    room = np.empty(size + CACHE_LINE, np.uint8)
    start = -room.ctypes.data % CACHE_LINE
    return room[start : start + size].view(dtype)
