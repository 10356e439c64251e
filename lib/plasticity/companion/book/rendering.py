"""Render the staged book with Jupyter Book; a warning is an error."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from plasticity.companion import paths
from plasticity.companion.book import checks
from plasticity.companion.book.staging import stage

JUPYTER_BOOK = "from jupyter_book.cli.main import main; main()"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
SERIOUS = re.compile(r"\b(WARNING|ERROR|SEVERE|CRITICAL)\b|[Ee]rror:")


class BuildFailed(RuntimeError):
    """The book could not be rendered without warnings; the message shows them."""


def build(profile: str) -> Path:
    """Stage the book and render it.

    The pages are rendered beside the last book and replace it only when all is well.

    Parameters
    ----------
    profile : str
        Profile whose executed notebooks make the chapters.

    Returns
    -------
    Path
        The book's ``index.html``.

    Raises
    ------
    NotExecuted
        If a notebook was not executed at this profile.
    BuildFailed
        If Jupyter Book warned, or a page loads something from another host, shows a picture
        without alternative text, or links to a page that does not exist.
    """
    source = stage(profile)
    html = paths.book_html()
    work = html.parent / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    _render(source, work, html.parent / "build.log")
    rendered = work / "_build" / "html"
    if found := checks.problems(rendered):
        raise BuildFailed("\n".join(found))
    shutil.rmtree(html, ignore_errors=True)
    rendered.rename(html)
    shutil.rmtree(work)
    return html / "index.html"


def _render(source: Path, output: Path, log: Path) -> None:
    """Run Jupyter Book with warnings as errors, its output in a log file."""
    command = [sys.executable, "-c", JUPYTER_BOOK, "build", str(source)]
    command += ["--path-output", str(output), "-W", "--keep-going"]
    environment = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", **os.environ}
    with log.open("w", encoding="utf-8") as stream:
        status = subprocess.run(
            command, stdout=stream, stderr=subprocess.STDOUT, env=environment, check=False
        ).returncode
    if status:
        lines = COLOUR.sub("", log.read_text(encoding="utf-8")).splitlines()
        told = [line for line in lines if SERIOUS.search(line)]
        shown = "\n".join(told or lines[-30:])
        raise BuildFailed(f"{shown}\nThe whole output is in {log}")
