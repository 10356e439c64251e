import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from plasticity.substrate import pages, store
from plasticity.substrate.pages import PAGE, pages_of
from plasticity.substrate.store import Store, StoreError, VersionError
from plasticity.substrate.structures import NEURON_DTYPE, PENDING_DTYPE, SYNAPSE_DTYPE

DTYPES = [np.dtype(np.uint8), SYNAPSE_DTYPE, PENDING_DTYPE, NEURON_DTYPE, np.dtype("<f4")]
ARRAYS = ["bytes", "synapses", "pending", "neurons", "floats"]


def filled(dtype, count, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, count * dtype.itemsize, np.uint8).view(dtype)


def write(store, name, where, seed):
    records = store[name]
    records[where] = filled(records.dtype, len(records[where]), seed)
    store.touch(name, where)


def same(one, other):
    """Bit by bit: random floats may be NaN."""
    return one.dtype == other.dtype and one.tobytes() == other.tobytes()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


def reopened(folder):
    with Store.open(folder) as again:
        for name in again.names:
            again.require(name)
        return {name: again[name].copy() for name in again.names}, again.meta


def files(folder):
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_records_are_zero_until_written(dtype):
    store = Store()
    store.create("records", dtype)
    assert len(store["records"]) == 0
    for count in (1, 0, 500, 3):
        before = store["records"].tobytes()
        first = store.extend("records", count)
        assert store["records"].tobytes() == before + bytes(count * dtype.itemsize)
        assert first * dtype.itemsize == len(before)
        write(store, "records", slice(first, None), count)


def test_records_dropped_and_grown_again_are_zero(folder):
    store = Store()
    store.create("records", SYNAPSE_DTYPE)
    store.extend("records", 1000)
    write(store, "records", slice(None), 1)
    store.save(folder)
    store.shrink("records", 300)
    store.commit()
    kept = store["records"].tobytes()
    assert reopened(folder)[0]["records"].tobytes() == kept
    store.extend("records", 900)
    store.commit()
    assert store["records"].tobytes() == kept + bytes(900 * 16)
    assert reopened(folder)[0]["records"].tobytes() == kept + bytes(900 * 16)


def test_extending_takes_time_by_the_record_not_by_the_array():
    store = Store()
    store.create("records", SYNAPSE_DTYPE)
    buffers = set()
    for _ in range(3000):
        store.extend("records", 1)
        buffers.add(store["records"].__array_interface__["data"][0])
    assert len(buffers) < 20


def test_a_saved_store_goes_on_and_reopens(folder):
    store = Store()
    store.create("neurons", NEURON_DTYPE)
    store.extend("neurons", 100)
    store.meta["name"] = "é\ud800\n"
    store.save(folder)
    assert files(folder) == [
        "LOCK",
        "MANIFEST.json",
        "gen-0/log.bin",
        "gen-0/neurons.bin",
        "gen-0/neurons.crc",
    ]
    write(store, "neurons", [3, 99], 1)
    store.create("text", np.uint8)
    store.commit()
    write(store, "neurons", 5 * np.ones(1, int), 2)  # never committed
    arrays, meta = reopened(folder)
    assert meta == {"name": "é\ud800\n"}
    assert list(arrays) == ["neurons", "text"]
    assert same(arrays["neurons"][[3, 99]], filled(NEURON_DTYPE, 2, 1))
    assert not arrays["neurons"][5]["identity"]
    assert arrays["text"].dtype == np.uint8


@pytest.mark.parametrize("more", [1, 10_000])
def test_what_changed_before_an_array_grew_or_was_replaced_is_kept(folder, more):
    own = Store()
    own.create("records", SYNAPSE_DTYPE)
    own.extend("records", 5000)
    own.save(folder)
    write(own, "records", [7, 4000], 1)
    own.extend("records", more)
    own.commit()
    assert same(reopened(folder)[0]["records"], own["records"])
    own.replace("records", filled(SYNAPSE_DTYPE, 5000 + more, 2))
    own.commit()
    assert same(reopened(folder)[0]["records"], own["records"])


def test_commit_writes_changed_pages_only_and_nothing_for_nothing(folder):
    store = Store()
    store.create("records", SYNAPSE_DTYPE)
    store.extend("records", 100_000)
    store.save(folder)
    log = folder / "gen-0" / "log.bin"
    store.commit()
    assert log.stat().st_size == 0
    store.touch("records", [0, 255, 256, 99_999])
    store.commit()
    last = 100_000 * 16 % PAGE
    assert 2 * PAGE + last < log.stat().st_size < 3 * PAGE
    size = log.stat().st_size
    store.meta["step"] = 1
    store.commit()
    assert size < log.stat().st_size < size + 200


