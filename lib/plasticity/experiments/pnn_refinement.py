"""PNN against BERT on masked language modelling: accuracy, refinement, and what they cost.

Arms at equal tokens: PNN, BERT, and BERT with PNN's step-wise losses. An arm with
``budget: compute`` sees as many tokens as make its training cost what BERT's does.

The system is imported where it runs, so that reading stored results loads no torch.
"""

import copy
import dataclasses
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from plasticity.companion import datasets as corpora
from plasticity.companion import metrics, paths, profiles, provenance, results
from plasticity.companion.configuration import (
    ExperimentConfig,
    Runtime,
    check_choice,
    check_range,
    setting,
)

if TYPE_CHECKING:
    from plasticity.pnn.baseline import BertBaselineForMaskedLM
    from plasticity.pnn.configuration import BertBaselineConfig, PnnConfig
    from plasticity.pnn.corpus import MaskedCorpus
    from plasticity.pnn.evaluation import Evaluation
    from plasticity.pnn.modeling import PnnForMaskedLM
    from plasticity.pnn.training import TrainingConfig, TrainingRun

# Percentage points over the constant guess: from the first on an arm learns from context at all,
# from the second on it is clear of the plateau, and may be compared with others.
PLATEAU_MARGIN, CLEAR_OF_PLATEAU = 2.0, 15.0
CERTAINTY = 1.96  # standard errors of a share of the scored tokens
SHIPPED = "pnn_stories"  # the model that is shipped, with its tokenizer
ABOUT_TEN = (5.0, 15.0)  # gains in percentage points that count as "approximately 10"


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """One arm: a model, its text, and its training. The defaults are the paper's."""

    architecture: str = setting("pnn", "pnn or bert")
    reading: str = setting("as_released", "PNN as_released (norm on the proposal) or as_paper")
    num_readouts: int = setting(1, "BERT: layers read out in the loss; 4 = PNN's losses")
    budget: str = setting("tokens", "tokens: train_tokens; compute: as many as BERT's FLOPs allow")
    corpus: str = setting("wikitext_103", "name of a text dataset")
    tokenizer: str = setting(
        "bert-base-uncased", "corpus (trained here), bert-base-uncased or pnn_stories"
    )
    vocab_size: int = setting(30522, "word pieces")
    layout: str = setting("lines", "lines (truncated, padded) or blocks (joined text)")
    sequence_length: int = setting(128, "tokens per sequence")
    hidden_size: int = setting(768, "width of the state")
    num_attention_heads: int = setting(12, "attention heads")
    intermediate_size: int = setting(2048, "PNN's feed-forward width")
    bert_intermediate_size: int = setting(3072, "BERT's feed-forward width")
    num_steps: int = setting(4, "PNN's refinement steps")
    num_hidden_layers: int = setting(12, "BERT's layers")
    share_layers: bool = setting(False, "BERT: one layer applied num_hidden_layers times")
    dropout: float = setting(0.1, "dropout everywhere")
    initialization: str = setting("normal", "normal (the reference), width_scaled, depth_scaled")
    position_scale: float = setting(1.0, "scaled starts: size of positions relative to tokens")
    mask_probability: float = setting(0.15, "share of tokens hidden, always as [MASK]")
    train_tokens: int = setting(1_920_000_000, "tokens seen, padding included")
    batch_size: int = setting(1152, "sequences per update")
    micro_batch_size: int = setting(384, "sequences per forward pass; 0 = the whole batch")
    learning_rate: float = setting(3e-4, "peak learning rate")
    min_learning_rate: float = setting(1e-5, "where the cosine ends")
    warmup_steps: int = setting(500, "updates of linear warm-up")
    weight_decay: float = setting(0.01, "on matrices only")
    clip_norm: float = setting(1.0, "largest gradient norm")
    mixed_precision: str = setting("no", "no or bf16")
    compile_blocks: bool = setting(False, "torch.compile of the refiner or the layers")
    evaluations: int = setting(20, "points of the learning curve; also checkpoints")
    curve_sequences: int = setting(512, "validation sequences scored at each of them")
    test_draws: int = setting(4, "independent masks of the test set")

    def __post_init__(self):
        """Check every setting that a profile or a reader may change."""
        super().__post_init__()
        check_choice("architecture", self.architecture, ("pnn", "bert"))
        if self.architecture == "bert":  # no such setting: another value is not another run
            object.__setattr__(self, "num_steps", type(self).num_steps)
            object.__setattr__(self, "reading", type(self).reading)
        check_choice("reading", self.reading, ("as_released", "as_paper"))
        check_choice("budget", self.budget, ("tokens", "compute"))
        check_choice("layout", self.layout, ("lines", "blocks"))
        check_choice("tokenizer", self.tokenizer, ("corpus", "bert-base-uncased", SHIPPED))
        starts = ("normal", "width_scaled", "depth_scaled")
        check_choice("initialization", self.initialization, starts)
        check_choice("mixed_precision", self.mixed_precision, ("no", "bf16"))
        positive = "sequence_length hidden_size num_attention_heads intermediate_size"
        positive += " bert_intermediate_size num_steps num_hidden_layers num_readouts train_tokens"
        positive += " batch_size evaluations curve_sequences test_draws"
        for name in positive.split():
            check_range(name, getattr(self, name), 1, math.inf)
        for name in ("micro_batch_size", "min_learning_rate", "warmup_steps", "weight_decay"):
            check_range(name, getattr(self, name), 0, math.inf)
        for name in ("learning_rate", "clip_norm", "position_scale"):
            check_range(name, getattr(self, name), 1e-12, math.inf)
        check_range("vocab_size", self.vocab_size, 6, math.inf)
        check_range("dropout", self.dropout, 0, 0.99)
        check_range("mask_probability", self.mask_probability, 0.01, 0.99)
        for name, divisor in (
            ("hidden_size", "num_attention_heads"),
            ("num_hidden_layers", "num_readouts"),
        ):
            if getattr(self, name) % getattr(self, divisor):
                raise ValueError(
                    f"{name} is {getattr(self, name)}; allowed: multiples of {divisor} "
                    f"({getattr(self, divisor)})"
                )

    def model_class(self) -> type["PnnForMaskedLM | BertBaselineForMaskedLM"]:
        """Return the class of this arm's model."""
        from plasticity.pnn.baseline import BertBaselineForMaskedLM
        from plasticity.pnn.modeling import PnnForMaskedLM

        return PnnForMaskedLM if self.architecture == "pnn" else BertBaselineForMaskedLM

    def model_config(self, vocab_size: int) -> "PnnConfig | BertBaselineConfig":
        """Return the configuration of this arm's model."""
        return self._model_config(self.architecture, vocab_size)

    def _model_config(self, architecture: str, vocab_size: int):
        from plasticity.pnn.configuration import BertBaselineConfig, PnnConfig

        shared = {
            "vocab_size": vocab_size,
            "hidden_size": self.hidden_size,
            "num_attention_heads": self.num_attention_heads,
            "max_position_embeddings": self.sequence_length,
            "hidden_dropout_prob": self.dropout,
            "initialization": self.initialization,
            "position_scale": self.position_scale,
        }
        if architecture == "pnn":
            return PnnConfig(
                **shared,
                intermediate_size=self.intermediate_size,
                num_steps=self.num_steps,
                reading=self.reading,
            )
        return BertBaselineConfig(
            **shared,
            intermediate_size=self.bert_intermediate_size,
            num_hidden_layers=self.num_hidden_layers,
            num_readouts=self.num_readouts,
            share_layers=self.share_layers,
            attention_probs_dropout_prob=self.dropout,
        )

    def prepare_model(self, model, corpus: "MaskedCorpus") -> None:
        """Change a fresh model by what its text tells before training; here nothing is."""

    def training_config(self, vocab_size: int) -> "TrainingConfig":
        """Return how this arm is trained; ``budget: compute`` changes its tokens."""
        from plasticity.pnn.accounting import flops_per_token
        from plasticity.pnn.training import TrainingConfig

        tokens = self.train_tokens
        if self.budget == "compute":
            own, bert = (
                flops_per_token(config, self.sequence_length, self.mask_probability)["total"]
                for config in (
                    self.model_config(vocab_size),
                    self._model_config("bert", vocab_size),
                )
            )
            tokens = round(tokens * bert / own)
        names = "batch_size micro_batch_size learning_rate min_learning_rate warmup_steps"
        names += " weight_decay clip_norm mixed_precision compile_blocks evaluations"
        return TrainingConfig(tokens, **{name: getattr(self, name) for name in names.split()})


