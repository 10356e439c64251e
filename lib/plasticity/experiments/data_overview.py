"""What the corpora hold: sizes, line lengths, word frequencies, truncation and masking."""

import itertools
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset
from tokenizers import Tokenizer

from plasticity.companion import datasets as data
from plasticity.companion.configuration import (
    ExperimentConfig,
    Runtime,
    check_choice,
    check_range,
    setting,
)
from plasticity.pnn.masking import MaskingRule
from plasticity.pnn.tokenization import (
    CLS,
    MASK,
    PAD,
    SEP,
    SPECIAL_TOKENS,
    reference_lines,
    train_wordpiece,
)

SPLITS = ("train", "validation", "test")
RANKS = 60
HEADING = r"^\s*= .* =\s*$"

Row = tuple[int, str, str, float, str]  # step, split, metric, value, unit


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """Which dataset is measured, and how lines become sequences; the variant is its name."""

    variant: str = setting("stories", "name of the dataset")
    rows: int = setting(
        2500, "lines per split that are cut into word pieces, drawn by seed; 0 = all"
    )
    vocab_size: int = setting(30522, "largest word-piece vocabulary (entries)")
    max_length: int = setting(128, "tokens per sequence, [CLS] and [SEP]")
    mask_probability: float = setting(0.15, "share of ordinary tokens hidden")

    def __post_init__(self) -> None:
        """Check the dataset's name and the ranges."""
        super().__post_init__()
        check_choice("variant", self.variant, data.names())
        check_range("rows", self.rows, 0, 10**9)
        check_range("vocab_size", self.vocab_size, len(SPECIAL_TOKENS) + 1, 10**6)
        check_range("max_length", self.max_length, 3, 10**5)
        check_range("mask_probability", self.mask_probability, 0.001, 0.999)


