"""Time how long digits take to learn, compilation included; the figures go to the results store.

Run it on a quiet machine: ``python benchmarks/substrate_mnist.py``. Every seed is measured in a
process of its own that finds nothing compiled.
"""

import argparse
import os
import subprocess
import sys
import tempfile

from plasticity.companion import profiles, results
from plasticity.companion.configuration import Runtime

VARIANTS = ("filters", "filters_small")


def measure(profile: str, seed: int):
    """Measure one seed afresh, in this process."""
    configs = [c for c in profiles.configs("substrate_mnist", profile) if c.variant in VARIANTS]
    options = {"profile": profile, "fresh": True, "runtime": Runtime(workers=1)}
    for config in configs:
        study = results.run("substrate_mnist", [config], [seed], **options)
        own = study.rows.set_index(["split", "metric"])["value"]
        names = [("test", "accuracy"), ("packed", "kilobytes"), ("train", "seconds")]
        found = [f"{name} {own[split, name]:.2f}" for split, name in names]
        print(config.variant, f"seed {seed}:", ", ".join(found), flush=True)


def main() -> None:
    """Start a process for each seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="laptop", choices=profiles.names())
    parser.add_argument("--seed", type=int, help="measure this one here")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        measure(arguments.profile, arguments.seed)
        return
    for seed in profiles.seeds(arguments.profile):
        with tempfile.TemporaryDirectory() as nothing:
            command = [sys.executable, __file__, "--profile", arguments.profile, f"--seed={seed}"]
            environment = {**os.environ, "NUMBA_CACHE_DIR": nothing}
            subprocess.run(command, env=environment, check=True)


if __name__ == "__main__":
    main()
