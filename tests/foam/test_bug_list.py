"""The 80 bugs of the specification: each has a test that names it, or a reason why it has none.

What does not apply to this library:

35  8-bit blocks that shift when columns are appended: no old parameter ever changes its shape, and
    newborns keep their moments in 32 bits (`test_quantised`).
"""

import re
import subprocess
import sys
from pathlib import Path

NOT_HERE = {35}


def test_every_bug_is_named_by_a_test_or_explained():
    named = set()
    for path in Path(__file__).parent.rglob("test_*.py"):
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.M):
            for numbers in re.findall(r"_bugs?((?:_\d+)+)", name):
                named |= {int(number) for number in numbers.strip("_").split("_")}
    assert named.isdisjoint(NOT_HERE)
    assert named | NOT_HERE == set(range(1, 81)), sorted(set(range(1, 81)) - named - NOT_HERE)


def test_importing_the_package_loads_nothing_heavy():
    heavy = "{'torch', 'transformers', 'numba', 'pandas'}"
    code = f"import sys, plasticity, plasticity.foam; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
