"""Fine-tuning on tasks of GLUE and SuperGLUE: PNN, BERT of the same budget, and the majority.

The pre-trained models are those of `pnn_refinement`; what is fine-tuned is the whole model with a
linear layer on its mean state, each with its own best learning rate of equally many.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from plasticity.companion import datasets as corpora
from plasticity.companion import metrics
from plasticity.companion.configuration import Runtime, check_range, setting
from plasticity.experiments import pnn_refinement


@dataclass(frozen=True)
class Config(pnn_refinement.Config):
    """A pre-trained arm of `pnn_refinement`, and the task that it is fine-tuned on."""

    arm: str = setting("pnn", "the arm of pnn_refinement that is fine-tuned")
    dataset: str = setting("glue_cola", "a task of GLUE or SuperGLUE in data/manifest.yaml")
    pretrained: bool = setting(True, "start from the trained model, or from a fresh one")
    examples: int = setting(10_000_000, "rows of training, at most, each an example or several")
    example_length: int = setting(64, "tokens per example; at most sequence_length")
    epochs: int = setting(3, "passes over the training examples")
    task_batch_size: int = setting(32, "examples per update")
    task_learning_rates: tuple[float, ...] = setting(
        (1e-3, 3e-4, 1e-4), "rates tried; the best on validation examples is scored"
    )
    resamples: int = setting(1000, "resamplings of the test examples, for the interval")

    def __post_init__(self):
        """Check every setting that a profile or a reader may change."""
        super().__post_init__()
        for name in ("examples", "epochs", "task_batch_size", "resamples"):
            check_range(name, getattr(self, name), 1, math.inf)
        check_range("example_length", self.example_length, 3, self.sequence_length)
        if not self.task_learning_rates:
            raise ValueError("task_learning_rates is (); allowed: one or more above 0")
        for rate in self.task_learning_rates:
            check_range("task_learning_rates", rate, 1e-12, math.inf)


def datasets(config: Config) -> tuple[str, ...]:
    """Return the datasets that a run reads."""
    return (config.corpus, config.dataset)


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Fine-tune one arm with one seed and score it with the task's own measure.

    Parameters
    ----------
    config : Config
    seed : int
        Of the pre-training and of the fine-tuning.
    folder : Path
        Not used: the pre-trained model's checkpoint belongs to `pnn_refinement`.
    runtime : Runtime

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit.

    Raises
    ------
    ValueError
        If the dataset is no task that `plasticity.pnn.glue.TASKS` knows.
    """
    from plasticity.pnn.fine_tuning import FineTuningConfig, fine_tune
    from plasticity.pnn.glue import TASKS

    if config.dataset not in TASKS:
        raise ValueError(f"dataset is {config.dataset!r}; allowed: {', '.join(TASKS)}")
    task = TASKS[config.dataset]
    corpus = pnn_refinement.prepare_corpus(config)
    pairs, encoded = _examples(config, task, corpus.tokenizer)
    tried = []
    for rate in config.task_learning_rates:
        model = _classifier(config, task, seed, runtime)
        settings = FineTuningConfig(config.epochs, config.task_batch_size, rate)
        trainer = fine_tune(model, encoded["train"], settings, seed=seed, device=runtime.device)
        said = _said(trainer, task, encoded, pairs, "validation")
        tried.append((task.scored(said, pairs["validation"]), -rate, trainer))
    validation, rate, trainer = max(tried, key=lambda one: one[:2])
    predicted = _said(trainer, task, encoded, pairs, "test")
    rows = [
        *_beyond_majority(config, task, predicted, pairs, seed),
        (0, "test", "rows", len(encoded["test"])),
        (0, "test", "truncated_share", 100 * encoded["test"].truncated / len(encoded["test"])),
        (0, "validation", "task_score", validation),
        (0, "train", "learning_rate", -rate),
        (0, "train", "rows", len(encoded["train"])),
    ]
    frame = pd.DataFrame(rows, columns=["step", "split", "metric", "value"])
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])


def _beyond_majority(config: Config, task, predicted, pairs: dict, seed: int) -> list[tuple]:
    """Return the score, the majority's, and whether it is beaten with the whole 95% interval."""
    truth, rng = pairs["test"], np.random.default_rng(seed)
    guessed = task.majority(pairs["train"], truth)
    beyond = []
    for _ in range(config.resamples):
        drawn = truth.drawn(rng)
        again = truth.taken(drawn)
        beyond.append(task.scored(predicted[drawn], again) - task.scored(guessed[drawn], again))
    score, majority = task.scored(predicted, truth), task.scored(guessed, truth)
    low = float(np.quantile(beyond, 0.025))
    return [
        (0, "test", "task_score", score),
        (0, "test", "majority_score", majority),
        (0, "test", "score_over_majority", score - majority),
        (0, "test", "score_over_majority_low", low),
        (0, "test", "fine_tuning_beats_majority", float(low > 0)),
    ]


def _examples(config: Config, task, tokenizer) -> tuple[dict, dict]:
    """Return the pairs of each split, and what a model reads of them."""
    from plasticity.pnn.fine_tuning import encode_examples

    splits, pairs, encoded = corpora.load(config.dataset), {}, {}
    for split in ("train", "validation", "test"):
        found = task.pairs(splits[split][: config.examples if split == "train" else None])
        targets = task.targets(found)
        pairs[split], encoded[split] = found, encode_examples(
            tokenizer, found.first, found.second, targets, config.example_length
        )  # fmt: skip
    return pairs, encoded


def _classifier(config: Config, task, seed: int, runtime: Runtime):
    """Return the model of an arm with a fresh classifier on it."""
    import torch

    from plasticity.pnn.fine_tuning import SequenceClassifier

    arm = replace(config, variant=config.arm)
    if config.pretrained:
        model, _ = pnn_refinement.trained_model(arm, seed, runtime)
    else:
        model, _ = pnn_refinement.untrained_model(arm, seed)
    torch.manual_seed(seed)
    return SequenceClassifier(model, task.num_labels).train()


def _said(trainer, task, encoded: dict, pairs: dict, split: str) -> np.ndarray:
    """Return the predictions for a split."""
    return task.predictions(trainer.predict(encoded[split]).predictions, pairs[split])
