"""The whole game as tables: every board, every move, minimax, and proof over the whole tree.

A state is the number that its nine cells write in base 3, cell 0 last. X moves first. A policy is a
table of the moves that a player may choose; where it holds several in a state, they are tied.
"""

from dataclasses import dataclass

import numpy as np

CELLS = 9
EMPTY, X, O = 0, 1, 2  # noqa: E741
LINES = np.array(
    [(0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6)]
)
STATES = 3**CELLS
START = 0
POWERS = 3 ** np.arange(CELLS)
SEATS = {X: "x", O: "o"}


def encode(boards: np.ndarray) -> np.ndarray:
    """Return the states of boards.

    Parameters
    ----------
    boards : array of int, shape (..., 9)
        `EMPTY`, `X` or `O` in each cell, row by row.

    Returns
    -------
    ndarray of int64, shape (...)

    Examples
    --------
    >>> int(encode([X, 0, 0, 0, O, 0, 0, 0, 0]))
    163
    """
    return (np.asarray(boards, np.int64) * POWERS).sum(axis=-1)


def _symmetries() -> np.ndarray:
    """Return the cells of the eight turned and mirrored boards."""
    square = np.arange(CELLS).reshape(3, 3)
    turned = [np.rot90(one, k) for one in (square, square.T) for k in range(4)]
    return np.array([one.ravel() for one in turned])


def _winners(boards: np.ndarray) -> np.ndarray:
    won = [(boards[:, LINES] == player).all(axis=2).any(axis=1) for player in (X, O)]
    return np.where(won[0], X, np.where(won[1], O, EMPTY)).astype(np.int8)


def _walk() -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the successors of every state, and the states of a game by their number of stones."""
    successors = np.full((STATES, CELLS), -1)
    layers = [np.array([START])]
    while len(layers) <= CELLS:
        states = layers[-1]
        free = (BOARDS[states] == EMPTY) & (WINNER[states] == EMPTY)[:, None]
        after = states[:, None] + TO_MOVE[states][:, None] * POWERS
        successors[states] = np.where(free, after, -1)
        layers.append(np.unique(after[free]))
    return successors, layers


def _minimax() -> np.ndarray:
    """Return each state's value for the player to move, from the last stone to the first."""
    value = np.zeros(STATES, np.int8)
    for states in LAYERS[::-1]:
        after = np.where(LEGAL[states], -value[SUCCESSORS[states]], -2).max(axis=1)
        lost = np.where(WINNER[states] == EMPTY, 0, -1)
        value[states] = np.where(OVER[states], lost, after)
    return value


