"""Pretraining of a base model: AdamW over blocks of text, warm-up, then a cosine to zero."""

import math
from collections.abc import Callable, Iterator, Sequence

import pandas as pd
import torch
from torch.nn.functional import cross_entropy

from plasticity.foam.configuration import check_range
from plasticity.foam.trial.language import blocks

WARMUP_SHARE = 0.05
CLIP = 1.0


def pretrain(
    model,
    tokenizer,
    texts: Sequence[str],
    tokens: int,
    learning_rate: float = 5e-3,
    seed: int = 0,
    *,
    batch_size: int = 12,
    length: int = 96,
    weight_decay: float = 0.01,
    evaluations: int = 10,
    evaluate: Callable[[], dict[str, float]] = dict,
) -> pd.DataFrame:
    """Train a model on texts, as often over as the number of tokens asks for.

    Parameters
    ----------
    model : causal language model
        Trained in place.
    tokenizer : PreTrainedTokenizerBase
    texts : sequence of str
    tokens : int
        Tokens to read in all; rounded up to whole batches.
    learning_rate : float
        The highest, after the warm-up.
    seed : int
        Of the order of the blocks.
    batch_size, length : int
        Blocks of a batch, tokens of a block.
    weight_decay : float
    evaluations : int
        How often the curve has a point, the last one at the end.
    evaluate : callable, optional
        Further measures of the model at each point of the curve.

    Returns
    -------
    DataFrame
        Columns tokens, loss (nats per token since the last point) and those of `evaluate`.

    Raises
    ------
    FloatingPointError
        If the loss is not finite.
    """
    check_range("tokens", tokens, 1, math.inf)
    steps = math.ceil(tokens / (batch_size * length))
    optimizer = torch.optim.AdamW(
        model.parameters(), learning_rate, betas=(0.9, 0.98), weight_decay=weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    batches = _shuffled(blocks(tokenizer, texts, length), batch_size, seed)
    device, losses, curve = next(model.parameters()).device, [], []
    points = {round(steps * (i + 1) / evaluations) for i in range(evaluations)}
    model.train()
    for step in range(1, steps + 1):
        ids = next(batches).to(device)
        logits = model(input_ids=ids).logits[:, :-1]
        loss = cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} at step {step}; lower learning_rate ({learning_rate})"
            )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
        if step in points:
            mean = float(torch.stack(losses).mean())
            curve.append({"tokens": step * batch_size * length, "loss": mean, **evaluate()})
            losses.clear()
    model.eval()
    return pd.DataFrame(curve)


def _rate(step: int, steps: int) -> float:
    """Return the share of the highest learning rate: up in a line, down in a half cosine."""
    warmup = max(1, round(WARMUP_SHARE * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _shuffled(ids: torch.Tensor, batch_size: int, seed: int) -> Iterator[torch.Tensor]:
    """Yield batches for ever, every block once before any comes again."""
    generator = torch.Generator().manual_seed(seed)
    kept = ids[:0]
    while True:
        while len(kept) < batch_size:
            kept = torch.cat([kept, ids[torch.randperm(len(ids), generator=generator)]])
        yield kept[:batch_size]
        kept = kept[batch_size:]
