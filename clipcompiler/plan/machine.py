"""The price of flops, bytes and calls."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["NOMINAL_BATCH", "NOMINAL_UNIT", "Machine"]

#: The batch size at which orders are compared. Costs are linear in it, but for the price of a call.
NOMINAL_BATCH = 128
#: The examples of one unit, where units are known at call time alone.
NOMINAL_UNIT = 8


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine by three numbers, of which only the ratios decide a plan.

    Attributes:
        flops: floating-point operations a second in a matrix product.
        bytes: bytes a second to and from memory.
        call: seconds for one more op in the program.
    """

    flops: float = 5e10
    bytes: float = 1e10
    call: float = 5e-6

    def seconds(self, flops: float, bytes: float, calls: int) -> float:
        """The predicted time of some work."""
        return flops / self.flops + bytes / self.bytes + calls * self.call