def test_a_log_of_half_the_generation_becomes_a_checkpoint(folder, monkeypatch):
    monkeypatch.setattr(store, "SMALL_LOG", 10 * PAGE)
    own = Store()
    own.create("records", np.uint8)
    own.extend("records", 100 * PAGE)
    own.save(folder)
    for commits in range(1, 6):
        own.touch("records", slice(0, 10 * PAGE))
        own.commit()
        log = folder / ("gen-1" if commits == 5 else "gen-0") / "log.bin"
        assert (log.stat().st_size == 0) == (commits == 5)
    assert not (folder / "gen-0").exists()


def test_checkpoint_leaves_one_generation(folder):
    own = Store()
    own.create("records", PENDING_DTYPE)
    own.save(folder)
    for generation in range(1, 4):
        own.extend("records", 1000)
        write(own, "records", slice(-1000, None), generation)
        own.checkpoint()
        assert [each.name for each in folder.glob("gen-*")] == [f"gen-{generation}"]
        assert same(reopened(folder)[0]["records"], own["records"])


def test_saving_again_replaces_and_moves(folder, tmp_path):
    first = Store()
    first.create("records", np.uint8)
    first.extend("records", 3)
    first.save(folder)
    first.save(folder)
    first.close()
    second = Store()
    second.save(folder)
    assert reopened(folder) == ({}, {})
    second.meta["step"] = 2
    second.save(tmp_path / "elsewhere")
    second.meta["step"] = 3
    second.commit()
    assert reopened(tmp_path / "elsewhere")[1] == {"step": 3}
    Store.open(folder, "w").close()  # the writer has let go of it


def test_save_keeps_its_hands_off_other_folders(tmp_path):
    (tmp_path / "gen-7").mkdir()
    with pytest.raises(StoreError, match="other files"):
        Store().save(tmp_path)
    assert files(tmp_path) == []
    with pytest.raises(FileNotFoundError, match="no store"):
        Store.open(tmp_path, "w")
    assert files(tmp_path) == []


def test_a_reader_changes_its_own_copy_only(folder):
    own = Store()
    own.create("records", np.uint8)
    own.extend("records", 5)
    own.save(folder)
    reader = Store.open(folder)
    reader["records"][:] = 7
    reader.touch("records")
    reader.extend("records", 5000)
    for keep in (reader.commit, reader.checkpoint):
        with pytest.raises(StoreError, match='mode="w"'):
            keep()
    assert reopened(folder)[0]["records"].tolist() == [0] * 5


def test_a_store_in_memory_has_nothing_to_commit_to():
    with pytest.raises(StoreError, match="save"):
        Store().commit()


@pytest.mark.parametrize("name", ["", "log", "../x", "A", "a b", "é"])
def test_names_are_file_names(name):
    with pytest.raises(ValueError, match="array name"):
        Store().create(name, np.uint8)


@pytest.mark.parametrize("dtype", [object, [("a", object)], [("a", [("b", "<f4")])]], ids=str)
def test_dtypes_are_flat_records(dtype):
    with pytest.raises(ValueError, match="flat record"):
        Store().create("records", np.dtype(dtype))


def test_misuse_is_explained():
    own = Store()
    own.create("records", SYNAPSE_DTYPE)
    with pytest.raises(ValueError, match="exists already"):
        own.create("records", SYNAPSE_DTYPE)
    with pytest.raises(KeyError, match="records"):
        own["record"]
    with pytest.raises(ValueError, match="-1"):
        own.extend("records", -1)
    with pytest.raises(ValueError, match="0 to 0"):
        own.shrink("records", 1)
    with pytest.raises(ValueError, match="float64"):
        own.replace("records", np.zeros(3))
    with pytest.raises(ValueError, match="mode"):
        Store.open("x", "a")


@pytest.mark.parametrize("where", [[-1], [1000], slice(0, 10, -1), np.array([3, 2**40])])
def test_records_outside_are_refused(folder, where):
    own = Store()
    own.create("records", SYNAPSE_DTYPE)
    own.extend("records", 1000)
    own.save(folder)
    with pytest.raises(IndexError):
        own.touch("records", where)


