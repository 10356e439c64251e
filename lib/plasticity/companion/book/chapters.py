"""Chapters: executed notebooks turned into pages of the book.

A chapter is named ``NN_topic``; its number decides the part of the book it stands in, so a new
notebook needs no edit here.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from plasticity.companion import figures, notebooks, paths

PARTS = (
    (range(0, 10), "Data"),
    (range(10, 20), "Neural Foam"),
    (range(20, 30), "Neuron-graph"),
    (range(30, 40), "Plastic Neural Networks"),
    (range(40, 100), "Across the projects"),
)
LONG_CELL = 16  # lines of input above which a cell starts folded
PROGRESS = re.compile(r"\d+%\|.*\||\b\d+(\.\d+)?(it|s|unit)/(s|it|unit)\b")
DESCRIBED = re.compile(r"""\balt=("\s*[^"\s]|'\s*[^'\s])""")
PLOTLY = "plotly.min.js"  # in the book's folder, once for all pages
SMOKE = "smoke profile: a test of the machinery, not a result"


class NotExecuted(FileNotFoundError):
    """A notebook that was not executed, or not to its end; the message names the command."""


@dataclass(frozen=True)
class Chapter:
    """One executed notebook.

    Parameters
    ----------
    name : str
        File name without its ending, such as ``31_pnn_refinement``.
    profile : str
        Profile of the book it is staged for.
    notebook : NotebookNode
        The executed notebook, as papermill left it.
    defaults : dict
        The notebook's own parameters, by name.
    """

    name: str
    profile: str
    notebook: NotebookNode
    defaults: dict

    @property
    def number(self) -> int:
        """Return the chapter's number, such as 31."""
        return int(self.name.split("_", 1)[0])

    @property
    def experiment(self) -> str:
        """Return the topic, which is also the name of the experiment: ``pnn_refinement``."""
        return self.name.split("_", 1)[1]

    @property
    def part(self) -> str:
        """Return the title of the part of the book that holds this chapter."""
        return next(title for numbers, title in PARTS if self.number in numbers)

    @property
    def title(self) -> str:
        """Return the text of the notebook's first heading."""
        for cell in self.notebook.cells:
            found = re.search(r"^# (.+)$", cell.source, re.M) if cell.cell_type == "markdown" else 0
            if found:
                return found[1].strip()
        raise ValueError(f"{self.name}: no heading of the first level; begin it with '# Title'")

    @property
    def seconds(self) -> float:
        """Return how long the notebook took to execute, in seconds (0.0 when unknown)."""
        return float(self._papermill.get("duration") or 0.0)

    @property
    def unavailable(self) -> bool:
        """Tell whether the page holds only the message that its data could not be had."""
        return self._papermill.get("status") == notebooks.NOT_RUN

    @property
    def parameters(self) -> dict:
        """Return the parameters that differ from the notebook's own defaults."""
        given = self._papermill.get("parameters") or {}
        return {name: v for name, v in given.items() if self.defaults.get(name, ...) != v}

    @property
    def _papermill(self) -> dict:
        return self.notebook.metadata.get("papermill", {})

    def rerun(self) -> tuple[str, str]:
        """Return the command that makes this page again, and its plain papermill form."""
        changed = {name: v for name, v in self.parameters.items() if name != "profile"}
        ours = f"plasticity run {self.name} --profile {self.profile}{_options(changed)}"
        source = f"notebooks/{self.name}.ipynb {self.name}.ipynb"
        return ours, f"papermill {source} -p profile {self.profile}{_options(changed)}"


def collect(profile: str) -> list[Chapter]:
    """Return the executed notebooks of a profile, in the order of their numbers.

    Parameters
    ----------
    profile : str
        Name of a profile.

    Returns
    -------
    list of Chapter

    Raises
    ------
    NotExecuted
        If a notebook in ``notebooks/`` has not been executed at this profile, or failed.
    """
    chapters, problems = [], []
    for source in sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        executed = paths.executed_notebooks(profile) / source.name
        remedy = f"run: plasticity run {source.stem} --profile {profile}"
        if not executed.exists():
            problems.append(f"{source.stem} was not executed at profile {profile!r}; {remedy}")
            continue
        notebook = nbformat.read(executed, as_version=4)
        if failure := _failure(notebook):
            problems.append(f"{source.stem} stopped with {failure}; mend it, then {remedy}")
            continue
        declared = notebooks.declared(source)
        defaults = {name: entry["default"] for name, entry in declared.items()}
        chapters.append(Chapter(source.stem, profile, notebook, defaults))
    if problems:
        raise NotExecuted("\n".join(problems))
    return chapters


