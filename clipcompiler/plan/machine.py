"""The price of flops, bytes, fresh memory and calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import sympy

__all__ = ["NOMINAL_BATCH", "NOMINAL_UNIT", "Machine"]

#: The batch size at which orders are compared, where fewer examples are not run at a time. Costs are linear in it, but
#: for the price of a call.
NOMINAL_BATCH = 128
#: The examples of one unit, where units are known at call time alone.
NOMINAL_UNIT = 8


@dataclass(frozen=True, slots=True)
class Machine:
    """A device by what it takes to compute, to move and to allocate. The defaults are one core of a server of 2024.

    Attributes:
        flops: floating-point operations a second in a matrix product.
        bytes: bytes a second to and from memory.
        call: seconds for one more op in the program.
        fresh: bytes a second that are written for the first time into memory that the system hands out anew.
        reused: bytes of the largest tensor whose memory the allocator keeps and hands out again; others are fresh.
        cache: bytes that stay in the cache between one op and the next.
        fused: the share of ``flops`` at which kernels of ours multiply; 0 where they do not run.
        name: what was measured, and when; "nominal" where nothing was.
        examples: those that are run at a time, for which costs are compared.
        lengths: the usual lengths of a batch, at which costs are compared.
    """

    flops: float = 5e10
    bytes: float = 1e10
    call: float = 5e-6
    fresh: float = 2.5e9
    reused: float = 32 * 2**20
    cache: float = 16 * 2**20
    fused: float = 0.0
    name: str = "nominal"
    examples: int = NOMINAL_BATCH
    lengths: Mapping[sympy.Symbol, int] = field(default_factory=dict, compare=False)

    @property
    def kept(self) -> float:
        """Bytes of freed memory that the allocator keeps in all.

        glibc keeps twice those of one tensor at its end (mallopt(3)), and what lies before a tensor that is still held:
        measured, three quarters as much again.
        """
        return 3.5 * self.reused

    def seconds(self, flops: float, bytes: float, calls: float, fused: float = 0.0) -> float:
        """The predicted time of some work; ``fused`` are flops of kernels, which read while they multiply."""
        paid = flops / self.flops + bytes / self.bytes + calls * self.call
        return paid + fused / (self.flops * self.fused) if fused else paid
