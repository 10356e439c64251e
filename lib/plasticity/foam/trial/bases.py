"""A base of the trial: a model, its tokenizer and the world that it has read about, in one folder.

Nothing is unpickled: weights are safetensors, all else is JSON.
"""

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from plasticity.foam.trial.world import World, build_world

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WORLD_FILE = "world.json"


class Base(NamedTuple):
    """What the trial starts from.

    Attributes
    ----------
    model : PreTrainedModel
        In evaluation mode, on the CPU.
    tokenizer : PreTrainedTokenizerBase
    world : World
    """

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    world: World


def save_base(base: Base, folder: Path, half: bool = False) -> None:
    """Write a base into a folder.

    Parameters
    ----------
    base : Base
    folder : Path
        Made where it does not exist.
    half : bool
        Write weights in 16 bits; those of `base` are rounded with them, and stay what they are
        otherwise, so that `base` is what `load_base` reads.
    """
    model = base.model
    if half:
        for weight in model.parameters():
            weight.data = weight.data.half().to(weight.dtype)
        model = copy.deepcopy(model).half()
    model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    world = {"seed": base.world.seed, "entities": len(base.world.names)}
    (folder / WORLD_FILE).write_text(json.dumps(world) + "\n", encoding="utf-8")


def load_base(folder: Path) -> Base:
    """Read a base from a folder.

    Parameters
    ----------
    folder : Path
        As `save_base` wrote it.

    Returns
    -------
    Base

    Raises
    ------
    FileNotFoundError
        If the folder holds no base.
    """
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    if not (folder / WORLD_FILE).is_file():
        raise FileNotFoundError(
            f"folder {folder} holds no {WORLD_FILE}; give one that save_base has written"
        )
    options = {"trust_remote_code": False, "local_files_only": True}
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype="float32", use_safetensors=True, **options
    )
    # Not AutoTokenizer: it takes the words of Qwen2 for every model of that architecture.
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    world = json.loads((folder / WORLD_FILE).read_text(encoding="utf-8"))
    return Base(model.eval(), tokenizer, build_world(**world))
