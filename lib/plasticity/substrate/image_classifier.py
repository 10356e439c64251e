"""A classifier of pictures in the shape of scikit-learn's: filters, contexts and whole votes."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import numpy as np

from plasticity.substrate.domains.images.encoder import ImageEncoder, Jitter, draw
from plasticity.substrate.domains.images.filters import Bank, FilterLearner, sample_patches
from plasticity.substrate.domains.images.recogniser import BANKS, ImageRecogniser
from plasticity.substrate.domains.images.voting import pack, unpack, whole_votes
from plasticity.substrate.fast_images import FastRecogniser, learn_filters

FILTER_RATE = 0.1  # of Sanger's rule, for patches of mean square length 1
SEEN_FOR_FILTERS = 10_000  # pictures that patches are taken from, at most
TRIED = 6_000  # pictures that settings are tried on, at most
BRIEF = {"epochs": 3, "patches": 20_000}  # of a trial
JITTER = Jitter(shift=1.0, lean=0.14, turn=0.1, stretch=0.1)


class ImageClassifier:
    """Learns filters without labels, then votes with them, and keeps both as whole numbers.

    Parameters
    ----------
    banks : sequence of Bank
    encoder : ImageEncoder, optional
        Upright and of side 28 unless given.
    jitter : Jitter
        How far each picture is moved, anew in every epoch.
    epochs : int
        Times that each picture is learnt, 1 or more.
    learning_rate : float
        As for `FastRecogniser.fit`.
    clip, bits : float, int
        As for `whole_votes`.
    patches : int
        That filters are learnt from.
    random_state : int
        Of the patches, the first filters, the order and the moves.
    n_jobs : int
        Threads; results do not depend on it.

    Attributes
    ----------
    classes_ : ndarray
        In the order of the columns of `decision_function`.
    graph_ : ImageRecogniser
        With whole filters and whole votes.
    votes_ : ndarray of int8, shape (contexts, classes)
    unrounded_votes_ : ndarray of float32, shape (contexts, classes)
    losses_ : ndarray of float32, shape (epochs,)

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> images = np.zeros((40, 12, 12))
    >>> for image, place in zip(images, random.integers(2, 9, 40)):
    ...     image[place] = 1
    >>> images[::2] = images[::2].transpose(0, 2, 1)
    >>> labels = np.array(["upright", "flat"] * 20)
    >>> eye = ImageEncoder(side=12, upright=False)
    >>> model = ImageClassifier([Bank(3, 2, 2)], eye, Jitter(), epochs=3, patches=500)
    >>> model.fit(images[:30], labels[:30]).score(images[30:], labels[30:])
    1.0
    """

    def __init__(
        self,
        banks: Sequence[Bank] = BANKS,
        encoder: ImageEncoder | None = None,
        jitter: Jitter = JITTER,
        epochs: int = 8,
        learning_rate: float = 3.0,
        clip: float = 0.7,
        bits: int = 8,
        patches: int = 100_000,
        random_state: int = 0,
        n_jobs: int = 1,
    ):
        self.banks, self.encoder, self.jitter = tuple(banks), encoder or ImageEncoder(), jitter
        self.epochs, self.learning_rate, self.clip, self.bits = epochs, learning_rate, clip, bits
        self.patches, self.random_state, self.n_jobs = patches, random_state, n_jobs

    def fit(self, images: np.ndarray, labels: np.ndarray) -> Self:
        """Forget everything, and learn from pictures.

        Parameters
        ----------
        images : ndarray, shape (images, rows, columns)
            As for `ImageEncoder`; any size, one channel.
        labels : ndarray, shape (images,)
            Of two classes or more.

        Returns
        -------
        ImageClassifier
            Itself.

        Raises
        ------
        ValueError, TypeError
            For pictures that the encoder does not take, labels that are not one for each, or
            labels of a single class.
        """
        labels = np.asarray(labels)
        grids = self.encoder.grids(images)
        if labels.shape != (len(grids),):
            raise ValueError(
                f"labels have shape {labels.shape}; allowed: ({len(grids)},), one for each image"
            )
        self.classes_, places = np.unique(labels, return_inverse=True)
        names = [str(name) for name in self.classes_]
        settings = {"encoder": self.encoder, "seed": self.random_state}
        self.graph_ = ImageRecogniser(names, self._filters(grids), self.banks, **settings)
        fast = FastRecogniser(self.graph_, self.n_jobs)
        self.losses_ = fast.fit(
            grids, places, self.epochs, self.learning_rate, self.jitter, self.random_state
        )
        self.keep(fast.votes[:, : len(names)])
        return self

    def keep(self, votes: np.ndarray) -> None:
        """Make votes whole and write them into the graph.

        Parameters
        ----------
        votes : ndarray of float32, shape (contexts, classes)
        """
        self.unrounded_votes_ = votes
        self.votes_ = whole_votes(votes, self.clip, self.bits)
        self.graph_.set_votes(self.votes_)

    def decision_function(self, images: np.ndarray) -> np.ndarray:
        """Return the score of every class, int32, shape (images, classes)."""
        fast = FastRecogniser(self._fitted(), self.n_jobs)
        return fast.scores(self.encoder.grids(images), self.votes_)

    def unrounded(self, images: np.ndarray) -> np.ndarray:
        """Return the scores before votes were made whole, float32, shape (images, classes)."""
        fast = FastRecogniser(self._fitted(), self.n_jobs)
        return fast.scores(self.encoder.grids(images), self.unrounded_votes_)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the class of each picture; of equal scores the first."""
        places = self.decision_function(images).argmax(axis=1)
        return self.classes_[places]

    def score(self, images: np.ndarray, labels: np.ndarray) -> float:
        """Return the share of pictures whose class is predicted, 0 to 1."""
        return float(np.mean(self.predict(images) == np.asarray(labels)))

    def packed(self) -> dict[str, np.ndarray]:
        """Return all that has to be kept: filters, a byte a weight, and votes, see `pack`."""
        filters = enumerate(self._fitted().filters)
        kept = {f"filters {place}": bank.astype(np.int8) for place, bank in filters}
        return {**kept, "votes": pack(self.votes_, self.bits)}

    def restore(self, packed: dict[str, np.ndarray], classes: np.ndarray) -> Self:
        """Take filters and votes from what `packed` returned; return the classifier itself."""
        self.classes_ = np.asarray(classes)
        self.votes_ = unpack(packed["votes"], self.bits, len(self.classes_))
        names = [str(name) for name in self.classes_]
        filters = [packed[f"filters {place}"] for place in range(len(self.banks))]
        settings = {"encoder": self.encoder, "seed": self.random_state}
        self.graph_ = ImageRecogniser(names, filters, self.banks, **settings)
        self.graph_.set_votes(self.votes_)
        return self

    def _filters(self, grids: np.ndarray) -> list[np.ndarray]:
        """Return whole filters learnt from patches of some of the grids, for every bank."""
        some = np.random.default_rng(self.random_state).permutation(len(grids))[:SEEN_FOR_FILTERS]
        drawn, found = draw(grids, self.encoder.frames(grids), some), []
        for bank in self.banks:
            bank.positions(self.encoder.side)
            learner = FilterLearner(bank, FILTER_RATE, self.random_state)
            learn_filters(learner, sample_patches(drawn, bank.size, self.patches, learner.seed))
            found.append(learner.whole())
        return found

    def _fitted(self) -> ImageRecogniser:
        if not hasattr(self, "graph_"):
            raise ValueError("the classifier has learnt nothing yet; call fit first")
        return self.graph_


