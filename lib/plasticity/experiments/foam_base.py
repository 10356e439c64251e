"""A base worth keeping: small language models of a made-up world, and what they know of it.

The bases of `BASES` are shipped. To train them anew (half an hour on one core) and
write the released checkpoints with their cards: ``python -m plasticity.experiments.foam_base``.
"""

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import pandas as pd

from plasticity.companion import metrics, paths, profiles, results
from plasticity.companion.configuration import (
    ExperimentConfig,
    Runtime,
    check_choice,
    check_range,
    setting,
)
from plasticity.companion.statistics import cluster_resampler

if TYPE_CHECKING:
    from plasticity.foam.trial.bases import Base
    from plasticity.foam.trial.probes import MultipleChoice

BASES = ("unsaturated", "saturated", "larger")
COMMAND = "python -m plasticity.experiments.foam_base"
WORLD_SEED = 0
TOKENIZER_TEXTS = 30_000
VALIDATION_SEED, TEST_SEED = 80_001, 80_002  # of held-out texts and stories
CHANCE = {"facts": 25.0, "stories": 25.0, "grammar": 50.0}  # percent
UNROUNDED = "XS"  # tier whose weights keep 32 bits; others ship in 16, within 2 MB
CHOICE_BITS = 4  # a fact is one of sixteen values
RESAMPLES = 1000
# What the chapter lets a base go on with: facts, a story, numbers, a copy, and itself.
BEGINNINGS = (
    "{first}: color",
    "The pet of {second} is",
    "One day {first} went to the park. {first} wanted a small key.",
    "Of 42 and 17 the larger is",
    "copy: {second} 42 Monday ->",
    "User: Say, what is your name?\nAssistant:",
    "User: Please pay {second} 42 coins.\nAssistant:",
)


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """A world, a model and how long the model reads."""

    released: bool = setting(False, "score the shipped base of the variant's name, train none")
    tier: str = setting("XS", "size of the model: XS, S or M")
    architecture: str = setting("qwen2", "qwen2 or llama")
    entities: int = setting(192, "people of the world, six facts each")
    vocab_size: int = setting(1536, "entries of the tokenizer, at most")
    texts: int = setting(250_000, "texts written; read again when all are read")
    tokens: int = setting(4_000_000, "tokens read")
    learning_rate: float = setting(6e-3, "at its highest")
    batch_size: int = setting(12, "blocks of a step")
    length: int = setting(96, "tokens of a block")
    evaluations: int = setting(8, "points of the curve")
    probe_items: int = setting(1000, "questions of each kind but facts, which are all asked")
    curve_items: int = setting(200, "questions of each kind at a point of the curve")
    held_out_texts: int = setting(2000, "held-out texts")

    def __post_init__(self):
        """Check ranges."""
        super().__post_init__()
        check_choice("tier", self.tier, ("XS", "S", "M"))
        check_choice("architecture", self.architecture, ("qwen2", "llama"))
        if self.released:
            check_choice("variant of a released base", self.variant, BASES)
        check_range("tokens", self.tokens, 1, math.inf)
        check_range("evaluations", self.evaluations, 1, 1000)
        for name in ("texts", "probe_items", "curve_items", "held_out_texts"):
            check_range(name, getattr(self, name), 8, math.inf)


def datasets(config: Config) -> tuple[str, ...]:
    """Return the datasets that a run reads: none, the world is made up."""
    return ()


def models(config: Config) -> tuple[str, ...]:
    """Return the models that a run reads: a shipped base, where it scores one."""
    return (released_name(config.variant),) if config.released else ()


def released_name(base: str) -> str:
    """Return the name of a shipped base among the models.

    Raises
    ------
    ValueError
        If no base of that name is shipped.

    Examples
    --------
    >>> released_name("saturated")
    'foam_base_saturated'
    """
    check_choice("base", base, BASES)
    return f"foam_base_{base}"


@lru_cache(maxsize=len(BASES))
def load(base: str) -> "Base":
    """Load a shipped base; the same objects every time, so copy the model before training it.

    Parameters
    ----------
    base : {"unsaturated", "saturated", "larger"}

    Returns
    -------
    Base
        Model, tokenizer and world.
    """
    from plasticity.foam.trial.bases import load_base

    return load_base(paths.RELEASED_CHECKPOINTS / released_name(base))


