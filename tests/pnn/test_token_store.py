"""Tokens on disk: the same as without a disk, made once, and made again where they are damaged."""

import multiprocessing
import os
import resource
import signal
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from plasticity.pnn import token_store
from plasticity.pnn.corpus import prepare
from plasticity.pnn.token_store import in_shards, kept_tokenizer
from plasticity.pnn.tokenization import train_wordpiece

TEXTS = [f"the cat number {n} sat on mat {n % 7}" for n in range(60)]
SPLITS = {"train": TEXTS, "validation": TEXTS[:9], "test": TEXTS[9:20]}


def lengths(texts):
    return np.array([len(text) for text in texts], dtype=np.int64)


@given(st.lists(st.text(max_size=5), max_size=12), st.integers(1, 5))
@settings(max_examples=40)
def test_shards_hold_what_the_texts_give_at_once(tmp_path_factory, texts, size):
    folder = tmp_path_factory.mktemp("tokens")
    expected = lengths(texts).tolist()
    assert in_shards(folder, lengths, texts, size).tolist() == expected
    assert in_shards(folder, pytest.fail, texts, size).tolist() == expected  # asks nobody again


@pytest.mark.parametrize("layout", ["blocks", "lines"])
def test_a_corpus_is_the_same_with_and_without_a_store(tmp_path, layout, monkeypatch):
    monkeypatch.setattr(token_store.in_shards, "__defaults__", (7,))
    sizes = {"vocab_size": 60, "length": 16, "layout": layout}
    plain = prepare(SPLITS, **sizes)
    for _ in range(2):
        kept = prepare(SPLITS, **sizes, store=tmp_path)
        assert kept.tokenizer.to_str() == plain.tokenizer.to_str()
        assert torch.equal(kept.train, plain.train)
        for split in ("validation", "test"):
            for found, wanted in zip(getattr(kept, split), getattr(plain, split), strict=True):
                assert torch.equal(found, wanted)
    assert len(list(tmp_path.rglob("train/*.safetensors"))) == 9


def test_other_settings_find_no_tokens_of_these(tmp_path):
    first = prepare(SPLITS, vocab_size=60, length=16, layout="lines", store=tmp_path)
    other = prepare(SPLITS, vocab_size=60, length=12, layout="lines", store=tmp_path)
    smaller = prepare(SPLITS, vocab_size=50, length=16, layout="lines", store=tmp_path)
    assert first.train.shape[1] == 16 and other.train.shape[1] == 12
    assert smaller.tokenizer.get_vocab_size() <= 50 < first.tokenizer.get_vocab_size()


@pytest.mark.parametrize("damage", ["truncated", "changed", "empty"])
def test_a_damaged_shard_is_made_again(tmp_path, damage):
    expected = in_shards(tmp_path, lengths, TEXTS, 20)
    path = sorted(tmp_path.glob("*.safetensors"))[1]
    if damage == "changed":
        tensors = load_file(path)
        tensors["ids"][3] += 1
        save_file(tensors, path, {"sha256": "0" * 64})
    else:
        path.write_bytes(path.read_bytes()[: -20 if damage == "truncated" else 0])
    asked = []

    def encode(texts):
        asked.append(texts)
        return lengths(texts)

    assert np.array_equal(in_shards(tmp_path, encode, TEXTS, 20), expected)
    assert asked == [TEXTS[20:40]]


def slowly(texts):
    time.sleep(0.2)
    return lengths(texts)


@pytest.mark.slow
def test_a_killed_run_goes_on_after_the_last_whole_shard(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    child = spawn.Process(target=in_shards, args=(tmp_path, slowly, TEXTS, 2))
    child.start()
    while not (written := list(tmp_path.glob("*.safetensors"))):
        assert child.is_alive()
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    written = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    assert 0 < len(written) < 30
    assert np.array_equal(in_shards(tmp_path, lengths, TEXTS, 2), lengths(TEXTS))
    assert all((tmp_path / name).stat().st_mtime_ns == at for name, at in written.items())


def test_where_no_more_can_be_written_whole_shards_stay(tmp_path):
    in_shards(tmp_path, lengths, TEXTS[:20], 20)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # as on a full disk
    try:
        with pytest.raises((OSError, SafetensorError), match=r"too large|error 27"):
            in_shards(tmp_path, lengths, TEXTS, 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["000000000-20.safetensors", "lock"]
    assert np.array_equal(in_shards(tmp_path, lengths, TEXTS, 20), lengths(TEXTS))


def test_a_tokenizer_is_trained_once_and_anew_where_its_file_is_damaged(tmp_path):
    path = tmp_path / "tokenizer.json"
    trained = kept_tokenizer(path, lambda: train_wordpiece(TEXTS, 60))
    assert kept_tokenizer(path, pytest.fail).to_str() == trained.to_str()
    path.write_text(path.read_text(encoding="utf-8")[:100], encoding="utf-8")
    assert kept_tokenizer(path, lambda: train_wordpiece(TEXTS, 60)).to_str() == trained.to_str()
    assert {child.name for child in tmp_path.iterdir()} == {"tokenizer.json", "tokenizer.lock"}


def noted_training(path, notes):
    def train():
        notes.put(os.getpid())
        time.sleep(1)
        return train_wordpiece(TEXTS, 60)

    kept_tokenizer(path, train)


@pytest.mark.slow
def test_processes_train_one_tokenizer_between_them(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    notes = spawn.SimpleQueue()
    children = [
        spawn.Process(target=noted_training, args=(tmp_path / "tokenizer.json", notes))
        for _ in range(2)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    notes.get()
    assert notes.empty()
