"""The ledger of claims: every statement of the sources, and the verdict our measurements give.

``data/claims.yaml`` names for each claim the experiment, metric and variant that decide it and the
rule by which they do. Verdicts are computed here from recorded rows; none is ever written down.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plasticity import experiments
from plasticity.companion import paths, profiles, results
from plasticity.companion.claim_rules import RULES, Evidence, pair, text
from plasticity.companion.export import FORMS
from plasticity.companion.metrics import metric
from plasticity.companion.yaml_files import read_yaml

KINDS = ("number", "direction", "mechanism", "negative", "figure", "promise")
SCALES = ("any", "laptop", "paper")
COMPARED = ("number", "half_width", "sequence")  # rules that compare with the row's value
UNMEASURED = ("stated", "shipped")  # rules that look at no rows
# The fields that a rule cannot do without, where they are not experiment, metric and variant.
NEEDED = {"stated": ("reason",), "shipped": ("files",), "exported": ("experiment",)}
VERDICTS = (
    "reproduced",
    "reproduced and exceeded",
    "direction holds at reduced scale",
    "confirmed",
    "overturned",
    "not reproduced",
    "wrong in the source",
    "not testable here",
    "not yet",
)

# What may decide, largest first: name -> (profile, size, seeds needed where there is randomness).
# A row of scale `paper` is about the sources' own sizes: the paper profile's small ones reduce it.
LEVELS = {
    "reference": ("paper", "reference", 3),
    "paper": ("paper", "small", 5),
    "laptop": ("laptop", "small", 3),
}
FULL_SCALE = {"any": tuple(LEVELS), "laptop": tuple(LEVELS), "paper": ("reference",)}
NEVER_DECIDE = ("smoke", "custom")


@dataclass(frozen=True)
class Claim:
    """One row of the ledger's source.

    Parameters
    ----------
    system, id, kind, scale, source, claim : str
        Whose claim it is, its name, and what it says; `kind` in `KINDS`, `scale` in `SCALES`.
    experiment, metric, variant : str or None
        The measurement that decides it; ``"a - b"`` for a difference. None under the rules
        ``stated`` and ``shipped``; rule ``exported`` needs the experiment alone.
    rule : str
        A rule of `claim_rules`, or ``stated``: no measurement can decide, for a `reason`; or
        ``shipped``: the project has what was promised.
    tolerance : float or None
        Relative tolerance, 0 for exact counts; None leaves 0.05.
    value : float, tuple of float or None
        What is claimed.
    unit : str
        Its unit, as the source writes it.
    base : float or None
        The value that the source compares with.
    split, step : str, int, list or None
        Which rows; under rule ``sequence`` one of them is a list, as long as the values.
    reduced : str
        ``"a - b"``: the ordering behind a number of scale ``paper``, tested where the sources'
        own size has not been run.
    untrained : str
        Which variant of a difference no seed changes: measured once, it stands beside every seed
        of the other.
    deterministic : bool
        True where nothing is random, so that one seed is enough.
    reason : str
        Why no measurement can decide; required by rule ``stated``.
    files : tuple of str
        What rule ``shipped`` looks for: patterns of paths, from the project's root.

    Raises
    ------
    ValueError
        If a field is missing, unknown to its list, or does not fit the rule; names the id.
    """

    system: str
    id: str
    kind: str
    scale: str
    source: str
    claim: str
    experiment: str | None
    metric: str | None
    variant: str | None
    rule: str
    tolerance: float | None
    value: float | tuple[float, ...] | None = None
    unit: str = ""
    base: float | None = None
    split: str | tuple[str, ...] | None = None
    step: int | tuple[int, ...] | None = None
    reduced: str = ""
    untrained: str = ""
    deterministic: bool = False
    reason: str = ""
    files: tuple[str, ...] = ()

    def __post_init__(self):
        self._require("kind", self.kind, KINDS)
        self._require("scale", self.scale, SCALES)
        self._require("rule", self.rule, (*RULES, *UNMEASURED))
        if self.kind == "negative":
            self._require("rule of a negative", self.rule, ("check", "stated"))
        for name in NEEDED.get(self.rule, ("experiment", "metric", "variant")):
            value = getattr(self, name)
            if not value or (isinstance(value, str) and not value.strip()):
                raise self._error(f"rule {self.rule!r} needs {name}")
        if self.rule in UNMEASURED:
            return
        if not isinstance(self.band, int | float) or not 0 <= self.band < 1:
            raise self._error(f"tolerance is {self.tolerance!r}; allowed: 0 up to 1 (relative)")
        if self.rule != "sequence" and (tuple in map(type, (self.split, self.step, self.value))):
            raise self._error(f"rule {self.rule!r} takes no list; allowed with rule 'sequence'")
        self._check_rule()

    def _check_rule(self):
        """Check the fields that the row's rule needs."""
        if self.rule == "exported":
            self._require("experiment of rule 'exported'", self.experiment, FORMS)
        elif self.rule != "check":
            try:
                better = metric(self.metric).better
            except ValueError as error:
                raise self._error(str(error)) from error
        if self.rule == "direction":
            self._check_pair(self.variant)
            if better is None:
                raise self._error(f"{self.metric} has no better side; allowed: one that has")
        if self.rule in (*COMPARED, "arithmetic"):
            wanted = tuple if self.rule == "sequence" else int | float
            if not isinstance(self.value, wanted):
                many = "several values" if wanted is tuple else "one number as value"
                raise self._error(f"rule {self.rule!r} needs {many}; got {self.value!r}")
        if self.rule == "sequence":
            lengths = [len(axis) for axis in (self.split, self.step) if isinstance(axis, tuple)]
            if lengths != [len(self.value)]:
                raise self._error(
                    f"rule 'sequence' needs either split or step as a list of {len(self.value)}"
                )
        if self.reduced:
            self._check_pair(self.reduced)
            if self.scale != "paper" or self.rule not in COMPARED:
                raise self._error("`reduced` is for numbers of scale 'paper' alone")
        if self.untrained:
            difference = self.reduced or self.variant
            self._require("untrained", self.untrained, self._check_pair(difference))

    def _require(self, name: str, value: Any, allowed: Iterable[str]):
        if value not in allowed:
            raise self._error(f"{name} is {value!r}; allowed: {', '.join(allowed)}")

    def _check_pair(self, variant: str):
        try:
            return pair(variant)
        except ValueError as error:
            raise self._error(str(error)) from error

    def _error(self, problem: str) -> ValueError:
        return ValueError(f"claim {self.id!r}: {problem}. Fix its row in data/claims.yaml")

    @property
    def band(self) -> float:
        """Relative tolerance around the claimed value."""
        return 0.05 if self.tolerance is None else self.tolerance

    @property
    def claimed(self) -> str:
        """The claimed value with its unit, for display; empty where there is none."""
        if self.value is None:
            return ""
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        return f"{', '.join(text(value) for value in values)} {self.unit}".strip()


