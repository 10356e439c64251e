"""From texts to masked sequences: tokenizer, training set, fixed validation and test masks."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from plasticity.pnn.evaluation import constant_guess
from plasticity.pnn.masking import MaskingRule, fixed_masks
from plasticity.pnn.token_store import in_shards, kept_tokenizer
from plasticity.pnn.tokenization import (
    MASK,
    PAD,
    SEP,
    SPECIAL_TOKENS,
    cut,
    encode_blocks,
    encode_lines,
    encode_stream,
    reference_lines,
    train_wordpiece,
)

REFERENCE_TOKENIZER = "bert-base-uncased"
VALIDATION_SEED, TEST_SEED = 1, 2


@dataclass(frozen=True)
class MaskedCorpus:
    """A corpus ready for masked language modelling.

    Attributes
    ----------
    tokenizer : tokenizers.Tokenizer
    tokenizer_name : str
        ``bert-base-uncased``, or a sentence saying where it is from.
    train : Tensor of int64, shape (sequences, length)
    validation, test : tuple of Tensor
        Masked ids and labels, the same for every model and seed.
    rule : MaskingRule
    pad_token_id : int or None
        None when no sequence is padded.
    test_documents : ndarray of int64, shape (test sequences, each once,)
        The document that each begins in: sequences of one are not independent.
    """

    tokenizer: Tokenizer
    tokenizer_name: str
    train: Tensor
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    rule: MaskingRule
    pad_token_id: int | None
    test_documents: np.ndarray

    def constant_guess(self, split: str, sequences: int | None = None) -> float:
        """Return the percent of hidden tokens that the commonest token gets right.

        Parameters
        ----------
        split : {"validation", "test"}
        sequences : int, optional
            Score only the first so many sequences; None scores them all.
        """
        labels = (self.validation if split == "validation" else self.test)[1][:sequences]
        return constant_guess(self.train, labels, self.rule)

    def test_sample(self, count: int) -> tuple[Tensor, Tensor, np.ndarray]:
        """Return test sequences spread evenly over the test set, each masked once.

        Parameters
        ----------
        count : int
            How many, at most.

        Returns
        -------
        tuple of Tensor, Tensor and ndarray
            Masked ids and labels, of shape (sequences, length), and the document of each sequence.
        """
        once = len(self.test_documents)
        chosen = np.linspace(0, once - 1, min(count, once)).round().astype(int)
        ids, labels = (part[chosen] for part in self.test)
        return ids, labels, self.test_documents[chosen]

    def masked(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Cut and mask other texts as this corpus's test set is, once.

        Parameters
        ----------
        texts : list of str

        Returns
        -------
        tuple of Tensor
            Masked ids and labels, of shape (sequences, length).
        """
        encode = encode_blocks if self.pad_token_id is None else encode_lines
        ids = encode(self.tokenizer, texts, self.train.shape[1])
        return fixed_masks(torch.from_numpy(ids), self.rule, TEST_SEED)


