"""Updates beside the gradient: the formula, the comparison, the verdict, the chapter."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt
from toy_masked import RULE, sampler, toy_ids, toy_model

from plasticity.companion import profiles, statistics
from plasticity.companion.configuration import Runtime
from plasticity.experiments import pnn_optimizer as experiment
from plasticity.experiments import pnn_refinement
from plasticity.findings import pnn_optimizer as findings
from plasticity.plots import pnn_optimizer as plots
from plasticity.pnn.alignment import Alignment, align, loss_gradient
from plasticity.pnn.interventions import Intervention, intervene
from plasticity.pnn.masking import IGNORED_LABEL, fixed_masks

CPU = Runtime(device="cpu", workers=1)
TOKENS = 60


@pytest.fixture(scope="module")
def masks():
    ids = toy_ids(30)
    return fixed_masks(ids, RULE, 2)


def test_the_gradient_is_that_of_backpropagation():
    model, targets = toy_model(), torch.randint(0, 40, (7,))
    states = torch.randn(3, 7, 16, requires_grad=True)
    logits = model.head(states)
    F.cross_entropy(logits.flatten(0, 1), targets.repeat(3), reduction="sum").backward()
    torch.testing.assert_close(loss_gradient(model.head, states.detach(), targets), states.grad)


def test_an_update_down_the_gradient_has_a_cosine_of_one_and_descends(masks):
    model, labels = toy_model(), masks[1]
    scored = labels != IGNORED_LABEL

    def downhill(state, moment):
        moved = state.clone()
        before = previous[-1]
        moved[scored] = before[scored] - loss_gradient(model.head, before[scored], labels[scored])
        previous.append(moved)
        return moved

    with torch.no_grad():
        previous = [model.pnn.embeddings(masks[0])]
    with intervene(model, Intervention("state", downhill)):
        found = align(model, *masks, seed=0)
    assert (found.cosines > 0.9999).all()
    assert found.exchanged.mean() < 0.9
    np.testing.assert_allclose(found.descended, found.losses[1:], atol=1e-4)
    assert (found.losses[-1] < found.losses[0]).all()


def test_losses_are_those_of_the_readouts_and_batches_do_not_matter(masks):
    model = toy_model()
    found, split = (align(model, *masks, seed=0, batch_size=size) for size in (128, 7))
    with torch.no_grad():
        loss = model(masks[0], labels=masks[1], num_steps=4).loss
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    assert float(weights @ found.losses[1:].mean(-1)) == pytest.approx(float(loss), rel=1e-5)
    np.testing.assert_allclose(found.losses, split.losses, atol=1e-5)
    np.testing.assert_allclose(found.cosines, split.cosines, atol=1e-4)
    assert np.array_equal(found.sequences, split.sequences)
    assert np.array_equal(found.sequences, (masks[1] != IGNORED_LABEL).nonzero()[:, 0].numpy())


def test_nothing_hidden_is_refused(masks):
    with pytest.raises(ValueError, match="labels hides no token"):
        align(toy_model(), masks[0], torch.full_like(masks[1], IGNORED_LABEL), seed=0)


@pytest.mark.parametrize(
    ("cosines", "losses", "follows"),
    [((0.3, 0.1), (3, 2, 1), 1), ((0.3, 0.0), (3, 2, 1), 0), ((0.3, 0.1), (3, 2, 2), 0)],
)
def test_the_verdict_needs_every_step_to_follow_and_to_gain(cosines, losses, follows):
    found = Alignment(
        np.repeat(np.array(losses, float)[:, None], TOKENS, 1),
        np.repeat(np.array(cosines)[:, None], TOKENS, 1),
        np.zeros((2, TOKENS)),
        np.zeros((2, TOKENS)),
        np.arange(TOKENS) // 3,
    )
    resample = statistics.cluster_resampler(found.sequences, 50, np.random.default_rng(0))
    assert experiment._rows(found, resample)[-1] == (0, "deltas_follow_negative_gradient", follows)


@pytest.fixture(scope="module")
def rows(masks):
    tokenizer = SimpleNamespace(get_vocab_size=lambda: 40)
    corpus = SimpleNamespace(
        test=masks,
        pad_token_id=None,
        tokenizer=tokenizer,
        test_sample=sampler(masks),
    )
    patch, found = pytest.MonkeyPatch(), []
    patch.setattr(pnn_refinement, "trained_model", lambda *_: (toy_model(7), corpus))
    patch.setattr(pnn_refinement, "build_model", lambda *_: toy_model(8))
    for config in profiles.configs("pnn_optimizer", "smoke"):
        for seed in (0, 1):
            own = experiment.run(config, seed, None, CPU)
            found.append(own.assign(variant=config.variant, seed=seed))
    patch.undo()
    return pd.concat(found)


def test_the_refiner_is_exchanged_and_nothing_else(rows):
    own = rows[(rows["variant"] == "pnn") & (rows["metric"] == "readout_loss")]
    losses = own[own["seed"] == 0].set_index(["split", "step"])["value"]
    assert losses["test", 0] == losses["random_refiner", 0]
    assert losses["test", 1] != losses["random_refiner", 1]


def test_the_chapter_is_made_of_the_rows(rows):
    text = findings.optimizer(rows)
    assert text.count("\n- ") == 4
    assert "**do not follow the negative gradient**" in text
    assert len(findings.steps(rows)) == 12
    figure = plots.descent(statistics.summarise(rows))
    figure.canvas.draw()
    plt.close(figure)
