"""Time the substrate beside scipy, in memory and on disk; the figures go to the results store.

Run it on a quiet machine: ``python benchmarks/substrate_scale.py``. The largest graph of the paper
profile takes 22 gigabytes of disk while it runs, and is left out where less than 30 are free.
"""

import argparse

from plasticity.companion import profiles, results
from plasticity.companion.configuration import Runtime


def main() -> None:
    """Measure afresh, and print the median of each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="laptop", choices=profiles.names())
    parser.add_argument("--variant", action="append", help="only this one; may be repeated")
    arguments = parser.parse_args()
    configs = profiles.configs("substrate_scale", arguments.profile)
    if arguments.variant:
        configs = [config for config in configs if config.variant in arguments.variant]
    study = results.run(
        "substrate_scale",
        configs,
        [0],
        profile=arguments.profile,
        fresh=True,
        runtime=Runtime(workers=1),
    )
    columns = ["variant", "split", "metric"]
    print(study.rows.groupby(columns, sort=False)["value"].median().to_string())
    print(study.about())


if __name__ == "__main__":
    main()
