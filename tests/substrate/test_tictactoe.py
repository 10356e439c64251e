"""Tic-tac-toe: the tables against brute force, every learner against plain Python, the chapter."""

import ast
import itertools
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt

from plasticity.companion import metrics, profiles
from plasticity.companion.configuration import Runtime
from plasticity.experiments import substrate_tictactoe as experiment
from plasticity.findings import substrate_tictactoe as findings
from plasticity.plots import substrate_tictactoe as plots
from plasticity.substrate import Brain, domains
from plasticity.substrate.domains.tictactoe import game, planner, source, training, values
from plasticity.substrate.domains.tictactoe import world_model as world
from plasticity.substrate.domains.tictactoe.game import EMPTY, LINES, O, X
from plasticity.substrate.domains.tictactoe.training import Plan

LINES_OF_CELLS = [tuple(map(int, line)) for line in LINES]
RANDOM = np.random.default_rng(0)


# The game


def won(board):
    return next((board[a] for a, b, c in LINES_OF_CELLS if board[a] == board[b] == board[c] > 0), 0)


@cache
def minimax(board, player):
    """Return the value for the player to move, by plain recursion."""
    if won(board):
        return -1
    free = [cell for cell in range(9) if not board[cell]]
    after = [(*board[:cell], player, *board[cell + 1 :]) for cell in free]
    return max((-minimax(one, 3 - player) for one in after), default=0)


def test_the_game_has_its_known_size():
    assert game.REACHABLE.sum() == 5478
    assert len(np.unique(game.CANONICAL[game.REACHABLE])) == 765
    assert len(np.unique(game.CANONICAL[game.OPEN])) == 626
    assert len(game.transitions()[0]) == 16167
    every = game.outcome(game.LEGAL, game.LEGAL, X)
    assert (every.wins, every.draws, every.losses) == (131184, 46080, 77904)


def test_values_are_those_of_plain_minimax():
    for state in np.flatnonzero(game.REACHABLE):
        board = tuple(int(cell) for cell in game.BOARDS[state])
        assert game.VALUE[state] == minimax(board, int(game.TO_MOVE[state])), board


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from([X, O]))
def test_verification_is_that_of_walking_the_tree(seed, seat):
    rng = np.random.default_rng(seed)
    policy = game.LEGAL & (rng.random(game.LEGAL.shape) < 0.15)
    alone = ~policy.any(axis=1)
    policy[alone] = np.eye(9, dtype=bool)[np.where(game.LEGAL, 1, 0).argmax(axis=1)][alone]
    policy &= game.LEGAL
    ends = {X: 0, O: 0, EMPTY: 0}

    def walk(state):
        if game.OVER[state]:
            ends[int(game.WINNER[state])] += 1
            return
        moves = policy if game.TO_MOVE[state] == seat else game.LEGAL
        for cell in np.flatnonzero(moves[state]):
            walk(game.SUCCESSORS[state, cell])

    walk(game.START)
    found = game.outcome(policy, game.LEGAL, seat)
    assert (found.wins, found.draws, found.losses) == (ends[seat], ends[EMPTY], ends[3 - seat])
    line = game.losing_line(policy, seat)
    assert bool(line) == (found.losses > 0)
    state = game.START
    for cell in line:
        assert (policy if game.TO_MOVE[state] == seat else game.LEGAL)[state, cell]
        state = game.SUCCESSORS[state, cell]
    assert not line or game.WINNER[state] == 3 - seat


def test_one_wrong_move_among_tied_ones_is_found():
    assert sum(found.losses for found in game.verify(game.PERFECT).values()) == 0
    assert game.mistakes(game.PERFECT) == 0
    policy = game.PERFECT.copy()
    corner = game.SUCCESSORS[game.START, 0]
    policy[corner, 1] = True  # O beside the corner, where only the middle holds
    assert game.verify(policy)["o"].losses > 0
    assert game.verify(policy)["x"].losses == 0
    assert game.mistakes(policy) >= 1
    assert game.against_minimax(policy)["o"].draws == pytest.approx(17 / 18)


def test_the_rule_wins_blocks_and_threatens():
    ruled = game.win_or_block(game.scores(np.zeros(game.STATES)))
    to_win = game.encode([X, X, 0, O, O, 0, 0, 0, 0])
    assert np.flatnonzero(game.greedy(ruled)[to_win]).tolist() == [2]
    to_block = game.encode([X, X, 0, O, 0, 0, 0, 0, 0])
    assert np.flatnonzero(game.greedy(ruled)[to_block]).tolist() == [2]
    assert ruled[to_block, 5] == -0.9
    opening = game.encode([X, 0, 0, 0, O, 0, 0, 0, 0])
    assert ruled[opening, 1] == 0.85
    assert ruled[opening, 5] == 0


# Position values


