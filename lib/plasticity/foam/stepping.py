"""What a growable model does around each step of its optimizer."""

from collections.abc import Iterator

import torch

from plasticity.foam.layer import Cohort, GrowableLayer
from plasticity.foam.optimizers import MATURE, TAG, YOUNG

NOT_YET = 2**31  # orders reserved room after everything that was born


def cohorts_in_order(model) -> Iterator[tuple[Cohort, str]]:
    """Yield all cohorts of a model in the order of the optimizer, each with its group.

    That is the order of birth. Reserved room is among the young from the start, in the order of
    layers, and stays where it is until it is mature.
    """
    found = []
    for index, layer in enumerate(model.layers):
        for number, cohort in enumerate(layer.cohorts):
            birth, age = _life(layer, number)
            grown_up = birth < NOT_YET and age >= model.growth_config.adult_age
            fixed = model.growth_config.reserve_events and not grown_up
            order = (NOT_YET if fixed else birth, index, number)
            found.append((order, cohort, MATURE if grown_up else YOUNG))
    for _, cohort, tag in sorted(found, key=lambda each: each[0]):
        yield cohort, tag


def _life(layer: GrowableLayer, number: int) -> tuple[int, int]:
    """Return the event in which a cohort was born, and its age."""
    slots = layer.slots(number)
    births = layer.neurons.birth[slots]
    if not bool((births >= 0).any()):
        return NOT_YET, 0
    return int(births.max()), int(layer.neurons.age[slots].max())


def update_statistics(model, factor: float) -> None:
    """Take the gradients of one optimizer step into the running means of all layers."""
    config = model.growth_config
    for layer in model.layers:
        norms = layer.gradient_norms() * factor
        layer.stepped = torch.isfinite(norms)
        layer.neurons.update_pressure(norms, config.ema_beta, config.max_growth_per_step)
    model.counted = True


def before_step(model, optimizer) -> None:
    """Measure pressure, unless the training loop has done so before clipping."""
    if not model.counted:
        # Fused optimizers scale gradients of mixed precision back inside their step.
        scale = getattr(optimizer, "grad_scale", None)
        update_statistics(model, 1.0 if scale is None else 1 / float(scale))


def has_skipped(optimizer) -> bool:
    """Tell whether mixed precision left a step out, for gradients that were not finite."""
    found = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found)


def after_step(model, optimizer) -> None:
    """Count the step, let neurons age, and move those that came of age to the other group."""
    model.counted = False
    if has_skipped(optimizer):
        return
    model.clock.steps += 1
    for layer in model.layers:
        layer.neurons.age += layer.stepped & layer.neurons.active
        layer.join()
    young = {id(parameter) for parameter in model.link.group(YOUNG)["params"]}
    for cohort, tag in cohorts_in_order(model) if young else ():
        if tag == MATURE and id(cohort.up) in young:
            model.link.place(cohort, MATURE)
            if model.growth_config.freeze_mature:
                cohort.requires_grad_(False)
                cohort.zero_grad(set_to_none=True)  # zeros would still be moved by momentum
    arm(model)


def arm(model) -> None:
    """Record tokens for GradMax only while an event may follow."""
    config, clock = model.growth_config, model.clock
    following = int(clock.steps) + 1
    soon = following >= config.warmup_steps and (
        following - int(clock.last_growth) >= config.growth_cooldown
    )
    for layer in model.layers:
        layer.recorder.recording = soon and config.init == "gradmax"
        if not soon:
            layer.recorder.tape.clear()


def parameter_groups(model, lr: float, weight_decay: float) -> list[dict]:
    """Return the groups of the base, of mature and of young newborns."""
    base = [p for p in model.base_model.parameters() if p.requires_grad]
    grown = {YOUNG: [], MATURE: []}
    for cohort, tag in cohorts_in_order(model):
        grown[tag].extend(cohort.parameters())
    young_lr = lr * model.growth_config.young_lr_multiplier
    return [
        {"params": base, "lr": lr, "weight_decay": weight_decay},
        {"params": grown[MATURE], "lr": lr, "weight_decay": weight_decay, TAG: MATURE},
        {"params": grown[YOUNG], "lr": young_lr, "weight_decay": 0.0, TAG: YOUNG},
    ]
