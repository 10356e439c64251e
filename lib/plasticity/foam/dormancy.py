"""Which neurons do nothing any more, and may give their place to newborns (the reference's V3)."""

import torch
from torch import Tensor

from plasticity.foam.layer import GrowableLayer

LARGEST_SHARE = 0.01  # of a layer's neurons that one event may retire


def wanda(mean_square: Tensor, down_norm: Tensor) -> Tensor:
    """Return the L2 norm of each neuron's contribution to the output: ``|d| sqrt(mean a^2)``.

    Parameters
    ----------
    mean_square : Tensor
        Of the activation, over tokens, shape (neurons,).
    down_norm : Tensor
        Norm of the down column, shape (neurons,).

    References
    ----------
    Sun et al. (2024), Wanda; here for whole neurons.

    Examples
    --------
    >>> wanda(torch.tensor([4.0]), torch.tensor([0.5]))
    tensor([1.])
    """
    return down_norm * mean_square.sqrt()


def redo(mean_absolute: Tensor, active: Tensor) -> Tensor:
    """Return the mean absolute activation, relative to its mean over the layer.

    References
    ----------
    Sokar et al. (2023), The dormant neuron phenomenon, equation 1.

    Examples
    --------
    >>> redo(torch.tensor([1.0, 3.0]), torch.tensor([True, True])).tolist()
    [0.5, 1.5]
    """
    return mean_absolute / mean_absolute[active].mean().clamp_min(torch.finfo(torch.float32).tiny)


def continual_backprop(mean_absolute: Tensor, down_sum: Tensor, row_sum: Tensor) -> Tensor:
    """Return the contribution utility: ``mean |a| * sum |d| / sum |rows|``.

    References
    ----------
    Dohare et al. (2024), Loss of plasticity in deep continual learning, equation 4.

    Examples
    --------
    >>> continual_backprop(torch.ones(1), torch.tensor([2.0]), torch.tensor([4.0]))
    tensor([0.5000])
    """
    return mean_absolute * down_sum / row_sum.clamp_min(torch.finfo(torch.float32).tiny)


def utility(layer: GrowableLayer, means: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Return the utility of a layer's neurons by the configured rule, shape (neurons,).

    Parameters
    ----------
    layer : GrowableLayer
    means : tuple of Tensor, optional
        Mean square and mean absolute activations; None takes the running means of training.
    """
    neurons = layer.neurons
    square, absolute = means or (neurons.mean_square, neurons.mean_absolute)
    if layer.config.dormancy == "redo":
        return redo(absolute, neurons.active)
    down = layer.rows("down").float()
    if layer.config.dormancy == "wanda":
        return wanda(square, down.norm(dim=1))
    names = layer.block.row_parts
    rows = sum(layer.rows(name).float().abs().sum(1) for name in names)
    return continual_backprop(absolute, down.abs().sum(1), rows)


def dormant(layer: GrowableLayer, values: Tensor) -> Tensor:
    """Return which neurons have a utility so low that they may go, boolean, shape (neurons,)."""
    active = layer.neurons.active
    scale = 1.0 if layer.config.dormancy == "redo" else float(values[active].median())
    return active & (values < layer.config.dormancy_tau * scale)


def replaceable(
    layer: GrowableLayer, most: int, replay: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Return the neurons that may be retired in this event, the least useful first.

    Never the base where it is protected, never the young (a newborn's zero column has no utility
    yet), never more than one percent of the layer (one neuron, where that is less than one), and
    with a replay batch only those that are dormant on it too and below the protected quantile: a
    neuron that is silent on the new task may carry an old one.

    Parameters
    ----------
    layer : GrowableLayer
    most : int
    replay : tuple of Tensor, optional
        Mean square and mean absolute activations on the replay batch.

    Returns
    -------
    Tensor
        int64, shape (at most `most`,).
    """
    neurons = layer.neurons
    values = utility(layer)
    allowed = dormant(layer, values) & neurons.mature(layer.config.maturation_age)
    allowed &= neurons.observations > 0
    if layer.config.protect_base:
        allowed[: layer.block.width] = False
    if replay is not None:
        old = utility(layer, replay)
        limit = torch.quantile(old[neurons.active], layer.config.protect_quantile)
        allowed &= dormant(layer, old) & (old <= limit)
    share = max(1, int(LARGEST_SHARE * int(neurons.active.sum())))
    ranked = torch.where(allowed, values, float("inf")).argsort(stable=True)
    return ranked[: min(most, share, int(allowed.sum()))]
