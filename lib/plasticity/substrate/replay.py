"""Episodes kept for replay: which synapses were used, and what reward came of it."""

import numpy as np

from plasticity.substrate.store import Store

EPISODE_STEP_DTYPE = np.dtype(
    [
        ("episode", np.uint32),
        ("source", np.uint32),
        ("target", np.uint32),
        ("relation", np.uint32),
        ("pre", np.float32),
        ("post", np.float32),
    ]
)
"""One use of one synapse in an episode, 24 bytes."""


class Episodes:
    """A buffer of episodes in a store; the oldest half goes when it is full.

    Parameters
    ----------
    store : Store
    capacity : int
        Episodes, at least 2.

    Examples
    --------
    >>> episodes = Episodes(Store(), capacity=10)
    >>> episodes.append(np.zeros(3, EPISODE_STEP_DTYPE), reward=1.0)
    >>> len(episodes), len(episodes.steps(0))
    (1, 3)
    """

    def __init__(self, store: Store, capacity: int = 10_000):
        if capacity < 2:
            raise ValueError(f"capacity is {capacity}; allowed: 2 or more")
        self._store = store
        self.capacity = capacity
        if "episode_steps" not in store:
            store.create("episode_steps", EPISODE_STEP_DTYPE)
            store.create("episode_rewards", np.float32)

    def __len__(self) -> int:
        return len(self._store["episode_rewards"])

    def append(self, steps: np.ndarray, reward: float) -> None:
        """Keep an episode.

        Parameters
        ----------
        steps : ndarray of EPISODE_STEP_DTYPE
            Its uses of synapses in order; the number of the episode is filled in.
        reward : float
        """
        if len(self) >= self.capacity:
            self._drop(self.capacity // 2)
        first = self._store.extend("episode_steps", len(steps))
        self._store["episode_steps"][first:] = steps
        self._store["episode_steps"]["episode"][first:] = len(self)
        self._store.touch("episode_steps", slice(first, first + len(steps)))
        place = self._store.extend("episode_rewards", 1)
        self._store["episode_rewards"][place] = reward
        self._store.touch("episode_rewards", slice(place, place + 1))

    def steps(self, episode: int) -> np.ndarray:
        """Return the steps of one episode, 0 for the oldest."""
        self._store.require("episode_steps", slice(None))
        steps = self._store["episode_steps"]
        first, end = np.searchsorted(steps["episode"], [episode, episode + 1])
        return steps[first:end]

    def reward(self, episode: int) -> float:
        """Return the reward of one episode."""
        return float(self._store["episode_rewards"][episode])

    def draw(self, count: int, generator: np.random.Generator, expected: float) -> np.ndarray:
        """Draw episodes, likelier the further their reward is from what was expected.

        Parameters
        ----------
        count : int
        generator : numpy.random.Generator
        expected : float

        Returns
        -------
        ndarray of int64, shape (count,)
        """
        self._store.require("episode_rewards", slice(None))
        surprise = np.abs(self._store["episode_rewards"] - np.float32(expected)) + 1e-3
        return generator.choice(len(self), size=count, p=surprise / surprise.sum(dtype=float))

    def _drop(self, count: int) -> None:
        """Drop the oldest episodes."""
        for array in ("episode_steps", "episode_rewards"):
            self._store.require(array, slice(None))
        steps, rewards = self._store["episode_steps"], self._store["episode_rewards"]
        kept = steps[np.searchsorted(steps["episode"], count) :].copy()
        kept["episode"] -= count
        self._store.replace("episode_steps", kept)
        self._store.replace("episode_rewards", rewards[count:].copy())
