"""What PNN costs beside BERT: time, memory and floating-point operations.

Comparisons, each with forward and backward pass at the same width, heads and batch, against a BERT
of as many layers as PNN has steps unless told otherwise: the blocks alone; a whole training step,
both with the head on hidden tokens only; and a whole training step against transformers' own BERT,
which reads out every position. Then blocks and step against transformers' ALBERT, whose layers
share one set of weights as PNN's steps do.
"""

import gc
import math
import multiprocessing
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from plasticity.companion import metrics
from plasticity.companion.benchmarking import in_turns, memory_growth
from plasticity.companion.configuration import (
    ExperimentConfig,
    Runtime,
    check_choice,
    check_range,
    setting,
)

COMPARISONS = {  # PNN against it
    "blocks": "bert",
    "masked_step": "bert",
    "stock_step": "stock",
    "albert_blocks": "albert",
    "albert_step": "albert",
}


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """One size at which PNN and BERT are timed; the defaults are the paper's, of a small batch."""

    hidden_size: int = setting(768, "width of the state")
    num_attention_heads: int = setting(12, "attention heads")
    intermediate_size: int = setting(2048, "PNN's feed-forward width")
    bert_intermediate_size: int = setting(2048, "BERT's feed-forward width")
    num_steps: int = setting(4, "PNN's steps")
    num_hidden_layers: int = setting(4, "BERT's layers")
    vocab_size: int = setting(30522, "word pieces")
    sequence_length: int = setting(128, "tokens per sequence")
    batch_size: int = setting(8, "sequences per step")
    dropout: float = setting(0.1, "dropout everywhere")
    mask_probability: float = setting(0.15, "share of tokens hidden")
    mixed_precision: str = setting("no", "arithmetic of the forward pass: no or bf16")
    compile_blocks: bool = setting(False, "torch.compile of every model's layers")
    repeats: int = setting(10, "how often each time is taken, in turns")

    def __post_init__(self):
        """Check types and ranges."""
        super().__post_init__()
        positive = "hidden_size num_attention_heads intermediate_size bert_intermediate_size"
        positive += " num_steps num_hidden_layers sequence_length batch_size repeats"
        for name in positive.split():
            check_range(name, getattr(self, name), 1, math.inf)
        check_choice("mixed_precision", self.mixed_precision, ("no", "bf16"))
        check_range("vocab_size", self.vocab_size, 6, math.inf)
        check_range("dropout", self.dropout, 0, 0.99)
        check_range("mask_probability", self.mask_probability, 0.01, 0.99)


