"""Saving and showing figures: under one name, with a text for those who cannot see them."""

import base64
import html
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from plasticity.companion import paths

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

# Dates and random identifiers are left out, so that the same figure gives the same files.
METADATA = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}

LEAST_WIDTH = 640  # pixels, of figures that can be moved


def save_figure(figure: "Figure", name: str, alt: str, profile: str) -> list[Path]:
    """Write a figure as svg, pdf and png, and its text beside them.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure.
    name : str
        File name without suffix: lower-case letters, digits and _.
    alt : str
        What the figure shows, in a sentence or two.
    profile : str
        Profile of what it shows, such as `Study.profile`; each has a folder of its own.

    Returns
    -------
    list of Path
        The svg, pdf and png, in this order.

    Raises
    ------
    ValueError
        If the name has other characters, or the text is empty.
    """
    import matplotlib  # slow to load, and not needed to name figures

    folder = _described(name, alt, profile)
    written = []
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # it is laid out: each format would do so twice again
    box = figure.get_tightbbox().padded(matplotlib.rcParams["savefig.pad_inches"])
    with matplotlib.rc_context({"svg.hashsalt": name}):
        for suffix, metadata in METADATA.items():
            path = folder / f"{name}.{suffix}"
            figure.savefig(path, metadata=metadata, bbox_inches=box, dpi=150)
            written.append(path)
    return written


def _described(name: str, alt: str, profile: str) -> Path:
    """Write what a figure shows, and return the folder that it belongs into."""
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise ValueError(f"name is {name!r}; allowed: lower-case letters, digits and _")
    if not alt.strip():
        raise ValueError(f"alt is {alt!r}; say in a sentence what figure {name} shows")
    folder = paths.figures(profile)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"alt": alt.strip()}, ensure_ascii=False) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return folder


def show(figure: "Figure", name: str, alt: str, profile: str) -> None:
    """Save a figure and display it in a notebook, with its text for screen readers.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure; it is closed, so that the notebook does not show it twice.
    name, alt, profile : str
        As for `save_figure`.
    """
    from IPython.display import HTML, display
    from matplotlib import pyplot

    svg = save_figure(figure, name, alt, profile)[0].read_bytes()
    pyplot.close(figure)
    source = f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
    text = html.escape(alt.strip(), quote=True)
    display(HTML(f'<img alt="{text}" style="max-width: 100%" src="{source}">'))


def plotly_script() -> str:
    """Return the HTML that brings plotly's own script: megabytes, so that no network is needed."""
    from plotly.offline import get_plotlyjs

    return f"<script>{get_plotlyjs()}</script>"


def show_interactive(figure: "PlotlyFigure", name: str, alt: str, profile: str) -> None:
    """Save a figure that can be moved as a page, and display it in a notebook.

    The page finds plotly's script beside it, the notebook brings its own; neither asks a network.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
    name, alt, profile : str
        As for `save_figure`.
    """
    from IPython.display import HTML, display

    page = _described(name, alt, profile) / f"{name}.html"
    config = {"responsive": True, "displayModeBar": False}
    look = {"auto_play": False, "config": config, "div_id": name}
    figure.write_html(page, include_plotlyjs="directory", **look)
    drawn = figure.to_html(include_plotlyjs=False, full_html=False, **look)
    text = html.escape(alt.strip(), quote=True)
    wide = f'<div style="min-width: {LEAST_WIDTH}px">{drawn}</div>'  # narrow screens scroll it
    shown = f'<figure aria-label="{text}" style="margin: 0; overflow-x: auto">{wide}</figure>'
    display(HTML(plotly_script() + shown))
