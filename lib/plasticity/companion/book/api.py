"""The API reference: one page a package, generated from the docstrings."""

import ast
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[2]
NEWLINES = "\n\n"


def write(folder: Path) -> list[str]:
    """Write a page for each package that has modules, and a page that lists them.

    Parameters
    ----------
    folder : Path
        Folder of the staged book.

    Returns
    -------
    list of str
        Names of the packages' pages, without ending, relative to ``folder``.
    """
    (folder / "api").mkdir()
    pages, listing = [], []
    for package in sorted(file.parent for file in LIBRARY.glob("*/__init__.py")):
        name = f"plasticity.{package.name}"
        summary = _docstring(package / "__init__.py").splitlines()[0]
        modules = _modules(package)
        if not modules:
            listing.append(f"**{name}**, *not yet*\n: {summary}")
            continue
        blocks = [_block(module, members, module != name) for module, members in modules]
        (folder / "api" / f"{package.name}.md").write_text(
            f"# {name}\n\n```{{eval-rst}}\n{NEWLINES.join(blocks)}\n```\n", encoding="utf-8"
        )
        pages.append(f"api/{package.name}")
        listing.append(f"[{name}](api/{package.name}.md)\n: {summary}")
    text = ["# API reference", "Generated from the docstrings of the library.", *listing]
    (folder / "api.md").write_text(NEWLINES.join(text) + "\n", encoding="utf-8")
    return pages


def _docstring(file: Path) -> str:
    return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""


def _modules(package: Path) -> list[tuple[str, bool]]:
    """Return the documented modules of a package; packages are shown without their members."""
    found = []
    for file in sorted(package.rglob("*.py")):
        relative = file.relative_to(LIBRARY.parent).with_suffix("")
        private = any(part.startswith("_") and part != "__init__" for part in relative.parts)
        if private or not _docstring(file):
            continue
        is_package = relative.name == "__init__"
        found.append(
            (".".join(relative.parent.parts if is_package else relative.parts), not is_package)
        )
    return found if any(members for _, members in found) else []


def _block(name: str, members: bool, heading: bool) -> str:
    title = f"{name}\n{'-' * len(name)}\n\n" if heading else ""
    options = "   :members:\n   :member-order: bysource\n" if members else ""
    return f"{title}.. automodule:: {name}\n{options}"