BOARDS = (np.arange(STATES)[:, None] // POWERS % 3).astype(np.int8)
"""The cells of every state, int8, shape (19683, 9); not every one can arise in a game."""
STONES = (BOARDS != EMPTY).sum(axis=1)
TO_MOVE = (X + STONES % 2).astype(np.int8)
WINNER = _winners(BOARDS)
SYMMETRIES = _symmetries()
CANONICAL = np.min([encode(BOARDS[:, cells]) for cells in SYMMETRIES], axis=0)
"""The least of the eight states that turning and mirroring make of each, int64, shape (19683,)."""
SUCCESSORS, LAYERS = _walk()
LEGAL = SUCCESSORS >= 0
REACHABLE = np.zeros(STATES, bool)
REACHABLE[np.concatenate(LAYERS)] = True
OVER = (WINNER != EMPTY) | (STONES == CELLS)
VALUE = _minimax()
"""Value of each reachable state under best play, for the player to move: -1, 0 or 1."""
OPEN = np.flatnonzero(REACHABLE & ~OVER & (np.arange(STATES) != START))
"""Positions after a move that does not end the game, ascending."""


def transitions() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return every legal move of the game.

    Returns
    -------
    states, actions, successors : ndarray of int64, shape (16167,)

    Examples
    --------
    >>> len(transitions()[0])
    16167
    """
    states, actions = np.nonzero(LEGAL)
    return states, actions, SUCCESSORS[states, actions]


def winners(games: np.ndarray) -> np.ndarray:
    """Return who won each game, `EMPTY` for a draw.

    Parameters
    ----------
    games : ndarray of int, shape (games, plies)
        States in their order, -1 after the end.

    Returns
    -------
    ndarray of int8, shape (games,)
    """
    return WINNER[games.max(axis=1)]  # every stone makes the number larger


def scores(values: np.ndarray) -> np.ndarray:
    """Return what each move is worth to the player who makes it.

    Parameters
    ----------
    values : ndarray of float, shape (19683,)
        Worth of each position to the player who has just moved there. Where the game is over the
        rules decide: 1 for a win, 0 for a draw.

    Returns
    -------
    ndarray of float64, shape (19683, 9)
        Minus infinity where there is no such move.
    """
    ends = np.where(OVER, (WINNER != EMPTY).astype(float), values)
    return np.where(LEGAL, ends[SUCCESSORS], -np.inf)


def greedy(worth: np.ndarray, tolerance: float = 1e-6) -> np.ndarray:
    """Return the policy of all best moves.

    Parameters
    ----------
    worth : ndarray of float, shape (states, 9)
        Minus infinity where there is no such move.
    tolerance : float
        Moves that are worth so little less than the best count as tied with it.

    Returns
    -------
    ndarray of bool, shape (states, 9)
    """
    return np.isfinite(worth) & (worth >= worth.max(axis=1, keepdims=True) - tolerance)


def _threatens() -> np.ndarray:
    """Return in which states the player who has just moved could win with one more stone."""
    mover = X + O - TO_MOVE
    threat = np.zeros(STATES, bool)
    for line in LINES:
        own = (BOARDS[:, line] == mover[:, None]).sum(axis=1)
        threat |= (own == 2) & ((BOARDS[:, line] == EMPTY).sum(axis=1) == 1)
    return threat


def win_or_block(worth: np.ndarray) -> np.ndarray:
    """Lay the source's hand-written rule over the worth of moves: one ply of looking ahead.

    Parameters
    ----------
    worth : ndarray of float, shape (19683, 9)

    Returns
    -------
    ndarray of float64, shape (19683, 9)
        1 for a move that wins, else -0.9 for one that lets the opponent win at once, else 0.85 for
        one that threatens to win; other moves keep their worth, within 0.99 either way.
    """
    wins = LEGAL & (WINNER[SUCCESSORS] != EMPTY)
    lets_win = LEGAL & wins.any(axis=1)[SUCCESSORS]
    threatens = LEGAL & _threatens()[SUCCESSORS]
    ruled = np.where(np.isfinite(worth), np.clip(worth, -0.99, 0.99), worth)
    for cases, value in ((threatens, 0.85), (lets_win, -0.9), (wins, 1.0)):
        ruled = np.where(cases, value, ruled)
    return ruled


PERFECT = greedy(scores(-VALUE))
"""The policy of all moves that are best under minimax."""


@dataclass(frozen=True)
class Outcome:
    """How the games of a player end, in lines of the tree or in shares of games.

    Parameters
    ----------
    wins, draws, losses : float
        The player's.
    """

    wins: float
    draws: float
    losses: float


def flow(x_moves: np.ndarray, o_moves: np.ndarray) -> np.ndarray:
    """Return how much of the play from the empty board passes through each state.

    Parameters
    ----------
    x_moves, o_moves : ndarray of float or bool, shape (19683, 9)
        Weight of each move: 1 counts lines of the tree; shares that add up to 1 in a state give
        probabilities.

    Returns
    -------
    ndarray of float64, shape (19683,)
    """
    passing = np.zeros(STATES)
    passing[START] = 1
    for states in LAYERS[:-1]:
        moves = np.where((TO_MOVE[states] == X)[:, None], x_moves[states], o_moves[states])
        onward = np.where(LEGAL[states], moves * passing[states][:, None], 0)
        chosen = onward > 0
        np.add.at(passing, SUCCESSORS[states][chosen], onward[chosen])
    return passing


def outcome(moves: np.ndarray, opponent: np.ndarray, seat: int) -> Outcome:
    """Return how all play of one policy against another ends.

    Parameters
    ----------
    moves, opponent : ndarray of float or bool, shape (19683, 9)
        As for `flow`.
    seat : {X, O}
        Which side `moves` plays.

    Returns
    -------
    Outcome

    Examples
    --------
    >>> outcome(LEGAL, LEGAL, X)  # every game there is
    Outcome(wins=131184.0, draws=46080.0, losses=77904.0)
    """
    passing = flow(*((moves, opponent) if seat == X else (opponent, moves))) * OVER
    ends = [passing[winner == WINNER].sum() for winner in (seat, EMPTY, X + O - seat)]
    return Outcome(*map(float, ends))


def shares(policy: np.ndarray) -> np.ndarray:
    """Return the probability of each move where tied moves are equally likely, float64."""
    return policy / np.maximum(policy.sum(axis=1, keepdims=True), 1)


def verify(policy: np.ndarray) -> dict[str, Outcome]:
    """Follow a player through the whole tree: all its tied moves, every move of the opponent.

    Parameters
    ----------
    policy : ndarray of bool, shape (19683, 9)

    Returns
    -------
    dict of str to Outcome
        Lines of the tree as ``x`` and as ``o``. No losses in both: it cannot be beaten.

    Examples
    --------
    >>> [found.losses for found in verify(PERFECT).values()]
    [0.0, 0.0]
    """
    return {name: outcome(policy, LEGAL, seat) for seat, name in SEATS.items()}


def against_minimax(policy: np.ndarray) -> dict[str, Outcome]:
    """Return the exact chances against a perfect opponent, tied moves of both equally likely.

    Parameters
    ----------
    policy : ndarray of bool, shape (19683, 9)

    Returns
    -------
    dict of str to Outcome
        Shares of games as ``x`` and as ``o``.
    """
    own, perfect = shares(policy), shares(PERFECT)
    return {name: outcome(own, perfect, seat) for seat, name in SEATS.items()}


def mistakes(policy: np.ndarray) -> int:
    """Return in how many positions that its own play can lead to a player may throw value away.

    Parameters
    ----------
    policy : ndarray of bool, shape (19683, 9)

    Returns
    -------
    int
        Positions in which one of its tied moves is not best under minimax: a win or a draw missed.
    """
    wrong = (policy & ~PERFECT).any(axis=1)
    met = [
        (flow(*((policy, LEGAL) if seat == X else (LEGAL, policy))) > 0) & (seat == TO_MOVE)
        for seat in SEATS
    ]
    return int((wrong & (met[0] | met[1])).sum())


def losing_line(policy: np.ndarray, seat: int) -> list[int]:
    """Return the moves of a shortest game that a player may lose.

    Parameters
    ----------
    policy : ndarray of bool, shape (19683, 9)
    seat : {X, O}
        Which side it plays.

    Returns
    -------
    list of int
        Cells in their order; empty where it cannot be beaten.

    Examples
    --------
    >>> losing_line(PERFECT, X)
    []
    """
    moves = (policy, LEGAL) if seat == X else (LEGAL, policy)
    passing = flow(*moves)
    lost = np.flatnonzero((passing > 0) & (X + O - seat == WINNER))
    if not len(lost):
        return []
    state, line = lost[STONES[lost].argmin()], []
    while state != START:
        mover = X + O - TO_MOVE[state]
        before = state - mover * POWERS
        led_here = (BOARDS[state] == mover) & (passing[before] > 0) & ~OVER[before]
        led_here &= moves[mover - X][before, np.arange(CELLS)]
        line.append(int(np.flatnonzero(led_here)[0]))
        state = before[line[-1]]
    return line[::-1]
