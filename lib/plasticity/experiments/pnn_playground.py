"""A small PNN to play with: trained once, shipped, and asked about one hidden word at a time.

Only the profile ``paper`` trains it. To do so, and to write the released checkpoint with its card:
``python -m plasticity.experiments.pnn_playground``.
"""

import shutil
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
import pandas as pd

from plasticity.companion import datasets as corpora
from plasticity.companion import metrics, paths, profiles, provenance, results
from plasticity.companion.configuration import Runtime, check_choice, check_range
from plasticity.experiments import pnn_refinement

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

    from plasticity.pnn.modeling import PnnForMaskedLM

MODEL = paths.RELEASED_CHECKPOINTS / "pnn_stories"
COMMAND = "python -m plasticity.experiments.pnn_playground"
MOST_STEPS = 12
CANDIDATES = 5  # likeliest words that are kept of each step
REPEATS = 20  # answers timed
COLUMNS = ["step", "metric", "index", "label", "value"]
# Written for the page before the model was trained: sentences, and the word to hide in each.
SENTENCES = (
    ("Lily was sad because she lost her favorite toy.", "sad"),
    ("Once upon a time, there was a little girl who lived in a big house.", "girl"),
    ("The dog was happy because he found his ball in the park.", "ball"),
    ("Tom and his mom went to the park to play with their friends.", "play"),
)
FIRST = (SENTENCES[0][0], 2, 4)  # sentence, hidden word and steps that the page shows

datasets = pnn_refinement.datasets


@dataclass(frozen=True)
class Config(pnn_refinement.Config):
    """The model that is shipped."""

    def __post_init__(self):
        """Check that it is a PNN, the rest as in `pnn_refinement`."""
        super().__post_init__()
        check_choice("architecture", self.architecture, ("pnn",))


class Word(NamedTuple):
    """A word or mark of a sentence.

    Attributes
    ----------
    text : str
        As it was typed.
    place : int
        Number of its first token.
    askable : bool
        Whether it is one entry of the vocabulary, so that the model can name it.
    """

    text: str
    place: int
    askable: bool


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
    from safetensors.torch import load_file
    from tokenizers import Tokenizer

    from plasticity.pnn.configuration import PnnConfig
    from plasticity.pnn.modeling import PnnForMaskedLM

    folder = folder or MODEL
    model = PnnForMaskedLM(PnnConfig.from_pretrained(folder / "model"))
    model.load_state_dict(load_file(folder / "model" / "model.safetensors"))
    return model.eval(), Tokenizer.from_file(str(folder / "tokenizer.json"))


def _encoded(model: "PnnForMaskedLM", tokenizer: "Tokenizer", sentence: str) -> "Encoding":
    encoding = tokenizer.encode(sentence, add_special_tokens=False)
    count, longest = len(encoding.ids), model.config.max_position_embeddings
    if count == 0:
        raise ValueError(f"sentence is {sentence!r}; allowed: at least one word")
    if count > longest:
        raise ValueError(
            f"sentence has {count} tokens; allowed: 1 to {longest} (a word or mark is one, a rare "
            "word several)"
        )
    return encoding


def words(model: "PnnForMaskedLM", tokenizer: "Tokenizer", sentence: str) -> list[Word]:
    """Split a sentence into the words and marks that `answer` numbers.

    Parameters
    ----------
    model, tokenizer
        As `load` returns them.
    sentence : str

    Returns
    -------
    list of Word

    Raises
    ------
    ValueError
        If the sentence is empty, or has more tokens than the model has positions.
    """
    from plasticity.pnn.tokenization import SPECIAL_TOKENS

    encoding = _encoded(model, tokenizer, sentence)
    starts = [i for i, token in enumerate(encoding.tokens) if not token.startswith("##")]
    found = []
    for start, end in zip(starts, [*starts[1:], len(encoding.tokens)], strict=True):
        text = sentence[encoding.offsets[start][0] : encoding.offsets[end - 1][1]]
        special = encoding.tokens[start] in SPECIAL_TOKENS
        found.append(Word(text, start, end == start + 1 and not special))
    return found


