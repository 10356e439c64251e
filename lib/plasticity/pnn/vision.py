"""PNN on images: patches in place of word pieces, the same refiner, a class read at every step."""

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers.modeling_outputs import ImageClassifierOutput

from plasticity.pnn.configuration import PnnConfig, linear_step_weights
from plasticity.pnn.dropout import Dropout
from plasticity.pnn.modeling import PnnModel, PnnPreTrainedModel, PositionEmbedding


@strict
class PnnVisionConfig(PnnConfig):
    """A `PnnConfig` for square images of one channel; vocabulary and positions play no part.

    Parameters
    ----------
    image_size : int
        Pixels a side.
    patch_size : int
        Pixels a side of a patch; divides `image_size`.
    num_classes : int
        At least 2.

    Raises
    ------
    ValueError
        If a value is out of its range.

    Examples
    --------
    >>> PnnVisionConfig(image_size=28, patch_size=7).num_patches
    16
    """

    model_type = "pnn_vision"

    image_size: int = 28
    patch_size: int = 7
    num_classes: int = 10

    def __post_init__(self, **kwargs):
        """Check every value against its range."""
        super().__post_init__(**kwargs)
        if self.patch_size < 1 or self.image_size % self.patch_size:
            raise ValueError(
                f"patch_size must divide image_size ({self.image_size}), got {self.patch_size}"
            )
        if self.num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {self.num_classes}")

    @property
    def num_patches(self) -> int:
        """Patches of an image: the length of its sequence."""
        return (self.image_size // self.patch_size) ** 2


class PatchEmbeddings(nn.Module):
    """Patches of pixels, projected, plus learned positions, normalised."""

    def __init__(self, config: PnnVisionConfig):
        super().__init__()
        self.patch_size = config.patch_size
        self.projection = nn.Linear(config.patch_size**2, config.hidden_size)
        self.position = PositionEmbedding(config.num_patches, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Embed images (batch, 1, height, width) as states (batch, patches, hidden_size)."""
        patches = F.unfold(pixel_values, self.patch_size, stride=self.patch_size).transpose(1, 2)
        return self.dropout(self.norm(self.projection(patches) + self.position.weight))


class PnnVisionModel(PnnModel):
    """Patches followed by `num_steps` applications of one shared refiner."""

    config_class = PnnVisionConfig
    embeddings_class = PatchEmbeddings

    def get_input_embeddings(self) -> nn.Module:
        """Return the projection of patches."""
        return self.embeddings.projection


class PnnForImageClassification(PnnPreTrainedModel):
    """A PNN that names what an image shows, read after every step.

    Parameters
    ----------
    config : PnnVisionConfig

    Examples
    --------
    >>> config = PnnVisionConfig(hidden_size=8, num_attention_heads=2, intermediate_size=16)
    >>> PnnForImageClassification(config)(torch.zeros(2, 1, 28, 28)).logits.shape
    torch.Size([2, 10])
    """

    config_class = PnnVisionConfig

    def __init__(self, config: PnnVisionConfig):
        super().__init__(config)
        self.pnn = PnnVisionModel(config)
        self.head = nn.Linear(config.hidden_size, config.num_classes)
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        num_steps: int | None = None,
    ) -> ImageClassifierOutput:
        """Classify images by the mean of their patches' states.

        Parameters
        ----------
        pixel_values : Tensor, shape (batch, 1, image_size, image_size)
        labels : Tensor of int64, shape (batch,), optional
            Classes; the loss is PNN's, weighted over the steps.
        num_steps : int, optional
            Refinement steps; the configuration's when None.

        Returns
        -------
        ImageClassifierOutput
            ``logits`` are the last step's.
        """
        out = self.pnn(pixel_values, num_steps=num_steps, output_hidden_states=labels is not None)
        if labels is None:
            return ImageClassifierOutput(logits=self.head(out.last_hidden_state.mean(1)))
        read = self.head(torch.stack([state.mean(1) for state in out.hidden_states[1:]]))
        losses = F.cross_entropy(
            read.flatten(0, 1), labels.repeat(len(read)), reduction="none"
        ).view(len(read), -1)
        weights = losses.new_tensor(linear_step_weights(len(read)))
        return ImageClassifierOutput(loss=weights @ losses.mean(1), logits=read[-1])
