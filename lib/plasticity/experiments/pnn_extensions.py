"""What the paper leaves for later: halting when a text is refined enough, and images.

``halting`` takes the trained model of `pnn_refinement`; ``vision`` trains PNN or a small ViT on
digits, each with its own best learning rate of equally many.
"""

import itertools
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from plasticity.companion import datasets as corpora
from plasticity.companion import metrics
from plasticity.companion.configuration import Runtime, check_choice, check_range, setting
from plasticity.experiments import pnn_refinement

if TYPE_CHECKING:
    from torch import Tensor

    from plasticity.pnn.fine_tuning import TensorRows
    from plasticity.pnn.halting import StoppingRule
    from plasticity.pnn.modeling import PnnForMaskedLM

ALLOWED_LOSS = 0.5  # percentage points of accuracy that halting may cost
CHOICE_LOSS = 0.25  # and on the validation set, where its rule and threshold are chosen
BATCHES = (1, 32)  # sequences at a time, where wall time is measured


@dataclass(frozen=True)
class Config(pnn_refinement.Config):
    """One extension. Settings of `pnn_refinement` name the model that halting stops."""

    task: str = setting("halting", "halting or vision")
    arm: str = setting("pnn", "halting: the arm of pnn_refinement whose model is stopped")
    sequences: int = setting(1000, "halting: sequences of each split, at most")
    halting_texts: int = setting(2000, "halting: training sequences that the unit learns from")
    thresholds: int = setting(8, "halting: thresholds tried of each rule")
    timed_sequences: int = setting(128, "halting: sequences whose inference is timed")
    repeats: int = setting(9, "halting: timings of each kind")
    image_architecture: str = setting("pnn", "vision: pnn or vit")
    images: int = setting(55_000, "vision: training images")
    patch_size: int = setting(7, "vision: pixels a side of a patch; divides 28")
    num_image_layers: int = setting(4, "vision: ViT's layers")
    image_epochs: int = setting(10, "vision: passes over the training images")
    image_batch_size: int = setting(64, "vision: images per update")
    image_learning_rates: tuple[float, ...] = setting(
        (1e-3, 3e-3), "vision: rates tried; the best on validation images is scored"
    )

    def __post_init__(self):
        """Check every setting that a profile or a reader may change."""
        super().__post_init__()
        check_choice("task", self.task, ("halting", "vision"))
        check_choice("image_architecture", self.image_architecture, ("pnn", "vit"))
        names = "sequences halting_texts timed_sequences repeats images num_image_layers"
        names += " image_epochs image_batch_size"
        for name in names.split():
            check_range(name, getattr(self, name), 1, math.inf)
        check_range("thresholds", self.thresholds, 2, math.inf)
        check_choice("patch_size", self.patch_size, (1, 2, 4, 7, 14, 28))
        if not self.image_learning_rates:
            raise ValueError("image_learning_rates is (); allowed: one or more above 0")
        for rate in self.image_learning_rates:
            check_range("image_learning_rates", rate, 1e-12, math.inf)


