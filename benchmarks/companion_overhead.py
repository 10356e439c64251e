"""Measure what the companion itself costs, beside its goals; the times go to the results store.

Run it on a quiet machine: ``python benchmarks/companion_overhead.py``.
"""

import argparse

from plasticity.companion import profiles, results
from plasticity.companion.configuration import Runtime

GOALS = {
    "lookup_seconds": 0.05,
    "first_lookup_seconds": 0.05,
    "notebook_overhead_seconds": 3.0,
}


def main() -> None:
    """Measure afresh and print each time with its goal and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="laptop", choices=profiles.names())
    profile = parser.parse_args().profile
    study = results.run(
        "companion_overhead",
        profiles.configs("companion_overhead", profile),
        [0],
        profile=profile,
        fresh=True,
        runtime=Runtime(workers=1),
    )
    print(f"{'metric':28}{'median':>10}{'worst':>10}{'goal':>8}{'median/goal':>13}")
    for metric, goal in GOALS.items():
        values = study.rows.loc[study.rows["metric"] == metric, "value"]
        median, worst = values.median(), values.max()
        print(f"{metric:28}{median:10.4f}{worst:10.4f}{goal:8.2f}{median / goal:13.2f}")
    print(study.about())


if __name__ == "__main__":
    main()
