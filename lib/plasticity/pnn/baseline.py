"""The baseline: transformers' BERT layers between PNN's own embeddings and head.

Its parameter count is the paper's 132,066,618: 128 positions, no segments, an untied head.
"""

import torch
from torch import Tensor, nn
from transformers.masking_utils import create_bidirectional_mask
from transformers.models.bert.modeling_bert import BertLayer, BertPreTrainedModel

from plasticity.pnn.configuration import BertBaselineConfig, linear_step_weights
from plasticity.pnn.initialization import scale_branch, scale_positions, scale_to_width
from plasticity.pnn.modeling import (
    Embeddings,
    MaskedLMOutput,
    PositionEmbedding,
    TokenEmbeddingAccess,
    masked_readout,
)


class BertBaselineForMaskedLM(TokenEmbeddingAccess, BertPreTrainedModel):
    """BERT for masked language modelling, with PNN's interface and, on request, its losses.

    Parameters
    ----------
    config : BertBaselineConfig
        With ``num_readouts=4`` the loss is PNN's: four readouts weighted .1 to .4. With
        ``share_layers=True`` one layer is applied again and again.

    Examples
    --------
    >>> config = BertBaselineConfig(
    ...     vocab_size=50, hidden_size=8, num_attention_heads=2, intermediate_size=16
    ... )
    >>> BertBaselineForMaskedLM(config)(torch.tensor([[5, 6, 7]])).logits.shape
    torch.Size([1, 3, 50])
    """

    config_class = BertBaselineConfig

    def __init__(self, config: BertBaselineConfig):
        super().__init__(config)
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(
            BertLayer(config, layer_idx=index)
            for index in range(1 if config.share_layers else config.num_hidden_layers)
        )
        self.head = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    @property
    def blocks(self) -> list[nn.Module]:
        """The modules that change the state: the layers."""
        return list(self.layers)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if self.config.initialization != "normal":
            scale_to_width(module)
            if isinstance(module, PositionEmbedding):
                scale_positions(module, self.config.position_scale)
        if self.config.initialization == "depth_scaled" and module in self._branch_outputs():
            scale_branch(module, self.config.num_hidden_layers)

    def _branch_outputs(self) -> list[nn.Module]:
        """Return the last layer of every residual branch."""
        pairs = ((layer.attention.output.dense, layer.output.dense) for layer in self.layers)
        return [module for pair in pairs for module in pair]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: int | None = None,
        output_hidden_states: bool = False,
    ) -> MaskedLMOutput:
        """Predict masked tokens; the arguments are those of `PnnForMaskedLM.forward`.

        Returns
        -------
        MaskedLMOutput
            ``hidden_states`` are the embeddings and the state after each layer.
        """
        state = self.embeddings(input_ids)
        mask = create_bidirectional_mask(self.config, state, attention_mask)
        states = [state]
        for number in range(self.config.num_hidden_layers):
            state = self.layers[number % len(self.layers)](state, mask)
            states.append(state)
        if labels is None:
            loss, logits = None, self.head(state)
        else:
            loss, logits = masked_readout(
                self.head,
                [states[number] for number in self.config.readout_layers],
                linear_step_weights(self.config.num_readouts),
                labels,
                num_items_in_batch,
            )
        return MaskedLMOutput(
            loss=loss, logits=logits, hidden_states=tuple(states) if output_hidden_states else None
        )
