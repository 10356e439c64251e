"""The Hugging Face Hub: whether files of a pinned revision are at hand, and fetching them."""

import errno
import functools
import gzip
import itertools
import os
import threading
import urllib.request
from collections.abc import Iterable
from http.client import HTTPException
from pathlib import Path

LOOKUP_SECONDS = 2.0


class DownloadBroken(RuntimeError):
    """A download from the Hub broke off; the message says how to go on."""


def reachable(repository: str, revision: str, files: Iterable[str], kind: str = "dataset") -> bool:
    """Tell whether files are in the Hub's cache, or the Hub answers and may be asked.

    Parameters
    ----------
    repository, revision : str
        Where, and which commit.
    files : iterable of str
        Paths inside the repository.
    kind : {"dataset", "model"}
        What the repository holds.
    """
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    return cached(repository, revision, files, kind) or (
        not offline and answers(repository, revision, kind)
    )


def cached(repository: str, revision: str, files: Iterable[str], kind: str = "dataset") -> bool:
    """Tell whether all files are in the Hub's cache; parameters as in `reachable`."""
    from huggingface_hub import try_to_load_from_cache

    where = {"revision": revision, "repo_type": kind}
    return all(isinstance(try_to_load_from_cache(repository, file, **where), str) for file in files)


@functools.lru_cache
def answers(repository: str, revision: str, kind: str = "dataset") -> bool:
    """Ask the Hub for one small file; False after LOOKUP_SECONDS of silence, name lookup included.

    The answer is kept for the process, so that a machine without network waits once.
    """
    from huggingface_hub import hf_hub_url

    address = hf_hub_url(repository, "README.md", repo_type=kind, revision=revision)
    replies = []

    def ask() -> None:
        try:
            request = urllib.request.Request(address, method="HEAD")
            with urllib.request.urlopen(request, timeout=LOOKUP_SECONDS) as reply:
                replies.append(reply.status)
        except (OSError, HTTPException):
            return

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(LOOKUP_SECONDS)
    return replies == [200]


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


def first_lines(repository: str, revision: str, file: str, count: int) -> list[str]:
    """Stream the first lines of one gzipped text file of a dataset; the rest is never fetched.

    Parameters
    ----------
    repository, revision, file : str
        Where, which commit, and the path inside it.
    count : int
        How many lines, at most.

    Raises
    ------
    DownloadBroken
        If the download broke off.
    """
    from huggingface_hub import HfFileSystem

    try:
        address = f"datasets/{repository}@{revision}/{file}"
        with (
            HfFileSystem().open(address, "rb") as packed,
            gzip.open(packed, "rt", encoding="utf-8") as lines,
        ):
            return list(itertools.islice(lines, count))
    except Exception as error:
        raise _broken(repository, error) from error


def _broken(repository: str, error: Exception) -> DownloadBroken:
    return DownloadBroken(
        f"the download of {repository} from the Hugging Face Hub broke off ({error}). Fix: run "
        "it again, what was fetched is kept; or set HF_HUB_OFFLINE=1 to do without the Hub."
    )
