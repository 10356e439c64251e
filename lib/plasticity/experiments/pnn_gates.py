"""The gate of PNN: figure 3 without padding and with it, against an untrained model.

The paper's figure averages over every position of short lines that are filled up with padding. Here
each population of positions is measured apart, and the variance of the gates is split into what
step, dimension and token explain.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from plasticity.companion import metrics
from plasticity.companion.configuration import Runtime, check_choice, check_range, setting
from plasticity.experiments import pnn_refinement
from plasticity.experiments.pnn_refinement import datasets, models

if TYPE_CHECKING:
    import torch

    from plasticity.pnn.corpus import MaskedCorpus
    from plasticity.pnn.modeling import PnnForMaskedLM

__all__ = ["Config", "datasets", "models", "run"]

HISTOGRAM_BINS = 50  # over the range of a gate, 0 to 1, as in the paper
HEAT_MAP_DIMENSIONS = 100  # the paper shows the first hundred
KERNEL_WIDTH = 1 / HISTOGRAM_BINS  # modes are counted at the resolution of that histogram
LENGTH_SEED = 3

# Choi (2025), figure 3, by step; measured on WikiText-103 with padding counted.
SOURCE_GATE_MEAN = (0.610, 0.542, 0.505, 0.597)
SOURCE_GATE_STD = (0.156, 0.140, 0.116, 0.229)
SOURCE_ACTIVE_SHARE = (77.4, 57.5, 52.8, 66.6)  # percent
SOURCE_MODES = (0.17, 0.49, 0.81)  # of the last step's histogram, read off the figure
# Its 500 sequences of 128 positions hold 5,627 masked tokens, 15 % of the words; each sequence has
# a [CLS] and a [SEP] too, and what is left is padding.
SOURCE_PADDING_SHARE = 1 - (5_627 / 0.15 + 2 * 500) / (500 * 128)


@dataclass(frozen=True)
class Config(pnn_refinement.Config):
    """A trained PNN, or a fresh one of the same seed, and the test sequences it reads."""

    trained: bool = setting(True, "trained, or fresh from its initialisation: the null")
    sequences: int = setting(500, "test sequences, at most; the paper's figure has 500")

    def __post_init__(self):
        """Check ranges."""
        super().__post_init__()
        check_choice("architecture", self.architecture, ("pnn",))
        check_range("sequence_length", self.sequence_length, 2, math.inf)  # a token, and padding
        check_range("sequences", self.sequences, 8, math.inf)  # fewer may hide no token at all


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Measure the gates of one model.

    Parameters
    ----------
    config : Config
    seed : int
    folder : Path
        Nothing is written into it.
    runtime : Runtime

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit. Split names the population: ``test`` (words
        without padding), ``masked`` and ``unmasked``; and in the padded layout ``with_padding``,
        ``without_padding`` and ``padding``. Where step counts bins, dimensions or modes, split
        names the refinement step as well, as in ``test, step 4``.
    """
    if config.trained:
        model, corpus = pnn_refinement.trained_model(config, seed, runtime)
    else:
        model, corpus = pnn_refinement.untrained_model(config, seed)
    gates = populations(model, corpus, config.sequences)
    rows = [row for name, values in gates.items() for row in _population_rows(name, values)]
    rows += _dimension_rows(gates["test"])
    rows += [row for name in ("masked", "unmasked") for row in _variance_rows(name, gates[name])]
    rows += _check_rows(pd.DataFrame(rows, columns=["step", "split", "metric", "value"]))
    padding = 100 * gates["padding"].shape[-1] / gates["with_padding"].shape[-1]
    rows.append((0, "with_padding", "padding_share", padding))
    frame = pd.DataFrame(rows, columns=["step", "split", "metric", "value"])
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])


