"""Which part of a SwiGLU newborn may start at zero: what the function and the gradients say."""

from dataclasses import dataclass
from itertools import combinations

import torch

from plasticity.foam.model import GrowableModel

PROJECTIONS = ("gate", "up", "down")
ZEROED = tuple(
    "+".join(names) or "none" for size in range(4) for names in combinations(PROJECTIONS, size)
)


@dataclass(frozen=True)
class Start:
    """What a newborn does that starts with some projections at zero.

    Attributes
    ----------
    logit_change : float
        Largest change of a logit by its birth.
    gradients : dict
        Norm of the gradient of each projection at birth.
    moved : float
        Norm of the change of its weights after training.
    """

    logit_change: float
    gradients: dict[str, float]
    moved: float


def start_with(model: GrowableModel, zeroed: str, batch: dict, steps: int) -> Start:
    """Give a model a newborn in its first layer, some projections zero, and train it for a while.

    Parameters
    ----------
    model : GrowableModel
        Gated; it is changed.
    zeroed : str
        One of `ZEROED`, such as ``"gate+up"``.
    batch : dict
        What it is trained on.
    steps : int
        Steps of AdamW, on the newborn alone.
    """
    with torch.no_grad():
        before = model(**batch).logits
    model.grow({0: torch.tensor([0])})
    cohort = model.layers[0].cohorts[-1]
    drawn = model.layers[0].rows("down")[:1].T
    with torch.no_grad():
        cohort.down.copy_(drawn)
        for name in zeroed.split("+") if zeroed != "none" else ():
            getattr(cohort, name).zero_()
        change = float((model(**batch).logits - before).abs().max())
    first = [parameter.detach().clone() for parameter in cohort.parameters()]
    optimizer = torch.optim.AdamW(cohort.parameters(), lr=1e-2, weight_decay=0.0)
    gradients = {}
    for _ in range(steps):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        gradients = gradients or {
            name: float(getattr(cohort, name).grad.norm()) for name in PROJECTIONS
        }
        optimizer.step()
    moved = [(now - then).detach() for now, then in zip(cohort.parameters(), first, strict=True)]
    return Start(change, gradients, float(torch.cat([each.flatten() for each in moved]).norm()))
