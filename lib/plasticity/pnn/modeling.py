"""Plastic Neural Network: one gated refinement module, applied again and again.

``h(t) = h(t-1) + gate * proposal`` with the same weights at every step. `PnnModel` gives states,
`PnnForMaskedLM` adds the untied head and the step-wise losses of the paper.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import ModelOutput

from plasticity.pnn.configuration import PnnConfig, linear_step_weights
from plasticity.pnn.dropout import Dropout
from plasticity.pnn.initialization import scale_branch, scale_positions, scale_to_width
from plasticity.pnn.masking import IGNORED_LABEL


@dataclass
class PnnOutput(ModelOutput):
    """States of a PNN, with the path to them on request.

    Attributes
    ----------
    last_hidden_state : Tensor, shape (batch, length, hidden_size)
    hidden_states : tuple of Tensor, optional
        ``num_steps + 1`` states, the embeddings first.
    gates, deltas : tuple of Tensor, optional
        One tensor for each step, shape (batch, length, hidden_size); gates lie in (0, 1).
    """

    last_hidden_state: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    gates: tuple[Tensor, ...] | None = None
    deltas: tuple[Tensor, ...] | None = None


@dataclass
class MaskedLMOutput(ModelOutput):
    """Loss and logits of a masked language model, with its states on request.

    Attributes
    ----------
    loss : Tensor, optional
        Scalar, nats per masked token, weighted over the readouts.
    logits : Tensor
        Final readout: (batch, length, vocab_size), or (masked tokens, vocab_size) when labels
        were given, since only those positions are scored.
    hidden_states, gates, deltas : tuple of Tensor, optional
        See `PnnOutput`; a BERT baseline has neither gates nor deltas.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    gates: tuple[Tensor, ...] | None = None
    deltas: tuple[Tensor, ...] | None = None


# transformers initialises only modules that own parameters: these carry their role as a type.
class PositionEmbedding(nn.Embedding):
    """Learned positions, which may start as sinusoids."""


class PackedProjection(nn.Linear):
    """Query, key and value in one matrix, which starts as torch's own attention does."""


class BranchLinear(nn.Linear):
    """The last layer of a branch that is added to the state."""


class ProposalLinear(BranchLinear):
    """The refiner's last layer, which the paper starts at zero."""


