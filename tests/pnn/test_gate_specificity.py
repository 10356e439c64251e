"""Gate specificity: what is measured, the verdict, and the chapter made of it."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from toy_masked import RULE, sampler, toy_ids, toy_model

from plasticity.companion import metrics, profiles, statistics
from plasticity.companion.configuration import Runtime
from plasticity.experiments import pnn_gate_specificity as experiment
from plasticity.experiments import pnn_refinement
from plasticity.findings import pnn_gate_specificity as findings
from plasticity.plots import pnn_gate_specificity as plots
from plasticity.pnn.evaluation import evaluate, token_scores
from plasticity.pnn.masking import IGNORED_LABEL, fixed_masks

CPU = Runtime(device="cpu", workers=1)
CONFIG = next(c for c in profiles.configs("pnn_gate_specificity", "smoke") if c.variant == "pnn")


@pytest.fixture(scope="module")
def corpus():
    ids = toy_ids(40)
    validation, test = (fixed_masks(ids, RULE, seed) for seed in (1, 2))
    test = tuple(torch.cat([part, part]) for part in test)  # two draws
    return SimpleNamespace(
        validation=validation,
        test=test,
        rule=RULE,
        pad_token_id=None,
        test_sample=sampler(test),
    )


@pytest.fixture(scope="module")
def rows(corpus):
    """Rows of both variants and two seeds, of a model that was never trained."""
    patch = pytest.MonkeyPatch()
    patch.setattr(pnn_refinement, "trained_model", lambda *_: (toy_model(), corpus))
    found = []
    for variant in ("pnn", "pnn_untrained"):
        for seed in (0, 1):
            config = experiment.Config(
                **{**CONFIG.to_dict(), "variant": variant, "test_draws": 2, "sequences": 30}
            )
            found.append(experiment.run(config, seed, None, CPU).assign(variant=variant, seed=seed))
    patch.undo()
    return pd.concat(found)


def test_token_scores_add_up_to_the_evaluation(corpus):
    model = toy_model()
    hits, losses = token_scores(model, *corpus.test, batch_size=7)
    whole = evaluate(model, *corpus.test)
    assert 100 * hits.float().mean() == pytest.approx(whole.accuracy)
    assert float(losses.mean()) == pytest.approx(whole.loss, rel=1e-5)
    assert len(hits) == whole.tokens


def test_every_arm_of_the_released_script_is_there(rows):
    released = set(rows.loc[rows["metric"] == "released_accuracy_drop", "split"])
    assert released == {
        *(f"dropout_{p}" for p in (25, 50, 75)),
        *(f"noise_{p}" for p in (10, 30, 50)),
        *(f"scale_{p}" for p in (25, 50, 75, 150, 200)),
        *("anti_gate", "pattern_shuffling", "uniform_gate"),
    }
    assert all(metrics.metric(name).unit for name in rows["metric"].unique())


def test_sizes_are_those_of_the_scalings_and_matched_where_they_are_to_be(rows):
    sizes = rows[(rows["metric"] == "relative_size") & (rows["step"] == 0)]
    sizes = sizes[(sizes["seed"] == 0) & (sizes["variant"] == "pnn")].set_index("split")["value"]
    for percent in experiment.SCALES:
        own = sizes[f"scaled by {percent / 100:.2f}"]
        assert own == pytest.approx(abs(percent / 100 - 1), abs=1e-5)
    for side in experiment.MATCHED:
        assert sizes[f"opposite, {side}"] == pytest.approx(sizes["opposite"], rel=1e-4)
    assert sizes["50 % opposite"] == pytest.approx(sizes["opposite"] / 2, rel=1e-4)


def test_differences_are_paired_and_the_drops_lie_in_their_bounds(rows):
    own = rows[(rows["seed"] == 0) & (rows["variant"] == "pnn")]
    values = own.set_index(["metric", "step", "split"])["value"]
    drop, beyond = values["accuracy_drop"], values["drop_difference"]
    for (step, split), difference in beyond.items():
        name = split.rsplit(", ", 1)[0]
        assert difference == pytest.approx(drop[step, name] - drop[step, split])
    assert (values["accuracy_drop_low"] <= values["accuracy_drop_high"]).all()
    steps = {step for step, _ in drop.index}
    assert steps == {0, *range(1, CONFIG.num_steps + 1)}


@pytest.mark.parametrize("helps", [True, False])
def test_the_verdict_needs_the_whole_interval_beyond_both_scalings(helps):
    tokens = 200
    texts = np.arange(tokens) // 2
    resample = statistics.cluster_resampler(texts, 200, np.random.default_rng(0))
    lost = {
        (0, "opposite"): (np.full(tokens, 0.5), None),
        (0, "opposite, forward"): (np.full(tokens, 0.1), None),
        (0, "opposite, backward"): (np.full(tokens, 0.4 if helps else 0.5), None),
    }
    rows = {row[1:3]: row[3] for row in experiment._contrast_rows(lost, resample)}
    assert rows["test", "anti_gate_worse_than_matched_scaling"] == helps
    assert rows["opposite, forward", "drop_difference"] == pytest.approx(40)


def test_hidden_tokens_are_put_back_before_masks_are_drawn_again(corpus, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "plasticity.pnn.masking.fixed_masks", lambda ids, *_: seen.append(ids) or corpus.validation
    )
    experiment._released_rows(toy_model(), corpus, 0)
    _, labels = corpus.validation
    assert (seen[0][labels != IGNORED_LABEL] == labels[labels != IGNORED_LABEL]).all()
    assert len(seen) == 15  # the baseline and fourteen arms, a mask for each


def test_the_chapter_is_made_of_the_rows(rows):
    text = findings.specificity(rows)
    assert text.count("\n- ") == 6
    assert "The conclusion does not survive" in text  # the model chooses nothing
    assert list(findings.structured(rows).index) == list(experiment.STRUCTURED)
    assert len(findings.random_changes(rows)) == 12
    trained = rows[rows["variant"] == "pnn"]
    assert "untrained** model was not measured" in findings.specificity(trained)
    assert "untrained" not in findings.structured(trained)
    figure = plots.contrasts(statistics.summarise(trained), experiment.STRUCTURED)
    assert [axes.get_title("left") for axes in figure.axes] == ["Trained"]
    plt.close(figure)
    for seeds in (rows, rows[rows["seed"] == 0]):
        summary = statistics.summarise(seeds)
        for figure in (
            plots.nine_panels(summary),
            plots.contrasts(summary, experiment.STRUCTURED),
            plots.dose(summary),
        ):
            figure.canvas.draw()
            plt.close(figure)


@pytest.mark.parametrize(
    ("lows", "says"),
    [
        ((0.5, 0.1), "in 2 of 2 seeds, so which dimensions are open depends on the token"),
        ((0.5, -0.1), "in 1 of 2 seeds, so a fixed profile may be all that matters"),
    ],
)
def test_the_token_matters_where_every_seed_is_clear(rows, lows, says):
    changed = rows.copy()
    for seed, low in enumerate(lows):
        own = (changed["metric"] == "drop_difference_low") & (changed["seed"] == seed)
        changed.loc[own, "value"] = low
    assert says in findings.specificity(changed)