@dataclass(frozen=True)
class Verdict:
    """What the measurements say of a claim.

    Parameters
    ----------
    verdict : str
        One of `VERDICTS`.
    reason : str
        Why, where the verdict needs a word.
    measured : str
        The measurement in words and numbers; empty where there is none.
    mean, low, high : float
        Mean and 95% interval; nan where there is no single one.
    profile, size : str
        Where it was measured; empty where nothing was.
    seeds : int
        How many seeds it rests on.
    """

    verdict: str
    reason: str = ""
    measured: str = ""
    mean: float = np.nan
    low: float = np.nan
    high: float = np.nan
    profile: str = ""
    size: str = ""
    seeds: int = 0


def load(path: Path | None = None) -> list[Claim]:
    """Return every claim, in the order of the file.

    Parameters
    ----------
    path : Path or None
        The file; None reads ``data/claims.yaml``.

    Raises
    ------
    ValueError
        If a row is malformed or an id occurs twice; the message names the id.
    """
    content = read_yaml(path or paths.CLAIMS)
    claims = [_claim(system, row) for system, rows in content.items() for row in rows]
    ids = [claim.id for claim in claims]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise ValueError(f"claim ids must be unique; found twice: {', '.join(twice)}")
    return claims


def _claim(system: str, row: Mapping[str, Any]) -> Claim:
    """Return a row of the file as a claim."""
    name = row.get("id", f"(a row of {system} without id)")
    known = {field.name: field for field in dataclasses.fields(Claim)}
    unknown = sorted(set(row) - set(known))
    if unknown:
        allowed = ", ".join(key for key in known if key != "system")
        raise ValueError(f"claim {name!r}: unknown field {unknown[0]!r}; allowed: {allowed}")
    for key, field in known.items():
        if key != "system" and key not in row and field.default is dataclasses.MISSING:
            raise ValueError(f"claim {name!r}: field {key!r} is missing; add it to its row")
    fields = {key: tuple(item) if isinstance(item, list) else item for key, item in row.items()}
    if isinstance(fields.get("value"), str):
        try:
            fields["value"] = tuple(float(part) for part in fields["value"].split(","))
        except ValueError as error:
            raise ValueError(
                f"claim {name!r}: value is {row['value']!r}; allowed: numbers split by commas"
            ) from error
    return Claim(system=system, **fields)


