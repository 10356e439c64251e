"""The scores of GLUE's and SuperGLUE's tasks, from predictions and labels; higher is better.

References
----------
Wang et al. (2018), GLUE; Wang et al. (2019), SuperGLUE.
"""

import re
import string
from collections import Counter

import numpy as np
from scipy.stats import pearsonr, spearmanr


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
    return (accuracy(predicted, labels) + _f1(predicted, labels, 1)) / 2


def accuracy_and_macro_f1(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean of accuracy and of the F1 scores of all classes, as CommitmentBank does.

    Examples
    --------
    >>> accuracy_and_macro_f1(np.array([0, 1, 2]), np.array([0, 1, 2]))
    1.0
    """
    classes = np.union1d(predicted, labels)
    f1 = float(np.mean([_f1(predicted, labels, one) for one in classes]))
    return (accuracy(predicted, labels) + f1) / 2


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


def chosen_right(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean over questions of how right the chosen answer is: exactly, and in part.

    Where no answer is right in part (COPA), this is the accuracy; in ReCoRD it is the mean of exact
    match and F1.

    Parameters
    ----------
    predicted : ndarray of int
        1 for the one answer of each question that is chosen, 0 for the others.
    labels : ndarray of float, in [0, 1]
        1 where an answer is right; less where it shares words with a right one.

    Examples
    --------
    >>> chosen_right(np.array([1, 0, 0, 1]), np.array([1.0, 0.0, 1.0, 0.5]))
    0.625
    """
    chosen = labels[predicted == 1]
    return float(((chosen == 1).mean() + chosen.mean()) / 2)


def all_answers_right(predicted: np.ndarray, labels: np.ndarray, questions: np.ndarray) -> float:
    """Return the mean of F1 over all answers and of the share of questions without a mistake.

    Parameters
    ----------
    predicted, labels : ndarray of int
        1 where an answer is (said to be) right.
    questions : ndarray of int
        The question of each answer.

    Examples
    --------
    >>> all_answers_right(np.array([1, 0, 1]), np.array([1, 0, 0]), np.array([0, 0, 1]))
    0.583...
    """
    wrong = np.unique(questions[predicted != labels])
    exact = 1 - len(wrong) / len(np.unique(questions))
    return (_f1(predicted, labels, 1) + exact) / 2


def _f1(predicted: np.ndarray, labels: np.ndarray, one: int) -> float:
    """Return the F1 score of one class; scikit-learn's is too slow for a thousand resamplings."""
    both = (predicted == one) & (labels == one)
    return float(2 * both.sum() / max((predicted == one).sum() + (labels == one).sum(), 1))


def shared_words(answer: str, right: str) -> float:
    """Return the F1 of the words that two answers share, articles and punctuation left out.

    Examples
    --------
    >>> shared_words("the New York", "New York City")
    0.8
    """
    first, second = _words(answer), _words(right)
    shared = (first & second).total()
    return 2 * shared / max(1, first.total() + second.total())


def _words(text: str) -> Counter:
    plain = text.lower().translate(str.maketrans("", "", string.punctuation))
    return Counter(re.sub(r"\b(a|an|the)\b", " ", plain).split())
