"""The ten experiments of PNN's released script: as released, and as they should be.

As released, `plasticity.pnn.released` repeats them. As they should be, all but the seventh, which
is `pnn_gate_specificity`: every quantity is of the same masked tokens of the test set, differences
are paired by token, intervals come from drawing whole documents again, and the same model with the
refiner that it had before training is the control. The rule of every verdict was set before
anything was measured.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from plasticity.companion import metrics
from plasticity.companion.configuration import Runtime, check_choice, check_range, setting
from plasticity.companion.statistics import cluster_resampler
from plasticity.experiments import pnn_refinement
from plasticity.experiments.pnn_gate_specificity import released_changes
from plasticity.experiments.pnn_refinement import datasets, models

if TYPE_CHECKING:
    from plasticity.pnn.corpus import MaskedCorpus
    from plasticity.pnn.evidence import Sample
    from plasticity.pnn.modeling import PnnForMaskedLM

__all__ = ["Config", "datasets", "models", "run"]

LOWER = 0.025
COMPONENTS = {"attention": "attention", "ffn": "proposal", "gate": "gate"}
BEFORE_NORM = {"ffn before its norm": "raw_proposal"}  # where the reference suppresses it
RATES = (25, 50, 75, 100)
SUPPRESSED, AT_MEAN, EXCHANGED = "75 % suppressed", "at its mean", "of another token"
WAYS = (SUPPRESSED, AT_MEAN, EXCHANGED)  # that must agree on the ranking


@dataclass(frozen=True)
class Config(pnn_refinement.Config):
    """A trained PNN, the test sequences that it reads, and how often what is random is drawn."""

    sequences: int = setting(2000, "test sequences read, at most")
    draws: int = setting(20, "draws of each arm that is random")
    resamples: int = setting(2000, "resamplings of the documents, for the intervals")

    def __post_init__(self):
        """Check ranges."""
        super().__post_init__()
        check_choice("architecture", self.architecture, ("pnn",))
        check_range("num_steps", self.num_steps, 3, math.inf)  # the first, a middle one, the last
        check_range("sequences", self.sequences, 8, math.inf)
        check_range("draws", self.draws, 1, math.inf)
        check_range("resamples", self.resamples, 20, math.inf)


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Do the experiments on one model.

    Parameters
    ----------
    config : Config
    seed : int
        Of the training, of all that is random, and of the resamplings.
    folder : Path
        Not used: the model's checkpoint belongs to `pnn_refinement`.
    runtime : Runtime

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit. Of ``released_evidence``, split is the place in
        the script's ``experimental_results.json`` and step the place in a list there.
    """
    import torch

    from plasticity.pnn import evidence, released
    from plasticity.pnn.masking import unmasked

    model, corpus = pnn_refinement.trained_model(config, seed, runtime)
    untrained = pnn_refinement.with_untrained_refiner(model, config, seed)
    models = {"trained": model, "untrained": untrained}
    plain = unmasked(*corpus.validation)[: released.SEQUENCES]
    reader = released.Reader(model, plain, corpus.rule, seed, corpus.pad_token_id)
    arms = released_changes(torch.Generator().manual_seed(seed))
    as_released = released.evidence(reader, arms)
    *masks, documents = corpus.test_sample(config.sequences)
    sample, targets = _sample(models, masks, documents, corpus, config, seed)
    rare = _rarity(corpus)
    rows = [
        *released_rows(as_released),
        *evidence.activity(sample, as_released["meg_analysis"]),
        *_component_rows(model, masks, corpus, sample, config, seed),
        *evidence.selectivity(sample),
        *evidence.dimension_kinds(sample, config.resamples, np.random.default_rng(seed)),
        *evidence.difficulty(sample, rare[targets]),
        *evidence.accumulation(sample),
        *_token_rows(model, sample, targets, config, seed),
        *_neighbour_rows(models, unmasked(*masks), documents, rare, corpus, config, seed),
    ]
    frame = pd.DataFrame(rows, columns=["step", "split", "metric", "value"])
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])


def _rarity(corpus: "MaskedCorpus") -> np.ndarray:
    """Return how rare every entry of the vocabulary is in the training text."""
    from plasticity.pnn.difficulty import rarity

    return rarity(corpus.train.numpy(), corpus.tokenizer.get_vocab_size())


