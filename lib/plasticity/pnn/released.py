"""The released script's experiments, as released: its manipulations, means, rules and names.

What it does is kept, faults included: an own mask for every pass, every position in the mean unless
a quantity is of masked tokens, no intervals.

References
----------
Choi (2025), Plastic Neural Networks, released script ``experimental_evidence.py``. Chapter:
evidence.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from plasticity.pnn import interventions
from plasticity.pnn.activity import binary_entropy, read_out, record
from plasticity.pnn.difficulty import CLASSES, released_classes
from plasticity.pnn.dimensions import KINDS, kinds
from plasticity.pnn.evaluation import token_scores
from plasticity.pnn.masking import IGNORED_LABEL, MaskingRule, fixed_masks
from plasticity.pnn.modeling import PnnForMaskedLM

SEQUENCES, BATCH = 320, 32
SITES = {"attention": "attention", "ffn": "raw_proposal", "gate": "gate"}
SUPPRESSED, RANKED = (25, 50, 75, 100), (25, 50, 75)  # percent
RANKED_BY = 75
SAMPLES = 5  # dimensions of each kind that the script names
MIDDLE_STEPS = (1, 2)  # counted from 0, as in the script
# Experiment 7: under which key the script gathers arms whose names begin alike.
GATHERED = {
    "dropout": "selective_suppression",
    "noise": "noise_injection",
    "scale": "magnitude_scaling",
}


@dataclass
class Reader:
    """A model and the texts that the script reads, under a new mask at every pass.

    Parameters
    ----------
    model : PnnForMaskedLM
        In evaluation mode.
    input_ids : Tensor of int64, shape (sequences, length)
        Nothing hidden.
    rule : MaskingRule
    seed : int
        Of the masks: the script's own are not seeded.
    pad_token_id : int, optional
        Positions with this id are hidden from attention, but count in means, as released.
    """

    model: PnnForMaskedLM
    input_ids: Tensor
    rule: MaskingRule
    seed: int
    pad_token_id: int | None = None
    passes: int = field(default=0, init=False)

    def masks(self) -> tuple[Tensor, Tensor]:
        """Return masked ids and labels of the next pass."""
        self.passes += 1
        seed = int(np.random.default_rng([self.seed, self.passes]).integers(2**31))
        return fixed_masks(self.input_ids, self.rule, seed)

    def batches(self, *sites: str) -> Iterator[dict[str, np.ndarray]]:
        """Yield what sites give out at all positions, batch by batch."""
        for ids in self.masks()[0].split(BATCH):
            everywhere = torch.ones_like(ids, dtype=torch.bool)
            yield record(self.model, ids, everywhere, sites, pad_token_id=self.pad_token_id)

    def masked_tokens(self, *sites: str) -> dict[str, np.ndarray]:
        """Return what sites give out at masked positions, and what the model makes of them."""
        ids, labels = self.masks()
        hidden = labels != IGNORED_LABEL
        found = record(self.model, ids, hidden, sites, pad_token_id=self.pad_token_id)
        _, shares, _ = read_out(self.model, found["state"][-1], labels[hidden].numpy())
        return {
            **found,
            "probability": shares,
            "class": released_classes(shares),
            "sequence": hidden.nonzero()[:, 0].numpy(),
        }

    def scores(self, *changes: interventions.Intervention) -> dict[str, float]:
        """Return the script's record of a pass; its loss is a mean of the batches' means."""
        losses, hits = [], []
        with interventions.intervene(self.model, *changes):
            for ids, labels in zip(*(part.split(BATCH) for part in self.masks()), strict=True):
                right, loss = token_scores(self.model, ids, labels, pad_token_id=self.pad_token_id)
                hits.append(right.numpy())
                losses.append(float(loss.mean()))
        right = np.concatenate(hits)
        return {
            "loss": float(np.mean(losses)),
            "accuracy": float(right.mean()),
            "total_tokens": len(right),
        }


def evidence(reader: Reader, gate_changes: Mapping[str, interventions.Change]) -> dict:
    """Return the results of the ten experiments under the script's keys.

    Parameters
    ----------
    reader : Reader
    gate_changes : mapping of str to Change
        The arms of experiment 7, under the script's names.

    Returns
    -------
    dict
        Of dicts, lists, numbers, texts and truth values, as JSON has them.
    """
    activations, verdict = brain(reader)
    return {
        "meg_analysis": activity(reader),
        "optogenetics_results": suppression(reader),
        "activation_patterns": activations,
        "brain_hypothesis_test": verdict,
        "dimensionwise_analysis": dimensions(reader),
        "token_difficulty_analysis": token_difficulty(reader),
        "layer_importance_analysis": importance(reader),
        "layerwise_activity_analysis": layerwise(reader),
        "cross_token_interference": neighbours(reader),
        "gate_entropy_analysis": entropy(reader),
        "gate_specificity": gate_specificity(reader, gate_changes),
    }


def activity(reader: Reader) -> dict:
    """Return experiment 1, "MEG": sizes of proposal, gate, change of state and update."""
    values: dict[str, list] = {
        name: []
        for name in ("delta_generation", "gate_computation", "hidden_update", "activity_magnitude")
    }
    for found in reader.batches("raw_proposal", "gate", "delta"):
        moved = np.diff(found["state"], axis=0)
        parts = (found["raw_proposal"], found["gate"], moved, found["delta"])
        for name, part in zip(values, parts, strict=True):
            values[name] += np.abs(part).mean((1, 2), dtype=float).tolist()
    return {
        name: {"mean": float(np.mean(own)), "std": float(np.std(own)), "values": own}
        for name, own in values.items()
    }


def suppression(reader: Reader) -> dict:
    """Return experiment 2, "optogenetics": each part's output made smaller by degrees."""
    found = {"baseline": reader.scores()}
    for component in ("attention", "gate", "ffn"):
        for rate in SUPPRESSED:
            found[f"{component}_suppressed_{rate}"] = reader.scores(_suppress(component, rate))
    return found


