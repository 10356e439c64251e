"""A small language model of bytes, and text for it to learn."""

import codecs
from collections.abc import Iterator

import torch
from torch import Tensor
from transformers import PreTrainedModel

from plasticity.foam.trial.language import ARCHITECTURES
from plasticity.foam.trial.scoring import evaluating

BYTES = 256


def small_model(
    architecture: str, hidden_size: int, intermediate_size: int, layers: int, seed: int
) -> PreTrainedModel:
    """Build an untrained causal language model of bytes, a plain one of `transformers`.

    Parameters
    ----------
    architecture : {"qwen2", "llama"}
    hidden_size : int
        A multiple of 8; heads have 8 dimensions, two heads share one key.
    intermediate_size, layers : int
    seed : int
        Of the weights; the global generator is left as it was.

    Examples
    --------
    >>> small_model("llama", 16, 24, 1, seed=0).config.intermediate_size
    24
    """
    settings, kind = ARCHITECTURES[architecture]
    heads = hidden_size // 8
    config = settings(
        vocab_size=BYTES,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(config)


def cipher(text: str) -> str:
    """Move every letter of a text by thirteen: as much structure, and all of it new to a model.

    Examples
    --------
    >>> cipher("Once upon a time")
    'Bapr hcba n gvzr'
    """
    return codecs.encode(text, "rot13")


def batches(text: str, length: int, count: int, seed: int) -> Iterator[dict[str, Tensor]]:
    """Yield batches of pieces of a text without end, cut at places drawn at random.

    Parameters
    ----------
    text : str
        Longer than `length` bytes.
    length, count : int
        Bytes of a piece, pieces of a batch.
    seed : int

    Yields
    ------
    dict
        ``input_ids`` and ``labels``, both int64 of shape (count, length).

    Examples
    --------
    >>> next(batches("abcabcabc", 4, 2, seed=0))["labels"].shape
    torch.Size([2, 4])
    """
    data = torch.frombuffer(bytearray(text, "utf-8"), dtype=torch.uint8)
    generator = torch.Generator().manual_seed(seed)
    while True:
        starts = torch.randint(len(data) - length, (count, 1), generator=generator)
        ids = data[starts + torch.arange(length)].long()
        yield {"input_ids": ids, "labels": ids}


def train(model, optimizer, source: Iterator[dict], steps: int) -> list[float]:
    """Take optimizer steps on batches, clipped to norm 1; return the losses in nats a byte."""
    model.train()
    losses = []
    for _ in range(steps):
        loss = model(**next(source)).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def mean_loss(model, some: list[dict[str, Tensor]]) -> float:
    """Return the mean loss of a model on batches, in nats a byte, evaluated without dropout."""
    with evaluating(model):
        return sum(model(**batch).loss.item() for batch in some) / len(some)
