"""The language of the small world: a tokenizer trained on its texts, and models to learn it."""

from collections.abc import Iterable, Sequence

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from plasticity.foam.configuration import check_range

END, PAD, UNKNOWN = "<|end|>", "<|pad|>", "<|unknown|>"
# A capitalised word never takes the space before it along: a name is the same token in a sentence
# and in a JSON string, so that copying it is copying.
WORDS = r"[A-Z][a-z]*| ?[a-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s"
PRINTABLE = [chr(code) for code in range(33, 127)]
POSITIONS = 512

TIERS = {
    "XS": {"hidden": 64, "layers": 3, "heads": 4, "groups": 2, "intermediate": 172},
    "S": {"hidden": 128, "layers": 4, "heads": 4, "groups": 2, "intermediate": 344},
    "M": {"hidden": 256, "layers": 6, "heads": 8, "groups": 4, "intermediate": 688},
}
ARCHITECTURES = {
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "llama": (LlamaConfig, LlamaForCausalLM),
}


def train_tokenizer(texts: Iterable[str], vocab_size: int = 1536) -> PreTrainedTokenizerFast:
    """Train a byte-pair tokenizer whose text always comes back unchanged.

    Parameters
    ----------
    texts : iterable of str
    vocab_size : int
        At least 128: all printable characters are in it.

    Returns
    -------
    PreTrainedTokenizerFast
        Text ends in `END`; pads on the left.

    Raises
    ------
    ValueError
        If `vocab_size` is out of range.

    Examples
    --------
    >>> tokenizer = train_tokenizer(["The pet of Kalo is cat."], 128)
    >>> tokenizer.decode(tokenizer.encode('{"name": "Kalo"}'))
    '{"name": "Kalo"}'
    """
    check_range("vocab_size", vocab_size, 128, 2**17)
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END, PAD, UNKNOWN],
        initial_alphabet=[*PRINTABLE, "Ġ", "Ċ"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=POSITIONS,
    )


def build_model(
    tier: str, vocab_size: int, seed: int = 0, architecture: str = "qwen2"
) -> PreTrainedModel:
    """Build an untrained causal language model, a plain one of `transformers`.

    Parameters
    ----------
    tier : {"XS", "S", "M"}
        0.16, about 1 or about 5 million parameters beside the embeddings, which are tied.
    vocab_size : int
    seed : int
        Of the first weights. The global generator is left as it was.
    architecture : {"qwen2", "llama"}

    Returns
    -------
    PreTrainedModel
        In evaluation mode; `END` and `PAD` of `train_tokenizer` are its end and its padding.

    Raises
    ------
    ValueError
        If `tier` or `architecture` is none of these.

    Examples
    --------
    >>> sum(p.numel() for p in build_model("XS", 128).parameters())
    144960
    """
    for name, value, allowed in (
        ("tier", tier, TIERS),
        ("architecture", architecture, ARCHITECTURES),
    ):
        if value not in allowed:
            raise ValueError(f"{name} is {value!r}; allowed: {', '.join(allowed)}")
    size = TIERS[tier]
    config_class, model_class = ARCHITECTURES[architecture]
    config = config_class(
        vocab_size=vocab_size,
        hidden_size=size["hidden"],
        num_hidden_layers=size["layers"],
        num_attention_heads=size["heads"],
        num_key_value_heads=size["groups"],
        intermediate_size=size["intermediate"],
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        initializer_range=size["hidden"] ** -0.5 / 2,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model_class(config).eval()


def blocks(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], length: int) -> torch.Tensor:
    """Write texts one after another, `END` before, between and after, and cut them into blocks.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerFast
    texts : sequence of str
    length : int
        Tokens of a block.

    Returns
    -------
    Tensor of int64, shape (blocks, length)
        What is left over at the end is dropped, unless it is all there is: that is padded.
    """
    end, stream = tokenizer.eos_token_id, [tokenizer.eos_token_id]
    for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]:
        stream += [*ids, end]
    if len(stream) < length:
        stream += [tokenizer.pad_token_id] * (length - len(stream))
    whole = len(stream) // length * length
    return torch.tensor(stream[:whole]).view(-1, length)
