"""What the chapter on tic-tac-toe says, made from the numbers."""

import numpy as np
import pandas as pd

from plasticity.companion.statistics import values_by_seed
from plasticity.companion.tables import by_variant
from plasticity.experiments.substrate_tictactoe import (
    SOURCE_BOARD_ACCURACY,
    SOURCE_CELL_ACCURACY,
    SOURCE_DRAW_SHARES,
    SOURCE_KILOBYTES,
)

POSITION_LEARNERS = {
    "value_head": "games of random players",
    "self_play": "self-play by the best reply",
    "curriculum": "a teacher, from the end of the game backwards",
    "teacher": "a teacher, whole games",
    "self_play_sampled": "self-play by the reply played",
    "self_play_final": "self-play by the result only",
    "plateau": "self-play by one reward to all positions",
    "self_play_final_greedy": "self-play by the result, never exploring",
    "self_play_without_symmetry": "self-play without symmetry",
}
MODELS = {
    "learnt": "the learnt model",
    "blind": "a model that is not told whose move it is",
    "untrained": "an untrained model",
    "no values": "the learnt model, every open position worth 0",
}
PLAYER_COLUMNS = {
    "draws, 200 games as X, %": ("protocol_draw_share", "x", "{:.0f}"),
    "the same with the rule, %": ("protocol_draw_share", "x, with rule", "{:.0f}"),
    "draws as X, exactly, %": ("seat_draw_share", "x", "{:.1f}"),
    "as O, %": ("seat_draw_share", "o", "{:.1f}"),
    "lines lost": ("losing_lines", "both", "{:,.0f}"),
    "share of its lines, %": ("losing_share", "both", "{:.2f}"),
    "lines lost with the rule": ("losing_lines", "both, with rule", "{:,.0f}"),
    "KB": ("kilobytes", "learnt", "{:.1f}"),
}
MODEL_COLUMNS = {
    "cells, %": ("cell_accuracy", "test", "{:.1f}"),
    "whole boards, %": ("board_accuracy", "test", "{:.1f}"),
    "verdicts, %": ("verdict_accuracy", "test", "{:.1f}"),
    "boards with verdicts, %": ("transition_accuracy", "test", "{:.1f}"),
    "cells in random games, %": ("cell_accuracy", "games", "{:.1f}"),
    "boards in random games, %": ("board_accuracy", "games", "{:.1f}"),
    "boards with verdicts, 4 × 4, %": ("transition_accuracy", "four by four", "{:.1f}"),
    "positions seen, %": ("state_share", "training", "{:.1f}"),
    "KB": ("kilobytes", "learnt", "{:.2f}"),
}


def players(rows: pd.DataFrame, labels: dict[str, str]) -> pd.DataFrame:
    """Set out how every player fares against minimax and over the whole tree.

    Most of these quantities end at 0 or 100, where an interval around a mean would reach beyond:
    in brackets stand the least and the largest of the seeds.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_tictactoe``.
    labels : dict of str to str
        Names to show for the players, in their order.

    Returns
    -------
    DataFrame
        Texts, one row for each player.
    """
    return _table(pd.concat([rows, _losing_shares(rows)]), PLAYER_COLUMNS, labels)


def models(rows: pd.DataFrame, labels: dict[str, str]) -> pd.DataFrame:
    """Set out how well the models of the game foresee moves that they were not shown.

    Parameters
    ----------
    rows, labels
        As for `players`.
    """
    return _table(rows, MODEL_COLUMNS, labels)


def planners(rows: pd.DataFrame) -> pd.DataFrame:
    """Set out how many lines the planner loses with each model.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_tictactoe``.
    """
    texts = {
        name: _range(_of(rows, "planner_losing_lines", "planner", split))
        for split, name in MODELS.items()
    }
    return pd.DataFrame.from_dict(texts, orient="index", columns=["lines lost"])


