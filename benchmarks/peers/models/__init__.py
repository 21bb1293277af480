"""The models that are measured, by name. They are plain modules: nothing here knows about clipping."""

from __future__ import annotations

from benchmarks.peers.models.case import Case
from benchmarks.peers.models.images import image_cases
from benchmarks.peers.models.language import language_cases
from benchmarks.peers.models.paper import paper_cases

__all__ = ["NAMES", "PAPER", "Case", "cases"]


def cases(*, small: bool = False) -> dict[str, Case]:
    """Every model by name, the paper's seven first; ``small`` for tests."""
    return {**paper_cases(small), **language_cases(small), **image_cases(small)}


#: The paper's seven, and all.
PAPER, NAMES = tuple(paper_cases(False)), tuple(cases())