def datasets(config: Config) -> tuple[str, ...]:
    """Return the datasets that a run reads."""
    return (config.corpus,)


def models(config: Config) -> tuple[str, ...]:
    """Return the models that a run reads: the shipped one, where it stands in."""
    return (SHIPPED,) if config.tokenizer == SHIPPED else ()


def prepare_corpus(config: Config) -> "MaskedCorpus":
    """Load, tokenize and mask the corpus of a config; the same for every arm and seed."""
    names = "corpus vocab_size sequence_length layout tokenizer mask_probability test_draws"
    return _prepared(*(getattr(config, name) for name in names.split()))


@lru_cache(maxsize=1)  # the arms that a process trains one after another share their text
def _prepared(name, vocab_size, length, layout, tokenizer, mask_probability, test_draws):
    import tokenizers

    from plasticity.pnn import shipped
    from plasticity.pnn.corpus import prepare

    if tokenizer == SHIPPED:
        tokenizer = shipped.load_tokenizer(paths.RELEASED_CHECKPOINTS / SHIPPED)
    splits = corpora.load(name)
    # Other code, or another version of the library, may make other tokens.
    made_by = f"{provenance.code_hash('pnn_refinement')[:16]}-{tokenizers.__version__}"
    return prepare(
        {split: splits[split]["text"] for split in ("train", "validation", "test")},
        vocab_size=vocab_size,
        length=length,
        layout=layout,
        tokenizer=tokenizer,
        mask_probability=mask_probability,
        test_draws=test_draws,
        documents=splits["test"]["document"],
        store=paths.tokens() / f"{name}-{corpora.fingerprint(name)[:16]}-{made_by}",
    )


