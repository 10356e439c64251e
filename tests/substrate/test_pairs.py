"""The timings of pair learning: every kind runs, learns something, and says what it needs."""

import dataclasses
import sys

import numpy as np
import pytest

from plasticity.companion.configuration import Runtime
from plasticity.experiments import substrate_pairs

CONFIG = substrate_pairs.Config(words=50, pairs=2000, repeats=2)


@pytest.mark.parametrize("kind", ["dense", "pending", "rows", "scored"])
def test_every_kind_is_timed(kind, tmp_path):
    config = dataclasses.replace(CONFIG, kind=kind)
    rows = substrate_pairs.run(config, 0, tmp_path, Runtime())
    rates = rows[rows["metric"] == "pairs_per_second"]
    assert len(rates) == 2 * config.repeats
    assert (rates["value"] > 0).all()
    assert not list(tmp_path.iterdir())


def test_words_follow_zipfs_law():
    stream = substrate_pairs.words(dataclasses.replace(CONFIG, pairs=100_000), seed=1)
    counts = np.bincount(stream, minlength=50)
    assert counts[0] / counts[9] == pytest.approx(10, rel=0.2)


def test_a_missing_peer_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gensim", None)
    monkeypatch.setitem(sys.modules, "gensim.models", None)
    config = dataclasses.replace(CONFIG, kind="word2vec")
    with pytest.raises(ImportError, match=r"pip install 'plasticity\[peers\]'"):
        substrate_pairs.run(config, 0, tmp_path, Runtime())