def datasets(config: Config) -> tuple[str, ...]:
    """Return the datasets that a run reads: none, the tokens are random."""
    return ()


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Time both models in turns, and take the peak memory of each.

    Parameters
    ----------
    config : Config
    seed : int
        Draws weights and tokens.
    folder : Path
        Not used.
    runtime : Runtime

    Returns
    -------
    pandas.DataFrame
        Columns step (the repeat), split (comparison and model), metric, value, unit.
    """
    rows = []
    for comparison, other in COMPARISONS.items():
        names = ("pnn", other)
        works = {name: _work(config, comparison, name, seed, runtime.device) for name in names}
        turns = list(in_turns(works, config.repeats))
        del works
        for repeat, times in enumerate(turns):
            rows += [
                (repeat, f"{comparison}/{name}", "step_seconds", seconds)
                for name, seconds in times.items()
            ]
            rows.append((repeat, comparison, "time_ratio", times["pnn"] / times[other]))
        flops = [_flops(config, comparison, name) for name in names]
        rows += [
            (0, f"{comparison}/{name}", "step_flops", value)
            for name, value in zip(names, flops, strict=True)
        ]
        rows.append((0, comparison, "flop_ratio", flops[0] / flops[1]))
        tokens = config.batch_size * config.sequence_length
        rows += [
            (
                0,
                f"{comparison}/{name}",
                "tokens_per_second",
                tokens / statistics.median(times[name] for times in turns),
            )
            for name in names
        ]
    rows += _memory_rows(config, seed, runtime.device)
    frame = pd.DataFrame(rows, columns=["step", "split", "metric", "value"])
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])


def _model_config(config: Config, name: str):
    from transformers import AlbertConfig, BertConfig

    from plasticity.pnn.configuration import BertBaselineConfig, PnnConfig

    shared = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_attention_heads": config.num_attention_heads,
        "max_position_embeddings": config.sequence_length,
        "hidden_dropout_prob": config.dropout,
    }
    if name == "pnn":
        return PnnConfig(
            **shared, intermediate_size=config.intermediate_size, num_steps=config.num_steps
        )
    if name == "albert":
        shared["embedding_size"] = config.hidden_size
    kinds = {"stock": BertConfig, "albert": AlbertConfig, "bert": BertBaselineConfig}
    return kinds[name](
        **shared,
        intermediate_size=config.bert_intermediate_size,
        num_hidden_layers=config.num_hidden_layers,
        attention_probs_dropout_prob=config.dropout,
    )


def _model(config: Config, name: str, seed: int, device: str):
    import torch
    from transformers import AlbertForMaskedLM, BertForMaskedLM

    from plasticity.pnn.baseline import BertBaselineForMaskedLM
    from plasticity.pnn.modeling import PnnForMaskedLM

    torch.manual_seed(seed)
    kinds = {
        "pnn": PnnForMaskedLM,
        "bert": BertBaselineForMaskedLM,
        "stock": BertForMaskedLM,
        "albert": AlbertForMaskedLM,
    }
    model = kinds[name](_model_config(config, name)).to(_device(device)).train()
    if config.compile_blocks:
        for block in _blocks(model):
            block.compile()
    return model


def _blocks(model) -> list:
    """Return the layers of a model, or those that it uses again and again."""
    if model.config.model_type == "albert":
        return [
            layer for g in model.albert.encoder.albert_layer_groups for layer in g.albert_layers
        ]
    return model.blocks if hasattr(model, "blocks") else model.bert.encoder.layer


def _device(device: str) -> str:
    import torch

    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def _work(config: Config, comparison: str, name: str, seed: int, device: str) -> Callable:
    """Return a function that does a pass through the blocks and back, or else a training step."""
    import torch

    model = _model(config, name, seed, device)
    half = torch.autocast(
        model.device.type, torch.bfloat16, enabled=config.mixed_precision == "bf16"
    )
    generator = torch.Generator().manual_seed(seed)
    shape = (config.batch_size, config.sequence_length)
    if comparison.endswith("blocks"):
        state = torch.randn(*shape, config.hidden_size, generator=generator).to(model.device)

        def blocks():
            with half:
                total = _apply(model, state.requires_grad_()).sum()
            total.backward()

        return blocks
    ids = torch.randint(5, config.vocab_size, shape, generator=generator)
    hidden = torch.rand(shape, generator=generator) < config.mask_probability
    labels = ids.masked_fill(~hidden, -100).to(model.device)
    ids = ids.masked_fill(hidden, 4).to(model.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step():
        with half:
            loss = model(ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def _apply(model, state):
    """Run the blocks of a model on a state, without embeddings and head."""
    import torch

    if model.config.model_type == "pnn":
        for _ in range(model.config.num_steps):
            gate, proposal = model.pnn.refiner(state, None)
            state = torch.addcmul(state, gate, proposal)
        return state
    if model.config.model_type == "albert":
        return model.albert.encoder(state).last_hidden_state
    for layer in model.layers:
        state = layer(state, None)
    return state


def _memory_rows(config: Config, seed: int, device: str) -> list[tuple]:
    """Return the peak memory of whole steps; on a CPU each in a process that does nothing else."""
    peaks, rows = {}, []
    for name in ("pnn", "bert", "stock", "albert"):
        if _device(device) == "cuda":  # which counts what is allocated, not what a process holds
            peaks[name] = _peak_on_gpu(config, name, seed)
        else:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                peaks[name] = pool.apply(_peak_here, (config, name, seed))
        rows.append((0, name, "peak_bytes", peaks[name]))
    for comparison, other in COMPARISONS.items():
        if comparison.endswith("blocks"):
            continue
        rows.append((0, comparison, "memory_ratio", peaks["pnn"] / peaks[other]))
    return rows


def _peak_on_gpu(config: Config, name: str, seed: int) -> float:
    import torch

    gc.collect()  # what was timed before
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    work = _work(config, "step", name, seed, "cuda")
    work()
    torch.cuda.reset_peak_memory_stats()
    work()
    return float(torch.cuda.max_memory_allocated() - before)


def _peak_here(config: Config, name: str, seed: int) -> float:
    """Return by how much the memory grows at most, weights and optimizer state included."""
    import torch

    from plasticity.pnn.baseline import BertBaselineForMaskedLM  # noqa: F401  imports cost memory

    torch.set_num_threads(1)

    def work() -> None:
        step = _work(config, "step", name, seed, "cpu")
        step()
        step()

    work()  # loads what is loaded but once
    return memory_growth(work)


def _flops(config: Config, comparison: str, name: str) -> float:
    """Return the floating-point operations of one step."""
    from plasticity.pnn.accounting import flops_per_token

    tokens = config.batch_size * config.sequence_length
    kind = "pnn" if name == "pnn" else "bert"
    counted = flops_per_token(
        _model_config(config, kind), config.sequence_length, config.mask_probability
    )
    # Forward and backward: 6 for each weight. ALBERT maps its embeddings to the state first.
    mapped = 6.0 * config.hidden_size**2 * (name == "albert")
    if comparison.endswith("blocks"):
        return (counted["blocks"] + mapped) * tokens
    if name in ("stock", "albert"):  # read out every position, after a dense layer
        every = 6.0 * config.hidden_size * (config.vocab_size + config.hidden_size)
        return (counted["blocks"] + mapped + every) * tokens
    return counted["total"] * tokens
