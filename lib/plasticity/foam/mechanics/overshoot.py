"""The size of Adam's steps for newborns: moments padded with zeros, and rates that do nothing."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from plasticity.foam.model import GrowableModel

BETAS = (0.9, 0.999)
OPTIMIZERS: dict[str, Callable] = {
    "SGD": torch.optim.SGD,
    "SGD with momentum": lambda params, lr: torch.optim.SGD(params, lr=lr, momentum=0.9),
    "Adagrad": torch.optim.Adagrad,
    "RMSprop": torch.optim.RMSprop,
    "Adam": torch.optim.Adam,
    "AdamW": torch.optim.AdamW,
}


def overshoot(step: int, betas: tuple[float, float] = BETAS) -> float:
    """Return the size of Adam's update, in learning rates, `step` steps after zero moments.

    For a constant gradient, where the step counter was large already, so that nothing corrects the
    moments' start at zero: ``(1 - b1^k) / sqrt(1 - b2^k)``.

    Examples
    --------
    >>> round(overshoot(1), 2), round(overshoot(12), 2)
    (3.16, 6.57)
    """
    return (1 - betas[0] ** step) / (1 - betas[1] ** step) ** 0.5


def newborn_gradients(model: GrowableModel, optimizer, source, steps: int) -> list[Tensor]:
    """Train a model that has grown, and keep the gradients of its last newborns' columns.

    Returns
    -------
    list of Tensor
        One for each step, shape (d, newborns).
    """
    parameter, found = model.layers[0].cohorts[-1].down, []
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        model(**next(source)).loss.backward()
        found.append(parameter.grad.detach().clone())
        optimizer.step()
    return found


def update_sizes(gradients: list[Tensor], steps_before: int) -> list[float]:
    """Return the mean size of AdamW's updates, in learning rates, for a stream of gradients.

    Parameters
    ----------
    gradients : list of Tensor
        All of one shape.
    steps_before : int
        What the step counter says when zero moments meet the first of them: 0 for a parameter of
        its own, as in a cohort; large where moments of an old parameter were padded with zeros.

    Examples
    --------
    >>> sizes = update_sizes([torch.ones(1)] * 3, steps_before=10**6)
    >>> [round(size / overshoot(step), 2) for step, size in enumerate(sizes, 1)]
    [1.0, 1.0, 1.0]
    """
    parameter = nn.Parameter(torch.zeros_like(gradients[0]))
    optimizer = torch.optim.AdamW([parameter], lr=1.0, betas=BETAS, weight_decay=0.0, eps=1e-12)
    optimizer.state[parameter] = {
        "step": torch.tensor(float(steps_before)),
        "exp_avg": torch.zeros_like(parameter),
        "exp_avg_sq": torch.zeros_like(parameter),
    }
    sizes = []
    for gradient in gradients:
        before = parameter.detach().clone()
        parameter.grad = gradient.clone()
        optimizer.step()
        sizes.append(float((parameter.detach() - before).abs().mean()))
    return sizes


def path_length(
    gradients: list[Tensor], optimizer: str, gradient_factor: float = 1.0, rate_factor: float = 1.0
) -> float:
    """Return how far an optimizer carries a parameter along a stream of gradients.

    Parameters
    ----------
    gradients : list of Tensor
    optimizer : str
        One of `OPTIMIZERS`.
    gradient_factor, rate_factor : float
        What gradients, or the learning rate of the parameter's group, are multiplied by.

    Examples
    --------
    >>> stream = [torch.ones(2)] * 5
    >>> path_length(stream, "SGD", gradient_factor=2.0) / path_length(stream, "SGD")
    2.0
    """
    parameter = nn.Parameter(torch.zeros_like(gradients[0]))
    groups = [{"params": [parameter], "lr": 1e-3 * rate_factor}]
    made, length = OPTIMIZERS[optimizer](groups, lr=1e-3), 0.0
    for gradient in gradients:
        before = parameter.detach().clone()
        parameter.grad = gradient_factor * gradient
        made.step()
        length += float((parameter.detach() - before).norm())
    return length
