"""Tic-tac-toe on the substrate: players proved over the whole tree, a model of the game, self-play.

Every player ends as a table of the moves it may choose in each position, and is followed through
every line of the game: all its tied moves against every move of the opponent, in both seats.
"""

import dataclasses
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from plasticity.companion import metrics
from plasticity.companion.configuration import (
    ExperimentConfig,
    Runtime,
    check_choice,
    check_range,
    setting,
)

if TYPE_CHECKING:
    from plasticity.substrate import Brain
    from plasticity.substrate.domains.tictactoe.values import PositionValues
    from plasticity.substrate.domains.tictactoe.world_model import WorldModel

__all__ = ["Config", "datasets", "run"]

LEARNERS = ("positions", "rule", "cell_sums", "cell_policy", "world_model", "planner")
OPPONENTS = ("self", "random", "minimax", "moves_shown")
CREDITS = ("reply", "sampled", "final", "plateau")
TENTHS = 10  # the source compares the first games with the last
PRUNED_BELOW = 0.5  # a position worth less either way is a draw, which no synapse says as well
KILOBYTE = 1000

# Positions whose moves the chapter draws, by the cells played so far.
POSITIONS = {
    "O answers a corner": (0,),
    "O between two corners": (0, 4, 8),
    "X can win at once": (0, 1, 4, 7),
    "O must block": (0, 4, 8, 1, 7),
}

# The README and PROBE_RESULTS.md of neuron-graph.
SOURCE_KILOBYTES = 26
SOURCE_CELL_ACCURACY, SOURCE_BOARD_ACCURACY = 95.0, 55.0
SOURCE_DRAW_SHARES = (10.0, 3.0)  # of self-play, first and last 400 of 4,000 games
SOURCE_X_SHARES = (59.0, 66.0)

Row = tuple[int, str, str, float]


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """One player or model, and how it learns."""

    learner: str = setting("positions", f"what learns: {', '.join(LEARNERS)}")
    games: int = setting(4000, "games to learn from, or positions whose moves are shown")
    at_once: int = setting(20, "games played side by side between lessons")
    opponent: str = setting("self", f"who is played against: {', '.join(OPPONENTS)}")
    credit: str = setting("reply", f"what a position learns from: {', '.join(CREDITS)}")
    learning_rate: float = setting(0.5, "share of the error that one lesson takes away")
    exploration: tuple[float, float] = setting((1.0, 0.3), "random moves, first and last game")
    discount: float = setting(0.9, "eligibility left one move further from the end")
    from_the_end: bool = setting(False, "curriculum: start near the end, later further away")
    symmetry: bool = setting(True, "turned and mirrored positions are one")
    lessons: int = setting(0, "the source's players: games against a perfect teacher before")
    draw_reward: float = setting(0.0, "the source's players: what a draw counts, a win being 1")
    model_games: int = setting(50, "games that the model of the world is shown")
    sees_player: bool = setting(True, "the world model is told whose move it is")
    evaluations: int = setting(20, "how often learning is measured")
    protocol_games: int = setting(200, "games of the source's test, as X against minimax")

    def __post_init__(self):
        """Check ranges."""
        super().__post_init__()
        check_choice("learner", self.learner, LEARNERS)
        check_choice("opponent", self.opponent, OPPONENTS)
        check_choice("credit", self.credit, CREDITS)
        for name in ("games", "at_once", "model_games", "evaluations", "protocol_games"):
            check_range(name, getattr(self, name), 1, math.inf)
        check_range("lessons", self.lessons, 0, math.inf)
        check_range("learning_rate", self.learning_rate, 1e-6, 1)
        check_range("discount", self.discount, 0, 1)
        check_range("draw_reward", self.draw_reward, -1, 1)
        for share in self.exploration:
            check_range("exploration", share, 0, 1)


