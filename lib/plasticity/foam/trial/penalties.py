"""What holds a model near its base: elastic weights, and distance from the base's predictions."""

import copy
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plasticity.foam.trial.scoring import evaluating


class ElasticWeights:
    """Elastic weight consolidation: weights that mattered for old data are held by springs.

    The Fisher information is diagonal, its labels are drawn from the model itself, not taken from
    the data (which would give the empirical Fisher, another quantity).

    Parameters
    ----------
    model : nn.Module
        A causal language model, as it is before it learns anything new.
    batches : iterable of dict
        Old data; a batch of one row counts as one sample.
    seed : int
        Of the labels drawn.

    References
    ----------
    Kirkpatrick et al. (2017), Overcoming catastrophic forgetting in neural networks, equation 3.
    """

    def __init__(self, model: nn.Module, batches: Iterable[dict], seed: int = 0):
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.anchors = [p.detach().clone() for p in self.parameters]
        self.fisher = [torch.zeros_like(p) for p in self.parameters]
        generator = torch.Generator().manual_seed(seed)
        samples = 0
        for batch in batches:
            loss = _loss_of_drawn_labels(model, batch, generator)
            gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True)
            for total, gradient in zip(self.fisher, gradients, strict=True):
                if gradient is not None:
                    total += gradient.detach().square()
            samples += 1
        if not samples:
            raise ValueError("elastic weights need old data, got no batch; give at least one")
        for total in self.fisher:
            total /= samples

    def __call__(self, model: nn.Module, batch: dict, logits: Tensor) -> Tensor:
        """Return half the sum of squared moves, each times its Fisher information."""
        terms = zip(self.fisher, self.parameters, self.anchors, strict=True)
        return sum((f * (p - a).square()).sum() for f, p, a in terms) / 2


def _loss_of_drawn_labels(model: nn.Module, batch: dict, generator: torch.Generator) -> Tensor:
    """Return the summed loss of a sample whose next tokens the model has drawn itself."""
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    logits = logits[:, :-1][batch["attention_mask"][:, 1:].bool()]
    chances = logits.detach().softmax(-1).cpu()
    drawn = torch.multinomial(chances, 1, generator=generator)[:, 0].to(logits.device)
    return F.cross_entropy(logits, drawn, reduction="sum")


class NearBase:
    """Distance from the base's predictions on the prompts of the new task, which need no old data.

    Parameters
    ----------
    model : nn.Module
        Copied, and frozen, as the base.
    """

    def __init__(self, model: nn.Module):
        self.base = copy.deepcopy(model).eval().requires_grad_(False)

    def __call__(self, model: nn.Module, batch: dict, logits: Tensor) -> Tensor:
        """Return the mean of KL(base || model) over the tokens that are not learnt."""
        with torch.no_grad():
            given = {name: batch[name] for name in ("input_ids", "attention_mask")}
            wanted = self.base(**given).logits
        prompts = batch["attention_mask"].bool() & (batch["labels"] == -100)
        return divergence(wanted[prompts], logits[prompts])


def divergence(base: Tensor, model: Tensor) -> Tensor:
    """Return the mean of KL(base || model) in nats, from logits of shape (tokens, vocabulary).

    Examples
    --------
    >>> logits = torch.randn(3, 5)
    >>> round(abs(float(divergence(logits, logits))), 6)
    0.0
    """
    return F.kl_div(
        model.log_softmax(-1), base.log_softmax(-1), log_target=True, reduction="batchmean"
    )


@torch.no_grad()
def text_divergence(base: nn.Module, model: nn.Module, batches: Iterable[dict]) -> float:
    """Return the mean of KL(base || model) over all tokens of some texts, in nats a token.

    Parameters
    ----------
    base, model : nn.Module
        Causal language models of one vocabulary; both are evaluated without dropout.
    batches : iterable of dict
        With input_ids and attention_mask.
    """
    total, tokens = 0.0, 0
    with evaluating(base), evaluating(model):
        for batch in batches:
            given = {name: batch[name] for name in ("input_ids", "attention_mask")}
            kept = given["attention_mask"].bool()
            found = divergence(base(**given).logits[kept], model(**given).logits[kept])
            total += float(found) * int(kept.sum())
            tokens += int(kept.sum())
    return total / tokens