def _sample(
    models: dict,
    masks: Sequence,
    documents: np.ndarray,
    corpus: "MaskedCorpus",
    config: Config,
    seed: int,
) -> tuple["Sample", np.ndarray]:
    """Return the masked tokens of the test set with what the models did, and which they are."""
    from plasticity.pnn.activity import record
    from plasticity.pnn.evidence import Sample
    from plasticity.pnn.masking import IGNORED_LABEL

    ids, labels = masks
    hidden = labels != IGNORED_LABEL
    texts, positions = hidden.nonzero().numpy().T
    sites = ("raw_proposal", "proposal", "gate")
    found = {
        name: record(model, ids, hidden, sites, pad_token_id=corpus.pad_token_id)
        for name, model in models.items()
    }
    documents = documents[texts]
    resample = cluster_resampler(documents, config.resamples, np.random.default_rng(seed))
    return Sample(found, texts, documents, positions, resample), labels[hidden].numpy()


def released_rows(evidence: object, place: str = "", step: int = 0) -> list[tuple]:
    """Set out what the released script's experiments gave as tidy rows.

    Parameters
    ----------
    evidence : dict, list, number, truth value or text
        As `plasticity.pnn.released.evidence` returns them; texts, which follow from the numbers,
        are left out.
    place : str
        Keys on the way there, parted by slashes.
    step : int
        Place in a list of numbers.

    Returns
    -------
    list of tuple
        Step, place, metric and value.

    Examples
    --------
    >>> [(step, place, value) for step, place, _, value in released_rows({"a": {"b": [5, True]}})]
    [(0, 'a/b', 5.0), (1, 'a/b', 1.0)]
    """
    if isinstance(evidence, str):
        return []
    if isinstance(evidence, dict):
        parts = [(one, f"{place}/{key}" if place else key, 0) for key, one in evidence.items()]
    elif isinstance(evidence, list):
        numbers = not any(isinstance(one, dict | list) for one in evidence)
        parts = [
            (one, place, index) if numbers else (one, f"{place}/{index}", 0)
            for index, one in enumerate(evidence)
        ]
    else:
        return [(step, place, "released_evidence", float(evidence))]
    return [row for part in parts for row in released_rows(*part)]


def _component_rows(
    model: "PnnForMaskedLM",
    masks: Sequence,
    corpus: "MaskedCorpus",
    sample: "Sample",
    config: Config,
    seed: int,
) -> list[tuple]:
    """Return experiments 2 and 6: what each component is worth, in several ways, and its rank."""
    lost = _losses(model, masks, corpus, config, seed)
    rows = []
    for (step, name), (hits, losses) in lost.items():
        rows += [
            (step, name, "accuracy_drop", 100 * hits.mean()),
            (step, name, "accuracy_drop_low", 100 * sample.low(hits)),
            (step, name, "accuracy_drop_high", 100 * sample.high(hits)),
            (step, name, "loss_increase", losses.mean()),
        ]
    wanted = [f"{part}, {rate} % suppressed" for part in COMPONENTS for rate in RATES]
    complete = all((0, name) in lost for name in wanted)
    finite = np.isfinite([value for *_, value in rows]).all()
    rows.append((0, "test", "suppression_figure_complete", float(complete and finite)))
    return rows + _ranking_rows(lost, sample)


def _losses(model, masks: Sequence, corpus, config: Config, seed: int) -> dict[tuple, tuple]:
    """Return, by step (0 for all) and name, the hits and nats that each token loses by a change."""
    import torch

    from plasticity.pnn import interventions as change
    from plasticity.pnn.evaluation import token_scores

    def score(site: str, one: change.Change, step: int, draws: int) -> np.ndarray:
        total = 0.0
        acting = change.Intervention(site, one, {step} if step else None)
        for _ in range(draws):
            with change.intervene(model, acting):
                found = token_scores(model, *masks, pad_token_id=corpus.pad_token_id)
            total = total + np.stack([part.double().numpy() for part in found])
        return total / draws

    generator = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    means = _means(model, corpus)
    arms = {
        (0, f"{part}, {rate} % suppressed"): (site, change.scale(1 - rate / 100), 1)
        for part, site in (COMPONENTS | BEFORE_NORM).items()
        for rate in RATES
    }
    for part, site in COMPONENTS.items():
        for step in range(config.num_steps + 1):
            at_mean = change.fixed_profile(torch.from_numpy(means[site]).to(device))
            arms[step, f"{part}, {AT_MEAN}"] = (site, at_mean, 1)
        exchanged = change.shuffle_tokens(generator)
        arms[0, f"{part}, {EXCHANGED}"] = (site, exchanged, config.draws)
    plain = score("gate", change.identity, 0, 1)
    lost = {}
    for (step, name), (site, one, draws) in arms.items():
        hits, losses = score(site, one, step, draws)
        lost[step, name] = (plain[0] - hits, losses - plain[1])
    return lost


