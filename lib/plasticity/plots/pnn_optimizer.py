"""Figure of updates beside the gradient: a summary of ``pnn_optimizer`` in, a Figure out."""

import pandas as pd
from matplotlib.figure import Figure

from plasticity.plots.style import PALETTE, line_with_band, panels, style

RANDOM = "random_refiner"
LABELS = {
    ("pnn", "test"): ("PNN", PALETTE[0], "o-"),
    ("pnn", RANDOM): ("PNN, refiner not trained", "#777777", "s:"),
    ("bert_4_stepwise", "test"): ("4-layer BERT", PALETTE[1], "^-"),
    ("bert_stepwise", "test"): ("12-layer BERT", PALETTE[3], "v-"),
}


def descent(summary: pd.DataFrame) -> Figure:
    """Draw loss by readout, the cosine of updates with descent, and what each step is worth.

    Parameters
    ----------
    summary : DataFrame
        Columns variant, split, step, metric, mean, low, high, over seeds.

    Returns
    -------
    Figure
        Three panels; bands are 95 % intervals over seeds.
    """
    with style():
        figure, (loss, cosine, gain) = panels(3, width=4, height=3.6)
        for (variant, split), (label, colour, mark) in LABELS.items():
            own = summary[(summary["variant"] == variant) & (summary["split"] == split)]
            if not len(own):
                continue
            _line(loss, own, "readout_loss", label, colour, mark)
            _line(cosine, own, "gradient_cosine", label, colour, mark)
            if split == "test":
                _line(gain, own, "loss_change", label, colour, mark)
                _line(gain, own, "descent_loss_change", f"{label}, downhill", colour, "--")
        null = summary[(summary["variant"] == "pnn") & (summary["split"] == "test")]
        _line(cosine, null, "exchanged_gradient_cosine", "PNN, another token's", PALETTE[2], "x-")
        loss.set(title="Loss", xlabel="read after step", ylabel="nats a token")
        cosine.set(title="Updates along the descent", xlabel="step", ylabel="cosine")
        gain.set(title="What a step is worth", xlabel="step", ylabel="change of loss, nats")
        for axes in (loss, cosine, gain):
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.legend(fontsize=7.5)
        for axes in (cosine, gain):
            axes.axhline(0, color="black", lw=0.8)
    return figure


def _line(axes, summary: pd.DataFrame, metric: str, label: str, colour, mark: str) -> None:
    found = summary[summary["metric"] == metric].sort_values("step")
    line_with_band(axes, found, found["step"], colour, label, mark)
