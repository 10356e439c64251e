"""What the kills of a store and of a brain say, made from the numbers."""

import pandas as pd

from plasticity.substrate.kills import DOING

NAMES = {"store": "the store alone", "brain": "a brain on a store"}


def lives(rows: pd.DataFrame) -> pd.DataFrame:
    """Set out what was found after every kill.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_kills``.

    Returns
    -------
    DataFrame
        Texts, one row for each variant: how many kills came while the process did what; how many
        lives were found at their last commit, or the one being written; how many bit by bit as a
        replay; and steps survived in all.
    """
    lines = {}
    for variant, found in rows.groupby("variant", sort=False):
        kills, counts = _kills(found), found[found["metric"] == "same_bits"]["split"].value_counts()
        at_commit, same_bits = (_held(found, m) for m in ("reopens_at_a_commit", "same_bits"))
        lines[NAMES[variant]] = {
            "kills": str(kills),
            **{f"while {doing}": str(counts.get(doing, 0)) for doing in DOING},
            "at the last commit": f"{at_commit} of {kills}",
            "bitwise a replay": f"{same_bits} of {kills}",
            "steps survived": f"{_steps(found):,.0f}",
        }
    return pd.DataFrame.from_dict(lines, orient="index")


def survived(rows: pd.DataFrame) -> str:
    """Say in Markdown whether anything committed was lost or torn.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_kills``.
    """
    kills, same = _kills(rows), _held(rows, "same_bits")
    outcome = (
        "each time the last commit, or the one that was being written, was found, and every bit of "
        "it was that of a replay of all steps in memory."
        if same == kills
        else f"**{kills - same} times** what was found was not the last commit bit by bit."
    )
    ahead = rows.pivot_table("value", ["variant", "seed", "step"], "metric")
    early = int((ahead["commits_found"] > ahead["commits_reported"]).sum())
    return (
        f"Of {kills} kills: {outcome} {early} of them came after a commit was durable and before "
        "the process could say so."
    )


def _kills(rows: pd.DataFrame) -> int:
    return int((rows["metric"] == "same_bits").sum())


def _held(rows: pd.DataFrame, metric: str) -> int:
    return int(rows.loc[rows["metric"] == metric, "value"].sum())


def _steps(rows: pd.DataFrame) -> float:
    """Return the last step found, over seeds; after a fault a life begins at step 0 again."""
    return rows[rows["metric"] == "commits_found"].groupby("seed")["value"].max().sum()
