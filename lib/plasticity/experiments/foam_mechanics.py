"""How growth works: each fault of the recipe as written, and the cure, on models that train here.

Every arm is one mechanism: what makes a model grow (``triggers``), newborns orthogonal to rows
that fill the space (``orthogonal``), what of a newborn may be zero (``zeroed``), how long the
optimizer's steps for newborns are (``step_sizes``), what an event changes (``preservation``), the
README's rules by the README's names (``reference_recipe``), and three ways for newborns to start
(``gradmax``, ``copy_and_noise``, ``random``). The models are small Qwen2 or Llama models of bytes,
trained on stories; what is new to them are the same stories, every letter moved by thirteen.
"""

import copy
import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from plasticity.companion import datasets as corpora
from plasticity.companion import metrics
from plasticity.companion.configuration import (
    ExperimentConfig,
    Runtime,
    check_choice,
    check_range,
    setting,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SETTINGS = (
    "gradient_percentile",
    "max_growth_per_step",
    "growth_cooldown",
    "maturation_age",
    "enable_replacement",
)
LONG = 100_000  # steps after which nothing is left of the correction of Adam's moments
EVERY = 4  # steps of training that one point of the curve of firing stands for
# Widths of the models in which births are made in two ways: matrix libraries sum in blocks, and
# just below the end of one a few newborns change the order of all sums.
WIDTHS = {"float32": 344, "bfloat16": 1000}
MEANINGFUL = 0.99  # agreement of two orders of rounding above which a direction is one


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """One mechanism, and the sizes of the model and the training that show it."""

    topic: str = setting("triggers", "the mechanism: one of TOPICS")
    corpus: str = setting("stories", "dataset whose texts the models read")
    characters: int = setting(200_000, "characters of each split that are read")
    architecture: str = setting("qwen2", "qwen2 or llama")
    hidden_size: int = setting(32, "width of the model, a multiple of 16")
    intermediate_size: int = setting(96, "neurons of each feed-forward block")
    layers: int = setting(2, "blocks")
    sequence_length: int = setting(32, "bytes of a piece of text")
    batch_size: int = setting(8, "pieces of a batch")
    base_steps: int = setting(300, "steps that the base learns from stories")
    learning_rate: float = setting(4e-3, "of the base")
    noise_steps: int = setting(300, "steps of noise that the triggers hear")
    new_steps: int = setting(100, "steps after the text has changed")
    newborns: int = setting(8, "newborns in each layer")
    newborn_rates: tuple[float, ...] = setting((3e-3, 1e-2, 3e-2), "learning rates tried")
    test_batches: int = setting(16, "batches scored")
    recipe_steps: int = setting(820, "steps of the README's loop")
    event_sizes: tuple[int, ...] = setting((1, 4, 16, 32, 64), "newborns of one event")
    widths: tuple[int, ...] = setting(
        (8, 16, 32, 48, 60, 64, 68, 96, 128, 256, 374), "numbers of rows, with 64 inputs"
    )

    def __post_init__(self):
        """Check types and ranges."""
        super().__post_init__()
        check_choice("topic", self.topic, TOPICS)
        check_choice("architecture", self.architecture, ("qwen2", "llama"))
        if self.hidden_size % 16:
            raise ValueError(f"hidden_size is {self.hidden_size}; allowed: multiples of 16")
        for name in ("intermediate_size", "layers", "batch_size", "base_steps", "test_batches"):
            check_range(name, getattr(self, name), 1, math.inf)
        check_range("sequence_length", self.sequence_length, 4, 256)
        check_range("characters", self.characters, 1000, math.inf)
        check_range("newborns", self.newborns, 1, self.intermediate_size)
        check_range("new_steps", self.new_steps, 8, math.inf)


def datasets(config: Config) -> tuple[str, ...]:
    """Return the datasets that a run reads."""
    return (config.corpus,)


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Measure one mechanism.

    Parameters
    ----------
    config : Config
    seed : int
        Of weights, batches and noise.
    folder : Path
        Not used.
    runtime : Runtime
        Not used: models this small train on one CPU core.

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit; `TOPICS` names the function that writes them.
    """
    rows = list(TOPICS[config.topic](config, seed))
    frame = pd.DataFrame(rows, columns=["step", "split", "metric", "value"])
    frame["value"] = frame["value"].astype(float)
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])


def parameters() -> dict[str, float | bool]:
    """Return the README's five settings of growth with the defaults that the library gives them."""
    from plasticity.foam import GrowableLinear

    names = inspect.signature(GrowableLinear).parameters
    return {name: names[name].default for name in SETTINGS}


@lru_cache(maxsize=4)
def _text(corpus: str, split: str, characters: int) -> str:
    documents, length = [], 0
    for row in corpora.load(corpus)[split]:
        documents.append(row["text"])
        length += len(documents[-1]) + 1
        if length >= characters:
            break
    return "\n".join(documents)[:characters]


def _batches(config: Config, seed: int, split: str = "train", new: bool = False) -> Iterator[dict]:
    from plasticity.foam.mechanics.reading import batches, cipher

    text = _text(config.corpus, split, config.characters)
    text = cipher(text) if new else text
    return batches(text, config.sequence_length, config.batch_size, seed)


def _untrained(config: Config, seed: int) -> "PreTrainedModel":
    from plasticity.foam.mechanics.reading import small_model

    sizes = (config.hidden_size, config.intermediate_size, config.layers)
    return small_model(config.architecture, *sizes, seed)


def _trained(config: Config, seed: int) -> "PreTrainedModel":
    """Return a base model that has learnt the stories; a process trains it once for all arms."""
    shared = Config.from_dict({**config.to_dict(), "variant": "default", "topic": "triggers"})
    return copy.deepcopy(_trained_once(shared, seed))


@lru_cache(maxsize=2)
def _trained_once(config: Config, seed: int) -> "PreTrainedModel":
    import torch

    from plasticity.foam.mechanics.reading import train

    model = _untrained(config, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate)
    train(model, optimizer, _batches(config, seed), config.base_steps)
    return model


def _triggers(config: Config, seed: int) -> Iterator[tuple]:
    """Let every rule watch noise, then stories, then the stories' cipher."""
    import torch

    from plasticity.foam import GrowthConfig, get_growable_model
    from plasticity.foam.mechanics import firing

    model = get_growable_model(_untrained(config, seed), GrowthConfig(train_base="all"))
    for size in (1e-12, 1.0):
        heard = pd.DataFrame(firing.on_noise(model, size, config.noise_steps, seed))
        heard = heard.iloc[config.noise_steps // 2 :]
        yield from (
            (0, f"noise_{size:g}/{rule}", "firing_share", 100 * heard[rule].mean())
            for rule in firing.RULES
        )
    by_name = firing.reference_layer_on_noise(1e-12, config.noise_steps, seed)
    yield (0, "noise_1e-12/check_growth", "firing_share", 100 * by_name)
    model = get_growable_model(_trained(config, seed), GrowthConfig(train_base="all"))
    model.attach_optimizer(torch.optim.AdamW(model.param_groups(config.learning_rate / 4)))
    watched = pd.DataFrame(_watch(config, model, seed), index=_steps(config))
    phases = {
        "steady": watched.loc[config.base_steps // 2 : config.base_steps],
        "jump": watched.loc[config.base_steps + 1 : config.base_steps + config.new_steps // 4],
    }
    for phase, own in phases.items():
        for rule in firing.RULES:
            yield (0, f"{phase}/{rule}", "firing_share", 100 * own[rule].astype(float).mean())
    yield (config.base_steps, "text", "jump_step", config.base_steps)
    points = watched.astype(float).groupby((watched.index - 1) // EVERY * EVERY + EVERY).mean()
    for rule in firing.RULES:
        yield from ((s, rule, "fires", 100 * v) for s, v in points[rule].items())
    yield from ((s, "text", "curve_train_loss", v) for s, v in points["loss"].items())
    yield from ((s, "text", "pressure_beside_past", v) for s, v in points["pressure"].items())
    always = by_name == 1 and bool(watched["percentile"].iloc[20:].all())
    yield (0, "check", "percentile_limits_growth", not always)
    yield (0, "check", "plateau_trigger_fires", firing.plateau_keeps_its_word())


def _steps(config: Config) -> range:
    return range(1, config.base_steps + config.new_steps + 1)


def _watch(config: Config, model, seed: int) -> Iterator[dict]:
    """Train and yield, after every step, what fires; nothing is born."""
    from plasticity.foam.mechanics import firing

    stories, new = (_batches(config, seed, new=new) for new in (False, True))
    optimizer = model.link.optimizer
    model.train()
    for step in _steps(config):
        loss = model(**next(stories if step <= config.base_steps else new)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.update_loss(loss.item())
        pressure = firing.pressure_beside_past(model)
        yield firing.firing(model) | {"loss": loss.item(), "pressure": pressure}


def _orthogonal(config: Config, seed: int) -> Iterator[tuple]:
    """Orthogonalise newborns against all rows, at several widths and in a trained model."""
    import torch

    from plasticity.foam.mechanics import diversity

    generator = torch.Generator().manual_seed(seed)
    for width in config.widths:
        rows = torch.randn(width, 64, generator=generator)
        left = diversity.remainder(rows, min(8, width), generator)
        yield (width, "random_rows", "remaining_share", left.share)
        yield (width, "random_rows", "direction_agreement", left.agreement)
    base = _trained(config, seed)
    rows = base.model.layers[0].mlp.up_proj.weight.detach()
    left = diversity.remainder(rows, config.newborns, generator)
    yield (len(rows), "trained_rows", "remaining_share", left.share)
    yield (len(rows), "trained_rows", "direction_agreement", left.agreement)
    yield (0, "check", "newborns_stay_orthogonal", left.agreement > MEANINGFUL)
    yield from _diversity(config, seed, base, generator)


def _diversity(config: Config, seed: int, base, generator) -> Iterator[tuple]:
    """Compare how alike the newborns of one event are, and how like their sources."""
    from plasticity.foam.mechanics import births, diversity

    rows = base.model.layers[0].mlp.up_proj.weight.detach()
    batch = next(_batches(config, seed + 1, new=True))
    for name, start in (("gradmax", "gradmax"), ("orthogonal_newborns", "copy_and_noise")):
        [layer, *_] = births.grown(base, start, batch, config.newborns).layers
        sources = rows[layer.neurons.source[len(rows) :]]
        yield from _alike(name, layer.cohorts[0].up.detach(), sources)
    copied = diversity.copies(sources, generator)
    yield from _alike("copies", copied, sources)
    left = diversity.orthogonalize_against_all(copied, rows)
    yield from _alike("orthogonal_all", left, sources)


def _alike(name: str, newborns, sources) -> Iterator[tuple]:
    from plasticity.foam.directions import unit_rows
    from plasticity.foam.mechanics.diversity import likeness

    own = float((unit_rows(newborns) * unit_rows(sources)).sum(1).abs().mean())
    yield (0, name, "newborn_likeness", likeness(newborns))
    yield (0, name, "source_likeness", own)


def _zeroed(config: Config, seed: int) -> Iterator[tuple]:
    """Give a model newborns with every choice of zero projections."""
    from plasticity.foam import GrowthConfig, get_growable_model
    from plasticity.foam.mechanics import zeroed

    base, batch = _trained(config, seed), next(_batches(config, seed + 1, new=True))
    for choice in zeroed.ZEROED:
        settings = GrowthConfig(init="random", train_base="none", init_scale=1.0)
        model = get_growable_model(copy.deepcopy(base), settings)
        start = zeroed.start_with(model, choice, batch, steps=20)
        yield (0, choice, "logit_change", start.logit_change)
        yield (0, choice, "newborn_movement", start.moved)
        for name, norm in start.gradients.items():
            yield (0, choice, f"{name}_gradient", norm)


def _step_sizes(config: Config, seed: int) -> Iterator[tuple]:
    """Follow the size of AdamW's updates for newborns, and what doubles it."""
    import torch

    from plasticity.foam.mechanics import births, overshoot

    batch = next(_batches(config, seed + 1, new=True))
    model = births.grown(_trained(config, seed), "gradmax", batch, config.newborns)
    optimizer = torch.optim.AdamW(model.param_groups(config.newborn_rates[0]))
    source = _batches(config, seed, new=True)
    stream = overshoot.newborn_gradients(model, optimizer, source, config.new_steps)
    constant = [torch.ones(1)] * config.new_steps
    sizes = {
        "constant": overshoot.update_sizes(constant, LONG),
        "padded": overshoot.update_sizes(stream, LONG),
        "cohort": overshoot.update_sizes(stream, 0),
    }
    shown = np.unique(np.geomspace(1, config.new_steps, 40).astype(int))
    for split, found in sizes.items():
        yield from ((int(k), split, "update_size", found[k - 1]) for k in shown)
        yield (1 + int(np.argmax(found)), split, "largest_update", max(found))
    theory = {int(k): overshoot.overshoot(k) for k in np.geomspace(1, 4000, 400).astype(int)}
    yield from ((k, "theory", "update_size", value) for k, value in theory.items())
    ended = next(k for k in range(20, 10_000) if overshoot.overshoot(k) < 1.1)
    yield (ended, "theory", "overshoot_end", ended)
    for name in overshoot.OPTIMIZERS:
        plain = overshoot.path_length(stream, name)
        doubled = overshoot.path_length(stream, name, gradient_factor=2.0)
        grouped = overshoot.path_length(stream, name, rate_factor=2.0)
        yield (0, f"{name}/gradient", "step_ratio", doubled / plain)
        yield (0, f"{name}/group", "step_ratio", grouped / plain)


def _births(config: Config, seed: int) -> Iterator[tuple]:
    """Let newborns of one start be born for new text, and learn it with the base frozen."""
    from plasticity.foam.mechanics import births

    base = _trained(config, seed)
    source = _batches(config, seed + 1, new=True)
    batch, other = next(source), next(source)
    model = births.grown(base, config.variant, batch, config.newborns)
    yield (0, "own_batch", "birth_gradient", births.gradient_at_birth(model, batch))
    yield (0, "other_batch", "birth_gradient", births.gradient_at_birth(model, other))
    first = {name: p.detach().clone() for name, p in model.layers.named_parameters()}
    validation, test = (_scored(config, split) for split in ("validation", "test"))
    points = sorted({max(1, round(config.new_steps * share)) for share in np.linspace(0.1, 1, 10)})
    trials = {}
    for rate in config.newborn_rates:
        model.layers.load_state_dict(first, strict=False)
        kept = births.learn(model, _batches(config, seed + 2, new=True), rate, points)
        trials[births.loss_with(model, kept[-1], validation)] = rate, kept
    rate, kept = trials[min(trials)]
    yield (0, "chosen", "learning_rate", rate)
    curve = {0: births.loss_with(model, first, test)}
    curve |= {p: births.loss_with(model, one, test) for p, one in zip(points, kept, strict=True)}
    yield from ((step, "test", "curve_loss", value) for step, value in curve.items())
    yield (0, "test", "mean_curve_loss", np.mean([curve[point] for point in points]))
    yield (0, "test", "loss_after_growth", curve[points[-1]])


def _scored(config: Config, split: str) -> list[dict]:
    source = _batches(config, 0, split, new=True)  # the same pieces for every seed
    return [next(source) for _ in range(config.test_batches)]


def _preservation(config: Config, seed: int) -> Iterator[tuple]:
    """Measure what birth changes, beside the layers and inside wider ones."""
    import torch

    from plasticity.foam.mechanics import preservation
    from plasticity.foam.mechanics.reading import batches, small_model

    text = _text(config.corpus, "train", config.characters)
    batch = next(batches(text, 64, 8, seed))
    for dtype, width in WIDTHS.items():
        base = small_model(config.architecture, 128, width, 1, seed).to(getattr(torch, dtype))
        for storage in preservation.STORAGES:
            for count in config.event_sizes:
                found = preservation.change_by_growth(base, storage, batch, count)
                yield (count, f"{dtype}/{storage}", "logit_change", found[0])
                yield (count, f"{dtype}/{storage}", "loss_jump", found[1])


def _recipe(config: Config, seed: int) -> Iterator[tuple]:
    """Check the README's rules by the README's names."""
    import torch

    from plasticity.foam import GrowthConfig
    from plasticity.foam.mechanics import recipe

    text, promised = _text(config.corpus, "train", config.characters), GrowthConfig()
    life = recipe.live(text, config.recipe_steps, seed)
    yield from ((i, "events", "birth_step", step) for i, step in enumerate(life.births))
    yield from ((age, "first_cohort", "rate_multiplier", v) for age, v in life.rates.items())
    yield from ((age, "first_cohort", "may_be_retired", v) for age, v in life.retirable.items())
    gaps = np.diff([0, *life.births])
    yield (0, "events", "growth_gap", gaps.min())
    yield (0, "check", "cooldown_holds", bool((gaps >= promised.growth_cooldown).all()))
    adult = promised.maturation_age
    rates = [(1.0 if age > adult else 2.0, rate) for age, rate in life.rates.items()]
    held = all(math.isclose(rate, wanted, rel_tol=0.02) for wanted, rate in rates)
    kept = all(may == (age >= adult) for age, may in life.retirable.items())
    reached = max(life.rates, default=0) > adult
    yield (0, "check", "maturation_holds", held and kept and reached)
    error = recipe.average_error(50, seed)
    yield (0, "average", "relative_error", error)
    yield (0, "check", "gradient_average_matches", error < 1e-4)
    for dtype in ("float32", "bfloat16"):
        found = recipe.running_mean(getattr(torch, dtype), 1.0, 1.03, 60)
        yield from ((s, dtype, "running_mean", value) for s, value in enumerate([1.0, *found]))
    checks = recipe.drop_in_checks(text, seed)
    yield from ((0, name, "drop_in_detail", value) for name, value in checks.items())
    yield (0, "check", "drop_in_replacement_holds", all(checks.values()))


TOPICS: dict[str, Callable[[Config, int], Iterator[tuple]]] = {
    "triggers": _triggers,
    "orthogonal": _orthogonal,
    "zeroed": _zeroed,
    "step_sizes": _step_sizes,
    "births": _births,
    "preservation": _preservation,
    "recipe": _recipe,
}