def answer(
    model: "PnnForMaskedLM",
    tokenizer: "Tokenizer",
    sentence: str,
    masked_word: int,
    num_steps: int,
) -> pd.DataFrame:
    """Hide one word of a sentence and follow what the model makes of it, step by step.

    Parameters
    ----------
    model, tokenizer
        As `load` returns them.
    sentence : str
        At most `model.config.max_position_embeddings` tokens.
    masked_word : int
        Number of the hidden word among `words`, from 0.
    num_steps : int
        Refinement steps, 0 to 12; the model may have been trained for fewer.

    Returns
    -------
    DataFrame
        Columns step (0 = embeddings), metric, index, label and value. By metric:

        - ``probability``: of a likely word (`label`, vocabulary number `index`) in the hidden
          place; the five likeliest of every step.
        - ``true_word_probability``: of the hidden word.
        - ``gate``: of dimension `index` in the hidden place, in (0, 1); from step 1.
        - ``gate_mean``, ``delta_rms`` (from step 1), ``state_rms``: mean gate and root mean
          squares over the dimensions, of the token `label` in place `index`.

    Raises
    ------
    ValueError
        If the sentence is empty or too long, there is no such word, it is not one entry of the
        vocabulary, or `num_steps` is out of its range.
    """
    check_range("num_steps", num_steps, 0, MOST_STEPS)
    found = words(model, tokenizer, sentence)
    check_range("masked_word", masked_word, 0, len(found) - 1)
    word = found[masked_word]
    if not word.askable:
        allowed = ", ".join(f"{number} ({w.text})" for number, w in enumerate(found) if w.askable)
        raise ValueError(
            f"masked_word is {masked_word} ({word.text}), which is no single entry of the "
            f"vocabulary; allowed: {allowed or 'none of this sentence'}"
        )
    encoding = _encoded(model, tokenizer, sentence)
    return _followed(model, tokenizer, encoding, word.place, num_steps)


def _followed(model, tokenizer, encoding: "Encoding", place: int, num_steps: int) -> pd.DataFrame:
    import torch

    from plasticity.pnn.tokenization import MASK

    ids, tokens = torch.tensor([encoding.ids]), list(encoding.tokens)
    true_word = tokens[place]
    ids[0, place], tokens[place] = tokenizer.token_to_id(MASK), MASK
    asked = {f"output_{name}": True for name in ("hidden_states", "gates", "deltas")}
    with torch.no_grad():
        out = model(ids, num_steps=num_steps, **asked)
        states = torch.cat(out.hidden_states)  # (steps + 1, length, hidden)
        chances = model.head(states[:, place]).softmax(-1)  # (steps + 1, vocab)
    likely = chances.topk(CANDIDATES).indices.unique().tolist()
    rows = []
    for step, chance in enumerate(chances.tolist()):
        rows += [
            (step, "probability", word, tokenizer.id_to_token(word), chance[word])
            for word in likely
        ]
        true_id = encoding.ids[place]
        rows.append((step, "true_word_probability", true_id, true_word, chance[true_id]))

    def by_token(metric: str, values: Iterable, first_step: int) -> None:
        for step, value in enumerate(values, first_step):
            for position, number in enumerate(value.tolist()):
                rows.append((step, metric, position, tokens[position], number))

    by_token("state_rms", (state.square().mean(-1).sqrt() for state in states), 0)
    by_token("delta_rms", (delta[0].square().mean(-1).sqrt() for delta in out.deltas), 1)
    by_token("gate_mean", (gate[0].mean(-1) for gate in out.gates), 1)
    for step, gate in enumerate(out.gates, 1):
        rows += [(step, "gate", i, "", value) for i, value in enumerate(gate[0, place].tolist())]
    return pd.DataFrame(rows, columns=COLUMNS)


def gallery(
    model: "PnnForMaskedLM", tokenizer: "Tokenizer", sentences: Iterable[str], num_steps: int
) -> pd.DataFrame:
    """Hide every word of some sentences in turn.

    Parameters
    ----------
    model, tokenizer
        As `load` returns them.
    sentences : iterable of str
    num_steps : int
        As for `answer`.

    Returns
    -------
    DataFrame
        One row for each word that can be hidden (marks left out) and step: columns sentence, word
        (as typed), step, guess (the likeliest word), guess_probability, true_word_probability and
        right.
    """
    parts = []
    for sentence in sentences:
        for number, word in enumerate(words(model, tokenizer, sentence)):
            if not (word.askable and word.text.isalpha()):
                continue
            rows = answer(model, tokenizer, sentence, number, num_steps)
            true = rows[rows["metric"] == "true_word_probability"]
            chances = rows[rows["metric"] == "probability"]
            best = chances.loc[chances.groupby("step")["value"].idxmax()]
            part = pd.DataFrame(
                {
                    "step": best["step"].to_numpy(),
                    "guess": best["label"].to_numpy(),
                    "guess_probability": best["value"].to_numpy(),
                    "true_word_probability": true["value"].to_numpy(),
                    "right": best["index"].to_numpy() == true["index"].to_numpy(),
                }
            )
            parts.append(part.assign(sentence=sentence, word=word.text))
    return pd.concat(parts, ignore_index=True)


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