def test_every_class_of_positions_has_a_synapse_of_its_own():
    head = values.PositionValues(Brain(), learning_rate=1.0)
    classes = np.unique(game.CANONICAL[game.OPEN])
    wanted = np.linspace(-1, 1, len(classes)).astype(np.float32)
    head.learn(classes, wanted)
    np.testing.assert_array_equal(head.values(classes), wanted)
    for cells in game.SYMMETRIES:
        turned = game.encode(game.BOARDS[game.OPEN][:, cells])
        np.testing.assert_array_equal(head.values(turned), head.values(game.OPEN))
    head.brain.consolidate()
    assert head.brain.bytes == 26 * 64 + 626 * 16


def test_a_position_is_worth_what_its_synapse_delivers():
    head = values.PositionValues(Brain(), learning_rate=1.0)
    position = game.encode([X, 0, 0, 0, O, 0, 0, 0, 0])
    head.learn([position], [0.75])
    [edge] = head.brain.edges("value")
    emission = head.brain.spread([int(edge["source"])], relations=["value"])
    assert emission.value(int(edge["target"])) == head.values([position])[0] == 0.75


def test_values_of_minimax_give_perfect_play():
    head = values.PositionValues(Brain(), learning_rate=1.0)
    head.learn(game.OPEN[::-1], -game.VALUE[game.OPEN[::-1]] - head.values(game.OPEN[::-1]))
    classes = np.unique(game.CANONICAL[game.OPEN])
    np.testing.assert_array_equal(head.values(classes), -game.VALUE[classes])
    assert (game.greedy(head.worth()) == game.PERFECT).all()


def path_of(*cells):
    states = [game.START]
    for cell in cells:
        states.append(int(game.SUCCESSORS[states[-1], cell]))
    return np.array([states])


def test_what_each_credit_teaches():
    games = path_of(0, 1, 4, 2, 8)  # X wins on the diagonal
    last, before = games[0, 4], games[0, 3]  # O has moved and lets X win; X had moved before
    taught = {}
    for credit in ("reply", "sampled", "final"):
        head = values.PositionValues(Brain(), learning_rate=1.0)
        training.learn(head, games, Plan(games=1, credit=credit))
        taught[credit] = head.values([last, before]).tolist()
    assert taught["final"] == [-1, 1]
    assert taught["sampled"] == [-1, 1]
    assert taught["reply"] == [-1, 0]  # O had replies whose worth is not known yet: 0
    other = path_of(0, 1, 4, 2, 3)  # X overlooks the win
    for credit, worth in (("reply", -1), ("sampled", 0), ("final", 0)):
        head = values.PositionValues(Brain(), learning_rate=1.0)
        training.learn(head, other, Plan(games=1, credit=credit))
        assert head.values([last])[0] == worth, credit


def test_a_plateau_reaches_the_whole_game_at_once():
    head = values.PositionValues(Brain(), learning_rate=0.5, rule="reward")
    training.learn(head, path_of(0, 1, 4, 2, 8), Plan(games=1, credit="plateau", discount=0.5))
    worth = head.values(path_of(0, 1, 4, 2)[0, 1:])
    np.testing.assert_allclose(worth, [0.0625, -0.125, 0.25, -0.5], atol=1e-4)
    before = head.table()
    head.brain.reward(1.0)  # nothing is eligible between games
    np.testing.assert_array_equal(head.table(), before)


def trained(seed, **settings):
    head = values.PositionValues(Brain(seed), learning_rate=0.5)
    plan = Plan(**{"games": 200, "at_once": 20, **settings})
    training.train(head, plan, np.random.default_rng(seed), lambda done, winners: None)
    return head


def test_learning_depends_on_the_seed_alone():
    tables = [trained(seed).table() for seed in (1, 1, 2)]
    np.testing.assert_array_equal(tables[0], tables[1])
    assert (tables[0] != tables[2]).any()


@pytest.mark.slow
@pytest.mark.parametrize("opponent", ["random", "self"])
def test_learnt_players_cannot_be_beaten(opponent):
    head = trained(0, games=4000, at_once=40, opponent=opponent, exploration=(1.0, 0.3))
    head.brain.consolidate()
    found = game.verify(game.greedy(head.worth()))
    assert [one.losses for one in found.values()] == [0, 0]
    assert head.brain.bytes <= 13_000


def test_games_against_a_teacher_start_where_they_should():
    plan = Plan(games=100, opponent="minimax", from_the_end=True)
    early, late = (training._starts(plan, share, 50, RANDOM) for share in (0.0, 0.8))
    assert set(game.STONES[early]) == {8}
    assert set(late) == {game.START}
    assert np.isin(early, game.OPEN).all()


