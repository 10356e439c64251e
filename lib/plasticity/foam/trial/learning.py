"""The one loop in which every arm of the trial learns, with the same data, tokens and steps."""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from plasticity.foam.curriculum import CurriculumLearning
from plasticity.foam.events import GrowthResult
from plasticity.foam.model import GrowableModel
from plasticity.foam.trial.arms import FIRST_EVENT, Arm, Schedule
from plasticity.foam.trial.equipping import equip
from plasticity.foam.trial.penalties import ElasticWeights, NearBase
from plasticity.foam.trial.scoring import encode_pair, evaluating
from plasticity.foam.trial.skills import Example

IGNORED = -100
FISHER_SAMPLES = 1000
SELF_WRITTEN = 256  # texts that the base writes itself, where an arm has no old ones


@dataclass(frozen=True)
class Row:
    """A sequence of tokens, learnt from position `start` on."""

    ids: tuple[int, ...]
    start: int = 0

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.ids)


def skill_rows(tokenizer, examples: Sequence[Example]) -> list[Row]:
    """Return the rows of examples: the response, and the end of text after it, is learnt."""
    rows = []
    for example in examples:
        prompt, response = encode_pair(tokenizer, example.prompt, example.response)
        rows.append(Row((*prompt, *response, tokenizer.eos_token_id), len(prompt)))
    return rows


def text_rows(tokenizer, texts: Sequence[str]) -> list[Row]:
    """Return the rows of texts, each with the end of text after it; all of them is learnt."""
    found = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return [Row((*ids, tokenizer.eos_token_id)) for ids in found]


@dataclass(frozen=True)
class Lessons:
    """What an arm may learn from.

    Parameters
    ----------
    new : sequence of Row
        Examples of the skills, of which the responses are learnt.
    old : sequence of Row
        What may be replayed: texts on the replayed half of the entities.
    everything : sequence of Row
        All old texts, for joint training.
    """

    new: Sequence[Row]
    old: Sequence[Row] = ()
    everything: Sequence[Row] = ()


@dataclass
class Learnt:
    """What became of a model.

    Attributes
    ----------
    model : nn.Module
    tokens, new_tokens : int
        Processed in all, and those of the new task.
    losses : list of float
        Training loss of each step, the penalty left out.
    events : list of GrowthResult
    step_seconds : list of float
        Of each step; events are in `event_seconds`.
    event_seconds : list of float
    """

    model: nn.Module
    tokens: int = 0
    new_tokens: int = 0
    losses: list[float] = field(default_factory=list)
    events: list[GrowthResult] = field(default_factory=list)
    step_seconds: list[float] = field(default_factory=list)
    event_seconds: list[float] = field(default_factory=list)


def learn(
    model: nn.Module,
    lessons: Lessons,
    arm: Arm,
    schedule: Schedule,
    seed: int = 0,
    watch: Callable[[nn.Module, int], None] | None = None,
) -> Learnt:
    """Teach a model new skills in the manner of one arm.

    The order of the new examples depends on the seed alone. Old tokens take the place of new ones,
    so that all arms process equally many.

    Parameters
    ----------
    model : nn.Module
        A causal language model of transformers with a `pad_token_id`; changed in place.
    lessons : Lessons
    arm : Arm
    schedule : Schedule
    seed : int
    watch : callable, optional
        Called with the model and the number of steps done, before the first step and
        `schedule.evaluations` times.

    Returns
    -------
    Learnt

    Raises
    ------
    ValueError
        If the arm needs old data and there is none.
    FloatingPointError
        If the loss is no longer finite.
    """
    _check(lessons, arm)
    pad = model.config.pad_token_id or 0
    batches = Batches(model, lessons, arm, schedule, seed, pad)
    penalty = _penalty(model, lessons, arm, seed, pad)
    model = equip(model, arm, schedule, seed)
    learnt = Learnt(model)
    if watch:
        watch(model, 0)
    if arm.train == "nothing":
        return learnt
    optimizer, scheduler = _optimizer(model, arm, schedule)
    growing = _Growing(model, lessons, arm, schedule, seed, pad) if arm.grows else None
    marks = {round(schedule.steps * (n + 1) / schedule.evaluations) for n in
             range(schedule.evaluations)}  # fmt: skip
    model.train()
    for step in range(schedule.steps):
        begun = time.perf_counter()
        batch, new = batches.take()
        learnt.tokens += int(batch["attention_mask"].sum())
        learnt.new_tokens += new
        learnt.losses.append(_step(model, batch, penalty, schedule, optimizer, scheduler))
        learnt.step_seconds.append(time.perf_counter() - begun)
        if growing is not None:
            growing.follow(learnt)
        if watch and step + 1 in marks:
            watch(model, step + 1)
            model.train()
    return learnt