def build_model(
    config: Config, vocab_size: int, seed: int
) -> "PnnForMaskedLM | BertBaselineForMaskedLM":
    """Return a freshly initialised model of an arm."""
    import torch

    torch.manual_seed(seed)
    return config.model_class()(config.model_config(vocab_size))


def train_arm(config: Config, corpus: "MaskedCorpus", seed, folder, runtime, sequences=None):
    """Train one arm on a prepared corpus; return the model and the record of its training.

    The learning curve is of the first `sequences` of the validation set, or of all of it.
    """
    from plasticity.pnn.training import train

    vocab_size = corpus.tokenizer.get_vocab_size()
    model = build_model(config, vocab_size, seed)
    config.prepare_model(model, corpus)
    result = train(
        model,
        corpus.train,
        corpus.rule,
        config.training_config(vocab_size),
        folder,
        seed=seed,
        validation=tuple(part[:sequences] for part in corpus.validation),
        pad_token_id=corpus.pad_token_id,
        device=runtime.device,
    )
    return model, result


def trained_model(config: Config, seed: int, runtime: Runtime):
    """Return the trained model of an arm and its corpus, for an analysis.

    Parameters
    ----------
    config : Config
        An arm, or the config of an analysis, which extends this one; the model is that of the arm
        of the same variant and settings, trained by `run` or here, whichever comes first. A PNN
        with the tokenizer of the shipped model is that model, and nothing is trained.
    seed : int
    runtime : Runtime

    Returns
    -------
    model : PnnForMaskedLM or BertBaselineForMaskedLM
        In evaluation mode.
    corpus : MaskedCorpus

    Raises
    ------
    ValueError
        If it is the shipped model, and a setting or the seed is not its own.
    """
    if config.tokenizer == SHIPPED and config.architecture == "pnn":
        return _shipped_model(config, seed), prepare_corpus(config)
    arm = Config(**{f.name: getattr(config, f.name) for f in dataclasses.fields(Config)})
    corpus = prepare_corpus(arm)
    with results.held_checkpoint("pnn_refinement", arm, seed) as folder:
        model, _ = train_arm(arm, corpus, seed, folder, runtime, arm.curve_sequences)
    return model.eval(), corpus


