"""Does refinement contract? The refinement map's largest stretch, its growth, its fixed points.

A map that shrinks every distance (largest singular value of its Jacobian below 1) has one fixed
point and goes there from anywhere (Banach). One that shrinks only what it does again and again
(spectral radius below 1 at a fixed point) still returns there from nearby.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import jvp, vjp
from torch.nn.attention import SDPBackend, sdpa_kernel

from plasticity.pnn.baseline import BertBaselineForMaskedLM

Map = Callable[[Tensor], Tensor]


def refinement_map(model: nn.Module, start: Tensor) -> Map:
    """Return the last step of a recurrent model as a function of the state.

    Parameters
    ----------
    model : PnnForMaskedLM or BertBaselineForMaskedLM
        In evaluation mode; a BERT must share its layer.
    start : Tensor, shape (batch, length, hidden_size)
        The state before the first step, of sequences without padding.

    Returns
    -------
    callable
        Maps states to states of the same shape.

    Raises
    ------
    ValueError
        If the layers of a BERT differ: then there is no one map.
    """
    if isinstance(model, BertBaselineForMaskedLM):
        if len(model.layers) > 1:
            raise ValueError(
                f"model has {len(model.layers)} different layers; allowed: share_layers=True"
            )
        return lambda state: model.layers[0](state, None)

    def refined(state: Tensor) -> Tensor:
        gate, proposal = model.pnn.refine(model.config.num_steps - 1, state, start, None)
        return state + gate * proposal

    return refined


@torch.no_grad()
def path(model: nn.Module, input_ids: Tensor, steps: int) -> tuple[Tensor, ...]:
    """Refine sequences without padding for any number of steps, those of training or more.

    Parameters
    ----------
    model : PnnForMaskedLM or BertBaselineForMaskedLM
        In evaluation mode; a BERT must share its layer.
    input_ids : Tensor of int64, shape (batch, length)
    steps : int
        0 or more.

    Returns
    -------
    tuple of Tensor, each of shape (batch, length, hidden_size)
        The state before the first step, and after each.
    """
    if not isinstance(model, BertBaselineForMaskedLM):
        return model.pnn(input_ids, num_steps=steps, output_hidden_states=True).hidden_states
    states = [model.embeddings(input_ids)]
    step = refinement_map(model, states[0])
    for _ in range(steps):
        states.append(step(states[-1]))
    return tuple(states)


def largest_stretch(
    function: Map, state: Tensor, generator: torch.Generator, iterations: int = 30
) -> Tensor:
    """Return the largest singular value of a map's Jacobian, by power iteration.

    Parameters
    ----------
    function : callable
        A map under which sequences of a batch do not touch each other.
    state : Tensor, shape (batch, length, hidden_size)
        Where the Jacobian is taken.
    generator : torch.Generator
        Draws the first direction.
    iterations : int
        Products with the Jacobian and its transpose, each at least 1.

    Returns
    -------
    Tensor, shape (batch,)
        A lower bound that rises to the singular value with the number of iterations.

    Examples
    --------
    >>> state, generator = torch.ones(1, 2, 3), torch.Generator().manual_seed(0)
    >>> largest_stretch(lambda h: 0.5 * h, state, generator)
    tensor([0.5000])
    """
    direction = _unit(torch.randn(state.shape, generator=generator).to(state))
    with sdpa_kernel(SDPBackend.MATH):  # the fast kernels have no forward derivative
        _, transposed = vjp(function, state)
        for _ in range(iterations):
            _, image = jvp(function, (state,), (direction,))
            (back,) = transposed(image)
            direction = _unit(back)
        _, image = jvp(function, (state,), (direction,))
    return image.flatten(1).norm(dim=1).detach()


def growth(
    function: Map, state: Tensor, generator: torch.Generator, iterations: int = 60
) -> Tensor:
    """Return how fast a small change grows under a map's Jacobian: its spectral radius, estimated.

    Parameters
    ----------
    function, state, generator
        As for `largest_stretch`.
    iterations : int
        Products with the Jacobian, at least 2; the first half only turns the change towards the
        direction that grows fastest.

    Returns
    -------
    Tensor, shape (batch,)
        Geometric mean of the growth in the second half.
    """
    direction = _unit(torch.randn(state.shape, generator=generator).to(state))
    logarithm = torch.zeros(len(state), device=state.device)
    with sdpa_kernel(SDPBackend.MATH):
        for iteration in range(iterations):
            _, image = jvp(function, (state,), (direction,))
            if iteration >= iterations // 2:
                logarithm = logarithm + image.flatten(1).norm(dim=1).log()
            direction = _unit(image)
    return (logarithm / (iterations - iterations // 2)).exp().detach()


def _unit(direction: Tensor) -> Tensor:
    """Scale every sequence's direction to length 1."""
    return direction / direction.flatten(1).norm(dim=1)[:, None, None]


def relative_changes(states: tuple[Tensor, ...]) -> Tensor:
    """Return how far each step moves a state, relative to its length; 0 is a fixed point.

    Parameters
    ----------
    states : tuple of Tensor, each of shape (batch, length, hidden_size)
        As `path` gives them.

    Returns
    -------
    Tensor, shape (steps, batch)

    Examples
    --------
    >>> state = torch.ones(1, 2, 3)
    >>> relative_changes((state, 0.5 * state, 0.25 * state)).flatten()
    tensor([0.5000, 0.5000])
    """
    flat = torch.stack(states).flatten(2)  # (steps + 1, batch, length * hidden_size)
    return (flat[1:] - flat[:-1]).norm(dim=-1) / flat[:-1].norm(dim=-1)
