"""The page that sets each figure and table of the sources beside ours."""

import json
import shutil
from pathlib import Path

from plasticity.companion import paths
from plasticity.companion.book.chapters import Chapter
from plasticity.companion.yaml_files import read_yaml

FORMATS = ("svg", "pdf", "png")


def markdown(folder: Path, chapters: dict[str, Chapter]) -> str:
    """Return the comparison as Markdown, one section a system, one entry a figure or table.

    Figures that exist are copied into ``folder/drawn``.

    Parameters
    ----------
    folder : Path
        Folder of the staged book.
    chapters : dict
        The staged chapters by name.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If ``book/source_figures.yaml`` names a notebook that is not a chapter, or a figure that
        its notebook did not draw.
    """
    systems = read_yaml(paths.BOOK / "source_figures.yaml")
    sections = []
    for system, entries in systems.items():
        drawn = sum(bool(entry.get("notebook")) for entry in entries)
        body = "\n\n".join(_entry(entry, folder, chapters) for entry in entries)
        sections.append(f"## {system}\n\n{drawn} of {len(entries)} are here.\n\n{body}")
    return "\n\n".join(sections)


def _entry(entry: dict, folder: Path, chapters: dict[str, Chapter]) -> str:
    """Return one figure or table of a source with what we have for it."""
    name = entry.get("notebook")
    if name and name not in chapters:
        raise ValueError(
            f"source_figures.yaml, {entry['source']!r}: no notebook {name!r}; "
            f"chapters: {', '.join(chapters)}"
        )
    ours = f"[{chapters[name].title}](notebooks/{name}.ipynb)" if name else "*not yet*"
    lines = [f"{entry['source']} → {ours}", f": {entry['shows']}"]
    for figure in entry.get("figures", []):
        lines.append(f": {_figure(figure, chapters[name], folder)}")
    return "\n".join(lines)


def _figure(name: str, chapter: Chapter, folder: Path) -> str:
    """Copy a drawn figure into the book and return its picture with links to its files."""
    files = [paths.figures(chapter.profile) / f"{name}.{kind}" for kind in (*FORMATS, "json")]
    if missing := [file.name for file in files if not file.exists()]:
        if chapter.unavailable:
            return "not run: data"
        raise ValueError(
            f"source_figures.yaml: {chapter.name} did not draw {', '.join(missing)}; "
            f"run: plasticity run {chapter.name} --profile {chapter.profile}"
        )
    (folder / "drawn").mkdir(exist_ok=True)
    for file in files[:-1]:
        shutil.copy(file, folder / "drawn")
    alt = json.loads(files[-1].read_text(encoding="utf-8"))["alt"]
    links = " · ".join(f"{{download}}`{kind} <drawn/{name}.{kind}>`" for kind in FORMATS)
    return f"![{alt}](drawn/{name}.svg)\n\n  `{name}`: {links}"
