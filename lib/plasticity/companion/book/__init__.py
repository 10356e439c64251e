"""The book: executed notebooks, prose and generated pages, assembled by Jupyter Book.

``stage(profile)`` gathers everything the book is made of in one folder; ``build(profile)`` also
renders it. From a shell: ``python -m plasticity.companion.book build --profile laptop``.
"""

from plasticity.companion.book.chapters import Chapter, NotExecuted
from plasticity.companion.book.rendering import BuildFailed, build
from plasticity.companion.book.staging import stage

__all__ = ["BuildFailed", "Chapter", "NotExecuted", "build", "stage"]
