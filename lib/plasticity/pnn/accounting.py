"""Counting: parameters three ways, and floating-point operations per token."""

from torch import nn

from plasticity.pnn.configuration import BertBaselineConfig, PnnConfig


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """Count parameters with the head untied, tied to the embedding, and without either.

    Parameters
    ----------
    model : PnnForMaskedLM or BertBaselineForMaskedLM

    Returns
    -------
    dict of int
        ``untied`` is every parameter; ``tied`` shares the head's matrix with the token embedding
        (its bias stays); ``encoder`` leaves out embeddings and head.
    """
    embeddings = model.get_submodule("pnn.embeddings" if hasattr(model, "pnn") else "embeddings")
    untied = sum(p.numel() for p in model.parameters())
    head = sum(p.numel() for p in model.head.parameters())
    return {
        "untied": untied,
        "tied": untied - model.head.weight.numel(),
        "encoder": untied - head - sum(p.numel() for p in embeddings.parameters()),
    }


def flops_per_token(
    config: PnnConfig | BertBaselineConfig, length: int, mask_probability: float = 0.15
) -> dict[str, float]:
    """Count the floating-point operations of one training step, per token of input.

    Matrix products only, two operations per multiply-add, and a backward pass of twice the
    forward one; attention counts both of its products with `length` keys. The head works on the
    hidden tokens alone, once for each readout in the loss.

    Parameters
    ----------
    config : PnnConfig or BertBaselineConfig
    length : int
        Tokens per sequence.
    mask_probability : float
        Share of tokens that are hidden.

    Returns
    -------
    dict of float
        ``blocks``, ``head`` and their sum ``total``, in FLOPs per token.

    Examples
    --------
    >>> flops_per_token(PnnConfig(), length=128)["blocks"] / 6e6  # multiply-adds, in millions
    27.52512
    """
    blocks = 6.0 * config.multiply_adds(length)
    readouts = len(config.readout_layers)
    head = 6.0 * config.hidden_size * config.vocab_size * mask_probability * readouts
    return {"blocks": blocks, "head": head, "total": blocks + head}