def test_other_dtypes_are_refused(folder):
    own = Store()
    own.create("synapses", SYNAPSE_DTYPE)
    own.save(folder)
    Store.open(folder, dtypes={"synapses": SYNAPSE_DTYPE, "absent": NEURON_DTYPE}).close()
    with pytest.raises(VersionError, match=r"MANIFEST\.json.*synapses"):
        Store.open(folder, dtypes={"synapses": PENDING_DTYPE})


def test_large_arrays_grow_without_being_read(folder, monkeypatch):
    monkeypatch.setattr(pages, "LARGE", 100 * PAGE)
    own = Store()
    own.create("large", SYNAPSE_DTYPE)
    own.extend("large", 25_600)
    write(own, "large", slice(None), 1)
    own.save(folder)
    own.close()
    path = folder / "gen-0" / "large.bin"
    assert path.stat().st_size == 112 * PAGE // 16 * 16 + PAGE // 2
    assert path.stat().st_blocks * 512 <= 101 * PAGE  # the hole takes no disk
    own = Store.open(folder, "w")
    place = own["large"].__array_interface__["data"][0]
    own.extend("large", 3200)
    assert own["large"].__array_interface__["data"][0] == place
    assert not own["large"][25_600:].view(np.uint8).any()
    own.extend("large", 1)
    assert own["large"].__array_interface__["data"][0] != place
    write(own, "large", slice(28_000, None), 2)
    own.commit()
    assert same(reopened(folder)[0]["large"], own["large"])
    own.checkpoint()
    assert same(reopened(folder)[0]["large"], own["large"])


def test_only_pages_that_are_used_are_verified(folder):
    own = Store()
    own.create("records", SYNAPSE_DTYPE)
    own.extend("records", 256 * 40)
    own.save(folder)
    own.close()
    reader = Store.open(folder)
    file = reader._arrays["records"].file
    reader.require("records", [0, 300, 301])
    assert np.flatnonzero(file._verified).tolist() == [0, 1]
    reader.require("records", np.array([256 * 4, 256 * 9]), np.array([257, 0]))
    assert np.flatnonzero(file._verified).tolist() == [0, 1, 4, 5]
    assert not reader.verified("records")
    reader.require("records")
    assert reader.verified("records")
    assert reader._arrays["records"].file is None


def test_build_streams_what_save_would_write(folder, tmp_path):
    records = filled(PENDING_DTYPE, 5000)
    chunks = (records[start : start + 777] for start in range(0, 5000, 777))
    empty = (np.dtype(np.uint8), 0, [])
    Store.build(folder, {"records": (PENDING_DTYPE, 5000, chunks), "empty": empty}, {"a": 1})
    own = Store()
    own.create("records", PENDING_DTYPE)
    own.create("empty", np.uint8)
    own.replace("records", records)
    own.meta["a"] = 1
    own.save(tmp_path / "saved")
    for name in files(folder):
        if name != "LOCK":
            assert (folder / name).read_bytes() == (tmp_path / "saved" / name).read_bytes()


@pytest.mark.parametrize(
    "chunks", [[np.zeros(3, np.uint8)], [np.zeros(5, np.uint8)], [np.zeros(4, np.int8)]]
)
def test_build_keeps_nothing_of_wrong_chunks(folder, chunks):
    with pytest.raises(ValueError, match="expected"):
        Store.build(folder, {"records": (np.dtype(np.uint8), 4, chunks)})
    assert files(folder) == ["LOCK"]
    Store.build(folder, {"records": (np.dtype(np.uint8), 0, [])})  # the lock is free


def test_nothing_but_json_describes_the_records(folder):
    own = Store()
    own.create("neurons", NEURON_DTYPE)
    own.save(folder)
    described = json.loads((folder / "MANIFEST.json").read_text())["arrays"]["neurons"]["dtype"]
    assert [tuple(field) for field in described] == NEURON_DTYPE.descr


