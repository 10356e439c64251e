"""The source's own players: sums over the contents of cells, with its settings.

Its weights lie between 0 and 1; here each is kept as its distance from the middle, so that the
limit of a relation bounds it on both sides.
"""

from collections.abc import Callable

import numpy as np

from plasticity.substrate import Brain
from plasticity.substrate.domains.tictactoe.game import (
    BOARDS,
    CELLS,
    EMPTY,
    LEGAL,
    OVER,
    PERFECT,
    REACHABLE,
    START,
    STATES,
    TO_MOVE,
    O,
    X,
    greedy,
    scores,
    winners,
)
from plasticity.substrate.domains.tictactoe.training import Player, follow, play

CONTENTS = 3
MIDDLE = 0.5
_SWAPPED = np.array([EMPTY, O, X], np.int8)
_EVERY_CELL = np.arange(CELLS)


def _cell_neurons(brain: Brain) -> np.ndarray:
    names = [f"cell {cell}: {'.XO'[content]}" for cell in range(CELLS) for content in range(3)]
    return brain.neurons(names).reshape(CELLS, CONTENTS)


def _seen_by(boards: np.ndarray, players: np.ndarray) -> np.ndarray:
    """Return boards with the stones' colours exchanged where the player is O."""
    return np.where((players == O)[:, None], _SWAPPED[boards], boards)


class CellSums:
    """The source's value head: from each cell's content to the neurons of win, loss and draw.

    It learns from the positions before X's moves and judges those after them. For O the colours are
    exchanged.

    Parameters
    ----------
    brain : Brain
        Grows 27 + 3 neurons.

    Examples
    --------
    >>> head = CellSums(Brain())
    >>> head.observe(np.array([[0, 1, 7, 16]]), np.array([X]))  # X: corner, then beside it
    >>> bool(head.table()[1] > head.table()[3])
    True
    """

    RATE, DISCOUNT, FRESH, OPPOSITE = 0.05, 0.92, 0.3, -0.5

    def __init__(self, brain: Brain):
        self.brain = brain
        brain.relation("outcome", rule="delta", learning_rate=self.RATE, limit=MIDDLE)
        self._cells = _cell_neurons(brain)
        self._ends = brain.neurons(["draw", "X wins", "O wins"])
        sources, targets = np.broadcast_arrays(self._cells[..., None], self._ends)
        brain.connect(sources.ravel(), targets.ravel(), self.FRESH - MIDDLE, "outcome")

    def observe(self, games: np.ndarray, winners: np.ndarray) -> None:
        """Credit the cells of the positions before X's moves with how each game ended.

        Parameters
        ----------
        games : ndarray of int, shape (games, plies)
            States from the empty board on, -1 after the end.
        winners : ndarray of int, shape (games,)
        """
        for game, winner in zip(games, winners, strict=True):
            moves = game[game >= 0][:-1:2]
            credit = self.DISCOUNT ** np.arange(len(moves))[::-1]
            cells = self._cells[_EVERY_CELL, BOARDS[moves]].ravel()
            credit = np.repeat(credit, CELLS)
            self.brain.learn(cells, self._ends[winner], "outcome", post=credit)
            if winner != EMPTY:
                loser = self._ends[X + O - winner]
                self.brain.learn(cells, loser, "outcome", post=self.OPPOSITE * credit)

    def table(self) -> np.ndarray:
        """Return the worth of every state to the player who has just moved there, float64."""
        ends = np.broadcast_arrays(self._cells[..., None], self._ends)
        weights = self.brain.weights(ends[0].ravel(), ends[1].ravel(), "outcome")
        weights = weights.reshape(ends[0].shape) + MIDDLE
        boards = _seen_by(BOARDS, X + O - TO_MOVE)
        draw, win, lose = weights[_EVERY_CELL, boards].sum(axis=1, dtype=float).T
        return np.clip((win - lose) / (win + lose + draw + 1e-6), -0.99, 0.99)

    def worth(self) -> np.ndarray:
        """Return what every move is worth, as `game.scores` does."""
        return scores(self.table())


