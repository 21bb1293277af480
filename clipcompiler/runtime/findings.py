"""What an audit returns."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Audit", "Finding"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The worst that one search found.

    Attributes:
        search: its name.
        share: the contribution, as a share of C (of 2C where an example was replaced).
        bound: what the share is to be held against: 1 and the rounding.
        example: the example in question; −1 where nothing was tried.
        trial: what was done to it.
        trials: how many were tried.
        refused: how many of them the step, or the model itself, refused.
    """

    search: str
    share: float
    bound: float
    example: int
    trial: str
    trials: int
    refused: int

    @property
    def passed(self) -> bool:
        """Whether the share is within its bound."""
        return self.share <= self.bound


@dataclass(frozen=True, slots=True)
class Audit:
    """The largest contribution that a search found, as a share of what is allowed: ``float(audit)``.

    ``print(audit)`` is a table with one line a search.

    Attributes:
        findings: the worst of each search.
        sensitivity: C, the most that one example may contribute.
    """

    findings: tuple[Finding, ...]
    sensitivity: float

    @property
    def found(self) -> Finding:
        """The largest finding; of those beyond their bounds, where there are any."""
        return max(self.findings, key=lambda f: (not f.passed, f.share))

    @property
    def worst(self) -> float:
        """The largest contribution found, as a share of C."""
        return self.found.share

    @property
    def bound(self) -> float:
        """What ``worst`` is to be held against."""
        return self.found.bound

    @property
    def trials(self) -> int:
        """How many contributions were looked at."""
        return sum(f.trials for f in self.findings)

    @property
    def passed(self) -> bool:
        """Whether every search stayed within its bound."""
        return all(f.passed for f in self.findings)

    def __float__(self) -> float:
        return self.worst

    def __str__(self) -> str:
        head = ("search", "trials", "refused", "share of C", "bound", "example", "trial")
        rows = [head]
        for f in self.findings:
            share, bound = f"{f.share:.8g}", f"{f.bound:.8g}"
            rows.append((f.search, str(f.trials), str(f.refused), share, bound, str(f.example), f.trial))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        lines.insert(1, "─" * max(map(len, lines)))
        verdict = "passed" if self.passed else "VIOLATED"
        share = f"{self.worst:.8g} C against {self.bound:.8g} C"
        return "\n".join([*lines, f"{verdict}: {share}, by {self.found.search}, C = {self.sensitivity:g}"])