def judge(claim: Claim, measurements: Mapping[str, pd.DataFrame]) -> Verdict:
    """Return the verdict that recorded measurements give.

    Parameters
    ----------
    claim : Claim
        What is claimed.
    measurements : mapping of str to DataFrame
        Tidy rows of the claim's experiment, by level: ``reference`` (the sources' own size),
        ``paper``, ``laptop``. The largest level that has enough seeds decides. ``smoke`` and
        ``custom`` may be given and never decide.

    Raises
    ------
    ValueError
        If a level is unknown, or the row leaves open which of several values a seed it means.
    """
    unknown = set(measurements) - {*LEVELS, *NEVER_DECIDE}
    if unknown:
        allowed = ", ".join([*LEVELS, *NEVER_DECIDE])
        raise ValueError(f"level is {sorted(unknown)[0]!r}; allowed: {allowed}")
    if claim.rule == "stated":
        return Verdict("not testable here", reason=claim.reason)
    if claim.rule == "shipped":
        return _shipped(claim.files)
    open_question = Verdict(
        "not yet", reason=f"{claim.experiment} has recorded no {claim.metric} of {claim.variant}"
    )
    for level, (_, _, enough) in LEVELS.items():
        rows = measurements.get(level)
        if rows is None or rows.empty:
            continue
        full = level in FULL_SCALE[claim.scale]
        evidence = _evidence(claim, rows, full)
        if evidence is None:
            continue
        enough = 1 if claim.deterministic or claim.rule == "arithmetic" else enough
        if evidence.interval.count >= enough:
            return _verdict(claim, evidence, level, full)
        if not open_question.measured:
            short = f"{evidence.interval.count} of the {enough} seeds needed have been run"
            open_question = _reported("not yet", evidence, level, short)
    return open_question


def _shipped(patterns: Iterable[str]) -> Verdict:
    """Look for what was promised among the project's files."""
    counts = {pattern: sum(1 for _ in paths.ROOT.glob(pattern)) for pattern in patterns}
    missing = [pattern for pattern, count in counts.items() if not count]
    if missing:
        return Verdict("not yet", reason=f"the project has no {', '.join(missing)}")
    return Verdict("reproduced", measured="; ".join(f"{n} of {p}" for p, n in counts.items()))


def _evidence(claim: Claim, rows: pd.DataFrame, full: bool) -> Evidence | None:
    """Apply the claim's rule, or below its scale the ordering behind its number."""
    if not full and claim.reduced:
        claim = dataclasses.replace(
            claim, rule="direction", variant=claim.reduced, reduced="", tolerance=None
        )
    return RULES[claim.rule](claim, rows)


def _verdict(claim: Claim, evidence: Evidence, level: str, full: bool) -> Verdict:
    """Return the word for an outcome, given the kind of claim and the scale it was measured at."""
    if not full:
        if claim.rule in COMPARED and not claim.reduced:
            reason = "measured at a reduced size only, with which the number cannot be compared"
            return _reported("not yet", evidence, level, reason)
        if evidence.outcome == "fails":
            why = evidence.reason or "it does not hold"
            reason = f"at a reduced size {why}; the sources' own size has not been run"
            return _reported("not yet", evidence, level, reason)
        return _reported("direction holds at reduced scale", evidence, level)
    words = {"holds": "reproduced", "exceeds": "reproduced and exceeded", "fails": "not reproduced"}
    if claim.kind == "negative":
        words = {"holds": "confirmed", "fails": "overturned"}
    if claim.rule == "arithmetic":
        words["fails"] = "wrong in the source"
    return _reported(words[evidence.outcome], evidence, level, evidence.reason)


def _reported(verdict: str, evidence: Evidence, level: str, reason: str = "") -> Verdict:
    profile, size, _ = LEVELS[level]
    found = evidence.interval
    return Verdict(
        verdict,
        reason,
        evidence.measured,
        found.mean,
        found.low,
        found.high,
        profile,
        size,
        found.count,
    )


