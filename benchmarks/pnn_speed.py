"""Time PNN beside a BERT of as many layers as it has steps; the figures go to the results store.

Run it on a quiet machine: ``python benchmarks/pnn_speed.py``.
"""

import argparse

from plasticity.companion import profiles, results
from plasticity.companion.configuration import Runtime
from plasticity.findings.pnn_speed import goals


def main() -> None:
    """Measure afresh and print each comparison with its goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="laptop", choices=profiles.names())
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument(
        "--size", default="small", choices=profiles.SIZES, help="reference: half precision, a GPU"
    )
    parser.add_argument("--runs", type=int, default=1, help="how often all is measured")
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error(f"--runs is {arguments.runs}; allowed: 1 or more")
    study = results.run(
        "pnn_speed",
        profiles.configs("pnn_speed", arguments.profile, arguments.size),
        list(range(arguments.runs)),
        profile=arguments.profile,
        size=arguments.size,
        fresh=True,
        runtime=Runtime(device=arguments.device, workers=1),
    )
    print(goals(study.rows).to_string())
    print(study.about())


if __name__ == "__main__":
    main()
