"""The outline of the project, read from its files: who imports whom, sizes, notebooks, pins."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml

from plasticity.companion import notebooks, paths

PACKAGE = paths.ROOT / "lib" / "plasticity"
MODULES = sorted(PACKAGE.rglob("*.py"))
NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
SYSTEMS = ("foam", "substrate", "pnn")
# For each part, what it may import of plasticity beside itself.
ALLOWED = {
    **dict.fromkeys(SYSTEMS, ()),
    "peers": (),
    "plots": (),
    "companion": ("experiments",),
    "experiments": (*SYSTEMS, "peers", "companion"),
    "findings": (*SYSTEMS, "experiments", "companion"),
}
NOT_ALLOWED = dict.fromkeys(("substrate", "peers", "plots"), ("torch", "transformers"))
WRITES = ("open", "savefig", "mkdir", "write_text", "write_bytes", "to_parquet", "to_csv", "dump")
PARAMETERS = {"profile": "str", "seeds": "int", "fresh": "bool", "device": "str"}


def imported(path):
    """Return the full names that a module imports, relative imports resolved."""
    package = path.relative_to(PACKAGE.parent).parent.parts
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*start, *([node.module] if node.module else [])])
            names += [f"{module}.{alias.name}" for alias in node.names]
    return names


def identify(path):
    return path.relative_to(paths.ROOT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=identify)
def test_imports_go_one_way(path):
    part = path.relative_to(PACKAGE).parts[0]
    names = imported(path)
    for name in names:
        parts = name.split(".")
        if parts[0] == "plasticity" and len(parts) > 1 and part in ALLOWED:
            allowed = (part, "__version__", *ALLOWED[part])
            assert parts[1] in allowed, f"{part} may not import {name}"
    libraries = {name.split(".")[0] for name in names}
    assert not libraries & set(NOT_ALLOWED.get(part, ()))


@pytest.mark.parametrize("path", sorted((PACKAGE / "plots").glob("*.py")), ids=identify)
def test_plots_write_no_files(path):
    calls = [n.func for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
    called = {getattr(call, "attr", getattr(call, "id", None)) for call in calls}
    assert not called & set(WRITES)


@pytest.mark.parametrize("path", MODULES, ids=identify)
def test_modules_and_functions_are_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 500
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[1:2] if ast.get_docstring(node) else node.body[:1]
            length = node.end_lineno - first[0].lineno + 1 if first else 0
            assert length < 60, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=identify)
def test_notebook_is_committed_as_it_should_be(path):
    raw = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(raw)
    assert (raw.nbformat, raw.nbformat_minor >= 5) == (4, True), "cells need fixed ids"
    assert raw.metadata.kernelspec.name == "python3"
    assert "papermill" not in raw.metadata
    identities = [cell.id for cell in raw.cells]
    assert len(set(identities)) == len(identities)
    code = [cell for cell in raw.cells if cell.cell_type == "code"]
    assert code[0].metadata.get("tags") == ["parameters"]
    for cell in code:
        assert cell.outputs == []
        assert cell.execution_count is None
        assert len(cell.source.splitlines()) <= 18, cell.source
        classes = [n for n in ast.walk(ast.parse(cell.source)) if isinstance(n, ast.ClassDef)]
        assert classes == []
    declared = notebooks.declared(path)
    assert {name: declared[name]["kind"] for name in PARAMETERS} == PARAMETERS
    assert declared["profile"]["default"] == "laptop"
    assert all(item["help"] for item in declared.values())


def test_conda_environment_has_the_same_pins():
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["book"], *extras["test"]]
    environment = yaml.safe_load((paths.ROOT / "environment.yml").read_text())
    [pins] = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    assert sorted(pins) == sorted([*wanted, "-e ."])
    assert all("==" in pin for pin in wanted)


def files_in_a_clone():
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs git")
    found = [paths.ROOT / name for name in listed.stdout.splitlines()]
    return [path for path in found if path.is_file() and not path.is_symlink()]


def test_no_file_knows_a_machine():
    folder = re.compile(rb"(?<![\w.:/-])/(?:home|Users|root|work|opt|mnt)/\w")
    known = [identify(p) for p in files_in_a_clone() if folder.search(p.read_bytes())]
    assert known == []


def test_pins_name_no_server():
    for name in ("requirements.lock", "environment.yml", "pyproject.toml"):
        path = Path(paths.ROOT / name)
        if path.exists():
            assert "://" not in path.read_text(), name


def test_notebooks_are_named_after_experiments():
    names = {path.stem for path in (PACKAGE / "experiments").glob("*.py")}
    topics = [path.stem.split("_", maxsplit=1)[1] for path in NOTEBOOKS]
    assert all(re.fullmatch(r"\d\d_[a-z0-9_]+", path.stem) for path in NOTEBOOKS)
    assert [topic for topic in topics if not any(topic in name for name in names)] == []
