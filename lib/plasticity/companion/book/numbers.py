"""Measured numbers for the prose: read from the results store, never typed."""

from functools import cache

import pandas as pd

from plasticity.companion import metrics, profiles, provenance, results, statistics
from plasticity.companion.tables import ABSENT

NOT_SHOWN = ("smoke", "custom")
NOT_MEASURED = "*not measured yet*"


class Numbers:
    """Measured values as text.

    Parameters
    ----------
    profile : str
        Profile of the book; the default of every number.
    """

    def __init__(self, profile: str) -> None:
        self.profile = profile
        self._study = cache(results.load)

    def metric(
        self,
        experiment: str,
        name: str,
        *,
        variant: str | None = None,
        split: str | None = None,
        step: int | None = None,
        profile: str | None = None,
        digits: int = 1,
    ) -> str:
        """Return the mean of a metric over seeds with its 95% interval.

        Parameters
        ----------
        experiment, name : str
            Experiment and metric, such as ``"pnn_refinement"`` and ``"accuracy"``.
        variant, split : str, optional
            Arm and split; may be left out where there is only one.
        step : int, optional
            Step; the last recorded one if left out.
        profile : str, optional
            Profile; the book's own if left out.
        digits : int
            Digits after the decimal point, 0 to 6.

        Returns
        -------
        str
            ``'27.0 % [26.1, 27.9] (3 seeds)'``; ``'*not measured yet*'`` where the store has no
            row, or where the profile never shows results (smoke, custom); ``'—'`` where the
            profile leaves the arm out.

        Raises
        ------
        ValueError
            If the metric or the variant is unknown, or the rows of several variants or splits are
            left.
        """
        metrics.metric(name)
        profile = profile or self.profile
        absent = variant is not None and not _has(experiment, profile, variant)
        if profile in NOT_SHOWN:
            return NOT_MEASURED
        if absent:
            return ABSENT
        rows = self._study(experiment, profile).rows
        for column, wanted in (("metric", name), ("variant", variant), ("split", split)):
            if wanted is not None:
                rows = rows[rows[column] == wanted]
        rows = rows[rows["step"] == (rows["step"].max() if step is None else step)]
        for column in ("variant", "split"):
            if len(choices := sorted(set(rows[column]))) > 1:
                raise ValueError(
                    f"metric({experiment!r}, {name!r}): several {column}s are left; "
                    f"give {column}= one of {', '.join(choices)}"
                )
        return _text(rows, digits) if len(rows) else NOT_MEASURED

    def data(self, experiment: str) -> str:
        """Return, in Markdown, which data the numbers of an experiment were measured on."""
        study = None if self.profile in NOT_SHOWN else self._study(experiment, self.profile)
        return provenance.data_line(study.provenance) if study and study.provenance else ""


def _has(experiment: str, profile: str, variant: str) -> bool:
    """Tell whether a profile has a variant; one that no profile has is an error."""
    listed = {
        name: {config.variant for config in profiles.configs(experiment, name)}
        for name in profiles.names()
        if experiment in profiles.listed(name)
    }
    if not any(variant in variants for variants in listed.values()):
        raise ValueError(f"variant is {variant!r}; no profile has it for {experiment}")
    return variant in listed.get(profile, ())


def _text(rows: pd.DataFrame, digits: int) -> str:
    """Return the mean, unit, interval and number of seeds of one metric's rows."""
    unit = rows["unit"].iloc[0]
    sign = {"percent": "\u00a0%", "ratio": "", "parameters": ""}.get(unit, f"\u00a0{unit}")
    found = statistics.mean_interval(rows["value"].to_numpy())
    mean, low, high = (f"{value:,.{digits}f}" for value in (found.mean, found.low, found.high))
    if found.count == 1:
        return f"{mean}{sign}"
    return f"{mean}{sign} [{low}, {high}] ({found.count} seeds)"
