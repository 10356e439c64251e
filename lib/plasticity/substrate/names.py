"""Names of neurons, both ways: a name or an alias to its neuron, a neuron to its first name.

The names are records in one array, their UTF-8 characters stand in another, and an open-addressing
table of places finds a name by its hash. All three are arrays of the store, so that opening a brain
reads none of them.
"""

import difflib
import hashlib
from collections.abc import Sequence

import numba
import numpy as np

from plasticity.substrate.store import Store
from plasticity.substrate.structures import NAME_DTYPE

FEWEST_SLOTS = 64
FILL = 2  # slots per name, at least
LISTED_FOR_NEAR_NAMES = 10_000  # a message is not worth reading more names than these


class Names:
    """The table of names of one store.

    Parameters
    ----------
    store : Store
        Its arrays ``names``, ``text`` and ``name_slots`` are made where they are missing.

    Examples
    --------
    >>> names = Names(Store())
    >>> names.add(["cat", "Katze"], np.array([0, 0]))
    array([0, 1])
    >>> names.find(["Katze", "dog"])
    array([ 0, -1])
    >>> names.text(0)
    'cat'
    """

    def __init__(self, store: Store):
        self._store = store
        if "names" not in store:
            store.create("names", NAME_DTYPE)
            store.create("text", np.uint8)
            store.create("name_slots", np.uint32)

    def __len__(self) -> int:
        return len(self._store["names"])

    def find(self, names: Sequence[str]) -> np.ndarray:
        """Return the neuron of each name.

        Parameters
        ----------
        names : sequence of str
            Any Unicode text, the empty one included.

        Returns
        -------
        ndarray of int64, shape (n,)
            Index of the neuron, -1 where nobody has the name.
        """
        places = self._places(names)
        found = np.full(len(places), -1, np.int64)
        known = places >= 0
        found[known] = self._store["names"]["neuron"][places[known]]
        return found

    def text(self, place: int) -> str:
        """Return the name at a place."""
        self._store.require("names", np.array([place]))
        record = self._store["names"][place]
        characters = slice(int(record["start"]), int(record["start"]) + int(record["length"]))
        self._store.require("text", characters)
        return self._store["text"][characters].tobytes().decode("utf-8", "surrogatepass")

    def add(self, names: Sequence[str], neurons: np.ndarray) -> np.ndarray:
        """Add names that are not in the table yet, all different from each other.

        Parameters
        ----------
        names : sequence of str
        neurons : ndarray of int, shape (n,)
            Index of the neuron that each names.

        Returns
        -------
        ndarray of int64, shape (n,)
            Place of each name.
        """
        characters, starts, lengths, hashes = _encode(names)
        first = self._store.extend("names", len(names))
        start = self._store.extend("text", len(characters))
        records = self._store["names"][first:]
        records["identity"] = hashes
        records["neuron"] = neurons
        records["length"] = lengths
        records["start"] = starts + np.uint64(start)
        self._store["text"][start:] = characters
        self._store.touch("names", slice(first, first + len(names)))
        self._store.touch("text", slice(start, start + len(characters)))
        self._enter(first)
        return np.arange(first, first + len(names))

    def near(self, name: str) -> list[str]:
        """Return up to three names that look like one, for messages; none of very many names."""
        if len(self) > LISTED_FOR_NEAR_NAMES:
            return []
        return difflib.get_close_matches(name, [self.text(i) for i in range(len(self))])

    def _places(self, names: Sequence[str]) -> np.ndarray:
        """Return the place of each name in the table, -1 where it has none."""
        slots = self._store["name_slots"]
        if not len(slots) or not len(names):
            return np.full(len(names), -1, np.int64)
        for array in ("name_slots", "names", "text"):  # a probe may lead anywhere in them
            self._store.require(array, slice(None))
        characters, starts, lengths, hashes = _encode(names)
        table = self._store["names"]
        places = np.empty(len(names), np.int64)
        _probe(hashes, characters, starts, lengths, slots, table, self._store["text"], places)
        return places

    def _enter(self, first: int) -> None:
        """Enter the names from a place on into the slots, which grow with them."""
        slots = self._store["name_slots"]
        if len(slots) < FILL * len(self):
            size = max(FEWEST_SLOTS, 1 << int(2 * FILL * len(self) - 1).bit_length())
            slots = np.zeros(size, np.uint32)
            _fill(self._store["names"]["identity"], 0, slots)
            self._store.replace("name_slots", slots)
            return
        self._store.touch("name_slots", _fill(self._store["names"]["identity"], first, slots))


def identity(name: str) -> int:
    """Return the stable identity of a name: 64 bits of its BLAKE2b hash.

    Examples
    --------
    >>> identity("cat") == identity("cat") != identity("Cat")
    True
    """
    data = name.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def _encode(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the characters of names in one buffer, their starts, lengths and hashes."""
    encoded = [name.encode("utf-8", "surrogatepass") for name in names]
    digests = b"".join(hashlib.blake2b(data, digest_size=8).digest() for data in encoded)
    lengths = np.array([len(data) for data in encoded], np.uint64)
    starts = np.cumsum(lengths, dtype=np.uint64) - lengths
    characters = np.frombuffer(b"".join(encoded), np.uint8)
    return characters, starts, lengths, np.frombuffer(digests, np.dtype("<u8"))


@numba.njit(cache=True)
def _probe(hashes, characters, starts, lengths, slots, names, text, places):
    """Write the place of each encoded name, -1 where the table does not have it."""
    mask = np.uint64(len(slots) - 1)
    for i in range(len(hashes)):
        slot = hashes[i] & mask
        places[i] = -1
        while slots[slot] != 0:
            place = slots[slot] - 1
            record = names[place]
            if record.identity == hashes[i] and record.length == lengths[i]:
                same = True
                for k in range(lengths[i]):
                    if text[record.start + k] != characters[starts[i] + k]:
                        same = False
                        break
                if same:
                    places[i] = place
                    break
            slot = (slot + np.uint64(1)) & mask


@numba.njit(cache=True)
def _fill(identities, first, slots):
    """Enter the places from `first` on into free slots; return which slots."""
    mask = np.uint64(len(slots) - 1)
    used = np.empty(len(identities) - first, np.int64)
    for place in range(first, len(identities)):
        slot = identities[place] & mask
        while slots[slot] != 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = place + 1
        used[place - first] = slot
    return used
