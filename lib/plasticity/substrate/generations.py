"""Generations of a store: a folder of immutable files, and the manifest that says which one counts.

The manifest is replaced in one step after all else is durable, so at every moment it names a
whole generation: the old one, or the new one.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from plasticity.substrate.pages import (
    CorruptionError,
    LockedError,
    PageFile,
    PageWriter,
    StoreError,
    VersionError,
    sync_file,
    sync_folder,
)
from plasticity.substrate.write_ahead_log import Log

FORMAT, VERSION = "plasticity-store", 1
MANIFEST, LOCK, LOG = "MANIFEST.json", "LOCK", "log.bin"


class Layout(NamedTuple):
    """One array of a generation: its dtype, records in use, and bytes of its file."""

    dtype: np.dtype
    count: int
    size: int


class Manifest(NamedTuple):
    """What MANIFEST.json says."""

    generation: int
    arrays: dict[str, Layout]
    meta: dict


class WriterLock:
    """The right to write to a folder; the operating system gives it back when a process dies.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    LockedError
        If another store, of this process or another one, has it.
    """

    def __init__(self, folder: Path):
        self._file = open(folder / LOCK, "a+")  # noqa: SIM115  (open until released)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read(20).strip() or "unknown"
            self._file.close()
            raise LockedError(
                f"{folder} is open for writing in process {holder}, and takes one writer: "
                'close it there, or open with mode="r"'
            ) from None
        with contextlib.suppress(OSError):  # a full disk: then the holder stays unknown
            os.ftruncate(self._file.fileno(), 0)
            os.write(self._file.fileno(), str(os.getpid()).encode())

    def release(self) -> None:
        """Give the lock back."""
        self._file.close()


def generation_folder(folder: Path, generation: int) -> Path:
    """Return the folder of a generation."""
    return folder / f"gen-{generation}"


def check_name(name: str) -> None:
    """Refuse a name that is no file name on every system, or the log's."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name == Path(LOG).stem:
        raise ValueError(
            f"array name {name!r}: must be lower case letters, digits and _, and not 'log'"
        )


def dtype_to_json(dtype: np.dtype) -> str | list:
    """Return a dtype as JSON; only plain numbers and flat records of them have one."""
    described = dtype.descr if dtype.names else dtype.str
    with contextlib.suppress(TypeError):
        if not dtype.hasobject and dtype_from_json(json.loads(json.dumps(described))) == dtype:
            return described
    raise ValueError(f"dtype {dtype}: must be a number or a flat record of numbers")


def dtype_from_json(described: str | list) -> np.dtype:
    """Return the dtype that `dtype_to_json` described."""
    if isinstance(described, list):
        described = [tuple(field) for field in described]
    return np.dtype(described)