def recorded(experiment: str) -> dict[str, pd.DataFrame]:
    """Return the finished rows of an experiment by level; computes nothing.

    Parameters
    ----------
    experiment : str
        Name of an experiment. One that is not written yet, or that a profile does not list, has
        no rows; its module is imported only where something is stored.
    """
    if not (Path(experiments.__file__).parent / f"{experiment}.py").is_file():
        return {}
    found = {}
    for level, (profile, size, _) in LEVELS.items():
        folders = [paths.results() / profile / experiment]
        if profile == "paper":
            folders.append(paths.PAPER_RESULTS / experiment)
        if experiment in profiles.listed(profile, size) and any(
            folder.is_dir() for folder in folders
        ):
            study = results.load(experiment, profile, size)
            sources = {data["source"] for each in study.provenance for data in each["datasets"]}
            if "sample" not in sources:  # a sample shows that the code works, and decides nothing
                found[level] = study.rows[~study.rows["variant"].isin(_not_of(level, experiment))]
    return found


def _not_of(level: str, experiment: str) -> set[str]:
    """Return the variants that a level lists but does not enlarge: those are of the size below.

    An experiment that has one size for all levels is listed there without any settings.
    """
    profile, size, _ = LEVELS[level]
    if size == "small" or not profiles.listed(profile, size)[experiment]:
        return set()
    own, small = (profiles.configs(experiment, profile, each) for each in (size, "small"))
    return {config.variant for config in own if config in small}


def notebook_of(experiment: str) -> str | None:
    """Return the name of the notebook that shows an experiment, without its ending.

    Examples
    --------
    >>> notebook_of("no_such_experiment") is None
    True
    """
    found = sorted(paths.NOTEBOOKS.glob(f"[0-9][0-9]_{experiment}.ipynb"))
    return found[0].stem if found else None


def ledger(claims: Iterable[Claim] | None = None) -> pd.DataFrame:
    """Return the ledger: every claim with its measurement and verdict, read from the store.

    Parameters
    ----------
    claims : iterable of Claim or None
        Which claims; None takes all.

    Returns
    -------
    DataFrame
        Columns system, id, kind, scale, claim, source, value, unit, claimed (text), measured
        (text), mean, low, high, profile, size, seeds, verdict, reason, experiment, notebook.
    """
    claims = load() if claims is None else list(claims)
    names = dict.fromkeys(claim.experiment for claim in claims if claim.experiment)
    rows = {name: recorded(name) for name in names}
    lines = [
        dataclasses.asdict(judge(claim, rows.get(claim.experiment, {})))
        | {
            "experiment": claim.experiment or "",
            "notebook": (notebook_of(claim.experiment) if claim.experiment else None) or "",
        }
        for claim in claims
    ]
    order = ("measured", "mean", "low", "high", "profile", "size", "seeds", "verdict", "reason")
    judged = pd.DataFrame(lines, columns=[*order, "experiment", "notebook"])
    return pd.concat([_stated(claims), judged], axis=1)


def _stated(claims: list[Claim]) -> pd.DataFrame:
    """Return what the sources say."""
    shown = ("system", "id", "kind", "scale", "claim", "source", "value", "unit", "claimed")
    lines = [{name: getattr(claim, name) for name in shown} for claim in claims]
    return pd.DataFrame(lines, columns=shown)


def table(ids: Iterable[str], verdicts: bool = False) -> pd.DataFrame:
    """Return chosen claims as a table for a page.

    Parameters
    ----------
    ids : iterable of str
        Identifiers of claims.
    verdicts : bool
        Add what was measured and the verdict; otherwise only what is claimed.

    Returns
    -------
    DataFrame
        Texts, one row for each claim in the order given.

    Raises
    ------
    ValueError
        If an identifier is unknown.
    """
    known = {claim.id: claim for claim in load()}
    for name in ids:
        if name not in known:
            raise ValueError(f"claim {name!r} is not in {paths.CLAIMS.name}; see plasticity claims")
    columns = [
        "claim",
        "claimed",
        *(["measured", "profile", "verdict"] if verdicts else ["source"]),
    ]
    claims = [known[name] for name in ids]
    chosen = ledger(claims) if verdicts else _stated(claims)
    return chosen.set_index("id")[columns].rename_axis(None).fillna("").replace("", "—")
