"""Time Hebbian learning beside gensim's word2vec; the figures go to the results store.

Run it on a quiet machine: ``python benchmarks/substrate_pairs.py``. gensim is an optional peer
(``pip install 'plasticity[peers]'``); without it the other kinds are timed all the same.
"""

import argparse
import importlib.util

from plasticity.companion import profiles, results
from plasticity.companion.configuration import Runtime


def main() -> None:
    """Measure afresh, and print the median of each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="laptop", choices=profiles.names())
    arguments = parser.parse_args()
    configs = profiles.configs("substrate_pairs", arguments.profile)
    if importlib.util.find_spec("gensim") is None:
        print("gensim is not installed: word2vec is left out")
        configs = [config for config in configs if config.kind != "word2vec"]
    study = results.run(
        "substrate_pairs",
        configs,
        [0],
        profile=arguments.profile,
        fresh=True,
        runtime=Runtime(workers=1),
    )
    rows = study.rows[study.rows["metric"] == "pairs_per_second"]
    medians = rows.groupby(["variant", "split"], sort=False)["value"].median()
    print((medians / 1e6).round(2).rename("million pairs a second").to_string())
    print(study.about())


if __name__ == "__main__":
    main()
