"""Time growing blocks and events, and count what must not differ; into the results store.

Run it on a quiet machine: ``python benchmarks/foam_speed.py``.
"""

import argparse

from plasticity.companion import profiles, results
from plasticity.companion.configuration import Runtime
from plasticity.findings.foam_speed import goals


def main() -> None:
    """Measure afresh and print each measurement with its goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="laptop", choices=profiles.names())
    profile = parser.parse_args().profile
    study = results.run(
        "foam_speed",
        profiles.configs("foam_speed", profile),
        [0],
        profile=profile,
        fresh=True,
        runtime=Runtime(device="cpu", workers=1),
    )
    print(goals(study.rows).to_string())
    print(study.about())


if __name__ == "__main__":
    main()