def datasets(config: Config) -> tuple[str, ...]:
    """Return the datasets that a run reads."""
    return ("mnist",) if config.task == "vision" else (config.corpus,)


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Measure one extension with one seed.

    Parameters
    ----------
    config : Config
    seed : int
    folder : Path
        Not used: what is trained here takes seconds.
    runtime : Runtime

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit.
    """
    rows = {"halting": _halting, "vision": _vision}[config.task](config, seed, runtime)
    frame = pd.DataFrame(rows, columns=["step", "split", "metric", "value"])
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])


# ---------------------------------------------------------------- halting


def _halting(config: Config, seed: int, runtime: Runtime) -> list[tuple]:
    """Sweep every rule on validation texts, choose one, and score and time that on test texts."""
    from plasticity.pnn.halting import ChangedArgmax, Divergence, Entropy, Learned, learn_to_halt

    arm = replace(config, variant=config.arm)
    model, corpus = pnn_refinement.trained_model(arm, seed, runtime)
    model.requires_grad_(False)
    unit = learn_to_halt(
        model,
        corpus.train[: config.halting_texts],
        corpus.rule,
        seed=seed,
        pad_token_id=corpus.pad_token_id,
    )
    rules = {
        "entropy": Entropy(0.0),
        "divergence": Divergence(0.0),
        "argmax": ChangedArgmax(0.0),
        "learned": Learned(0.0, unit),
    }
    device = next(model.parameters()).device
    validation, test = (
        tuple(part[: config.sequences].to(device) for part in split)
        for split in (corpus.validation, corpus.test)
    )
    fixed = {name: _fixed(model, *split) for name, split in _both(validation, test)}
    rows = [
        (step, f"fixed_{name}" if name == "validation" else "fixed", "halted_accuracy", accuracy)
        for name, path in fixed.items()
        for step, accuracy in enumerate(path, start=1)
    ]
    best, chosen = math.inf, None
    for name, rule in rules.items():
        for index, threshold in enumerate(_thresholds(model, validation, rule, config.thresholds)):
            tried = replace(rule, threshold=threshold)
            accuracy, _, compute = _halted(model, *validation, tried)
            if accuracy >= fixed["validation"][-1] - CHOICE_LOSS and compute < best:
                best, chosen = compute, (name, tried)
            rows += [
                (index, name, "halting_threshold", threshold),
                *_halted_rows(index, name, *_halted(model, *test, tried)),
            ]
    return rows + _chosen_rows(config, model, test, fixed["test"], *chosen)


def _both(validation, test):
    return (("validation", validation), ("test", test))


def _halted_rows(index: int, split: str, accuracy: float, steps: float, compute: float):
    return [
        (index, split, "halted_accuracy", accuracy),
        (index, split, "halted_steps", steps),
        (index, split, "halted_compute", compute),
    ]


def _fixed(model: "PnnForMaskedLM", masked_ids: "Tensor", labels: "Tensor") -> list[float]:
    """Return the accuracy after each number of steps, the same for every sequence."""
    from plasticity.pnn.evaluation import evaluate

    return evaluate(model, masked_ids, labels).readout_accuracy[1:]


def _thresholds(model, validation, rule: "StoppingRule", count: int) -> list[float]:
    """Return thresholds from below every level to above them all: quantiles of validation texts.

    Below all none stops early, so that every rule can be chosen at no loss at all.
    """
    from plasticity.pnn.halting import unrest_levels
    from plasticity.pnn.masking import IGNORED_LABEL

    masked_ids, labels = validation
    levels = unrest_levels(model, masked_ids, labels != IGNORED_LABEL, rule)[:-1]
    quantiles = np.quantile(levels.cpu().numpy(), np.linspace(0, 1, count)[1:])
    return [-1.0, *np.unique(quantiles).tolist()]


def _halted(model, masked_ids, labels, rule: "StoppingRule") -> tuple[float, float, float]:
    """Return the percent right, the mean number of steps, and the percent of all steps' compute.

    Compute is multiply-adds of the steps taken and of all that the head read, against those of all
    steps and one readout.
    """
    from plasticity.pnn.halting import refine_until
    from plasticity.pnn.masking import IGNORED_LABEL

    hidden, read = labels != IGNORED_LABEL, []
    hook = model.head.register_forward_hook(lambda _, inputs, __: read.append(len(inputs[0])))
    found = refine_until(model, masked_ids, hidden, rule)
    hook.remove()
    accuracy = 100 * (found.logits.argmax(-1) == labels[hidden]).float().mean().item()
    length, every = masked_ids.shape[1], model.config.num_steps
    step = model.config.multiply_adds(length) / every * length
    readout = model.head.weight.numel()
    taken = found.steps.sum().item() * step + sum(read) * readout
    full = len(masked_ids) * every * step + hidden.sum().item() * readout
    return accuracy, found.steps.float().mean().item(), 100 * taken / full


def _chosen_rows(config: Config, model, test, fixed, name: str, rule) -> list[tuple]:
    """Score and time the chosen rule on the test texts, beside all steps and beside fixed ones."""
    accuracy, steps, compute = _halted(model, *test, rule)
    change = accuracy - fixed[-1]
    at_equal_steps = float(np.interp(steps, range(1, len(fixed) + 1), fixed))
    speed_ups = {size: _speed_up(config, model, *test, rule, size) for size in BATCHES}
    faster = all(ratio > 1 for ratio in speed_ups.values())
    saves = change >= -ALLOWED_LOSS and compute < 100 and faster
    return [
        (0, name, "halting_chosen", 1.0),
        *_halted_rows(0, "chosen", accuracy, steps, compute),
        (0, "chosen", "halting_accuracy_change", change),
        (0, "chosen", "halting_over_fixed", accuracy - at_equal_steps),
        *((0, f"batch_{size}", "halting_speed_up", ratio) for size, ratio in speed_ups.items()),
        (0, "chosen", "halting_saves_compute", float(saves)),
    ]


def _speed_up(config: Config, model, masked_ids, labels, rule, batch_size: int) -> float:
    """Return how much less time inference takes with a rule than with all steps and one readout."""
    import torch

    from plasticity.pnn.halting import refine_until
    from plasticity.pnn.masking import IGNORED_LABEL

    count = config.timed_sequences
    hidden = labels[:count] != IGNORED_LABEL
    batches = list(zip(masked_ids[:count].split(batch_size), hidden.split(batch_size), strict=True))

    @torch.no_grad()
    def all_steps() -> None:
        for ids, scored in batches:
            model.head(model.pnn(ids).last_hidden_state[scored])

    def halting() -> None:
        for ids, scored in batches:
            refine_until(model, ids, scored, rule)

    seconds: dict = {all_steps: [], halting: []}
    for _ in range(config.repeats):  # in turns: what slows the machine slows both
        for work, found in seconds.items():
            started = time.perf_counter()
            work()
            found.append(time.perf_counter() - started)
    return float(np.median(seconds[all_steps]) / np.median(seconds[halting]))


# ---------------------------------------------------------------- vision


def _vision(config: Config, seed: int, runtime: Runtime) -> list[tuple]:
    """Train one model of digits with each learning rate, and score the best on the test set."""
    from plasticity.pnn.configuration import block_multiply_adds
    from plasticity.pnn.fine_tuning import FineTuningConfig, fine_tune

    train, validation, test = _digits(config)
    tried = []
    for rate in config.image_learning_rates:
        model = _image_model(config, seed)
        settings = FineTuningConfig(config.image_epochs, config.image_batch_size, rate)
        started = time.perf_counter()
        trainer = fine_tune(model, train, settings, seed=seed, device=runtime.device)
        seconds = time.perf_counter() - started
        accuracy = _image_accuracy(trainer, validation)
        tried.append((accuracy, -rate, model, trainer, seconds))
    accuracy, rate, model, trainer, seconds = max(tried, key=lambda one: one[:2])
    model.eval()
    scored = _image_accuracy(trainer, test)
    labels = test.tensors["labels"].bincount()
    guess = 100 * labels.max().item() / labels.sum().item()
    if config.image_architecture == "pnn":
        adds = model.config.multiply_adds(model.config.num_patches) * model.config.num_patches
    else:
        tokens = 1 + (model.config.image_size // model.config.patch_size) ** 2
        block = block_multiply_adds(model.config, tokens)
        adds = model.config.num_hidden_layers * block * tokens
    return [
        (0, "test", "accuracy", scored),
        (0, "test", "constant_guess_accuracy", guess),
        (0, "test", "accuracy_over_guess", scored - guess),
        (0, "test", "training_beats_guess", float(scored - guess > pnn_refinement.PLATEAU_MARGIN)),
        (0, "validation", "accuracy", accuracy),
        (0, "train", "learning_rate", -rate),
        (0, "train", "seconds", seconds),
        (0, "all", "parameters", sum(p.numel() for p in model.parameters())),
        (0, "blocks", "multiply_adds", adds),
        *(_image_steps(model, test) if config.image_architecture == "pnn" else ()),
    ]


def _digits(config: Config) -> "tuple[TensorRows, ...]":
    """Return training, validation and test digits, with the mean and spread of training ones."""
    import torch

    from plasticity.pnn.fine_tuning import TensorRows

    splits = corpora.load("mnist")
    parts = []
    for name, count in (("train", config.images), ("validation", None), ("test", None)):
        rows = splits[name][:count]
        pixels = torch.from_numpy(np.asarray(rows["image"])).float().unsqueeze(1) / 255
        parts.append((pixels, torch.from_numpy(np.asarray(rows["label"])).long()))
    mean, spread = parts[0][0].mean(), parts[0][0].std()
    return tuple(TensorRows(pixel_values=(p - mean) / spread, labels=y) for p, y in parts)


def _image_model(config: Config, seed: int):
    """Return a fresh model of digits."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    from plasticity.pnn.vision import PnnForImageClassification, PnnVisionConfig

    torch.manual_seed(seed)
    sizes = {
        "hidden_size": config.hidden_size,
        "num_attention_heads": config.num_attention_heads,
        "image_size": 28,
        "patch_size": config.patch_size,
    }
    if config.image_architecture == "pnn":
        return PnnForImageClassification(
            PnnVisionConfig(
                **sizes,
                intermediate_size=config.intermediate_size,
                num_steps=config.num_steps,
                hidden_dropout_prob=config.dropout,
                initialization=config.initialization,
                num_classes=10,
            )
        )
    return ViTForImageClassification(
        ViTConfig(
            **sizes,
            intermediate_size=config.bert_intermediate_size,
            num_hidden_layers=config.num_image_layers,
            hidden_dropout_prob=config.dropout,
            attention_probs_dropout_prob=config.dropout,
            num_channels=1,
            num_labels=10,
        )
    )


def _image_accuracy(trainer, rows: "TensorRows") -> float:
    found = trainer.predict(rows)
    return 100 * float((found.predictions.argmax(-1) == found.label_ids).mean())


def _image_steps(model, test: "TensorRows") -> list[tuple]:
    """Return PNN's accuracy after each number of steps, and after twice those of training."""
    import torch

    pixels, labels = test.tensors["pixel_values"], test.tensors["labels"]
    device, hits = next(model.parameters()).device, {}
    steps = range(1, 2 * model.config.num_steps + 1)
    with torch.no_grad():
        for images, answers in zip(pixels.split(500), labels.split(500), strict=True):
            states = model.pnn(
                images.to(device), num_steps=steps[-1], output_hidden_states=True
            ).hidden_states
            for step in steps:
                right = model.head(states[step].mean(1)).argmax(-1) == answers.to(device)
                hits[step] = hits.get(step, 0) + int(right.sum())
    return [
        (step, "test", "readout_accuracy", 100 * right / len(labels))
        for step, right in itertools.chain(hits.items())
    ]
