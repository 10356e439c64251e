"""Word vectors of a text by singular values: a start for embeddings that knows what goes together.

Counts of neighbours become positive pointwise mutual information, and its leading singular vectors,
weighted by the roots of their singular values, are the vectors (Levy, Goldberg & Dagan 2015, TACL
3, section 3).
"""

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import svds


def word_vectors(sequences: np.ndarray, vocab_size: int, width: int, window: int = 4) -> np.ndarray:
    """Return a vector for every token of a vocabulary.

    Parameters
    ----------
    sequences : ndarray of int, shape (sequences, length)
        The training text as ids; neighbours are counted within a sequence.
    vocab_size : int
        Number of ids, above `width`.
    width : int
        Length of a vector, at least 1.
    window : int
        How far away a neighbour may stand, at least 1.

    Returns
    -------
    ndarray of float32, shape (vocab_size, width)
        Of mean 0 and standard deviation 1 over all elements; 0 for ids that the text lacks.

    Raises
    ------
    ValueError
        If `width` or `window` is out of its range, or the text has too few neighbours.

    Examples
    --------
    >>> text = np.array([[0, 1, 2, 3, 0, 1, 2, 4, 5, 3]])
    >>> word_vectors(text, vocab_size=6, width=2).shape
    (6, 2)
    """
    if not 1 <= width < vocab_size:
        raise ValueError(f"width must be in [1, vocab_size - 1 = {vocab_size - 1}], got {width}")
    if window < 1:
        raise ValueError(f"window must be at least 1, got {window}")
    information = mutual_information(_neighbours(sequences, vocab_size, window))
    if information.nnz == 0:
        raise ValueError("word_vectors needs text in which some tokens stand together, got none")
    # A fixed first vector: the same text gives the same vectors in every process.
    left, values, _ = svds(information, k=width, v0=np.ones(vocab_size))
    vectors = left * np.sqrt(values)
    vectors *= np.where(vectors.sum(0) < 0, -1, 1)  # the sign of a singular vector is arbitrary
    known = np.asarray(abs(information).sum(1)).ravel() > 0
    vectors[known] -= vectors[known].mean(0)
    vectors[~known] = 0
    return (vectors / vectors.std()).astype(np.float32)


def mutual_information(counts: sparse.csr_array) -> sparse.csr_array:
    """Return positive pointwise mutual information, shape (tokens, tokens), of counts in pairs."""
    total, rows = counts.sum(), np.asarray(counts.sum(1)).ravel()
    pairs = counts.tocoo()
    found = np.log(pairs.data * total / (rows[pairs.row] * rows[pairs.col]))
    kept = found > 0
    cells = (pairs.row[kept], pairs.col[kept])
    return sparse.csr_array((found[kept], cells), shape=counts.shape)


def _neighbours(sequences: np.ndarray, vocab_size: int, window: int) -> sparse.csr_array:
    """Count how often two tokens stand at most `window` apart, in either order."""
    shape = (vocab_size, vocab_size)
    counts = sparse.csr_array(shape, dtype=np.float64)
    for distance in range(1, min(window, sequences.shape[1] - 1) + 1):
        one, other = sequences[:, :-distance].ravel(), sequences[:, distance:].ravel()
        counts = counts + sparse.coo_array((np.ones(len(one)), (one, other)), shape=shape).tocsr()
    return counts + counts.T