def datasets(config: Config) -> tuple[str, ...]:
    """Return the datasets that a run reads: none, the game is its own."""
    return ()


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Let one player or model learn, and measure it.

    Parameters
    ----------
    config : Config
    seed : int
        Draws games, ties and explored moves.
    folder : Path
        Nothing is written into it.
    runtime : Runtime
        Not used.

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit. Step counts games in the metrics ``curve_...``,
        cells in ``..._value`` and ``cell_content``, and moves in ``losing_line_cell``.
    """
    rng = np.random.default_rng(seed)
    rows = {
        "positions": _positions,
        "rule": _rule,
        "cell_sums": _cell_sums,
        "cell_policy": _cell_policy,
        "world_model": _world_model,
        "planner": _planner,
    }[config.learner](config, seed, rng)
    frame = pd.DataFrame(list(rows), columns=["step", "split", "metric", "value"])
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])


def _positions(config: Config, seed: int, rng: np.random.Generator) -> Iterator[Row]:
    """Measure a synapse for each position."""
    from plasticity.substrate.domains.tictactoe.game import greedy

    one_round = dataclasses.replace(config, games=config.at_once)
    _train(one_round, seed, np.random.default_rng(seed), [])  # compiles what is timed below
    curve: list[Row] = []
    started = time.perf_counter()
    head, spent = _train(config, seed, rng, curve)
    yield 0, "learning", "seconds", time.perf_counter() - started - spent
    yield from curve
    if config.opponent == "self":
        yield from _divergence(curve)
    yield from _size("learnt", head.brain)
    yield from _worth_rows(config, head.worth(), rng)
    head.brain.consolidate(epsilon=PRUNED_BELOW)
    yield from _size("pruned", head.brain)
    yield 0, "pruned", "losing_lines", _losses(greedy(head.worth()))


def _train(
    config: Config, seed: int, rng: np.random.Generator, curve: list[Row]
) -> tuple["PositionValues", float]:
    """Train a value head; note its course; return it and the seconds that noting took."""
    from plasticity.substrate import Brain
    from plasticity.substrate.domains.tictactoe.game import greedy
    from plasticity.substrate.domains.tictactoe.training import Plan, train
    from plasticity.substrate.domains.tictactoe.values import PositionValues

    rule = "reward" if config.credit == "plateau" else "delta"
    head = PositionValues(Brain(seed), config.learning_rate, config.symmetry, rule)
    names = "games at_once opponent credit exploration discount from_the_end"
    plan = Plan(**{name: getattr(config, name) for name in names.split()})
    note, spent = _Course(config, curve), 0.0

    def after_round(done: int, winners: np.ndarray) -> None:
        nonlocal spent
        began = time.perf_counter()
        if note(done, winners):
            curve.append((done, "both", "curve_losing_lines", _losses(greedy(head.worth()))))
        spent += time.perf_counter() - began

    train(head, plan, rng, after_round)
    head.brain.consolidate()
    return head, spent


class _Course:
    """Notes how the games of learning end, in as many parts as there are evaluations."""

    def __init__(self, config: Config, rows: list[Row]):
        self.every = max(1, config.games // config.evaluations)
        self.rows, self.noted, self.ends = rows, 0, []

    def __call__(self, done: int, winners: np.ndarray) -> bool:
        """Take in the ends of some games; return whether a part is complete."""
        from plasticity.substrate.domains.tictactoe.game import EMPTY, X

        self.ends.extend(winners)
        if done < self.noted + self.every:
            return False
        self.noted = done
        for metric, end in (("curve_draw_share", EMPTY), ("curve_x_share", X)):
            self.rows.append((done, "training", metric, 100 * np.mean(np.array(self.ends) == end)))
        self.ends = []
        return True


def _divergence(curve: list[Row]) -> Iterator[Row]:
    """Say as the source does whether self-play diverges: fewer draws at the end than at first."""
    draws = [value for *_, metric, value in curve if metric == "curve_draw_share"]
    part = max(1, len(draws) // TENTHS)
    yield 0, "first tenth", "training_draw_share", np.mean(draws[:part])
    yield 0, "last tenth", "training_draw_share", np.mean(draws[-part:])
    fewer = np.mean(draws[-part:]) < np.mean(draws[:part])
    yield 0, "training", "self_play_diverges", float(fewer)


def _losses(policy: np.ndarray) -> float:
    from plasticity.substrate.domains.tictactoe.game import verify

    return sum(found.losses for found in verify(policy).values())


def _size(split: str, *brains: "Brain") -> Iterator[Row]:
    """Count everything that is kept: neurons of 64 bytes, synapses of 16, names."""
    yield 0, split, "kilobytes", sum(brain.bytes for brain in brains) / KILOBYTE
    yield 0, split, "neurons", sum(len(brain) for brain in brains)
    yield 0, split, "synapses", sum(len(brain.edges()) for brain in brains)


def _worth_rows(config: Config, worth: np.ndarray, rng: np.random.Generator) -> Iterator[Row]:
    """Measure a player that values moves, without the hand-written rule and with it."""
    from plasticity.substrate.domains.tictactoe.game import greedy, win_or_block

    yield from _policy_rows(config, greedy(worth), rng)
    yield from _policy_rows(config, greedy(win_or_block(worth)), rng, ", with rule")
    yield from _board_rows(worth)


def _policy_rows(
    config: Config, policy: np.ndarray, rng: np.random.Generator, suffix: str = ""
) -> Iterator[Row]:
    from plasticity.substrate.domains.tictactoe import game
    from plasticity.substrate.domains.tictactoe.training import follow, play

    tree, chances = game.verify(policy), game.against_minimax(policy)
    yield 0, f"both{suffix}", "losing_lines", sum(found.losses for found in tree.values())
    for seat, name in game.SEATS.items():
        found = tree[name]
        yield 0, name + suffix, "losing_lines", found.losses
        yield 0, name + suffix, "tree_lines", found.wins + found.draws + found.losses
        yield 0, name + suffix, "seat_draw_share", 100 * chances[name].draws
        line = game.losing_line(policy, seat)
        yield from ((k, name + suffix, "losing_line_cell", c) for k, c in enumerate(line, start=1))
    yield 0, f"both{suffix}", "mistaken_positions", game.mistakes(policy)
    players = {game.X: follow(policy, rng), game.O: follow(game.PERFECT, rng)}
    ends = game.winners(play(players, np.full(config.protocol_games, game.START)))
    yield 0, f"x{suffix}", "protocol_draw_share", 100 * np.mean(ends == game.EMPTY)
    if not suffix:
        both = np.mean([found.draws for found in chances.values()])
        yield 0, "both", "draw_share", 100 * both
        yield 0, "both", "cannot_be_beaten", float(sum(f.losses for f in tree.values()) == 0)


def _board_rows(worth: np.ndarray) -> Iterator[Row]:
    """Yield the positions that the chapter draws, and what each move is worth in them."""
    from plasticity.substrate.domains.tictactoe import game

    perfect = game.scores(-game.VALUE)
    for name, cells in POSITIONS.items():
        state = game.START
        for cell in cells:
            state = game.SUCCESSORS[state, cell]
        for cell in range(game.CELLS):
            yield cell, name, "cell_content", game.BOARDS[state, cell]
            if game.LEGAL[state, cell]:
                yield cell, name, "move_value", worth[state, cell]
                yield cell, name, "minimax_move_value", perfect[state, cell]


def _rule(config: Config, seed: int, rng: np.random.Generator) -> Iterator[Row]:
    """Measure the hand-written rule alone, over values that are all 0."""
    from plasticity.substrate.domains.tictactoe.game import STATES, scores

    yield from _worth_rows(config, scores(np.zeros(STATES)), rng)


def _cell_sums(config: Config, seed: int, rng: np.random.Generator) -> Iterator[Row]:
    """Measure the source's value head, taught by games of random players."""
    from plasticity.substrate import Brain
    from plasticity.substrate.domains.tictactoe import game
    from plasticity.substrate.domains.tictactoe.source import CellSums
    from plasticity.substrate.domains.tictactoe.training import follow, play

    head = CellSums(Brain(seed))
    random = follow(game.LEGAL, rng)
    games = play({game.X: random, game.O: random}, np.full(config.games, game.START))
    head.observe(games, game.winners(games))
    head.brain.consolidate()
    yield from _size("learnt", head.brain)
    yield from _worth_rows(config, head.worth(), rng)


