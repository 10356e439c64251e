"""The store when things go wrong: cut and flipped files, full disks, rivals, and kills.

A full disk is played in two ways that need no privilege: the operating system's own limit on the
size of a file, and system calls that fail one after the other with ENOSPC.
"""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

from plasticity.substrate import generations, kills, write_ahead_log
from plasticity.substrate.kill_workloads import StoreWorkload
from plasticity.substrate.pages import PAGE, CorruptionError, LockedError, VersionError
from plasticity.substrate.store import Store
from plasticity.substrate.structures import PENDING_DTYPE
from plasticity.substrate.write_ahead_log import FOOTER, HEADER

MANIFEST = "MANIFEST.json"
LOG = "gen-0/log.bin"


def state(store):
    for name in store.names:
        store.require(name)
    return {name: store[name].tobytes() for name in store.names}, dict(store.meta)


def read(folder):
    with Store.open(folder) as store:
        return state(store)


def change(store, seed):
    """Grow and write a little, with a page here and there."""
    random = np.random.default_rng(seed)
    store.extend("pending", 30)
    for name in store.names:
        where = random.integers(0, len(store[name]), 2)
        store[name][where] = random.integers(1, 200, 2).astype(np.uint8).astype(store[name].dtype)
        store.touch(name, where)
    store.meta["step"] = seed


@pytest.fixture
def committed(tmp_path):
    """A store with three commits in its log, closed; its state before and after each, and the
    sizes of the log.
    """
    folder = tmp_path / "store"
    store = Store()
    store.create("pending", PENDING_DTYPE)
    store.create("text", np.uint8)
    store.create("empty", np.uint8)
    store.extend("pending", 1000)
    store.extend("text", 20 * PAGE)
    store.extend("empty", 1)
    store["text"][:] = np.arange(20 * PAGE) % 251
    store.save(folder)
    states, sizes = [state(store)], [0]
    for seed in range(1, 4):
        change(store, seed)
        store.commit()
        states.append(state(store))
        sizes.append((folder / LOG).stat().st_size)
    store.close()
    return folder, states, sizes


def data_files(folder):
    names = (str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())
    return sorted(name for name in names if name != "LOCK")


@contextmanager
def damaged(folder, name, content):
    path = folder / name
    whole = path.read_bytes()
    path.write_bytes(content)
    yield path
    path.write_bytes(whole)