def read_manifest(folder: Path) -> Manifest:
    """Read MANIFEST.json.

    Raises
    ------
    FileNotFoundError, CorruptionError, VersionError
    """
    path = folder / MANIFEST
    data = path.read_bytes()
    try:
        content = json.loads(data)
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}, {FORMAT!r} expected")
        version = content["version"]
        if version != VERSION:
            raise VersionError(
                f"{path}, byte {max(0, data.find(b'version'))}: format version {version!r}; "
                f"this release reads {VERSION}: update plasticity"
            )
        expected = content.pop("crc32")
        if expected != _checksum(content):
            raise ValueError("the content does not match its checksum")
        arrays = {
            name: Layout(dtype_from_json(each["dtype"]), each["count"], each["size"])
            for name, each in content["arrays"].items()
        }
        for name in arrays:
            check_name(name)
        return Manifest(content["generation"], arrays, content["meta"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        offset = getattr(error, "pos", getattr(error, "start", 0))
        raise CorruptionError(path, offset, f"not a manifest ({error})") from error


def read_current(folder: Path) -> Manifest:
    """Read the manifest, and say what it means if there is none.

    Raises
    ------
    FileNotFoundError, CorruptionError, VersionError
    """
    try:
        return read_manifest(folder)
    except FileNotFoundError:
        if not any(folder.glob("gen-*/*")):
            raise FileNotFoundError(
                f"{folder}: no store there; Store.save(path) makes one"
            ) from None
        message = "this file is missing, unless the very first save was cut short"
        raise CorruptionError(folder / MANIFEST, 0, message) from None


def map_current(folder: Path, writable: bool) -> tuple[Manifest, dict[str, PageFile], Log]:
    """Map the files of the generation that the manifest names.

    A writer may replace the generation, and remove its files, after a reader has read the
    manifest: then the newer one is taken.

    Raises
    ------
    CorruptionError, VersionError
    """
    manifest = read_current(folder)
    while True:
        try:
            current = generation_folder(folder, manifest.generation)
            files = {
                name: PageFile(current / f"{name}.bin", *layout)
                for name, layout in manifest.arrays.items()
            }
            return manifest, files, open_log(folder, manifest, writable)
        except FileNotFoundError as error:
            newer = read_current(folder)
            if newer.generation == manifest.generation:
                raise CorruptionError(error.filename, 0, "this file is missing") from None
            manifest = newer


def open_log(folder: Path, manifest: Manifest, writable: bool) -> Log:
    """Open the log of a generation."""
    return Log(generation_folder(folder, manifest.generation) / LOG, writable)


def write_generation(
    folder: Path, generation: int, arrays: dict[str, tuple[np.dtype, Iterable]], meta: dict
) -> Manifest:
    """Write a generation from front to back, then make the manifest name it.

    The manifest counts at once; once the folder is synced too, it does after a power cut as well,
    and other generations may be removed.

    Parameters
    ----------
    folder : Path
    generation : int
    arrays : dict of str to (dtype, iterable of ndarray)
        The records of each array in contiguous chunks; read once, in order.
    meta : dict

    Returns
    -------
    Manifest

    Raises
    ------
    OSError
        If the disk is full, for instance. What was written is removed, the manifest unchanged.
    """
    target, temporary = generation_folder(folder, generation), folder / f"{MANIFEST}.tmp"
    try:
        target.mkdir()
        layouts = {name: _write_array(target, name, *each) for name, each in arrays.items()}
        (target / LOG).touch()
        sync_folder(target)
        manifest = Manifest(generation, layouts, json.loads(json.dumps(meta)))
        with open(temporary, "w") as file:
            json.dump(_as_json(manifest), file, indent=1)
            sync_file(file)
        sync_folder(folder)
    except BaseException:
        _discard(target, temporary)
        raise
    try:
        os.replace(temporary, folder / MANIFEST)
    except OSError:
        _discard(target, temporary)
        raise
    return manifest


def checked(name: str, dtype: np.dtype, count: int, chunks: Iterable) -> Iterator[np.ndarray]:
    """Yield chunks; raise ValueError if they are not what was announced."""
    total = 0
    for chunk in chunks:
        if chunk.dtype != dtype:
            raise ValueError(f"array {name!r}: a chunk has dtype {chunk.dtype}, {dtype} expected")
        total += len(chunk)
        yield np.ascontiguousarray(chunk)
    if total != count:
        raise ValueError(f"array {name!r}: the chunks have {total} records, {count} expected")


def remove_others(folder: Path, generation: int | None) -> None:
    """Remove old generations, and what a crash left of new ones."""
    (folder / f"{MANIFEST}.tmp").unlink(missing_ok=True)
    for each in folder.glob("gen-*"):
        if generation is None or each != generation_folder(folder, generation):
            shutil.rmtree(each, ignore_errors=True)


def claim(folder: Path) -> tuple[WriterLock, int]:
    """Make a folder ready for a new store in it, over an old one if it has one.

    Returns
    -------
    lock : WriterLock
    generation : int
        The first number that is free.

    Raises
    ------
    StoreError
        If the folder has other things in it.
    LockedError
        If a store in it is open for writing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [each.name for each in folder.iterdir()]
    if names and MANIFEST not in names and LOCK not in names:
        raise StoreError(f"{folder} holds other files ({names[0]}): name a new or empty folder")
    lock = WriterLock(folder)
    taken = [int(name[4:]) for name in names if re.fullmatch(r"gen-\d+", name)]
    return lock, max(taken, default=-1) + 1


@contextlib.contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Say of a failed write what it means for the store."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror}: this commit did not finish; the one before is whole on disk, and "
            "the store in memory goes on. Make room, then commit again",
            str(folder),
        ) from error


def _write_array(folder: Path, name: str, dtype: np.dtype, chunks: Iterable) -> Layout:
    with PageWriter(folder, name) as writer:
        for chunk in chunks:
            writer.write(chunk)
        size = writer.finish(dtype.itemsize)
        return Layout(dtype, writer.size // dtype.itemsize, size)


def _as_json(manifest: Manifest) -> dict:
    content = {
        "format": FORMAT,
        "version": VERSION,
        "generation": manifest.generation,
        "arrays": {
            name: {"dtype": dtype_to_json(each.dtype), "count": each.count, "size": each.size}
            for name, each in manifest.arrays.items()
        },
        "meta": manifest.meta,
    }
    return content | {"crc32": _checksum(content)}


def _checksum(content: dict) -> int:
    return zlib.crc32(json.dumps(content).encode())


def _discard(target: Path, temporary: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    with contextlib.suppress(OSError):
        temporary.unlink()
