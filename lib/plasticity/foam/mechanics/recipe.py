"""The rules of the README, kept by the library's own names: cooldown, maturation, averages."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from plasticity.foam.causal_lm import GrowableQwen
from plasticity.foam.dormancy import replaceable
from plasticity.foam.linear import GrowableLinear
from plasticity.foam.mechanics.reading import batches, small_model

LEARNING_RATE = (
    1e-6  # so small that newborns stay the least useful neurons: all want to retire them
)
EVERY = 10


@dataclass
class Life:
    """What happened to a model that grew by the README's rule.

    Attributes
    ----------
    births : list of int
        Steps at which newborns were born.
    rates : dict of int to float
        By age of the first cohort: how long its steps are, in those that the base's learning rate
        would give.
    retirable : dict of int to bool
        By age of the first cohort: whether its least useful neuron might be retired.
    """

    births: list[int] = field(default_factory=list)
    rates: dict[int, float] = field(default_factory=dict)
    retirable: dict[int, bool] = field(default_factory=dict)


def live(text: str, steps: int, seed: int) -> Life:
    """Train the smallest model with `GrowableQwen`'s defaults, asking it to grow at every step.

    Parameters
    ----------
    text : str
    steps, seed : int
    """
    base = small_model("qwen2", 16, 24, 1, seed)
    model = GrowableQwen(base, enable_replacement=True, max_growth_per_step=2)
    optimizer = torch.optim.AdamW(model.param_groups(LEARNING_RATE))
    model.attach_optimizer(optimizer)
    model.train()
    source, life, layer = batches(text, 16, 2, seed), Life(), model.layers[0]
    for step in range(1, steps + 1):
        loss = model(**next(source)).loss
        optimizer.zero_grad()
        loss.backward()
        before = layer.cohorts[0].down.detach().clone() if life.births else None
        optimizer.step()
        model.update_loss(loss.item())
        if before is not None:
            _note(life, model, optimizer, before, step - life.births[0])
        if model.check_and_grow()["born"]:
            life.births.append(step)
    return life


def _note(life: Life, model, optimizer, before: Tensor, age: int) -> None:
    """Write down how long the first cohort's step was, and whether it might be retired."""
    layer = model.layers[0]
    near = abs(age - model.growth_config.maturation_age) <= 2
    if not (age == 1 or age % EVERY == 0 or near):
        return
    parameter, slots = layer.cohorts[0].down, layer.slots(0)
    alive = layer.neurons.active[slots]
    if not bool(alive.any()):
        return
    taken = (parameter.detach() - before)[:, alive].norm()
    life.rates[age] = float(taken / adam_step(optimizer, parameter)[:, alive].norm())
    named = replaceable(layer, 1)
    life.retirable[age] = bool(torch.isin(slots, named).any())


def adam_step(optimizer, parameter: nn.Parameter) -> Tensor:
    """Return the step that AdamW would have taken with the base's learning rate."""
    group, state = optimizer.param_groups[0], optimizer.state[parameter]
    count = float(state["step"])
    mean = state["exp_avg"] / (1 - group["betas"][0] ** count)
    square = state["exp_avg_sq"] / (1 - group["betas"][1] ** count)
    return LEARNING_RATE * mean / (square.sqrt() + group["eps"])


def average_error(steps: int, seed: int) -> float:
    """Return how far `GrowableLinear`'s running mean is from 0.9 / 0.1 computed by hand, relative.

    Examples
    --------
    >>> average_error(steps=5, seed=0) < 1e-5
    True
    """
    generator = torch.Generator().manual_seed(seed)
    layer = GrowableLinear(16, 48)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    by_hand = torch.zeros(48, dtype=torch.float64)
    for _ in range(steps):
        inputs = torch.randn(8, 16, generator=generator)
        optimizer.zero_grad()
        layer(inputs).square().mean().backward()
        by_hand = 0.9 * by_hand + 0.1 * layer.weight.grad.double().norm(dim=1)
        optimizer.step()
    corrected = by_hand / (1 - 0.9**steps)
    return float(((layer.gradient_ema - corrected) / corrected).abs().max())


def running_mean(dtype: torch.dtype, start: float, value: float, steps: int) -> list[float]:
    """Return a 0.9 / 0.1 mean, kept in some type, that a constant pulls at.

    Examples
    --------
    >>> running_mean(torch.bfloat16, 1.0, 1.03, 3)
    [1.0, 1.0, 1.0]
    """
    mean, found = torch.tensor(start, dtype=dtype), []
    for _ in range(steps):
        mean = 0.9 * mean + 0.1 * torch.tensor(value, dtype=dtype)
        found.append(float(mean))
    return found


@torch.no_grad()
def drop_in_checks(text: str, seed: int) -> dict[str, bool]:
    """Tell what holds of the claim that the layer, and the whole model, take the plain one's place.

    Returns
    -------
    dict
        ``same_outputs``, ``same_names``: a `GrowableLinear` beside the `nn.Linear` it was made of;
        ``same_logits``, ``same_tokens``: a wrapped Qwen2 beside the plain one; ``readme_results``:
        an event answers as the README says; ``needs_its_reader``: grown alone, its outputs no
        longer fit the layer that reads them; ``linked_pair_unchanged``: linked, they do.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(4, 768, generator=generator)
    plain = nn.Linear(768, 3072)
    layer = GrowableLinear.from_linear(plain)
    found = {
        "same_outputs": torch.equal(layer(inputs), plain(inputs)),
        "same_names": set(plain.state_dict()) <= set(layer.state_dict()),
    }
    readers = GrowableLinear(3072, 768), nn.Linear(3072, 768)
    layer.link(readers[0])
    before = readers[0](layer(inputs).relu())
    result = layer.perform_growth(torch.tensor([0, 1]))
    found["readme_results"] = result["born"] == 2 and result["replaced"] == result["died"] == 0
    found["linked_pair_unchanged"] = torch.equal(readers[0](layer(inputs).relu()), before)
    try:
        readers[1](layer(inputs))
        found["needs_its_reader"] = False
    except RuntimeError:
        found["needs_its_reader"] = True
    base = small_model("qwen2", 16, 24, 1, seed).eval()
    batch = next(batches(text, 16, 2, seed))
    prompt = {"input_ids": batch["input_ids"], "max_new_tokens": 8, "do_sample": False}
    logits, tokens = base(**batch).logits, base.generate(**prompt)
    wrapped = GrowableQwen(base)
    found["same_logits"] = torch.equal(wrapped(**batch).logits, logits)
    found["same_tokens"] = torch.equal(wrapped.generate(**prompt), tokens)
    return found
