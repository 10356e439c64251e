"""The API reference: one page a package, generated from the docstrings."""

import ast
from pathlib import Path

PACKAGES = {
    "companion": "The companion",
    "pnn": "Plastic Neural Networks",
    "foam": "Neural Foam",
    "substrate": "Neuron-graph",
    "experiments": "Experiments",
    "plots": "Plots",
}
LIBRARY = Path(__file__).resolve().parents[2]


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
    for package, title in PACKAGES.items():
        modules = _modules(LIBRARY / package)
        if not modules:
            listing.append(f"- **{title}** (`plasticity.{package}`): *not yet*")
            continue
        blocks = "\n\n".join(
            _block(name, members, name.count(".") > 1) for name, members in modules
        )
        (folder / "api" / f"{package}.md").write_text(
            f"# plasticity.{package}\n\n```{{eval-rst}}\n{blocks}\n```\n", encoding="utf-8"
        )
        pages.append(f"api/{package}")
        names = ", ".join(f"`{name.removeprefix('plasticity.')}`" for name, _ in modules)
        listing.append(f"- [{title}](api/{package}.md): {names}")
    (folder / "api.md").write_text(
        "# API reference\n\nGenerated from the docstrings of the library.\n\n"
        + "\n".join(listing)
        + "\n",
        encoding="utf-8",
    )
    return pages


def _modules(package: Path) -> list[tuple[str, bool]]:
    """Return the documented modules of a package; packages are shown without their members."""
    found = []
    for file in sorted(package.rglob("*.py")):
        relative = file.relative_to(LIBRARY.parent).with_suffix("")
        private = any(part.startswith("_") and part != "__init__" for part in relative.parts)
        if private or not ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))):
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