@pytest.mark.parametrize("itemsize", [1, 16, 24, 64, 5000])
def test_pages_of_records_hold_their_bytes(itemsize):
    random = np.random.default_rng(itemsize)
    count = 3 * PAGE // itemsize + 7
    for _ in range(50):
        where = random.integers(0, count, random.integers(0, 6))
        lengths = random.integers(0, count - where + 1)
        touched = np.zeros(count * itemsize, bool)
        for first, length in zip(where, lengths, strict=True):
            touched[first * itemsize : (first + length) * itemsize] = True
        expected = np.unique(np.flatnonzero(touched) // PAGE).tolist()
        assert np.unique(pages_of(where, lengths, itemsize, count)).tolist() == expected
        ones = pages_of(where, None, itemsize, count)
        assert np.array_equal(ones, pages_of(where, np.ones_like(where), itemsize, count))


class StoreMachine(RuleBasedStateMachine):
    """Any history of a store is that of a dict of arrays that is copied at each commit."""

    names = st.sampled_from(ARRAYS)

    @initialize(small=st.booleans(), names=st.sets(names, min_size=1), count=st.integers(0, 3000))
    def begin(self, small, names, count):
        self.patches = pytest.MonkeyPatch()
        self.patches.setattr(store, "SMALL_LOG", PAGE if small else 1 << 20)
        self.patches.setattr(pages, "LARGE", 8 * PAGE if small else 1 << 26)
        self.folder = Path(tempfile.mkdtemp()) / "store"
        self.store, self.model, self.meta = Store(), {}, {}
        for name in sorted(names):
            self.create(name)
            self.store.extend(name, count)
            self.model[name] = np.zeros(count, self.model[name].dtype)
        self.save()

    def commit_model(self):
        arrays = {name: array.copy() for name, array in self.model.items()}
        self.committed = arrays, dict(self.meta)
        self.read()

    @rule(name=names)
    def create(self, name):
        dtype = DTYPES[ARRAYS.index(name)]
        if name in self.model:
            with pytest.raises(ValueError, match="exists"):
                self.store.create(name, dtype)
        else:
            self.store.create(name, dtype)
            self.model[name] = np.zeros(0, dtype)

    @rule(data=st.data(), count=st.integers(0, 3000))
    def extend(self, data, count):
        name = data.draw(st.sampled_from(list(self.model)))
        old = self.model[name]
        assert self.store.extend(name, count) == len(old)
        self.model[name] = np.concatenate([old, np.zeros(count, old.dtype)])

    @rule(data=st.data(), seed=st.integers(0, 99))
    @precondition(lambda self: any(map(len, self.model.values())))
    def write_some(self, data, seed):
        name = data.draw(st.sampled_from([name for name, each in self.model.items() if len(each)]))
        count = len(self.model[name])
        if data.draw(st.booleans()):
            where = np.array(data.draw(st.lists(st.integers(0, count - 1), min_size=1)))
        else:
            where = slice(*sorted(data.draw(st.integers(0, count)) for _ in range(2)))
        self.store.require(name, where)
        write(self.store, name, where, seed)
        self.model[name][where] = filled(self.model[name].dtype, len(self.model[name][where]), seed)

    @rule(data=st.data(), count=st.integers(0, 2000))
    def replace(self, data, count):
        name = data.draw(st.sampled_from(list(self.model)))
        self.model[name] = filled(self.model[name].dtype, count, count)
        self.store.replace(name, self.model[name].copy())

    @rule(data=st.data())
    def shrink(self, data):
        name = data.draw(st.sampled_from(list(self.model)))
        count = data.draw(st.integers(0, len(self.model[name])))
        self.store.shrink(name, count)
        self.model[name] = self.model[name][:count].copy()

    @rule(
        keep=st.sampled_from([*["commit"] * 5, "checkpoint", "save"]),
        number=st.integers() | st.floats(allow_nan=False) | st.text(),
    )
    def keep(self, keep, number):
        self.store.meta["number"] = self.meta["number"] = number
        self.save() if keep == "save" else getattr(self.store, keep)()
        self.commit_model()

    def save(self):
        self.store.save(self.folder)
        self.commit_model()

    @rule()
    def reopen(self):
        self.store.close()
        self.store = Store.open(self.folder, "w")
        arrays, self.meta = self.committed
        self.meta = dict(self.meta)
        self.model = {name: array.copy() for name, array in arrays.items()}

    def read(self):
        arrays, meta = reopened(self.folder)
        assert meta == self.committed[1]
        assert arrays.keys() == self.committed[0].keys()
        for name, array in arrays.items():
            assert array.tobytes() == self.committed[0][name].tobytes()

    @invariant()
    def agree(self):
        if not hasattr(self, "store"):
            return
        assert self.store.names == list(self.model)
        assert self.store.meta == self.meta
        for name, array in self.model.items():
            assert self.store[name].dtype == array.dtype
            assert self.store[name].tobytes() == array.tobytes()

    def teardown(self):
        if hasattr(self, "store"):
            self.store.close()
            self.patches.undo()
            shutil.rmtree(self.folder.parent)


TestStoreMachine = pytest.mark.slow(StoreMachine.TestCase)
TestStoreMachine.settings = settings(
    max_examples=50,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