def _shipped_model(config: Config, seed: int) -> "PnnForMaskedLM":
    from plasticity.pnn import shipped

    check_choice("seed", seed, (0,))  # of which alone a model is shipped
    model = shipped.load_model(paths.RELEASED_CHECKPOINTS / SHIPPED)
    wanted = config.model_config(model.config.vocab_size)
    for name in ("reading", "num_steps", "hidden_size", "intermediate_size",
                 "num_attention_heads", "max_position_embeddings"):  # fmt: skip
        check_choice(name, getattr(wanted, name), (getattr(model.config, name),))
    return model


def with_shipped_model(configs: Iterable[Config]) -> list[Config]:
    """Return the configs of PNN among those of an analysis, to be done on the shipped model.

    Parameters
    ----------
    configs : iterable of Config
        They keep what belongs to the analysis, the corpus and the number of steps.

    Returns
    -------
    list of Config
        With the settings that the shipped model was trained with; it has one seed, 0.

    Examples
    --------
    >>> [config] = with_shipped_model([Config(corpus="stories"), Config(architecture="bert")])
    >>> config.corpus, config.tokenizer, config.num_steps, config.hidden_size
    ('stories', 'pnn_stories', 4, 96)
    """
    [shipped] = profiles.configs("pnn_playground", "paper")
    kept = ("variant", "corpus", "num_steps", "test_draws", "curve_sequences")
    names = [field.name for field in dataclasses.fields(Config) if field.name not in kept]
    settings = {name: getattr(shipped, name) for name in names} | {"tokenizer": SHIPPED}
    return [dataclasses.replace(one, **settings) for one in configs if one.architecture == "pnn"]


def untrained_model(config: Config, seed: int):
    """Return the model that an arm's training starts from, and its corpus: a control.

    Parameters and returns are those of `trained_model`.
    """
    corpus = prepare_corpus(config)
    return build_model(config, corpus.tokenizer.get_vocab_size(), seed).eval(), corpus


