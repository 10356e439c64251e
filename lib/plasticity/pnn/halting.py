"""Halting: rules that say when a sequence is refined enough, and inference that stops there.

A rule looks at the readouts of a sequence's hidden tokens and gives each its unrest; where the mean
unrest is low enough the sequence leaves the batch. What is left of the batch is smaller, so steps
that are not taken are not computed either.
"""

import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plasticity.pnn.masking import IGNORED_LABEL, MaskingRule
from plasticity.pnn.modeling import PnnForMaskedLM


class Readout:
    """What a rule may look at: hidden tokens after one step. Logits are read when asked for.

    Parameters
    ----------
    head : nn.Module
        Reads states.
    states, earlier : Tensor, shape (tokens, hidden_size)
        After this step, and after the one before it (of the embeddings at step 1).
    rows : Tensor of int64, shape (tokens,)
        Which sequence of the batch each stands in.
    sequences : int
        Number of sequences in the batch.
    before : Tensor, optional
        Logits of `earlier`, where they were read already.
    """

    def __init__(
        self,
        head: nn.Module,
        states: Tensor,
        earlier: Tensor,
        rows: Tensor,
        sequences: int,
        before: Tensor | None = None,
    ):
        self.head, self.states, self.earlier = head, states, earlier
        self.rows, self.sequences = rows, sequences
        if before is not None:
            self.before = before

    @cached_property
    def logits(self) -> Tensor:
        """Logits of this step, shape (tokens, vocab_size)."""
        return self.head(self.states)

    @cached_property
    def before(self) -> Tensor:
        """Logits of the step before, shape (tokens, vocab_size)."""
        return self.head(self.earlier)

    def some_logits(self, tokens: Tensor) -> Tensor:
        """Return logits of some tokens, a bool of shape (tokens,); the others are not read."""
        return self.logits[tokens] if "logits" in vars(self) else self.head(self.states[tokens])


@dataclass(frozen=True)
class StoppingRule(ABC):
    """Stop where the mean unrest of a sequence's hidden tokens is at most a threshold.

    Parameters
    ----------
    threshold : float
        Below 0 no sequence ever stops early; infinite, every one stops after its first step.
    """

    threshold: float

    @abstractmethod
    def unrest(self, readout: Readout) -> Tensor:
        """Return how unsettled each hidden token is, 0 or more, shape (tokens,)."""

    def level(self, readout: Readout) -> Tensor:
        """Return the mean unrest of each sequence, shape (sequences,); 0 without hidden tokens."""
        unrest = self.unrest(readout).float()
        total = unrest.new_zeros(readout.sequences).index_add_(0, readout.rows, unrest)
        return total / readout.rows.bincount(minlength=readout.sequences).clamp(min=1)

    def check(self, readout: Readout) -> Tensor:
        """Return which sequences stop, bool of shape (sequences,)."""
        return self.level(readout) <= self.threshold


class Entropy(StoppingRule):
    """Unrest is the entropy of the prediction, nats."""

    def unrest(self, readout: Readout) -> Tensor:
        """Return the entropy of each prediction."""
        log_p = F.log_softmax(readout.logits.float(), dim=-1)
        return -(log_p.exp() * log_p).sum(-1)


class Divergence(StoppingRule):
    """Unrest is how much the step changed the prediction: Kullback-Leibler divergence, nats."""

    def unrest(self, readout: Readout) -> Tensor:
        """Return the divergence of each prediction from the one before."""
        after = F.log_softmax(readout.logits.float(), dim=-1)
        before = F.log_softmax(readout.before.float(), dim=-1)
        return (after.exp() * (after - before)).sum(-1).clamp(min=0)


class ChangedArgmax(StoppingRule):
    """Unrest is whether the step changed the most likely token."""

    def unrest(self, readout: Readout) -> Tensor:
        """Return 1 where the most likely token changed, else 0."""
        return (readout.logits.argmax(-1) != readout.before.argmax(-1)).float()


@dataclass(frozen=True)
class Learned(StoppingRule):
    """Unrest is the probability, told from the state, that later steps change the prediction.

    Parameters
    ----------
    threshold : float
    unit : nn.Linear
        From hidden_size to one logit, as `learn_to_halt` fits it.
    """

    unit: nn.Linear

    def unrest(self, readout: Readout) -> Tensor:
        """Return the probability that each prediction is not yet the last step's."""
        return torch.sigmoid(self.unit(readout.states)[:, 0])


@dataclass(frozen=True)
class Halted:
    """What `refine_until` gives.

    Attributes
    ----------
    logits : Tensor, shape (hidden tokens, vocab_size)
        When each token's sequence stopped, in the order of the sequences.
    steps : Tensor of int64, shape (sequences,)
        Steps that each sequence took.
    """

    logits: Tensor
    steps: Tensor


@torch.no_grad()
def unrest_levels(
    model: PnnForMaskedLM, input_ids: Tensor, hidden: Tensor, rule: StoppingRule
) -> Tensor:
    """Return the level that a rule compares with its threshold, after each step of every sequence.

    Parameters
    ----------
    model, input_ids, hidden, rule
        As for `refine_until`; sequences without padding. The rule's threshold plays no part.

    Returns
    -------
    Tensor, shape (steps, sequences)
    """
    states = model.pnn(input_ids, output_hidden_states=True).hidden_states
    read, rows = [state[hidden] for state in states], hidden.nonzero()[:, 0]
    return torch.stack(
        [
            rule.level(Readout(model.head, after, before, rows, len(input_ids)))
            for before, after in itertools.pairwise(read)
        ]
    )


