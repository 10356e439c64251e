"""Variants of PNN: what its gate, its norms, its sharing and its start are worth.

A `VariantForMaskedLM` is a `PnnForMaskedLM` in which one part is another one; with the defaults of
`VariantConfig` it is PNN itself.
"""

import copy

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import initialization as init
from transformers.models.bert.modeling_bert import BertLayer

from plasticity.pnn.configuration import BertBaselineConfig, PnnConfig, block_multiply_adds
from plasticity.pnn.modeling import Gate, PnnForMaskedLM, PnnModel, ProposalLinear, Refiner

GATES = ("query_key", "constant", "scalar", "per_dimension")


@strict
class VariantConfig(PnnConfig):
    """A `PnnConfig` with what may be exchanged; the defaults change nothing.

    Parameters
    ----------
    gate : {"query_key", "constant", "scalar", "per_dimension"}
        PNN's gate, one number that is not learned, one that is, or one for each dimension.
    gate_level : float
        The constant gate, above 0; 1 is no gate at all.
    normalise_proposal : bool
        Keep the norm on the feed-forward output, which the released code has.
    start_at_zero : bool
        Start the feed-forward output at zero and leave it so, which the released code undoes.
    share_refiner : bool
        One refiner for all steps, or one for each.
    step_embeddings : bool
        Tell the refiner the number of the step, by a learned vector added to what it reads.
    reinject : bool
        Add the state before the first step to what the refiner reads.
    num_base_layers : int
        BERT's layers between the embeddings and the first step, 0 or more.
    block_sizes : list of int, optional
        Feed-forward widths of a hierarchical refiner, one for each of its blocks; None for PNN's
        own refiner.

    Raises
    ------
    ValueError
        If a value is out of its range.

    Examples
    --------
    >>> VariantConfig(gate="constant", gate_level=1.0).gate
    'constant'
    """

    model_type = "pnn_variant"

    gate: str = "query_key"
    gate_level: float | int = 0.5
    normalise_proposal: bool = True
    start_at_zero: bool = False
    share_refiner: bool = True
    step_embeddings: bool = False
    reinject: bool = False
    num_base_layers: int = 0
    block_sizes: list[int] | None = None

    def __post_init__(self, **kwargs):
        """Check every value against its range."""
        super().__post_init__(**kwargs)
        if self.gate not in GATES:
            raise ValueError(f"gate must be one of {GATES}, got {self.gate!r}")
        if self.gate_level <= 0:
            raise ValueError(f"gate_level must be above 0, got {self.gate_level}")
        if self.num_base_layers < 0:
            raise ValueError(f"num_base_layers must be 0 or more, got {self.num_base_layers}")
        if self.block_sizes is not None and (not self.block_sizes or min(self.block_sizes) < 1):
            raise ValueError(
                f"block_sizes must be one or more widths of at least 1, got {self.block_sizes}; "
                "leave it out for PNN's own refiner"
            )

    def multiply_adds(self, length: int) -> int:
        """Return the multiply-adds per token, as in `PnnConfig.multiply_adds`."""
        gate = 2 * self.hidden_size**2 if self.gate == "query_key" else 0
        if self.block_sizes is None:
            step = block_multiply_adds(self, length) + gate
        else:  # a gate for each block, and one for all
            blocks = [_with_width(self, size) for size in self.block_sizes]
            step = sum(block_multiply_adds(block, length) + gate for block in blocks) + gate
        base = self.num_base_layers * block_multiply_adds(self, length)
        return base + self.num_steps * step


def _with_width(config: VariantConfig, intermediate_size: int) -> VariantConfig:
    """Return the configuration of one block of another feed-forward width."""
    block = copy.copy(config)
    block.intermediate_size = intermediate_size
    return block


class ConstantGate(nn.Module):
    """Take the same share of every proposal."""

    def __init__(self, level: float):
        super().__init__()
        self.level = level

    def forward(self, state: Tensor, proposal: Tensor) -> Tensor:
        """Return the level, shape ()."""
        return state.new_tensor(self.level)


class LearnedGate(nn.Module):
    """Shares that are learned, but the same for every token and step; they start at one half."""

    def __init__(self, *shape: int):
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(shape))

    def forward(self, state: Tensor, proposal: Tensor) -> Tensor:
        """Return gates in (0, 1), shape () or (hidden_size,)."""
        return torch.sigmoid(self.logit)


def make_gate(config: VariantConfig) -> nn.Module:
    """Return the gate that a configuration asks for."""
    if config.gate == "constant":
        return ConstantGate(config.gate_level)
    if config.gate == "scalar":
        return LearnedGate()
    if config.gate == "per_dimension":
        return LearnedGate(config.hidden_size)
    return Gate(config)