class Embeddings(nn.Module):
    """Token plus learned position embeddings, normalised; shared with the BERT baseline."""

    def __init__(self, config):
        super().__init__()
        self.token = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position = PositionEmbedding(config.max_position_embeddings, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Embed ids (batch, length) as states (batch, length, hidden_size)."""
        length = input_ids.shape[1]
        if length > self.position.num_embeddings:
            raise ValueError(
                f"sequences must have at most {self.position.num_embeddings} tokens "
                f"(max_position_embeddings), got {length}"
            )
        return self.dropout(self.norm(self.token(input_ids) + self.position.weight[:length]))


class SelfAttention(nn.Module):
    """Multi-head self-attention over all positions (Choi 2025, Eq. 2)."""

    def __init__(self, config: PnnConfig):
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.dropout = config.hidden_dropout_prob
        self.projection = PackedProjection(config.hidden_size, 3 * config.hidden_size)
        self.output = BranchLinear(config.hidden_size, config.hidden_size)

    def forward(self, state: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Attend; `attention_mask` is boolean (batch, 1, 1, length), True where a key counts."""
        batch, length, width = state.shape
        query, key, value = (  # each (batch, heads, length, width/heads)
            part.view(batch, length, self.num_heads, -1).transpose(1, 2)
            for part in self.projection(state).chunk(3, dim=-1)
        )
        mixed = F.scaled_dot_product_attention(
            query, key, value, attention_mask, dropout_p=self.dropout if self.training else 0.0
        )
        return self.output(mixed.transpose(1, 2).reshape(batch, length, width))


class Gate(nn.Module):
    """Query-key gate: how much of each proposed dimension is taken (Choi 2025, Eqs. 6 to 8)."""

    def __init__(self, config: PnnConfig):
        super().__init__()
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.temperature = nn.Parameter(torch.tensor(math.sqrt(config.hidden_size)))

    def forward(self, state: Tensor, proposal: Tensor) -> Tensor:
        """Return gates in (0, 1), of the shape of `state`."""
        # Divided on the weights, which are fewer than the states.
        scaled = (self.key.weight / self.temperature, self.key.bias / self.temperature)
        return torch.sigmoid(self.query(state) * F.linear(proposal, *scaled))


class Refiner(nn.Module):
    """The one module that PNN applies at every step (Choi 2025, section 3.2)."""

    def __init__(self, config: PnnConfig):
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.attention = SelfAttention(config)
        self.attention_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.expand = nn.Linear(width, inner)
        self.contract = ProposalLinear(inner, width)
        self.proposal_norm = (
            nn.LayerNorm(width, eps=config.layer_norm_eps)
            if config.reading == "as_released"
            else nn.Identity()
        )
        self.gate = Gate(config)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, state: Tensor, attention_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the gate and the proposal for a state; the update is their product."""
        proposal = self.propose(state, attention_mask)
        return self.gate(state, proposal), proposal

    def propose(self, state: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Return the proposal for a state."""
        attended = self.dropout(self.attention(state, attention_mask))
        mixed = self.attention_norm(state + attended)
        inner = self.dropout(F.gelu(self.expand(mixed)))
        return self.proposal_norm(self.dropout(self.contract(inner)))


class TokenEmbeddingAccess:
    """How transformers finds the token embedding of a model that holds `Embeddings`."""

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the token embedding."""
        return self.embeddings.token

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the token embedding."""
        self.embeddings.token = value


class PnnPreTrainedModel(PreTrainedModel):
    """Initialisation, saving and loading, shared by the PNN models."""

    config_class = PnnConfig
    base_model_prefix = "pnn"
    _supports_sdpa = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if self.config.initialization != "normal":
            scale_to_width(module)
            if isinstance(module, PositionEmbedding):
                scale_positions(module, self.config.position_scale)
        if self.config.initialization == "depth_scaled" and isinstance(module, BranchLinear):
            scale_branch(module, self.config.num_steps)
        if isinstance(module, PackedProjection):
            init.xavier_uniform_(module.weight)
        elif isinstance(module, Gate):
            init.constant_(module.temperature, math.sqrt(self.config.hidden_size))
        elif isinstance(module, ProposalLinear) and self.config.reading == "as_paper":
            init.zeros_(module.weight)


class PnnModel(TokenEmbeddingAccess, PnnPreTrainedModel):
    """Embeddings followed by `num_steps` applications of one shared refiner.

    Parameters
    ----------
    config : PnnConfig

    Examples
    --------
    >>> config = PnnConfig(
    ...     vocab_size=50, hidden_size=8, num_attention_heads=2, intermediate_size=16
    ... )
    >>> model = PnnModel(config)
    >>> model(torch.tensor([[5, 6, 7]]), num_steps=2).last_hidden_state.shape
    torch.Size([1, 3, 8])
    """

    embeddings_class, refiner_class = Embeddings, Refiner  # variants of the model name others

    def __init__(self, config: PnnConfig):
        super().__init__(config)
        self.embeddings = self.embeddings_class(config)
        self.refiner = self.refiner_class(config)
        self.post_init()

    def start(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Return the state before the first step; the mask as `refine` takes it."""
        return self.embeddings(input_ids)

    def refine(
        self, step: int, state: Tensor, start: Tensor, attention_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return gate and proposal of a step, 0 for the first; `start` is the state before all."""
        return self.refiner(state, attention_mask)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        num_steps: int | None = None,
        output_hidden_states: bool = False,
        output_gates: bool = False,
        output_deltas: bool = False,
    ) -> PnnOutput:
        """Refine the embedded sequence.

        Parameters
        ----------
        input_ids : Tensor of int64, shape (batch, length)
        attention_mask : Tensor, shape (batch, length), optional
            1 for tokens, 0 for padding.
        num_steps : int, optional
            Number of refinement steps, 0 or more; the configuration's when None.
        output_hidden_states, output_gates, output_deltas : bool
            What to return of the path.

        Returns
        -------
        PnnOutput

        Raises
        ------
        ValueError
            If `num_steps` is negative or a sequence too long.
        """
        num_steps = self.config.num_steps if num_steps is None else num_steps
        if num_steps < 0:
            raise ValueError(f"num_steps must be 0 or more, got {num_steps}")
        mask = None if attention_mask is None else attention_mask[:, None, None, :].bool()
        state = start = self.start(input_ids, mask)
        states, gates, deltas = [state], [], []
        for step in range(num_steps):
            gate, proposal = self.refine(step, state, start, mask)
            state = torch.addcmul(state, gate, proposal)
            states.append(state)
            if output_gates:
                gates.append(gate)
            if output_deltas:
                deltas.append(gate * proposal)
        return PnnOutput(
            last_hidden_state=state,
            hidden_states=tuple(states) if output_hidden_states else None,
            gates=tuple(gates) if output_gates else None,
            deltas=tuple(deltas) if output_deltas else None,
        )


class PnnForMaskedLM(PnnPreTrainedModel):
    """A PNN with the untied head that reads every step.

    Parameters
    ----------
    config : PnnConfig
        The defaults give the paper's 53,707,323 parameters.

    Examples
    --------
    >>> config = PnnConfig(
    ...     vocab_size=50, hidden_size=8, num_attention_heads=2, intermediate_size=16
    ... )
    >>> PnnForMaskedLM(config)(torch.tensor([[5, 6, 7]])).logits.shape
    torch.Size([1, 3, 50])
    """

    encoder_class = PnnModel

    def __init__(self, config: PnnConfig):
        super().__init__(config)
        self.pnn = self.encoder_class(config)
        self.head = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    @property
    def blocks(self) -> list[nn.Module]:
        """The modules that change the state: the one refiner."""
        return [self.pnn.refiner]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        num_steps: int | None = None,
        num_items_in_batch: int | None = None,
        output_hidden_states: bool = False,
        output_gates: bool = False,
        output_deltas: bool = False,
    ) -> MaskedLMOutput:
        """Predict masked tokens.

        Parameters
        ----------
        input_ids, attention_mask, num_steps, output_hidden_states, output_gates, output_deltas
            See `PnnModel.forward`.
        labels : Tensor of int64, shape (batch, length), optional
            The original id where a token is scored, -100 elsewhere.
        num_items_in_batch : int, optional
            Divide the summed loss by this count (masked tokens of all micro-batches and
            processes) rather than by the masked tokens of this call.

        Returns
        -------
        MaskedLMOutput
        """
        out = self.pnn(
            input_ids,
            attention_mask,
            num_steps,
            output_hidden_states=output_hidden_states or labels is not None,
            output_gates=output_gates,
            output_deltas=output_deltas,
        )
        if labels is None:
            loss, logits = None, self.head(out.last_hidden_state)
        else:
            weights = self.config.step_weights
            steps_taken = len(out.hidden_states) - 1
            if weights is None or steps_taken != self.config.num_steps:
                weights = linear_step_weights(steps_taken)
            loss, logits = masked_readout(
                self.head, out.hidden_states[1:], weights, labels, num_items_in_batch
            )
        return MaskedLMOutput(
            loss=loss,
            logits=logits,
            hidden_states=out.hidden_states if output_hidden_states else None,
            gates=out.gates,
            deltas=out.deltas,
        )


