"""Tokenizing, masking and scoring."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plasticity.pnn import PnnConfig, PnnForMaskedLM
from plasticity.pnn.corpus import prepare
from plasticity.pnn.evaluation import constant_guess, evaluate
from plasticity.pnn.masking import IGNORED_LABEL, MaskingRule, fixed_masks, unmasked
from plasticity.pnn.tokenization import (
    encode_blocks,
    encode_lines,
    reference_lines,
    train_wordpiece,
)

TEXTS = ["the cat sat on the mat with a hat", "the dog ran to the cat and sat down"] * 4


@given(
    seed=st.integers(0, 2**32),
    probability=st.floats(0.01, 0.99),
    rows=st.integers(1, 6),
    length=st.integers(1, 20),
)
@settings(max_examples=60, deadline=None)
def test_masking_hides_only_ordinary_tokens(seed, probability, rows, length):
    rule = MaskingRule(4, (0, 1, 2, 3, 4), probability)
    ids = torch.randint(0, 12, (rows, length), generator=torch.Generator().manual_seed(seed))
    masked, labels = rule.apply(ids, torch.Generator().manual_seed(seed))
    hidden = labels != IGNORED_LABEL
    assert (ids[hidden] >= 5).all()
    assert (masked[hidden] == 4).all()
    assert torch.equal(masked[~hidden], ids[~hidden])
    assert torch.equal(labels[hidden], ids[hidden])
    again = rule.apply(ids, torch.Generator().manual_seed(seed))
    assert torch.equal(again[0], masked)
    assert torch.equal(unmasked(masked, labels), ids)


def test_masking_rate_and_range():
    rule = MaskingRule(4, (0, 1, 2, 3, 4), 0.15)
    labels = fixed_masks(torch.full((200, 200), 9), rule, seed=3)[1]
    assert (labels != IGNORED_LABEL).float().mean().item() == pytest.approx(0.15, abs=0.005)
    with pytest.raises(ValueError, match=r"probability must be in \(0, 1\), got 0"):
        MaskingRule(4, (0,), 0)


def test_lines_and_blocks():
    tokenizer = train_wordpiece(TEXTS, 80)
    lines = encode_lines(tokenizer, TEXTS[:2], length=6)
    assert lines.shape == (2, 6)
    assert (lines[:, 0] == 2).all()
    assert (lines[:, -1] == 3).all()  # truncated, the separator kept
    padded = encode_lines(tokenizer, ["the cat"], length=6)
    assert padded[0].tolist()[-2:] == [0, 0]
    blocks = encode_blocks(tokenizer, TEXTS, length=5)
    joined = [i for text in TEXTS for i in (*_ids(tokenizer, text), 3)]
    assert blocks.flatten().tolist() == joined[: len(joined) // 5 * 5]
    with pytest.raises(ValueError, match="vocab_size must be above 5, got 5"):
        train_wordpiece(TEXTS, 5)


def _ids(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def test_prepare_is_the_same_every_time_and_names_bad_input():
    texts = {"train": TEXTS, "validation": TEXTS[:4], "test": TEXTS[4:]}
    first, second = (prepare(texts, vocab_size=80, length=8, test_draws=2) for _ in range(2))
    assert torch.equal(first.train, second.train)
    assert torch.equal(first.test[0], second.test[0])
    assert len(first.test[0]) == 2 * len(prepare(texts, vocab_size=80, length=8).test[0])
    assert first.pad_token_id is None
    assert prepare(texts, vocab_size=80, length=8, layout="lines").pad_token_id == 0
    with pytest.raises(ValueError, match="layout must be"):
        prepare(texts, vocab_size=80, length=8, layout="pages")
    with pytest.raises(ValueError, match="tokenizer must be"):
        prepare(texts, vocab_size=80, length=8, tokenizer="gpt2")
    with pytest.raises(ValueError, match="the validation split must give at least one sequence"):
        prepare({**texts, "validation": ["cat"]}, vocab_size=80, length=64)


@pytest.mark.parametrize("draws", [1, 3])
def test_blocks_know_the_document_that_they_begin_in(draws):
    long, short = "the cat sat on the mat " * 4, "the dog"
    splits = {"train": [long], "validation": [long], "test": [long, short, short, long]}
    sizes = {"vocab_size": 60, "length": 4, "test_draws": draws}
    corpus = prepare(splits, **sizes)
    assert len(corpus.test[0]) == draws * ((24 + 1 + 2 + 1 + 2 + 1 + 24 + 1) // 4)
    # The first text fills six blocks and a token; two short ones and the last share the next.
    assert corpus.test_documents.tolist() == [0] * 7 + [1] + [2] * 6
    of_one = prepare(splits, **sizes, documents=[4, 4, 4, 9])
    assert of_one.test_documents.tolist() == [0] * 8 + [1] * 6


def test_lines_of_one_document_are_told_to_be():
    lines = {split: [f"the cat number {n} sat on the mat" for n in range(3)]
             for split in ("train", "validation", "test")}  # fmt: skip
    lines["test"].insert(1, "too short")
    sizes = {"vocab_size": 60, "length": 8, "layout": "lines"}
    assert prepare(lines, **sizes).test_documents.tolist() == [0, 1, 2]
    corpus = prepare(lines, **sizes, documents=[7, 7, 7, 8])
    assert corpus.test_documents.tolist() == [0, 0, 1]


def test_few_sequences_are_of_many_documents():
    texts = [f"the cat number {n} sat on the mat with a hat" for n in range(20)]
    splits = dict.fromkeys(("train", "validation", "test"), texts)
    corpus = prepare(splits, vocab_size=60, length=4, test_draws=2)
    once = len(corpus.test_documents)
    ids, labels, documents = corpus.test_sample(5)
    assert len(ids) == len(labels) == 5 and len(set(documents.tolist())) == 5
    everything = corpus.test_sample(10**6)
    assert torch.equal(everything[0], corpus.test[0][:once])
    assert torch.equal(everything[1], corpus.test[1][:once])


def test_reference_keeps_lines_of_enough_characters_and_words():
    kept = reference_lines(
        [" = Title = ", "", "four words are here now", "abcdefghijklmnopqrstuvwxyz"]
    )
    assert kept == ["four words are here now"]


def test_constant_guess_is_the_commonest_ordinary_token():
    train = torch.tensor([[3, 3, 3, 3, 7, 7, 8]])
    labels = torch.tensor([[7, 8, IGNORED_LABEL, 7, 9]])
    assert constant_guess(train, labels, MaskingRule(4, (0, 1, 2, 3, 4))) == pytest.approx(50.0)


def test_evaluation_is_a_count_over_hidden_tokens():
    torch.manual_seed(0)
    config = PnnConfig(
        vocab_size=30, hidden_size=8, num_attention_heads=2, intermediate_size=8, num_steps=2
    )
    model = PnnForMaskedLM(config)
    ids = torch.randint(5, 30, (9, 12))
    masked, labels = fixed_masks(ids, MaskingRule(4, (0, 1, 2, 3, 4), 0.4), seed=0)
    found = evaluate(model, masked, labels, batch_size=4)
    assert model.training
    model.eval()
    states = model(masked, output_hidden_states=True).hidden_states
    hidden = labels != IGNORED_LABEL
    by_hand = [
        100 * (model.head(s).argmax(-1)[hidden] == labels[hidden]).float().mean().item()
        for s in states
    ]
    assert found.readout_accuracy == pytest.approx(by_hand, abs=1e-4)
    assert found.accuracy == found.readout_accuracy[-1]
    assert found.tokens == int(hidden.sum())
    with pytest.raises(ValueError, match="hides no token"):
        evaluate(model, masked, torch.full_like(labels, IGNORED_LABEL))
