"""The ledger of claims as one table that can be filtered, searched and linked to."""

import pandas as pd
from markupsafe import Markup

from plasticity.companion import claims
from plasticity.companion.book.chapters import Chapter

SYSTEMS = {
    "neural-foam": "Neural Foam",
    "neuron-graph": "Neuron-graph",
    "plastic-neural-networks": "Plastic Neural Networks",
}
OPEN = ("not yet", "not testable here")  # shown after what has been decided
COLUMNS = ("System", "Claim", "Claimed", "Measured", "Profile", "Verdict", "Decided by")


def verdict_counts() -> dict[str, int]:
    """Return how many claims have each verdict, the commonest first."""
    return claims.ledger()["verdict"].value_counts().to_dict()


def html(chapters: dict[str, Chapter]) -> Markup:
    """Return the ledger as HTML: counts, filters, and a table with one row a claim.

    Parameters
    ----------
    chapters : dict
        The staged chapters by name; a row links to the one that decides it.

    Returns
    -------
    Markup
        Without blank lines, for a raw block in a Markdown page.
    """
    rows = claims.ledger()
    rows = rows.sort_values("verdict", key=lambda names: names.isin(OPEN), kind="stable")
    head = "".join(f'<th scope="col">{name}</th>' for name in COLUMNS)
    body = "".join(_row(row, chapters.get(row["notebook"])) for _, row in rows.iterrows())
    return Markup(
        f'<ul class="verdicts" aria-label="Number of claims by verdict">{_counts(rows)}</ul>'
        f"{_filters(rows)}"
        f'<div class="ledger"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        "</div>"
    )


def badge(verdict: str) -> Markup:
    """Return a verdict as a coloured badge whose text carries the meaning."""
    name = verdict.replace(" ", "-")
    return Markup('<span class="verdict verdict-{}">{}</span>').format(name, verdict)


def _counts(rows: pd.DataFrame) -> str:
    counts = rows["verdict"].value_counts()
    return "".join(f"<li><b>{count}</b> {badge(verdict)}</li>" for verdict, count in counts.items())


def _filters(rows: pd.DataFrame) -> str:
    """Return the form; it is hidden until the page's script has taken it over."""
    systems = {name: SYSTEMS.get(name, name) for name in rows["system"].unique()}
    verdicts = {name: name for name in rows["verdict"].value_counts().index}
    return (
        '<form class="ledger-filters" hidden>'
        f"{_select('system', 'System', systems)}{_select('verdict', 'Verdict', verdicts)}"
        '<label>Search <input type="search" name="text" placeholder="accuracy, MNIST"></label>'
        '<output aria-live="polite"></output></form>'
    )


def _select(name: str, label: str, choices: dict[str, str]) -> str:
    options = "".join(
        Markup('<option value="{}">{}</option>').format(value, text)
        for value, text in choices.items()
    )
    choices = f'<option value="">all</option>{options}'
    return f'<label>{label} <select name="{name}">{choices}</select></label>'


def _measured_at(row: pd.Series) -> str:
    """Return profile, size where it is the sources' own, and number of seeds."""
    if not row["profile"]:
        return ""
    size = f", {row['size']} size" if row["size"] == "reference" else ""
    return f"{row['profile']}{size}, {row['seeds']:.0f} seed{'s' if row['seeds'] > 1 else ''}"


def _row(row: pd.Series, chapter: Chapter | None) -> Markup:
    """Return one claim as a table row."""
    page = ""
    if chapter:
        page = Markup('<a href="notebooks/{}.html">{}</a>').format(chapter.name, chapter.title)
    reason = Markup("<small>{}</small>").format(row["reason"]) if row["reason"] else ""
    anchor = row["id"].replace(".", "-")
    source = Markup('<small>{}; <a href="#{}">{}</a></small>').format(
        row["source"], anchor, row["id"]
    )
    cells = (
        SYSTEMS.get(row["system"], row["system"]),
        Markup("{}{}").format(row["claim"], source),
        row["claimed"],
        row["measured"] or Markup("&mdash;"),
        _measured_at(row) or Markup("&mdash;"),
        Markup("{}{}").format(badge(row["verdict"]), reason),
        page or Markup("&mdash;"),
    )
    columns = zip(COLUMNS, cells, strict=True)
    shown = Markup("").join(
        Markup('<td data-label="{}"><div>{}</div></td>').format(name, cell)
        for name, cell in columns
    )
    return Markup('<tr id="{}" data-system="{}" data-verdict="{}">{}</tr>').format(
        anchor, row["system"], row["verdict"], shown
    )
