"""Arrays on disk in pages of 4 KiB, each page with a checksum that is looked at on first touch.

``<name>.bin`` is the bytes of the records in a row and, behind a large array, a hole (which takes
no disk) into which the mapped array can grow. ``<name>.crc`` is one little-endian uint32 a page:
the CRC-32 of the page's bytes (of the used ones in the last page).
"""

import mmap
import os
import sys
import zlib
from array import array
from pathlib import Path

import numpy as np

PAGE = 4096
"""Bytes in a page, the unit of checksums and of what a commit writes."""

LARGE = 1 << 26
"""Bytes from which an array gets a hole of an eighth of its size to grow into; a smaller one is
cheap to copy into memory when it grows."""

ALL = slice(None)

# Without reserving swap: a private map may be larger than memory. Python 3.11 lacks the name.
_NO_RESERVE = {"linux": 0x4000, "darwin": 0x0040}.get(sys.platform, 0)


class StoreError(RuntimeError):
    """A store was asked for something that it cannot do."""


class VersionError(StoreError):
    """The store was written by a newer version, or holds records of another layout."""


class LockedError(StoreError):
    """Another writer has the store open."""


class CorruptionError(StoreError):
    """A file of a store is not what was written to it.

    Parameters
    ----------
    path : Path
        The damaged file.
    offset : int
        Byte from which on it is damaged.
    what : str
        What is wrong there.
    """

    def __init__(self, path: Path, offset: int, what: str):
        super().__init__(
            f"{path}, byte {offset}: {what}; the store is damaged: restore its folder from a copy"
        )
        self.path, self.offset = Path(path), int(offset)


