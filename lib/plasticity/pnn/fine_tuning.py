"""Fine-tuning through transformers' Trainer: a classifier on any model of this package."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.trainer_callback import PrinterCallback

from plasticity.pnn.tokenization import PAD

AT_ONCE = 1000  # texts encoded: encodings are bulky


@dataclass(frozen=True)
class FineTuningConfig:
    """How a classifier is trained.

    Parameters
    ----------
    epochs : float
        Passes over the training set, above 0.
    batch_size : int
    learning_rate : float
        Peak; 10 % of the updates warm up, then it falls in a line to 0.
    weight_decay : float

    Raises
    ------
    ValueError
        If a value is out of its range.
    """

    epochs: float
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.01

    def __post_init__(self):
        for name in ("epochs", "batch_size", "learning_rate"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay must be 0 or more, got {self.weight_decay}")


class TensorRows(Dataset):
    """Named tensors of one length, as rows of a dataset.

    Attributes
    ----------
    truncated : int
        Rows whose text was longer than was read.
    """

    def __init__(self, truncated: int = 0, **tensors: Tensor):
        self.truncated, self.tensors = truncated, tensors

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: tensor[index] for name, tensor in self.tensors.items()}


class SequenceClassifier(nn.Module):
    """A masked language model whose head is taken off, and a linear layer on its mean state.

    Parameters
    ----------
    encoder : PnnForMaskedLM or BertBaselineForMaskedLM
        Changed: its head becomes the identity.
    num_labels : int
        Classes, at least 2; 1 for a regression.
    """

    def __init__(self, encoder: nn.Module, num_labels: int):
        super().__init__()
        encoder.head = nn.Identity()
        self.encoder = encoder
        self.classifier = nn.Linear(encoder.config.hidden_size, num_labels)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None
    ) -> SequenceClassifierOutput:
        """Classify sequences by the mean state of their tokens.

        Parameters
        ----------
        input_ids, attention_mask : Tensor of int64, shape (batch, length)
        labels : Tensor, shape (batch,), optional
            Classes (int64), or values of a regression (float).

        Returns
        -------
        SequenceClassifierOutput
        """
        states = self.encoder(input_ids, attention_mask).logits
        words = attention_mask[:, :, None].to(states.dtype)
        logits = self.classifier((states * words).sum(1) / words.sum(1))
        if labels is None:
            return SequenceClassifierOutput(logits=logits)
        regression = logits.shape[1] == 1
        loss = (
            F.mse_loss(logits[:, 0], labels.float())
            if regression
            else F.cross_entropy(logits, labels)
        )
        return SequenceClassifierOutput(loss=loss, logits=logits)


def encode_examples(
    tokenizer: Tokenizer, first: list[str], second: list[str] | None, labels, length: int
) -> TensorRows:
    """Encode sentences, or pairs joined by ``[SEP]``, truncated and padded.

    Parameters
    ----------
    tokenizer : tokenizers.Tokenizer
    first : list of str
    second : list of str or None
        The other sentence of each pair.
    labels : sequence of int or float
    length : int
        Tokens per example, special ones included.

    Returns
    -------
    TensorRows
        ``input_ids``, ``attention_mask`` and ``labels``.
    """
    texts = first if second is None else list(zip(first, second, strict=True))
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_token=PAD, pad_id=tokenizer.token_to_id(PAD))
    ids = torch.empty((len(texts), length), dtype=torch.int64)
    mask, truncated = torch.empty_like(ids), 0
    for start in range(0, len(texts), AT_ONCE):
        encoded = tokenizer.encode_batch(texts[start : start + AT_ONCE])
        ids[start : start + AT_ONCE] = torch.tensor([one.ids for one in encoded])
        mask[start : start + AT_ONCE] = torch.tensor([one.attention_mask for one in encoded])
        truncated += sum(bool(one.overflowing) for one in encoded)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    labels = torch.as_tensor(np.asarray(labels))
    return TensorRows(truncated, input_ids=ids, attention_mask=mask, labels=labels)


def fine_tune(
    model: nn.Module, train: Dataset, config: FineTuningConfig, *, seed: int, device: str = "auto"
) -> Trainer:
    """Train a classifier in place; nothing is kept on disk.

    Parameters
    ----------
    model : nn.Module
        Gives a loss for batches of `train`.
    train : Dataset
    config : FineTuningConfig
    seed : int
        Orders the batches and draws the dropout.
    device : {"auto", "cpu", "cuda"}

    Returns
    -------
    transformers.Trainer
        Its ``predict`` scores other rows.
    """
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=str(Path(folder) / "unused"),
            num_train_epochs=config.epochs,
            per_device_train_batch_size=config.batch_size,
            per_device_eval_batch_size=4 * config.batch_size,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            warmup_steps=0.1,  # below 1, a share of all updates
            seed=seed,
            use_cpu=device == "cpu" or not torch.cuda.is_available(),
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        trainer = Trainer(model, arguments, train_dataset=train)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return trainer