@torch.no_grad()
def refine_until(
    model: PnnForMaskedLM,
    input_ids: Tensor,
    hidden: Tensor,
    rule: StoppingRule,
    *,
    attention_mask: Tensor | None = None,
    max_steps: int | None = None,
) -> Halted:
    """Predict hidden tokens, each sequence with as many steps as a rule finds it needs.

    Parameters
    ----------
    model : PnnForMaskedLM
        In evaluation mode.
    input_ids : Tensor of int64, shape (sequences, length)
    hidden : Tensor of bool, shape (sequences, length)
        Which tokens are to be predicted.
    rule : StoppingRule
    attention_mask : Tensor, shape (sequences, length), optional
        1 for tokens, 0 for padding.
    max_steps : int, optional
        At least 1; the configuration's number of steps when None.

    Returns
    -------
    Halted

    Raises
    ------
    ValueError
        If `max_steps` is below 1.

    Examples
    --------
    >>> from plasticity.pnn import PnnConfig
    >>> config = PnnConfig(
    ...     vocab_size=50, hidden_size=8, num_attention_heads=2, intermediate_size=16
    ... )
    >>> model, ids = PnnForMaskedLM(config).eval(), torch.tensor([[5, 4, 7], [4, 6, 8]])
    >>> refine_until(model, ids, ids == 4, ChangedArgmax(-1.0)).steps
    tensor([4, 4])
    """
    max_steps = model.config.num_steps if max_steps is None else max_steps
    if max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {max_steps}")
    mask = None if attention_mask is None else attention_mask[:, None, None, :].bool()
    state = start = model.pnn.start(input_ids, mask)
    rows, columns = hidden.nonzero(as_tuple=True)
    states, before = state[rows, columns], None
    logits = states.new_empty(len(states), model.config.vocab_size)
    steps = torch.full((len(input_ids),), max_steps, device=input_ids.device)
    sequences = torch.arange(len(input_ids), device=input_ids.device)  # still in the batch
    tokens = torch.arange(len(states), device=input_ids.device)
    for step in range(max_steps):
        gate, proposal = model.pnn.refine(step, state, start, mask)
        state = torch.addcmul(state, gate, proposal)
        earlier, states = states, state[rows, columns]
        readout = Readout(model.head, states, earlier, rows, len(state), before)
        if step + 1 == max_steps:
            logits[tokens] = readout.logits
            break
        stopped = rule.check(readout)
        before = vars(readout).get("logits")
        if not stopped.any():
            continue
        steps[sequences[stopped]] = step + 1
        leaving = stopped[rows]
        logits[tokens[leaving]] = readout.some_logits(leaving)
        if stopped.all():
            break
        stay, kept = ~stopped, ~leaving
        state, start, sequences = state[stay], start[stay], sequences[stay]
        mask = None if mask is None else mask[stay]
        rows, columns = (stay.cumsum(0) - 1)[rows[kept]], columns[kept]
        states, tokens = states[kept], tokens[kept]
        before = None if before is None else before[kept]
    return Halted(logits, steps)


def learn_to_halt(
    model: PnnForMaskedLM,
    sequences: Tensor,
    rule: MaskingRule,
    *,
    seed: int,
    pad_token_id: int | None = None,
    iterations: int = 50,
) -> nn.Linear:
    """Fit a unit that tells from a state whether later steps will change the prediction.

    The model stays as it is. Logistic regression on the states after each step but the last.

    Parameters
    ----------
    model : PnnForMaskedLM
        In evaluation mode, with at least two steps.
    sequences : Tensor of int64, shape (sequences, length)
        Of the training text.
    rule : MaskingRule
    seed : int
        Draws the masks.
    pad_token_id : int, optional
    iterations : int
        Of L-BFGS.

    Returns
    -------
    nn.Linear
        From hidden_size to one logit.

    Raises
    ------
    ValueError
        If the model takes a single step: then there is nothing to stop.
    """
    if model.config.num_steps < 2:
        raise ValueError(
            f"num_steps must be at least 2 to learn halting, got {model.config.num_steps}"
        )
    masked_ids, labels = rule.apply(sequences, torch.Generator().manual_seed(seed))
    device = next(model.parameters()).device
    masked_ids, scored = masked_ids.to(device), (labels != IGNORED_LABEL).to(device)
    with torch.no_grad():
        mask = None if pad_token_id is None else (masked_ids != pad_token_id).long()
        path = model.pnn(masked_ids, mask, output_hidden_states=True).hidden_states[1:]
        states = torch.stack([state[scored] for state in path])
        predicted = model.head(states).argmax(-1)
        wrong = (predicted[:-1] != predicted[-1]).float().flatten()
        states = states[:-1].flatten(0, 1)
    unit = nn.Linear(states.shape[-1], 1).to(device)
    nn.init.zeros_(unit.weight)
    nn.init.zeros_(unit.bias)
    optimizer = torch.optim.LBFGS(unit.parameters(), max_iter=iterations)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(unit(states)[:, 0], wrong)
        loss = loss + 1e-4 * unit.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return unit.requires_grad_(False)
