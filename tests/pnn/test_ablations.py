"""The experiments behind ablations and extensions: arms, verdicts, and runs at smoke."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from toy_masked import RULE, toy_ids, toy_model

from plasticity.companion import profiles
from plasticity.companion.configuration import Runtime
from plasticity.experiments import (
    pnn_ablations,
    pnn_contraction,
    pnn_extensions,
    pnn_refinement,
    pnn_transfer,
)
from plasticity.pnn import BertBaselineConfig, BertBaselineForMaskedLM
from plasticity.pnn.glue import TASKS, Pairs
from plasticity.pnn.masking import fixed_masks
from plasticity.pnn.variants import VariantConfig, VariantForMaskedLM

CPU = Runtime(device="cpu", workers=1)


def smoke(experiment: str, variant: str):
    return next(c for c in profiles.configs(experiment, "smoke") if c.variant == variant)


@pytest.fixture
def toy_corpus():
    masks = fixed_masks(toy_ids(40), RULE, 2)
    tokenizer = SimpleNamespace(get_vocab_size=lambda: 40)
    return SimpleNamespace(
        train=toy_ids(60),
        validation=masks,
        test=masks,
        rule=RULE,
        pad_token_id=None,
        tokenizer=tokenizer,
    )


def test_an_arm_hands_its_exchange_to_the_model():
    config = smoke("pnn_ablations", "hierarchical")
    found = config.model_config(300)
    assert isinstance(found, VariantConfig) and found.block_sizes == [16, 32, 16]
    assert config.model_class() is VariantForMaskedLM
    bert = smoke("pnn_ablations", "universal_transformer")
    assert isinstance(bert.model_config(300), BertBaselineConfig)
    assert bert.model_class() is BertBaselineForMaskedLM
    assert config.recurrent and bert.recurrent
    assert not pnn_ablations.Config(share_refiner=False).recurrent
    assert not pnn_ablations.Config(architecture="bert").recurrent


def test_word_vectors_replace_the_embeddings_of_known_tokens_alone(toy_corpus):
    def embeddings(word_vectors: bool) -> torch.Tensor:
        config = pnn_ablations.Config(
            hidden_size=16, num_attention_heads=2, word_vectors=word_vectors
        )
        model = pnn_refinement.build_model(config, 40, seed=0)
        config.prepare_model(model, toy_corpus)
        return model.get_input_embeddings().weight.detach()

    random, started = embeddings(False), embeddings(True)
    changed = (random != started).any(1)
    known = torch.zeros(40, dtype=torch.bool)
    known[toy_corpus.train.unique()] = True
    assert torch.equal(changed, known)
    assert started[known].std() == pytest.approx(float(random.std()), rel=0.2)


def test_the_reference_counts_77_million():
    counted = {metric: value for _, _, metric, value in pnn_ablations._hierarchical_rows()}
    assert counted == {"parameters": 76_947_520, "hierarchical_counts_match": 1.0}


def test_following_reads_the_steps_of_training_and_more(toy_corpus):
    config = smoke("pnn_contraction", "pnn")
    rows = pnn_contraction.follow(config, toy_model(), toy_corpus, seed=0)
    values = {(step, metric): value for step, _, metric, value in rows}
    assert [step for step, metric in values if metric == "deeper_accuracy"] == list(range(7))
    assert [step for step, metric in values if metric == "step_jacobian_norm"] == list(range(5))
    stretches = [values[step, "step_jacobian_norm"] for step in range(4)]
    assert values[0, "jacobian_norm"] == pytest.approx(np.mean(stretches))
    assert values[0, "refinement_contracts"] == float(max(stretches) < 1)


def test_halting_is_chosen_on_validation_texts_and_scored_on_test_texts(toy_corpus, monkeypatch):
    monkeypatch.setattr(pnn_refinement, "trained_model", lambda *_: (toy_model(3), toy_corpus))
    frame = pnn_extensions.run(smoke("pnn_extensions", "halting"), 0, None, CPU)
    values = frame.set_index(["split", "metric", "step"])["value"]
    chosen = frame.loc[frame["metric"] == "halting_chosen", "split"].item()
    found = values["chosen"]
    own = frame[(frame["split"] == chosen) & (frame["metric"] == "halted_steps")]["value"]
    assert found["halted_steps", 0] in own.tolist()
    full = values["fixed", "halted_accuracy", 4]
    assert values["entropy", "halted_accuracy", 0] == pytest.approx(full)  # stops nowhere
    assert values["entropy", "halted_steps", 0] == 4
    assert values["learned", "halted_compute", 0] == pytest.approx(100)  # and reads but once
    assert values["entropy", "halted_compute", 0] > 100
    change = found["halted_accuracy", 0] - full
    assert found["halting_accuracy_change", 0] == pytest.approx(change)
    slow = values[["batch_1", "batch_32"]].min() <= 1 or found["halted_compute", 0] >= 100
    assert found["halting_saves_compute", 0] == float(change >= -0.5 and not slow)


def test_a_majority_is_beaten_only_with_the_whole_interval():
    task, config = TASKS["glue_cola"], smoke("pnn_transfer", "glue")
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 400)
    pairs = dict.fromkeys(("train", "test"), Pairs([], None, truth, np.arange(400), np.arange(400)))

    def verdict(predicted) -> float:
        rows = pnn_transfer._beyond_majority(config, task, predicted, pairs, seed=0)
        return {metric: value for *_, metric, value in rows}["fine_tuning_beats_majority"]

    assert verdict(truth) == 1
    assert verdict(rng.integers(0, 2, 400)) == 0
    assert verdict(np.ones(400, int)) == 0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: pnn_ablations.Config(gate="open"), "gate is 'open'"),
        (lambda: pnn_ablations.Config(block_sizes=(4, 0)), "block_sizes is 0"),
        (lambda: pnn_contraction.Config(deepest_step=0), "deepest_step is 0"),
        (lambda: pnn_extensions.Config(task="sound"), "task is 'sound'"),
        (lambda: pnn_extensions.Config(patch_size=5), "patch_size is 5"),
        (lambda: pnn_transfer.Config(example_length=200), "example_length is 200"),
        (lambda: pnn_transfer.Config(task_learning_rates=()), "task_learning_rates is"),
    ],
)
def test_settings_out_of_range_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_dataset_that_is_no_task_is_refused():
    with pytest.raises(ValueError, match="dataset is 'stories'; allowed: glue_cola"):
        pnn_transfer.run(pnn_transfer.Config(dataset="stories"), 0, None, CPU)


@pytest.mark.parametrize("profile", ["smoke", "laptop", "paper"])
def test_halting_and_fine_tuning_take_models_that_pnn_refinement_trains(profile):
    trained = profiles.configs("pnn_refinement", profile)
    names = [field.name for field in dataclasses.fields(pnn_refinement.Config)]
    found = [c for c in profiles.configs("pnn_extensions", profile) if c.task == "halting"]
    for config in [*found, *profiles.configs("pnn_transfer", profile)]:
        own = {name: getattr(config, name) for name in names} | {"variant": config.arm}
        assert pnn_refinement.Config(**own) in trained


@pytest.mark.slow
def test_an_arm_runs_and_is_told_apart_by_its_seed(tmp_path, monkeypatch):
    monkeypatch.delenv("PLASTICITY_DATA", raising=False)
    config = smoke("pnn_ablations", "word_vectors")
    one, two = (pnn_ablations.run(config, s, tmp_path / str(s), CPU) for s in (0, 1))
    losses = [f.loc[(f["metric"] == "loss") & (f["split"] == "test"), "value"] for f in (one, two)]
    assert losses[0].item() != losses[1].item()
    assert one.loc[one["metric"] == "ablation_recorded", "value"].item() == 1