def _suppress(component: str, percent: int) -> interventions.Intervention:
    return interventions.Intervention(SITES[component], interventions.scale(1 - percent / 100))


def brain(reader: Reader) -> tuple[dict, dict]:
    """Return experiment 3: the mean state of each stage, and the rule made of its spread."""
    means = np.mean([found["state"].mean(1, dtype=float) for found in reader.batches()], axis=0)
    steps = len(means) - 1
    names = ["embeddings", *(f"step_{step}" for step in range(steps)), "final"]
    stages = dict(zip(names, [*means, means[-1]], strict=True))
    verdict: dict = {}
    for name, stage in stages.items():
        verdict[f"{name}_breadth"] = float(stage.std())
        verdict[f"{name}_mean_activity"] = float(stage.mean())
    for before, after in itertools.pairwise(names):
        length = float(np.linalg.norm(stages[after] - stages[before]))
        verdict[f"change_{before}_to_{after}"] = length
    narrowest = min(range(steps), key=lambda step: verdict[f"step_{step}_breadth"])
    verdict["most_selective_step"] = narrowest
    verdict["supports_selectivity_hypothesis"] = narrowest in MIDDLE_STEPS
    return {name: stage.tolist() for name, stage in stages.items()}, verdict


def dimensions(reader: Reader) -> dict:
    """Return experiment 4: dimensions sorted by how their mean size goes through the steps."""
    sizes = [np.abs(found["state"]).mean(1, dtype=float) for found in reader.batches()]
    found = np.mean(sizes, axis=0)
    sorted_ = kinds(np.diff(found, axis=0))
    patterns = {name: np.flatnonzero(sorted_ == kind).tolist() for kind, name in enumerate(KINDS)}
    return {
        "dimension_patterns": patterns,
        "pattern_counts": {name: len(own) for name, own in patterns.items()},
        "step_activities": found.tolist(),
        "sample_dimensions": {f"{name}_samples": patterns[name][:SAMPLES] for name in KINDS[:3]},
    }


def token_difficulty(reader: Reader) -> dict:
    """Return experiment 5: size of the state of easy, medium and hard masked tokens."""
    found = reader.masked_tokens()
    sizes = np.abs(found["state"]).mean(-1, dtype=float)
    result = {}
    for kind, name in enumerate(CLASSES):
        own = sizes[:, found["class"] == kind]
        count = own.shape[1]
        mean, std = (own.mean(1), own.std(1)) if count else (np.zeros(len(sizes)),) * 2
        result[name] = {"mean": mean.tolist(), "std": std.tolist(), "count": count}
    return result


