"""Executed notebooks as papermill leaves them, made without running anything."""

import base64
import io
from pathlib import Path

import matplotlib.figure
import nbformat
import pandas as pd
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ABOUT = """- profile: laptop, 3 seeds
- data: `stories` (sampled stories; not human text)
- measured in 41 s on 2 cores
"""
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def picture(alt: str = 'alt="A falling line: loss against step, two arms."') -> str:
    """Return a small figure as the HTML that `companion.figures.show` displays."""
    figure = matplotlib.figure.Figure(figsize=(7, 3.6))
    axes = figure.subplots()
    axes.plot([0, 1, 2, 3], [4.1, 3.2, 2.9, 2.8], label="pnn")
    axes.plot([0, 1, 2, 3], [4.1, 3.6, 3.3, 3.1], label="bert")
    axes.set(xlabel="step", ylabel="loss (nats)")
    axes.legend()
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg")
    encoded = base64.b64encode(drawn.getvalue()).decode()
    return f'<img {alt} src="data:image/svg+xml;base64,{encoded}">'


def output(kind: str, content: str) -> nbformat.NotebookNode:
    """Return the output of a cell that displayed something."""
    return new_output("display_data", data={kind: content, "text/plain": "an object"})


def table() -> str:
    """Return a table too wide for a phone."""
    columns = [f"column_{number}" for number in range(12)]
    return pd.DataFrame([[1.25] * 12] * 3, columns=columns, index=["pnn", "bert", "none"]).to_html()


def notebook(name: str, profile: str) -> nbformat.NotebookNode:
    """Return an executed notebook with a formula, a table, a figure and a progress bar."""
    number = name.split("_")[0]
    cells = [
        new_markdown_cell(f"# Chapter {number}: {name[3:].replace('_', ' ')}\n\nWhat is claimed."),
        new_markdown_cell(
            "The gate is $g = \\sigma(q k / \\tau)$ and\n\n$$h_t = h_{t-1} + g\\,p$$"
        ),
        new_code_cell(
            'profile = "laptop"  # type: str  a profile\nseeds = 0  # type: int  how many',
            metadata={"tags": ["parameters"]},
        ),
        new_code_cell(
            f'profile = "{profile}"\nseeds = 5', metadata={"tags": ["injected-parameters"]}
        ),
        new_code_cell(
            "Markdown(study.about())",
            metadata={"tags": ["provenance"]},
            outputs=[output("text/markdown", ABOUT)],
        ),
        new_code_cell(
            "study = results.run('pnn_refinement', configs, seeds)",
            outputs=[
                new_output("stream", name="stderr", text="UserWarning: a warning of a library"),
                new_output(
                    "stream", name="stdout", text=" 50%|####5     | 1/2 [00:01<00:01]\nkept"
                ),
                output("application/vnd.jupyter.widget-view+json", "{}"),
            ],
        ),
        new_code_cell("table", outputs=[output("text/html", table())]),
        new_code_cell(
            "\n".join(f"line_{i} = {i}" for i in range(30)),
            outputs=[output("text/html", picture())],
        ),
    ]
    return new_notebook(
        cells=cells,
        metadata={
            **KERNEL,
            "papermill": {
                "duration": 12.34,
                "parameters": {"profile": profile, "seeds": 5},
                "exception": None,
                "input_path": "/somewhere/private.ipynb",
            },
        },
    )


def unavailable(name: str) -> nbformat.NotebookNode:
    """Return the page of a notebook whose data could not be had."""
    text = f"# Chapter {name}\n\n**not run: data**\n\n`mnist` is not here; three ways to get it."
    return new_notebook(
        cells=[new_markdown_cell(text)],
        metadata={**KERNEL, "papermill": {"status": "not run: data"}},
    )


def write(folder: Path, name: str, content: nbformat.NotebookNode) -> None:
    """Write a notebook as ``folder/name.ipynb``."""
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(content, folder / f"{name}.ipynb")


def figure_files(folder: Path, name: str) -> None:
    """Write the files that `companion.figures.save_figure` leaves."""
    folder.mkdir(parents=True)
    figure = matplotlib.figure.Figure(figsize=(3, 2))
    figure.subplots().plot([2, 1])
    for kind in ("svg", "pdf", "png"):
        figure.savefig(folder / f"{name}.{kind}")
    (folder / f"{name}.json").write_text('{"alt": "Two falling lines."}')
