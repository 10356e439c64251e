"""What growth costs, and what must hold on any machine; times need a quiet one.

Blocks of Qwen2's kind, plain and wrapped, are timed in turns, forward and backward; an event is
timed in one block of the reference's size, and held against the steps between two events. The
promises (resuming, two processes, compiling, merging) are counted on small models. Each arm of the
trial learns for a while in a process of its own, whose memory is watched.
"""

import copy
import math
import multiprocessing
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from plasticity.companion import metrics
from plasticity.companion.benchmarking import in_turns, memory_growth, timed
from plasticity.companion.configuration import (
    ExperimentConfig,
    Runtime,
    check_choice,
    check_range,
    setting,
)
from plasticity.experiments import foam_base, foam_trial
from plasticity.foam.trial import arms

ARMS = ("plain", "wrapped", "grown", "grown_by_events")
BASE = "unsaturated"  # learns where memory is measured


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """The sizes at which growth is timed; the defaults are those of the goals."""

    hidden_size: int = setting(576, "inputs of the blocks that are timed (SmolLM2's)")
    intermediate_size: int = setting(1536, "their neurons")
    layers: int = setting(4, "blocks in a row")
    tokens: int = setting(512, "tokens of a pass")
    added_share: float = setting(0.02, "neurons added in the grown arms, relative to the width")
    repeats: int = setting(30, "how often each time is taken, in turns")
    event_hidden_size: int = setting(1536, "inputs of the block of an event (Qwen2.5-1.5B's)")
    event_intermediate_size: int = setting(8960, "its neurons")
    event_tokens: int = setting(4096, "tokens that GradMax looks at")
    newborns: int = setting(10, "newborns of an event, in a layer")
    events: int = setting(3, "events timed")
    memory_arms: str = setting(
        ",".join(name for name in arms.ARMS if name != "base"),
        "arms of the trial whose memory is measured, commas between them",
    )
    memory_steps: int = setting(60, "steps that they learn for; three events fall among them")
    memory_tokens: int = setting(256, "tokens of such a step: the trial's")

    def __post_init__(self):
        """Check types and ranges."""
        super().__post_init__()
        for name in ("hidden_size", "intermediate_size", "layers", "tokens", "repeats", "events"):
            check_range(name, getattr(self, name), 1, math.inf)
        for name in ("event_hidden_size", "event_intermediate_size", "newborns"):
            check_range(name, getattr(self, name), 1, math.inf)
        check_range("event_tokens", self.event_tokens, self.tokens, math.inf)
        check_range("added_share", self.added_share, 1e-6, 1)
        check_range("memory_steps", self.memory_steps, 13, math.inf)  # of which 12 bring the events
        check_range("memory_tokens", self.memory_tokens, 1, math.inf)
        learning = [name for name in arms.ARMS if name != "base"]
        for arm in self.memory_arms.split(","):
            check_choice("memory_arms", arm, learning)


def datasets(config: Config) -> tuple[str, ...]:
    """Return the datasets that a run reads: none, the inputs are random."""
    return ()


