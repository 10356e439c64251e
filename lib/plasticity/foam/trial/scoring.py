"""Measures: choices by log-likelihood, skills by greedy decoding, text by its loss.

References
----------
Choices are scored as ``multiple_choice`` tasks of lm-evaluation-harness (EleutherAI).
"""

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import cross_entropy, pad
from torch.nn.utils.rnn import pad_sequence

from plasticity.foam.trial.language import blocks
from plasticity.foam.trial.probes import MultipleChoice
from plasticity.foam.trial.skills import Example, judge

LOSS_LENGTH = 128


def encode_pair(tokenizer, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Encode a context and its continuation together, and part them.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
    context, continuation : str
        Spaces at the end of the context move to the continuation.

    Returns
    -------
    context, continuation : list of int
        An empty context is the end-of-text token.
    """
    bare = context.rstrip()
    continuation = context[len(bare) :] + continuation
    whole = tokenizer.encode(bare + continuation, add_special_tokens=False)
    if not bare:
        return [tokenizer.eos_token_id], whole
    start = len(tokenizer.encode(bare, add_special_tokens=False))
    return whole[:start], whole[start:]


@torch.no_grad()
def score_choices(
    model, tokenizer, items: Sequence[MultipleChoice], batch_size: int = 256
) -> pd.DataFrame:
    """Score questions with choices as lm-evaluation-harness does.

    Parameters
    ----------
    model : causal language model
        Scored in evaluation mode, and left in the mode that it was in.
    tokenizer : PreTrainedTokenizerBase
    items : sequence of MultipleChoice
    batch_size : int
        Prompts at once; the choices of an item share its prompt.

    Returns
    -------
    DataFrame
        One row for each item, in their order: item, kind, cluster, correct (the choice of highest
        sum of log-probabilities is right), correct_norm (of highest sum for each character) and
        margin (nats by which the right choice is ahead of the best wrong one).

    Raises
    ------
    ValueError
        If a choice is empty: it has no sum for each character.
    """
    for number, item in enumerate(items):
        if not all(item.choices):
            raise ValueError(f"choices of item {number} are {item.choices}; allowed: no empty one")
    pairs = [
        encode_pair(tokenizer, item.prompt, f" {choice}")
        for item in items
        for choice in item.choices
    ]
    scores = iter(_log_likelihoods(model, tokenizer, pairs, batch_size))
    rows = []
    for number, item in enumerate(items):
        sums = np.array([next(scores) for _ in item.choices])
        lengths = np.array([len(choice) for choice in item.choices])
        rows.append(
            {
                "item": number,
                "kind": item.kind,
                "cluster": item.cluster,
                "correct": int(sums.argmax()) == item.answer,
                "correct_norm": int((sums / lengths).argmax()) == item.answer,
                "margin": sums[item.answer] - np.delete(sums, item.answer).max(),
            }
        )
    return pd.DataFrame(rows)


def _log_likelihoods(model, tokenizer, pairs: list, batch_size: int) -> list[float]:
    """Return the sum of log-probabilities of every continuation."""
    longest = getattr(model.config, "max_position_embeddings", None) or 2048
    shared: dict[tuple[int, ...], list[tuple[int, list[int]]]] = {}
    for number, (context, continuation) in enumerate(pairs):
        seen = (context + continuation)[-(longest + 1) : -len(continuation)]
        shared.setdefault(tuple(seen), []).append((number, continuation))
    rows = sorted((_Branching(*row) for row in shared.items()), key=len, reverse=True)
    scores = [0.0] * len(pairs)
    first = next(model.parameters())
    device = first.device
    with evaluating(model):
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            inputs = _side_by_side(batch, tokenizer.pad_token_id or 0, first.dtype)
            inputs = {name: tensor.to(device) for name, tensor in inputs.items()}
            width = inputs["input_ids"].shape[1]
            kept = width - min(row.context for row in batch) + 1
            logits = model(**inputs, logits_to_keep=kept).logits
            offset = width - logits.shape[1]
            for row, own in zip(batch, logits, strict=True):
                for number, continuation, places in row.wanted:
                    found = own[torch.tensor(places, device=device) - offset].float()
                    targets = torch.tensor(continuation, device=device)[:, None]
                    scores[number] = float(found.log_softmax(-1).gather(-1, targets).sum())
    return scores


class _Branching:
    """A context once, and behind it all its continuations, none of which is to see another.

    A continuation's last token predicts nothing and is left out.
    """

    def __init__(self, context: tuple[int, ...], continuations: list[tuple[int, list[int]]]):
        self.ids, self.context = list(context), len(context)
        self.positions = list(range(self.context))
        self.branches = [0] * self.context
        self.wanted: list[tuple[int, list[int], list[int]]] = []  # number, tokens, read where
        for branch, (number, continuation) in enumerate(continuations, 1):
            start, length = len(self.ids), len(continuation) - 1
            self.ids += continuation[:-1]
            self.positions += range(self.context, self.context + length)
            self.branches += [branch] * length
            places = [self.context - 1, *range(start, start + length)]
            self.wanted.append((number, continuation, places))

    def __len__(self) -> int:
        return len(self.ids)


def _side_by_side(rows: Sequence[_Branching], fill: int, dtype) -> dict[str, torch.Tensor]:
    """Return a batch whose mask lets each token see the context and its own branch before it."""

    def padded(name: str, value: int) -> torch.Tensor:
        return pad_sequence([torch.tensor(getattr(row, name)) for row in rows], True, value)

    branches = padded("branches", -1)  # what fills up sees its like, so that no row is empty
    visible = (branches[:, :, None] == branches[:, None, :]) | (branches[:, None, :] == 0)
    visible = visible.tril()[:, None]
    hidden = torch.zeros(visible.shape, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)
    ids, positions = padded("ids", fill), padded("positions", 0)
    return {"input_ids": ids, "position_ids": positions, "attention_mask": hidden}


@contextlib.contextmanager
def evaluating(model) -> Iterator[None]:
    """Put a model into evaluation mode for a while."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@torch.no_grad()
def generate(
    model, tokenizer, prompts: Sequence[str], max_new_tokens: int = 80, batch_size: int = 256
) -> list[str]:
    """Continue prompts greedily, many at once.

    Parameters
    ----------
    model : causal language model
    tokenizer : PreTrainedTokenizerBase
    prompts : sequence of str
    max_new_tokens : int
    batch_size : int
        Prompts at once; padded on the left, and the answers do not depend on it.

    Returns
    -------
    list of str
        What follows each prompt, up to the end of text or the limit.
    """
    encoded = tokenizer(list(prompts), add_special_tokens=False)["input_ids"]
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
    answers = [""] * len(encoded)
    with evaluating(model):
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            written = _continue(model, tokenizer, [encoded[i] for i in chosen], max_new_tokens)
            for i, text in zip(chosen, written, strict=True):
                answers[i] = text
    return answers


def _continue(model, tokenizer, encoded: list[list[int]], max_new_tokens: int) -> list[str]:
    """Write on until every row has ended."""
    end, device = tokenizer.eos_token_id, next(model.parameters()).device
    width = max(len(ids) for ids in encoded)
    fill = [width - len(ids) for ids in encoded]
    ids = torch.tensor([[end] * n + own for n, own in zip(fill, encoded, strict=True)])
    mask = torch.tensor([[0] * n + [1] * (width - n) for n in fill])
    ids, mask = ids.to(device), mask.to(device)
    written, cache = [], None
    ended = torch.zeros(len(encoded), dtype=torch.bool, device=device)
    for _ in range(max_new_tokens):
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        output = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        ids = output.logits[:, -1].argmax(-1, keepdim=True)
        cache, mask = output.past_key_values, pad(mask, (0, 1), value=1)
        ended |= ids[:, 0] == end
        written.append(ids)
        if bool(ended.all()):
            break
    rows = torch.cat(written, 1).tolist() if written else [[] for _ in encoded]
    return [tokenizer.decode(_until_end(row, end)) for row in rows]


def _until_end(ids: list[int], end: int) -> list[int]:
    return ids[: ids.index(end)] if end in ids else ids


def score_skill(
    model,
    tokenizer,
    examples: Sequence[Example],
    max_new_tokens: int = 80,
    batch_size: int = 256,
) -> pd.DataFrame:
    """Let a model answer, and judge the answers.

    Parameters
    ----------
    model : causal language model
    tokenizer : PreTrainedTokenizerBase
    examples : sequence of Example
    max_new_tokens : int
    batch_size : int

    Returns
    -------
    DataFrame
        One row for each example, in their order: item, skill, kind, generated, correct and the
        parts of the judgement (missing where a kind does not have them).
    """
    prompts = [example.prompt for example in examples]
    answers = generate(model, tokenizer, prompts, max_new_tokens, batch_size)
    return pd.DataFrame(
        {
            "item": number,
            "skill": example.skill,
            "kind": example.kind,
            "generated": answer,
            **judge(example, answer),
        }
        for number, (example, answer) in enumerate(zip(examples, answers, strict=True))
    )


@torch.no_grad()
def text_loss(
    model, tokenizer, texts: Sequence[str], batch_size: int = 64, length: int = LOSS_LENGTH
) -> float:
    """Return the loss on texts (R4).

    Parameters
    ----------
    model : causal language model
    tokenizer : PreTrainedTokenizerBase
    texts : sequence of str
        Written one after another, as in pretraining.
    batch_size : int
    length : int
        Tokens that the model sees at once.

    Returns
    -------
    float
        Nats per token.
    """
    total, count = 0.0, 0
    with evaluating(model):
        for ids in blocks(tokenizer, texts, length).split(batch_size):
            ids = ids.to(next(model.parameters()).device)
            logits = model(input_ids=ids).logits[:, :-1].float()
            targets = ids[:, 1:].masked_fill(ids[:, 1:] == tokenizer.pad_token_id, -100)
            total += float(cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum"))
            count += int((targets != -100).sum())
    return total / count
