"""Tasks of GLUE and SuperGLUE: what a classifier reads of a row, and each task's own score.

Every task is the class of a sentence or of a pair of sentences. Where a row has several answers,
it becomes as many pairs, which belong to one question.

References
----------
Wang et al. (2018), GLUE; Wang et al. (2019), SuperGLUE. WSC's pronoun is marked as in Raffel et al.
(2020), "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from plasticity.pnn import glue_scores as scores

ASKED = {"cause": "What was the cause?", "effect": "What happened as a result?"}
Rows = Mapping[str, Sequence]


@dataclass(frozen=True)
class Pairs:
    """What a classifier reads of some rows, and what it must say.

    Attributes
    ----------
    first : list of str
    second : list of str or None
        None where there is but one sentence.
    labels : ndarray, shape (pairs,)
        Classes, or values of a regression; for an answer among which one is chosen, how right it
        is, in [0, 1].
    questions, texts : ndarray of int, shape (pairs,)
        Which question each pair belongs to, and which text that is about; those of one question,
        and of one text, stand together.
    """

    first: list[str]
    second: list[str] | None
    labels: np.ndarray
    questions: np.ndarray
    texts: np.ndarray

    def drawn(self, rng: np.random.Generator) -> np.ndarray:
        """Return the indices of the pairs of as many texts, drawn with replacement."""
        starts = np.flatnonzero(_begins(self.texts))
        ends = np.append(starts[1:], len(self.texts))
        chosen = rng.integers(len(starts), size=len(starts))
        if len(starts) == len(self.texts):
            return chosen
        return np.concatenate([np.arange(starts[n], ends[n]) for n in chosen])

    def taken(self, indices: np.ndarray) -> "Pairs":
        """Return labels and questions of some pairs, unread; a question drawn twice is two.

        Parameters
        ----------
        indices : ndarray of int
            Whole texts, as `drawn` returns them.
        """
        questions = np.cumsum(_begins(self.questions)[indices])
        return Pairs([], None, self.labels[indices], questions, self.texts[indices])


def _begins(numbers: np.ndarray) -> np.ndarray:
    """Tell where a number differs from the one before it, as the first does."""
    return np.diff(numbers, prepend=-1) != 0


def _alone(firsts: list[str], seconds: list[str] | None, labels: Sequence) -> Pairs:
    """Return pairs of which each is a question of its own."""
    alone = np.arange(len(firsts))
    return Pairs(firsts, seconds, np.asarray(labels), alone, alone)


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes
    ----------
    columns : tuple of str
        The sentence, or the two sentences that are joined by ``[SEP]``; with `unfold`, all that is
        read.
    num_labels : int
        Classes; 1 for a regression.
    score : callable
        From predictions and labels to a number, higher being better.
    unfold : callable, optional
        From rows to pairs, where that is more than to read one column or two.
    chooses : bool
        Whether exactly one answer of each question is chosen.
    by_question : bool
        Whether `score` needs to know which question each answer belongs to.
    """

    columns: tuple[str, ...]
    num_labels: int = 2
    score: Callable[..., float] = scores.accuracy
    unfold: Callable[[Rows], Pairs] | None = None
    chooses: bool = False
    by_question: bool = False

    def pairs(self, rows: Rows) -> Pairs:
        """Return what a classifier reads of rows, given as columns."""
        if self.unfold:
            return self.unfold(rows)
        texts = [list(rows[column]) for column in self.columns]
        return _alone(texts[0], texts[1] if len(texts) > 1 else None, rows["label"])

    def targets(self, pairs: Pairs) -> np.ndarray:
        """Return what a classifier is taught to say."""
        return (pairs.labels == 1).astype(int) if self.chooses else pairs.labels

    def predictions(self, logits: np.ndarray, pairs: Pairs) -> np.ndarray:
        """Return classes, values of a regression, or 1 for the chosen answer of each question.

        Parameters
        ----------
        logits : ndarray, shape (pairs, num_labels)
        pairs : Pairs
        """
        if self.num_labels == 1:
            return logits[:, 0]
        if not self.chooses:
            return logits.argmax(-1)
        return _best(logits[:, 1] - logits[:, 0], pairs.questions)

    def majority(self, train: Pairs, pairs: Pairs) -> np.ndarray:
        """Return what one says who always says what was commonest, or the mean, in training.

        Parameters
        ----------
        train, pairs : Pairs
            What the guess is taken from, and what it answers. Where one answer is chosen, the
            guess is a place in the list of answers.
        """
        if self.chooses:
            right = _places(train.questions)[train.labels == 1]
            commonest = np.bincount(right, minlength=1).argmax()
            return _best(-abs(_places(pairs.questions) - commonest), pairs.questions)
        if self.num_labels == 1:
            return np.full(len(pairs.labels), np.mean(train.labels))
        return np.full(len(pairs.labels), np.bincount(train.labels).argmax())

    def scored(self, predicted: np.ndarray, pairs: Pairs) -> float:
        """Return the task's score of predictions."""
        grouped = (pairs.questions,) if self.by_question else ()
        return self.score(predicted, pairs.labels, *grouped)


