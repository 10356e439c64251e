"""One look for every figure: a colour-blind palette, quiet axes, one name for each arm."""

from contextlib import contextmanager

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import Figure

PALETTE = sns.color_palette("colorblind")
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


def panels(columns: int, width: float = 4.2, height: float = 3.3) -> tuple[Figure, list]:
    """Return a figure with a row of axes, sizes in inches."""
    figure, axes = plt.subplots(1, columns, figsize=(width * columns, height), squeeze=False)
    return figure, list(axes[0])