def test_a_cut_file_of_a_generation_is_named(committed):
    folder, _, _ = committed
    for name in data_files(folder):
        whole = (folder / name).read_bytes()
        cuts = {0, 1, len(whole) // 2, len(whole) - 1, PAGE, PAGE - 1} if name != LOG else {}
        for cut in (cut for cut in cuts if cut < len(whole)):
            with damaged(folder, name, whole[:cut]) as path:
                for mode in "rw":
                    with pytest.raises(CorruptionError, match=f"{path.name}, byte") as caught:
                        Store.open(folder, mode)
                    assert caught.value.path == path
                    assert 0 <= caught.value.offset <= cut
        if name != LOG:  # there it would be a torn frame
            with damaged(folder, name, whole + b"x"), pytest.raises(CorruptionError):
                Store.open(folder)


def test_a_cut_log_is_an_earlier_commit(committed):
    folder, states, sizes = committed
    whole = (folder / LOG).read_bytes()
    for commits in range(3):
        start, stop = sizes[commits], sizes[commits + 1]
        inside = {
            1,
            HEADER.size - 1,
            HEADER.size,
            HEADER.size + 50,
            PAGE,
            stop - start - FOOTER.size - 1,
        }
        for cut in (start + each for each in {0} | inside):
            with damaged(folder, LOG, whole[:cut]):
                assert read(folder) == states[commits], cut
        for cut in range(stop - FOOTER.size, stop):
            with damaged(folder, LOG, whole[:cut]):
                assert read(folder) == states[commits + 1], cut


def test_a_writer_goes_on_after_a_torn_frame(committed):
    folder, states, sizes = committed
    os.truncate(folder / LOG, sizes[2] + 100)
    with Store.open(folder, "w") as store:
        assert state(store) == states[2]
        assert (folder / LOG).stat().st_size == sizes[2]
        change(store, 9)
        store.commit()
        expected = state(store)
    assert read(folder) == expected


def test_a_frame_whose_blocks_never_reached_the_disk_is_torn(committed):
    """After a power cut the file may be long enough, with holes; no footer was written yet."""
    folder, states, sizes = committed
    whole = bytearray((folder / LOG).read_bytes())
    whole[-FOOTER.size :] = bytes(FOOTER.size)
    assert whole[sizes[2] :] != bytes(len(whole) - sizes[2])
    with damaged(folder, LOG, whole):
        assert read(folder) == states[3]  # whole but for the footer
    for first, stop in [(0, HEADER.size), (HEADER.size, PAGE), (200, 201), (PAGE, 2 * PAGE)]:
        torn = whole.copy()
        hole = slice(sizes[2] + first, sizes[2] + stop)
        torn[hole] = bytes(len(torn[hole]))
        if torn != whole:
            with damaged(folder, LOG, torn):
                assert read(folder) == states[2]


def flips(size, every, random):
    """A flip of each byte up to ``every``, and of 60 random bytes."""
    places = {*range(min(size, every)), *random.integers(0, size, 60).tolist()} if size else set()
    return [(place, int(random.integers(1, 256))) for place in sorted(places)]


def test_a_flipped_byte_is_an_error_or_harmless(committed):
    folder, states, _ = committed
    random = np.random.default_rng(0)
    outcomes = {}
    for name in data_files(folder):
        whole = (folder / name).read_bytes()
        for place, flip in flips(len(whole), 60, random):
            content = bytearray(whole)
            content[place] ^= flip
            with damaged(folder, name, content) as path:
                try:
                    assert read(folder) == states[-1], (name, place)
                    outcomes.setdefault(name, set()).add("harmless")
                except (CorruptionError, VersionError) as error:
                    outcomes.setdefault(name, set()).add("error")
                    assert path.name in str(error), (name, place)
                    if path.suffix == ".bin" and name != LOG:
                        assert error.offset == place // PAGE * PAGE
    # Of the array that the log replaces, nothing on disk is used any more.
    assert {name for name, each in outcomes.items() if "error" not in each} <= {
        "gen-0/empty.bin",
        "gen-0/empty.crc",
    }


def test_a_flip_in_the_log_is_never_a_lost_commit(committed):
    """Headers and footers byte by byte, and pages by chance, of the first and the last frame."""
    folder, states, sizes = committed
    whole = (folder / LOG).read_bytes()
    for start, stop in [(sizes[0], sizes[1]), (sizes[2], sizes[3])]:
        header = range(start, start + HEADER.size)
        body = range(start + HEADER.size, stop - FOOTER.size)
        for place in [*header, *np.random.default_rng(0).choice(body, 60).tolist()]:
            content = bytearray(whole)
            content[place] ^= 1
            with damaged(folder, LOG, content), pytest.raises(CorruptionError) as caught:
                Store.open(folder)
            assert (caught.value.path, caught.value.offset) == (folder / LOG, start)
        for place in range(stop - FOOTER.size, stop):
            content = bytearray(whole)
            content[place] ^= 1
            with damaged(folder, LOG, content):
                assert read(folder) == states[-1]


def test_footers_are_found_across_chunks(committed, monkeypatch):
    folder, _, sizes = committed
    whole = bytearray((folder / LOG).read_bytes())
    whole[sizes[2]] ^= 1
    left = sizes[3] - sizes[2]
    with damaged(folder, LOG, whole):
        for chunk in (left - 1, left - FOOTER.size + 1, left - FOOTER.size, left // 2, left, 50):
            monkeypatch.setattr(write_ahead_log, "CHUNK", chunk)
            with pytest.raises(CorruptionError):
                Store.open(folder)


def test_a_missing_file_is_named(committed):
    folder, _, _ = committed
    for name in data_files(folder):
        whole = (folder / name).read_bytes()
        (folder / name).unlink()
        with pytest.raises(CorruptionError, match=f"{name.split('/')[-1]}.*missing"):
            Store.open(folder)
        (folder / name).write_bytes(whole)
    shutil.rmtree(folder / "gen-0")
    with pytest.raises(CorruptionError, match="missing"):
        Store.open(folder)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"{}", b'{"format": "other"}']
)
def test_a_manifest_that_is_none_is_refused(committed, content):
    folder, _, _ = committed
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(CorruptionError, match=r"MANIFEST\.json, byte"):
        Store.open(folder)


