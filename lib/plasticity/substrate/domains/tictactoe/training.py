"""How positions come to be worth something: games played side by side, and what they teach."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from plasticity.substrate.domains.tictactoe.game import (
    CANONICAL,
    CELLS,
    EMPTY,
    LEGAL,
    OPEN,
    OVER,
    PERFECT,
    START,
    STONES,
    SUCCESSORS,
    TO_MOVE,
    WINNER,
    O,
    X,
    winners,
)
from plasticity.substrate.domains.tictactoe.values import PositionValues

OPPONENTS = ("self", "random", "minimax")
CREDITS = ("reply", "sampled", "final", "plateau")
Player = Callable[[np.ndarray], np.ndarray]
TIED = 1e-6
WHOLE_FROM = 0.8  # of all games; from there on even a curriculum's are whole


@dataclass(frozen=True)
class Plan:
    """How a value head is trained.

    Parameters
    ----------
    games : int
        How many, at least 1.
    at_once : int
        Games that are played side by side with the same values, at least 1.
    opponent : {'self', 'random', 'minimax'}
        ``self``: both seats use the values; ``random``: neither does; ``minimax``: the other seat,
        which changes from game to game, is a perfect teacher.
    credit : {'reply', 'sampled', 'final', 'plateau'}
        What a position learns from: what the opponent's best reply is worth, what the reply in this
        game was worth, how the game ended; or one reward at the end for all positions together,
        as if by a plateau potential.
    exploration : tuple of float
        Share of random moves at the first game and at the last, in between on a straight line.
    discount : float
        Eligibility left one move further from the end; used by ``plateau``.
    from_the_end : bool
        Start the first games a move from the end, and later ones further and further from it; the
        last fifth of the games are whole.
    """

    games: int
    at_once: int = 20
    opponent: str = "self"
    credit: str = "reply"
    exploration: tuple[float, float] = (1.0, 0.1)
    discount: float = 0.9
    from_the_end: bool = False


def move_worth(head: PositionValues, states: np.ndarray) -> np.ndarray:
    """Return what each move is worth to the player to move.

    Parameters
    ----------
    head : PositionValues
    states : ndarray of int, shape (states,)

    Returns
    -------
    ndarray of float64, shape (states, 9)
        Minus infinity where there is no such move.
    """
    after = SUCCESSORS[states]
    ends = np.where(WINNER[after] != EMPTY, 1.0, 0.0)
    return np.where(after < 0, -np.inf, np.where(OVER[after], ends, head.values(after)))


def choose(allowed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return one of the allowed moves of each state, all equally likely.

    Parameters
    ----------
    allowed : ndarray of bool, shape (states, 9)
    rng : Generator

    Returns
    -------
    ndarray of int64, shape (states,)
    """
    return np.where(allowed, rng.random(allowed.shape), -1.0).argmax(axis=1)


def follow(policy: np.ndarray, rng: np.random.Generator) -> Player:
    """Return a player that makes the moves of a policy, tied ones equally often."""
    return lambda states: choose(policy[states], rng)


def explore(head: PositionValues, share: float, rng: np.random.Generator) -> Player:
    """Return a player that makes the best move, and a random one in a share of its moves."""

    def player(states: np.ndarray) -> np.ndarray:
        worth = move_worth(head, states)
        best = worth >= worth.max(axis=1, keepdims=True) - TIED
        at_random = rng.random(len(states)) < share
        return choose(np.where(at_random[:, None], LEGAL[states], best), rng)

    return player


def play(players: dict[int, Player], starts: np.ndarray) -> np.ndarray:
    """Play games side by side.

    Parameters
    ----------
    players : dict
        The player of `X` and that of `O`.
    starts : ndarray of int, shape (games,)
        States that they begin with.

    Returns
    -------
    ndarray of int64, shape (games, plies)
        States from the start on, -1 after the end.
    """
    games = [np.asarray(starts)]
    for _ in range(CELLS):
        states = games[-1]
        going = (states >= 0) & ~OVER[states]
        if not going.any():
            break
        after = np.full(len(states), -1)
        for seat, player in players.items():
            own = np.flatnonzero(going & (TO_MOVE[states] == seat))
            if len(own):
                after[own] = SUCCESSORS[states[own], player(states[own])]
        games.append(after)
    return np.stack(games, axis=1)