def pages_in(size: int) -> int:
    """Return the number of pages that hold ``size`` bytes."""
    return -(-size // PAGE)


def pages_of(where, lengths, itemsize: int, count: int) -> slice | np.ndarray:
    """Return the pages in which records lie.

    Parameters
    ----------
    where : int, slice, or array of int or bool, shape (n,)
        Records, 0 to ``count - 1``.
    lengths : array of int, shape (n,), int, or None
        So many records from each index on, at least 0; None for one each.
    itemsize : int
        Bytes in a record.
    count : int
        Records in the array.

    Returns
    -------
    slice or ndarray of int64
        Page numbers, in no order and perhaps repeated.

    Raises
    ------
    IndexError
        If a record lies outside the array.

    Examples
    --------
    >>> pages_of(slice(0, 300), None, itemsize=16, count=1000)
    slice(0, 2, None)
    >>> pages_of([0, 255, 256], None, itemsize=16, count=1000)
    array([0, 0, 1])
    >>> pages_of([0, 300], [600, 0], itemsize=16, count=1000)
    array([0, 1, 2])
    """
    if isinstance(where, slice):
        start, stop, step = where.indices(count)
        if step < 0:
            raise IndexError(f"slice step {step} given; it must be positive")
        return slice(start * itemsize // PAGE, pages_in(stop * itemsize) if stop > start else 0)
    where = np.atleast_1d(where)
    if where.dtype == bool:
        where = np.flatnonzero(where)
    where = where.astype(np.int64)
    if not where.size:
        return where
    lengths = 1 if lengths is None else np.asarray(lengths, np.int64)
    stops = where + lengths
    if where.min() < 0 or stops.max() > count or np.min(lengths) < 0:
        raise IndexError(
            f"records {where.min()} to {stops.max() - 1} asked for; there are 0 to {count - 1}"
        )
    first, last = where * itemsize // PAGE, (stops * itemsize - 1) // PAGE
    spans = np.where(lengths == 0, 0, last - first + 1)
    if (spans == 1).all():
        return first
    ends = np.cumsum(spans)
    return np.arange(ends[-1]) + np.repeat(first - (ends - spans), spans)


def sync_folder(folder: Path) -> None:
    """Make the names of the files in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(file) -> None:
    """Make what was written to an open file durable."""
    file.flush()
    os.fsync(file.fileno())


class PageWriter:
    """Write ``<name>.bin`` from front to back, and ``<name>.crc`` at the end.

    Parameters
    ----------
    folder : Path
    name : str
    """

    def __init__(self, folder: Path, name: str):
        self.path = folder / f"{name}.bin"
        self._file = open(self.path, "wb")  # noqa: SIM115  (closed by __exit__)
        self._sums, self._sum, self.size = array("I"), 0, 0

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self._file.close()

    def write(self, records: np.ndarray) -> None:
        """Append the bytes of contiguous records."""
        data = memoryview(records.view(np.uint8))
        self._file.write(data)
        start = 0
        while start < len(data):
            stop = min(len(data), start + PAGE - self.size % PAGE)
            self._sum = zlib.crc32(data[start:stop], self._sum)
            self.size += stop - start
            if self.size % PAGE == 0:
                self._sums.append(self._sum)
                self._sum = 0
            start = stop

    def finish(self, itemsize: int) -> int:
        """Write the checksums, make both files durable, and return the size of ``<name>.bin``."""
        if self.size % PAGE:
            self._sums.append(self._sum)
        size = self.size
        if size >= LARGE:
            size += size // 8 // itemsize * itemsize
            self._file.truncate(size)
        sync_file(self._file)
        with open(self.path.with_suffix(".crc"), "wb") as file:
            file.write(np.frombuffer(self._sums, np.uint32).astype("<u4").tobytes())
            sync_file(file)
        return size


def open_sized(path: Path, size: int):
    """Open a file for reading, and refuse it unless it has just ``size`` bytes."""
    file = open(path, "rb")  # noqa: SIM115  (the caller closes it)
    actual = os.fstat(file.fileno()).st_size
    if actual != size:
        file.close()
        raise CorruptionError(path, min(actual, size), f"has {actual} bytes, {size} expected")
    return file


class PageFile:
    """One array of a generation: a private map of its file, and checksums still to be verified.

    Parameters
    ----------
    path : Path
        ``<name>.bin``; ``<name>.crc`` lies beside it.
    dtype : dtype
    count : int
        Records in use.
    size : int
        Bytes of the file, the hole at its end included.

    Attributes
    ----------
    records : ndarray of dtype
        With the hole. Writing changes memory only (the map is copied on write).
    unverified : int
        Pages not verified yet.

    Raises
    ------
    FileNotFoundError
    CorruptionError
        If a file has another size.
    """

    def __init__(self, path: Path, dtype: np.dtype, count: int, size: int):
        self.path, self._bytes = path, count * dtype.itemsize
        self.unverified = pages_in(self._bytes)
        self._verified = np.zeros(self.unverified, bool)
        with open_sized(path.with_suffix(".crc"), 4 * self.unverified) as file:
            self._sums = np.frombuffer(_map(file, 4 * self.unverified), "<u4")
        self._file = open_sized(path, size)
        self.records = np.frombuffer(_map(self._file, size), dtype)

    def trust(self, pages) -> None:
        """Take pages as verified: the log holds their content."""
        inside = np.asarray(pages)
        inside = inside[inside < len(self._verified)]
        self.unverified -= np.count_nonzero(~self._verified[inside])
        self._verified[inside] = True

    def verify(self, pages: slice | np.ndarray) -> None:
        """Compare pages with their checksums, each once; pages behind the file pass.

        The file is read, not the map: what was written to the map meanwhile does not matter.
        """
        if isinstance(pages, slice):
            todo = pages.start + np.flatnonzero(~self._verified[pages])
        else:
            if pages.size and pages.max() >= len(self._verified):
                pages = pages[pages < len(self._verified)]
            todo = pages[~self._verified[pages]]
            if not todo.size:
                return
            todo = np.unique(todo)
        descriptor = self._file.fileno()
        for page in todo.tolist():
            start = page * PAGE
            data = os.pread(descriptor, min(PAGE, self._bytes - start), start)
            if zlib.crc32(data) != self._sums[page]:
                where = f"byte {4 * page} of {self.path.stem}.crc"
                raise CorruptionError(self.path, start, f"this page does not match {where}")
            self._verified[page] = True
            self.unverified -= 1

    def close(self) -> None:
        """Close the file; the map lives as long as views on it."""
        self._file.close()


def _map(file, size: int):
    """Map a file privately, without a claim on memory for its whole size."""
    if not size:
        return bytearray()  # an empty file cannot be mapped
    return mmap.mmap(
        file.fileno(),
        size,
        flags=mmap.MAP_PRIVATE | _NO_RESERVE,
        prot=mmap.PROT_READ | mmap.PROT_WRITE,
    )