def _means(model, corpus) -> dict[str, np.ndarray]:
    """Return each component's mean output at each step over words of the validation set."""
    import torch

    from plasticity.pnn.activity import record
    from plasticity.pnn.released import SEQUENCES

    ids = corpus.validation[0][:SEQUENCES]
    words = torch.ones_like(ids, dtype=torch.bool)
    if corpus.pad_token_id is not None:
        words = ids != corpus.pad_token_id
    found = record(model, ids, words, COMPONENTS.values(), pad_token_id=corpus.pad_token_id)
    return {site: found[site].mean(1) for site in COMPONENTS.values()}


def _ranking_rows(lost: dict[tuple, tuple], sample: "Sample") -> list[tuple]:
    """Return the ranks of the components in each way, and whether the ways agree beyond doubt."""
    rows, orders, apart = [], [], []
    for way in WAYS:
        costs = {part: lost[0, f"{part}, {way}"][1] for part in COMPONENTS}
        order = sorted(costs, key=lambda part: -costs[part].mean())
        orders.append(order)
        rows += [(0, f"{part}, {way}", "component_rank", n) for n, part in enumerate(order, 1)]
        for first, second in itertools.pairwise(order):
            gap = costs[first] - costs[second]
            name = f"{first} over {second}, {way}"
            apart.append(sample.low(gap))
            rows += [
                (0, name, "importance_gap", gap.mean()),
                (0, name, "importance_gap_low", apart[-1]),
            ]
    stable = all(order == orders[0] for order in orders) and all(low > 0 for low in apart)
    return [*rows, (0, "test", "component_ranking_is_stable", float(stable))]


def _token_rows(
    model: "PnnForMaskedLM", sample: "Sample", targets: np.ndarray, config: Config, seed: int
) -> list[tuple]:
    """Return experiment 10, and of 9 what is only correlation: both need predictions."""
    from plasticity.pnn import evidence
    from plasticity.pnn.activity import read_out

    final = sample.found["trained"]["state"][-1]
    right, probabilities, confidences = read_out(model, final, targets)
    return [
        *evidence.neighbour_correlations(
            sample, probabilities, config.draws, np.random.default_rng(seed)
        ),
        *evidence.entropy(sample, right, confidences),
    ]


def _neighbour_rows(
    models: dict,
    ids,
    documents: np.ndarray,
    rare: np.ndarray,
    corpus: "MaskedCorpus",
    config: Config,
    seed: int,
) -> list[tuple]:
    """Return experiment 9: what hiding one neighbour costs the same token, and its presence.

    The claim holds where a hidden hard neighbour costs more than a hidden easy one, and more than
    one that is not there at all, which gives away as little; both with the whole interval.
    """
    import torch

    from plasticity.pnn import difficulty, neighbours

    ordinary = ~torch.isin(ids, torch.tensor(corpus.rule.special_token_ids)).numpy()
    kinds = np.full(ids.shape, -1)
    kinds[ordinary] = difficulty.thirds(rare[ids.numpy()[ordinary]])
    rng = np.random.default_rng(seed)
    centres = neighbours.choose_centres(kinds, rng)
    if not len(centres.sequences):
        raise ValueError(
            f"no token of the {len(ids)} test sequences stands between an easy and a hard one; "
            "read more of them (sequences)"
        )
    resample = cluster_resampler(documents[centres.sequences], config.resamples, rng)
    rows, lows = [(0, "test", "centres", len(centres.sequences))], {}
    for name, model in models.items():
        found = neighbours.losses(
            model, ids, centres, corpus.rule.mask_token_id, pad_token_id=corpus.pad_token_id
        )
        contrasts = {
            "easy hidden": found["easy hidden"] - found["shown"],
            "hard hidden": found["hard hidden"] - found["shown"],
            "hard over easy": found["hard hidden"] - found["easy hidden"],
            "easy there": found["easy hidden"] - found["easy away"],
            "hard there": found["hard hidden"] - found["hard away"],
        }
        for contrast, values in contrasts.items():
            lows[contrast, name] = np.quantile(resample(values.astype(float)), LOWER)
            rows += [
                (0, f"{contrast}, {name}", "neighbour_cost", values.mean()),
                (0, f"{contrast}, {name}", "neighbour_cost_low", lows[contrast, name]),
            ]
    holds = all(lows[contrast, "trained"] > 0 for contrast in ("hard over easy", "hard there"))
    return [*rows, (0, "test", "hard_neighbours_interfere", float(holds))]
