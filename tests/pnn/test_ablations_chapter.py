"""The chapters on ablations and extensions are made of their rows, whatever these say."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from plasticity.companion import metrics, profiles, statistics
from plasticity.findings import pnn_ablations, pnn_extensions
from plasticity.plots import pnn_ablations as ablation_plots
from plasticity.plots import pnn_extensions as extension_plots

LABELS = ablation_plots.LABELS


def tidy(lines: list[tuple]) -> pd.DataFrame:
    columns = ["variant", "seed", "step", "split", "metric", "value"]
    rows = pd.DataFrame(lines, columns=columns)
    return rows.assign(unit=[metrics.metric(name).unit for name in rows["metric"]])


def arm(variant: str, accuracy: float, loss: float, flops: float, seed: int) -> list[tuple]:
    noise = 0.1 * seed
    values = {
        ("test", "accuracy"): accuracy + noise,
        ("test", "accuracy_over_guess"): accuracy + noise - 6,
        ("test", "loss"): loss - noise,
        ("train", "tokens"): 1000.0,
        ("train", "tokens_per_second"): 10.0,
        ("encoder", "parameters"): flops / 2,
        ("total", "flops_per_token"): flops,
    }
    return [(variant, seed, 0, split, name, value) for (split, name), value in values.items()]


def followed(variant: str, seed: int, stretch: float) -> list[tuple]:
    lines = [
        (0, "jacobian_norm", stretch),
        (0, "refinement_contracts", float(stretch < 1)),
        (0, "spectral_radius", stretch / 2),
        (0, "returns_to_fixed_point", 1.0),
    ]
    for step in range(7):
        lines.append((step, "deeper_accuracy", 20.0 - abs(step - 5)))
        if step:
            lines.append((step, "relative_change", 0.5**step))
        if step < 5:
            lines.append((step, "step_jacobian_norm", stretch))
    return [(variant, seed, step, "test", name, value) for step, name, value in lines]


@pytest.fixture
def rows() -> pd.DataFrame:
    lines = []
    for seed in range(3):
        lines += arm("pnn", 25, 3.0, 100, seed) + arm("no_gate", 24, 3.2, 80, seed)
        lines += arm("word_vectors", 27, 2.8, 100, seed) + arm("twelve_steps", 25, 3.0, 300, seed)
        lines += followed("pnn", seed, 1.5) + followed("no_gate", seed, 0.9)
    return tidy(lines)


def drawn(figure) -> None:
    figure.canvas.draw()
    plt.close(figure)


def test_sides_are_taken_by_intervals_paired_by_seed(rows):
    text = pnn_ablations.ablations(rows, LABELS)
    assert "a lower loss than PNN's: **embeddings from word vectors**" in text
    assert "a higher one: **no gate**" in text
    assert "no difference that can be told: 12 steps" in text
    assert "Without the gate accuracy changes by -1.0 points: a loss" in text
    assert "4 of 4 arms stood 15 points over" in text
    assert "PNN is not on it" in text
    found = pnn_ablations.compared(rows, LABELS)
    assert found.loc["no gate", "accuracy against PNN's, points"] == "-1.0"


def test_on_the_plateau_accuracies_are_not_said_to_be_final(rows):
    rows.loc[rows["metric"] == "accuracy_over_guess", "value"] = 1.0
    text = pnn_ablations.ablations(rows, LABELS)
    assert "no arm stood 15 points" in text
    assert "who learns earlier, and not who ends up higher" in text
    assert "a loss after these tokens" in text
    assert "On the front of accuracy against compute after these tokens" in text


def test_one_seed_gives_no_verdicts(rows):
    text = pnn_ablations.ablations(rows[rows["seed"] == 0], LABELS)
    assert "no intervals, and no verdicts" in text


def test_a_model_that_learnt_without_a_gate_says_whether_it_needed_one(rows):
    losing = pnn_ablations.retrained_gates(rows, LABELS)
    assert "2 of 2 arms stood 15 points over" in losing
    assert "Trained with **no gate**: -1.0 points of accuracy against PNN, a loss" in losing
    assert "worth something, even to models taught without" in losing
    rows.loc[(rows["variant"] == "no_gate") & (rows["metric"] == "accuracy"), "value"] += 2
    gaining = pnn_ablations.retrained_gates(rows, LABELS)
    assert "a gain" in gaining and "In 1 of 1 such arms no loss could be shown" in gaining
    alone = pnn_ablations.retrained_gates(rows[rows["seed"] == 0], LABELS)
    assert "one seed, so no interval" in alone and "no intervals, and no verdict" in alone
    rows.loc[rows["metric"] == "accuracy_over_guess", "value"] = 3.0
    waiting = pnn_ablations.retrained_gates(rows, LABELS)
    assert "**stays open** here" in waiting and "In 1 of 1" not in waiting


def test_contraction_is_said_of_each_arm_by_its_stretch(rows):
    text = pnn_ablations.contraction(rows, LABELS)
    assert "**PNN does not contract**" in text and "**no gate contracts**" in text
    assert "small changes die out" in text
    assert "reads best after 5 steps (20.0 %)" in text
    table = pnn_ablations.maps(rows, LABELS)
    assert table.loc["PNN"].tolist() == ["1.50", "× 0.750", "5 steps: 20.0 %", "19.0 %"]


def test_the_figures_are_drawn(rows):
    summary = statistics.summarise(rows)
    drawn(ablation_plots.ablations(pnn_ablations.differences(rows), summary))
    drawn(ablation_plots.beyond(summary, trained_steps=4))


def test_every_arm_of_every_profile_has_a_name():
    named = {"pnn_ablations": LABELS, "pnn_contraction": LABELS}
    named["pnn_transfer"] = extension_plots.TASKS
    named["pnn_extensions"] = {"halting": None} | extension_plots.DIGITS
    for profile in ("smoke", "laptop", "paper"):
        for experiment, names in named.items():
            for config in profiles.configs(experiment, profile):
                assert config.variant in names


def halting_rows(change: float, speed: float) -> pd.DataFrame:
    lines = []
    for seed in range(3):
        for place in range(3):
            for split in ("entropy", "learned"):
                lines.append((seed, place, split, "halted_accuracy", 30.0 - place))
                lines.append((seed, place, split, "halted_steps", 4.0 - place))
        lines += [(seed, step, "fixed", "halted_accuracy", 26.0 + step) for step in (1, 2, 3, 4)]
        wobble = 0.01 * seed
        lines += [
            (seed, 0, "entropy", "halting_chosen", 1.0),
            (seed, 0, "chosen", "halted_accuracy", 30.0 + change),
            (seed, 0, "chosen", "halted_steps", 2.0 + wobble),
            (seed, 0, "chosen", "halted_compute", 60.0 + wobble),
            (seed, 0, "chosen", "halting_accuracy_change", change + wobble),
            (seed, 0, "chosen", "halting_over_fixed", 1.0 + wobble),
            (seed, 0, "batch_1", "halting_speed_up", speed + wobble),
            (seed, 0, "batch_32", "halting_speed_up", speed + wobble),
        ]
    return tidy([("halting", *line) for line in lines])


@pytest.mark.parametrize(
    ("change", "speed", "said"),
    [(-0.2, 1.8, "**is met**"), (-0.9, 1.8, "**is not met**"), (-0.2, 1.2, "**is not met**")],
)
def test_the_goal_of_halting_needs_speed_and_accuracy(change, speed, said):
    rows = halting_rows(change, speed)
    text = pnn_extensions.halting(rows, {"entropy": "surety"})
    assert said in text and "surety (3 of 3)" in text
    assert "choosing by text is worth something" in text
    drawn(extension_plots.halting(rows))


def test_digits_and_tasks_are_compared_with_their_peers():
    lines = []
    for seed in range(3):
        for variant, accuracy in zip(extension_plots.DIGITS, (95.0, 93.0, 95.0), strict=True):
            noise = 0.1 * seed * (1 if variant == "vision" else 0)
            values = {
                ("test", "accuracy"): accuracy + noise,
                ("test", "constant_guess_accuracy"): 11.0,
                ("all", "parameters"): 1000.0,
                ("blocks", "multiply_adds"): 1e6,
            }
            lines += [(variant, seed, 0, *key, value) for key, value in values.items()]
        steps = np.array([80.0, 90.0, 95.0, 90.0])
        lines += [("vision", seed, s + 1, "test", "readout_accuracy", v)
                  for s, v in enumerate(steps)]  # fmt: skip
        for variant, score in zip(extension_plots.TASKS, (0.1, 0.0, 0.0), strict=True):
            lines.append((variant, seed, 0, "test", "task_score", score + 0.01 * seed))
            lines.append((variant, seed, 0, "test", "majority_score", 0.0))
            lines.append((variant, seed, 0, "test", "fine_tuning_beats_majority", score > 0))
    rows = tidy(lines)
    names = {name: text for name, (text, _) in extension_plots.DIGITS.items()}
    text = pnn_extensions.digits(rows, names)
    assert "ViT, 1 layer, about as many parameters" in text and "PNN is ahead" in text
    assert "after the 2 of training 90.0 %" in text
    tasks = {name: text for name, (text, _) in extension_plots.TASKS.items()}
    tuned = rows[rows["variant"].isin(tasks)]
    told = pnn_extensions.fine_tuning(tuned, "Matthews' correlation", tasks)
    assert "interval over examples in 3 of 3 seeds" in told and "in 0 of 3 seeds" in told
    summary = statistics.summarise(rows)
    drawn(extension_plots.digits(summary))
    drawn(extension_plots.fine_tuning(summary, "Matthews' correlation"))
