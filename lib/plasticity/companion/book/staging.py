"""Gather everything the book is made of in one folder, ready for Jupyter Book."""

import shutil
import subprocess
import tomllib
from pathlib import Path

import jinja2
import yaml

from plasticity.companion import paths
from plasticity.companion.book import api, chapters, ledger, sources
from plasticity.companion.book.numbers import Numbers
from plasticity.companion.yaml_files import read_yaml

GENERATED = {"ledger", "figures", "api"}
REMOTES = ("https://github.com/", "https://gitlab.com/")


def stage(profile: str) -> Path:
    """Write the book's sources for one profile into ``paths.book_stage()``.

    Parameters
    ----------
    profile : str
        Profile whose executed notebooks make the chapters.

    Returns
    -------
    Path
        The folder, emptied first.

    Raises
    ------
    NotExecuted
        If a notebook was not executed at this profile.
    ValueError
        If a page asks for a number, chapter or figure that does not exist.
    """
    collected = chapters.collect(profile)
    folder = paths.book_stage()
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "notebooks").mkdir(parents=True)
    shutil.copytree(paths.BOOK / "_static", folder / "_static")
    shutil.copy(paths.BOOK / "references.bib", folder)
    for chapter in collected:
        chapters.staged(chapter, folder / "notebooks")
    _write_scripts(folder / "scripts", collected)
    packages = api.write(folder)
    _write_pages(folder, profile, collected)
    (folder / "_toc.yml").write_text(_contents(collected, packages), encoding="utf-8")
    (folder / "_config.yml").write_text(_configuration(profile), encoding="utf-8")
    return folder


def _write_scripts(folder: Path, collected: list[chapters.Chapter]) -> None:
    """Write what interactive figures need; not into _static, which every page would load."""
    folder.mkdir()
    if any(chapters.interactive(chapter) for chapter in collected):
        from plotly.offline import get_plotlyjs

        (folder / chapters.PLOTLY).write_text(get_plotlyjs(), encoding="utf-8")


def _write_pages(folder: Path, profile: str, collected: list[chapters.Chapter]) -> None:
    """Render the prose pages, which are templates, into the staged folder."""
    numbers = Numbers(profile)
    names = {chapter.name: chapter for chapter in collected}

    def link(name: str, text: str | None = None) -> str:
        """Return a link to a chapter given by its topic, or 'not yet'."""
        found = [c for c in collected if name in (c.name, c.experiment)]
        return (
            f"[{text or found[0].title}](notebooks/{found[0].name}.ipynb)" if found else "*not yet*"
        )

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(paths.BOOK),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        profile=profile,
        chapters=collected,
        parts=[title for _, title in chapters.PARTS],
        duration=chapters.duration,
        link=link,
        metric=numbers.metric,
        verdict_counts=ledger.verdict_counts,
        data=numbers.data,
        ledger=lambda: ledger.html(names),
        source_figures=lambda: sources.markdown(folder, names),
    )
    for page in sorted(paths.BOOK.glob("*.md")):
        text = environment.get_template(page.name).render()
        (folder / page.name).write_text(text, encoding="utf-8")


def _contents(collected: list[chapters.Chapter], packages: list[str]) -> str:
    """Return the table of contents: parts by the chapters' numbers, then the fixed pages."""
    parts = []
    for _, title in chapters.PARTS:
        files = [{"file": f"notebooks/{c.name}"} for c in collected if c.part == title]
        if files:
            parts.append({"caption": title, "chapters": files})
    fixed = [{"file": name} for name in ("ledger", "figures")]
    parts.append({"caption": "Findings", "chapters": fixed})
    reference = {"file": "api", "sections": [{"file": page} for page in packages]}
    parts.append(
        {
            "caption": "Using it",
            "chapters": [
                {"file": "reproduce"},
                {"file": "commands"},
                reference,
                {"file": "bibliography"},
            ],
        }
    )
    return yaml.safe_dump(
        {"format": "jb-book", "root": "index", "parts": parts}, sort_keys=False, allow_unicode=True
    )


def _configuration(profile: str) -> str:
    """Return the configuration of Jupyter Book, with the repository and a banner filled in."""
    configuration = read_yaml(paths.BOOK / "_config.yml")
    if url := _repository():
        configuration["repository"]["url"] = url
        configuration["html"]["use_repository_button"] = True
    else:
        configuration.pop("launch_buttons")
    if profile == "smoke":
        banner = f"Built at the {chapters.SMOKE}."
        configuration["html"]["announcement"] = banner
    return yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True)


def _repository() -> str:
    """Return the public address of this checkout, for the Binder and Colab buttons.

    The remote ``origin`` where it is on a public host, else the one named in ``pyproject.toml``;
    empty where neither is known.
    """
    asked = subprocess.run(
        ["git", "config", "--get", "remote.origin.url"],
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    origin = asked.stdout.strip().removesuffix(".git")
    for host in ("github.com", "gitlab.com"):
        origin = origin.replace(f"git@{host}:", f"https://{host}/")
    if origin.startswith(REMOTES):
        return origin
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project.get("urls", {}).get("Repository", "")