def test_a_newer_format_is_refused(committed):
    folder, _, _ = committed
    content = json.loads((folder / MANIFEST).read_text())
    content["version"] += 1
    (folder / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(VersionError, match=r"MANIFEST\.json, byte .* version 2.*update"):
        Store.open(folder)


def test_damage_is_found_before_it_is_committed(committed):
    """A changed page is kept whole, so the rest of it must be known to be good."""
    folder, states, _ = committed
    store = Store.open(folder, "w")
    path = folder / "gen-0" / "text.bin"
    content = bytearray(path.read_bytes())
    page = int(np.flatnonzero(~store._arrays["text"].file._verified)[0])  # not in the log
    content[page * PAGE + 9] ^= 4
    path.write_bytes(content)
    store["text"][page * PAGE] = 77
    store.touch("text", page * PAGE)
    for keep in (store.commit, store.checkpoint):
        with pytest.raises(CorruptionError, match=r"text\.bin, byte"):
            keep()
    store.close()
    assert data_files(folder).count("gen-1/text.bin") == 0
    content[page * PAGE + 9] ^= 4
    path.write_bytes(content)
    assert read(folder) == states[-1]


def test_damage_of_what_the_log_replaced_does_no_harm(committed):
    folder, states, _ = committed
    reader = Store.open(folder)
    page = int(np.flatnonzero(reader._arrays["text"].file._verified)[0])
    content = bytearray((folder / "gen-0" / "text.bin").read_bytes())
    content[page * PAGE] ^= 1
    with damaged(folder, "gen-0/text.bin", content):
        assert read(folder) == states[-1]


@contextmanager
def files_up_to(size):
    """Let no file grow above a size: writes fail with EFBIG, as those on a full disk do."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)


@contextmanager
def failing_call(number):
    """Let one of the system calls that take room on a disk fail with ENOSPC."""
    calls = 0

    def wrapped(function):
        def call(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls == number:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patches:
        for name in ("pwrite", "fsync", "mkdir", "replace"):
            patches.setattr(os, name, wrapped(getattr(os, name)))
        yield lambda: calls


@pytest.mark.parametrize("keep", ["commit", "checkpoint"])
@pytest.mark.parametrize("room", [0, 1, 100, PAGE, 3 * PAGE])
def test_a_full_disk_keeps_the_last_commit(committed, keep, room):
    folder, states, sizes = committed
    store = Store.open(folder, "w")
    change(store, 4)
    before = data_files(folder)
    message = "Make room, then commit again"
    limit = room + sizes[3] * (keep == "commit")
    with pytest.raises(OSError, match=message) as caught, files_up_to(limit):
        getattr(store, keep)()
    assert caught.value.errno == errno.EFBIG
    assert caught.value.filename == str(folder)
    assert data_files(folder) == before
    assert (folder / LOG).stat().st_size == sizes[3]
    assert read(folder) == states[3]
    change(store, 5)
    getattr(store, keep)()
    assert read(folder) == state(store)
    store.close()
    assert len(list(folder.glob("gen-*"))) == 1


@pytest.mark.parametrize("keep", ["commit", "checkpoint"])
def test_a_disk_that_is_full_at_any_call(committed, keep):
    folder, states, _ = committed
    number, failures = 0, 0
    while True:
        number += 1
        shutil.copytree(folder, folder.parent / str(number))
        copy = folder.parent / str(number)
        store = Store.open(copy, "w")
        change(store, 4)
        with failing_call(number) as calls:
            try:
                getattr(store, keep)()
                failed = False
            except OSError:
                failed = True
        after = state(store)
        assert read(copy) in ([states[3], after] if failed else [after])
        failures += failed
        change(store, 5)
        getattr(store, keep)()
        after = state(store)
        store.close()
        assert read(copy) == after
        assert len(list(copy.glob("gen-*"))) == 1
        if calls() < number:
            break
    assert failures >= 4


def test_a_full_disk_at_the_first_save_leaves_nothing(tmp_path):
    store = Store()
    store.create("text", np.uint8)
    store.extend("text", 10 * PAGE)
    with files_up_to(PAGE), pytest.raises(OSError, match="Make room"):
        store.save(tmp_path / "store")
    assert data_files(tmp_path / "store") == []
    with pytest.raises(FileNotFoundError):
        Store.open(tmp_path / "store")
    store.save(tmp_path / "store")
    assert read(tmp_path / "store") == state(store)


def test_a_second_writer_is_refused_and_told_who_has_it(committed):
    folder, states, _ = committed
    program = f"""if True:
        from plasticity.substrate.store import Store
        store = Store.open({str(folder)!r}, "w")
        print("open", flush=True)
        input()
    """
    holder = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(LockedError, match=f"process {holder.pid}"):
            Store.open(folder, "w")
        with pytest.raises(LockedError, match=f"process {holder.pid}"):
            Store().save(folder)
        assert read(folder) == states[-1]
        holder.kill()
    with Store.open(folder, "w"), pytest.raises(LockedError, match=f"process {os.getpid()}"):
        Store.open(folder, "w")
    Store.open(folder, "w").close()


def test_a_reader_that_is_overtaken_by_a_checkpoint_takes_the_newer(committed, monkeypatch):
    folder, states, _ = committed
    stale = generations.read_manifest(folder)
    with Store.open(folder, "w") as store:
        store.checkpoint()
    answers = [stale, stale]
    current = generations.read_manifest
    monkeypatch.setattr(
        generations, "read_manifest", lambda path: answers.pop() if answers else current(path)
    )
    assert read(folder) == states[-1]
    assert not answers


def test_a_reader_keeps_what_it_opened(committed):
    folder, states, _ = committed
    reader = Store.open(folder)
    with Store.open(folder, "w") as store:
        for seed in range(4, 7):
            change(store, seed)
            store.checkpoint()
    assert not (folder / "gen-0").exists()
    assert state(reader) == states[3]  # pages and checksums are read only now


def test_what_a_crash_left_of_a_checkpoint_is_cleared_by_the_writer(committed):
    folder, states, _ = committed
    (folder / "gen-1").mkdir()
    (folder / "gen-1" / "text.bin").write_bytes(b"half")
    (folder / "MANIFEST.json.tmp").write_text("{")
    assert read(folder) == states[-1]
    Store.open(folder, "w").close()
    assert {each.name for each in folder.iterdir()} == {"LOCK", MANIFEST, "gen-0"}


def test_a_first_save_that_was_cut_short_can_be_done_again(tmp_path):
    folder = tmp_path / "store"
    (folder / "gen-0").mkdir(parents=True)
    (folder / "gen-0" / "text.bin").write_bytes(b"half")
    (folder / "LOCK").touch()
    with pytest.raises(CorruptionError, match="cut short"):
        Store.open(folder)
    store = Store()
    store.save(folder)
    assert read(folder) == ({}, {})
    assert [each.name for each in folder.glob("gen-*")] == ["gen-1"]


def test_readers_see_whole_commits_while_a_writer_works(tmp_path):
    folder = tmp_path / "store"
    work = StoreWorkload(seed=5)
    work.create(folder)
    replayed, numbers, first = work.fresh(), [], work.open(folder, "r")
    writer = kills.start(StoreWorkload, folder, seed=5)
    with writer:
        while not numbers or numbers[-1] < 25:
            assert writer.poll() is None
            with work.open(folder, "r") as reader:
                numbers.append(work.number(reader))
                while work.number(replayed) < numbers[-1]:
                    work.step(replayed, work.number(replayed) + 1)
                assert work.state(reader) == work.state(replayed)
        writer.kill()
    assert numbers == sorted(numbers)
    assert len(set(numbers)) > 3
    assert work.state(first) == work.state(work.fresh())