def test_play_is_legal_and_ends():
    player = training.follow(game.LEGAL, RANDOM)
    games = training.play({X: player, O: player}, np.full(50, game.START))
    assert game.OVER[games.max(axis=1)].all()
    for path in games:
        states = path[path >= 0]
        assert all(b in game.SUCCESSORS[a] for a, b in itertools.pairwise(states))
        assert not game.OVER[states[:-1]].any()


# The source's players


def test_cell_sums_learn_as_the_source_does():
    player = training.follow(game.LEGAL, np.random.default_rng(3))
    games = training.play({X: player, O: player}, np.full(300, game.START))
    head = source.CellSums(Brain())
    head.observe(games, game.winners(games))
    weights = {}
    for path, winner in zip(games, game.winners(games), strict=True):
        moves = path[path >= 0][:-1:2]
        for place, state in enumerate(moves):
            change = 0.05 * 0.92 ** (len(moves) - 1 - place)
            for end, share in ((winner, 1), (3 - winner, -0.5)):
                if share == 1 or winner:
                    for cell, content in enumerate(game.BOARDS[state]):
                        key = (cell, int(content), int(end))
                        new = weights.get(key, 0.3) + share * change
                        weights[key] = min(max(new, 0), 1)
    table = head.table()
    for state in game.OPEN[game.TO_MOVE[game.OPEN] == O][::50]:
        keys = [(cell, int(content)) for cell, content in enumerate(game.BOARDS[state])]
        draw, win, lose = (sum(weights.get((*key, end), 0.3) for key in keys) for end in range(3))
        assert table[state] == pytest.approx((win - lose) / (win + lose + draw), abs=1e-3)


def test_the_sources_player_is_credited_as_there():
    player = source.CellPolicy(Brain(), draw_reward=0.5)
    games = path_of(0, 1, 4, 2, 8)
    player.learn(games, np.array([X]), X)
    found = player.weights()
    assert found[0, EMPTY, 8] == -source.MIDDLE  # never used
    assert found[0, X, 8] == pytest.approx(0.15)  # the last move
    assert found[3, EMPTY, 4] == pytest.approx(0.15 * 0.85)
    assert found[3, EMPTY, 0] == pytest.approx(0.15 * 0.85**2)
    player.learn(games, np.array([X]), O)
    assert player.weights()[0, O, 2] == pytest.approx(-0.15)  # O sees X's stone as the other's
    other = player.copy()
    np.testing.assert_array_equal(other.weights(), player.weights())
    other.learn(games, np.array([EMPTY]), X)
    assert other.weights()[0, X, 8] == pytest.approx(0.15 * 1.5)
    assert player.weights()[0, X, 8] == pytest.approx(0.15)


# The model of the game and the planner


@pytest.fixture(scope="module")
def model():
    made = world.WorldModel(Brain())
    boards, actions, players, after = world.random_moves(3, 40, np.random.default_rng(5))
    made.observe(boards, actions, players, after)
    made.judge(after, world.true_verdicts(after))
    made.brain.consolidate()
    return made


def test_the_model_foresees_every_legal_move(model):
    states, actions, successors = game.transitions()
    expected = model.next_boards(game.BOARDS[states], actions, game.TO_MOVE[states])
    np.testing.assert_array_equal(expected, game.BOARDS[successors])
    verdicts = model.verdicts(game.BOARDS[successors])
    ends = np.where(game.WINNER == EMPTY, world.DRAWN, game.WINNER)
    true = np.where(game.OVER, ends, world.GOES_ON)[successors]
    np.testing.assert_array_equal(verdicts, true)
    assert model.brain.bytes <= 4_000


def test_a_cell_is_foreseen_by_what_its_neuron_excites(model):
    context = model._context(np.array([[EMPTY] * 9]), np.array([0]), np.array([O]))[0, 0]
    emission = model.brain.spread([int(context)], relations=["becomes"])
    [(strongest, _)] = emission.top(1)
    assert strongest == model._contents[O]


def test_what_is_not_learnt_is_not_foreseen():
    fresh = world.WorldModel(Brain())
    board = np.array([[X, O, 0, 0, 0, 0, 0, 0, 0]])
    assert fresh.next_boards(board, np.array([2]), np.array([X])).tolist() == [[0] * 9]
    assert fresh.verdicts(np.array([[X, X, X, O, O, 0, 0, 0, 0]])).tolist() == [world.DRAWN]
    blind = world.WorldModel(Brain(), sees_player=False)
    blind.observe(*world.random_moves(3, 10, np.random.default_rng(0)))
    moves = [blind.next_boards(board, np.array([2]), np.array([who]))[0, 2] for who in (X, O)]
    assert moves[0] == moves[1]


