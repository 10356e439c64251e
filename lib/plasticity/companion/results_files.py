"""One result on disk: tidy rows in parquet, and where they come from in a JSON beside it."""

import errno
import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

SCHEMA_VERSION = 1
MEASURED = ["step", "split", "metric", "value", "unit"]
COLUMNS = ["experiment", "variant", "profile", "seed", *MEASURED]
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class ResultCorrupt(RuntimeError):
    """A stored result that cannot be read or was altered; the file is left where it is."""


class StoreFull(OSError):
    """The disk (or a quota) has no room for a result; what was stored before is untouched."""


def empty_rows() -> pd.DataFrame:
    """Return a table of results without rows."""
    kinds = {"seed": "int64", "step": "int64", "value": "float64"}
    return pd.DataFrame({name: pd.Series(dtype=kinds.get(name, "str")) for name in COLUMNS})


def checked_rows(rows: pd.DataFrame, **identity: Any) -> pd.DataFrame:
    """Return what an experiment measured as rows of the store.

    Parameters
    ----------
    rows : DataFrame
        Columns step (int), split (str), metric (str), value (number) and unit (str); at most one
        row for each step, split and metric.
    **identity
        The columns that the store adds: experiment, variant, profile and seed.

    Returns
    -------
    DataFrame
        The columns of `COLUMNS`, in that order.

    Raises
    ------
    ValueError
        If there are no rows, a column is missing, unknown or of the wrong type, or rows repeat.
    """
    where = f"the rows of {identity['experiment']} ({identity['variant']})"
    if sorted(rows.columns) != sorted(MEASURED):
        raise ValueError(f"{where} have columns {list(rows.columns)}; allowed: {MEASURED}")
    if rows.empty:
        raise ValueError(f"{where} are empty; an experiment measures something or raises")
    for name in ("split", "metric", "unit"):
        wrong = [value for value in rows[name] if not isinstance(value, str)]
        if wrong:
            raise ValueError(f"{where}: {name} is {wrong[0]!r}; allowed: text")
    if not pd.api.types.is_integer_dtype(rows["step"]):
        raise ValueError(f"{where}: step is of type {rows['step'].dtype}; allowed: integers")
    if not pd.api.types.is_numeric_dtype(rows["value"]):
        raise ValueError(f"{where}: value is of type {rows['value'].dtype}; allowed: numbers")
    repeated = rows[rows.duplicated(["step", "split", "metric"])]
    if not repeated.empty:
        step, split, metric = repeated.iloc[0][["step", "split", "metric"]]
        raise ValueError(f"{where} hold {metric} on {split!r} at step {step} more than once")
    table = rows.reset_index(drop=True).assign(**identity)[COLUMNS]
    kinds = {name: str(dtype) for name, dtype in empty_rows().dtypes.items()}
    return table.astype(kinds)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn a full disk into one clear error.

    Raises
    ------
    StoreFull
        If what is done inside runs out of space.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL or isinstance(error, StoreFull):
            raise
        free = shutil.disk_usage(folder if folder.exists() else Path.cwd()).free
        raise StoreFull(
            error.errno,
            f"cannot write under {folder}: {os.strerror(error.errno)} ({free:,} bytes free). "
            "What was stored before is untouched: make room, or set PLASTICITY_OUTPUT to a "
            "folder on another disk, and run it again",
        ) from error


def _write(contents: dict[Path, bytes]) -> None:
    """Replace files, each whole: all are on disk under other names before the first is renamed."""
    prepared = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in contents}
    try:
        for path, temporary in prepared.items():
            with open(temporary, "wb") as stream:
                stream.write(contents[path])
                stream.flush()
                os.fsync(stream.fileno())
        for path, temporary in prepared.items():
            os.replace(temporary, path)
    finally:
        for temporary in prepared.values():
            temporary.unlink(missing_ok=True)


def write_result(path: Path, rows: pd.DataFrame, record: dict[str, Any]) -> None:
    """Store one result: the rows first, then the record that makes them count.

    The caller holds the result's lock: temporary files of killed processes are removed here.

    Parameters
    ----------
    path : Path
        The JSON to write; the parquet lies beside it.
    rows : DataFrame
        Columns as `COLUMNS`.
    record : dict
        Where the rows come from; the schema version and their sha256 are added.

    Raises
    ------
    StoreFull
        If there is no room; nothing stored before is lost.
    """
    buffer = io.BytesIO()
    rows.to_parquet(buffer, index=False)
    record = {"schema_version": SCHEMA_VERSION, **record, "status": "success"}
    record["rows_sha256"] = _digest(buffer.getvalue())
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        for stale in path.parent.glob(f".{path.stem}.*.tmp"):
            stale.unlink(missing_ok=True)
        _write({path.with_suffix(".parquet"): buffer.getvalue(), path: _as_json(record)})
    failure_path(path).unlink(missing_ok=True)


def _as_json(record: dict[str, Any]) -> bytes:
    return (json.dumps(record, indent=1) + "\n").encode()


def failure_path(path: Path) -> Path:
    """Return where the record of a failed run is kept, beside the result it did not become."""
    return path.with_name(f"{path.stem}-failed.json")


def write_failure(path: Path, record: dict[str, Any], error: str) -> None:
    """Keep the record of a run that failed, with the error's text; it is never shown."""
    record = {"schema_version": SCHEMA_VERSION, **record, "status": "failed", "error": error}
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        _write({failure_path(path): _as_json(record)})


def _corrupt(path: Path, reason: str) -> ResultCorrupt:
    return ResultCorrupt(
        f"{path} {reason}. It was left as it is: move it away to have it measured again, "
        "or run with fresh=True to replace it"
    )


def read_record(path: Path) -> dict[str, Any]:
    """Return the record of a result.

    Raises
    ------
    ResultCorrupt
        If the file is not whole, or of another schema.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        version = record["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise _corrupt(path, "is not a whole record of a result") from error
    if version != SCHEMA_VERSION:
        raise _corrupt(path, f"has schema version {version}; this code reads {SCHEMA_VERSION}")
    return record


def read_result(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the rows and the record of a finished result.

    Parameters
    ----------
    path : Path
        The JSON; the parquet lies beside it.

    Raises
    ------
    ResultCorrupt
        If either file is truncated, altered or missing.
    """
    table = path.with_suffix(".parquet")
    for attempt in range(2):
        record = read_record(path)
        content = table.read_bytes() if table.exists() else None
        if content is not None and _digest(content) == record.get("rows_sha256"):
            return pd.read_parquet(io.BytesIO(content)), record
        if attempt == 0:
            time.sleep(0.2)  # another process may be replacing the two files just now
    if content is None:
        raise _corrupt(table, "is missing, but its record is there")
    raise _corrupt(table, "is truncated or altered: its sha256 differs from its record's")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