def _starts(plan: Plan, progress: float, count: int, rng: np.random.Generator) -> np.ndarray:
    left = max(0.0, 1 - progress / WHOLE_FROM) if plan.from_the_end else 0.0
    stones = math.ceil((CELLS - 1) * left)
    if stones == 0:
        return np.full(count, START)
    known = np.unique(CANONICAL[OPEN])
    return rng.choice(known[STONES[known] == stones], count)


def _players(plan: Plan, head: PositionValues, progress: float, rng: np.random.Generator) -> list:
    """Return who plays X and O in a round; against a teacher two pairs, half of the games each."""
    first, last = plan.exploration
    learner = explore(head, first + (last - first) * progress, rng)
    if plan.opponent == "minimax":
        teacher = follow(PERFECT, rng)
        return [{X: learner, O: teacher}, {X: teacher, O: learner}]
    both = follow(LEGAL, rng) if plan.opponent == "random" else learner
    return [{X: both, O: both}]


def train(
    head: PositionValues, plan: Plan, rng: np.random.Generator, after_round: Callable
) -> None:
    """Play and learn.

    Parameters
    ----------
    head : PositionValues
        Learns.
    plan : Plan
    rng : Generator
        Draws starts, random moves and ties.
    after_round : callable
        Called after each round with the number of games so far and who won those of the round.
    """
    for done in range(0, plan.games, plan.at_once):
        count = min(plan.at_once, plan.games - done)
        progress = done / max(1, plan.games - plan.at_once)
        starts = _starts(plan, progress, count, rng)
        pairs = _players(plan, head, progress, rng)
        parts = [part for part in np.array_split(starts, len(pairs)) if len(part)]
        rounds = [play(pair, part) for pair, part in zip(pairs, parts, strict=False)]
        for games in rounds:
            learn(head, games, plan)
        after_round(done + count, np.concatenate([winners(games) for games in rounds]))


def learn(head: PositionValues, games: np.ndarray, plan: Plan) -> None:
    """Teach a value head what games show.

    Parameters
    ----------
    head : PositionValues
    games : ndarray of int, shape (games, plies)
        States, -1 after the end.
    plan : Plan
        Its credit and discount.
    """
    if plan.credit == "plateau":
        for game in games:
            _plateau(head, game[game >= 0], plan.discount)
        return
    results = _results(games)
    for ply in range(games.shape[1] - 2, -1, -1):  # so that news travels a whole game at once
        states, after = games[:, ply], games[:, ply + 1]
        chosen = (after >= 0) & (states != START)
        if not chosen.any():
            continue
        states, after = states[chosen], after[chosen]
        if plan.credit == "reply":
            targets = -move_worth(head, states).max(axis=1)
        elif plan.credit == "sampled":
            ends = (WINNER[after] != EMPTY).astype(float)
            targets = -np.where(OVER[after], ends, head.values(after))
        else:
            targets = results[chosen] * _mover_sign(states)
        _teach(head, states, targets)


def _results(games: np.ndarray) -> np.ndarray:
    """Return 1 for games that X won, -1 for those that O won, 0 for draws."""
    won = winners(games)
    return (won == X).astype(float) - (won == O)


def _mover_sign(states: np.ndarray) -> np.ndarray:
    """Return 1 where X has just moved, -1 where O has."""
    return np.where(TO_MOVE[states] == O, 1.0, -1.0)


def _teach(head: PositionValues, states: np.ndarray, targets: np.ndarray) -> None:
    """Give each position one lesson a round: the mean of those that its games hold."""
    _, first, group = np.unique(head.keys(states), return_index=True, return_inverse=True)
    mean = np.bincount(group, targets) / np.bincount(group)
    states = states[first]
    head.learn(states, mean - head.values(states))


def _plateau(head: PositionValues, path: np.ndarray, discount: float) -> None:
    """Let the end of one game reach all its positions at once, the late ones most."""
    states = path[:-1][path[:-1] != START]
    sign = _mover_sign(states)
    expected = (sign * head.values(states)).mean()
    head.mark(states, sign * discount ** np.arange(len(states))[::-1])
    head.brain.reward(float(_results(path[None])[0]), expected=float(expected))
    head.brain.forget_eligibility()