def _check(lessons: Lessons, arm: Arm) -> None:
    name = "old" if arm.replay_from == "half" else "everything"
    if arm.needs_old_data and not getattr(lessons, name):
        raise ValueError(f"this arm needs old data, and lessons.{name} is empty; give old texts")
    if not lessons.new:
        raise ValueError("lessons.new is empty; give examples of the new skills")


def _optimizer(model: nn.Module, arm: Arm, schedule: Schedule):
    rate = schedule.learning_rate / arm.slower
    kind = torch.optim.AdamW
    if schedule.optimizer == "adamw_8bit":
        from bitsandbytes.optim import AdamW8bit as kind
    if isinstance(model, GrowableModel):
        optimizer = kind(model.param_groups(rate), betas=(0.9, 0.99))
        model.attach_optimizer(optimizer)
    else:
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = kind(trained, rate, betas=(0.9, 0.99), weight_decay=0.0)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, schedule.share)


def _step(model, batch: dict, penalty, schedule: Schedule, optimizer, scheduler) -> float:
    found = model(**batch)
    loss = found.loss
    if not bool(torch.isfinite(loss)):
        raise FloatingPointError(
            f"the loss is {float(loss)} at learning rate {schedule.learning_rate:g}; lower it"
        )
    held = schedule.penalty_strength * penalty(model, batch, found.logits) if penalty else 0.0
    if loss.requires_grad:
        (loss + held).backward()
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()
    return float(loss.detach())


class _Growing:
    """Lets a model grow in the course of its steps, and notes what happened."""

    def __init__(self, model, lessons: Lessons, arm: Arm, schedule: Schedule, seed: int, pad: int):
        self.model, self.arm = model, arm
        self.due = [FIRST_EVENT] if arm.growth == "at_once" else schedule.event_steps
        self.random = random.Random(f"growth {seed}")
        self.lessons, self.pad, self.count = lessons, pad, schedule.growth_rows

    def follow(self, learnt: Learnt) -> None:
        """Grow if it is time to; called after each step."""
        self.model.update_loss(learnt.losses[-1])
        done = len(learnt.events)
        if done == len(self.due) or len(learnt.losses) < self.due[done]:
            return
        config = self.model.growth_config
        begun = time.perf_counter()
        batch = self._rows(self.lessons.new)
        asked = self.arm.replacement and self.arm.replay  # what is dormant on old data too
        old = self._rows(self.lessons.old) if asked else None
        if self.arm.random_placement:
            result = self.model.grow(self._anywhere(config.max_growth_per_step), batch)
        else:
            result = self.model.check_and_grow(growth_batch=batch, replay_batch=old)
        if result.born:
            learnt.events.append(result)
            learnt.event_seconds.append(time.perf_counter() - begun)

    def _rows(self, rows: Sequence[Row]) -> dict:
        chosen = self.random.sample(rows, min(self.count, len(rows)))
        return collate(chosen, self.pad, next(self.model.parameters()).device)

    def _anywhere(self, count: int) -> dict[int, Tensor]:
        drawn = {}
        for number, layer in enumerate(self.model.layers):
            active = layer.neurons.active.nonzero()[:, 0].tolist()
            drawn[number] = torch.tensor(self.random.sample(active, min(count, len(active))))
        return drawn


class Batches:
    """Batches of new rows, and of old ones in their place; long-run shares are exact.

    Parameters
    ----------
    model : nn.Module
        The base, for what it generates itself and for what it finds hard.
    lessons, arm, schedule, seed : as in `learn`
    pad : int
        Token that fills rows up.
    """

    def __init__(self, model, lessons: Lessons, arm: Arm, schedule: Schedule, seed: int, pad: int):
        self.pad, self.device = pad, next(model.parameters()).device
        total = schedule.steps * schedule.tokens_per_step * (1 - arm.replay)
        new = _by_difficulty(model, lessons.new, seed, total, pad) if arm.curriculum else shuffled(
            lessons.new, seed
        )  # fmt: skip
        self.new = RowStream(new, schedule.tokens_per_step * (1 - arm.replay), least=1)
        self.old = None
        if arm.replay:
            self.old = RowStream(
                _replayed(model, lessons, arm, seed), schedule.tokens_per_step * arm.replay
            )

    def take(self) -> tuple[dict, int]:
        """Return the next batch, and how many of its tokens are of the new task."""
        new = self.new.take()
        old = self.old.take() if self.old else []
        return collate([*new, *old], self.pad, self.device), sum(map(len, new))


class RowStream:
    """Gives rows so that, in the long run, each call gives as many tokens as are due.

    Parameters
    ----------
    rows : iterator of Row
    tokens : float
        Due with each call.
    least : int
        Rows of each call, also where fewer are due.

    Examples
    --------
    >>> stream = RowStream(shuffled([Row((1, 2, 3))], 0), tokens=4)
    >>> [len(stream.take()) for _ in range(6)]
    [2, 1, 1, 2, 1, 1]
    """

    def __init__(self, rows: Iterator[Row], tokens: float, least: int = 0):
        self.rows, self.tokens, self.least, self.due = rows, tokens, least, 0.0

    def take(self) -> list[Row]:
        """Return the rows of one call: `least`, where earlier ones gave more than was due."""
        self.due += self.tokens
        taken = []
        while self.due > 0 or len(taken) < self.least:
            taken.append(next(self.rows))
            self.due -= len(taken[-1])
        return taken