def datasets(config: Config) -> tuple[str, ...]:
    """Return the names of the datasets that a run reads."""
    return (config.variant,)


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Measure one dataset.

    Parameters
    ----------
    config : Config
    seed : int
        Decides which lines are drawn and which tokens are hidden; all else is counted.
    folder : Path
        Not used: nothing here is worth resuming.
    runtime : Runtime
        Not used: there is nothing to place on a device.

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit. The step is the rank of a word for
        ``word_share``, the percentile for ``words_per_line`` and ``pieces_per_line``, the digit
        for ``label_share``, and 0 elsewhere.

    Raises
    ------
    plasticity.companion.datasets.DatasetUnavailable
        The dataset is not reachable here.
    """
    loaded = data.load(config.variant)
    column = data.text_column(config.variant)
    if column is None:
        rows = [row for split in SPLITS for row in _measure_images(split, loaded[split])]
    else:
        tables = {split: loaded[split].data.table for split in SPLITS if split in loaded}
        rows = [row for split in tables for row in _measure_text(split, tables[split], column)]
        texts = {split: table.column(column).to_pylist() for split, table in tables.items()}
        rows += _measure_pieces(texts, config, seed)
    return pd.DataFrame(rows, columns=["step", "split", "metric", "value", "unit"])


def _measure_images(split: str, dataset: Dataset) -> Iterator[Row]:
    columns = dataset[:]
    images, labels = columns["image"], columns["label"]
    shares = 100 * np.bincount(labels, minlength=10) / len(labels)
    yield 0, split, "rows", len(labels), "rows"
    yield 0, split, "ink_share", 100 * np.mean(images > 0), "percent"
    yield 0, split, "constant_guess_accuracy", shares.max(), "percent"
    for digit, share in enumerate(shares):
        yield digit, split, "label_share", share, "percent"


def _measure_text(split: str, table: pa.Table, column: str) -> Iterator[Row]:
    """Count a whole split: words are separated by white space, lower-cased, bare of punctuation."""
    text = table.column(column)
    words = pc.list_flatten(pc.utf8_split_whitespace(pc.utf8_lower(text)))
    words = pc.utf8_trim(words, string.punctuation + "“”‘’—–…")
    counts = words.filter(pc.greater(pc.utf8_length(words), 0)).value_counts().field("counts")
    counts = np.sort(counts.to_numpy())[::-1]
    filled = text.filter(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(text)), 0))
    yield 0, split, "rows", len(text), "rows"
    yield 0, split, "documents", pc.count_distinct(table.column("document")).as_py(), "documents"
    yield 0, split, "characters", pc.sum(pc.utf8_length(text)).as_py(), "characters"
    yield 0, split, "words", counts.sum(), "words"
    yield 0, split, "unique_words", len(counts), "words"
    yield 0, split, "repeated_share", 100 * (1 - len(filled.unique()) / len(filled)), "percent"
    ranks = np.unique(np.geomspace(1, len(counts), RANKS).astype(int))
    for rank in ranks:
        yield int(rank), split, "word_share", 100 * counts[rank - 1] / counts.sum(), "percent"


def _measure_pieces(texts: dict[str, list[str]], config: Config, seed: int) -> Iterator[Row]:
    """Cut lines as the reference does, one a sequence, with word pieces trained on the train split.

    A dataset without a train split trains them on all it has.
    """
    generator = np.random.default_rng(seed)
    kept = {split: reference_lines(lines) for split, lines in texts.items()}
    drawn = {split: _drawn(lines, config.rows, generator) for split, lines in kept.items()}
    known = drawn.get("train") or list(itertools.chain(*drawn.values()))
    tokenizer = train_wordpiece(known, config.vocab_size)
    yield 0, "all", "vocabulary", tokenizer.get_vocab_size(), "word pieces"
    for split, lines in drawn.items():
        filled = sum(bool(text.strip()) for text in texts[split])
        yield 0, split, "kept_share", 100 * len(kept[split]) / filled, "percent"
        headings = pc.match_substring_regex(pa.array(kept[split]), HEADING)
        yield 0, split, "heading_share", 100 * pc.mean(headings).as_py(), "percent"
        yield 0, split, "kept_lines", len(kept[split]), "lines"
        yield 0, split, "lines_measured", len(lines), "lines"
        encodings = tokenizer.encode_batch(lines, add_special_tokens=False)
        pieces = [encoding.ids for encoding in encodings]
        yield from _measure_lengths(split, lines, pieces, config)
        yield from _measure_masks(split, pieces, tokenizer, config, seed)


def _drawn(lines: list[str], count: int, generator: np.random.Generator) -> list[str]:
    if not 0 < count < len(lines):
        return lines
    return [lines[i] for i in np.sort(generator.choice(len(lines), count, replace=False))]


def _measure_lengths(
    split: str, lines: list[str], pieces: list[list[int]], config: Config
) -> Iterator[Row]:
    words = np.array([len(line.split()) for line in lines])
    lengths = np.array([len(ids) for ids in pieces])
    lost = np.maximum(lengths - config.max_length + 2, 0)  # [CLS] and [SEP] take two places
    yield 0, split, "truncated_share", 100 * np.mean(lost > 0), "percent"
    yield 0, split, "discarded_share", 100 * lost.sum() / lengths.sum(), "percent"
    for percentile, value in enumerate(np.percentile(words, range(101))):
        yield percentile, split, "words_per_line", value, "words"
    for percentile, value in enumerate(np.percentile(lengths, range(101))):
        yield percentile, split, "pieces_per_line", value, "word pieces"


def _measure_masks(
    split: str, pieces: list[list[int]], tokenizer: Tokenizer, config: Config, seed: int
) -> Iterator[Row]:
    special = {token: tokenizer.token_to_id(token) for token in SPECIAL_TOKENS}
    ids = torch.full((len(pieces), config.max_length), special[PAD])
    for row, line in zip(ids, pieces, strict=True):
        line = [special[CLS], *line[: config.max_length - 2], special[SEP]]
        row[: len(line)] = torch.tensor(line)
    rule = MaskingRule(special[MASK], tuple(special.values()), config.mask_probability)
    masked, _ = rule.apply(ids, torch.Generator().manual_seed(seed))
    maskable = ~torch.isin(ids, torch.tensor(list(special.values())))
    hidden = masked != ids
    counts = torch.bincount(ids[maskable])
    total = int(maskable.sum())
    yield 0, split, "masked_share", 100 * int(hidden.sum()) / total, "percent"
    yield 0, split, "unmasked_lines_share", 100 * float((~hidden.any(1)).float().mean()), "percent"
    yield 0, split, "constant_guess_accuracy", 100 * int(counts.max()) / total, "percent"
    yield 0, split, "padding_share", 100 * float((ids == special[PAD]).float().mean()), "percent"