def chosen(
    images: np.ndarray, labels: np.ndarray, random_state: int = 0, **settings
) -> ImageClassifier:
    """Return an untrained classifier that suits some pictures: upright or not, moved or not.

    Every choice is tried on some of the pictures and scored on others, a fifth of them.

    Parameters
    ----------
    images, labels : ndarray
        As for `ImageClassifier.fit`: what is to be learnt, never what is to be predicted.
    random_state : int
        Of the trials, and of the classifier.
    **settings
        Other settings of `ImageClassifier`; of `encoder` its side and top are kept.

    Returns
    -------
    ImageClassifier

    Examples
    --------
    >>> images, labels = np.zeros((60, 12, 12)), np.arange(60) % 2
    >>> images[labels == 0, 4:8, 1:4] = 1  # where it is matters: not to be centred
    >>> images[labels == 1, 4:8, 8:11] = 1
    >>> model = chosen(images, labels, banks=[Bank(3, 4, 2)], encoder=ImageEncoder(12))
    >>> model.encoder.upright
    False
    """
    images, labels = np.asarray(images), np.asarray(labels)
    order = np.random.default_rng(random_state).permutation(len(images))[:TRIED]
    scored, learnt = np.split(order, [len(order) // 5])
    given = settings.pop("encoder", None) or ImageEncoder()
    best, most = None, -1.0
    for upright, moved in itertools.product((True, False), (1.0, 0.5, 0.0)):
        moves = Jitter(**{name: moved * reach for name, reach in vars(JITTER).items()})
        own = {"encoder": replace(given, upright=upright), "jitter": moves, **settings}
        trial = ImageClassifier(**{**own, **BRIEF}, random_state=random_state)
        share = trial.fit(images[learnt], labels[learnt]).score(images[scored], labels[scored])
        if share > most:
            best, most = ImageClassifier(**own, random_state=random_state), share
    return best
