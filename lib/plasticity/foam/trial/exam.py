"""What is measured of every arm: new skills, old facts, stories and grammar, and drift."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import nn

from plasticity.foam.trial import probes
from plasticity.foam.trial.learning import IGNORED, Row, collate, skill_rows, text_rows
from plasticity.foam.trial.penalties import text_divergence
from plasticity.foam.trial.scoring import evaluating, score_choices, score_skill, text_loss
from plasticity.foam.trial.skills import SKILLS, Example, skill_examples
from plasticity.foam.trial.world import HALVES, World, pretraining_texts, stories

HELD_OUT = 90_001  # seed of texts that no arm and no base is trained on
AT_ONCE = 256


@dataclass(frozen=True)
class Exam:
    """The questions put to a model, the same for every arm and seed.

    Attributes
    ----------
    tokenizer : PreTrainedTokenizerFast
    skills : dict
        Examples of each skill.
    rows : dict
        The same as rows of tokens.
    questions : dict
        Multiple-choice questions: ``replayed`` and ``unreplayed`` facts, ``stories``, ``grammar``.
    texts : list of str
        Old texts of all kinds, held out.
    """

    tokenizer: object
    skills: dict[str, list[Example]]
    rows: dict[str, list[Row]]
    questions: dict[str, list[probes.MultipleChoice]]
    texts: list[str]

    def progress(self, model: nn.Module) -> dict[tuple[str, str], float]:
        """Measure cheaply what is on the way: answers exact to the token, and facts.

        An answer is exact if every token of it is the likeliest, each after the right ones before
        it: then greedy decoding gives it, so that one pass replaces the writing.

        Returns
        -------
        dict
            From (split, metric) to a value in percent.
        """
        found = {
            (skill, "exact_answers"): 100 * exact_share(model, rows, self.tokenizer.pad_token_id)
            for skill, rows in self.rows.items()
        }
        for half in HALVES:
            scores = score_choices(model, self.tokenizer, self.questions[half])
            found[half, "fact_accuracy"] = 100 * scores["correct"].mean()
        return found

    def answers(self, model: nn.Module, most_tokens: int = 80) -> pd.DataFrame:
        """Let a model answer all questions.

        Parameters
        ----------
        model : nn.Module
        most_tokens : int
            Written for each example of a skill.

        Returns
        -------
        DataFrame
            One row for each item: split (the skill, or the kind of question), kind, cluster and
            correct. A skill has items that do not ask for it, such as those of leakage: a model
            that has learnt nothing answers many of them.
        """
        tables = []
        for skill, examples in self.skills.items():
            table = score_skill(model, self.tokenizer, examples, most_tokens)
            tables.append(table[["item", "kind", "correct"]].assign(split=skill))
            tables[-1]["cluster"] = tables[-1]["item"].astype(str)
        for kind, items in self.questions.items():
            table = score_choices(model, self.tokenizer, items)
            tables.append(table[["item", "kind", "cluster", "correct"]].assign(split=kind))
        return pd.concat(tables, ignore_index=True)

    def drift(self, base: nn.Module, model: nn.Module) -> dict[str, float]:
        """Return KL(base || model) and the model's loss on held-out old texts, nats per token."""
        pad = self.tokenizer.pad_token_id
        rows = text_rows(self.tokenizer, self.texts)
        batches = [collate(rows[n : n + AT_ONCE], pad) for n in range(0, len(rows), AT_ONCE)]
        return {
            "divergence": text_divergence(base, model, batches),
            "loss": text_loss(model, self.tokenizer, self.texts),
        }


def make_exam(world: World, tokenizer, split: str, items: int, probe_items: int) -> Exam:
    """Write the questions of a split.

    Parameters
    ----------
    world : World
    tokenizer : PreTrainedTokenizerFast
    split : {"validation", "test"}
        Of the skills' examples; the questions on facts are the same in both.
    items : int
        Examples of each skill, at most.
    probe_items : int
        Questions of each other kind, at most; of facts, those of the first persons.

    Returns
    -------
    Exam
    """
    skills = {skill: skill_examples(world, skill, split)[:items] for skill in SKILLS}
    told = stories(world, probe_items, HELD_OUT + (split == "test"))
    questions = {half: probes.fact_questions(world, half)[:probe_items] for half in HALVES}
    questions["stories"] = probes.cloze_questions(told)
    questions["grammar"] = probes.grammar_questions(world)[:probe_items]
    rows = {skill: skill_rows(tokenizer, examples) for skill, examples in skills.items()}
    texts = pretraining_texts(world, 200, HELD_OUT + (split == "test"))
    return Exam(tokenizer, skills, rows, questions, texts)


@torch.no_grad()
def exact_share(model: nn.Module, rows: Sequence[Row], pad: int) -> float:
    """Return the share of rows whose every learnt token is the likeliest."""
    right = 0
    with evaluating(model):
        for start in range(0, len(rows), AT_ONCE):
            batch = collate(rows[start : start + AT_ONCE], pad)
            labels = batch.pop("labels")[:, 1:]
            found = model(**batch).logits[:, :-1].argmax(-1)
            right += int(((found == labels) | (labels == IGNORED)).all(1).sum())
    return right / len(rows)
