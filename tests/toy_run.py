"""Run the toy experiment in a process of its own: ``python toy_run.py '{"seeds": [0], ...}'``.

The folder of the experiment is added when this file is loaded, so that a pool's processes, which
load it too, know the experiment as well.
"""

import json
import os
import resource
import sys
from pathlib import Path

import plasticity.experiments
from plasticity.companion import paths, results
from plasticity.companion.configuration import Runtime, experiment_module

plasticity.experiments.__path__.append(os.environ["TOY_FOLDER"])
paths.PROFILES = Path(os.environ["TOY_PROFILES"])


def main():
    options = json.loads(sys.argv[1])
    if limit := options.get("largest_file"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    toy = experiment_module("toy")
    study = results.run(
        "toy",
        [toy.Config.from_dict(settings) for settings in options.get("configs", [{}])],
        options["seeds"],
        profile=options.get("profile", "laptop"),
        fresh=options.get("fresh", False),
        runtime=Runtime(workers=options.get("workers", 1)),
    )
    print(study.rows.to_json(orient="records"))


if __name__ == "__main__":
    main()
