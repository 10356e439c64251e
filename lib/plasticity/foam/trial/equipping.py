"""How a model is made ready for an arm: frozen, wrapped to grow, or with an adapter on it."""

import torch
from torch import nn

from plasticity.foam.causal_lm import GrowableQwen
from plasticity.foam.trial.arms import FIRST_EVENT, Arm, Schedule


def equip(model: nn.Module, arm: Arm, schedule: Schedule, seed: int) -> nn.Module:
    """Make a base model ready for an arm, in place: freeze, wrap, or put an adapter on it.

    A model that has learnt in the same arm before goes on as it is.

    Parameters
    ----------
    model : nn.Module
        A causal language model of transformers.
    arm : Arm
    schedule : Schedule
    seed : int
        Of what is random in growth and in the adapter.

    Returns
    -------
    nn.Module
        The model, a `GrowableQwen` around it, or a `PeftModel`.
    """
    if isinstance(model, GrowableQwen) or hasattr(model, "peft_config"):
        return model
    if arm.train == "nothing":
        return model.requires_grad_(False)
    if arm.train == "lora":
        return _with_adapter(model, schedule, seed)
    if arm.train == "all" and not arm.grows:
        return model
    at_once = arm.growth == "at_once"
    births = schedule.newborns * (schedule.events if at_once else 1)
    width = model.config.intermediate_size
    return GrowableQwen(
        model,
        enable_growth=arm.grows,
        enable_replacement=arm.replacement,
        train_base={"newborns": "none"}.get(arm.train, arm.train),
        init=arm.init,
        orthogonalize=arm.orthogonalize,
        max_growth_per_step=births,
        gradient_percentile=max(0.0, min(90.0, 100 * (1 - 1.2 * births / width))),
        growth_cooldown=1,  # the schedule says when
        warmup_steps=FIRST_EVENT,
        maturation_age=schedule.steps if arm.freeze_mature else max(1, schedule.steps // 4),
        freeze_mature=arm.freeze_mature,
        seed=seed,
    )


def newborn_parameters(model: nn.Module, schedule: Schedule) -> int:
    """Return how many parameters all newborns of the schedule have together.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> config = SimpleNamespace(hidden_size=64, num_hidden_layers=3)
    >>> newborn_parameters(SimpleNamespace(config=config), Schedule(events=3, newborns=16))
    27648
    """
    config = model.config
    neurons = schedule.newborns * schedule.events * config.num_hidden_layers
    return 3 * config.hidden_size * neurons


def adapter_rank(model: nn.Module, parameters: int) -> int:
    """Return the rank at which adapters on all linear layers have about so many parameters."""
    head = model.get_output_embeddings()
    layers = [m for m in model.modules() if isinstance(m, nn.Linear) and m is not head]
    return max(1, round(parameters / sum(m.in_features + m.out_features for m in layers)))


def _with_adapter(model: nn.Module, schedule: Schedule, seed: int) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    rank = adapter_rank(model, newborn_parameters(model, schedule))
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return get_peft_model(model, config)
