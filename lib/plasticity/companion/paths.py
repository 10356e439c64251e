"""The only place that knows folders.

``PLASTICITY_OUTPUT`` moves everything that is generated (results, checkpoints, figures, executed
notebooks, the book), so that a test run never touches what a reader made. ``PLASTICITY_DATA`` adds
a folder to look for datasets in.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
NOTEBOOKS = ROOT / "notebooks"
PROFILES = NOTEBOOKS / "profiles"
BOOK = ROOT / "book"
CLAIMS = ROOT / "data" / "claims.yaml"
MANIFEST = ROOT / "data" / "manifest.yaml"
MODELS = ROOT / "data" / "models.yaml"
SAMPLES = ROOT / "data" / "samples"
PAPER_RESULTS = ROOT / "data" / "results" / "paper"
RELEASED_CHECKPOINTS = ROOT / "data" / "checkpoints" / "released"


def output_root() -> Path:
    """Return the folder under which everything generated is written."""
    return Path(os.environ.get("PLASTICITY_OUTPUT") or ROOT).resolve()


def data_folders() -> list[Path]:
    """Return the folders searched for datasets, in order."""
    named = os.environ.get("PLASTICITY_DATA")
    return [*([Path(named).resolve()] if named else []), ROOT / "data" / "raw"]


def results() -> Path:
    """Return the folder of the results store."""
    return output_root() / "data" / "results"


def checkpoints() -> Path:
    """Return the folder of checkpoints made on this machine."""
    return output_root() / "data" / "checkpoints"


def tokens() -> Path:
    """Return the folder of the tokens of corpora, which are found again there."""
    return output_root() / "data" / "tokens"


def figures(profile: str) -> Path:
    """Return the folder of the figures drawn at a profile."""
    return output_root() / "figures" / profile


def executed_notebooks(profile: str) -> Path:
    """Return the folder of the notebooks executed at a profile."""
    return output_root() / "build" / "notebooks" / profile


def book_stage() -> Path:
    """Return the folder in which the book's sources are gathered."""
    return output_root() / "book" / "_stage"


def book_html() -> Path:
    """Return the folder of the rendered book."""
    return output_root() / "book" / "_build" / "html"
