"""Score ARC here and by lm-evaluation-harness, item by item; the figures go to the results store.

lm-eval is an optional peer (``pip install 'plasticity[peers]'``); without it, or without the
model's weights, the check is left out and says so.
"""

import argparse

from plasticity.companion import models, profiles, results
from plasticity.companion.configuration import Runtime
from plasticity.experiments import foam_arc_harness


def main() -> None:
    """Measure afresh, and print on how many items the two agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="laptop", choices=profiles.names())
    arguments = parser.parse_args()
    configs = profiles.configs("foam_arc_harness", arguments.profile)
    if not foam_arc_harness.installed():
        print("lm-eval is not installed: its scores are left out")
        return
    if not all(models.available(config.model) for config in configs):
        print("the weights are not reachable (plasticity data): the scores are left out")
        return
    study = results.run(
        "foam_arc_harness",
        configs,
        [0],
        profile=arguments.profile,
        fresh=True,
        runtime=Runtime(workers=1),
    )
    print(study.rows.pivot(index="metric", columns="split", values="value").to_string())
    print(study.about())


if __name__ == "__main__":
    main()