def _table(rows: pd.DataFrame, columns: dict, labels: dict[str, str]) -> pd.DataFrame:
    wanted = {(metric, split) for metric, split, _ in columns.values()}
    kept = pd.MultiIndex.from_frame(rows[["metric", "split"]]).isin(wanted)
    own = rows[kept & rows["variant"].isin(labels) & (rows["step"] == 0)]
    order = {name: place for place, name in enumerate(labels)}
    own = own.sort_values("variant", key=lambda names: names.map(order), kind="stable")
    keys = ["variant", "split", "step", "metric"]
    found = own.groupby(keys, sort=False)["value"].agg(["mean", "min", "max", "count"])
    names = {"min": "low", "max": "high", "count": "seeds"}
    return by_variant(found.rename(columns=names).reset_index(), columns, labels)


def _losing_shares(rows: pd.DataFrame) -> pd.DataFrame:
    """Return lines lost in percent of the lines that a player's own choices leave."""
    chosen = rows[rows["metric"].isin(("losing_lines", "tree_lines"))]
    chosen = chosen[chosen["split"].isin(("x", "o"))]
    total = chosen.pivot_table(
        index=["variant", "seed"], columns="metric", values="value", aggfunc="sum"
    )
    share = (100 * total["losing_lines"] / total["tree_lines"]).rename("value").reset_index()
    return share.assign(step=0, split="both", metric="losing_share", unit="percent")


def play(rows: pd.DataFrame) -> str:
    """Say in Markdown how the value heads play, with the rule and without.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_tictactoe``.

    Returns
    -------
    str
        A list of sentences, failures included.
    """
    return _listed(_proof(rows), _source_head(rows), _rule(rows), _ways(rows), _pruning(rows))


def _proof(rows: pd.DataFrame) -> str:
    lost = _of(rows, "losing_lines", "value_head", "both")
    wrong = _of(rows, "mistaken_positions", "value_head", "both")
    size = _of(rows, "kilobytes", "value_head", "learnt")
    seconds = _of(rows, "seconds", "value_head", "learning")
    told = (
        f"loses no line of the whole tree in {_share(lost == 0)}: both seats, every tied move, "
        "every move of the opponent"
    )
    if (lost > 0).any():
        told += f" (at worst it loses {lost.max():,.0f})"
    return (
        f"The value head of positions, taught by games of random players, {told}. It is "
        f"nowhere less than perfect in {_share(wrong == 0)}: no win and no draw is missed. It "
        f"takes {size.max():.1f} KB where the source's takes {SOURCE_KILOBYTES}, counting 64 bytes "
        f"for each of {_of(rows, 'neurons', 'value_head', 'learnt').max():.0f} neurons and 16 for "
        f"each of {_of(rows, 'synapses', 'value_head', 'learnt').max():.0f} synapses, and learns "
        f"in {seconds.mean():.1f} s."
    )


def _source_head(rows: pd.DataFrame) -> str:
    alone, ruled = (
        _of(rows, "protocol_draw_share", "source_value_head", split)
        for split in ("x", "x, with rule")
    )
    lost = _of(rows, "losing_lines", "source_value_head", "both, with rule")
    return (
        "The source's value head, sums over cells, taught and tested its way (200 games as X "
        f"against minimax) draws {_range(ruled)} % of them with its rule, depending on the seed, "
        f"and {_range(alone)} % without. Its 100 % show in {_share(ruled == 100)} with the rule. "
        f"Over the whole tree and in both seats it loses lines in {_share(lost > 0)} even with the "
        f"rule, {_range(lost)} of them."
    )


def _rule(rows: pd.DataFrame) -> str:
    rule = _of(rows, "protocol_draw_share", "source_rule", "x, with rule")
    before, after = (
        _of(rows, "losing_lines", "value_head", split) for split in ("both", "both, with rule")
    )
    verdict = (
        "the rule ranks a threat of its own above a sound move, and so makes a player worse that "
        "needs none"
        if after.mean() > before.mean()
        else "the rule does it no harm"
    )
    return (
        f"The rule alone, which learns nothing, draws {rule.mean():.0f} % of the same games as X. "
        f"Laid over our head it takes the lines lost from {before.mean():,.0f} to "
        f"{after.mean():,.0f}: {verdict}."
    )


