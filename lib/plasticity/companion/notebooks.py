"""Running notebooks with papermill, strictly: a misspelt or mistyped parameter is an error.

Nothing else is added: plain ``papermill`` gives the same notebook.
"""

import ast
import importlib
import os
import re
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plasticity.companion import paths, profiles
from plasticity.companion.configuration import check_choice

KINDS = {"int": int, "float": float, "bool": bool, "str": str}
NOT_RUN = "not run: data"


class NotebookFailed(RuntimeError):
    """A cell raised an error; the message is that error, and where the notebook was kept."""


def _papermill() -> types.ModuleType:
    """Import papermill, without what a third of the time to start a notebook would go to.

    That is a parser of international web addresses, which jsonschema loads where it is installed,
    and which no notebook needs.
    """
    unneeded = "rfc3987_syntax"
    loaded = unneeded in sys.modules
    sys.modules.setdefault(unneeded, None)
    try:
        return importlib.import_module("papermill")
    finally:
        if not loaded:
            del sys.modules[unneeded]


def find(notebook: str | Path | int) -> Path:
    """Return the file of a notebook.

    Parameters
    ----------
    notebook : str, Path or int
        Its path, its file name, its topic or its number, such as ``31``.

    Raises
    ------
    ValueError
        If there is no such notebook, or several; the message lists them.

    Examples
    --------
    >>> find(31).name
    '31_pnn_refinement.ipynb'
    """
    given = Path(str(notebook))
    if given.suffix == ".ipynb" and given.is_file():
        return given.resolve()
    known = sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    stem = given.name.removesuffix(".ipynb")
    found = [path for path in known if stem in (path.stem, *path.stem.split("_", maxsplit=1))]
    if len(found) != 1:
        listed = ", ".join(path.stem for path in found or known) or "none yet"
        raise ValueError(f"notebook is {str(notebook)!r}; allowed: a path, or one of {listed}")
    return found[0]


def declared(notebook: str | Path) -> dict[str, dict[str, Any]]:
    """Return the parameters that a notebook declares in its cell tagged ``parameters``.

    Parameters
    ----------
    notebook : str or Path
        As for `find`.

    Returns
    -------
    dict
        By name, a dict of ``kind`` (int, float, bool or str), ``default`` and ``help``.

    Raises
    ------
    ValueError
        If a parameter is not a plain literal of one of these types.
    """
    path, papermill = find(notebook), _papermill()
    inspected = papermill.inspect_notebook(str(path))
    found = {}
    for name, text in _assigned(path).items():
        if name not in inspected:
            raise ValueError(
                f"papermill cannot read the line of parameter {name} in {path.name}; allowed: "
                "name = value  # type: int  help, with one = in the line"
            )
        try:
            default = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            raise ValueError(
                f"parameter {name} of {path.name} is {text}; allowed: a plain literal"
            ) from None
        kind = inspected[name]["inferred_type_name"]
        kind = type(default).__name__ if kind == "None" else kind
        check_choice(f"the type of parameter {name} of {path.name}", kind, KINDS)
        found[name] = {"kind": kind, "default": default, "help": inspected[name]["help"]}
    return found


def _assigned(path: Path) -> dict[str, str]:
    """Return the names assigned in the parameters cell, each with its value's source."""
    import nbformat

    tree = ast.parse(
        "\n".join(
            cell.source
            for cell in nbformat.read(path, as_version=4).cells
            if "parameters" in cell.metadata.get("tags", [])
        )
    )
    lines = [node for node in tree.body if isinstance(node, ast.Assign)]
    return {ast.unparse(node.targets[0]): ast.unparse(node.value) for node in lines}


