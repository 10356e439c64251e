"""What each part of PNN is worth: one part exchanged at a time, at equal tokens.

Every arm is trained and scored by `pnn_refinement`; arms that apply one module again and again are
also followed beyond the steps of their training, and their map is measured for contraction.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from plasticity.companion import metrics
from plasticity.companion.configuration import Runtime, check_choice, check_range, setting
from plasticity.experiments import pnn_contraction, pnn_refinement
from plasticity.experiments.pnn_refinement import PLATEAU_MARGIN, datasets

if TYPE_CHECKING:
    from torch import nn

    from plasticity.pnn.corpus import MaskedCorpus

__all__ = ["Config", "datasets", "run"]

MOUNTAIN = (1024, 1536, 2048, 1536, 1024)  # the reference's hierarchical refiner, by default


@dataclass(frozen=True)
class Config(pnn_contraction.Config):
    """An arm of `pnn_refinement` with what may be exchanged in PNN; the defaults change nothing."""

    gate: str = setting("query_key", "query_key, constant, scalar or per_dimension")
    gate_level: float = setting(0.5, "the constant gate; 1 is no gate")
    normalise_proposal: bool = setting(True, "LayerNorm on the feed-forward output")
    start_at_zero: bool = setting(False, "feed-forward output truly starts at zero")
    share_refiner: bool = setting(True, "one refiner for all steps, or one for each")
    step_embeddings: bool = setting(False, "the refiner is told the number of the step")
    reinject: bool = setting(False, "the embeddings are added to what each step reads")
    num_base_layers: int = setting(0, "BERT layers before the first step")
    block_sizes: tuple[int, ...] = setting((), "feed-forward widths of a hierarchical refiner")
    word_vectors: bool = setting(False, "embeddings start from SVD vectors of the training text")

    def __post_init__(self):
        """Check every setting that a profile or a reader may change."""
        super().__post_init__()
        gates = ("query_key", "constant", "scalar", "per_dimension")
        check_choice("gate", self.gate, gates)
        check_range("gate_level", self.gate_level, 1e-12, math.inf)
        check_range("num_base_layers", self.num_base_layers, 0, 64)
        for size in self.block_sizes:
            check_range("block_sizes", size, 1, math.inf)

    def model_class(self):
        """Return the class of this arm's model."""
        from plasticity.pnn.variants import VariantForMaskedLM

        return VariantForMaskedLM if self.architecture == "pnn" else super().model_class()

    def _model_config(self, architecture: str, vocab_size: int):
        from plasticity.pnn.configuration import PnnConfig
        from plasticity.pnn.variants import VariantConfig

        base = super()._model_config(architecture, vocab_size)
        if architecture != "pnn":
            return base
        exchanged = "gate gate_level normalise_proposal start_at_zero share_refiner"
        exchanged += " step_embeddings reinject num_base_layers"
        return VariantConfig(
            **{name: getattr(base, name) for name in PnnConfig.__annotations__},
            **{name: getattr(self, name) for name in exchanged.split()},
            block_sizes=list(self.block_sizes) or None,
        )

    def prepare_model(self, model: "nn.Module", corpus: "MaskedCorpus") -> None:
        """Start token embeddings from word vectors, where the arm asks for it."""
        if self.word_vectors:
            import torch

            from plasticity.pnn.word_vectors import word_vectors

            weight = model.get_input_embeddings().weight
            vectors = torch.from_numpy(word_vectors(corpus.train.numpy(), *weight.shape))
            known = vectors.abs().sum(1) > 0  # [MASK] and the like keep their random start
            with torch.no_grad():
                weight[known] = vectors[known].to(weight.device) * weight.std()

    @property
    def recurrent(self) -> bool:
        """Whether one module is applied again and again."""
        return self.share_refiner if self.architecture == "pnn" else self.share_layers


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Train one arm with one seed, score it, and follow its refinement map.

    Parameters
    ----------
    config : Config
    seed : int
    folder : Path
        Keeps the checkpoint and the trained model.
    runtime : Runtime

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit: those of `pnn_refinement` and, for one module
        applied again and again, of `pnn_contraction`; and verdicts.
    """
    scored = pnn_refinement.run(config, seed, folder, runtime)
    over_guess = _value(scored, "accuracy_over_guess", "test")
    complete = _value(scored, "tokens", "train") >= config.train_tokens
    finite = bool(np.isfinite(scored["value"]).all())
    rows = [
        (0, "test", "ablation_recorded", float(complete and finite)),
        (0, "test", "training_beats_guess", float(over_guess > PLATEAU_MARGIN)),
    ]
    if config.block_sizes:
        rows += _hierarchical_rows()
    if config.recurrent and config.layout == "blocks":
        corpus = pnn_refinement.prepare_corpus(config)
        model, _ = pnn_refinement.train_arm(
            config, corpus, seed, folder, runtime, config.curve_sequences
        )
        rows += pnn_contraction.follow(config, model.eval(), corpus, seed)
    frame = pd.DataFrame(rows, columns=["step", "split", "metric", "value"])
    frame = frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])
    return pd.concat([scored, frame], ignore_index=True)


def _value(rows: pd.DataFrame, metric: str, split: str) -> float:
    (value,) = rows.loc[(rows["metric"] == metric) & (rows["split"] == split), "value"]
    return value


def _hierarchical_rows() -> list[tuple]:
    """Count the reference's hierarchical refiner at its own size; its author says 50M."""
    import torch

    from plasticity.pnn.accounting import parameter_counts
    from plasticity.pnn.variants import VariantConfig, VariantForMaskedLM

    with torch.device("meta"):
        count = parameter_counts(VariantForMaskedLM(VariantConfig(block_sizes=list(MOUNTAIN))))
    millions = round(count["untied"] / 1e6)
    return [
        (0, "source", "parameters", count["untied"]),
        (0, "source", "hierarchical_counts_match", float(millions == 77)),
    ]
