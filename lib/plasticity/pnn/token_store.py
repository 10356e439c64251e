"""The tokenizer and the tokens of a corpus, kept on disk: each is made once."""

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tqdm import tqdm

from plasticity.pnn.checkpoint import digest, disk_errors

TEXTS_PER_SHARD = 100_000


def in_shards(
    folder: Path,
    encode: Callable[[list[str]], np.ndarray],
    texts: Sequence[str],
    texts_per_shard: int = TEXTS_PER_SHARD,
) -> np.ndarray:
    """Return the tokens of all texts, and keep them on disk, so many texts to a file.

    A run that was killed goes on after the last whole file, and a file that is damaged is made
    again. Processes that ask for the same folder wait for each other and do the work once.

    Parameters
    ----------
    folder : Path
        Of these texts and this tokenizer alone: what lies in it is not compared with them.
    encode : callable
        From texts to their tokens one after another, an array of one dimension; those of several
        texts must be those of each, joined.
    texts : sequence of str
        Only the texts of missing files are read.
    texts_per_shard : int
        At least 1.

    Returns
    -------
    numpy.ndarray of int64, one dimension

    Raises
    ------
    OSError
        If the disk is full; files written before stay.

    Examples
    --------
    >>> import tempfile
    >>> def encode(texts):
    ...     return np.array([len(text) for text in texts])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     in_shards(Path(folder), encode, ["a", "bc", ""], texts_per_shard=2).tolist()
    [1, 2, 0]
    """
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(texts), texts_per_shard)
    parts = [np.zeros(0, dtype=np.int64)]
    with FileLock(folder / "lock"):
        for start in tqdm(starts, "tokens", unit="shard", disable=len(starts) < 2, leave=False):
            path = folder / f"{start:09}-{texts_per_shard}.safetensors"
            ids = _read(path)
            if ids is None:
                ids = encode(list(texts[start : start + texts_per_shard]))
                _write(path, ids)
            parts.append(ids.astype(np.int64))
    return np.concatenate(parts)


def kept_tokenizer(path: Path, train: Callable[[], Tokenizer]) -> Tokenizer:
    """Return the tokenizer of a file; where there is none that can be used, train and keep it.

    Processes that ask for the same file wait for each other.

    Parameters
    ----------
    path : Path
        Of this corpus and these settings alone.
    train : callable
        Without arguments; returns the tokenizer.

    Returns
    -------
    tokenizers.Tokenizer
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.exists():
            text = path.read_text(encoding="utf-8")
            with contextlib.suppress(Exception):  # tokenizers raises nothing more telling
                return Tokenizer.from_str(text)
        tokenizer = train()
        temporary = path.with_suffix(".tmp")
        try:
            temporary.write_text(tokenizer.to_str(), encoding="utf-8")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return tokenizer


def _read(path: Path) -> np.ndarray | None:
    """Return the tokens of a file, or None where there is none, or no whole one."""
    try:
        with safe_open(path, "pt") as file:
            ids, noted = file.get_tensor("ids"), (file.metadata() or {}).get("sha256")
    except (FileNotFoundError, SafetensorError):
        return None
    return ids.numpy() if digest({"ids": ids}) == noted else None


def _write(path: Path, ids: np.ndarray) -> None:
    tensors = {"ids": torch.from_numpy(ids.astype(np.int32))}
    temporary = path.with_suffix(".tmp")
    try:
        with disk_errors(temporary):
            save_file(tensors, temporary, {"sha256": digest(tensors)})
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
