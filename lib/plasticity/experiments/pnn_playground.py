"""A small PNN to play with: trained once, shipped, and asked about hidden words of a sentence.

Only the profile ``paper`` trains it. To do so, and to write the released checkpoint with its card:
``python -m plasticity.experiments.pnn_playground``.
"""

import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pandas as pd

from plasticity.companion import datasets as corpora
from plasticity.companion import metrics, paths, profiles, provenance, results
from plasticity.companion.configuration import Runtime, check_choice, check_range
from plasticity.experiments import pnn_refinement
from plasticity.pnn.questions import MOST_STEPS, answer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from plasticity.pnn.halting import StoppingRule
    from plasticity.pnn.interventions import Intervention
    from plasticity.pnn.modeling import PnnForMaskedLM

MODEL = paths.RELEASED_CHECKPOINTS / pnn_refinement.SHIPPED
COMMAND = "python -m plasticity.experiments.pnn_playground"
REPEATS = 20  # answers timed
# Written for the page before the model was trained: sentences, and the word to hide in each.
SENTENCES = (
    ("Lily was sad because she lost her favorite toy.", "sad"),
    ("Once upon a time, there was a little girl who lived in a big house.", "girl"),
    ("The dog was happy because he found his ball in the park.", "ball"),
    ("Tom and his mom went to the park to play with their friends.", "play"),
)
FIRST = (SENTENCES[0][0], 2, 4, "nothing", 0, "never")  # the question that the page answers
SEVERAL = (2, 5, 8)  # words of that sentence that the page hides all at once
CHANGES = (
    "nothing",
    "gate inverted",
    "gate at one half",
    "gate open",
    "gate of another token",
    "update halved",
    "update doubled",
    "feed-forward network off",
    "attention off",
)
RULES = ("never", "sure enough", "prediction barely moves", "same word as before")

datasets = pnn_refinement.datasets


@dataclass(frozen=True)
class Config(pnn_refinement.Config):
    """The model that is shipped."""

    def __post_init__(self):
        """Check that it is a PNN, the rest as in `pnn_refinement`."""
        super().__post_init__()
        check_choice("architecture", self.architecture, ("pnn",))


def load(folder: Path | None = None) -> tuple["PnnForMaskedLM", "Tokenizer"]:
    """Load a released checkpoint; every weight must be there, and no other.

    Parameters
    ----------
    folder : Path, optional
        With ``model/config.json``, ``model/model.safetensors`` and ``tokenizer.json``; None means
        the one that is shipped.

    Returns
    -------
    model : PnnForMaskedLM
        In evaluation mode, on the CPU.
    tokenizer : tokenizers.Tokenizer

    Examples
    --------
    >>> model, tokenizer = load()
    >>> rows = answer(model, tokenizer, "The dog was happy.", masked_word=3, num_steps=4)
    >>> rows["step"].max()
    np.int64(4)
    """
    from plasticity.pnn.shipped import load_model, load_tokenizer

    folder = folder or MODEL
    return load_model(folder), load_tokenizer(folder)


def interventions(change: str, at: int = 0) -> list["Intervention"]:
    """Return a change of the playground as interventions on its model.

    Parameters
    ----------
    change : str
        One of `CHANGES`.
    at : int
        The step at which it acts, 1 for the first; every step when 0.

    Raises
    ------
    ValueError
        If there is no such change, or `at` is not from 0 to 12.

    Examples
    --------
    >>> [one] = interventions("update halved", at=1)
    >>> one.site, one.steps
    ('delta', [1])
    """
    import torch

    from plasticity.pnn import interventions as change_by

    check_choice("change", change, CHANGES)
    check_range("at", at, 0, MOST_STEPS)
    steps = [at] if at else None
    found = {
        "gate inverted": ("gate", change_by.opposite),
        "gate at one half": ("gate", change_by.constant(0.5)),
        "gate open": ("gate", change_by.constant(1.0)),
        "gate of another token": (
            "gate",
            change_by.shuffle_tokens(torch.Generator().manual_seed(0)),
        ),
        "update halved": ("delta", change_by.scale(0.5)),
        "update doubled": ("delta", change_by.scale(2.0)),
        "feed-forward network off": ("raw_proposal", change_by.scale(0.0)),
        "attention off": ("attention", change_by.scale(0.0)),
    }
    return [change_by.Intervention(*found[change], steps)] if change in found else []