def masked_readout(
    head: nn.Linear,
    states: tuple[Tensor, ...] | list[Tensor],
    weights: list[float],
    labels: Tensor,
    num_items_in_batch: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Read several states out with one head, on masked positions only.

    Parameters
    ----------
    head : nn.Linear
        From hidden_size to vocab_size.
    states : sequence of Tensor, each of shape (batch, length, hidden_size)
        The readouts that enter the loss, the final one last.
    weights : list of float
        Weight of each readout's cross-entropy.
    labels : Tensor of int64, shape (batch, length)
        -100 where a position is not scored.
    num_items_in_batch : int, optional
        What the summed loss is divided by; the number of scored positions when None.

    Returns
    -------
    loss : Tensor
        Scalar, nats (Choi 2025, Eq. 10).
    logits : Tensor, shape (scored positions, vocab_size)
        Of the final readout.

    Raises
    ------
    ValueError
        If there are no states, or not one weight for each.
    """
    if not states or len(states) != len(weights):
        raise ValueError(
            f"a loss needs at least one readout and one weight for each, "
            f"got {len(states)} readouts and {len(weights)} weights"
        )
    scored = labels != IGNORED_LABEL
    targets = labels[scored]
    logits = head(torch.stack([state[scored] for state in states]))  # (readouts, scored, vocab)
    losses = F.cross_entropy(
        logits.flatten(0, 1).float(), targets.repeat(len(states)), reduction="none"
    )
    by_readout = losses.view(len(states), -1).sum(1)
    count = num_items_in_batch if num_items_in_batch is not None else max(len(targets), 1)
    return by_readout @ by_readout.new_tensor(weights) / count, logits[-1]