def models(config: Config) -> tuple[str, ...]:
    """Return the models that a run reads: the shipped base that the arms teach."""
    return (foam_base.released_name(BASE),)


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Time passes and events, and count the promises.

    Parameters
    ----------
    config : Config
    seed : int
        Of weights and inputs.
    folder : Path
        Takes the checkpoints of the promises.
    runtime : Runtime
        Not used: growth is timed on one core.

    Returns
    -------
    pandas.DataFrame
        Columns step (the repeat), split, metric, value, unit.
    """
    rows = [
        *_pass_rows(config, seed),
        *_event_rows(config, seed),
        *_promise_rows(folder),
        *_memory_rows(config, seed),
    ]
    frame = pd.DataFrame(rows, columns=["step", "split", "metric", "value"])
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])


def _blocks(hidden_size: int, intermediate_size: int, count: int, seed: int):
    import torch
    from transformers import Qwen2Config
    from transformers.models.qwen2.modeling_qwen2 import Qwen2MLP

    config = Qwen2Config(hidden_size=hidden_size, intermediate_size=intermediate_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.nn.Sequential(*(Qwen2MLP(config) for _ in range(count))).train()


def _inputs(tokens: int, size: int, seed: int):
    import torch

    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, tokens, size, generator=generator)


def _pass_rows(config: Config, seed: int) -> Iterator[tuple]:
    """Time forward and backward of plain, wrapped and grown blocks, in turns.

    What is added is born at once, or a few neurons an event, with a step of training after each.
    """
    import torch

    from plasticity.foam import GrowthConfig, get_growable_model

    plain = _blocks(config.hidden_size, config.intermediate_size, config.layers, seed)
    settings = GrowthConfig(init="random", max_growth_ratio=None)
    models = {"plain": plain}
    for name in ARMS[1:]:
        models[name] = get_growable_model(copy.deepcopy(plain), settings)
    added = max(1, round(config.added_share * config.intermediate_size))
    inputs = _inputs(config.tokens, config.hidden_size, seed)
    works = {name: _pass(model, inputs) for name, model in models.items()}
    for name, most in (("grown", added), ("grown_by_events", config.newborns)):
        model = models[name]
        optimizer = model.attach_optimizer(torch.optim.SGD(model.param_groups(1e-3)))
        for sources in torch.arange(added).split(most):
            model.grow(dict.fromkeys(range(config.layers), sources))
            works[name]()
            optimizer.step()
        model.detach_optimizer()
    for repeat, times in enumerate(in_turns(works, config.repeats)):
        yield from ((repeat, f"pass/{name}", "step_seconds", t) for name, t in times.items())
        for name in ARMS[1:]:
            yield (repeat, f"pass/{name}", "time_ratio", times[name] / times["plain"])


def _pass(model, inputs) -> Callable[[], None]:
    def work() -> None:
        for parameter in model.parameters():
            parameter.grad = None
        model(inputs).square().mean().backward()

    return work


def _event_rows(config: Config, seed: int) -> Iterator[tuple]:
    """Time GradMax's events in one large block, and the training steps between two of them."""
    import torch

    from plasticity.foam import GrowthConfig, get_growable_model

    size = config.event_hidden_size
    block = _blocks(size, config.event_intermediate_size, 1, seed)
    settings = GrowthConfig(growth_cooldown=0, warmup_steps=0, growth_tokens=config.event_tokens)
    model = get_growable_model(block, settings)
    optimizer = model.attach_optimizer(torch.optim.AdamW(model.param_groups(1e-4)))
    steps = []
    for number in range(-(-config.event_tokens // config.tokens) + 1):
        work = _pass(model, _inputs(config.tokens, size, seed + number))
        steps.append(timed(lambda work=work: (work(), optimizer.step())))
    step = statistics.median(steps[1:])
    yield (0, "event", "step_seconds", step)
    cooldown = GrowthConfig().growth_cooldown
    for number in range(config.events):
        result = model.grow({0: torch.arange(config.newborns) + number * config.newborns})
        yield (number, "event", "event_seconds", result.seconds)
        share = 100 * result.seconds / (cooldown * step)
        yield (number, "event", "amortised_share", share)


def _promise_rows(folder: Path) -> Iterator[tuple]:
    from plasticity.foam.mechanics import promises

    for name in ("resumed", "processes", "merged"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "meeting").unlink(missing_ok=True)
    yield (0, "promise", "resume_differences", promises.resume_difference(folder / "resumed"))
    yield (0, "promise", "process_differences", promises.process_difference(folder / "processes"))
    yield (0, "promise", "recompilations", promises.recompilations())
    yield (0, "promise", "reload_difference", promises.reload_difference(folder / "merged"))


def _memory_rows(config: Config, seed: int) -> Iterator[tuple]:
    for arm in config.memory_arms.split(","):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            yield (0, f"memory/{arm}", "peak_bytes", pool.apply(_peak, (config, arm, seed)))


def _peak(config: Config, arm: str, seed: int) -> float:
    """Return by how much memory grows at most while an arm learns, beyond base and lessons."""
    import torch

    from plasticity.foam.trial import learning, skills

    torch.set_num_threads(1)
    trial = foam_trial.Config(arm=arm, base=BASE, steps=config.memory_steps, evaluations=1)
    base, *_ = foam_base.load(BASE)
    lessons = foam_trial.lessons_of(BASE, trial.examples, seed, skills.SKILLS)

    def work(steps: int, model) -> None:
        own = foam_trial.schedule_of(trial)
        schedule = replace(own, steps=steps, tokens_per_step=config.memory_tokens)
        learning.learn(model, lessons, arms.ARMS[arm], schedule, seed)

    work(1, copy.deepcopy(base))  # loads what is loaded but once
    return memory_growth(lambda: work(config.memory_steps, base))
