import subprocess
import sys

import nbformat
import pytest

from plasticity.companion import notebooks, paths
from plasticity.companion.notebooks import NotebookFailed

PARAMETERS = """\
profile = "laptop"  # type: str  smoke, laptop or paper
seeds = 0  # type: int  number of seeds, 0 for the profile's
fresh = False  # type: bool  measure again
rate = 0.5  # type: float  a rate
"""
UNAVAILABLE = """\
from plasticity.companion.datasets import DatasetUnavailable
raise DatasetUnavailable("corpus is nowhere.\\nThree ways to get it")"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Return a function that writes a notebook 07_toy.ipynb and tells the runner where it is."""
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)

    def write_notebook(*cells, parameters=PARAMETERS):
        tagged = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
        code = [nbformat.v4.new_code_cell(cell) for cell in cells]
        title = nbformat.v4.new_markdown_cell("# A toy\n\nWhat it claims.")
        notebook = nbformat.v4.new_notebook(cells=[title, tagged, *code])
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        path = tmp_path / "07_toy.ipynb"
        nbformat.write(notebook, path)
        return path

    return write_notebook


def printed(path):
    cells = nbformat.read(path, as_version=4).cells
    return "".join(o.get("text", "") for c in cells for o in c.get("outputs", []))


def test_found_by_path_name_topic_and_number(write):
    path = write()
    for given in (path, str(path), "07_toy.ipynb", "07_toy", "toy", "07"):
        assert notebooks.find(given) == path
    with pytest.raises(ValueError, match="notebook is '8'; allowed: a path, or one of 07_toy"):
        notebooks.find(8)


def test_declared_parameters(write):
    found = notebooks.declared(write())
    assert list(found) == ["profile", "seeds", "fresh", "rate"]
    assert found["seeds"] == {
        "kind": "int",
        "default": 0,
        "help": "number of seeds, 0 for the profile's",
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("seeds = 0  # type: int  0 = all", "papermill cannot read the line of parameter seeds"),
        ("seeds = 1 + len('a')  # type: int", "parameter seeds of .* is 1 \\+ len"),
        (
            "seeds = [1]  # type: list",
            "the type of parameter seeds of .* is 'list'; allowed: 'int'",
        ),
    ],
)
def test_badly_declared_parameters_are_named(write, line, message):
    with pytest.raises(ValueError, match=message):
        notebooks.declared(write(parameters=line))


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"sedes": 1}, ValueError, "parameter is 'sedes'; allowed: 'profile', 'seeds', 'fresh'"),
        ({"seeds": "3"}, TypeError, r"seeds is '3' \(str\); allowed: int \(number of seeds"),
        ({"seeds": True}, TypeError, r"seeds is True \(bool\); allowed: int"),
        ({"fresh": 1}, TypeError, r"fresh is 1 \(int\); allowed: bool"),
        ({"rate": "0.1"}, TypeError, r"rate is '0.1' \(str\); allowed: float"),
        ({"profile": "laptp"}, ValueError, "profile is 'laptp'; allowed: 'smoke', 'laptop'"),
    ],
)
def test_wrong_parameters_stop_before_anything_runs(write, output_root, parameters, error, message):
    path = write("raise SystemExit('it ran')")
    with pytest.raises(error, match=message):
        notebooks.run(path, parameters)
    assert not list(output_root.rglob("*.ipynb"))


def test_profile_is_given_once(write):
    with pytest.raises(ValueError, match="profile is 'smoke' and also 'paper'; give it once"):
        notebooks.run(write(), {"profile": "paper"}, profile="smoke")


def test_output_is_another_notebook(write, tmp_path):
    path = write()
    for output in (path, tmp_path / "page.html"):
        with pytest.raises(ValueError, match=r"output is .*; allowed: another file that ends in"):
            notebooks.run(path, output=output)