def _cell_policy(config: Config, seed: int, rng: np.random.Generator) -> Iterator[Row]:
    """Measure the source's players, shown every perfect move or set against each other."""
    from plasticity.substrate import Brain
    from plasticity.substrate.domains.tictactoe import game
    from plasticity.substrate.domains.tictactoe.source import (
        WARM,
        WARM_AFTER_LESSONS,
        CellPolicy,
        self_play,
        take_lessons,
    )

    seats = {seat: CellPolicy(Brain(seed), config.draw_reward) for seat in game.SEATS}
    if config.opponent == "moves_shown":
        going = np.flatnonzero(game.LEGAL.any(axis=1))
        for done in range(0, config.games, config.at_once):
            part = rng.choice(going, config.at_once)
            for seat, player in seats.items():
                step = 1 - done / config.games
                player.imitate(part[game.TO_MOVE[part] == seat], game.PERFECT, step)
    else:
        if config.lessons:
            take_lessons(seats[game.X], config.lessons, config.at_once, rng)
            seats[game.O] = seats[game.X].copy()
        curve: list[Row] = []
        warm = WARM_AFTER_LESSONS if config.lessons else WARM
        self_play(seats, config.games, config.at_once, rng, _Course(config, curve), warm)
        yield from curve
        yield from _divergence(curve)
    policy = np.where(
        (game.TO_MOVE == game.X)[:, None], *(seats[seat].policy() for seat in game.SEATS)
    )
    yield from _size("learnt", *(player.brain for player in seats.values()))
    yield from _policy_rows(config, policy, rng)


