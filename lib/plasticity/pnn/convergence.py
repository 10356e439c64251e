"""When a prediction settles: classes of difficulty, rules for the step, and nulls.

Everything here works on the predictions of a set of hidden tokens after the embeddings and after
each readout, as `plasticity.pnn.trajectories.follow` gives them, and needs numpy alone.

References
----------
Choi (2025), Plastic Neural Networks, section 4.4 and figure 2. Chapter: convergence.
"""

from collections.abc import Callable

import numpy as np

CLASSES = ("easy", "medium", "hard")


def difficulty(predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Sort tokens into the classes of the paper's figure 2.

    Easy: right before any step. Medium: wrong there, right in the end. Hard: wrong at both.

    Parameters
    ----------
    predictions : ndarray of int, shape (readouts + 1, tokens)
        Most likely token after the embeddings (first row) and after each readout.
    targets : ndarray of int, shape (tokens,)
        The hidden tokens.

    Returns
    -------
    ndarray of int64, shape (tokens,)
        Index into `CLASSES`.

    Raises
    ------
    ValueError
        If the shapes do not fit, or there is no readout after the embeddings.

    Examples
    --------
    >>> difficulty(np.array([[7, 7, 7], [7, 8, 8], [7, 8, 8]]), np.array([7, 8, 9]))
    array([0, 1, 2])
    """
    right = _checked(predictions, targets) == targets
    return np.where(right[0], 0, np.where(right[-1], 1, 2))


def first_repeat(predictions: np.ndarray) -> np.ndarray:
    """Return the first step that predicts the same as the one before it.

    No code of the paper's analysis is published; of the rules tried, this is the one that fits its
    figure. It looks neither at the target nor at what comes later.

    Parameters
    ----------
    predictions : ndarray of int, shape (readouts + 1, tokens)
        As for `difficulty`.

    Returns
    -------
    ndarray of int64, shape (tokens,)
        Steps, from 1 to the number of readouts, which also stands for "never".

    Raises
    ------
    ValueError
        If there is no readout after the embeddings.

    Examples
    --------
    >>> first_repeat(np.array([[7, 7, 7], [7, 8, 8], [9, 8, 9], [9, 8, 8]]))
    array([1, 2, 3])
    """
    predictions = _checked(predictions)
    return _first(predictions[1:] == predictions[:-1])


def last_change(predictions: np.ndarray) -> np.ndarray:
    """Return the last step that predicts something else than the one before it.

    Parameters
    ----------
    predictions : ndarray of int, shape (readouts + 1, tokens)
        As for `difficulty`.

    Returns
    -------
    ndarray of int64, shape (tokens,)
        Steps, from 0 (the embeddings' prediction stands) to the number of readouts.

    Raises
    ------
    ValueError
        If there is no readout after the embeddings.

    Examples
    --------
    >>> last_change(np.array([[7, 7, 7], [7, 8, 8], [7, 8, 9]]))
    array([0, 1, 2])
    """
    predictions = _checked(predictions)
    return _last(predictions[1:] != predictions[:-1])


def right_for_good(predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the first step from which on the prediction is right.

    Parameters
    ----------
    predictions, targets : ndarray of int
        As for `difficulty`.

    Returns
    -------
    ndarray of int64, shape (tokens,)
        Steps, from 0 to the number of readouts, which also stands for "never": by definition the
        hard tokens have no other value.

    Raises
    ------
    ValueError
        If the shapes do not fit, or there is no readout after the embeddings.

    Examples
    --------
    >>> right_for_good(np.array([[7, 8, 8], [7, 7, 8], [7, 7, 8]]), np.array([7, 7, 7]))
    array([0, 1, 2])
    """
    wrong = _checked(predictions, targets) != targets
    settled = np.where(wrong[0], 1, 0)
    return np.where(wrong[1:].any(0), np.minimum(_last(wrong[1:]) + 1, len(wrong) - 1), settled)


def first_below(values: np.ndarray, threshold: float) -> np.ndarray:
    """Return the first step whose value lies below a threshold.

    Parameters
    ----------
    values : ndarray of float, shape (readouts, tokens)
        How far each readout moved, such as ``divergence`` or ``change`` of
        `plasticity.pnn.trajectories.Trajectories`.
    threshold : float
        In the unit of the values.

    Returns
    -------
    ndarray of int64, shape (tokens,)
        Steps, from 1 to the number of readouts, which also stands for "never".

    Raises
    ------
    ValueError
        If there is no readout.

    Examples
    --------
    >>> first_below(np.array([[0.9, 0.1, 0.9], [0.1, 0.1, 0.9]]), threshold=0.5)
    array([2, 1, 2])
    """
    if np.ndim(values) != 2 or len(values) == 0:
        raise ValueError(
            f"values has shape {np.shape(values)}; allowed: (readouts, tokens), 1 readout or more"
        )
    return _first(np.asarray(values) < threshold)


def frequency_third(counts: np.ndarray) -> np.ndarray:
    """Cut tokens into thirds by how often their words occur elsewhere.

    Tokens of the same count stay together, so that the thirds are equal up to the commonest words.

    Parameters
    ----------
    counts : ndarray of int, shape (tokens,)
        For each token, how often its word occurs in the training set.

    Returns
    -------
    ndarray of int64, shape (tokens,)
        0 for frequent, 1 for middle, 2 for rare.

    Examples
    --------
    >>> frequency_third(np.array([900, 3, 50, 60, 900, 2]))
    array([0, 2, 1, 1, 0, 2])
    """
    _, place, size = np.unique(-np.asarray(counts), return_inverse=True, return_counts=True)
    middle = (np.cumsum(size) - size / 2) / size.sum()  # of each count's tokens, from 0 to 1
    return (3 * middle).astype(np.int64)[place]


def class_means(steps: np.ndarray, classes: np.ndarray, number: int = len(CLASSES)) -> np.ndarray:
    """Return the mean step of each class.

    Parameters
    ----------
    steps : ndarray, shape (..., tokens)
        Steps, one row for each rule.
    classes : ndarray of int, shape (tokens,)
        From 0 to `number` - 1.
    number : int
        How many classes there are.

    Returns
    -------
    ndarray of float64, shape (..., number)
        nan for a class without tokens.

    Examples
    --------
    >>> class_means(np.array([1, 2, 4]), np.array([0, 2, 2]))
    array([ 1., nan,  3.])
    """
    member = np.equal.outer(classes, np.arange(number)).astype(float)  # (tokens, number)
    with np.errstate(invalid="ignore"):
        return np.asarray(steps, dtype=float) @ member / member.sum(0)


def resampled_means(
    steps: np.ndarray,
    classes: np.ndarray,
    texts: np.ndarray,
    draws: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the means by class where whole texts are drawn again, with replacement.

    Tokens of one text are not independent, nor are several masks of the same text: their spread
    says less about other texts than that many independent tokens would (a cluster bootstrap).

    Parameters
    ----------
    steps : ndarray, shape (rules, tokens)
        Steps, one row for each rule.
    classes : ndarray of int, shape (tokens,)
        Index into `CLASSES`.
    texts : ndarray of int, shape (tokens,)
        Number of the text that each token stands in, from 0.
    draws : int
        How often to draw.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float64, shape (draws, rules, 3)
        nan where no token of a class was drawn.

    Examples
    --------
    >>> steps, texts = np.array([[1, 1, 4, 4]]), np.array([0, 1, 0, 1])
    >>> classes = np.array([0, 0, 2, 2])
    >>> resampled_means(steps, classes, texts, 2, np.random.default_rng(0))[:, 0, [0, 2]]
    array([[1., 4.],
           [1., 4.]])
    """
    count = int(texts.max()) + 1
    cell, cells = texts * len(CLASSES) + classes, count * len(CLASSES)
    tokens = np.bincount(cell, minlength=cells).reshape(count, -1)
    sums = [np.bincount(cell, own, minlength=cells).reshape(count, -1) for own in steps]
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=draws)
    with np.errstate(invalid="ignore"):
        return np.stack([drawn @ own / (drawn @ tokens) for own in sums], axis=1)


def exchanged_labels(
    steps: np.ndarray,
    classes: np.ndarray,
    permutations: int,
    rng: np.random.Generator,
    alike: np.ndarray | None = None,
) -> np.ndarray:
    """Return the means by class where tokens exchange their classes.

    Without `alike`, class and step have nothing to do with each other. With it, tokens exchange
    classes only with their like: what is left of a difference is due to `alike` alone.

    Parameters
    ----------
    steps : ndarray, shape (..., tokens)
        Steps, one row for each rule.
    classes : ndarray of int, shape (tokens,)
        Index into `CLASSES`.
    permutations : int
        How often to exchange.
    rng : numpy.random.Generator
    alike : ndarray, shape (tokens,), optional
        Tokens of the same value are alike.

    Returns
    -------
    ndarray of float64, shape (permutations, ..., 3)

    Examples
    --------
    >>> steps, classes = np.array([1, 1, 4, 4]), np.array([0, 0, 2, 2])
    >>> exchanged_labels(steps, classes, 2, np.random.default_rng(0), alike=steps)[:, [0, 2]]
    array([[1., 4.],
           [1., 4.]])
    """
    alike = np.zeros(len(classes)) if alike is None else alike
    groups = [np.flatnonzero(alike == value) for value in np.unique(alike)]
    means = []
    for _ in range(permutations):
        exchanged = classes.copy()
        for group in groups:
            exchanged[group] = rng.permutation(classes[group])
        means.append(class_means(steps, exchanged))
    return np.stack(means)


def exchanged_targets(
    predictions: np.ndarray,
    targets: np.ndarray,
    steps_for: Callable[[np.ndarray], np.ndarray],
    permutations: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the means by class where tokens exchange their targets and the classes form anew.

    Nothing that a model knows of a token's difficulty is left: what remains of a difference between
    classes comes from how the classes are defined.

    Parameters
    ----------
    predictions, targets : ndarray of int
        As for `difficulty`.
    steps_for : callable
        Maps targets to steps of shape (..., tokens); most rules return the same for any.
    permutations : int
        How often to exchange.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float64, shape (permutations, ..., 3)
        nan for a class that no token fell into.

    Examples
    --------
    >>> predictions, targets = np.array([[7, 7], [7, 8]]), np.array([7, 8])
    >>> steps = first_repeat(predictions)
    >>> rng = np.random.default_rng(0)
    >>> exchanged_targets(predictions, targets, lambda shuffled: steps, 5, rng).shape
    (5, 3)
    """
    means = []
    for _ in range(permutations):
        shuffled = rng.permutation(targets)
        means.append(class_means(steps_for(shuffled), difficulty(predictions, shuffled)))
    return np.stack(means)


def _checked(predictions: np.ndarray, targets: np.ndarray | None = None) -> np.ndarray:
    predictions = np.asarray(predictions)
    if predictions.ndim != 2 or len(predictions) < 2:
        raise ValueError(
            f"predictions has shape {predictions.shape}; allowed: (readouts + 1, tokens), "
            "1 readout or more"
        )
    if targets is not None and np.shape(targets) != predictions.shape[1:]:
        raise ValueError(
            f"targets has shape {np.shape(targets)}; allowed: {predictions.shape[1:]}, one for "
            "each token"
        )
    return predictions


def _first(met: np.ndarray) -> np.ndarray:
    """Return the number of the first row that is true, counted from 1; the last where none is."""
    return np.where(met.any(0), met.argmax(0) + 1, len(met))


def _last(met: np.ndarray) -> np.ndarray:
    """Return the number of the last row that is true, counted from 1; 0 where none is."""
    return np.where(met.any(0), len(met) - met[::-1].argmax(0), 0)
