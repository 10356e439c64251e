"""A classifier in the shape of scikit-learn's, on top of a brain."""

from typing import Self

import numpy as np

from plasticity.substrate.brain import Brain
from plasticity.substrate.learning import margin_error, softmax_error

FEATURES, CLASSES = "feature", "class"
ERRORS = {"softmax": softmax_error, "margin": margin_error}


class BrainClassifier:
    """Feature neurons, class neurons, and one hop of synapses that learns from its local error.

    Parameters
    ----------
    error : {'softmax', 'margin'}
        Local error of a class neuron: delta rule of a softmax, or perceptron with a margin.
    rule : {'delta', 'adam'}
        Plain updates, or Adam's with its moments inside each synapse.
    learning_rate : float
        Above 0.
    epochs : int
        Passes of `fit`, 1 or more.
    random_state : int
        Of the order of the samples.
    n_jobs : int
        Threads of large spreads; results do not depend on it.

    Attributes
    ----------
    brain_ : Brain
    classes_ : ndarray
        In the order of the columns of `decision_function`.

    Examples
    --------
    >>> model = BrainClassifier(epochs=20, learning_rate=0.5)
    >>> samples = np.array([[0.0, 1.0], [1.0, 0.0], [0.1, 0.9], [0.8, 0.0]])
    >>> labels = np.array(["low", "high", "low", "high"])
    >>> model.fit(samples, labels).predict(samples)
    array(['low', 'high', 'low', 'high'], dtype='<U4')
    """

    def __init__(
        self,
        error: str = "softmax",
        rule: str = "delta",
        learning_rate: float = 0.1,
        epochs: int = 5,
        random_state: int = 0,
        n_jobs: int = 1,
    ):
        if error not in ERRORS:
            raise ValueError(f"error is {error!r}; allowed: {', '.join(ERRORS)}")
        if epochs < 1:
            raise ValueError(f"epochs is {epochs}; allowed: 1 or more")
        self.error = error
        self.rule = rule
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, samples: np.ndarray, labels: np.ndarray) -> Self:
        """Forget everything, and learn from samples.

        Parameters
        ----------
        samples : ndarray of float, shape (samples, features)
            Finite; a feature that is 0 emits nothing.
        labels : ndarray, shape (samples,)
            Class of each sample.

        Returns
        -------
        BrainClassifier
            Itself.
        """
        self.__dict__.pop("brain_", None)
        generator = np.random.default_rng(self.random_state)
        for _ in range(self.epochs):
            order = generator.permutation(len(samples))
            self.partial_fit(np.asarray(samples)[order], np.asarray(labels)[order], labels)
        return self

    def partial_fit(
        self, samples: np.ndarray, labels: np.ndarray, classes: np.ndarray | None = None
    ) -> Self:
        """Learn from samples once each, in their order, on top of what is known.

        Parameters
        ----------
        samples, labels
            As for `fit`.
        classes : ndarray, optional
            All classes there are; needed at the first call, unless `labels` holds them all.

        Returns
        -------
        BrainClassifier
            Itself.

        Raises
        ------
        ValueError
            For samples of another number of features, or that are not finite, and for a label
            outside the classes.
        """
        samples, labels = np.asarray(samples, np.float32), np.asarray(labels)
        if not hasattr(self, "brain_"):
            self._build(samples.shape[1], np.unique(labels if classes is None else classes))
        self._check(samples)
        places = np.minimum(np.searchsorted(self.classes_, labels), len(self.classes_) - 1)
        if (self.classes_[places] != labels).any():
            wrong = labels[self.classes_[places] != labels][0]
            raise ValueError(f"label is {wrong!r}; allowed: {', '.join(map(str, self.classes_))}")
        error = ERRORS[self.error]
        for sample, place in zip(samples, places, strict=True):
            active, values = self._frontier(sample)
            scores = self._scores(active, values)
            self.brain_.learn_rows(
                active, values, self._class_neurons, error(scores, place), "evidence"
            )
        return self

    def decision_function(self, samples: np.ndarray) -> np.ndarray:
        """Return the activation of each class neuron, shape (samples, classes), float32."""
        samples = np.asarray(samples, np.float32)
        self._check(samples)
        return np.stack([self._scores(*self._frontier(sample)) for sample in samples])

    def predict(self, samples: np.ndarray) -> np.ndarray:
        """Return the class of each sample; of equal activations the first class."""
        return self.classes_[np.argmax(self.decision_function(samples), axis=1)]

    def score(self, samples: np.ndarray, labels: np.ndarray) -> float:
        """Return the share of samples whose class is predicted, 0 to 1."""
        return float(np.mean(self.predict(samples) == np.asarray(labels)))

    def _build(self, features: int, classes: np.ndarray) -> None:
        self.classes_ = classes
        self.brain_ = Brain(seed=self.random_state, threads=self.n_jobs)
        self.brain_.relation("evidence", rule=self.rule, learning_rate=self.learning_rate)
        self._feature_neurons = self.brain_.neurons([f"{FEATURES} {i}" for i in range(features)])
        self._class_neurons = self.brain_.neurons([f"{CLASSES} {name}" for name in classes])
        ends = self._feature_neurons[:, None], self._class_neurons[None]
        self.brain_.connect(*ends, 0.0, "evidence")
        self.brain_.consolidate()

    def _check(self, samples: np.ndarray) -> None:
        if not hasattr(self, "brain_"):
            raise ValueError("the classifier has learnt nothing yet; call fit first")
        features = len(self._feature_neurons)
        if samples.ndim != 2 or samples.shape[1] != features:
            raise ValueError(f"samples have shape {samples.shape}; allowed: (any, {features})")
        if not np.isfinite(samples).all():
            raise ValueError("samples hold nan or infinite values; allowed: finite numbers")

    def _frontier(self, sample: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        active = np.flatnonzero(sample)
        return self._feature_neurons[active], sample[active]

    def _scores(self, active: np.ndarray, values: np.ndarray) -> np.ndarray:
        return self.brain_.spread(active, values).activation(self._class_neurons)
