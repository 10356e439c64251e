"""Time how long digits take to learn, compilation included; the figures go to the results store.

Run it on a quiet machine: ``python benchmarks/substrate_mnist.py``. Every seed of every learner is
measured in a process of its own that finds nothing compiled.
"""

import argparse
import os
import subprocess
import sys
import tempfile

from plasticity.companion import profiles, results
from plasticity.companion.configuration import Runtime

VARIANTS = ("filters", "filters_small")


def measure(profile: str, variant: str, seed: int) -> None:
    """Measure one learner afresh, in this process."""
    [config] = [c for c in profiles.configs("substrate_mnist", profile) if c.variant == variant]
    options = {"profile": profile, "fresh": True, "runtime": Runtime(workers=1)}
    rows = results.run("substrate_mnist", [config], [seed], **options).rows
    own = rows.set_index(["split", "metric"])["value"]
    names = [("test", "accuracy"), ("packed", "kilobytes"), ("train", "seconds")]
    figures = [f"{name} {own[split, name]:.2f}" for split, name in names]
    print(f"{variant}, seed {seed}: {', '.join(figures)}", flush=True)


def main() -> None:
    """Start a process for each learner and seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="laptop", choices=profiles.names())
    parser.add_argument("--here", nargs=2, metavar=("VARIANT", "SEED"), help="measure one here")
    arguments = parser.parse_args()
    if arguments.here:
        variant, seed = arguments.here
        measure(arguments.profile, variant, int(seed))
        return
    for variant in VARIANTS:
        for seed in profiles.seeds(arguments.profile):
            with tempfile.TemporaryDirectory() as nothing:
                command = [sys.executable, __file__, "--profile", arguments.profile, "--here"]
                environment = {**os.environ, "NUMBA_CACHE_DIR": nothing}
                subprocess.run([*command, variant, str(seed)], env=environment, check=True)


if __name__ == "__main__":
    main()
