"""How far the clipped sum of a batch moves when one unit of it changes."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Sensitivity"]


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """The Euclidean norm, over all trainable parameters together, of the largest move of the clipped sum.

    Attributes:
        add_remove: when one unit (an example, or the group of examples that is clipped together) is added or
            taken away.
        replace_one: when one unit is replaced by another: twice that.
        count: by how much a count that is published beside the sum moves; 0 where there is none.
        norm: in what norm the sum is measured.
    """

    add_remove: float
    replace_one: float
    count: float = 0.0
    norm: str = "L2 over all trainable parameters"

    def __str__(self) -> str:
        text = f"{self.norm}: {self.add_remove:g} under add/remove, {self.replace_one:g} under replace-one"
        return text + (f"; the count of examples below the bound: {self.count:g}" if self.count else "")