def _ways(rows: pd.DataFrame) -> str:
    """Say which ways of learning positions end without a loss in every seed."""
    sound, rest = [], []
    for variant, name in POSITION_LEARNERS.items():
        lost = _of(rows, "losing_lines", variant, "both")
        if (lost == 0).all():
            games = _first_without_loss(rows, variant)
            sound.append(f"{name} (from game {games:,.0f} on)" if games else name)
        else:
            rest.append(f"{name} ({_share(lost == 0)}; at worst {lost.max():,.0f} lines)")
    text = f"Learning positions, no line is lost in any seed by {'; '.join(sound) or 'no way'}."
    return text + (f" Sound in some seeds or in none: {'; '.join(rest)}." if rest else "")


def _first_without_loss(rows: pd.DataFrame, variant: str) -> float:
    """Return after how many games no seed loses any more, 0 where that cannot be told."""
    own = rows[(rows["variant"] == variant) & (rows["metric"] == "curve_losing_lines")]
    worst = own.groupby("step")["value"].max()
    losing = worst.index[worst > 0]
    later = worst.index[worst.index > (losing.max() if len(losing) else -1)]
    return float(later.min()) if len(later) else 0.0


def _pruning(rows: pd.DataFrame) -> str:
    size, lost = (
        _of(rows, metric, "value_head", "pruned") for metric in ("kilobytes", "losing_lines")
    )
    return (
        "A draw needs no synapse, as a position without one is worth 0: pruned at consolidation, "
        f"the head takes {size.mean():.1f} KB and loses {_range(lost)} lines."
    )


def world(rows: pd.DataFrame) -> str:
    """Say in Markdown what the models of the game foresee, and what planning makes of it.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_tictactoe``.
    """
    return _listed(_foresight(rows), _blindness(rows), _larger(rows), _planning(rows))


def _foresight(rows: pd.DataFrame) -> str:
    every = _of(rows, "transition_accuracy", "world_model", "all")
    unseen = _of(rows, "transition_accuracy", "world_model", "test")
    seen = _of(rows, "state_share", "world_model", "training")
    size = _of(rows, "kilobytes", "world_model", "learnt")
    return (
        f"Shown moves from {seen.mean():.1f} % of the positions, the model has the next board, the "
        f"winner and the end of the game right in {_range(unseen, '{:.2f}')} % of all moves that "
        f"it was not shown, and in all legal moves there are in {_share(every == 100)}. It takes "
        f"{size.max():.2f} KB."
    )


def _blindness(rows: pd.DataFrame) -> str:
    cells, boards = (
        _of(rows, metric, "world_model_without_player", "games").mean()
        for metric in ("cell_accuracy", "board_accuracy")
    )
    return (
        f"Not told whose move it is, the same model has {cells:.1f} % of the cells and "
        f"{boards:.1f} % of the boards right in random games, where the source reports "
        f"{SOURCE_CELL_ACCURACY:.0f} and {SOURCE_BOARD_ACCURACY:.0f} %. The source's model is not "
        "told either: it can only bet on X, who makes more than half of the moves, and each lost "
        "bet costs one cell of nine. Its figures are the price of that, not of learning."
    )


def _larger(rows: pd.DataFrame) -> str:
    texts = [
        f"{_range(_of(rows, 'transition_accuracy', 'world_model', split), '{:.2f}')} % of the "
        f"moves on {name}"
        for split, name in (("four by four", "4 × 4 cells"), ("five by five", "5 × 5"))
    ]
    return (
        "Its rules belong to cells and lines, not to places. On larger boards, on which three in a "
        f"row win, it has without further learning {' and '.join(texts)} right."
    )


def _planning(rows: pd.DataFrame) -> str:
    lost = {split: _of(rows, "planner_losing_lines", "planner", split) for split in MODELS}
    learns = _of(rows, "planner_learns_from_world_model", "planner", "both")
    others = "; ".join(
        f"{name} {lost[split].mean():,.0f}" for split, name in MODELS.items() if split != "learnt"
    )
    return (
        f"Planning one move ahead with the learnt model loses {_range(lost['learnt'])} lines "
        f"(no line in {_share(lost['learnt'] == 0)}); with {others}. Learning the model helps in "
        f"{_share(learns == 1)}."
    )


