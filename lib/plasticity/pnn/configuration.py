"""The shapes of a Plastic Neural Network and of its BERT baseline."""

from huggingface_hub.dataclasses import strict
from transformers import BertConfig, PreTrainedConfig

READINGS = ("as_released", "as_paper")
INITIALIZATIONS = ("normal", "width_scaled", "depth_scaled")


def linear_step_weights(num_steps: int) -> list[float]:
    """Return the loss weight of each step, proportional to its number.

    Generalises the paper's ``[.1, .2, .3, .4]`` (Choi 2025, Eq. 10) to any number of steps.

    Examples
    --------
    >>> linear_step_weights(4)
    [0.1, 0.2, 0.3, 0.4]
    """
    total = num_steps * (num_steps + 1) / 2
    return [step / total for step in range(1, num_steps + 1)]


def _check(config, sizes: str) -> None:
    for name in sizes.split():
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}")
    if config.hidden_size % config.num_attention_heads:
        raise ValueError(
            f"hidden_size must be a multiple of num_attention_heads "
            f"({config.num_attention_heads}), got {config.hidden_size}"
        )
    if not 0 <= config.hidden_dropout_prob < 1:
        raise ValueError(f"hidden_dropout_prob must be in [0, 1), got {config.hidden_dropout_prob}")
    for name in ("initializer_range", "position_scale"):
        if getattr(config, name) <= 0:
            raise ValueError(f"{name} must be above 0, got {getattr(config, name)}")
    if config.initialization not in INITIALIZATIONS:
        raise ValueError(
            f"initialization must be one of {INITIALIZATIONS}, got {config.initialization!r}"
        )


def block_multiply_adds(config: PreTrainedConfig, length: int) -> int:
    """Return the multiply-adds per token of one attention and one feed-forward network.

    Parameters
    ----------
    config : PnnConfig or BertBaselineConfig
    length : int
        Tokens per sequence.

    Examples
    --------
    >>> block_multiply_adds(PnnConfig(), length=128)
    5701632
    """
    width, inner = config.hidden_size, config.intermediate_size
    return 4 * width**2 + 2 * width * inner + 2 * width * length


@strict
class PnnConfig(PreTrainedConfig):
    """Configuration of `PnnModel` and `PnnForMaskedLM`; the defaults are the paper's size.

    Parameters
    ----------
    vocab_size : int
        Number of word pieces.
    hidden_size : int
        Width of the state; a multiple of `num_attention_heads`.
    num_attention_heads : int
        Heads of the refiner's self-attention.
    intermediate_size : int
        Width inside the feed-forward network.
    num_steps : int
        How often the refiner is applied, at least 1; a call may ask for another number.
    max_position_embeddings : int
        Longest sequence, in tokens.
    hidden_dropout_prob : float
        In [0, 1); used at every dropout site, attention weights included.
    step_weights : list of float, optional
        Loss weight of steps 1 to `num_steps`; None means `linear_step_weights(num_steps)`.
    reading : {"as_released", "as_paper"}
        The released code normalises the feed-forward output and its zero initialisation is
        overwritten; the paper's equations have no such normalisation and start that layer at zero.
    initialization : {"normal", "width_scaled", "depth_scaled"}
        ``normal`` draws every linear layer and embedding from N(0, `initializer_range`), as the
        reference does; the others are described in `plasticity.pnn.initialization`.
    position_scale : float
        Size of the position embeddings relative to the tokens' in a scaled start, above 0; PNN and
        BERT start to learn at different ones.
    initializer_range : float
        Standard deviation of the normal initialisation, above 0.
    layer_norm_eps : float
        Added to the variance in every layer normalisation.

    Raises
    ------
    ValueError
        If a value is out of its range.

    References
    ----------
    Choi (2025), Plastic Neural Networks, sections 3 and A.1. Chapter: the model.

    Examples
    --------
    >>> PnnConfig().hidden_size
    768
    """

    model_type = "pnn"

    vocab_size: int = 30522
    hidden_size: int = 768
    num_attention_heads: int = 12
    intermediate_size: int = 2048
    num_steps: int = 4
    max_position_embeddings: int = 128
    hidden_dropout_prob: float | int = 0.1
    step_weights: list[float] | None = None
    reading: str = "as_released"
    initialization: str = "normal"
    position_scale: float | int = 1.0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-5
    pad_token_id: int | None = 0
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs):
        """Check every value against its range."""
        super().__post_init__(**kwargs)
        _check(
            self,
            "vocab_size hidden_size num_attention_heads intermediate_size num_steps "
            "max_position_embeddings",
        )
        if self.reading not in READINGS:
            raise ValueError(f"reading must be one of {READINGS}, got {self.reading!r}")
        if self.step_weights is not None and len(self.step_weights) != self.num_steps:
            raise ValueError(
                f"step_weights must have one weight for each of the {self.num_steps} steps, "
                f"got {len(self.step_weights)}; leave it out for linear_step_weights(num_steps)"
            )

    @property
    def readout_layers(self) -> list[int]:
        """Numbers of the steps read out: all of them, 1 being the first."""
        return list(range(1, self.num_steps + 1))

    def multiply_adds(self, length: int) -> int:
        """Return the multiply-adds per token of a forward pass over `length` tokens, without head.

        Matrix products only.
        """
        gate = 2 * self.hidden_size**2  # its query and key
        return self.num_steps * (block_multiply_adds(self, length) + gate)


@strict
class BertBaselineConfig(BertConfig):
    """Configuration of `BertBaselineForMaskedLM`; the defaults are the paper's baseline.

    A `transformers.BertConfig` with 128 positions, no segments, an untied head, and:

    Parameters
    ----------
    num_readouts : int
        How many evenly spaced layers are read out and enter the loss. 1 is the usual BERT (the
        last layer alone); 4 gives it the step-wise losses of PNN.
    share_layers : bool
        Apply one layer `num_hidden_layers` times, as ALBERT does: recurrence without PNN's deltas.
    initialization : {"normal", "width_scaled", "depth_scaled"}
        As in `PnnConfig`.
    position_scale : float
        As in `PnnConfig`.

    Raises
    ------
    ValueError
        If a value is out of its range, or `num_readouts` does not divide the number of layers.

    Examples
    --------
    >>> BertBaselineConfig(num_readouts=4).readout_layers
    [3, 6, 9, 12]
    """

    model_type = "bert_baseline"

    max_position_embeddings: int = 128
    layer_norm_eps: float = 1e-5
    tie_word_embeddings: bool = False
    num_readouts: int = 1
    share_layers: bool = False
    initialization: str = "normal"
    position_scale: float | int = 1.0

    def __post_init__(self, **kwargs):
        """Check every value against its range."""
        super().__post_init__(**kwargs)
        _check(
            self,
            "vocab_size hidden_size num_attention_heads intermediate_size num_hidden_layers "
            "max_position_embeddings num_readouts",
        )
        if self.num_hidden_layers % self.num_readouts:
            raise ValueError(
                f"num_readouts must divide num_hidden_layers ({self.num_hidden_layers}), "
                f"got {self.num_readouts}"
            )

    @property
    def readout_layers(self) -> list[int]:
        """Numbers of the layers read out, 1 being the first."""
        stride = self.num_hidden_layers // self.num_readouts
        return list(range(stride, self.num_hidden_layers + 1, stride))

    def multiply_adds(self, length: int) -> int:
        """Return the multiply-adds per token, as in `PnnConfig.multiply_adds`."""
        return self.num_hidden_layers * block_multiply_adds(self, length)
