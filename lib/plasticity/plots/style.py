"""One look for every figure: a colour-blind palette, quiet axes, one name for each arm."""

from contextlib import contextmanager

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

# Seaborn's "colorblind"; seaborn itself takes more than a second to load.
COLOURS = "0173b2 de8f05 029e73 d55e00 cc78bc ca9161 fbafe4 949494 ece133 56b4e9"
PALETTE = [to_rgb(f"#{colour}") for colour in COLOURS.split()]
CONTEXT = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "font.size": 10,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "svg.fonttype": "none",
    "figure.facecolor": "white",
}


@contextmanager
def style():
    """Draw inside this context to get the companion's look; nothing outside is changed."""
    with plt.rc_context(CONTEXT):
        yield


def panels(
    count: int, width: float = 4.2, height: float = 3.3, across: int = 0
) -> tuple[Figure, list]:
    """Return a figure with so many axes, sizes in inches; in a row, or in rows of `across`."""
    columns = min(count, across or count)
    rows = -(-count // columns)
    size = (width * columns, height * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for unused in axes.flat[count:]:
        unused.remove()
    return figure, list(axes.flat[:count])


def with_bounds(found: pd.DataFrame) -> pd.DataFrame:
    """Return columns mean, low and high; of one seed, which has no interval, the mean as bounds."""
    found = found[["mean", "low", "high"]]
    return found.apply(lambda column: column.fillna(found["mean"]))


def error_bars(found: pd.DataFrame) -> np.ndarray:
    """Return how far the bounds lie below and above the mean, as matplotlib's errorbar takes it."""
    return np.array([found["mean"] - found["low"], found["high"] - found["mean"]]).clip(min=0)


def line_with_band(
    axes, found: pd.DataFrame, x, colour, label: str | None = None, mark: str = "o-"
) -> None:
    """Draw means as a line and their intervals as a band; columns mean, low and high."""
    axes.plot(x, found["mean"], mark, color=colour, label=label)
    axes.fill_between(x, found["low"], found["high"], color=colour, alpha=0.2, lw=0)
