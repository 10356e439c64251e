"""The write-ahead log of a generation: each commit appends one frame, or nothing.

A frame is

======  ==========================================================================
header  ``magic`` 8 bytes, ``sequence`` u64 (1, 2, ... in each generation),
        ``record bytes`` u64, ``page bytes`` u64, ``crc`` u32 of record and pages,
        ``header crc`` u32 of the fields before it
record  JSON: what changed, and which pages follow
pages   their new contents, absolute, so that applying a frame twice does no harm
footer  ``magic`` 8 bytes, ``end`` u64 (offset in the log at which this footer ends),
        ``crc`` u32 of the fields before it
======  ==========================================================================

in little-endian order. Record, pages and a footer of zeros are written first, then the header,
then all is made durable: the frame is committed. Only then is the footer filled in. So a frame
that is broken *and* has a footer, its own or a later one, behind it was whole once: that is
damage, and an error. A frame that is broken without one is what a crash leaves of a commit that
never returned, and is dropped.
"""

import contextlib
import json
import os
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

from plasticity.substrate.pages import CorruptionError

HEADER = struct.Struct("<8sQQQII")
FOOTER = struct.Struct("<8sQI")
FRAME_MAGIC, FOOTER_MAGIC = b"PLASTFRM", b"PLASTEND"
CHUNK = 1 << 22


class Log:
    """The log of one generation.

    Parameters
    ----------
    path : Path
        An existing file.
    writable : bool

    Attributes
    ----------
    end : int
        Bytes of the intact frames.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "log.bin"
    >>> path.touch()
    >>> log = Log(path, writable=True)
    >>> log.append({"step": 1}, [b"abc"])
    >>> Log(path, writable=False).replay(lambda record, file: print(record, file.read(3)))
    {'step': 1} b'abc'
    """

    def __init__(self, path: Path, writable: bool):
        self.path = path
        # Read through the file's buffer, written beside it; closed by close().
        self._file = open(path, "r+b" if writable else "rb")  # noqa: SIM115
        self.end, self._sequence = 0, 0

    def append(self, record: dict, pages: Iterable[memoryview]) -> None:
        """Commit one frame; a failure leaves the log as it was."""
        text = json.dumps(record).encode()
        file = self._file.fileno()
        place, crc = self.end + HEADER.size, 0
        try:
            for part in (text, *pages):
                place, crc = _write(file, part, place), zlib.crc32(part, crc)
            page_bytes = place - self.end - HEADER.size - len(text)
            end = _write(file, bytes(FOOTER.size), place)
            fields = (FRAME_MAGIC, self._sequence + 1, len(text), page_bytes, crc)
            _write(file, _sealed(HEADER, *fields), self.end)
            os.fsync(file)
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(file, self.end)
            raise
        self.end, self._sequence = end, self._sequence + 1
        self._mark()

    def replay(self, apply: Callable) -> None:
        """Call ``apply(record, file)`` for each frame, the file standing at its pages.

        Raises
        ------
        CorruptionError
            If a frame that was committed is broken.
        """
        size = os.fstat(self._file.fileno()).st_size
        while self.end < size:
            # A writer may complete the frame between the first look and the search.
            frame = self._frame() or (self._committed_behind(size) and self._frame())
            if frame is False:
                break
            if frame is None:
                raise CorruptionError(self.path, self.end, "a frame that was committed is broken")
            record_bytes, page_bytes = frame
            self._file.seek(self.end + HEADER.size)
            record = json.loads(self._file.read(record_bytes))
            apply(record, self._file)
            self.end += HEADER.size + record_bytes + page_bytes + FOOTER.size
            self._sequence += 1

    def recover(self) -> None:
        """Cut off what a crash left behind the last intact frame (for the writer)."""
        os.ftruncate(self._file.fileno(), self.end)
        if self.end:
            self._mark()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _mark(self) -> None:
        """Fill in the footer of the last frame; without it the frame is no less committed."""
        footer = _sealed(FOOTER, FOOTER_MAGIC, self.end)
        with contextlib.suppress(OSError):
            _write(self._file.fileno(), footer, self.end - FOOTER.size)

    def _frame(self) -> tuple[int, int] | None:
        """Return the sizes of record and pages of the frame at ``end`` if it is intact."""
        self._file.seek(self.end)
        header = self._file.read(HEADER.size)
        if not _intact(HEADER, header):
            return None
        magic, sequence, record_bytes, page_bytes, expected, _ = HEADER.unpack(header)
        if magic != FRAME_MAGIC or sequence != self._sequence + 1:
            return None
        left, crc = record_bytes + page_bytes, 0
        while left:
            part = self._file.read(min(left, CHUNK))
            if not part:
                return None
            left, crc = left - len(part), zlib.crc32(part, crc)
        return (record_bytes, page_bytes) if crc == expected else None

    def _committed_behind(self, size: int) -> bool:
        """Whether a footer stands between ``end`` and ``size``."""
        start = self.end
        while start < size:
            self._file.seek(start)
            part = self._file.read(CHUNK)
            place = part.find(FOOTER_MAGIC)
            while place >= 0:
                footer = part[place : place + FOOTER.size]
                end = start + place + FOOTER.size
                if _intact(FOOTER, footer) and FOOTER.unpack(footer)[1] == end:
                    return True
                place = part.find(FOOTER_MAGIC, place + 1)
            if len(part) < CHUNK:
                break
            start += CHUNK - FOOTER.size  # a footer may lie across the border
        return False


def _sealed(layout: struct.Struct, *fields) -> bytes:
    """Pack fields, and behind them the CRC-32 of their bytes."""
    data = layout.pack(*fields, 0)
    return data[:-4] + struct.pack("<I", zlib.crc32(data[:-4]))


def _intact(layout: struct.Struct, data: bytes) -> bool:
    """Whether a sealed header or footer is whole."""
    if len(data) < layout.size:
        return False
    return struct.unpack("<I", data[-4:])[0] == zlib.crc32(data[:-4])


def _write(file: int, data, place: int) -> int:
    """Write all of the data at a place: one call takes 2 GiB at most. Return where it ends."""
    data = memoryview(data)
    while data:
        written = os.pwrite(file, data, place)
        data, place = data[written:], place + written
    return place
