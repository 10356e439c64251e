"""A trained PNN and its tokenizer, as they are shipped in a folder."""

from pathlib import Path

from safetensors.torch import load_file
from tokenizers import Tokenizer

from plasticity.pnn.configuration import PnnConfig
from plasticity.pnn.modeling import PnnForMaskedLM


def load_model(folder: Path) -> PnnForMaskedLM:
    """Load a shipped model; every weight must be there, and no other.

    Parameters
    ----------
    folder : Path
        With ``model/config.json`` and ``model/model.safetensors``.

    Returns
    -------
    PnnForMaskedLM
        In evaluation mode, on the CPU.
    """
    model = PnnForMaskedLM(PnnConfig.from_pretrained(folder / "model"))
    model.load_state_dict(load_file(folder / "model" / "model.safetensors"))
    return model.eval()


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load the tokenizer of a shipped model from ``tokenizer.json``."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))
