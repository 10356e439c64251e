"""Tiny models of every kind, and a short training run, for the tests of foam."""

import torch
import transformers
from torch import nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from plasticity.foam.callback import GrowthCallback
from plasticity.foam.configuration import GrowthConfig
from plasticity.foam.model import get_growable_model

SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MODELS = {
    "llama": ("Llama", {"tie_word_embeddings": True}),
    "llama_bias": ("Llama", {"mlp_bias": True}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"head_dim": 8}),
    "mistral": ("Mistral", {}),
    "gemma": ("Gemma", {"head_dim": 8}),
    "gemma2": ("Gemma2", {"head_dim": 8}),
}
GPT2 = {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "n_inner": 24}
TRANSFORMERS = [*MODELS, "gpt2"]
KINDS = [*TRANSFORMERS, "mlp"]


def toy_model(kind: str = "llama", seed: int = 0, dtype=torch.float32) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "mlp":
            return nn.Sequential(nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 16)).to(dtype)
        if kind == "gpt2":
            dropout = {name: 0.0 for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop")}
            settings = transformers.GPT2Config(**GPT2, **dropout, bos_token_id=1, eos_token_id=2)
            model = transformers.GPT2LMHeadModel(settings)
        else:
            name, changes = MODELS[kind]
            settings = getattr(transformers, f"{name}Config")(**SIZES | changes)
            model = getattr(transformers, f"{name}ForCausalLM")(settings)
        for parameter in model.parameters():  # biases start at zero: make them matter
            if parameter.dim() == 1:
                parameter.data += 0.1 * torch.randn_like(parameter)
    return model.to(dtype)


def toy_batch(seed: int = 0, shape=(4, 10)) -> dict:
    ids = torch.randint(3, 40, shape, generator=torch.Generator().manual_seed(seed))
    return {"input_ids": ids, "labels": ids, "attention_mask": torch.ones_like(ids)}


def mlp_loss(model: nn.Module) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    inputs, target = torch.randn(2, 30, 16, generator=generator)
    return (model(inputs) - target).square().mean()


def fast_config(**changes) -> GrowthConfig:
    """Grow early and often."""
    settings = {
        "trigger": "always",
        "warmup_steps": 0,
        "growth_cooldown": 1,
        "ema_beta": 0.5,
        "max_growth_per_step": 3,
        "max_growth_ratio": None,
        "maturation_age": 5,
    }
    return GrowthConfig(**settings | changes)


def toy_growable(kind: str = "llama", seed: int = 0, dtype=torch.float32, **changes):
    return get_growable_model(toy_model(kind, seed, dtype), fast_config(**changes))


def toy_optimizer(model, lr: float = 1e-2, weight_decay: float = 0.1):
    optimizer = torch.optim.AdamW(model.param_groups(lr, weight_decay))
    return model.attach_optimizer(optimizer)


def loss_for(model, batch: dict | None = None) -> torch.Tensor:
    if isinstance(getattr(model, "base_model", model), nn.Sequential):
        return mlp_loss(model)
    return model(**(batch or toy_batch())).loss


def toy_train(model, optimizer, steps: int, grow: bool = True, first: int = 0) -> list[float]:
    losses = []
    for step in range(first, first + steps):
        loss = loss_for(model, toy_batch(seed=step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if grow:
            model.update_loss(losses[-1])
            model.check_and_grow()
    return losses


def grow_everywhere(model, count: int = 3, **batches):
    """Make newborns in every layer, from its first neurons."""
    sources = {n: torch.arange(count) for n in range(len(model.layers))}
    return model.grow(sources, **batches)


def growth_batch(model):
    """Data to grow for, of the kind that the model takes."""
    return mlp_loss if isinstance(model.base_model, nn.Sequential) else toy_batch()


class Sentences(Dataset):
    def __len__(self):
        return 32

    def __getitem__(self, number):
        batch = toy_batch(seed=number, shape=(1, 10))
        return {name: tensor[0] for name, tensor in batch.items()}


def toy_trainer(model, folder, optimizer=None, **changes):
    settings = {
        "output_dir": str(folder),
        "max_steps": 12,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "cosine",
        "logging_steps": 2,
        "save_steps": 6,
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": 0,
    }
    return Trainer(
        model,
        TrainingArguments(**settings | changes),
        train_dataset=Sentences(),
        eval_dataset=Sentences(),
        optimizers=(optimizer, None),
        callbacks=[GrowthCallback()],
    )
