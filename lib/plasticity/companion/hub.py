"""The Hugging Face Hub: whether files of a revision are at hand, and fetching them."""

import contextlib
import errno
import functools
import os
import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from plasticity.companion import readers

if TYPE_CHECKING:
    import pyarrow as pa

LOOKUP_SECONDS = 2.0
COMMIT = re.compile("[0-9a-f]{40}")


class DownloadBroken(RuntimeError):
    """A download from the Hub broke off; the message says how to go on."""


def reachable(repository: str, revision: str, files: Iterable[str], kind: str = "dataset") -> bool:
    """Tell whether files are in the Hub's cache, or the Hub answers and may be asked.

    Parameters
    ----------
    repository, revision : str
        Where, and which commit or branch.
    files : iterable of str
        Paths inside the repository.
    kind : {"dataset", "model"}
        What the repository holds.
    """
    return cached(repository, revision, files, kind) or bool(answer(repository, revision, kind))


def commit(repository: str, revision: str, file: str) -> str:
    """Return the commit that a revision of a reachable dataset stands for.

    A commit stands for itself; a branch, which may move, for where the Hub has it now, and without
    an answer for where it was when ``file`` was fetched into the cache.

    Examples
    --------
    >>> commit("some/one", "607bd4c8450a42878aa9ddc051a65a055450ef87", "a.parquet")[:7]
    '607bd4c'
    """
    from huggingface_hub import try_to_load_from_cache

    if COMMIT.fullmatch(revision):
        return revision
    if now := answer(repository, revision):
        return now
    file_path = try_to_load_from_cache(repository, file, revision=revision, repo_type="dataset")
    snapshot = Path(file_path).parents[file.count("/")]  # the cache's folder of one commit
    return snapshot.name


def cached(repository: str, revision: str, files: Iterable[str], kind: str = "dataset") -> bool:
    """Tell whether all files are in the Hub's cache; parameters as in `reachable`."""
    from huggingface_hub import try_to_load_from_cache

    where = {"revision": revision, "repo_type": kind}
    return all(isinstance(try_to_load_from_cache(repository, file, **where), str) for file in files)


@functools.lru_cache
def answer(repository: str, revision: str, kind: str = "dataset") -> str | None:
    """Ask the Hub for the commit of a revision.

    None where HF_HUB_OFFLINE forbids to ask, and after LOOKUP_SECONDS of silence, name lookup
    included. The answer is kept for the process, so that a machine without network waits once.
    """
    from huggingface_hub import HfApi

    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return None
    replies = []

    def ask() -> None:
        where = {"repo_type": kind, "revision": revision, "timeout": LOOKUP_SECONDS}
        with contextlib.suppress(Exception):  # of any kind: there is no answer
            replies.append(HfApi().repo_info(repository, **where).sha)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(LOOKUP_SECONDS)
    return replies[0] if replies else None


def fetch(repository: str, revision: str, file: str, kind: str = "dataset") -> Path:
    """Return where one file lies in the Hub's cache, downloading it if it is missing there.

    Raises
    ------
    DownloadBroken
        If the download broke off.
    OSError
        If the disk is full or may not be written.
    """
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, file, revision=revision, repo_type=kind))
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EACCES, errno.EROFS):
            raise
        raise _broken(repository, error) from error


def first_rows(repository: str, revision: str, file: str, count: int) -> "pa.Table":
    """Stream the first rows of one file of a dataset; most of the rest is never fetched.

    Parameters
    ----------
    repository, revision, file : str
        Where, which commit, and the path inside it: of a parquet file, or of gzipped JSON lines.
    count : int
        How many rows, at most.

    Raises
    ------
    DownloadBroken
        If the download broke off.
    """
    from huggingface_hub import HfFileSystem

    read = readers.first_of_parquet if file.endswith(".parquet") else readers.first_json_lines
    try:
        with HfFileSystem().open(f"datasets/{repository}@{revision}/{file}", "rb") as remote:
            return read(remote, count)
    except Exception as error:
        raise _broken(repository, error) from error


def _broken(repository: str, error: Exception) -> DownloadBroken:
    return DownloadBroken(
        f"the download of {repository} from the Hugging Face Hub broke off ({error}). Fix: run "
        "it again, what was fetched is kept; or set HF_HUB_OFFLINE=1 to do without the Hub."
    )