def populations(
    model: "PnnForMaskedLM", corpus: "MaskedCorpus", sequences: int
) -> dict[str, np.ndarray]:
    """Return the gates of each population of positions in the test set.

    Parameters
    ----------
    model : PnnForMaskedLM
    corpus : MaskedCorpus
    sequences : int
        Read so many test sequences, or all where there are fewer.

    Returns
    -------
    dict of str to ndarray, shape (steps, dimensions, positions)
        Under the names of `run`.
    """
    import torch

    from plasticity.pnn.gates import gate_values
    from plasticity.pnn.masking import IGNORED_LABEL
    from plasticity.pnn.tokenization import CLS, PAD, SEP

    ids, labels = (part[:sequences] for part in corpus.test)
    pad, *others = (corpus.tokenizer.token_to_id(token) for token in (PAD, CLS, SEP))
    special = torch.tensor([pad, *others])
    words = ~torch.isin(ids, special)
    plain = gate_values(model, ids, words, pad_token_id=pad)
    hidden = (labels != IGNORED_LABEL)[words].numpy()
    padded = shorten(ids, pad) if corpus.pad_token_id is None else ids
    every = gate_values(model, padded, torch.ones_like(words), pad_token_id=pad)
    return {
        "test": plain,
        "masked": plain[..., hidden],
        "unmasked": plain[..., ~hidden],
        "with_padding": every,
        "without_padding": every[..., ~torch.isin(padded, special).flatten().numpy()],
        "padding": every[..., (padded == pad).flatten().numpy()],
    }


def shorten(input_ids: "torch.Tensor", pad_token_id: int) -> "torch.Tensor":
    """Cut sequences to uniformly drawn lengths and pad them to about the paper's share of padding.

    Parameters
    ----------
    input_ids : Tensor of int64, shape (sequences, length)
        Full sequences.
    pad_token_id : int
        What the end of each is overwritten with.

    Returns
    -------
    Tensor of int64, shape (sequences, length)
        The same for every model and seed; each has at least one token and one position of padding.
    """
    import torch

    count, length = input_ids.shape
    shortest = max(1, round((1 - 2 * SOURCE_PADDING_SHARE) * length))
    generator = torch.Generator().manual_seed(LENGTH_SEED)
    kept = torch.randint(shortest, length, (count, 1), generator=generator)
    return input_ids.where(torch.arange(length) < kept, pad_token_id)


def place(population: str, step: int) -> str:
    """Return the split of rows whose own step counts something else.

    Examples
    --------
    >>> place("test", 4)
    'test, step 4'
    """
    return f"{population}, step {step}"


def _population_rows(name: str, gates: np.ndarray) -> Iterator[tuple]:
    """Yield the rows of figure 3 for one population, but its heat map."""
    from plasticity.pnn.gates import modes

    yield 0, name, "tokens", gates.shape[-1]
    for step, values in enumerate(gates.astype(float), start=1):
        yield step, name, "gate_mean", values.mean()
        yield step, name, "gate_std", values.std()
        yield step, name, "gate_active_share", 100 * (values > 0.5).mean()
        yield step, name, "gate_distance_from_half", np.abs(values - 0.5).mean()
        by_token = values.mean(axis=0)
        counts, _ = np.histogram(by_token, HISTOGRAM_BINS, (0, 1))
        shares = 100 * counts / counts.sum()
        found = modes(by_token, KERNEL_WIDTH)
        yield step, name, "gate_modes", len(found)
        at = place(name, step)
        yield from ((bin_, at, "gate_token_share", share) for bin_, share in enumerate(shares))
        yield from ((number, at, "gate_mode", mode) for number, mode in enumerate(found, start=1))


def _dimension_rows(gates: np.ndarray) -> Iterator[tuple]:
    """Yield the heat map: the mean gate of each dimension at each step, without padding."""
    for step, means in enumerate(gates.mean(axis=-1, dtype=float), start=1):
        for dimension, value in enumerate(means[:HEAT_MAP_DIMENSIONS]):
            yield dimension, place("test", step), "gate_dimension_mean", value


def _variance_rows(name: str, gates: np.ndarray) -> Iterator[tuple]:
    from plasticity.pnn.gates import variance_shares

    for part, share in variance_shares(gates).items():
        yield 0, f"{name}, {part}", "gate_variance_share", share


def _check_rows(rows: pd.DataFrame) -> list[tuple]:
    """Return whether the last step's gate has two humps, and whether padding makes one more."""
    counts = rows[rows["metric"] == "gate_modes"]
    last = counts[counts["step"] == counts["step"].max()].set_index("split")["value"]
    more = last["with_padding"] > last["without_padding"]
    return [
        (0, "test", "last_gate_is_bimodal", float(last["test"] >= 2)),
        (0, "with_padding", "padding_makes_second_mode", float(more)),
    ]
