"""The shipped model stands in for trained ones in the chapters that look into PNN."""

import dataclasses
import shutil

import pytest
import torch

from plasticity.companion import paths, profiles, provenance
from plasticity.companion.configuration import Runtime, experiment_module
from plasticity.experiments import pnn_playground, pnn_refinement

CPU = Runtime(device="cpu", workers=1)
ANALYSES = ("pnn_convergence", "pnn_gates", "pnn_gate_specificity", "pnn_evidence", "pnn_optimizer")


@pytest.fixture(autouse=True)
def shipped_sample_only(monkeypatch):
    """Use the sample that ships, and let nothing be trained."""
    monkeypatch.delenv("PLASTICITY_DATA", raising=False)
    monkeypatch.setattr(pnn_refinement, "train_arm", pytest.fail)


def shipped_configs(experiment: str):
    return pnn_refinement.with_shipped_model(profiles.configs(experiment, "smoke"))


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ANALYSES)
def test_every_analysis_runs_on_the_shipped_model(experiment):
    for config in shipped_configs(experiment):
        rows = experiment_module(experiment).run(config, 0, None, CPU)
        assert len(rows) and rows["value"].notna().all()


def test_the_model_is_the_shipped_one_and_reads_with_its_own_tokenizer():
    [config] = shipped_configs("pnn_evidence")
    model, corpus = pnn_refinement.trained_model(config, 0, CPU)
    wanted, tokenizer = pnn_playground.load()
    assert corpus.tokenizer.to_str() == tokenizer.to_str()
    assert all(
        torch.equal(own, other)
        for own, other in zip(model.parameters(), wanted.parameters(), strict=True)
    )
    assert corpus.test[0].shape[1] == wanted.config.max_position_embeddings


def test_only_what_belongs_to_the_training_is_exchanged():
    [before] = profiles.configs("pnn_evidence", "laptop")
    [config] = pnn_refinement.with_shipped_model([before])
    assert (config.sequences, config.resamples, config.corpus) == (
        before.sequences,
        before.resamples,
        before.corpus,
    )
    [shipped] = profiles.configs("pnn_playground", "paper")
    assert config.train_tokens == shipped.train_tokens != before.train_tokens
    models = {one.variant for one in shipped_configs("pnn_convergence")}
    assert models == {"pnn"}  # no BERT is shipped


@pytest.mark.parametrize(
    ("change", "seed", "message"),
    [
        ({"num_steps": 6}, 0, "num_steps is 6; allowed: 4"),
        ({"hidden_size": 64}, 0, "hidden_size is 64; allowed: 96"),
        ({}, 1, "seed is 1; allowed: 0"),
    ],
)
def test_what_the_shipped_model_is_not_is_refused(change, seed, message):
    [config] = shipped_configs("pnn_evidence")
    config = dataclasses.replace(config, **change)
    with pytest.raises(ValueError, match=message):
        pnn_refinement.trained_model(config, seed, CPU)


def test_results_are_filed_under_the_model_that_was_read(tmp_path, monkeypatch):
    [config] = shipped_configs("pnn_evidence")
    assert [one["name"] for one in provenance.data_records("pnn_evidence", config)] == [
        config.corpus,
        "pnn_stories",
    ]
    before = provenance.result_key("pnn_evidence", config)
    shutil.copytree(paths.RELEASED_CHECKPOINTS / "pnn_stories", tmp_path / "pnn_stories")
    monkeypatch.setattr(paths, "RELEASED_CHECKPOINTS", tmp_path)
    assert provenance.result_key("pnn_evidence", config) == before
    weights = tmp_path / "pnn_stories" / "model" / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    assert provenance.result_key("pnn_evidence", config) != before
    [plain] = profiles.configs("pnn_evidence", "smoke")
    assert [one["name"] for one in provenance.data_records("pnn_evidence", plain)] == [plain.corpus]


def test_an_unknown_tokenizer_is_named():
    with pytest.raises(
        ValueError, match="tokenizer is 'pnn_storys'; allowed: 'corpus', 'bert-base"
    ):
        pnn_refinement.Config(tokenizer="pnn_storys")
