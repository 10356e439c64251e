"""Figures of how growth works: summaries of ``foam_mechanics`` in, Figures out."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from plasticity.plots.style import PALETTE, error_bars, line_with_band, panels, style, with_bounds

RULES = {
    "percentile": "percentile of its own layer\n(the README's rule)",
    "pooled_percentile": "percentile of all layers",
    "plateau": "loss stands still",
    "pressure_ratio": "pressure above its own past",
}
STARTS = {
    "gradmax": ("GradMax", PALETTE[0]),
    "copy_and_noise": ("copy and noise (README)", PALETTE[1]),
    "random": ("random", "#777777"),
}
NEWBORNS = {
    "copies": "copies\nwith noise",
    "orthogonal_all": "orthogonal\nto all rows",
    "orthogonal_newborns": "orthogonal to\neach other",
    "gradmax": "GradMax",
}
QWEN = 8960 / 1536  # width of Qwen2.5-1.5B's blocks beside its inputs, the reference's base
GOOD, BAD, FAINT = "#cfe8dc", "#f3d3c4", "#eeeeee"
FIRES = LinearSegmentedColormap.from_list("fires", ["#f1f1f1", PALETTE[3]])


def _select(summary: pd.DataFrame, variant: str, metric: str, split: str | None = None):
    own = summary[(summary["variant"] == variant) & (summary["metric"] == metric)]
    own = own if split is None else own[own["split"] == split]
    own = own.sort_values("step")
    return own.assign(**with_bounds(own))


def triggers(summary: pd.DataFrame) -> Figure:
    """Draw at which steps each rule would let a model grow, on noise and on a text that changes.

    Parameters
    ----------
    summary : DataFrame
        Columns variant, split, step, metric, mean, low, high, over seeds.
    """
    jump = _select(summary, "triggers", "jump_step")["mean"].iloc[0]
    with style():
        figure, axes = plt.subplots(
            2, 2, figsize=(9.6, 4.6), width_ratios=(1, 7), height_ratios=(1.1, 1)
        )
        blank, course = axes[0]
        noise, text = axes[1]
        blank.axis("off")
        loss = _select(summary, "triggers", "curve_train_loss")
        line_with_band(course, loss, loss["step"], PALETTE[0], "loss", "-")
        pressure = _select(summary, "triggers", "pressure_beside_past")
        line_with_band(course, pressure, pressure["step"], PALETTE[3], "pressure / its past", "-")
        course.axvline(jump, color="black", lw=1, ls="--")
        course.annotate("the text changes", (jump, course.get_ylim()[1]), (-5, -10),
                        textcoords="offset points", fontsize=9, ha="right")  # fmt: skip
        course.set(title="A trained model reads on", ylabel="nats a byte; ratio")
        course.legend(loc="upper left", ncol=2)
        heard = [
            _select(summary, "triggers", "firing_share", f"noise_1e-12/{rule}")["mean"].iloc[0]
            for rule in RULES
        ]
        noise.imshow(np.array(heard)[:, None], cmap=FIRES, vmin=0, vmax=100, aspect="auto")
        for row, share in enumerate(heard):
            dark = share > 50
            noise.text(0, row, f"{share:.0f} %", ha="center", va="center",
                       color="white" if dark else "black")  # fmt: skip
        noise.set(title="Noise of 1e-12", xticks=[], yticks=range(len(RULES)))
        noise.set_yticklabels(RULES.values())
        shares = [_select(summary, "triggers", "fires", rule) for rule in RULES]
        steps = shares[0]["step"].to_numpy()
        grid = np.array([one["mean"].to_numpy() for one in shares])
        span = (0, steps[-1], len(RULES) - 0.5, -0.5)
        image = text.imshow(grid, cmap=FIRES, vmin=0, vmax=100, aspect="auto", extent=span)
        text.axvline(jump, color="black", lw=1, ls="--")
        text.set(title="Steps at which a rule says: grow", xlabel="step", yticks=[])
        for axis in (noise, text):
            axis.grid(False)
        course.set_xlim(0, steps[-1])
        figure.colorbar(image, ax=text, label="% of steps", pad=0.01)
    return figure


def orthogonal(summary: pd.DataFrame) -> Figure:
    """Draw what orthogonalising leaves of a newborn by width, and how alike newborns are.

    Parameters
    ----------
    summary : DataFrame
        As for `triggers`.
    """
    with style():
        figure, (left, agreement, alike) = panels(3, width=4.1, height=3.6)
        for axes, metric in ((left, "remaining_share"), (agreement, "direction_agreement")):
            own = _select(summary, "orthogonal", metric, "random_rows")
            line_with_band(axes, own, own["step"] / 64, PALETTE[0], None, "o-")
            axes.axvline(1, color="black", lw=1)
            axes.axvline(QWEN, color=PALETTE[1], lw=1.5, ls="--", label="Qwen2.5-1.5B")
            axes.set(xscale="log", xlabel="rows / inputs")
            axes.set_xticks([0.125, 0.25, 0.5, 1, 2, 4], ["1/8", "1/4", "1/2", "1", "2", "4"])
            axes.minorticks_off()
        left.set(title="What is left of a newborn", yscale="log", ylabel="share of its length")
        left.legend(loc="lower left")
        agreement.set(
            title="Is it a direction?", ylabel="cosine between two orders of rounding",
            ylim=(-0.2, 1.1),
        )  # fmt: skip
        places = np.arange(len(NEWBORNS))
        for shift, metric, label, colour in (
            (-0.2, "newborn_likeness", "among themselves", PALETTE[0]),
            (0.2, "source_likeness", "with their sources", PALETTE[2]),
        ):
            own = pd.concat([_select(summary, "orthogonal", metric, name) for name in NEWBORNS])
            alike.bar(places + shift, own["mean"], 0.38, color=colour, label=label)
            alike.errorbar(
                places + shift, own["mean"], error_bars(own), fmt="none", color="black", lw=1
            )
        alike.set_xticks(places, NEWBORNS.values(), fontsize=8)
        alike.set(title="Likeness of one event's newborns", ylabel="mean cosine", ylim=(0, 1.25))
        alike.legend(loc="upper right", ncol=2, fontsize=8)
    return figure


def zeroed(summary: pd.DataFrame) -> Figure:
    """Draw a table: which projections start at zero, what changes, which gradients there are.

    Parameters
    ----------
    summary : DataFrame
        As for `triggers`.
    """
    own = summary[summary["variant"] == "zeroed"].set_index(["split", "metric"])["mean"]
    choices = list(dict.fromkeys(own.index.get_level_values("split")))
    columns = {
        "logit_change": "change of\nthe function",
        "gate_gradient": "gradient\nof gate",
        "up_gradient": "gradient\nof up",
        "down_gradient": "gradient\nof down",
        "newborn_movement": "movement in\n20 steps",
    }
    with style():
        figure, axes = plt.subplots(figsize=(8.6, 3.9))
        axes.axis("off")
        cells, colours = [], []
        for choice in choices:
            values = [own[choice, metric] for metric in columns]
            preserved, moves = values[0] == 0, values[-1] > 0
            verdict = "usable" if preserved and moves else "dead" if preserved else "does harm"
            cells.append([*(f"{value:.2g}" for value in values), verdict])
            colours.append([
                GOOD if preserved else BAD,
                *(GOOD if value > 0 else BAD for value in values[1:]),
                GOOD if verdict == "usable" else BAD,
            ])  # fmt: skip
        table = axes.table(
            cells,
            cellColours=colours,
            rowLabels=[choice.replace("+", " and ") for choice in choices],
            colLabels=[*columns.values(), "verdict"],
            cellLoc="center",
            bbox=(0.12, 0, 0.88, 1),
        )
        table.auto_set_font_size(False)
        table.set_fontsize(10)
        for (row, _), cell in table.get_celld().items():
            cell.set_edgecolor("white")
            if row == 0:
                cell.set_height(2 * cell.get_height())
        axes.set_title("What of a SwiGLU newborn starts at zero")
    return figure


def step_sizes(summary: pd.DataFrame) -> Figure:
    """Draw the size of AdamW's steps for newborns: moments padded with zeros beside a cohort's.

    Parameters
    ----------
    summary : DataFrame
        As for `triggers`.
    """
    lines = {
        "theory": ("padded, constant gradient: formula", "black", "-"),
        "constant": ("padded, constant gradient: measured", PALETTE[1], "o"),
        "padded": ("padded, a model's gradients", PALETTE[3], "-"),
        "cohort": ("cohort, the same gradients", PALETTE[2], "-"),
    }
    with style():
        figure, axes = plt.subplots(figsize=(7.4, 3.9))
        for split, (label, colour, mark) in lines.items():
            own = _select(summary, "step_sizes", "update_size", split)
            line_with_band(axes, own, own["step"], colour, label, mark)
        axes.axhline(1, color="black", lw=0.8, ls=":")
        axes.set(
            title="A newborn's steps where its moments were padded with zeros",
            xscale="log",
            xlabel="steps after birth",
            ylabel="size of a step, learning rates",
        )
        axes.legend()
    return figure


def rates(summary: pd.DataFrame) -> Figure:
    """Draw what doubled gradients, and a doubled rate of the group, do under each optimizer.

    Parameters
    ----------
    summary : DataFrame
        As for `triggers`.
    """
    own = _select(summary, "step_sizes", "step_ratio")
    parts = own["split"].str.rsplit("/", n=1, expand=True)
    names = list(dict.fromkeys(own.sort_index()["split"].str.rsplit("/", n=1).str[0]))
    with style():
        figure, axes = plt.subplots(figsize=(7.4, 3.4))
        for shift, way, label, colour in (
            (-0.2, "gradient", "gradients doubled", PALETTE[1]),
            (0.2, "group", "rate of the parameter group doubled", PALETTE[0]),
        ):
            ratios = own[parts[1] == way].set_index(parts[0][parts[1] == way])["mean"]
            bars = axes.bar(
                np.arange(len(names)) + shift, ratios[names], 0.38, color=colour, label=label
            )
            axes.bar_label(bars, fmt="%.2f", fontsize=8)
        axes.axhline(2, color="black", lw=0.8, ls=":")
        axes.set_xticks(range(len(names)), [name.replace(" with ", ",\n") for name in names])
        axes.set(
            title="Young neurons at twice the rate", ylabel="way travelled, ratio", ylim=(0, 2.9)
        )
        axes.legend(loc="upper center", ncol=2)
    return figure


def births(summary: pd.DataFrame) -> Figure:
    """Draw the gradient of newborns at birth, and the loss while they alone learn a new text.

    Parameters
    ----------
    summary : DataFrame
        As for `triggers`.
    """
    with style():
        figure, (gradient, curve) = panels(2, width=5.2, height=3.7)
        for place, (variant, (label, colour)) in enumerate(STARTS.items()):
            for shift, split, shade in ((-0.2, "own_batch", 1.0), (0.2, "other_batch", 0.45)):
                own = _select(summary, variant, "birth_gradient", split)
                gradient.bar(place + shift, own["mean"], 0.38, color=colour, alpha=shade)
                gradient.errorbar(
                    [place + shift], own["mean"], error_bars(own), fmt="none", color="black", lw=1
                )
            own = _select(summary, variant, "curve_loss", "test")
            own = own[own["step"] > 0]
            line_with_band(curve, own, own["step"], colour, label, "o-")
        gradient.set_xticks(range(len(STARTS)), [label for label, _ in STARTS.values()])
        gradient.set(
            title="Gradient at birth (pale: on other data)", ylabel="norm, a newborn's column"
        )
        curve.set(
            title="Newborns alone learn a new text", xlabel="steps", ylabel="test loss, nats a byte"
        )
        curve.legend()
    return figure


def preservation(summary: pd.DataFrame) -> Figure:
    """Draw how far a birth changes the logits, beside the layer and inside a wider one.

    Parameters
    ----------
    summary : DataFrame
        As for `triggers`.
    """
    kinds = {"concat": ("inside a wider layer", PALETTE[1], "s-"),
             "cohort": ("beside the layer (cohort)", PALETTE[0], "o-")}  # fmt: skip
    with style():
        figure, both = panels(2, width=4.8, height=3.2)
        for axes, (dtype, smallest) in zip(
            both, (("float32", 1e-8), ("bfloat16", 1e-4)), strict=True
        ):
            for storage, (label, colour, mark) in kinds.items():
                own = _select(summary, "preservation", "logit_change", f"{dtype}/{storage}")
                line_with_band(axes, own, own["step"], colour, label, mark)
            axes.set_yscale("symlog", linthresh=smallest)
            axes.set_ylim(bottom=-smallest / 4)
            axes.set(
                title=dtype, xlabel="newborns of one event", ylabel="largest change of a logit"
            )
        both[0].legend(loc="center right")
    return figure


def averages(summary: pd.DataFrame) -> Figure:
    """Draw a running mean of 0.9 and 0.1 kept in two types.

    Parameters
    ----------
    summary : DataFrame
        As for `triggers`.
    """
    with style():
        figure, axes = plt.subplots(figsize=(6.4, 3.1))
        for dtype, colour, mark in (("float32", PALETTE[0], "-"), ("bfloat16", PALETTE[1], "-")):
            own = _select(summary, "reference_recipe", "running_mean", dtype)
            line_with_band(axes, own, own["step"], colour, f"kept in {dtype}", mark)
        axes.axhline(1.03, color="black", lw=0.8, ls=":", label="what it should reach")
        axes.set(title="A running mean of gradients", xlabel="steps", ylabel="mean")
        axes.legend(loc="center right")
    return figure


def lives(summary: pd.DataFrame) -> Figure:
    """Draw births, and the rate and the protection of the first cohort, by step of training.

    Parameters
    ----------
    summary : DataFrame
        As for `triggers`.
    """
    births = _select(summary, "reference_recipe", "birth_step")["mean"].to_numpy()
    rate = _select(summary, "reference_recipe", "rate_multiplier")
    retired = _select(summary, "reference_recipe", "may_be_retired")
    with style():
        figure, axes = plt.subplots(figsize=(8, 3.3))
        steps = rate["step"] + births[0]
        axes.plot(
            steps, rate["mean"], "-", color=PALETTE[0], lw=2, label="rate of the first cohort"
        )
        protected = retired.loc[retired["mean"] < 1, "step"].max() + births[0]
        axes.axvspan(births[0], protected, color=PALETTE[2], alpha=0.15, lw=0,
                     label="may not be retired")  # fmt: skip
        for number, birth in enumerate(births):
            label = None if number else "births"
            axes.axvline(birth, color=PALETTE[3], ls="--", lw=1.2, label=label)
        axes.set(
            title="The README's rules, kept: one cohort's life",
            xlabel="step of training",
            ylabel="times the base's rate",
            xlim=(0, None),
            ylim=(0, 2.9),
        )
        axes.legend(loc="upper right", ncol=3)
    return figure