def stopping_rule(name: str) -> "StoppingRule | None":
    """Return a rule of the playground that says when to stop, or None for ``never``.

    Parameters
    ----------
    name : str
        One of `RULES`: an entropy of at most 1 nat, a divergence from the step before of at most
        0.05 nats, or the same likeliest word.

    Raises
    ------
    ValueError
        If there is no such rule.
    """
    from plasticity.pnn import halting

    check_choice("rule", name, RULES)
    return {
        "sure enough": halting.Entropy(1.0),
        "prediction barely moves": halting.Divergence(0.05),
        "same word as before": halting.ChangedArgmax(0.0),
    }.get(name)


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Train the model to be shipped, score it, and time its answers.

    Parameters
    ----------
    config : Config
    seed : int
    folder : Path
        Keeps the trained model and its tokenizer.
    runtime : Runtime

    Returns
    -------
    pandas.DataFrame
        The rows of `pnn_refinement.run`, the seconds of one answer to the longest question, and
        the bytes of the weights.
    """
    rows = pnn_refinement.run(config, seed, folder, runtime)
    pnn_refinement.prepare_corpus(config).tokenizer.save(str(folder / "tokenizer.json"))
    size = (folder / "model" / "model.safetensors").stat().st_size
    measured = [
        (MOST_STEPS, "playground", "answer_seconds", _answer_seconds(*load(folder))),
        (0, "playground", "bytes", float(size)),
    ]
    frame = pd.DataFrame(measured, columns=["step", "split", "metric", "value"])
    frame["unit"] = [metrics.metric(name).unit for name in frame["metric"]]
    return pd.concat([rows, frame], ignore_index=True)


def _answer_seconds(model: "PnnForMaskedLM", tokenizer: "Tokenizer") -> float:
    """Return the median seconds of an answer to the longest sentence, with the most steps."""
    sentence = "a " * model.config.max_position_embeddings
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        answer(model, tokenizer, sentence, 0, MOST_STEPS)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def release(study: results.Study, folder: Path) -> None:
    """Copy a trained model where it is shipped from, and write its card.

    Parameters
    ----------
    study : results.Study
        Of this experiment, one config and one seed, measured on this machine.
    folder : Path
        What it held before is replaced.
    """
    [record] = study.provenance
    config = Config.from_dict(record["config"])
    trained = results.checkpoint_folder("pnn_playground", config, record["seed"])
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(trained / "model", folder / "model")
    shutil.copy(trained / "tokenizer.json", folder)
    (folder / "README.md").write_text(card(study), encoding="utf-8")


def card(study: results.Study) -> str:
    """Write the model card, all its numbers taken from the rows and the record of the run.

    Parameters
    ----------
    study : results.Study
        As for `release`.

    Returns
    -------
    str
        Markdown.
    """
    [record] = study.provenance
    config = Config.from_dict(record["config"])
    value = study.rows.set_index(["metric", "split", "step"])["value"].sort_index()
    scores = "\n".join(
        f"| {split} | {value['accuracy', split, 0]:.1f} % | {value['loss', split, 0]:.2f} | "
        f"{value['constant_guess_accuracy', split, 0]:.1f} % | {_readouts(value, split)} |"
        for split in ("validation", "test")
    )
    names = "vocab_size sequence_length hidden_size num_attention_heads intermediate_size num_steps"
    names += " reading initialization position_scale dropout mask_probability train_tokens"
    names += " batch_size learning_rate warmup_steps weight_decay"
    settings = "\n".join(f"| {name} | {getattr(config, name)} |" for name in names.split())
    licence = corpora.status([config.corpus])["licence"].item()
    return CARD.format(
        parameters=value["parameters", "untied", 0],
        bytes=value["bytes", "playground", 0],
        minutes=value["seconds", "train", 0] / 60,
        answer=value["answer_seconds", "playground", MOST_STEPS],
        steps=config.num_steps,
        most=MOST_STEPS,
        tokens=config.sequence_length,
        seed=record["seed"],
        command=COMMAND,
        data=provenance.data_line([record]),
        licence=licence,
        scores=scores,
        settings=settings,
    )


def _readouts(value: pd.Series, split: str) -> str:
    return " → ".join(f"{number:.1f}" for number in value["readout_accuracy", split])


CARD = """\
---
language: en
license: apache-2.0
pipeline_tag: fill-mask
---

# PNN of simple stories

A Plastic Neural Network (Choi 2025) with {parameters:,.0f} parameters ({bytes:,.0f} bytes of
float32): one gated module, applied {steps} times, that predicts hidden words of children's stories.
It is the model of the notebook `39_pnn_playground`, made to be looked into, not to be used.

    from plasticity.experiments import pnn_playground

    model, tokenizer = pnn_playground.load()
    pnn_playground.answer(model, tokenizer, "The dog was happy.", masked_word=3, num_steps={steps})

## Data

{data}

Simple stories join a small part of TinyStories (Eldan and Li 2023) with sampled stories, which the
language model stories15M wrote: a good part of what this model has read is text that no person
wrote. Licence of the data: {licence}.

## Scores

Of hidden word pieces, read out after the last step; the constant guess always answers the commonest
one. The test set was scored once, at the end. One seed, so there is no interval.

| split | accuracy | loss (nats) | constant guess | accuracy by step, from the embeddings, % |
| --- | --- | --- | --- | --- |
{scores}

## Settings

| setting | value |
| --- | --- |
{settings}

Trained with one CPU thread in {minutes:.0f} minutes of wall time, seed {seed}. One answer to a
sentence of {tokens} tokens with {most} steps took {answer:.3f} s.

## Limits

English, lower case, at most {tokens} tokens, and the small world of such stories: elsewhere it
guesses the commonest words. It names only words that are single entries of its vocabulary. More
than {steps} steps is more than it was trained for. It repeats whatever its stories hold, the
stereotypes of the language model that wrote some of them included.

## How it was made

    {command}

trains it where that has not been done (profile `paper`), and writes this folder and this card.
"""


@click.command()
def main() -> None:
    """Train the playground's model (profile paper, minutes) and write it with its card."""

    def measured(fresh: bool) -> results.Study:
        runtime = Runtime(device="cpu", workers=1)
        return results.run(
            "pnn_playground", configs, [0], profile="paper", fresh=fresh, runtime=runtime
        )

    configs = profiles.configs("pnn_playground", "paper")
    study = measured(fresh=False)
    trained = results.checkpoint_folder("pnn_playground", configs[0], 0)
    if not (trained / "tokenizer.json").exists():  # scored elsewhere, so its weights are not here
        study = measured(fresh=True)
    release(study, MODEL)
    click.echo(f"wrote {MODEL.relative_to(paths.ROOT)}")


if __name__ == "__main__":
    main()
