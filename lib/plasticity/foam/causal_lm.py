"""`GrowableQwen` and `GrowableCausalLM`: a language model that grows, as the README calls it."""

from torch import nn

from plasticity.foam.configuration import GrowthConfig, reference_config
from plasticity.foam.events import GrowthResult
from plasticity.foam.model import GrowableModel

DEFAULT_MODEL = "Qwen/Qwen2.5-1.5B-Instruct"


class GrowableCausalLM(GrowableModel):
    """A causal language model that grows by the rule of the reference's README.

    Its settings are those of `plasticity.foam.configuration.reference_config`; any of
    `GrowthConfig` may be given by name. Call `attach_optimizer` once before the loop; then the
    loop is the README's.

    Parameters
    ----------
    model_name_or_model : str or nn.Module
        A name or folder for `AutoModelForCausalLM.from_pretrained`, or a model in memory.
    enable_growth : bool
        False: the same model and the same loop, in which nothing is born.
    enable_replacement : bool
        The reference's V3: dormant neurons give their place to newborns. How far that may raise the
        loss (`max_prune_jump`) is looked at where `check_and_grow` is given a `growth_batch`.
    freeze_attention : bool
        Train the feed-forward blocks only.
    config : GrowthConfig, optional
        Instead of all other settings.
    **settings
        Fields of `GrowthConfig`.

    Raises
    ------
    ValueError
        If both a config and settings are given, or a setting is outside its range.

    Examples
    --------
    >>> from transformers import Qwen2Config, Qwen2ForCausalLM
    >>> sizes = dict(vocab_size=32, hidden_size=8, intermediate_size=16, num_hidden_layers=1)
    >>> base = Qwen2ForCausalLM(
    ...     Qwen2Config(**sizes, num_attention_heads=2, num_key_value_heads=2)
    ... )
    >>> model = GrowableQwen(base, enable_replacement=True)
    >>> model.growth_config.growth_cooldown, model.growth_config.train_base
    (200, 'ffn')
    """

    def __init__(
        self,
        model_name_or_model: str | nn.Module = DEFAULT_MODEL,
        enable_growth: bool = True,
        enable_replacement: bool = False,
        freeze_attention: bool = True,
        config: GrowthConfig | None = None,
        **settings,
    ):
        if config is None:
            settings.setdefault("train_base", "ffn" if freeze_attention else "all")
            config = reference_config(enable_replacement=enable_replacement, **settings)
        elif (
            settings
            or (enable_replacement and not config.enable_replacement)
            or (not freeze_attention and config.train_base == "ffn")
        ):
            given = {"enable_replacement": enable_replacement, "freeze_attention": freeze_attention}
            raise ValueError(
                f"give either config or settings, not both; got {given | settings} beside a config"
            )
        super().__init__(_loaded(model_name_or_model), config)
        self.enable_growth = enable_growth

    def check_and_grow(self, optimizer=None, growth_batch=None, replay_batch=None) -> GrowthResult:
        """Grow if it is time to; see `GrowableModel.check_and_grow`."""
        if not self.enable_growth:
            return GrowthResult(step=int(self.clock.steps), reason="enable_growth is False")
        return super().check_and_grow(optimizer, growth_batch, replay_batch)

    @classmethod
    def from_pretrained(
        cls, base_model: str | nn.Module, folder, enable_growth: bool = True
    ) -> "GrowableCausalLM":
        """Put the newborns that `save_pretrained` wrote onto the same base model again.

        Parameters
        ----------
        base_model : str or nn.Module
            A name or folder of the base as it was before it grew, or that model in memory.
        folder : path
        enable_growth : bool
            Whether it goes on growing.
        """
        model = super().from_pretrained(_loaded(base_model), folder)
        model.enable_growth = enable_growth
        return model


def _loaded(model: str | nn.Module) -> nn.Module:
    if isinstance(model, nn.Module):
        return model
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(model, dtype="auto")


GrowableQwen = GrowableCausalLM