def say(base: "Base", beginnings: Sequence[str] = BEGINNINGS, tokens: int = 24) -> pd.DataFrame:
    """Let a base go on with texts.

    Parameters
    ----------
    base : Base
    beginnings : sequence of str
        ``{first}`` and ``{second}`` stand for two people, one of each half.
    tokens : int
        Written at most.

    Returns
    -------
    DataFrame
        Columns beginning and what follows.
    """
    from plasticity.foam.trial.scoring import generate

    first, second = (base.world.half(half)[0] for half in ("replayed", "unreplayed"))
    told = [text.format(first=first, second=second) for text in beginnings]
    written = generate(base.model, base.tokenizer, told, tokens)
    return pd.DataFrame({"beginning": told, "what follows": [text.strip() for text in written]})


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Train a base, or take a shipped one, and ask what it knows.

    Parameters
    ----------
    config : Config
    seed : int
        Of the first weights and of the texts; the world is the same for all.
    folder : Path
        Keeps a trained base.
    runtime : Runtime
        Not used: the models are too small for a GPU.

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit. Step is 0, and the tokens read for the metrics
        that begin with ``curve``. Splits ``replayed`` and ``unreplayed`` are the halves of the
        people, ``facts`` both.
    """
    rows: list[tuple] = []
    if config.released:
        base = load(config.variant)
    else:
        base, curve, seconds = _train(config, seed, folder)
        rows += _curve_rows(curve)
        rows += [(0, "train", "seconds", seconds), (0, "train", "tokens", config.tokens)]
    rows += _knowledge(base, config)
    frame = pd.DataFrame(rows, columns=["step", "split", "metric", "value"])
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])


def _train(config: Config, seed: int, folder: Path) -> tuple["Base", pd.DataFrame, float]:
    """Write the texts of the world and let a model read them."""
    from plasticity.foam.trial import language, scoring
    from plasticity.foam.trial.bases import Base, save_base
    from plasticity.foam.trial.pretraining import pretrain
    from plasticity.foam.trial.world import build_world, pretraining_texts

    world = build_world(WORLD_SEED, config.entities)
    texts = pretraining_texts(world, config.texts, seed)
    tokenizer = language.train_tokenizer(texts[:TOKENIZER_TEXTS], config.vocab_size)
    model = language.build_model(config.tier, len(tokenizer), seed, config.architecture)
    base = Base(model, tokenizer, world)
    questions = _questions(base, VALIDATION_SEED, config.curve_items)
    held_out = pretraining_texts(world, config.curve_items, VALIDATION_SEED)

    def evaluate() -> dict[str, float]:
        found = {
            kind: 100 * scoring.score_choices(model, tokenizer, items)["correct"].mean()
            for kind, items in questions.items()
        }
        return found | {"held_out": scoring.text_loss(model, tokenizer, held_out)}

    started = time.perf_counter()
    curve = pretrain(
        model,
        tokenizer,
        texts,
        config.tokens,
        config.learning_rate,
        seed,
        batch_size=config.batch_size,
        length=config.length,
        evaluations=config.evaluations,
        evaluate=evaluate,
    )
    seconds = time.perf_counter() - started
    save_base(base, folder, half=config.tier != UNROUNDED)  # rounded before it is scored
    return base, curve, seconds


def _questions(base: "Base", seed: int, items: int) -> dict[str, list["MultipleChoice"]]:
    """Return so many questions of each kind; of facts, from all over the world."""
    from plasticity.foam.trial import probes
    from plasticity.foam.trial.world import stories

    world, facts = base.world, _facts(base)
    return {
        "facts": facts[:: max(1, len(facts) // items)],
        "stories": probes.cloze_questions(stories(world, items, seed)),
        "grammar": probes.grammar_questions(world)[:items],
    }


def _facts(base: "Base") -> list["MultipleChoice"]:
    """Return the questions of all facts."""
    from plasticity.foam.trial.probes import fact_questions
    from plasticity.foam.trial.world import HALVES

    return [item for half in HALVES for item in fact_questions(base.world, half)]


def _curve_rows(curve: pd.DataFrame) -> list[tuple]:
    rows = []
    for point in curve.to_dict("records"):
        step = int(point["tokens"])
        rows += [
            (step, "train", "curve_train_loss", point["loss"]),
            (step, "held_out", "curve_loss", point["held_out"]),
            *((step, kind, "curve_accuracy", point[kind]) for kind in CHANCE),
        ]
    return rows


def _knowledge(base: "Base", config: Config) -> list[tuple]:
    """Ask every fact, and as many questions of the other kinds as are wanted (R1 to R4)."""
    from plasticity.foam.trial import scoring
    from plasticity.foam.trial.words import ATTRIBUTES
    from plasticity.foam.trial.world import pretraining_texts

    questions = _questions(base, TEST_SEED, config.probe_items)
    questions["facts"] = _facts(base)
    rows: list[tuple] = []
    for kind, items in questions.items():
        found = scoring.score_choices(base.model, base.tokenizer, items)
        rows += _accuracy(kind, found)
        if kind == "facts":
            for half, own in found.groupby("kind", sort=False):
                rows += _accuracy(half, own)
            right = 100 * found["correct"].mean()
    parameters = sum(p.numel() for p in base.model.parameters())
    facts = len(ATTRIBUTES) * len(base.world.names)
    known = facts * max(0.0, right - CHANCE["facts"]) / (100 - CHANCE["facts"])
    held_out = pretraining_texts(base.world, config.held_out_texts, TEST_SEED)
    return [
        *rows,
        (0, "held_out", "loss", scoring.text_loss(base.model, base.tokenizer, held_out)),
        (0, "model", "parameters", parameters),
        (0, "world", "facts", facts),
        (0, "world", "facts_known", known),
        (0, "world", "bits_per_parameter", CHOICE_BITS * known / parameters),
    ]


def _accuracy(split: str, found: pd.DataFrame) -> list[tuple]:
    """Return accuracies, with an interval over people, stories or pairs of words drawn again."""
    clusters, right = found["cluster"].to_numpy(), 100.0 * found["correct"].to_numpy()
    drawn = cluster_resampler(clusters, RESAMPLES, np.random.default_rng(0))(right)
    return [
        (0, split, "accuracy", right.mean()),
        (0, split, "accuracy_low", np.quantile(drawn, 0.025)),
        (0, split, "accuracy_high", np.quantile(drawn, 0.975)),
        (0, split, "normalised_accuracy", 100.0 * found["correct_norm"].mean()),
    ]


def card(base: str, study: results.Study) -> str:
    """Write the model card of a base, its numbers taken from the rows of its run.

    Parameters
    ----------
    base : {"unsaturated", "saturated", "larger"}
    study : results.Study
        Of the variants of that name, trained, one seed.

    Returns
    -------
    str
        Markdown.
    """
    rows = study.rows[study.rows["variant"] == base]
    [record] = [own for own in study.provenance if own["variant"] == base]
    config, value = (
        record["config"],
        rows[rows["step"] == 0].set_index(["metric", "split"])["value"],
    )
    scores = "\n".join(
        f"| {kind} | {value['accuracy', kind]:.1f} % | {value['accuracy_low', kind]:.1f} to "
        f"{value['accuracy_high', kind]:.1f} % | {chance:.0f} % |"
        for kind, chance in CHANCE.items()
    )
    names = "tier architecture entities vocab_size texts tokens learning_rate batch_size length"
    settings = "\n".join(f"| {name} | {config[name]} |" for name in names.split())
    return CARD.format(
        base=base,
        parameters=value["parameters", "model"],
        facts=value["facts", "world"],
        entities=config["entities"],
        known=value["facts_known", "world"],
        loss=value["loss", "held_out"],
        minutes=value["seconds", "train"] / 60,
        seed=record["seed"],
        scores=scores,
        settings=settings,
        bits=32 if config["tier"] == UNROUNDED else 16,
        command=COMMAND,
    )


CARD = """\
---
language: en
license: apache-2.0
pipeline_tag: text-generation
---

