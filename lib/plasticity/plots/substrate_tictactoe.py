"""Figures of tic-tac-toe: tidy rows of ``substrate_tictactoe`` in, a Figure out."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from plasticity.plots.style import PALETTE, panels, style

PLAYERS = {
    "value_head": "positions, from random games",
    "self_play": "self-play, best reply",
    "curriculum": "teacher, from the end backwards",
    "teacher": "teacher, whole games",
    "planner": "planner over the learnt model",
    "self_play_sampled": "self-play, reply played",
    "self_play_final": "self-play, result only",
    "plateau": "self-play, plateau",
    "self_play_final_greedy": "self-play, result only, no exploring",
    "self_play_without_symmetry": "self-play, no symmetry",
    "source_rule": "the rule alone",
    "source_value_head": "source's value head",
    "source_self_play": "source's self-play",
    "source_after_teacher": "source's, after lessons",
    "source_draws_rewarded": "source's, draws rewarded",
    "source_moves_shown": "source's, perfect moves shown",
}
MODELS = {"world_model": "told whose move it is", "world_model_without_player": "not told"}
LEARNING = {
    "value_head": PALETTE[0],
    "self_play": PALETTE[2],
    "curriculum": PALETTE[4],
    "self_play_final": PALETTE[1],
    "plateau": PALETTE[3],
    "self_play_without_symmetry": PALETTE[7],
    "self_play_final_greedy": PALETTE[5],
}
SELF_PLAY = {
    "source_self_play": PALETTE[3],
    "source_after_teacher": PALETTE[1],
    "source_draws_rewarded": PALETTE[4],
    "self_play_final": PALETTE[0],
    "self_play": PALETTE[2],
}
SOURCE_COLOUR = "#777777"
STONES = " XO"
GOAL_KILOBYTES = 13
VALUES = plt.get_cmap("RdBu")


def boards(rows: pd.DataFrame, variants: Mapping[str, str]) -> Figure:
    """Draw positions with what each move is worth: minimax, then the first seed of some players.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_tictactoe``.
    variants : mapping of str to str
        Players to show under minimax, and what to call them.

    Returns
    -------
    Figure
        One row of boards for each; blue is good for the player to move, red bad.
    """
    first = rows[rows["seed"] == rows["seed"].min()]
    contents = first[first["metric"] == "cell_content"]
    names = list(dict.fromkeys(contents["split"]))
    shown = {"minimax": "minimax", **variants}
    with style():
        figure, axes = plt.subplots(
            len(shown), len(names), figsize=(2.2 * len(names), 2.25 * len(shown)), squeeze=False
        )
        for row, (variant, label) in zip(axes, shown.items(), strict=True):
            metric = "minimax_move_value" if variant == "minimax" else "move_value"
            player = next(iter(variants)) if variant == "minimax" else variant
            own = first[first["variant"] == player]
            for one, name in zip(row, names, strict=True):
                here = own[own["split"] == name]
                cells = here[here["metric"] == "cell_content"].set_index("step")["value"]
                values = here[here["metric"] == metric].set_index("step")["value"]
                _board(one, cells, values)
            row[0].text(-0.05, 0.5, label, transform=row[0].transAxes, **_SIDEWAYS)
        for one, name in zip(axes[0], names, strict=True):
            one.set_title(name, fontsize=9, loc="center")
    return figure


_SIDEWAYS = {"rotation": 90, "ha": "right", "va": "center", "fontsize": 9}


def _board(axes, cells: Mapping[int, float], values: Mapping[int, float]) -> None:
    """Draw nine cells with their stones, and the worth of moves to those that are free."""
    best = max(values, default=0)
    for cell in range(9):
        row, column = divmod(cell, 3)
        value = values.get(cell)
        shade = "white" if value is None else VALUES(0.5 + 0.42 * float(np.clip(value, -1, 1)))
        axes.add_patch(Rectangle((column, 2 - row), 1, 1, facecolor=shade, edgecolor="#555555"))
        where = {"x": column + 0.5, "y": 2.5 - row, "ha": "center", "va": "center"}
        if value is None:
            axes.text(s=STONES[int(cells[cell])], fontsize=17, **where)
        else:
            weight = "bold" if value >= best - 1e-6 else "normal"
            ink = "white" if abs(value) > 0.6 else "black"
            axes.text(s=_signed(value), fontsize=8, color=ink, fontweight=weight, **where)
    _as_board(axes)


def _signed(value: float) -> str:
    text = f"{value:+.2f}".replace("-", "−")
    return "0" if abs(value) < 0.005 else text.replace(".00", "")


def _as_board(axes) -> None:
    axes.set(xlim=(-0.03, 3.03), ylim=(-0.03, 3.03), aspect="equal")
    axes.axis("off")


def losing_line(rows: pd.DataFrame, variant: str, split: str) -> Figure:
    """Draw a game that a player may lose, stone by stone.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_tictactoe``.
    variant, split : str
        The player, and its seat.

    Returns
    -------
    Figure
        The boards after each move, in the first seed that loses; without any, it says so.
    """
    own = rows[(rows["variant"] == variant) & (rows["metric"] == "losing_line_cell")]
    own = own[own["split"] == split]
    with style():
        if own.empty:
            figure, (axes,) = panels(1, width=6, height=1)
            axes.text(0.5, 0.5, "No line is lost in any seed.", ha="center", va="center")
            axes.axis("off")
            return figure
        cells = own[own["seed"] == own["seed"].min()].sort_values("step")["value"].astype(int)
        figure, axes = panels(len(cells), width=9.6 / len(cells), height=9.6 / len(cells) + 0.3)
        for number, one in enumerate(axes, start=1):
            contents = dict.fromkeys(range(9), 0)
            for k, cell in enumerate(cells[:number]):
                contents[cell] = 1 + k % 2
            _board(one, contents, pd.Series(dtype=float))
            newest = divmod(cells.iloc[number - 1], 3)
            place = (newest[1], 2 - newest[0])
            one.add_patch(Rectangle(place, 1, 1, facecolor="none", edgecolor=PALETTE[3], lw=2))
            one.set_title(f"{number}", fontsize=9, loc="center")
    return figure


def learning(rows: pd.DataFrame) -> Figure:
    """Draw how many lines of the whole tree are lost as learning goes on.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_tictactoe``.

    Returns
    -------
    Figure
        Mean over the seeds, and a band from the least to the largest; the scale is logarithmic
        above 10 lines and linear below.
    """
    with style():
        figure, (axes,) = panels(1, width=8.6, height=4.2)
        for variant, colour in LEARNING.items():
            _curve(axes, rows, variant, "curve_losing_lines", colour, PLAYERS[variant])
        axes.set_yscale("symlog", linthresh=10)
        axes.set_yticks([0, 10, 100, 1000, 10_000, 100_000])
        axes.set_yticklabels(["0", "10", "100", "1,000", "10,000", "100,000"])
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.set(xlabel="games", ylabel="lines lost, both seats")
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _curve(axes, rows: pd.DataFrame, variant: str, metric: str, colour, label: str) -> None:
    own = rows[(rows["variant"] == variant) & (rows["metric"] == metric)]
    if own.empty:
        return
    found = own.groupby("step")["value"].agg(["mean", "min", "max"])
    axes.plot(found.index, found["mean"], color=colour, label=label, linewidth=1.6)
    axes.fill_between(found.index, found["min"], found["max"], color=colour, alpha=0.15, lw=0)


def self_play(
    rows: pd.DataFrame, source_draws: Sequence[float], source_x: Sequence[float]
) -> Figure:
    """Draw how the games of self-play end as it goes on.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_tictactoe``.
    source_draws, source_x : sequence of float
        What the source reports of its first and its last games, in percent.

    Returns
    -------
    Figure
        Share of draws and of games that X wins, mean and range over the seeds.
    """
    with style():
        figure, axes = panels(2, width=4.9, height=4.1)
        last = rows.loc[rows["metric"] == "curve_draw_share"]
        last = last[last["variant"] == "source_self_play"]["step"].max()
        parts = (("curve_draw_share", "draws", source_draws), ("curve_x_share", "X wins", source_x))
        for one, (metric, name, source) in zip(axes, parts, strict=True):
            for variant, colour in SELF_PLAY.items():
                _curve(one, rows, variant, metric, colour, PLAYERS[variant])
            where = [0.05 * last, 0.95 * last]  # middle of the first and of the last tenth
            one.plot(where, source, "s", color=SOURCE_COLOUR, label="source, as reported")
            one.set(xlabel="games", ylabel="share of games (%)", title=name.capitalize())
            one.set_ylim(0, 100)
            one.set_xlim(0, last)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, fontsize=8, ncols=3, loc="outside lower center", columnspacing=1.5
        )
    return figure


def size(rows: pd.DataFrame, source_kilobytes: float) -> Figure:
    """Draw what every player takes in memory against the share of its lines that it loses.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_tictactoe``.
    source_kilobytes : float
        What the source says its player takes.

    Returns
    -------
    Figure
        One point a seed; the lower left is better. Lines are a share of those that the player's
        own choices leave, since a player with few tied moves has few lines to lose.
    """
    at_zero = rows[rows["step"] == 0]
    learnt = at_zero[(at_zero["metric"] == "kilobytes") & (at_zero["split"] == "learnt")]
    lines = at_zero[at_zero["metric"].isin(("losing_lines", "tree_lines"))]
    lines = lines[lines["split"].isin(("x", "o"))]
    keys = ["variant", "seed"]
    total = lines.pivot_table(index=keys, columns="metric", values="value", aggfunc="sum")
    share = (100 * total["losing_lines"] / total["tree_lines"]).rename("share").reset_index()
    both = learnt.merge(share, on=keys)
    markers = "osDv^<>phX*P"
    with style():
        figure, (axes,) = panels(1, width=8.6, height=4.2)
        for place, (variant, own) in enumerate(both.groupby("variant", sort=False)):
            axes.plot(
                own["value"],
                own["share"],
                markers[place % len(markers)],
                color=PALETTE[place % len(PALETTE)],
                label=PLAYERS.get(variant, variant),
                alpha=0.75,
            )
        marks = {GOAL_KILOBYTES: ("goal", "black"), source_kilobytes: ("source", SOURCE_COLOUR)}
        for where, (name, colour) in marks.items():
            axes.axvline(where, color=colour, linestyle="--", linewidth=1)
            on_top = axes.get_xaxis_transform()
            axes.text(where * 1.03, 0.94, name, transform=on_top, fontsize=8, color=colour)
        axes.set_xscale("log")
        axes.set_xticks([4, 8, 16, 32, 64], ["4", "8", "16", "32", "64"])
        axes.minorticks_off()
        axes.set_ylim(bottom=-1.5)
        axes.set(xlabel="kilobytes, everything counted", ylabel="lines lost, share of its own (%)")
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def world(rows: pd.DataFrame, source_cells: float, source_boards: float) -> Figure:
    """Draw how well the models foresee moves that they were not shown, game by game.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_tictactoe``.
    source_cells, source_boards : float
        What the source reports, in percent.

    Returns
    -------
    Figure
        Cells, whole boards, and boards with their verdict; mean and range over the seeds.
    """
    parts = {
        "curve_cell_accuracy": "Cells",
        "curve_board_accuracy": "Whole boards",
        "curve_transition_accuracy": "Boards with winner and end",
    }
    sources = {"curve_cell_accuracy": source_cells, "curve_board_accuracy": source_boards}
    with style():
        figure, axes = panels(len(parts), width=3.3, height=3.2)
        for one, (metric, name) in zip(axes, parts.items(), strict=True):
            for place, (variant, label) in enumerate(MODELS.items()):
                _curve(one, rows, variant, metric, PALETTE[place], label)
            if metric in sources:
                one.axhline(sources[metric], color=SOURCE_COLOUR, linestyle="--", label="source")
            one.set_xscale("log", base=2)
            ticks = sorted(set(rows.loc[rows["metric"] == metric, "step"]))
            one.set_xticks(ticks[::2], [f"{tick}" for tick in ticks[::2]])
            one.minorticks_off()
            one.set(xlabel="games shown", title=name, ylim=(0, 103))
        axes[0].set_ylabel("moves not shown (%)")
        axes[1].legend(fontsize=8, loc="lower right")
    return figure
