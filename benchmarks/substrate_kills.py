"""Kill a store and a brain at random moments; what was found goes to the results store.

Run it with ``python benchmarks/substrate_kills.py --profile paper``: a kill takes a second or two.
"""

import argparse

from plasticity.companion import profiles, results
from plasticity.companion.configuration import Runtime
from plasticity.findings import substrate_kills as findings


def main() -> None:
    """Kill afresh, and print how many lives lost nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="laptop", choices=profiles.names())
    arguments = parser.parse_args()
    study = results.run(
        "substrate_kills",
        profiles.configs("substrate_kills", arguments.profile),
        [0],
        profile=arguments.profile,
        fresh=True,
        runtime=Runtime(workers=1),
    )
    print(findings.lives(study.rows).to_string())
    print(study.about())


if __name__ == "__main__":
    main()