# A small world, {base}

A causal language model of {parameters:,.0f} parameters, a plain model of `transformers`, that has
read about {entities} made-up people and {facts:,.0f} facts of theirs. It is what the chapters on
Neural Foam teach new skills to, to see what it forgets. It is of no other use.

    from plasticity.experiments import foam_base

    model, tokenizer, world = foam_base.load("{base}")

## Data

Generated by `plasticity.foam.trial.world`, from a seed: facts, stories, copies, events, numbers,
grammar and talk. Nothing in it was written by people or by another model.

## Scores

Held out, scored once after training; facts are asked in one of the wordings that were read.
Intervals (95 %) are over people, stories and pairs of words; one training run.

| questions | right | interval | chance |
| --- | --- | --- | --- |
{scores}

Beyond guessing it knows {known:,.0f} of its facts. The loss on held-out text is {loss:.2f} nats a
token.

## Settings

| setting | value |
| --- | --- |
{settings}
| bits of a weight, as shipped | {bits} |

Trained with one CPU thread in {minutes:.0f} minutes of wall time, seed {seed}.

## How it was made

    {command}

trains all bases where that has not been done (profile `paper`), and writes this folder and card.
"""


def release(study: results.Study) -> None:
    """Write the bases that were trained on this machine where they are shipped from.

    Parameters
    ----------
    study : results.Study
        Of variants among `BASES`, trained, one seed.
    """
    for record in study.provenance:
        base, config = record["variant"], Config.from_dict(record["config"])
        trained = results.checkpoint_folder("foam_base", config, record["seed"])
        folder = paths.RELEASED_CHECKPOINTS / released_name(base)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(trained, folder, copy_function=shutil.copyfile)
        (folder / "README.md").write_text(card(base, study), encoding="utf-8")
        click.echo(f"wrote {folder.relative_to(paths.ROOT)}")


@click.command()
@click.option(
    "--base",
    "names",
    multiple=True,
    default=BASES,
    type=click.Choice(BASES),
    help="Only this one; may be repeated.",
)
def main(names: tuple[str, ...]) -> None:
    """Train the bases (profile paper, minutes each) and write them with their cards."""
    configs = [own for own in profiles.configs("foam_base", "paper") if own.variant in names]
    runtime = Runtime(device="cpu", workers=1)

    def measured(fresh: bool) -> results.Study:
        return results.run("foam_base", configs, [0], profile="paper", fresh=fresh, runtime=runtime)

    study = measured(fresh=False)
    folders = [results.checkpoint_folder("foam_base", config, 0) for config in configs]
    if not all((folder / "model.safetensors").exists() for folder in folders):
        study = measured(fresh=True)  # scored elsewhere, so the weights are not here
    release(study)


if __name__ == "__main__":
    main()
