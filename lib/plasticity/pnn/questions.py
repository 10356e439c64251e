"""Questions to a PNN: hide words of one sentence, and follow what it makes of them step by step.

torch is imported where it is used, so that a page loads fast that only shows stored results.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from plasticity.pnn.tokenization import MASK, SPECIAL_TOKENS

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer
    from torch import Tensor

    from plasticity.pnn.halting import StoppingRule
    from plasticity.pnn.interventions import Intervention
    from plasticity.pnn.modeling import PnnForMaskedLM

MOST_STEPS = 12
CANDIDATES = 5  # likeliest words that are kept of each step
COLUMNS = ["step", "metric", "index", "label", "value"]


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


@dataclass(frozen=True)
class Unfolding:
    """A sentence with hidden words, at every step of the refinement and in every place.

    Attributes
    ----------
    tokens : list of str
        The sentence with all its words.
    hidden : ndarray of bool, shape (length,)
        Which of them the model does not see.
    words : ndarray of str, shape (steps + 1, candidates, length)
        What the head reads in each place, likeliest first; the embeddings' step first.
    chances : ndarray of float32, shape (steps + 1, candidates, length)
        Their probabilities.
    gates : ndarray of float32, shape (steps, length, hidden_size)
    sizes : ndarray of float32, shape (steps, length)
        Root mean square of each token's update.
    """

    tokens: list[str]
    hidden: np.ndarray
    words: np.ndarray
    chances: np.ndarray
    gates: np.ndarray
    sizes: np.ndarray


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
    model : PnnForMaskedLM
    tokenizer : tokenizers.Tokenizer
    sentence : str

    Returns
    -------
    list of Word

    Raises
    ------
    ValueError
        If the sentence is empty, or has more tokens than the model has positions.
    """
    encoding = _encoded(model, tokenizer, sentence)
    starts = [i for i, token in enumerate(encoding.tokens) if not token.startswith("##")]
    found = []
    for start, end in zip(starts, [*starts[1:], len(encoding.tokens)], strict=True):
        text = sentence[encoding.offsets[start][0] : encoding.offsets[end - 1][1]]
        special = encoding.tokens[start] in SPECIAL_TOKENS
        found.append(Word(text, start, end == start + 1 and not special))
    return found


def _places(model, tokenizer, sentence: str, masked_words: Iterable[int]) -> list[int]:
    """Return the places of words to hide, each of which can be asked for."""
    found = words(model, tokenizer, sentence)
    places = []
    for number in masked_words:
        if not 0 <= number < len(found):
            raise ValueError(f"masked_word is {number}; allowed: 0 to {len(found) - 1}")
        if not found[number].askable:
            allowed = ", ".join(f"{n} ({w.text})" for n, w in enumerate(found) if w.askable)
            raise ValueError(
                f"masked_word is {number} ({found[number].text}), which is no single entry of the "
                f"vocabulary; allowed: {allowed or 'none of this sentence'}"
            )
        places.append(found[number].place)
    return places


def _follow(
    model, ids: "Tensor", num_steps: int, interventions: Iterable["Intervention"]
) -> tuple["Tensor", "Tensor"]:
    """Return states (steps + 1, length, hidden) and gates (steps, length, hidden) of a sentence.

    Both as the interventions leave them: the gate is read where it comes out, after any change of
    it; an update is the difference of two states.
    """
    import torch

    from plasticity.pnn.interventions import Intervention, intervene

    if not 0 <= num_steps <= MOST_STEPS:
        raise ValueError(f"num_steps is {num_steps}; allowed: 0 to {MOST_STEPS}")
    gates = [torch.empty(0, ids.shape[1], model.config.hidden_size)]

    def listen(value: "Tensor", moment: object) -> "Tensor":
        gates.append(value)
        return value

    with torch.no_grad(), intervene(model, *interventions, Intervention("gate", listen)):
        out = model.pnn(ids, num_steps=num_steps, output_hidden_states=True)
    return torch.cat(out.hidden_states), torch.cat(gates)


