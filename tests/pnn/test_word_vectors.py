"""Word vectors: the same text gives the same, and tokens of like company lie together."""

import numpy as np
import pytest

from plasticity.pnn.word_vectors import word_vectors


def text() -> np.ndarray:
    """Tokens 5 to 9 stand among each other, and 10 to 14; 15 is never used."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.integers(5, 10, (200, 12)), rng.integers(10, 15, (200, 12))])


def test_the_same_text_gives_the_same_vectors():
    one, two = (word_vectors(text(), 16, 4) for _ in range(2))
    assert one.dtype == np.float32
    np.testing.assert_array_equal(one, two)


def test_like_company_lies_together_and_the_unknown_nowhere():
    vectors = word_vectors(text(), 16, 2)
    assert (vectors[[0, 1, 2, 3, 4, 15]] == 0).all()
    unit = vectors[5:15] / np.linalg.norm(vectors[5:15], axis=1, keepdims=True)
    likeness = unit @ unit.T
    assert likeness[:5, :5].min() > likeness[:5, 5:].max()
    assert vectors.std() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((text(), 16, 16), "width must be in"),
        ((text(), 16, 2, 0), "window must be at least 1"),
        ((np.zeros((4, 1), int), 16, 2), "got none"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        word_vectors(*arguments)