def shuffled(rows: Sequence, seed: int | str) -> Iterator:
    """Yield rows for ever, each once in every pass, in an order that the seed decides."""
    order = random.Random(f"rows {seed}")
    while True:
        yield from order.sample(rows, len(rows))


def _by_difficulty(model, rows: Sequence[Row], seed: int, tokens: float, pad: int) -> Iterator[Row]:
    """Yield easy, then medium, then hard rows, by the base's loss, each for a third of the tokens.

    The last phase goes on for ever.
    """
    losses = {id(row): loss for row, loss in zip(rows, row_losses(model, rows, pad), strict=True)}
    curriculum = CurriculumLearning(difficulty=lambda row: losses[id(row)])
    phases = curriculum.get_phases(rows)
    for phase in phases[:-1]:
        given = 0
        for row in shuffled(phase, seed):
            given += len(row)
            yield row
            if given > tokens / len(phases):
                break
    yield from shuffled(phases[-1], seed)


def _mean_length(rows: Sequence[Row]) -> int:
    return sum(map(len, rows)) // len(rows)


def _old_rows(model, lessons: Lessons, arm: Arm, seed: int) -> Sequence[Row]:
    """Return what is old to an arm; what the base writes is at most twice as long as a new row."""
    if arm.replay_from == "self":
        return generated(model, SELF_WRITTEN, 2 * _mean_length(lessons.new), seed)
    return lessons.old if arm.replay_from == "half" else lessons.everything


def _replayed(model, lessons: Lessons, arm: Arm, seed: int) -> Iterator[Row]:
    """Yield old rows, short ones joined until they are about as long as the new ones."""
    length, rows = _mean_length(lessons.new), _old_rows(model, lessons, arm, seed)
    order = random.Random(seed)
    while True:
        ids: list[int] = []
        while len(ids) < length:
            ids += order.choice(rows).ids
        yield Row(tuple(ids))


@torch.no_grad()
def generated(model: nn.Module, count: int, tokens: int, seed: int) -> list[Row]:
    """Return texts that a model writes by itself after the end of another, at temperature 1."""
    config = model.config
    start = torch.full((count, 1), config.eos_token_id, device=model.device)
    with evaluating(model), torch.random.fork_rng():
        torch.manual_seed(seed)
        made = model.generate(start, do_sample=True, max_new_tokens=tokens, top_k=0)
    end = config.eos_token_id
    rows = []
    for ids in made[:, 1:].tolist():
        stop = ids.index(end) + 1 if end in ids else len(ids)
        rows.append(Row(tuple(ids[:stop])))
    return [row for row in rows if len(row) > 1]


@torch.no_grad()
def row_losses(model: nn.Module, rows: Sequence[Row], pad: int, at_once: int = 64) -> list[float]:
    """Return a model's mean loss on what is learnt of each row."""
    losses = []
    for start in range(0, len(rows), at_once):
        batch = collate(rows[start : start + at_once], pad, model.device)
        labels = batch.pop("labels")[:, 1:]
        with evaluating(model):
            logits = model(**batch).logits[:, :-1].transpose(1, 2)
        each = nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="none")
        losses += (each.sum(1) / (labels != IGNORED).sum(1).clamp_min(1)).tolist()
    return losses


def _penalty(model: nn.Module, lessons: Lessons, arm: Arm, seed: int, pad: int):
    if arm.penalty == "kl":
        return NearBase(model)
    if arm.penalty == "ewc":
        rows = _old_rows(model, lessons, arm, seed)
        rows = random.Random(f"fisher {seed}").choices(rows, k=FISHER_SAMPLES)
        return ElasticWeights(model, (collate([row], pad, model.device) for row in rows), seed)
    return None


def collate(rows: Iterable[Row], pad: int, device="cpu") -> dict[str, Tensor]:
    """Return a batch, filled up on the right: input_ids, attention_mask and labels.

    Examples
    --------
    >>> collate([Row((5, 6, 7), start=1), Row((8,))], pad=0)["labels"].tolist()
    [[-100, 6, 7], [8, -100, -100]]
    """
    rows = list(rows)
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for number, row in enumerate(rows):
        tokens = torch.tensor(row.ids)
        ids[number, : len(row)] = tokens
        mask[number, : len(row)] = 1
        labels[number, row.start : len(row)] = tokens[row.start :]
    batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return {name: tensor.to(device) for name, tensor in batch.items()}
