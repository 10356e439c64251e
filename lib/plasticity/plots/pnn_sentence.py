"""One sentence through a PNN, as a figure with a slider over the steps; it needs no network."""

from typing import TYPE_CHECKING, Protocol

import numpy as np
import plotly.graph_objects as go
from matplotlib.colors import to_hex
from plotly.subplots import make_subplots

from plasticity.plots.style import PALETTE

INK, GRID = "#333333", "#e4e4e4"
HIDDEN, SHOWN = to_hex(PALETTE[3]), to_hex(PALETTE[2])
GATES = [[0.0, "#5e3c99"], [0.25, "#b2abd2"], [0.5, "#f7f7f7"], [0.75, "#fdb863"], [1.0, "#b35806"]]

if TYPE_CHECKING:
    from numpy.typing import NDArray


class SteppedSentence(Protocol):
    """What the figure needs; `plasticity.pnn.questions.unfold` returns it."""

    tokens: list[str]
    hidden: "NDArray[np.bool_]"
    words: np.ndarray
    chances: np.ndarray
    gates: np.ndarray
    sizes: np.ndarray


def steps(unfolding: SteppedSentence, trained_steps: int) -> go.Figure:
    """Draw what every place reads out, how far it moves and how its gates stand, step by step.

    Parameters
    ----------
    unfolding : SteppedSentence
        At least one step.
    trained_steps : int
        Steps that the model was trained for; later ones have a star on the slider.

    Returns
    -------
    plotly.graph_objects.Figure
        Above, likely words of each place, darker the likelier; in the middle, the size of each
        token's update; below, the gate of each dimension and token. One frame a step, the
        embeddings (step 0) first; at first the last step of the training is shown.

    Raises
    ------
    ValueError
        If no step was taken.
    """
    count = len(unfolding.sizes)
    if count == 0:
        raise ValueError("unfolding has 0 steps; unfold the sentence with at least one")
    order = unfolding.gates[0].mean(0).argsort()  # of dimensions, by their gates at step 1
    frames = [
        go.Frame(data=_traces(unfolding, step, order), name=_name(step, trained_steps))
        for step in range(count + 1)
    ]
    figure = make_subplots(
        rows=3,
        shared_xaxes=True,
        row_heights=[0.42, 0.2, 0.38],
        vertical_spacing=0.075,
        subplot_titles=[
            "Likely words in each place, darker the likelier",
            "Size of the update, root mean square",
            f"Gate of each of {unfolding.gates.shape[-1]} dimensions, in the order of step 1",
        ],
    )
    first = min(trained_steps, count)
    for trace, row in zip(frames[first].data, (1, 2, 3), strict=True):
        figure.add_trace(trace, row=row, col=1)
    figure.frames = frames
    _set_axes(figure, unfolding)
    _set_controls(figure, [frame.name for frame in frames], first)
    return figure


def _name(step: int, trained_steps: int) -> str:
    return f"{step}" if step <= trained_steps else f"{step}*"


def _traces(unfolding: SteppedSentence, step: int, order: np.ndarray) -> list:
    """Return the three parts of one frame; the embeddings have no update and no gate."""
    places = list(range(len(unfolding.tokens)))
    chances = unfolding.chances[step]
    ranks = list(range(1, len(chances) + 1))
    gates, sizes = np.full((len(order), len(places)), np.nan), np.zeros(len(places))
    if step:
        gates, sizes = unfolding.gates[step - 1].T[order], unfolding.sizes[step - 1]
    return [
        go.Heatmap(
            x=places,
            y=ranks,
            z=chances.round(3),
            text=unfolding.words[step],
            texttemplate="%{text}",
            textfont_size=11,  # given, so that long words do not shrink all others
            hovertemplate="%{text}: %{z:.1%}<extra></extra>",
            colorscale="Blues",
            zmin=0,
            zmax=float(unfolding.chances.max()),
            colorbar=_bar("probability", 0.79, 0.4),
        ),
        go.Bar(
            x=places,
            y=sizes.round(3),
            marker_color=[HIDDEN if one else SHOWN for one in unfolding.hidden],
            hovertemplate="%{y:.2f}<extra></extra>",
            showlegend=False,
        ),
        go.Heatmap(
            x=places,
            y=list(range(len(order))),
            z=gates.round(3),
            hovertemplate="gate %{z:.2f}<extra></extra>",
            colorscale=GATES,
            zmin=0,
            zmax=1,
            colorbar=_bar("gate", 0.16, 0.34),
        ),
    ]


def _bar(title: str, height: float, length: float) -> dict:
    return {"title": title, "y": height, "len": length, "thickness": 12, "outlinewidth": 0}


def _set_axes(figure: go.Figure, unfolding: SteppedSentence) -> None:
    labels = [
        f"<b style='color:{HIDDEN}'>[{token}]</b>" if hidden else token
        for token, hidden in zip(unfolding.tokens, unfolding.hidden, strict=True)
    ]
    ticks = {"tickvals": list(range(len(labels))), "ticktext": labels, "tickangle": -35}
    figure.update_xaxes(**ticks, showgrid=False, zeroline=False)
    figure.update_xaxes(showticklabels=True, side="top", row=1, col=1)
    figure.update_yaxes(showgrid=False, zeroline=False)
    figure.update_yaxes(autorange="reversed", title="rank", dtick=1, row=1, col=1)
    top = 1.1 * float(unfolding.sizes.max())
    figure.update_yaxes(range=[0, top], gridcolor=GRID, showgrid=True, row=2, col=1)
    dimensions = {"range": [-0.5, unfolding.gates.shape[-1] - 0.5], "ticks": ""}
    figure.update_yaxes(**dimensions, showticklabels=False, title="dimension", row=3, col=1)
    for title, height in zip(figure.layout.annotations, (1.11, None, None), strict=True):
        title.update(x=0, xanchor="left", font_size=14, y=height or title.y)
    figure.update_layout(
        template="simple_white",
        font={"family": "sans-serif", "color": INK, "size": 12},
        height=760,
        margin={"l": 60, "r": 20, "t": 90, "b": 60},
        bargap=0.35,
    )


def _set_controls(figure: go.Figure, names: list[str], first: int) -> None:
    """Add the slider, and a button that plays all frames."""
    at_once = {"mode": "immediate", "frame": {"duration": 0}, "transition": {"duration": 0}}
    film = {"frame": {"duration": 900}, "transition": {"duration": 0}, "fromcurrent": True}
    slider = {
        "steps": [
            {"label": name, "method": "animate", "args": [[name], at_once]} for name in names
        ],
        "active": first,
        "currentvalue": {"prefix": "step ", "font": {"size": 14}},
        "x": 0.17,
        "len": 0.83,
        "pad": {"t": 40},
    }
    play = {"label": "play", "method": "animate", "args": [None, film]}
    stop = {"label": "stop", "method": "animate", "args": [[None], at_once]}
    buttons = {
        "type": "buttons",
        "buttons": [play, stop],
        "direction": "left",
        "showactive": False,
        "x": 0,
        "y": 0,
        "xanchor": "left",
        "yanchor": "top",
        "pad": {"t": 62},
    }
    figure.update_layout(sliders=[slider], updatemenus=[buttons])