class VariantRefiner(Refiner):
    """A refiner with another gate, or without the norm on its proposal."""

    def __init__(self, config: VariantConfig):
        super().__init__(config)
        if config.gate != "query_key":
            self.gate = make_gate(config)
        if not config.normalise_proposal:
            self.proposal_norm = nn.Identity()


class HierarchicalRefiner(nn.Module):
    """Several blocks a step, each of its own width and with a gate of its own, then one gate more.

    The reference's ``pnn_hierarchical``: each block reads the state with what the blocks before it
    gave, and adds its gated proposal to that; a last gate decides how much of the sum is taken.
    """

    def __init__(self, config: VariantConfig):
        super().__init__()
        self.blocks = nn.ModuleList(
            VariantRefiner(_with_width(config, size)) for size in config.block_sizes
        )
        self.gate = make_gate(config)

    def forward(self, state: Tensor, attention_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the last gate and the sum of the blocks' gated proposals."""
        gathered = torch.zeros_like(state)
        for block in self.blocks:
            proposal = block.propose(state + gathered, attention_mask)
            gathered = torch.addcmul(gathered, block.gate(state, proposal), proposal)
        return self.gate(state, gathered), gathered


def make_refiner(config: VariantConfig) -> nn.Module:
    """Return the refiner that a configuration asks for, or a list with one for each step."""
    kind = VariantRefiner if config.block_sizes is None else HierarchicalRefiner
    if config.share_refiner:
        return kind(config)
    return nn.ModuleList(kind(config) for _ in range(config.num_steps))


class _VariantStart:
    """How the parts of a variant start; for `VariantModel` and `VariantForMaskedLM` alike."""

    config_class = VariantConfig

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, LearnedGate):
            init.zeros_(module.logit)
        elif isinstance(module, ProposalLinear) and self.config.start_at_zero:
            init.zeros_(module.weight)


class VariantModel(_VariantStart, PnnModel):
    """A `PnnModel` with the parts that its `VariantConfig` names.

    Examples
    --------
    >>> config = VariantConfig(
    ...     vocab_size=50, hidden_size=8, num_attention_heads=2, block_sizes=[8, 16, 8]
    ... )
    >>> VariantModel(config)(torch.tensor([[5, 6, 7]])).last_hidden_state.shape
    torch.Size([1, 3, 8])
    """

    refiner_class = staticmethod(make_refiner)

    def __init__(self, config: VariantConfig):
        super().__init__(config)
        self.base = nn.ModuleList(
            BertLayer(_base_config(config), layer_idx=index)
            for index in range(config.num_base_layers)
        )
        if config.step_embeddings:
            self.step_embedding = nn.Embedding(config.num_steps, config.hidden_size)
        self.post_init()

    def start(self, input_ids: Tensor, mask: Tensor | None) -> Tensor:
        """Return the state before the first step: embeddings, then the base layers."""
        state = super().start(input_ids, mask)
        for layer in self.base:
            state = layer(state, mask)
        return state

    def refine(
        self, step: int, state: Tensor, start: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return gate and proposal of a step; beyond those of training, as the last of them."""
        last = min(step, self.config.num_steps - 1)
        read = state
        if self.config.step_embeddings:
            read = read + self.step_embedding.weight[last]
        if self.config.reinject:
            read = read + start
        refiner = self.refiner if self.config.share_refiner else self.refiner[last]
        return refiner(read, mask)


def _base_config(config: VariantConfig) -> BertBaselineConfig:
    """Return the configuration of a layer of BERT with a variant's sizes."""
    base = BertBaselineConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        num_attention_heads=config.num_attention_heads,
        intermediate_size=config.intermediate_size,
        hidden_dropout_prob=config.hidden_dropout_prob,
        attention_probs_dropout_prob=config.hidden_dropout_prob,
        max_position_embeddings=config.max_position_embeddings,
        layer_norm_eps=config.layer_norm_eps,
    )
    base._attn_implementation = "sdpa"
    return base


class VariantForMaskedLM(_VariantStart, PnnForMaskedLM):
    """A `PnnForMaskedLM` with the parts that its `VariantConfig` names.

    Examples
    --------
    >>> config = VariantConfig(
    ...     vocab_size=50, hidden_size=8, num_attention_heads=2, gate="scalar"
    ... )
    >>> VariantForMaskedLM(config)(torch.tensor([[5, 6, 7]])).logits.shape
    torch.Size([1, 3, 50])
    """

    encoder_class = VariantModel

    @property
    def blocks(self) -> list[nn.Module]:
        """The modules that change the state: base layers and refiners."""
        refiner = self.pnn.refiner
        return [*self.pnn.base, *([refiner] if self.config.share_refiner else refiner)]
