"""Fine-tuning and digits: what is learned is there to learn."""

import pytest
import torch
from toy_masked import toy_model

from plasticity.pnn import BertBaselineConfig, BertBaselineForMaskedLM
from plasticity.pnn.fine_tuning import (
    FineTuningConfig,
    SequenceClassifier,
    TensorRows,
    encode_examples,
    fine_tune,
)
from plasticity.pnn.tokenization import CLS, SEP, train_wordpiece
from plasticity.pnn.vision import PnnForImageClassification, PnnVisionConfig


def marked_rows(count: int, seed: int) -> TensorRows:
    """Sequences whose class is told by which of two tokens stands somewhere in them."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(10, 40, (count, 8), generator=generator)
    labels = torch.randint(0, 2, (count,), generator=generator)
    places = torch.randint(0, 8, (count,), generator=generator)
    ids[torch.arange(count), places] = 5 + labels
    return TensorRows(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels)


def bert() -> BertBaselineForMaskedLM:
    torch.manual_seed(0)
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_attention_heads": 2}
    config = BertBaselineConfig(**sizes, intermediate_size=24, num_hidden_layers=2)
    return BertBaselineForMaskedLM(config)


@pytest.mark.parametrize("encoder", [toy_model, bert], ids=["pnn", "bert"])
def test_a_classifier_learns_what_can_be_learnt(encoder):
    torch.manual_seed(0)
    model = SequenceClassifier(encoder(), num_labels=2)
    settings = FineTuningConfig(epochs=8, batch_size=32, learning_rate=1e-2)
    trainer = fine_tune(model, marked_rows(256, 0), settings, seed=0, device="cpu")
    found = trainer.predict(marked_rows(200, 1))
    assert (found.predictions.argmax(-1) == found.label_ids).mean() > 0.9


def test_padding_plays_no_part_in_the_mean_state():
    model = SequenceClassifier(toy_model(), num_labels=3).eval()
    ids, mask = torch.randint(5, 40, (2, 8)), torch.ones(2, 8, dtype=torch.int64)
    mask[:, 5:] = 0
    other = ids.clone()
    other[:, 5:] = 9
    torch.testing.assert_close(model(ids, mask).logits, model(other, mask).logits)
    alone = model(ids[:, :5], mask[:, :5]).logits
    torch.testing.assert_close(model(ids, mask).logits, alone)


def test_pairs_are_joined_by_a_separator():
    tokenizer = train_wordpiece(["the cat sat", "on the mat"], vocab_size=60)
    rows = encode_examples(tokenizer, ["the cat"], ["the mat"], [1], length=10)
    tokens = [tokenizer.id_to_token(i) for i in rows.tensors["input_ids"][0].tolist()]
    assert tokens[:7] == [CLS, "the", "cat", SEP, "the", "mat", SEP]
    assert rows.tensors["attention_mask"][0].tolist() == [1] * 7 + [0] * 3
    alone = encode_examples(tokenizer, ["the cat sat", "the"], None, [0, 1], length=4)
    assert alone.tensors["input_ids"].shape == (2, 4)
    assert (rows.truncated, alone.truncated) == (0, 1)


def test_a_regression_is_fitted_to_values():
    torch.manual_seed(0)
    rows = marked_rows(64, 0)
    rows.tensors["labels"] = rows.tensors["labels"].float()
    model = SequenceClassifier(toy_model(), num_labels=1)
    loss = model(**{name: tensor[:8] for name, tensor in rows.tensors.items()}).loss
    assert loss.shape == () and loss > 0


def test_images_are_cut_into_patches_row_by_row():
    torch.manual_seed(0)
    config = PnnVisionConfig(hidden_size=8, num_attention_heads=2, intermediate_size=16)
    model = PnnForImageClassification(config).eval()
    assert sum(p.numel() for p in model.pnn.embeddings.projection.parameters()) == 49 * 8 + 8
    image = torch.zeros(1, 1, 28, 28)
    image[..., 7:14, 14:21] = 1  # second row, third column: patch 6
    blank = torch.zeros(1, 1, 28, 28)
    moved = (model.pnn.embeddings(image) - model.pnn.embeddings(blank)).abs().sum(-1)[0] > 1e-6
    assert moved.nonzero().flatten().tolist() == [6]
    labels = torch.tensor([3])
    out = model(image, labels)
    torch.testing.assert_close(out.logits, model(image).logits)
    assert out.loss > 0


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"patch_size": 5}, "patch_size"), ({"num_classes": 1}, "num_classes")],
)
def test_images_that_cannot_be_cut_are_refused(settings, named):
    with pytest.raises(ValueError, match=f"^{named} must"):
        PnnVisionConfig(**settings)


def test_fine_tuning_settings_are_checked():
    with pytest.raises(ValueError, match="epochs must be above 0, got 0"):
        FineTuningConfig(0, 8, 1e-3)
