"""One training loop for every arm: resumable, and the same on one device or several.

Everything random at a step (its batch, its mask, its dropout) is derived from the seed and the
number of the step, so a run that was killed continues exactly where its last checkpoint stands.
"""

import math
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm.auto import tqdm

from plasticity.pnn.checkpoint import TrainingState, digest, load_finished, save_finished
from plasticity.pnn.evaluation import evaluate
from plasticity.pnn.masking import IGNORED_LABEL, MaskingRule

ORDER_STREAM, MASK_STREAM, DROPOUT_STREAM = range(3)


@dataclass(frozen=True)
class TrainingConfig:
    """How a masked language model is trained.

    Parameters
    ----------
    train_tokens : int
        Tokens to see, padding included; rounded up to whole batches.
    batch_size : int
        Sequences per update over all processes.
    micro_batch_size : int
        Sequences per forward pass and process; 0 means the whole share of a batch at once.
    learning_rate, min_learning_rate : float
        Peak, and where the cosine ends.
    warmup_steps : int
        Updates of linear warm-up.
    weight_decay : float
        On matrices only: never on layer norms, biases or the gate's temperature.
    clip_norm : float
        Largest norm of the gradient.
    mixed_precision : {"no", "bf16"}
        Arithmetic of the forward pass in training; scoring is always in full precision.
    compile_blocks : bool
        Compile the refiner, or each layer of BERT, with ``torch.compile``; this needs a C++
        compiler on a CPU and Triton on a GPU. The first update takes a minute or so longer.
    evaluations : int
        How often, evenly spaced, the validation set is scored for the learning curve and a
        checkpoint is written.

    Raises
    ------
    ValueError
        If a value is out of its range.

    References
    ----------
    Choi (2025), Table 2.
    """

    train_tokens: int
    batch_size: int
    learning_rate: float
    min_learning_rate: float = 1e-5
    micro_batch_size: int = 0
    warmup_steps: int = 500
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    mixed_precision: str = "no"
    compile_blocks: bool = False
    evaluations: int = 20

    def __post_init__(self):
        for name in ("train_tokens", "batch_size", "learning_rate", "clip_norm", "evaluations"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("warmup_steps", "weight_decay", "min_learning_rate", "micro_batch_size"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if self.mixed_precision not in ("no", "bf16"):
            raise ValueError(
                f"mixed_precision must be 'no' or 'bf16', got {self.mixed_precision!r}"
            )

    def steps(self, length: int) -> int:
        """Return the number of updates for sequences of `length` tokens."""
        return math.ceil(self.train_tokens / (self.batch_size * length))

    def learning_rate_at(self, step: int, steps: int) -> float:
        """Return the learning rate of update `step` (from 0) of `steps`.

        Examples
        --------
        >>> config = TrainingConfig(100, 1, learning_rate=1.0, min_learning_rate=0, warmup_steps=2)
        >>> [round(config.learning_rate_at(step, 4), 2) for step in range(4)]
        [0.5, 1.0, 1.0, 0.5]
        """
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, steps - self.warmup_steps)
        cosine = 0.5 * (1 + math.cos(math.pi * done))
        return self.min_learning_rate + (self.learning_rate - self.min_learning_rate) * cosine


@dataclass
class TrainingRun:
    """What a finished run leaves behind.

    Attributes
    ----------
    curve : list of dict
        For each evaluation ``tokens``, ``train_loss`` (mean since the last one), ``accuracy``
        (percent) and ``loss`` (nats) on the validation set.
    tokens : int
        Tokens seen.
    train_seconds : float
        Wall time of the updates alone.
    peak_gpu_bytes : int
        Largest memory allocated on the GPU while training; 0 on a CPU.
    """

    curve: list[dict] = field(default_factory=list)
    tokens: int = 0
    train_seconds: float = 0.0
    peak_gpu_bytes: int = 0


def train(
    model: nn.Module,
    sequences: Tensor,
    rule: MaskingRule,
    config: TrainingConfig,
    folder: Path,
    *,
    seed: int,
    validation: tuple[Tensor, Tensor],
    pad_token_id: int | None = None,
    device: str = "auto",
    progress: bool | None = None,
) -> TrainingRun:
    """Train a masked language model in place; run it again to continue after a kill.

    Parameters
    ----------
    model : PnnForMaskedLM or BertBaselineForMaskedLM
        Freshly initialised; its weights are replaced when `folder` holds a checkpoint.
    sequences : Tensor of int64, shape (sequences, length)
        The training set.
    rule : MaskingRule
    config : TrainingConfig
    folder : Path
        Where checkpoints and the finished model go; nothing else is written.
    seed : int
        Orders the batches, draws the masks and the dropout.
    validation : tuple of Tensor
        Masked ids and labels, fixed.
    pad_token_id : int, optional
        Id of padding, which is not attended to; None when there is none.
    device : {"auto", "cpu", "cuda"}
        ``auto`` takes a GPU if there is one.
    progress : bool, optional
        Show a bar; None shows it on a terminal only.

    Returns
    -------
    TrainingRun

    Raises
    ------
    CheckpointCorrupt
        If the checkpoint in `folder` cannot be trusted.
    ValueError
        If `folder` holds a run with other settings, or the machine lacks what `device`,
        ``mixed_precision`` or ``compile_blocks`` asks for.
    """
    accelerator = _accelerator(device)
    model.to(accelerator.device)
    identity = {
        "training": asdict(config),
        "seed": seed,
        "model": model.config.to_diff_dict() | {"transformers_version": None},
        "rule": asdict(rule),
        "data": digest({"train": sequences, "masked": validation[0], "labels": validation[1]}),
    }
    finished = load_finished(folder, model, identity)
    if finished is not None:
        return TrainingRun(**finished)
    _check_machine(config, accelerator.device.type)
    if config.compile_blocks:
        for block in model.blocks:
            block.compile()
    optimizer = _optimizer(model, config)
    state = TrainingState(folder, model, optimizer, identity)
    first_step, run = 0, TrainingRun()
    if state.exists():
        first_step, saved = state.load()
        run = TrainingRun(**saved)
    loop = _Loop(accelerator, model, optimizer, sequences, rule, config, seed, pad_token_id)
    steps, step_tokens = config.steps(sequences.shape[1]), config.batch_size * sequences.shape[1]
    evaluate_after = {round(steps * k / config.evaluations) for k in range(1, config.evaluations)}
    evaluate_after.add(steps)
    bar = _progress_bar(accelerator, progress, first_step * step_tokens, steps * step_tokens)
    losses, started = [], time.perf_counter()
    model.train()
    for step in range(first_step, steps):
        losses.append(loop.update(step, config.learning_rate_at(step, steps)))
        bar.update(step_tokens)
        if step + 1 in evaluate_after:
            # Reading the loss waits for a GPU to finish, so the time is that of all updates.
            train_loss = accelerator.reduce(torch.stack(losses)).mean().item()
            run.train_seconds += time.perf_counter() - started
            run.tokens = (step + 1) * step_tokens
            if accelerator.device.type == "cuda":
                peak = torch.cuda.max_memory_allocated(accelerator.device)
                run.peak_gpu_bytes = max(run.peak_gpu_bytes, peak)
            with torch.compiler.set_stance("force_eager"):  # scored by the code as it is written
                score = evaluate(model, *validation, pad_token_id=pad_token_id)
            point = {"tokens": run.tokens, "train_loss": train_loss}
            run.curve.append(point | {"accuracy": score.accuracy, "loss": score.loss})
            if accelerator.is_main_process:
                state.save(step + 1, asdict(run))
            losses, started = [], time.perf_counter()
    bar.close()
    if accelerator.is_main_process:
        save_finished(folder, model, identity, asdict(run))
        state.remove()
    accelerator.wait_for_everyone()
    return run


def _progress_bar(accelerator: Accelerator, progress: bool | None, seen: int, total: int) -> tqdm:
    """Return a bar that counts tokens; only the first of several processes shows it."""
    hidden = None if progress is None else not progress  # None: shown on a terminal only
    hidden = hidden if accelerator.is_main_process else True
    return tqdm(total=total, initial=seen, unit="token", unit_scale=True, disable=hidden)


class _Loop:
    """One update: this process's share of a batch, in micro-batches."""

    def __init__(self, accelerator, model, optimizer, sequences, rule, config, seed, pad_token_id):
        self.accelerator, self.sequences, self.rule = accelerator, sequences, rule
        self.config, self.seed, self.pad_token_id = config, seed, pad_token_id
        self.half = config.mixed_precision == "bf16"
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        if accelerator.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(accelerator.device)

    def update(self, step: int, learning_rate: float) -> Tensor:
        """Make update number `step`; return this process's part of the mean loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        rank, ranks = self.accelerator.process_index, self.accelerator.num_processes
        masked_ids, labels = self._batch(step)
        hidden_tokens = int((labels != IGNORED_LABEL).sum())
        share = slice(rank * len(labels) // ranks, (rank + 1) * len(labels) // ranks)
        size = self.config.micro_batch_size or self.config.batch_size
        parts = list(zip(masked_ids[share].split(size), labels[share].split(size), strict=True))
        torch.manual_seed(_derived_seed(self.seed, DROPOUT_STREAM, step, rank))
        total = torch.zeros((), device=self.accelerator.device)
        for index, (ids, targets) in enumerate(parts):
            ids, targets = ids.to(total.device), targets.to(total.device)
            mask = None if self.pad_token_id is None else (ids != self.pad_token_id).long()
            skip = self.accelerator.no_sync(self.model) if index + 1 < len(parts) else nullcontext()
            with skip, torch.autocast(total.device.type, torch.bfloat16, enabled=self.half):
                # Divided by the hidden tokens of the whole batch, so that neither micro-batches
                # nor processes change the gradient; DDP averages, hence the factor.
                loss = self.model(ids, mask, labels=targets, num_items_in_batch=hidden_tokens).loss
                self.accelerator.backward(loss * ranks)
            total += loss.detach()
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the masked batch of an update: epochs are shuffled, batches may span two."""
        size, count = self.config.batch_size, len(self.sequences)
        wanted = np.arange(step * size, (step + 1) * size)
        rows = [self._order(int(n) // count)[n % count] for n in wanted]
        generator = torch.Generator().manual_seed(_derived_seed(self.seed, MASK_STREAM, step))
        return self.rule.apply(self.sequences[torch.tensor(rows)], generator)

    @lru_cache(maxsize=2)  # noqa: B019  one loop lives as long as one run
    def _order(self, epoch: int) -> list[int]:
        generator = np.random.default_rng([self.seed, ORDER_STREAM, epoch])
        return generator.permutation(len(self.sequences)).tolist()


def _derived_seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def _accelerator(device: str) -> Accelerator:
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be 'auto', 'cpu' or 'cuda', got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device 'cuda' was asked for but torch sees no GPU; use 'cpu' or 'auto'")
    return Accelerator(cpu=device == "cpu")


def _check_machine(config: TrainingConfig, device: str) -> None:
    """Raise unless the machine can do the arithmetic and the compilation that are asked for."""
    if config.mixed_precision == "bf16" and device == "cuda" and not torch.cuda.is_bf16_supported():
        raise ValueError(
            f"mixed_precision is 'bf16', which {torch.cuda.get_device_name()} cannot compute; "
            "use 'no'"
        )
    if config.compile_blocks:
        try:  # a trifle first, and not from a cache: what is missing shows at once
            with torch._inductor.config.patch(force_disable_caches=True):
                torch.compile(lambda x: x.sin() + 1)(torch.ones(2, device=device))
        except Exception as error:  # dynamo wraps whatever the compiler raised
            needed = "Triton" if device == "cuda" else "a C++ compiler such as g++ (or CXX=...)"
            raise ValueError(
                f"compile_blocks is True, but torch.compile fails on this machine "
                f"({type(error).__name__}: {str(error).strip().splitlines()[0]}); "
                f"install {needed}, or use compile_blocks=False"
            ) from error


def _optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW that decays matrices only."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)
