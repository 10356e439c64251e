"""Looking one move ahead with a learnt model: imagine each move, judge the board, choose."""

import numpy as np

from plasticity.substrate.domains.tictactoe.game import (
    BOARDS,
    CELLS,
    OPEN,
    STATES,
    TO_MOVE,
    encode,
    greedy,
    transitions,
)
from plasticity.substrate.domains.tictactoe.world_model import DRAWN, GOES_ON, WorldModel


def plan(model: WorldModel, values: np.ndarray) -> np.ndarray:
    """Return the policy of one-step planning in every position.

    The rules of the game are asked only which cells are free. What a move leads to and whether it
    ends the game comes from the model, and what an unfinished board is worth from `values`.

    Parameters
    ----------
    model : WorldModel
    values : ndarray of float, shape (19683,)
        Worth of each position to the player who has just moved there.

    Returns
    -------
    ndarray of bool, shape (19683, 9)
        All moves that look best.
    """
    states, actions, _ = transitions()
    players = TO_MOVE[states]
    imagined = model.next_boards(BOARDS[states], actions, players)
    verdicts = model.verdicts(imagined)
    known = np.zeros(STATES)
    known[OPEN] = values[OPEN]
    ended = np.where(verdicts == DRAWN, 0.0, np.where(verdicts == players, 1.0, -1.0))
    worth = np.full((STATES, CELLS), -np.inf)
    worth[states, actions] = np.where(verdicts == GOES_ON, known[encode(imagined)], ended)
    return greedy(worth)
