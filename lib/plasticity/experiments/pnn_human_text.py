"""The arms of `pnn_refinement` on text that people wrote, scored on a second corpus as well."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from plasticity.companion import datasets as corpora
from plasticity.companion import metrics
from plasticity.companion.configuration import Runtime, setting
from plasticity.experiments import pnn_refinement
from plasticity.experiments.pnn_refinement import prepare_corpus, score_rows, train_arm

UNKNOWN_WORD = "<unk>"  # how WikiText writes a word outside its vocabulary
OTHER = "other_test"  # name of the split


@dataclass(frozen=True)
class Config(pnn_refinement.Config):
    """One arm, and the corpus that it is scored on besides its own."""

    other_corpus: str = setting("wikitext_2_v1", "dataset whose test split is scored too")


def datasets(config: Config) -> tuple[str, ...]:
    """Return the datasets that a run reads."""
    return (config.corpus, config.other_corpus)


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Train one arm with one seed, and score it on its own test set and on the other corpus's.

    Parameters
    ----------
    config : Config
    seed : int
    folder : Path
        Keeps the checkpoint and the trained model.
    runtime : Runtime

    Returns
    -------
    pandas.DataFrame
        The rows of `pnn_refinement.run`, and those of the split ``other_test``.
    """
    from plasticity.pnn.evaluation import constant_guess, evaluate
    from plasticity.pnn.tokenization import UNK

    own = pnn_refinement.run(config, seed, folder, runtime)
    corpus = prepare_corpus(config)
    model, _ = train_arm(config, corpus, seed, folder, runtime, config.curve_sequences)
    lines = corpora.load(config.other_corpus)["test"]["text"]
    texts = [line.replace(UNKNOWN_WORD, UNK) for line in lines if line.strip()]
    masked_ids, labels = corpus.masked(texts)
    score = evaluate(model, masked_ids, labels, pad_token_id=corpus.pad_token_id)
    rows = score_rows(OTHER, score, constant_guess(corpus.train, labels, corpus.rule))
    frame = pd.DataFrame(rows, columns=["step", "split", "metric", "value"])
    units = [metrics.metric(name).unit for name in frame["metric"]]
    return pd.concat([own, frame.assign(unit=units)], ignore_index=True)
