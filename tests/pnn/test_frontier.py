"""The goal of being as good as BERT for less is judged by intervals, costs and the plateau."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from plasticity.companion import metrics, statistics
from plasticity.findings import pnn_frontier as findings
from plasticity.plots import pnn_frontier as plots
from plasticity.plots.pnn import LABELS


def arm(variant: str, accuracies: list[float], encoder: float, guess: float = 5.0) -> list[tuple]:
    lines = []
    for seed, accuracy in enumerate(accuracies):
        values = {
            ("test", "accuracy"): accuracy,
            ("test", "accuracy_over_guess"): accuracy - guess,
            ("untied", "parameters"): encoder + 10,
            ("encoder", "parameters"): encoder,
            ("total", "flops_per_token"): encoder,
            ("train", "tokens_per_second"): 1000 / encoder,
        }
        lines += [(variant, seed, 0, split, name, value) for (split, name), value in values.items()]
    return lines


def tidy(*arms: list[tuple]) -> pd.DataFrame:
    columns = ["variant", "seed", "step", "split", "metric", "value"]
    rows = pd.DataFrame([line for one in arms for line in one], columns=columns)
    return rows.assign(unit=[metrics.metric(name).unit for name in rows["metric"]])


BERT = arm("bert", [30.0, 30.0, 30.0], 100)


@pytest.mark.parametrize(
    ("accuracies", "encoder", "goal"),
    [
        ([30.0, 30.2, 30.1], 30, "yes"),
        ([26.0, 32.0, 30.0], 30, "on average"),
        ([28.0, 28.1, 28.2], 30, "no"),
        ([33.0, 33.1, 33.2], 41, "no"),  # too many parameters without embeddings and head
    ],
)
def test_the_goal_needs_accuracy_and_every_cost(accuracies, encoder, goal):
    rows = tidy(BERT, arm("pnn", accuracies, encoder))
    table = findings.against_baselines(rows, LABELS)
    assert table.loc[("PNN", "12-layer BERT"), "goal"] == goal
    share = 100 * np.mean(accuracies) / 30
    assert table.loc[("PNN", "12-layer BERT"), "accuracy, %"].startswith(f"{share:.1f} [")
    text = findings.beyond(rows, LABELS)
    assert f"PNN has {share:.1f}" in text
    said = "not reached against it" if goal == "no" else "reached against it by PNN"
    assert f"is **12-layer BERT**: the goal is {said}." in text


def test_the_papers_count_can_fail_alone():
    rows = tidy(BERT, arm("pnn", [33.0, 33.1, 33.2], 36))
    line = findings.against_baselines(rows, LABELS).loc[("PNN", "12-layer BERT")]
    assert (line["encoder, %"], line["untied, %"], line["goal"]) == ("36.0", "41.8", "no")


def test_an_arm_on_the_plateau_gives_no_ratio():
    rows = tidy(arm("bert", [30.0, 30.0, 5.2], 100), arm("pnn", [30.0, 30.1, 30.2], 30))
    assert findings.against_baselines(rows, LABELS).empty
    text = findings.beyond(rows, LABELS)
    assert "**No ratio** for 12-layer BERT: a seed stood on the plateau" in text
    assert "Of **" not in text


def test_every_arm_at_equal_tokens_is_drawn():
    rows = tidy(BERT, arm("pnn", [30.0, 30.1, 30.2], 30))
    figure = plots.frontier(statistics.summarise(rows), findings.RECURRENT, ["bert", "pnn"])
    figure.canvas.draw()
    assert figure.legends[0].get_texts()[1].get_text() == "PNN"
    plt.close(figure)