class CellPolicy:
    """The source's player: a synapse from each of 27 contents of cells to each of nine moves.

    After a game the synapses from the cells that a move was made on change by rate times reward: up
    for a win, down for a loss, not at all for a draw, and less the further the end was.

    Parameters
    ----------
    brain : Brain
        Grows 27 + 9 neurons.
    draw_reward : float
        What a draw counts, between a loss, -1, and a win, 1.

    Examples
    --------
    >>> player = CellPolicy(Brain())
    >>> player.learn(np.array([[0, 1, 7, 16]]), np.array([X]), X)
    >>> int(player.preferences(np.array([0])).argmax())
    0
    """

    RATE, DISCOUNT = 0.15, 0.85

    def __init__(self, brain: Brain, draw_reward: float = 0.0):
        self.brain, self.draw_reward = brain, draw_reward
        brain.relation("move", rule="delta", learning_rate=self.RATE, limit=MIDDLE)
        self._cells = _cell_neurons(brain)
        self._moves = brain.neurons([f"move to {cell}" for cell in range(CELLS)])

    def weights(self) -> np.ndarray:
        """Return its synapses, float32, shape (9, 3, 9); where there is none, the least weight."""
        ends = np.broadcast_arrays(self._cells[..., None], self._moves)
        found = self.brain.weights(ends[0].ravel(), ends[1].ravel(), "move")
        return np.nan_to_num(found, nan=-MIDDLE).reshape(ends[0].shape)

    def preferences(self, states: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Return the activation of each move's neuron.

        Parameters
        ----------
        states : ndarray of int, shape (states,)
        weights : ndarray, optional
            Of `weights`, where they are at hand.

        Returns
        -------
        ndarray of float64, shape (states, 9)
            Minus infinity where there is no such move.
        """
        weights = self.weights() if weights is None else weights
        active = weights[_EVERY_CELL, _seen_by(BOARDS[states], TO_MOVE[states])]
        return np.where(LEGAL[states], active.sum(axis=1, dtype=float), -np.inf)

    def player(self, temperature: float, rng: np.random.Generator) -> Player:
        """Return a player that draws moves by the softmax of what they are preferred now."""
        weights = self.weights()

        def draw(states: np.ndarray) -> np.ndarray:
            preferences = self.preferences(states, weights) / temperature
            return (preferences + rng.gumbel(size=preferences.shape)).argmax(axis=1)

        return draw

    def learn(self, games: np.ndarray, winners: np.ndarray, seat: int) -> None:
        """Credit the moves of a seat with how their games ended.

        Parameters
        ----------
        games : ndarray of int, shape (games, plies)
            States, -1 after the end.
        winners : ndarray of int, shape (games,)
        seat : {X, O}
        """
        game, ply = np.nonzero(games[:, 1:] >= 0)
        own = TO_MOVE[games[game, ply]] == seat
        game, ply = game[own], ply[own]
        before, after = games[game, ply], games[game, ply + 1]
        moves = (BOARDS[after] != BOARDS[before]).argmax(axis=1)
        left = ((games >= 0).sum(axis=1)[game] - 2 - ply) // 2  # own moves that were to come
        won = np.where(winners[game] == seat, 1.0, -1.0)
        reward = np.where(winners[game] == EMPTY, self.draw_reward, won)
        cells = self._cells[_EVERY_CELL, _seen_by(BOARDS[before], TO_MOVE[before])]
        targets = np.repeat(self._moves[moves], CELLS)
        credit = np.repeat(reward * self.DISCOUNT**left, CELLS)
        self.brain.learn(cells.ravel(), targets, "move", post=credit)

    def imitate(self, states: np.ndarray, teacher: np.ndarray, step: float) -> None:
        """Correct its best move in each state that a teacher would not make: the perceptron's rule.

        Parameters
        ----------
        states : ndarray of int, shape (states,)
        teacher : ndarray of bool, shape (19683, 9)
            The moves that are right.
        step : float
            Size of a correction; the learning rate multiplies it.
        """
        preferences = self.preferences(states)
        chosen = preferences.argmax(axis=1)
        right = np.where(teacher[states], preferences, -np.inf).argmax(axis=1)
        wrong = ~teacher[states, chosen]
        cells = self._cells[_EVERY_CELL, _seen_by(BOARDS[states], TO_MOVE[states])][wrong]
        for moves, change in ((right, step), (chosen, -step)):
            targets = np.repeat(self._moves[moves[wrong]], CELLS)
            self.brain.learn(cells.ravel(), targets, "move", post=change)

    def copy(self) -> "CellPolicy":
        """Return another player, in a brain of its own, with the same synapses."""
        other = CellPolicy(Brain(self.brain.seed), self.draw_reward)
        edges = self.brain.edges("move")
        other.brain.connect(edges["source"], edges["target"], edges["weight"], "move")
        return other

    def policy(self) -> np.ndarray:
        """Return its best moves in every state, bool, shape (19683, 9)."""
        going = np.flatnonzero(REACHABLE & ~OVER)
        policy = np.zeros((STATES, CELLS), bool)
        policy[going] = greedy(self.preferences(going))
        return policy


WARM, WARM_AFTER_LESSONS, COLD = 1.5, 0.5, 0.05  # temperatures of the source


def take_lessons(player: CellPolicy, games: int, at_once: int, rng: np.random.Generator) -> None:
    """Teach a player as X by games against minimax, in which a draw counts as a win.

    Parameters
    ----------
    player : CellPolicy
    games, at_once : int
        How many, and how many between lessons.
    rng : Generator
    """
    teacher, draw_reward = follow(PERFECT, rng), player.draw_reward
    player.draw_reward = 1.0
    for done in range(0, games, at_once):
        pupil = player.player(WARM * (1 - done / games) + COLD, rng)
        played = play({X: pupil, O: teacher}, np.full(min(at_once, games - done), START))
        player.learn(played, winners(played), X)
    player.draw_reward = draw_reward


def self_play(
    seats: dict[int, CellPolicy],
    games: int,
    at_once: int,
    rng: np.random.Generator,
    after_round: Callable,
    warm: float = WARM,
) -> None:
    """Let two players learn from games against each other, at a falling temperature.

    Parameters
    ----------
    seats : dict
        The player of `X` and that of `O`.
    games, at_once : int
    rng : Generator
    after_round : callable
        Called with the number of games so far and who won those of the round.
    warm : float
        Temperature of the first game.
    """
    for done in range(0, games, at_once):
        temperature = warm * (1 - done / games) + COLD
        players = {seat: player.player(temperature, rng) for seat, player in seats.items()}
        played = play(players, np.full(min(at_once, games - done), START))
        for seat, player in seats.items():
            player.learn(played, winners(played), seat)
        after_round(done + len(played), winners(played))
