"""What a move does, learnt from a few games: one rule for all cells, one for all lines."""

import numpy as np

from plasticity.substrate import Brain
from plasticity.substrate.domains.tictactoe.game import EMPTY, LINES, O, X

CONTENTS, PLAYERS = 3, 2
GOES_ON, DRAWN = 3, 0
"""Verdicts on a board beside `X` and `O`, who has won: the game goes on, nobody has won."""


class WorldModel:
    """The next board and the verdict on it, by rules that all cells and all lines share.

    A cell excites one neuron for its content, whether the move goes there, and whose move it is;
    that neuron's strongest synapse is the cell's next content. A line excites one neuron for its
    three contents, and each content on the board one of its own; of those the strongest synapse
    decides who has won and whether the game goes on. Only the strongest are corrected when it turns
    out otherwise. Which cells form a line is given; what makes a line win is not.

    Parameters
    ----------
    brain : Brain
        Grows 12 + 3 + 27 + 3 neurons, without names.
    sees_player : bool
        Whether it is told whose move it is. The source's model is not.

    Examples
    --------
    >>> model = WorldModel(Brain())
    >>> board = np.array([[EMPTY] * 9])
    >>> model.observe(board, np.array([4]), np.array([X]), np.eye(9, dtype=int)[[4]])
    >>> model.next_boards(board, np.array([0]), np.array([X])).tolist()
    [[1, 0, 0, 0, 0, 0, 0, 0, 0]]
    """

    RATE = 0.05  # of the cells' rule, slow enough to average over what it cannot tell apart

    def __init__(self, brain: Brain, sees_player: bool = True):
        self.brain, self.sees_player = brain, sees_player
        brain.relation("becomes", rule="delta", learning_rate=self.RATE, limit=1.0)
        brain.relation("decides", rule="delta", learning_rate=1.0, limit=1.0)
        self._contexts = brain.grow(CONTENTS * 2 * PLAYERS)
        self._contents = brain.grow(CONTENTS)
        self._patterns = brain.grow(CONTENTS**3)
        self._verdicts = brain.grow(3)  # goes on, X has won, O has won

    def _weights(self, sources: np.ndarray, targets: np.ndarray, relation: str) -> np.ndarray:
        """Return weights, 0 where there is no synapse, shape (*sources, targets)."""
        ends = np.broadcast_arrays(sources[..., None], targets)
        weights = self.brain.weights(*ends, relation).reshape(ends[0].shape)
        return np.nan_to_num(weights, nan=0.0)

    def _context(self, boards: np.ndarray, actions: np.ndarray, players: np.ndarray) -> np.ndarray:
        acted = np.arange(boards.shape[1]) == actions[:, None]
        player = (players == O) & self.sees_player
        return self._contexts[(boards * 2 + acted) * PLAYERS + player[:, None]]

    def next_boards(
        self, boards: np.ndarray, actions: np.ndarray, players: np.ndarray
    ) -> np.ndarray:
        """Return the boards that moves are expected to lead to.

        Parameters
        ----------
        boards : ndarray of int, shape (moves, cells)
            Of any number of cells.
        actions : ndarray of int, shape (moves,)
            The cell of each move.
        players : ndarray of int, shape (moves,)
            `X` or `O`.

        Returns
        -------
        ndarray of int64, shape (moves, cells)
        """
        expected = self._weights(self._contexts, self._contents, "becomes").argmax(axis=1)
        return expected[self._context(boards, actions, players) - self._contexts[0]]

    def verdicts(self, boards: np.ndarray, lines: np.ndarray = LINES) -> np.ndarray:
        """Return the expected verdict on boards.

        Parameters
        ----------
        boards : ndarray of int, shape (boards, cells)
        lines : ndarray of int, shape (lines, 3)
            The cells of each line.

        Returns
        -------
        ndarray of int64, shape (boards,)
            `X`, `O`, `DRAWN` or `GOES_ON`.
        """
        goes_on, x_won, o_won = (
            weights.max(axis=1) > 0.5 for _, weights in self._evidence(boards, lines)
        )
        ended = np.where(x_won, X, np.where(o_won, O, DRAWN))
        return np.where(goes_on & (ended == DRAWN), GOES_ON, ended)

    def _evidence(self, boards: np.ndarray, lines: np.ndarray) -> list:
        """Return for each verdict the neurons that speak on it, and how strongly."""
        patterns = (boards[:, lines] * CONTENTS ** np.arange(3)).sum(axis=2)
        speakers = self._contents[boards], self._patterns[patterns], self._patterns[patterns]
        return [
            (neurons, self._weights(neurons, self._verdicts[i : i + 1], "decides")[..., 0])
            for i, neurons in enumerate(speakers)
        ]

    def observe(
        self, boards: np.ndarray, actions: np.ndarray, players: np.ndarray, after: np.ndarray
    ) -> None:
        """Learn from moves, one after another, and from the verdicts on the boards they made.

        Parameters
        ----------
        boards, actions, players
            As for `next_boards`.
        after : ndarray of int, shape (moves, cells)
            The boards that they led to.
        """
        contexts = self._context(boards, actions, players)
        for context, became in zip(contexts, after, strict=True):
            pairs = np.unique(np.stack([context, became]), axis=1)
            self._correct(*pairs)

    def _correct(self, contexts: np.ndarray, became: np.ndarray) -> None:
        """Bring the weights of the contexts closer to what became of them."""
        errors = np.eye(CONTENTS)[became] - self._weights(contexts, self._contents, "becomes")
        cell, content = np.nonzero(errors)
        ends = contexts[cell], self._contents[content]
        self.brain.learn(*ends, "becomes", post=errors[cell, content])

    def judge(self, boards: np.ndarray, verdicts: np.ndarray, lines: np.ndarray = LINES) -> None:
        """Learn what decides a game, from one board after another.

        Parameters
        ----------
        boards : ndarray of int, shape (boards, cells)
        verdicts : ndarray of int, shape (boards,)
            What the rules of the game say.
        lines : ndarray of int, shape (lines, 3)
        """
        for board, verdict in zip(boards, verdicts, strict=True):
            true = (verdict == GOES_ON, verdict == X, verdict == O)
            for i, (neurons, weights) in enumerate(self._evidence(board[None], lines)):
                won = i == 0 and verdict in (X, O)
                strongest = weights.max()
                if won or (strongest > 0.5) == true[i]:
                    continue
                wrong = np.unique(neurons[weights == strongest])
                self.brain.learn(
                    wrong, self._verdicts[i], "decides", post=float(true[i]) - strongest
                )


