"""A tiny training run that tests start in processes of their own.

``python toy_training.py FOLDER OUT [PLACE CALLS]`` trains, dies by SIGKILL at the place and number
of calls given (see `kill_after`), and writes the final weights and the curve to OUT.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
from accelerate.state import AcceleratorState
from safetensors.torch import save_file

from plasticity.pnn import PnnConfig, PnnForMaskedLM
from plasticity.pnn.checkpoint import TrainingState
from plasticity.pnn.masking import MaskingRule, fixed_masks
from plasticity.pnn.training import TrainingConfig, _Loop, train

RULE = MaskingRule(4, (0, 1, 2, 3, 4))


def toy_model(dropout: float = 0.1) -> PnnForMaskedLM:
    torch.manual_seed(0)
    return PnnForMaskedLM(
        PnnConfig(
            vocab_size=40,
            hidden_size=16,
            num_attention_heads=2,
            intermediate_size=24,
            max_position_embeddings=8,
            hidden_dropout_prob=dropout,
            initialization="width_scaled",
        )
    )


def toy_data() -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    sequences = torch.randint(5, 40, (70, 8), generator=generator)
    return sequences, fixed_masks(sequences[:16], RULE, seed=1)


def toy_config(**changes) -> TrainingConfig:
    settings = {"train_tokens": 16 * 8 * 12, "batch_size": 16, "learning_rate": 1e-2}
    return TrainingConfig(**settings | {"warmup_steps": 2, "evaluations": 4} | changes)


def toy_train(folder: Path, model=None, **changes):
    model = toy_model() if model is None else model
    sequences, validation = toy_data()
    run = train(
        model,
        sequences,
        RULE,
        toy_config(**changes),
        folder,
        seed=3,
        validation=validation,
        device="cpu",
        progress=False,
    )
    return model, run


def kill_after(place: str, calls: int) -> None:
    """Die by SIGKILL at the end of so many calls: of an update, a save or a renaming."""
    owner, name = {
        "update": (_Loop, "update"),
        "save": (TrainingState, "save"),
        "replace": (os, "replace"),  # one a save, then the finished model, then its record
    }[place]
    original, left = getattr(owner, name), calls

    def counted(*arguments):
        nonlocal left
        result = original(*arguments)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, counted)


def main() -> None:
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    if len(sys.argv) > 3:
        kill_after(sys.argv[3], int(sys.argv[4]))
    # Dropout is drawn per process, so a run on two processes is compared without it.
    model, run = toy_train(folder, toy_model(float(os.environ.get("TOY_DROPOUT", "0.1"))))
    if int(os.environ.get("RANK", "0")) == 0:
        save_file(dict(model.state_dict()), out)
        out.with_suffix(".json").write_text(json.dumps(run.curve))
        out.with_suffix(".processes").write_text(str(AcceleratorState().num_processes))


if __name__ == "__main__":
    main()
