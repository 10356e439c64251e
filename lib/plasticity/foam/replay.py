"""`MemoryReplayBuffer`: old examples, mixed into the new so that they are not forgotten."""

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

from plasticity.foam.configuration import check_range

STRATEGIES = ("reservoir", "loss", "fifo", "balanced")


class MemoryReplayBuffer:
    """A bounded store of examples, and batches in which a share of them is old.

    Parameters
    ----------
    max_size : int
        At least 1.
    strategy : {"reservoir", "loss", "fifo", "balanced"}
        What a full buffer keeps: a uniform sample of all ever added; the examples of highest loss
        (and replays in proportion to it); the last ones; or as many of each task as it can.
    seed : int
        The buffer has a generator of its own.

    Examples
    --------
    >>> buffer = MemoryReplayBuffer(max_size=100)
    >>> buffer.add("What is photosynthesis?", "Photosynthesis is...", loss=0.3)
    >>> batch = buffer.get_replay_batch([{"prompt": "new", "response": "new"}] * 4)
    >>> len(batch), sum(example["prompt"] == "new" for example in batch)
    (5, 4)
    """

    def __init__(self, max_size: int = 10000, strategy: str = "reservoir", seed: int = 0):
        if not isinstance(max_size, int) or max_size < 1:
            raise ValueError(f"max_size must be a whole number, at least 1, got {max_size!r}")
        if strategy not in STRATEGIES:
            raise ValueError(f"strategy must be one of {STRATEGIES}, got {strategy!r}")
        self.max_size, self.strategy = max_size, strategy
        self.examples: list[dict] = []
        self.added = 0
        self.seen: dict[str | None, int] = {}
        self._random = random.Random(seed)

    def __len__(self) -> int:
        """Return how many examples are stored."""
        return len(self.examples)

    def add(
        self, prompt: str, response: str, loss: float | None = None, task: str | None = None
    ) -> None:
        """Offer one example; a full buffer decides by its strategy what to keep.

        Parameters
        ----------
        prompt, response : str
        loss : float, optional
            What is not finite counts as unknown.
        task : str, optional
            For ``strategy="balanced"``.
        """
        self.added += 1
        self.seen[task] = self.seen.get(task, 0) + 1
        example = {"prompt": prompt, "response": response, "loss": _known(loss), "task": task}
        if len(self.examples) < self.max_size:
            self.examples.append(example)
            return
        place = self._place_for(example)
        if place is not None:
            self.examples[place] = example
            if self.strategy == "fifo":
                self.examples.append(self.examples.pop(place))

    def _place_for(self, example: dict) -> int | None:
        """Return the place of the example that is to go, or None to keep all."""
        if self.strategy == "fifo":
            return 0
        if self.strategy == "reservoir":
            place = self._random.randrange(self.added)
            return place if place < self.max_size else None
        if self.strategy == "loss":
            weights = self._weights([*self.examples, example])
            lowest = min(range(len(weights)), key=weights.__getitem__)
            return lowest if lowest < self.max_size else None
        counts: dict = {}
        for each in self.examples:
            counts[each["task"]] = counts.get(each["task"], 0) + 1
        most = max(counts.values())
        largest = [task for task, count in counts.items() if count == most]
        own = example["task"]
        full = own if own in largest else largest[0]
        places = [n for n, each in enumerate(self.examples) if each["task"] == full]
        if full == own and self._random.randrange(self.seen[own]) >= len(places):
            return None  # a uniform sample of the task, not its last examples
        return self._random.choice(places)

    @staticmethod
    def _weights(examples: Sequence[dict]) -> list[float]:
        """Return losses, those that are unknown as the mean of those that are known."""
        known = [each["loss"] for each in examples if each["loss"] is not None]
        mean = sum(known) / len(known) if known else 1.0
        return [mean if each["loss"] is None else max(each["loss"], 0.0) for each in examples]

    def get_replay_batch(self, new_examples: Sequence, replay_ratio: float = 0.2) -> list:
        """Return the new examples and old ones, shuffled; an empty buffer adds nothing.

        Parameters
        ----------
        new_examples : sequence
            All of them are in the batch; none is stored by this.
        replay_ratio : float
            In [0, 1): the share of the batch that is old. Old examples are drawn without
            repetition, so that a small buffer gives fewer.

        Returns
        -------
        list
            Old examples as dicts with prompt, response, loss and task.
        """
        check_range("replay_ratio", replay_ratio, 0, 1)
        wanted = round(len(new_examples) * replay_ratio / (1 - replay_ratio))
        batch = [*new_examples, *self.sample(min(wanted, len(self.examples)))]
        self._random.shuffle(batch)
        return batch

    def sample(self, count: int) -> list[dict]:
        """Return copies of `count` different examples, by loss where that is the strategy.

        Raises
        ------
        ValueError
            If there are not so many.
        """
        if not 0 <= count <= len(self.examples):
            raise ValueError(
                f"count must be in [0, {len(self.examples)}], what the buffer holds, got {count}; "
                "add examples first"
            )
        if self.strategy != "loss":
            return [dict(each) for each in self._random.sample(self.examples, count)]
        # Exponential keys: a weighted sample without repetition (Efraimidis and Spirakis 2006).
        weights = self._weights(self.examples)
        keys = [-self._random.expovariate(1.0) / max(weight, 1e-12) for weight in weights]
        chosen = sorted(range(len(keys)), key=keys.__getitem__, reverse=True)[:count]
        return [dict(self.examples[n]) for n in chosen]

    def update_losses(self, losses: dict[str, float]) -> None:
        """Set the losses of stored examples, named by their prompts."""
        for example in self.examples:
            if example["prompt"] in losses:
                example["loss"] = _known(losses[example["prompt"]])

    def state_dict(self) -> dict:
        """Return everything, as JSON values; a buffer that loads it goes on as this one would."""
        version, internal, gauss = self._random.getstate()
        return {
            "max_size": self.max_size,
            "strategy": self.strategy,
            "examples": [dict(example) for example in self.examples],
            "added": self.added,
            "seen": [[task, count] for task, count in self.seen.items()],
            "random": [version, list(internal), gauss],
        }

    def load_state_dict(self, state: dict) -> None:
        """Take over what `state_dict` of another buffer returned."""
        self.max_size, self.strategy = state["max_size"], state["strategy"]
        self.examples = [dict(example) for example in state["examples"]]
        self.added = state["added"]
        self.seen = dict(state["seen"])
        version, internal, gauss = state["random"]
        self._random.setstate((version, tuple(internal), gauss))

    def save(self, path) -> None:
        """Write the buffer as a JSON file."""
        text = json.dumps(self.state_dict(), ensure_ascii=False) + "\n"
        Path(path).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, path) -> "MemoryReplayBuffer":
        """Read a buffer that `save` wrote."""
        buffer = cls()
        buffer.load_state_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        return buffer


def _known(loss: float | None) -> float | None:
    return None if loss is None or not math.isfinite(float(loss)) else float(loss)
