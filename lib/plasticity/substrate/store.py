"""Named arrays that grow, in memory or in a folder that no crash can tear.

A folder holds
::

    MANIFEST.json    "format": "plasticity-store"; "version": of the format; "generation": N;
                     "arrays": {name: {"dtype": as in dtype.descr, "count": records in use,
                     "size": bytes of <name>.bin}}; "meta": the owner's own JSON;
                     "crc32": of all that, as json.dumps writes it
    LOCK             the writer's process number; the writer holds an flock on it
    gen-N/<name>.bin the records of an array in a row, and a hole to grow into if it is large
    gen-N/<name>.crc CRC-32 of each page of 4 KiB of <name>.bin, little-endian uint32
    gen-N/log.bin    the write-ahead log: a frame for each commit since, see `write_ahead_log`

The files of a generation but its log never change. Opening maps them privately, so what is
written to an array stays in memory until `Store.commit` appends the changed pages to the log, all
of them or none, or `Store.checkpoint` writes the next generation. Reopening maps the generation
and applies the log. Opening reads sizes only; `Store.require` verifies the checksum of a page
before its first use. Nothing is ever unpickled.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from plasticity.substrate import generations
from plasticity.substrate.generations import Manifest, WriterLock
from plasticity.substrate.paged_array import PagedArray
from plasticity.substrate.pages import (
    ALL,
    PAGE,
    StoreError,
    VersionError,
    pages_of,
    sync_folder,
)
from plasticity.substrate.write_ahead_log import Log

SMALL_LOG = 1 << 20
"""Bytes up to which a log may be larger than half its generation."""


class Store:
    """Named one-dimensional arrays of records that grow, and a dict, kept together.

    A new store lives in memory until `save` gives it a folder. One writer at a time has a folder
    open; any number of readers see it as it was committed when they opened it. A reader may
    change what it sees; it just cannot commit.

    Attributes
    ----------
    meta : dict
        Anything that JSON can say, with str keys; committed with the arrays.
    path : Path or None
        The folder, once there is one.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> store = Store()
    >>> store.create("weights", np.dtype(np.float32))
    >>> store.extend("weights", 3)
    0
    >>> store.save(folder)
    >>> store["weights"][1] = 5
    >>> store.touch("weights", 1)
    >>> store.commit()
    >>> store.close()
    >>> with Store.open(folder) as again:
    ...     again.require("weights", slice(0, 3))
    ...     again["weights"]
    array([0., 5., 0.], dtype=float32)
    """

    def __init__(self):
        self.meta: dict = {}
        self.path: Path | None = None
        self._arrays: dict[str, PagedArray] = {}
        self._lock: WriterLock | None = None
        self._log: Log | None = None
        self._generation = -1
        self._generation_bytes = 0
        self._committed_meta = ""
        self._finished = True

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.close()

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def __getitem__(self, name: str) -> np.ndarray:
        """Return the records of an array: a view, valid until it is extended or replaced."""
        return self._array(name).records

    @property
    def names(self) -> list[str]:
        """The names of the arrays, in order of creation."""
        return list(self._arrays)

    def create(self, name: str, dtype: np.dtype) -> None:
        """Add an empty array.

        Parameters
        ----------
        name : str
            Lower case letters, digits and ``_``, starting with a letter; not ``log``.
        dtype : dtype
            A number, or a flat record of numbers.

        Raises
        ------
        ValueError
            If the name is taken or not allowed, or the dtype is not.
        """
        generations.check_name(name)
        if name in self._arrays:
            raise ValueError(f"array {name!r} exists already; there are {self.names}")
        dtype = np.dtype(dtype)
        generations.dtype_to_json(dtype)
        array = self._arrays[name] = PagedArray(np.empty(0, dtype), 0)
        if self._lock is not None:
            array.clean()
            array.changed = True

    def extend(self, name: str, count: int) -> int:
        """Add records of zeros at the end of an array, in time that grows with them only.

        A small array that was opened from disk is copied into memory once. One of 64 MiB or more
        grows into the hole at the end of its file, without being read, until the hole (an eighth
        of its size) is full; then it is copied too.

        Parameters
        ----------
        name : str
        count : int
            0 or more.

        Returns
        -------
        int
            Index of the first new record.
        """
        if count < 0:
            raise ValueError(f"count {count}: must be 0 or more")
        array = self._array(name)
        first = array.count
        if count:
            array.resize(first + count)
            self.touch(name, slice(first, None))
        return first

    def shrink(self, name: str, count: int) -> None:
        """Drop records from the end of an array.

        Parameters
        ----------
        name : str
        count : int
            Records to keep, at most as many as there are.
        """
        array = self._array(name)
        if not 0 <= count <= array.count:
            raise ValueError(f"count {count}: array {name!r} can keep 0 to {array.count} records")
        array.resize(count)

    def replace(self, name: str, records: np.ndarray) -> None:
        """Put other records in place of all of an array; they now belong to the store.

        Parameters
        ----------
        name : str
        records : ndarray, shape (n,)
            Of the array's dtype. Not copied, unless it is read-only or not contiguous.
        """
        array = self._array(name)
        if records.dtype != array.dtype or records.ndim != 1:
            raise ValueError(
                f"array {name!r}: one dimension of {array.dtype} expected, "
                f"{records.ndim} of {records.dtype} given"
            )
        array.replace(np.require(records, requirements=["C", "W"]))

    def touch(self, name: str, where=ALL, lengths=None) -> None:
        """Say that records were written to, so that the next commit keeps their pages.

        Parameters
        ----------
        name : str
        where : int, slice, or array of int or bool, shape (n,)
        lengths : array of int, shape (n,), or int, optional
            So many records from each index on, as in rows; one each by default.

        Raises
        ------
        IndexError
            If a record lies outside the array.
        """
        array = self._array(name)
        if array.dirty is not None:
            array.mark(pages_of(where, lengths, array.dtype.itemsize, array.count))

    def require(self, name: str, where=ALL, lengths=None) -> None:
        """Verify the pages of records that are about to be used, each page once.

        Costs next to nothing for an array in memory, or once all of it is verified.

        Parameters
        ----------
        name, where, lengths
            As in `touch`.

        Raises
        ------
        CorruptionError
            If a page on disk is not what was written.
        """
        array = self._array(name)
        if array.file is not None:
            array.verify(pages_of(where, lengths, array.dtype.itemsize, array.count))

    def verified(self, name: str) -> bool:
        """Whether all pages of an array are verified, so that `require` has nothing to do."""
        return self._array(name).file is None

    def save(self, path: str | Path) -> None:
        """Write all to a folder, atomically, and stay attached to it as its writer.

        A store that is in the folder already is replaced.

        Raises
        ------
        StoreError
            If the folder holds other things.
        LockedError
            If another writer has a store open there.
        """
        folder = Path(path).absolute()
        if self._lock is not None and folder == self.path:
            return self.checkpoint()
        lock, generation = generations.claim(folder)
        try:
            with generations.explained(folder):
                manifest = self._write(folder, generation)
        except BaseException:
            lock.release()
            raise
        self._let_go()
        self.path, self._lock = folder, lock
        self._attach(manifest)

    @classmethod
    def open(
        cls, path: str | Path, mode: str = "r", dtypes: dict[str, np.dtype] | None = None
    ) -> "Store":
        """Open a folder as it was committed last, in milliseconds however large it is.

        Parameters
        ----------
        path : str or Path
        mode : {"r", "w"}
            Reader or the one writer.
        dtypes : dict of str to dtype, optional
            Layouts that the caller's code relies on.

        Raises
        ------
        FileNotFoundError
            If there is no store.
        LockedError
            If another writer has it open, and the mode is "w".
        CorruptionError
            If a file is missing, cut or damaged. Pages are looked at by `require` only.
        VersionError
            If the format is newer, or an array has another dtype.
        """
        if mode not in ("r", "w"):
            raise ValueError(f"mode {mode!r}: must be 'r' or 'w'")
        store = cls()
        store.path = Path(path).absolute()
        generations.read_current(store.path)  # before a lock is put in a folder that is no store
        try:
            if mode == "w":
                store._lock = WriterLock(store.path)
            store._load()
            store._compare(dtypes or {})
        except BaseException:
            store.close()
            raise
        return store

    def commit(self) -> None:
        """Make all changes since the last commit durable, all of them or none.

        Appends the touched pages to the log; or, once the log would have more than half of the
        generation's bytes (and 1 MiB), writes a checkpoint.

        Raises
        ------
        StoreError
            If the store has no folder, or is a reader.
        CorruptionError
            If a changed page was never verified, and what it came from is damaged.
        OSError
            If the disk is full: nothing is committed, and a later commit can succeed.
        """
        self._check_writer()
        self._finish()
        changed = {name: array for name, array in self._arrays.items() if array.changed}
        if not changed and json.dumps(self.meta) == self._committed_meta:
            return
        runs = {name: array.runs() for name, array in changed.items()}
        size = PAGE * sum(stop - first for each in runs.values() for first, stop in each)
        if self._log.end + size > max(SMALL_LOG, self._generation_bytes // 2):
            return self.checkpoint()
        for array in changed.values():
            array.verify(np.flatnonzero(array.dirty))
        record = {
            "meta": self.meta,
            "arrays": {
                name: {
                    "dtype": generations.dtype_to_json(array.dtype),
                    "count": array.count,
                    "pages": runs[name],
                }
                for name, array in changed.items()
            },
        }
        pages = (part for name in changed for part in changed[name].contents(runs[name]))
        with generations.explained(self.path):
            self._log.append(record, pages)
        self._settle(changed)

    def checkpoint(self) -> None:
        """Write all as the next generation, and start an empty log.

        The disk needs room for both. The old files are removed; one that this store or a reader
        has mapped takes its room until they close.

        Raises
        ------
        StoreError, CorruptionError, OSError
            As for `commit`; the last good generation is kept.
        """
        self._check_writer()
        with generations.explained(self.path):
            manifest = self._write(self.path, self._generation + 1)
        self._attach(manifest)

    def close(self) -> None:
        """Let go of the folder and forget the arrays; what was not committed is lost."""
        self._let_go()
        self._arrays = {}

    @staticmethod
    def build(
        path: str | Path,
        arrays: dict[str, tuple[np.dtype, int, Iterable[np.ndarray]]],
        meta: dict | None = None,
    ) -> None:
        """Write a store that need not fit in memory, as `save` would.

        Parameters
        ----------
        path : str or Path
        arrays : dict of str to (dtype, count, iterable of ndarray)
            The records of each array in chunks; iterated over once, one array after the other.
        meta : dict, optional

        Raises
        ------
        ValueError
            If chunks have another dtype, or do not add up to the count. Nothing is kept then.

        Examples
        --------
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> halves = (np.full(4, half, np.uint8) for half in range(2))
        >>> Store.build(folder, {"halves": (np.dtype(np.uint8), 8, halves)})
        >>> with Store.open(folder) as store:
        ...     store["halves"]
        array([0, 0, 0, 0, 1, 1, 1, 1], dtype=uint8)
        """
        folder = Path(path).absolute()
        for name, (dtype, _, _) in arrays.items():
            generations.check_name(name)
            generations.dtype_to_json(np.dtype(dtype))
        lock, generation = generations.claim(folder)
        try:
            checked = {
                name: (np.dtype(dtype), generations.checked(name, np.dtype(dtype), count, chunks))
                for name, (dtype, count, chunks) in arrays.items()
            }
            generations.write_generation(folder, generation, checked, meta or {})
            sync_folder(folder)
            generations.remove_others(folder, generation)
        finally:
            lock.release()

    def _array(self, name: str) -> PagedArray:
        try:
            return self._arrays[name]
        except KeyError:
            raise KeyError(f"no array {name!r}; there are {self.names}") from None

    def _check_writer(self) -> None:
        if self.path is None:
            raise StoreError("this store is in memory only: save(path) first")
        if self._lock is None:
            raise StoreError(f'{self.path} is open for reading: open it with mode="w"')

    def _load(self) -> None:
        """Map the generation that the manifest names, and apply its log."""
        manifest, files, self._log = generations.map_current(self.path, self._lock is not None)
        self._set_generation(manifest)
        self.meta = manifest.meta
        for name, file in files.items():
            self._arrays[name] = PagedArray(file.records, manifest.arrays[name].count, file)
        self._log.replay(self._apply)
        if self._lock is None:
            self._log.close()
            return
        self._log.recover()
        generations.remove_others(self.path, manifest.generation)
        self._settle(self._arrays)

    def _apply(self, record: dict, file) -> None:
        """Take the changes of one frame of the log."""
        for name, change in record["arrays"].items():
            if name not in self._arrays:
                dtype = generations.dtype_from_json(change["dtype"])
                self._arrays[name] = PagedArray(np.empty(0, dtype), 0)
            self._arrays[name].resize(change["count"])
            self._arrays[name].read(change["pages"], file)
        self.meta = record["meta"]

    def _compare(self, dtypes: dict[str, np.dtype]) -> None:
        for name, expected in dtypes.items():
            if name in self._arrays and self._arrays[name].dtype != expected:
                raise VersionError(
                    f"{self.path / generations.MANIFEST}, byte 0: array {name!r} has dtype "
                    f"{self._arrays[name].dtype}; this release uses {np.dtype(expected)}: open it "
                    "with the release that wrote it, or build it again"
                )

    def _write(self, folder: Path, generation: int) -> Manifest:
        arrays = {name: (array.dtype, array.chunks()) for name, array in self._arrays.items()}
        return generations.write_generation(folder, generation, arrays, self.meta)

    def _attach(self, manifest: Manifest) -> None:
        """Go on from a generation that was written just now from the arrays in memory."""
        if self._log is not None:
            self._log.close()
        self._log = generations.open_log(self.path, manifest, writable=True)
        self._set_generation(manifest)
        for array in self._arrays.values():
            array.release()
        self._settle(self._arrays)
        self._finished = False
        self._finish()

    def _finish(self) -> None:
        """Make the newest manifest durable, then remove what it replaces."""
        if not self._finished:
            with generations.explained(self.path):
                sync_folder(self.path)
            generations.remove_others(self.path, self._generation)
            self._finished = True

    def _set_generation(self, manifest: Manifest) -> None:
        self._generation = manifest.generation
        self._generation_bytes = sum(each.size for each in manifest.arrays.values())

    def _settle(self, changed: dict[str, PagedArray]) -> None:
        """All is committed."""
        self._committed_meta = json.dumps(self.meta)
        for array in changed.values():
            array.clean()

    def _let_go(self) -> None:
        for array in self._arrays.values():
            array.release()
        if self._log is not None:
            self._log.close()
        if self._lock is not None:
            self._lock.release()
        self._log = self._lock = self.path = None