def prepare(
    texts: dict[str, Sequence[str]],
    *,
    vocab_size: int,
    length: int,
    layout: str = "blocks",
    tokenizer: str | Tokenizer = "corpus",
    mask_probability: float = 0.15,
    test_draws: int = 1,
    store: Path | None = None,
    documents: Sequence[int] | None = None,
) -> MaskedCorpus:
    """Tokenize, cut and mask a corpus.

    Parameters
    ----------
    texts : dict of sequence of str
        Documents or lines under ``train``, ``validation`` and ``test``.
    vocab_size : int
        Entries of a tokenizer trained here.
    length : int
        Tokens per sequence.
    layout : {"blocks", "lines"}
        Blocks of joined text without padding, or one truncated and padded line each as in the
        reference.
    tokenizer : {"corpus", "bert-base-uncased"} or tokenizers.Tokenizer
        Train on the training texts, use the reference's if it can be fetched, or use this one.
    mask_probability : float
        Share of ordinary tokens hidden, in (0, 1).
    test_draws : int
        How many independent masks of the test set are scored together.
    store : Path, optional
        A folder of these texts alone, where their tokenizer and tokens are kept and found again.
    documents : sequence of int, optional
        The document of each test text; each text is one where they are not given.

    Returns
    -------
    MaskedCorpus

    Raises
    ------
    ValueError
        If `layout` or `tokenizer` is unknown, or a split is too short for one sequence.
    """
    if layout not in ("blocks", "lines"):
        raise ValueError(f"layout must be 'blocks' or 'lines', got {layout!r}")
    documents = np.arange(len(texts["test"])) if documents is None else np.asarray(documents)
    if layout == "lines":
        kept = [bool(reference_lines([text])) for text in texts["test"]]
        documents = documents[kept]
        texts = {split: reference_lines(lines) for split, lines in texts.items()}
    file = store / f"{layout}-{vocab_size}.json" if store else None
    pieces, name = _tokenizer(tokenizer, texts["train"], vocab_size, file)
    ids = {
        split: torch.from_numpy(_sequences(pieces, lines, layout, length, split, store))
        for split, lines in texts.items()
    }
    for split, sequences in ids.items():
        if len(sequences) == 0:
            raise ValueError(
                f"the {split} split must give at least one sequence of {length} tokens, got none"
            )
    if layout == "blocks":  # a separator ends each text
        ends = (ids["test"] == pieces.token_to_id(SEP)).sum(1).numpy()
        documents = documents[np.cumsum(ends) - ends]
    special = tuple(pieces.token_to_id(token) for token in SPECIAL_TOKENS)
    rule = MaskingRule(pieces.token_to_id(MASK), special, mask_probability)
    return MaskedCorpus(
        tokenizer=pieces,
        tokenizer_name=name,
        train=ids["train"],
        validation=fixed_masks(ids["validation"], rule, VALIDATION_SEED),
        test=fixed_masks(ids["test"].repeat(test_draws, 1), rule, TEST_SEED),
        rule=rule,
        pad_token_id=pieces.token_to_id(PAD) if layout == "lines" else None,
        test_documents=np.unique(documents, return_inverse=True)[1],
    )


def _sequences(
    pieces: Tokenizer,
    texts: Sequence[str],
    layout: str,
    length: int,
    split: str,
    store: Path | None,
) -> np.ndarray:
    """Return the sequences of a split; blocks of any length are cut from the same tokens."""

    def encode(some: Sequence[str]) -> np.ndarray:
        if layout == "blocks":
            return encode_stream(pieces, some)
        return encode_lines(pieces, some, length).ravel()

    if store is None:
        return cut(encode(texts), length)
    told = f"{layout} {length if layout == 'lines' else ''} {pieces.to_str()}"
    name = hashlib.sha256(told.encode()).hexdigest()[:16]
    return cut(in_shards(store / name / split, encode, texts), length)


def _tokenizer(
    name: str | Tokenizer, train_texts: Sequence[str], vocab_size: int, file: Path | None
) -> tuple[Tokenizer, str]:
    if isinstance(name, Tokenizer):
        return name, f"WordPiece of {name.get_vocab_size():,}, given"
    if name not in ("corpus", REFERENCE_TOKENIZER):
        raise ValueError(f"tokenizer must be 'corpus' or {REFERENCE_TOKENIZER!r}, got {name!r}")
    if name == REFERENCE_TOKENIZER:
        try:
            return Tokenizer.from_pretrained(name), name
        except Exception as error:  # tokenizers raises a bare Exception when the Hub is away
            reason = f" ({REFERENCE_TOKENIZER} could not be fetched: {type(error).__name__})"
    else:
        reason = ""
    train = partial(train_wordpiece, train_texts, vocab_size)
    pieces = kept_tokenizer(file, train) if file else train()
    return pieces, f"WordPiece of {pieces.get_vocab_size():,} trained on the corpus{reason}"