def self_play(rows: pd.DataFrame) -> str:
    """Say in Markdown when self-play diverges and when it does not.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_tictactoe``.
    """
    names = {
        "source_self_play": "the source's two players",
        "source_after_teacher": "two copies of the source's player after lessons from minimax",
        "source_draws_rewarded": "the source's players where a draw counts half a win",
        "self_play": "position values, opponent's best reply",
        "self_play_sampled": "position values, the reply that was played",
        "self_play_final": "position values, result of the game only",
    }
    lines = [_course(rows, variant, name) for variant, name in names.items()]
    return _listed(*lines, _cause(rows), _exploring(rows), _plateau(rows), _symmetry(rows))


def _course(rows: pd.DataFrame, variant: str, name: str) -> str:
    first, last = (
        _of(rows, "training_draw_share", variant, f"{part} tenth").mean()
        for part in ("first", "last")
    )
    fewer = _of(rows, "self_play_diverges", variant, "training")
    lowest = rows[(rows["variant"] == variant) & (rows["metric"] == "curve_draw_share")]
    low = lowest.groupby("step")["value"].mean().min()
    source = (
        f" (the source saw {SOURCE_DRAW_SHARES[0]:.0f} and {SOURCE_DRAW_SHARES[1]:.0f} %)"
        if variant == "source_self_play"
        else ""
    )
    return (
        f"{name[0].upper()}{name[1:]}: draws go from {first:.0f} % in the first tenth of the games "
        f"to {last:.0f} % in the last{source}, {low:.0f} % at the lowest; fewer at the end than at "
        f"first in {_share(fewer == 1)}. Over the tree they lose "
        f"{_range(_of(rows, 'losing_lines', variant, 'both'))} lines."
    )


def _cause(rows: pd.DataFrame) -> str:
    shown = _of(rows, "losing_lines", "source_moves_shown", "both")
    final = _of(rows, "losing_lines", "self_play_final", "both")
    return (
        "What the two kinds of player differ in is what a synapse stands for. Sums over cells, "
        f"shown perfect moves in positions of all kinds, still lose {_range(shown)} lines: they "
        "cannot tell enough positions apart. Under the game's result alone X and O share no "
        "synapse of ours either, as each position belongs to the one who has just moved: two "
        f"independent learners like the source's; they end with {_range(final)} lines lost."
    )


def _exploring(rows: pd.DataFrame) -> str:
    lost, draws = (
        _of(rows, metric, "self_play_final_greedy", split)
        for metric, split in (("losing_lines", "both"), ("training_draw_share", "last tenth"))
    )
    return (
        f"Without exploration the same players draw {draws.mean():.0f} % of their last games and "
        f"yet lose {_range(lost)} lines: they agree on a few games and never see the rest. Draws "
        "among themselves say little about strength."
    )


def _plateau(rows: pd.DataFrame) -> str:
    plateau, final = (
        _of(rows, "losing_lines", variant, "both") for variant in ("plateau", "self_play_final")
    )
    return (
        "One reward at the end, spread over all positions of the game by their eligibility as if "
        f"by a plateau potential, loses {_range(plateau)} lines at the end (none in "
        f"{_share(plateau == 0)}); an error for each position from the same result, "
        f"{_range(final)} (none in {_share(final == 0)})."
    )


def _symmetry(rows: pd.DataFrame) -> str:
    without = _of(rows, "losing_lines", "self_play_without_symmetry", "both")
    size = _of(rows, "kilobytes", "self_play_without_symmetry", "learnt").mean()
    return (
        f"Where turned and mirrored positions learn apart, self-play needs {size:.0f} KB and after "
        f"the same games still loses {_range(without)} lines."
    )


def _of(rows: pd.DataFrame, metric: str, variant: str, split: str) -> pd.Series:
    return values_by_seed(rows, metric, variant, split, 0)


def _range(values: pd.Series, form: str = "{:,.0f}") -> str:
    """Return the least and the largest of the seeds, once where they agree."""
    ends = [form.format(value) for value in (values.min(), values.max())]
    return " to ".join(dict.fromkeys(ends))


def _share(held: pd.Series) -> str:
    """Return in how many seeds something holds."""
    return f"{int(np.sum(held))} of {len(held)} seed{'s' if len(held) > 1 else ''}"


def _listed(*sentences: str) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)