def _places(questions: np.ndarray) -> np.ndarray:
    """Return the place of each answer among those of its question, from 0."""
    starts = np.flatnonzero(_begins(questions))
    return np.arange(len(questions)) - np.repeat(starts, np.diff([*starts, len(questions)]))


def _best(values: np.ndarray, questions: np.ndarray) -> np.ndarray:
    """Return 1 for the first of the highest values of each question, and 0 for the others."""
    order = np.lexsort((np.arange(len(values)), -values, questions))
    chosen = np.zeros(len(values), int)
    chosen[order[_places(questions) == 0]] = 1
    return chosen


# --- rows that are more than one or two columns ------------------------------------------------


def _numbered(keys: Sequence) -> np.ndarray:
    """Return the number of the run of equal keys that each key stands in."""
    changes = [number > 0 and key != keys[number - 1] for number, key in enumerate(keys)]
    return np.cumsum(changes)


def _wic(rows: Rows) -> Pairs:
    both = zip(rows["word"], rows["sentence1"], strict=True)
    return _alone([f"{word}: {text}" for word, text in both], list(rows["sentence2"]),
                  rows["label"])  # fmt: skip


def _wsc(rows: Rows) -> Pairs:
    texts = []
    for text, place in zip(rows["text"], rows["span2_index"], strict=True):
        words = text.split()
        words[place] = f"* {words[place]} *"
        texts.append(" ".join(words))
    return _alone(texts, list(rows["span1_text"]), rows["label"])


def _copa(rows: Rows) -> Pairs:
    firsts, seconds, labels = [], [], []
    names = ("premise", "question", "choice1", "choice2", "label")
    for premise, question, *choices, label in zip(*(rows[name] for name in names), strict=True):
        firsts += 2 * [f"{premise} {ASKED[question]}"]
        seconds += choices
        labels += [float(label == 0), float(label == 1)]
    questions = np.repeat(np.arange(len(labels) // 2), 2)
    return Pairs(firsts, seconds, np.array(labels), questions, questions)


def _multirc(rows: Rows) -> Pairs:
    asked = [" ".join(both) for both in zip(rows["question"], rows["answer"], strict=True)]
    texts = _numbered([index["paragraph"] for index in rows["idx"]])
    questions = _numbered([(index["paragraph"], index["question"]) for index in rows["idx"]])
    return Pairs(list(rows["paragraph"]), asked, np.asarray(rows["label"]), questions, texts)


def _record(rows: Rows) -> Pairs:
    firsts, seconds, labels, questions = [], [], [], []
    names = ("passage", "query", "entities", "answers")
    for number, row in enumerate(zip(*(rows[name] for name in names), strict=True)):
        passage, query, entities, answers = row
        firsts += [passage.replace("@highlight", " ")] * len(entities)
        questions += [number] * len(entities)
        for entity in entities:
            seconds.append(query.replace("@placeholder", entity))
            shares = (scores.shared_words(entity, right) for right in answers)
            labels.append(max(shares, default=0.0))
    return Pairs(firsts, seconds, np.array(labels), np.array(questions), _numbered(firsts))


TASKS = {
    "glue_cola": Task(("sentence",), score=scores.matthews_correlation),
    "glue_sst2": Task(("sentence",)),
    "glue_mrpc": Task(("sentence1", "sentence2"), score=scores.accuracy_and_f1),
    "glue_qqp": Task(("question1", "question2"), score=scores.accuracy_and_f1),
    "glue_stsb": Task(("sentence1", "sentence2"), num_labels=1, score=scores.correlations),
    "glue_mnli": Task(("premise", "hypothesis"), num_labels=3),
    "glue_qnli": Task(("question", "sentence")),
    "glue_rte": Task(("sentence1", "sentence2")),
    "glue_wnli": Task(("sentence1", "sentence2")),
    "super_glue_boolq": Task(("question", "passage")),
    "super_glue_cb": Task(
        ("premise", "hypothesis"), num_labels=3, score=scores.accuracy_and_macro_f1
    ),
    "super_glue_rte": Task(("premise", "hypothesis")),
    "super_glue_wic": Task(("word", "sentence1", "sentence2"), unfold=_wic),
    "super_glue_wsc": Task(("text", "span1_text", "span2_index"), unfold=_wsc),
    "super_glue_copa": Task(
        ("premise", "question", "choice1", "choice2"),
        score=scores.chosen_right,
        unfold=_copa,
        chooses=True,
    ),
    "super_glue_multirc": Task(
        ("paragraph", "question", "answer", "idx"),
        score=scores.all_answers_right,
        unfold=_multirc,
        by_question=True,
    ),
    "super_glue_record": Task(
        ("passage", "query", "entities", "answers"),
        score=scores.chosen_right,
        unfold=_record,
        chooses=True,
    ),
}
