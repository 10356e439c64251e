"""Learning sentences by reward: what is paid when, who gets the credit, what is trained on when."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from plasticity.substrate.domains.sentences.corpus import PROMPT
from plasticity.substrate.domains.sentences.routing import Router, Step

RIGHT, WRONG = 1.0, -0.5  # the source's rewards of a word
FORWARD, BACKWARD = 0.7, 0.5  # its decays of credit, by step
REPLAY_RATE = 0.5  # its rate of replayed episodes, as a share
REPLAY_CAPACITY = 300


def plateau_credit(rewards: Sequence[float]) -> np.ndarray:
    """Spread rewards over the steps around them, as a dendritic plateau would.

    In behavioural time-scale plasticity (Magee and others, 2017) an input is credited by a plateau
    that comes seconds before or after it. Each step gets its own reward, those of later steps and
    those of earlier ones, both weaker with distance.

    Parameters
    ----------
    rewards : sequence of float, shape (steps,)

    Returns
    -------
    ndarray of float64, shape (steps,)

    Examples
    --------
    >>> plateau_credit([0, 0, 1, 0]).round(2)
    array([0.49, 0.7 , 1.  , 0.5 ])
    """
    steps = np.arange(len(rewards))
    ahead = steps[None, :] - steps[:, None]  # from the row's step to the column's
    share = np.where(ahead >= 0, FORWARD ** np.maximum(ahead, 0), BACKWARD ** np.maximum(-ahead, 0))
    return (share * np.asarray(rewards, float)).sum(axis=1)


@dataclass(frozen=True)
class Training:
    """How episodes are chosen, rewarded and credited.

    Parameters
    ----------
    episodes : int
        Sentences tried in all, however they are divided.
    stages : int
        Parts of the curriculum: the first trains on the first share of the sentences, the last on
        all; 1 for no curriculum. Each sentence of a stage is tried equally often.
    replay : int
        Past episodes lived again after each one.
    plateau : bool
        Spread the credit over neighbouring steps.
    at_end : bool
        Pay once, at the last word, the mean of what the words would have earned.
    explore : tuple of (float, float)
        Probability of a random word at the start and at the end of each stage.
    """

    episodes: int = 600
    stages: int = 1
    replay: int = 0
    plateau: bool = False
    at_end: bool = False
    explore: tuple[float, float] = (0.4, 0.02)

    def schedule(self, sentences: int) -> Iterator[tuple[int, float]]:
        """Yield the sentence and the exploration of each episode.

        Examples
        --------
        >>> list(Training(episodes=3, stages=2, explore=(0.5, 0.5)).schedule(2))
        [(0, 0.5), (0, 0.5), (1, 0.5)]
        """
        sizes = [math.ceil(sentences * stage / self.stages) for stage in range(1, self.stages + 1)]
        ends = [round(self.episodes * sum(sizes[: i + 1]) / sum(sizes)) for i in range(len(sizes))]
        start, (high, low) = 0, self.explore
        for size, end in zip(sizes, ends, strict=True):
            for episode in range(end - start):
                done = episode / max(1, end - start - 1)
                yield episode % size, high + (low - high) * done
            start = end


def rewards_of(router: Router, steps: Sequence[Step], sentence: int) -> np.ndarray:
    """Return the reward of each word said, `RIGHT` or `WRONG`."""
    target = router.brain.indexes(router.sentences[sentence][PROMPT:])
    said = np.array([step.word for step in steps])
    return np.where(said == target, RIGHT, WRONG)


def train(router: Router, training: Training, seed: int) -> Iterator[int]:
    """Teach a router by reward, one episode after the other.

    Parameters
    ----------
    router : Router
    training : Training
    seed : int
        Of the order of the sentences, of exploration and of what is replayed.

    Yields
    ------
    int
        Episodes done so far, after each one.
    """
    generator = np.random.default_rng([seed, 1])
    order = generator.permutation(len(router.sentences))
    past: list[tuple[list[Step], np.ndarray]] = []
    for done, (place, explore) in enumerate(training.schedule(len(order)), start=1):
        sentence = int(order[place])
        prompt = router.sentences[sentence][:PROMPT]
        steps = router.say(prompt, sentence, explore, generator)
        earned = paid = rewards_of(router, steps, sentence)
        if training.at_end:
            paid = np.zeros(len(steps))
            paid[-1] = earned.mean()
        credit = plateau_credit(paid) if training.plateau else paid
        router.learn(steps, credit)
        if training.replay:
            if earned.mean() >= 0:
                past = [*past, (steps, credit)][-REPLAY_CAPACITY:]
            for again in generator.integers(len(past), size=training.replay) if past else ():
                router.learn(*past[again], rate=REPLAY_RATE)
        yield done


def accuracy(router: Router, *, given: bool = True) -> tuple[float, float]:
    """Let a router say every sentence without exploring.

    Parameters
    ----------
    router : Router
    given : bool
        Whether it is told which sentence is asked for; else it guesses from the prompt.

    Returns
    -------
    words, sentences : float
        Percent of words right in their place, and of sentences without a mistake.
    """
    right = np.array(
        [
            rewards_of(
                router,
                router.say(words[:PROMPT], place if given else router.guess(words[:PROMPT])),
                place,
            )
            == RIGHT
            for place, words in enumerate(router.sentences)
        ]
    )
    return 100 * float(right.mean()), 100 * float(right.all(axis=1).mean())