def page(chapter: Chapter) -> NotebookNode:
    """Return the chapter as a page of the book.

    Below the title stands how the page was made, at its end how to make it again. Progress bars
    and messages to standard error are gone, long inputs start folded.

    Raises
    ------
    ValueError
        If a picture has no alternative text.
    """
    source = nbformat.from_dict(chapter.notebook)
    cells = []
    for index, cell in enumerate(source.cells):
        cell = nbformat.from_dict(cell)
        if cell.cell_type == "code":
            cell.outputs = [kept for output in cell.outputs if (kept := _clean(output))]
            _require_alternative_text(chapter.name, index, cell)
            _tag(cell, chapter)
            cell.metadata.pop("papermill", None)
        cells.append(cell)
    first = next(i for i, cell in enumerate(cells) if cell.cell_type == "markdown")
    heading, _, rest = cells[first].source.partition("\n")
    cells[first].source = f"{heading}\n\n{_note(chapter)}\n\n{rest.strip()}".strip()
    cells.append(new_markdown_cell(_ending(chapter), id="rerun"))
    metadata = {k: v for k, v in source.metadata.items() if k in ("kernelspec", "language_info")}
    return NotebookNode(cells=cells, metadata=NotebookNode(metadata), nbformat=4, nbformat_minor=5)


def duration(seconds: float) -> str:
    """Return a duration in words: ``'0.4 s'``, ``'48 s'``, ``'12 min'``, ``'2.1 h'``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _options(parameters: dict) -> str:
    return "".join(f" -p {name} {shlex.quote(str(value))}" for name, value in parameters.items())


def _failure(notebook: NotebookNode) -> str:
    """Return the error an execution ended with, empty if it ran to its end."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                return f"{output.ename}: {output.evalue}"
    return "an exception" if notebook.metadata.get("papermill", {}).get("exception") else ""


def _clean(output: NotebookNode) -> NotebookNode | None:
    """Return an output without progress bars; None where nothing remains."""
    if output.output_type == "stream":
        if output.name == "stderr":
            return None
        lines = [line.rsplit("\r", 1)[-1] for line in output.text.splitlines()]
        kept = [line for line in lines if not PROGRESS.search(line)]
        return NotebookNode(output, text="\n".join(kept)) if any(kept) else None
    if "application/vnd.jupyter.widget-view+json" in output.get("data", {}):
        return None
    if _interactive(output):
        shared = f'<script src="../{PLOTLY}"></script>'
        page = output.data["text/html"].replace(figures.plotly_script(), shared)
        return NotebookNode(output, data=NotebookNode(output.data, **{"text/html": page}))
    return output


def _interactive(output: NotebookNode) -> bool:
    return "Plotly.newPlot" in output.get("data", {}).get("text/html", "")


def interactive(chapter: Chapter) -> bool:
    """Tell whether a chapter has a figure that needs plotly's script."""
    cells = chapter.notebook.cells
    return any(_interactive(output) for cell in cells for output in cell.get("outputs", []))


def _require_alternative_text(name: str, index: int, cell: NotebookNode) -> None:
    described = cell.metadata.get("mystnb", {}).get("image", {}).get("alt")
    for output in cell.outputs:
        data = output.get("data", {})
        images = re.findall(r"<img\b[^>]*>", data.get("text/html", ""))
        bare = [tag for tag in images if not DESCRIBED.search(tag)]
        picture = any(kind.startswith("image/") for kind in data) and "text/html" not in data
        if bare or (picture and not described):
            raise ValueError(
                f"{name}, cell {index}: a picture without alternative text; "
                "show it with plasticity.companion.figures.show(figure, name, alt, profile)"
            )


def _tag(cell: NotebookNode, chapter: Chapter) -> None:
    tags = list(cell.metadata.get("tags", []))
    if "provenance" in tags:
        tags.append("remove-output")
    if "injected-parameters" in tags and not chapter.parameters:
        tags.append("remove-cell")
    elif len(cell.source.splitlines()) > LONG_CELL and "hide-input" not in tags:
        tags.append("hide-input")
    cell.metadata["tags"] = tags


def _provenance(chapter: Chapter) -> str:
    """Return the Markdown that the cells tagged ``provenance`` displayed."""
    shown = [
        output.get("data", {}).get("text/markdown", "").strip()
        for cell in chapter.notebook.cells
        if "provenance" in cell.metadata.get("tags", [])
        for output in cell.get("outputs", [])
    ]
    return "\n\n".join(filter(None, shown))


def _note(chapter: Chapter) -> str:
    banner = f":::::{{warning}}\n{SMOKE[0].upper()}{SMOKE[1:]}.\n:::::\n\n"
    provenance = _provenance(chapter)
    made = "" if provenance else f"Profile **{chapter.profile}**. "
    if chapter.seconds:
        made += f"The notebook ran in {duration(chapter.seconds)}."
    if changed := {k: v for k, v in chapter.parameters.items() if k != "profile"}:
        made += (
            " Changed from its defaults: "
            + ", ".join(f"`{name} = {value!r}`" for name, value in changed.items())
            + "."
        )
    body = f"{provenance}\n\n{made}".strip()
    note = f":::::{{admonition}} How this page was made\n:class: provenance\n\n{body}\n:::::"
    return (banner if chapter.profile == "smoke" else "") + note


def _ending(chapter: Chapter) -> str:
    ours, plain = chapter.rerun()
    return (
        "## Run this page again\n\n"
        f"```bash\n{ours}\n```\n\n"
        "or with papermill alone, from the folder of the project:\n\n"
        f"```bash\n{plain}\n```"
    )


def staged(chapter: Chapter, folder: Path) -> Path:
    """Write a chapter's page into a folder and return its path."""
    target = folder / f"{chapter.name}.ipynb"
    nbformat.write(page(chapter), target)
    return target