def test_the_rules_hold_on_larger_boards(model):
    moves = world.random_moves(5, 20, np.random.default_rng(1))
    assert (model.next_boards(*moves[:3]) == moves[3]).all()
    lines = world.lines_of(5)
    found = model.verdicts(moves[3], lines)
    assert (found == world.true_verdicts(moves[3], lines)).all()
    assert set(found) >= {X, O, world.GOES_ON}
    assert sorted(map(tuple, world.lines_of(3))) == sorted(tuple(sorted(x)) for x in LINES)


def test_the_planner_needs_the_model_and_the_values(model):
    worth = np.where(game.REACHABLE, -game.VALUE, 0.0)
    policy = planner.plan(model, worth)
    assert (policy == game.PERFECT).all()
    for wrong in (
        planner.plan(world.WorldModel(Brain()), worth),
        planner.plan(model, 0 * worth),
    ):
        assert sum(found.losses for found in game.verify(wrong).values()) > 0


def test_only_public_primitives_of_the_brain_are_used():
    for path in (Path(domains.__path__[0]) / "tictactoe").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("plasticity"):
                inside = node.module.startswith("plasticity.substrate.domains.tictactoe")
                assert inside or [name.name for name in node.names] == ["Brain"], path
            if isinstance(node, ast.Attribute) and "brain" in ast.unparse(node.value).split("."):
                assert not node.attr.startswith("_"), ast.unparse(node)
                assert node.attr not in ("graph", "store"), ast.unparse(node)


# The chapter

FEW = {"games": 60, "at_once": 20, "evaluations": 3, "protocol_games": 10, "model_games": 20}


@pytest.fixture(scope="module")
def rows():
    made = []
    for config in profiles.configs("substrate_tictactoe", "smoke", **FEW):
        for seed in (0, 1):
            found = experiment.run(config, seed, Path(), Runtime())
            keys = {"experiment": "substrate_tictactoe", "variant": config.variant, "seed": seed}
            made.append(found.assign(**keys, profile="smoke"))
    return pd.concat(made, ignore_index=True)


@pytest.mark.slow
def test_rows_are_as_declared(rows):
    assert (rows["unit"] == [metrics.metric(name).unit for name in rows["metric"]]).all()
    assert not rows.duplicated(["variant", "seed", "step", "split", "metric"]).any()
    assert np.isfinite(rows["value"]).all()
    for variant, metric, split in (
        ("value_head", "draw_share", None),
        ("world_model", "cell_accuracy", "test"),
        ("planner", "planner_learns_from_world_model", None),
        ("self_play", "self_play_diverges", None),
    ):
        own = rows[(rows["variant"] == variant) & (rows["metric"] == metric)]
        own = own if split is None else own[own["split"] == split]
        assert own["seed"].tolist() == [0, 1], metric


@pytest.mark.slow
def test_sentences_follow_the_rows(rows):
    assert "loses no line of the whole tree in 0 of 2 seeds" in findings.play(rows)
    changed = rows.copy()
    own = (changed["variant"] == "value_head") & (changed["metric"] == "losing_lines")
    changed.loc[own & (changed["split"] == "both"), "value"] = 0.0
    assert "loses no line of the whole tree in 2 of 2 seeds" in findings.play(changed)
    diverges = (changed["metric"] == "self_play_diverges") & (changed["variant"] == "self_play")
    for value, text in ((1.0, "2 of 2 seeds"), (0.0, "0 of 2 seeds")):
        changed.loc[diverges, "value"] = value
        [line] = [s for s in findings.self_play(changed).splitlines() if "best reply" in s[:60]]
        assert f"fewer at the end than at first in {text}" in line


@pytest.mark.slow
def test_tables_and_figures_show_every_player(rows):
    table = findings.players(rows, plots.PLAYERS)
    assert list(table.index) == list(plots.PLAYERS.values())
    assert table.loc["the rule alone", "KB"] == "—"
    assert list(findings.models(rows, plots.MODELS).index) == list(plots.MODELS.values())
    assert findings.planners(rows).shape == (4, 1)
    figures = [
        plots.boards(rows, {"value_head": "positions"}),
        plots.losing_line(rows, "source_value_head", "x, with rule"),
        plots.losing_line(rows, "nobody", "x"),
        plots.learning(rows),
        plots.self_play(rows, (10, 3), (59, 66)),
        plots.size(rows, 26),
        plots.world(rows, 95, 55),
    ]
    assert [len(figure.axes) for figure in figures][2:] == [1, 1, 2, 1, 3]
    plt.close("all")


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"learner": "luck"}, "learner is 'luck'; allowed: 'positions'"),
        ({"games": 0}, "games is 0; allowed: 1"),
        ({"exploration": (1.0, 2.0)}, "exploration is 2.0; allowed: 0 to 1"),
        ({"credit": "none"}, "credit is 'none'; allowed: 'reply'"),
    ],
)
def test_wrong_settings_are_named(settings_, message):
    with pytest.raises(ValueError, match=message):
        experiment.Config(**settings_)