def true_verdicts(boards: np.ndarray, lines: np.ndarray = LINES) -> np.ndarray:
    """Return what the rules say of boards; parameters and result as for `WorldModel.verdicts`."""
    won = [(boards[:, lines] == player).all(axis=2).any(axis=1) for player in (X, O)]
    full = (boards != EMPTY).all(axis=1)
    return np.where(won[0], X, np.where(won[1], O, np.where(full, DRAWN, GOES_ON)))


def lines_of(side: int) -> np.ndarray:
    """Return all lines of three neighbouring cells of a square board.

    Examples
    --------
    >>> len(lines_of(3)), len(lines_of(4))
    (8, 24)
    """
    cells = np.arange(side * side).reshape(side, side)
    lines = []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        for row in range(side):
            for column in range(side):
                ends = row + 2 * down, column + 2 * right
                if all(0 <= end < side for end in ends):
                    steps = range(3)
                    lines.append([cells[row + k * down, column + k * right] for k in steps])
    return np.array(lines)


def random_moves(side: int, games: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Return the moves of random games in which three in a row win.

    Parameters
    ----------
    side : int
        Rows and columns of the board.
    games : int
    rng : Generator

    Returns
    -------
    boards, actions, players, after : ndarray of int
        Shapes (moves, cells), (moves,), (moves,) and (moves, cells).
    """
    lines, moves = lines_of(side), []
    for _ in range(games):
        board, player = np.zeros(side * side, int), X
        for action in rng.permutation(side * side):
            after = board.copy()
            after[action] = player
            moves.append((board, action, player, after))
            board, player = after, X + O - player
            if true_verdicts(after[None], lines)[0] != GOES_ON:
                break
    return tuple(np.array(column) for column in zip(*moves, strict=True))