def _world_model(config: Config, seed: int, rng: np.random.Generator) -> Iterator[Row]:
    """Measure the model of the game, learnt from a few games of random players."""
    from plasticity.substrate import Brain
    from plasticity.substrate.domains.tictactoe import world_model as world
    from plasticity.substrate.domains.tictactoe.game import BOARDS, TO_MOVE, transitions

    brain = Brain(seed)
    model = world.WorldModel(brain, config.sees_player)
    states, actions, successors = transitions()
    every = BOARDS[states], actions, TO_MOVE[states], BOARDS[successors]
    for games, seen in _observe(model, config.model_games, rng):
        unseen = [column[~np.isin(states * 9 + actions, seen)] for column in every]
        share = 100 * len(np.unique(seen // 9)) / len(np.unique(states))
        yield games, "training", "curve_state_share", share
        for metric, value in _accuracies(model, unseen, world.lines_of(3)):
            yield games, "test", f"curve_{metric}", value
    brain.consolidate()
    yield from _size("learnt", brain)
    yield 0, "training", "state_share", share
    splits = {
        "test": (3, unseen),
        "all": (3, every),
        "games": (3, world.random_moves(3, config.protocol_games, rng)),
        "four by four": (4, world.random_moves(4, config.protocol_games, rng)),
        "five by five": (5, world.random_moves(5, config.protocol_games, rng)),
    }
    for split, (side, moves) in splits.items():
        for metric, value in _accuracies(model, moves, world.lines_of(side)):
            yield 0, split, metric, value


def _observe(
    model: "WorldModel", games: int, rng: np.random.Generator
) -> Iterator[tuple[int, np.ndarray]]:
    """Show a model random games one by one; yield their number and the moves seen so far."""
    from plasticity.substrate.domains.tictactoe import world_model as world
    from plasticity.substrate.domains.tictactoe.game import encode

    seen = np.zeros(0, np.int64)
    for number in range(1, games + 1):
        boards, actions, players, after = world.random_moves(3, 1, rng)
        model.observe(boards, actions, players, after)
        model.judge(after, world.true_verdicts(after))
        seen = np.union1d(seen, encode(boards) * 9 + actions)
        if number == games or number & (number - 1) == 0:
            yield number, seen


def _accuracies(
    model: "WorldModel", moves: tuple[np.ndarray, ...], lines: np.ndarray
) -> Iterator[tuple[str, float]]:
    """Yield percentages of cells, whole boards, verdicts, and boards with their verdict right."""
    from plasticity.substrate.domains.tictactoe.world_model import true_verdicts

    boards, actions, players, after = moves
    expected = model.next_boards(boards, actions, players)
    cells, boards_right = expected == after, (expected == after).all(axis=1)
    verdicts = model.verdicts(expected, lines) == true_verdicts(after, lines)
    yield "cell_accuracy", 100 * cells.mean()
    yield "board_accuracy", 100 * boards_right.mean()
    yield "verdict_accuracy", 100 * verdicts.mean()
    yield "transition_accuracy", 100 * (boards_right & verdicts).mean()


def _planner(config: Config, seed: int, rng: np.random.Generator) -> Iterator[Row]:
    """Measure one step of planning with the learnt model, over values learnt from a teacher."""
    from plasticity.substrate import Brain
    from plasticity.substrate.domains.tictactoe.planner import plan
    from plasticity.substrate.domains.tictactoe.world_model import WorldModel

    head, _ = _train(config, seed, rng, [])
    models = {
        "learnt": WorldModel(head.brain),
        "blind": WorldModel(Brain(seed), sees_player=False),
        "untrained": WorldModel(Brain(seed)),
    }
    for name in ("learnt", "blind"):
        for _ in _observe(models[name], config.model_games, rng):
            pass
    head.brain.consolidate()
    yield from _size("learnt", head.brain)
    values = head.table()
    policies = {name: plan(model, values) for name, model in models.items()}
    policies["no values"] = plan(models["learnt"], 0 * values)
    yield from _policy_rows(config, policies["learnt"], rng)
    losses = {name: _losses(policy) for name, policy in policies.items()}
    yield from ((0, name, "planner_losing_lines", lost) for name, lost in losses.items())
    learns = losses["learnt"] < losses["untrained"]
    yield 0, "both", "planner_learns_from_world_model", float(learns)