def importance(reader: Reader) -> dict:
    """Return experiment 6: experiment 2 once more, and a ranking by what 75 % cost."""
    baseline = reader.scores()
    result: dict = {"baseline": baseline}
    for component in ("attention", "ffn", "gate"):
        result[component] = {}
        for rate in RANKED:
            own = reader.scores(_suppress(component, rate))
            result[component][f"suppression_{rate}"] = {
                "metrics": own,
                "accuracy_drop": baseline["accuracy"] - own["accuracy"],
                "loss_increase": own["loss"] - baseline["loss"],
            }
    scores = {
        component: result[component][f"suppression_{RANKED_BY}"]["accuracy_drop"]
        for component in ("attention", "ffn", "gate")
    }
    result["importance_ranking"] = [
        {"component": component, "importance_score": scores[component]}
        for component in sorted(scores, key=scores.get, reverse=True)
    ]
    return result


def layerwise(reader: Reader) -> dict:
    """Return experiment 8: the mean size of the state after each step."""
    sizes = [np.abs(found["state"]).mean((1, 2), dtype=float) for found in reader.batches()]
    mean = np.mean(sizes, axis=0)
    return {
        "mean_activity_per_step": mean.tolist(),
        "std_activity_per_step": np.std(sizes, axis=0).tolist(),
        "accumulation_pattern": {
            "early_activity": float(mean[0]),
            "late_activity": float(mean[-1]),
            "activity_increase": float(mean[-1] - mean[0]),
            "supports_accumulation_hypothesis": bool(mean[-1] > mean[0]),
        },
        "num_steps": len(mean),
    }


def neighbours(reader: Reader) -> dict:
    """Return experiment 9: the probability of masked tokens between easy and hard ones.

    Neighbours are the masked tokens before and after, however far away.
    """
    found = reader.masked_tokens()
    share, kind, sequence = found["probability"], found["class"], found["sequence"]
    between = np.flatnonzero(sequence[:-2] == sequence[2:]) + 1
    before, after = kind[between - 1], kind[between + 1]
    both_easy, both_hard = ((before == one) & (after == one) for one in (0, 2))
    groups = {
        "easy_context": both_easy,
        "hard_context": both_hard,
        "mixed_context": ~(both_easy | both_hard),
    }
    result: dict = {}
    for name, chosen in groups.items():
        own = share[between[chosen]].astype(float)
        result[name] = {
            "mean_performance": float(own.mean()) if len(own) else 0.0,
            "std_performance": float(own.std()) if len(own) else 0.0,
            "count": len(own),
        }
    gap = result["easy_context"]["mean_performance"] - result["hard_context"]["mean_performance"]
    result["interference_effect"] = {
        "easy_vs_hard_context_diff": gap,
        "hard_tokens_interfere": gap > 0,
    }
    return result


def entropy(reader: Reader) -> dict:
    """Return experiment 10: the entropy of the last step's gates, by class of masked token."""
    found = reader.masked_tokens("gate")
    values, result = binary_entropy(found["gate"][-1]), {}
    for kind, name in enumerate(CLASSES):
        own = values[found["class"] == kind]
        result[f"{name}_tokens"] = {
            "mean_entropy": float(own.mean()) if len(own) else 0.0,
            "std_entropy": float(own.std()) if len(own) else 0.0,
            "count": len(own),
        }
    gap = result["hard_tokens"]["mean_entropy"] - result["easy_tokens"]["mean_entropy"]
    result["confidence_hypothesis"] = {
        "easy_lower_entropy": gap > 0,
        "entropy_difference": gap,
    }
    return result


def gate_specificity(reader: Reader, changes: Mapping[str, interventions.Change]) -> dict:
    """Return experiment 7: what each change of the gate, at every step, costs."""
    baseline = reader.scores()
    result: dict = {"baseline": baseline}
    for name, change in changes.items():
        own = reader.scores(interventions.Intervention("gate", change))
        gathered = GATHERED.get(name.partition("_")[0])
        branch = result.setdefault(gathered, {}) if gathered else result
        drop = baseline["accuracy"] - own["accuracy"]
        branch[name] = {"metrics": own, "accuracy_drop": drop}
    return result