def test_texts_are_read_as_the_declared_types(write):
    texts = {"profile": "smoke", "seeds": "3", "fresh": "true", "rate": "1e-3"}
    values = notebooks.parse(write(), texts)
    assert values == {"profile": "smoke", "seeds": 3, "fresh": True, "rate": 0.001}
    assert notebooks.checked(write(), {"rate": 1}) == {"rate": 1.0}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"sedes": "1"}, "parameter is 'sedes'"),
        ({"seeds": "1.5"}, "seeds is '1.5'; allowed: a value of type int"),
        ({"fresh": "maybe"}, "fresh is 'maybe'; allowed: true or false"),
        ({"rate": "fast"}, "rate is 'fast'; allowed: a value of type float"),
    ],
)
def test_wrong_texts_are_named(write, texts, message):
    with pytest.raises(ValueError, match=message):
        notebooks.parse(write(), texts)


@pytest.mark.slow
def test_runs_with_the_given_parameters(write, output_root, capsys):
    path = write(
        "import sys; print('progress', file=sys.stderr)", "print(profile, seeds + 1, rate)"
    )
    output = notebooks.run(path, {"seeds": 4, "rate": 2}, profile="smoke")
    assert output == output_root / "build" / "notebooks" / "custom" / "07_toy.ipynb"
    assert "smoke 5 2.0" in printed(output)
    assert "progress" in capsys.readouterr().err
    about = nbformat.read(output, as_version=4).metadata.papermill
    assert about.parameters == {"profile": "smoke", "seeds": 4, "rate": 2.0}
    assert about.duration > 0
    assert about.start_time and about.end_time
    assert (about.input_path, about.output_path) == ("07_toy.ipynb", "07_toy.ipynb")
    assert [item.name for item in output.parent.iterdir()] == ["07_toy.ipynb"]


@pytest.mark.slow
def test_failure_keeps_the_half_executed_notebook(write, tmp_path):
    output = tmp_path / "out" / "page.ipynb"
    path = write("print('before')", "1 / 0", "print('after')")
    output.parent.mkdir()
    output.write_text("an older page")
    with pytest.raises(NotebookFailed, match=r"07_toy\.ipynb, cell 3: ZeroDivisionError: division"):
        notebooks.run(path, output=output)
    assert "before" in printed(output.with_suffix(".failed.ipynb"))
    assert not output.exists()
    write("print('mended')")
    assert "mended" in printed(notebooks.run(path, output=output))
    assert [item.name for item in output.parent.iterdir()] == ["page.ipynb"]


@pytest.mark.slow
def test_killed_kernel_is_a_failure(write, tmp_path):
    path = write("print('before')", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(NotebookFailed, match="its process was killed"):
        notebooks.run(path, output=tmp_path / "out.ipynb")
    assert "before" in printed(tmp_path / "out.failed.ipynb")


@pytest.mark.slow
def test_missing_data_becomes_a_page(write, tmp_path):
    output = notebooks.run(write(UNAVAILABLE), output=tmp_path / "out.ipynb", profile="smoke")
    page = nbformat.read(output, as_version=4)
    nbformat.validate(page)
    text = "\n".join(cell.source for cell in page.cells)
    assert text.startswith("# A toy\n\n**not run: data**")
    assert "corpus is nowhere.\nThree ways to get it" in text
    assert page.metadata.papermill.status == "not run: data"
    assert page.metadata.papermill.parameters == {"profile": "smoke"}


@pytest.mark.slow
def test_plain_papermill_gives_the_same(write, tmp_path):
    path = write("print(profile, seeds)")
    output = tmp_path / "elsewhere" / "out.ipynb"
    output.parent.mkdir()
    command = [sys.executable, "-m", "papermill", str(path), str(output), "-p", "profile", "smoke"]
    subprocess.run(command, check=True, capture_output=True, cwd=output.parent)
    assert printed(output) == printed(notebooks.run(path, profile="smoke")) == "smoke 0\n"