def answer(
    model: "PnnForMaskedLM",
    tokenizer: "Tokenizer",
    sentence: str,
    masked_word: int,
    num_steps: int,
    interventions: Collection["Intervention"] = (),
    rule: "StoppingRule | None" = None,
) -> pd.DataFrame:
    """Hide one word of a sentence and follow what the model makes of it, step by step.

    Parameters
    ----------
    model : PnnForMaskedLM
    tokenizer : tokenizers.Tokenizer
    sentence : str
        At most `model.config.max_position_embeddings` tokens.
    masked_word : int
        Number of the hidden word among `words`, from 0.
    num_steps : int
        Refinement steps, 0 to 12; the model may have been trained for fewer.
    interventions : collection of Intervention
        What is changed in the model meanwhile.
    rule : StoppingRule, optional
        Asked after each step whether this is enough; the steps go on all the same.

    Returns
    -------
    DataFrame
        Columns step (0 = embeddings), metric, index, label and value. By metric:

        - ``probability``: of a likely word (`label`, vocabulary number `index`) in the hidden
          place; the five likeliest of every step.
        - ``true_word_probability``: of the hidden word.
        - ``gate``: of dimension `index` in the hidden place, from step 1.
        - ``gate_mean``, ``delta_rms`` (from step 1), ``state_rms``: mean gate and root mean
          squares over the dimensions, of the token `label` in place `index`.
        - ``unrest`` (from step 1): what the rule looks at; ``enough``: the same at the step after
          which it would stop, where it would at all.

    Raises
    ------
    ValueError
        If the sentence is empty or too long, there is no such word, it is not one entry of the
        vocabulary, or `num_steps` is out of its range.
    """
    import torch

    encoding = _encoded(model, tokenizer, sentence)
    [place] = _places(model, tokenizer, sentence, [masked_word])
    ids, tokens = torch.tensor([encoding.ids]), list(encoding.tokens)
    true_id, true_word = encoding.ids[place], tokens[place]
    ids[0, place], tokens[place] = tokenizer.token_to_id(MASK), MASK
    states, gates = _follow(model, ids, num_steps, interventions)
    with torch.no_grad():
        logits = model.head(states[:, place])  # (steps + 1, vocab)
    chances = logits.softmax(-1)
    likely = chances.topk(CANDIDATES).indices.unique().tolist()
    rows = []
    for step, chance in enumerate(chances.tolist()):
        rows += [
            (step, "probability", word, tokenizer.id_to_token(word), chance[word])
            for word in likely
        ]
        rows.append((step, "true_word_probability", true_id, true_word, chance[true_id]))
    for metric, values, first in (
        ("state_rms", _rms(states), 0),
        ("delta_rms", _rms(states.diff(dim=0)), 1),
        ("gate_mean", gates.mean(-1), 1),
    ):
        rows += [
            (step, metric, position, token, number)
            for step, value in enumerate(values.tolist(), first)
            for position, (token, number) in enumerate(zip(tokens, value, strict=True))
        ]
    for step, gate in enumerate(gates[:, place].tolist(), 1):
        rows += [(step, "gate", dimension, "", value) for dimension, value in enumerate(gate)]
    rows += _halting_rows(model, states[:, place], rule) if rule else []
    return pd.DataFrame(rows, columns=COLUMNS)


def _rms(states: "Tensor") -> "Tensor":
    return states.square().mean(-1).sqrt()


def _halting_rows(model: "PnnForMaskedLM", states: "Tensor", rule: "StoppingRule") -> list[tuple]:
    import torch

    from plasticity.pnn.halting import Readout

    rows, enough, only = [], [], torch.zeros(1, dtype=torch.int64)
    for step in range(1, len(states)):
        now, before = states[step : step + 1], states[step - 1 : step]
        readout = Readout(model.head, now, before, only, 1)
        level = rule.level(readout).item()
        rows.append((step, "unrest", 0, type(rule).__name__, level))
        if rule.check(readout) and not enough:
            enough = [(step, "enough", 0, type(rule).__name__, level)]
    return rows + enough


def unfold(
    model: "PnnForMaskedLM",
    tokenizer: "Tokenizer",
    sentence: str,
    masked_words: Collection[int],
    num_steps: int,
    interventions: Collection["Intervention"] = (),
) -> Unfolding:
    """Hide words of a sentence, all at once, and see every place at every step.

    Parameters
    ----------
    model, tokenizer, sentence, num_steps, interventions
        As for `answer`.
    masked_words : collection of int
        Numbers of the hidden words among `words`, from 0.

    Returns
    -------
    Unfolding

    Raises
    ------
    ValueError
        As for `answer`.
    """
    import torch

    encoding = _encoded(model, tokenizer, sentence)
    ids = torch.tensor([encoding.ids])
    hidden = torch.zeros(ids.shape[1], dtype=torch.bool)
    hidden[_places(model, tokenizer, sentence, masked_words)] = True
    ids[0, hidden] = tokenizer.token_to_id(MASK)
    states, gates = _follow(model, ids, num_steps, interventions)
    with torch.no_grad():
        chances, likely = model.head(states).softmax(-1).topk(CANDIDATES)
    named = [tokenizer.id_to_token(number) for number in likely.flatten().tolist()]
    return Unfolding(
        tokens=list(encoding.tokens),
        hidden=hidden.numpy(),
        words=np.array(named).reshape(likely.shape).transpose(0, 2, 1),
        chances=chances.transpose(1, 2).numpy(),
        gates=gates.numpy(),
        sizes=_rms(states.diff(dim=0)).numpy(),
    )


def gallery(
    model: "PnnForMaskedLM", tokenizer: "Tokenizer", sentences: Iterable[str], num_steps: int
) -> pd.DataFrame:
    """Hide every word of some sentences in turn.

    Parameters
    ----------
    model, tokenizer, num_steps
        As for `answer`.
    sentences : iterable of str

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
