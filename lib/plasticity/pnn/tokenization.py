"""Word pieces: train a vocabulary, turn documents into fixed-length sequences of ids."""

from collections.abc import Iterable, Iterator

import numpy as np
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL_TOKENS = (PAD, UNK, CLS, SEP, MASK)


def train_wordpiece(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Train an uncased WordPiece tokenizer, BERT's normalisation and splitting included.

    Parameters
    ----------
    texts : iterable of str
        The training text, one document or line each.
    vocab_size : int
        Number of entries including the five special tokens; ids 0 to 4 are
        ``[PAD] [UNK] [CLS] [SEP] [MASK]``. The result is smaller when the text has fewer pieces.

    Returns
    -------
    tokenizers.Tokenizer
        Adds ``[CLS]`` and ``[SEP]`` when it encodes, unless told not to.

    Raises
    ------
    ValueError
        If `vocab_size` does not leave room beyond the special tokens.

    Examples
    --------
    >>> tokenizer = train_wordpiece(["the cat sat on the mat"], vocab_size=60)
    >>> tokenizer.encode("The cat").tokens
    ['[CLS]', 'the', 'cat', '[SEP]']
    """
    if vocab_size <= len(SPECIAL_TOKENS):
        raise ValueError(f"vocab_size must be above {len(SPECIAL_TOKENS)}, got {vocab_size}")
    texts = list(texts)
    letters = _trained(texts, len(SPECIAL_TOKENS), ()).get_vocab()
    suffixes = sorted(piece for piece in letters if piece.startswith("##"))
    vocabulary = _trained(texts, vocab_size, suffixes).get_vocab()
    tokenizer = _untrained(vocabulary)
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CLS} $A {SEP}",
        pair=f"{CLS} $A {SEP} $B {SEP}",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (CLS, SEP)],
    )
    return tokenizer


def _untrained(vocabulary: dict[str, int] | None = None) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=UNK))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _trained(texts: list[str], vocab_size: int, first: Iterable[str]) -> Tokenizer:
    """Train; `first` are word-internal letters whose ids are fixed beforehand.

    The trainer numbers these letters in the order of a hash table, which differs from process to
    process, and breaks ties by number: without `first`, the same text gives another vocabulary
    each time.
    """
    tokenizer = _untrained()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=[*SPECIAL_TOKENS, *first], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def reference_lines(texts: list[str]) -> list[str]:
    """Keep the lines that the reference keeps: over 20 characters and at least five words.

    Examples
    --------
    >>> reference_lines(["= Title =", "This line is long enough to be kept."])
    ['This line is long enough to be kept.']
    """
    stripped = (text.strip() for text in texts)
    return [text for text in stripped if len(text) > 20 and len(text.split()) >= 5]


def encode_lines(tokenizer: Tokenizer, texts: Iterable[str], length: int) -> np.ndarray:
    """Encode each text as one sequence, truncated and padded: the reference's layout.

    Parameters
    ----------
    tokenizer : tokenizers.Tokenizer
    texts : iterable of str
        One sequence each.
    length : int
        Tokens per sequence, ``[CLS]`` and ``[SEP]`` included.

    Returns
    -------
    numpy.ndarray of int64, shape (number of texts, length)
        Padded with the id of ``[PAD]``.
    """
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_token=PAD, pad_id=tokenizer.token_to_id(PAD))
    rows = [np.array(ids, dtype=np.int64) for ids in _encoded(tokenizer, texts, special=True)]
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return np.array(rows, dtype=np.int64).reshape(-1, length)


def encode_stream(tokenizer: Tokenizer, texts: Iterable[str]) -> np.ndarray:
    """Join the tokens of the texts, a ``[SEP]`` after each.

    Parameters
    ----------
    tokenizer : tokenizers.Tokenizer
    texts : iterable of str

    Returns
    -------
    numpy.ndarray of int64, one dimension
    """
    separator = [tokenizer.token_to_id(SEP)]
    parts = [np.zeros(0, dtype=np.int64)]
    for ids in _encoded(tokenizer, texts, special=False):
        parts.append(np.array(ids + separator, dtype=np.int64))
    return np.concatenate(parts)


def encode_blocks(tokenizer: Tokenizer, texts: Iterable[str], length: int) -> np.ndarray:
    """Join the texts and cut blocks: no padding and no truncation.

    Parameters
    ----------
    tokenizer : tokenizers.Tokenizer
    texts : iterable of str
    length : int
        Tokens per block. The last incomplete block is dropped.

    Returns
    -------
    numpy.ndarray of int64, shape (number of blocks, length)
    """
    return cut(encode_stream(tokenizer, texts), length)


def cut(stream: np.ndarray, length: int) -> np.ndarray:
    """Cut tokens into sequences of one length; what is left over is dropped.

    Examples
    --------
    >>> cut(np.arange(5), 2).tolist()
    [[0, 1], [2, 3]]
    """
    count = len(stream) // length
    return stream[: count * length].reshape(count, length)


def _encoded(tokenizer: Tokenizer, texts: Iterable[str], special: bool) -> Iterator[list[int]]:
    """Yield the ids of each text; a thousand at a time, as encodings are bulky."""
    texts = list(texts)
    for start in range(0, len(texts), 1000):
        batch = tokenizer.encode_batch_fast(texts[start : start + 1000], add_special_tokens=special)
        yield from (encoding.ids for encoding in batch)