def checked(notebook: str | Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters for a notebook, after checking their names and types.

    Raises
    ------
    ValueError
        If the notebook declares no parameter of a name; the message lists those it declares.
    TypeError
        If a value is not of the declared type.
    """
    allowed = declared(notebook)
    values = {}
    for name, value in parameters.items():
        check_choice("parameter", name, allowed)
        kind = KINDS[allowed[name]["kind"]]
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise TypeError(
                f"{name} is {value!r} ({type(value).__name__}); allowed: {kind.__name__} "
                f"({allowed[name]['help']})"
            )
        values[name] = value
    if "profile" in values:
        check_choice("profile", values["profile"], profiles.names())
    return values


def parse(notebook: str | Path, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return parameters read from text, each as the type that the notebook declares.

    Parameters
    ----------
    notebook : str or Path
        As for `find`.
    texts : mapping of str to str
        Values as typed in a shell; true or false for bool.

    Raises
    ------
    ValueError
        If a name is not declared, or a text is not a value of its type.
    """
    allowed = declared(notebook)
    values = {}
    for name, text in texts.items():
        check_choice("parameter", name, allowed)
        kind = allowed[name]["kind"]
        try:
            truth = {"true": True, "false": False}
            values[name] = truth[text.lower()] if kind == "bool" else KINDS[kind](text)
        except (ValueError, KeyError):
            hint = "true or false" if kind == "bool" else f"a value of type {kind}"
            raise ValueError(f"{name} is {text!r}; allowed: {hint}") from None
    return values


def run(
    notebook: str | Path,
    parameters: Mapping[str, Any] | None = None,
    profile: str | None = None,
    output: str | Path | None = None,
) -> Path:
    """Run a notebook and write the executed copy.

    Parameters
    ----------
    notebook : str or Path
        As for `find`.
    parameters : mapping, optional
        Values for the parameters that the notebook declares.
    profile : str, optional
        Short for a parameter ``profile``.
    output : str or Path, optional
        Where to write; by default ``build/notebooks/PROFILE/`` under the project or
        ``PLASTICITY_OUTPUT``, and ``build/notebooks/custom/`` where another parameter is given, so
        that the book is never made of such a page.

    Returns
    -------
    Path
        The executed notebook. Where a dataset is nowhere to be found, it is a page that says so.

    Raises
    ------
    ValueError, TypeError
        If a parameter is unknown, mistyped or given twice; nothing has run then.
    NotebookFailed
        If a cell raises; the half-executed notebook is kept as ``NAME.failed.ipynb``, and nothing
        is left under the output's own name.
    """
    source, papermill = find(notebook), _papermill()
    from nbclient.exceptions import DeadKernelError

    given = dict(parameters or {})
    if profile is not None and given.setdefault("profile", profile) != profile:
        raise ValueError(f"profile is {profile!r} and also {given['profile']!r}; give it once")
    given = checked(source, given)
    output = _output(source, given, output)
    running = output.with_suffix(f".{os.getpid()}.running.ipynb")
    try:
        papermill.execute_notebook(
            str(source), str(running), given, stderr_file=sys.stderr, progress_bar=False
        )
    except papermill.PapermillExecutionError as error:
        if error.ename != "DatasetUnavailable":
            where = f"cell {error.exec_count}: {error.ename}: {error.evalue}"
            raise _kept(running, source, output, where) from None
        _finish(running, source, output, unavailable=error.evalue)
    except DeadKernelError:
        where = "its process was killed, most often for want of memory"
        raise _kept(running, source, output, where) from None
    else:
        _finish(running, source, output)
    finally:
        running.unlink(missing_ok=True)
    _failed(output).unlink(missing_ok=True)
    return output


def _failed(output: Path) -> Path:
    return output.with_suffix(".failed.ipynb")


def _kept(running: Path, source: Path, output: Path, where: str) -> NotebookFailed:
    """Keep a half-executed notebook for reading, and take away what was there before it."""
    _finish(running, source, _failed(output))
    output.unlink(missing_ok=True)
    return NotebookFailed(
        f"{source.name}, {where}\nThe half-executed notebook is {_failed(output)}"
    )


def _output(source: Path, given: Mapping[str, Any], output: str | Path | None) -> Path:
    """Return the path to write to, its folder made."""
    if output is None:
        default = declared(source).get("profile", {}).get("default", "laptop")
        changed = set(given) - {"profile", "fresh", "device"}
        folder = "custom" if changed else given.get("profile", default)
        output = paths.executed_notebooks(folder) / source.name
    output = Path(output).resolve()
    if output.suffix != ".ipynb" or output == source:
        raise ValueError(f"output is '{output}'; allowed: another file that ends in .ipynb")
    output.parent.mkdir(parents=True, exist_ok=True)
    return output


def _finish(running: Path, source: Path, target: Path, unavailable: str | None = None) -> None:
    """Move an executed notebook to its place, without this machine's folders in it."""
    import nbformat

    notebook = nbformat.read(running, as_version=4)
    notebook.metadata.papermill.update(input_path=source.name, output_path=target.name)
    if unavailable is not None:
        titles = re.findall(r"^# .+$", "\n".join(c.source for c in notebook.cells), re.MULTILINE)
        title = titles[0] if titles else f"# {source.stem}"
        page = f"{title}\n\n**{NOT_RUN}**\n\n```text\n{unavailable}\n```"
        notebook.cells = [nbformat.v4.new_markdown_cell(page, id="not-run")]
        notebook.metadata.papermill.update(exception=None, status=NOT_RUN)
    nbformat.write(notebook, running)
    os.replace(running, target)