def with_untrained_refiner(model: "PnnForMaskedLM", config: Config, seed: int) -> "PnnForMaskedLM":
    """Return a copy of a trained PNN with the refiner that it had before training: a control.

    Parameters
    ----------
    model : PnnForMaskedLM
        Trained by `train_arm` with this config and seed.
    config : Config
    seed : int

    Returns
    -------
    PnnForMaskedLM
        In evaluation mode; embeddings and head are the trained ones.
    """
    control = copy.deepcopy(model)
    fresh = build_model(config, model.config.vocab_size, seed)
    control.pnn.refiner.load_state_dict(fresh.pnn.refiner.state_dict())
    return control.eval()


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Train one arm with one seed and score it.

    Parameters
    ----------
    config : Config
    seed : int
    folder : Path
        Keeps the checkpoint and the trained model (`folder` / "model").
    runtime : Runtime

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit.
    """
    from plasticity.pnn.evaluation import evaluate

    corpus = prepare_corpus(config)
    model, result = train_arm(config, corpus, seed, folder, runtime, config.curve_sequences)
    rows = _cost_rows(config, model, result)
    rows += _curve_rows(result, corpus.constant_guess("validation", config.curve_sequences))
    for split in ("validation", "test"):
        masked_ids, labels = getattr(corpus, split)
        score = evaluate(model, masked_ids, labels, pad_token_id=corpus.pad_token_id)
        rows += score_rows(split, score, corpus.constant_guess(split))
        readouts = [score.readout_accuracy[step] for step in (0, *model.config.readout_layers)]
        if len(readouts) > 2:  # every step is trained to be read out
            rows += _progression_rows(split, readouts, corpus.constant_guess(split), score.tokens)
    trained_here = corpus.tokenizer_name != config.tokenizer != SHIPPED
    rows.append((0, "train", "tokenizer_trained_here", float(trained_here)))
    frame = pd.DataFrame(rows, columns=["step", "split", "metric", "value"])
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])


def _cost_rows(config: Config, model, result: "TrainingRun") -> list[tuple]:
    from plasticity.pnn.accounting import flops_per_token, parameter_counts

    flops = flops_per_token(model.config, config.sequence_length, config.mask_probability)
    rows = [(0, kind, "parameters", count) for kind, count in parameter_counts(model).items()]
    if result.peak_gpu_bytes:
        rows.append((0, "train", "gigabytes", result.peak_gpu_bytes / 1e9))
    return [
        *rows,
        *((0, part, "flops_per_token", value) for part, value in flops.items()),
        (0, "train", "training_flops", flops["total"] * result.tokens),
        (0, "train", "tokens", result.tokens),
        (0, "train", "seconds", result.train_seconds),
        (0, "train", "tokens_per_second", result.tokens / result.train_seconds),
    ]


def _curve_rows(result: "TrainingRun", guess: float) -> list[tuple]:
    rows = []
    for point in result.curve:
        tokens = point["tokens"]
        rows += [
            (tokens, "validation", "curve_accuracy", point["accuracy"]),
            (tokens, "validation", "curve_loss", point["loss"]),
            (tokens, "train", "curve_train_loss", point["train_loss"]),
        ]
    for name, margin in (
        ("tokens_to_start_learning", PLATEAU_MARGIN),
        ("tokens_to_leave_plateau", CLEAR_OF_PLATEAU),
    ):
        tokens = _tokens_to_reach(guess + margin, result.curve)
        if tokens is not None:  # an arm that never got there has no value; the table says so
            rows.append((0, "validation", name, tokens))
    return rows


def _tokens_to_reach(accuracy: float, curve: list[dict]) -> float | None:
    """Return where a curve first crosses an accuracy, on straight lines between its points."""
    for before, after in itertools.pairwise([{"tokens": 0, "accuracy": 0.0}, *curve]):
        if after["accuracy"] >= accuracy:
            share = (accuracy - before["accuracy"]) / (after["accuracy"] - before["accuracy"])
            return before["tokens"] + share * (after["tokens"] - before["tokens"])
    return None


def score_rows(split: str, score: "Evaluation", guess: float) -> list[tuple]:
    """Return a model's score beside the constant guess as rows (step, split, metric, value)."""
    return [
        (0, split, "accuracy", score.accuracy),
        (0, split, "loss", score.loss),
        (0, split, "constant_guess_accuracy", guess),
        (0, split, "accuracy_over_guess", score.accuracy - guess),
        (0, split, "scored_tokens", score.tokens),
    ]


def _progression_rows(split: str, readouts: list[float], guess: float, tokens: int) -> list[tuple]:
    gains = [after - before for before, after in itertools.pairwise(readouts)]
    error = 100 * math.sqrt(readouts[0] / 100 * (1 - readouts[0] / 100) / tokens)
    return [
        *((step, split, "readout_accuracy", value) for step, value in enumerate(readouts)),
        *((step, split, "readout_gain", gain) for step, gain in enumerate(gains, start=1)),
        (
            0,
            split,
            "each_step_gains_ten",
            float(all(ABOUT_TEN[0] <= gain <= ABOUT_TEN[1] for gain in gains)),
        ),
        (0, split, "embedding_beats_guess", float(readouts[0] - guess > CERTAINTY * error)),
    ]
