"""Tasks of GLUE and SuperGLUE: which columns are read, how many classes, and each one's own score.

References
----------
Wang et al. (2018), GLUE; Wang et al. (2019), SuperGLUE. SuperGLUE's COPA, MultiRC, ReCoRD and WSC
ask for more than the class of one or two sentences and are left out.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import pearsonr, spearmanr

Score = Callable[[np.ndarray, np.ndarray], float]


def accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Return the share that is right.

    Examples
    --------
    >>> accuracy(np.array([1, 0, 1, 1]), np.array([1, 0, 0, 1]))
    0.75
    """
    return float((predicted == labels).mean())


def matthews_correlation(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Return Matthews' correlation of two classes; 0 where either side is constant.

    Examples
    --------
    >>> matthews_correlation(np.array([1, 1, 0, 0]), np.array([0, 0, 1, 1]))
    -1.0
    """
    if predicted.std() == 0 or labels.std() == 0:
        return 0.0
    return round(float(np.corrcoef(predicted, labels)[0, 1]), 12)


def accuracy_and_f1(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean of accuracy and of the F1 score of class 1, as GLUE does.

    Examples
    --------
    >>> accuracy_and_f1(np.array([1, 0]), np.array([1, 0]))
    1.0
    """
    both = (predicted == 1) & (labels == 1)
    f1 = 2 * both.sum() / max((predicted == 1).sum() + (labels == 1).sum(), 1)
    return (accuracy(predicted, labels) + float(f1)) / 2


def correlations(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean of Pearson's and Spearman's correlation; 0 where either side is constant.

    Examples
    --------
    >>> correlations(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]))
    1.0
    """
    if np.std(predicted) == 0 or np.std(labels) == 0:
        return 0.0
    both = pearsonr(predicted, labels).statistic + spearmanr(predicted, labels).statistic
    return round(float(both / 2), 12)


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes
    ----------
    columns : tuple of str
        The sentence, or the two sentences that are joined by ``[SEP]``.
    num_labels : int
        Classes; 1 for a regression.
    score : callable
        From predictions and labels to a number, higher being better.
    """

    columns: tuple[str, ...]
    num_labels: int = 2
    score: Score = accuracy

    def majority_score(self, train_labels: np.ndarray, labels: np.ndarray) -> float:
        """Return the score of always saying the commonest class, or the mean, of the training set.

        Parameters
        ----------
        train_labels, labels : ndarray, shape (examples,)
            What the guess is taken from, and what it is scored on.
        """
        if self.num_labels == 1:
            guess = np.mean(train_labels)
        else:
            guess = np.bincount(train_labels).argmax()
        return self.score(np.full(len(labels), guess), labels)

    def predictions(self, logits: np.ndarray) -> np.ndarray:
        """Return classes, or values of a regression, of logits, shape (examples, num_labels)."""
        return logits[:, 0] if self.num_labels == 1 else logits.argmax(-1)


TASKS = {
    "glue_cola": Task(("sentence",), score=matthews_correlation),
    "glue_sst2": Task(("sentence",)),
    "glue_mrpc": Task(("sentence1", "sentence2"), score=accuracy_and_f1),
    "glue_qqp": Task(("question1", "question2"), score=accuracy_and_f1),
    "glue_stsb": Task(("sentence1", "sentence2"), num_labels=1, score=correlations),
    "glue_mnli": Task(("premise", "hypothesis"), num_labels=3),
    "glue_qnli": Task(("question", "sentence")),
    "glue_rte": Task(("sentence1", "sentence2")),
    "glue_wnli": Task(("sentence1", "sentence2")),
    "super_glue_boolq": Task(("question", "passage")),
    "super_glue_cb": Task(("premise", "hypothesis"), num_labels=3),
    "super_glue_rte": Task(("premise", "hypothesis")),
    "super_glue_wic": Task(("sentence1", "sentence2")),
}
