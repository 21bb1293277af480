"""Stage 4, plan: ``Derived`` → ``Plan``: for every parameter one contraction order, with its predicted cost."""

from clipcompiler.plan.choice import Choice, Order
from clipcompiler.plan.choose import STRATEGIES, plan, single
from clipcompiler.plan.chunk import fastest_chunk, sizes_of
from clipcompiler.plan.decisions import Decision, Piece
from clipcompiler.plan.machine import Machine
from clipcompiler.plan.measure import machine_of
from clipcompiler.plan.plan import Plan

__all__ = [
    "STRATEGIES",
    "Choice",
    "Decision",
    "Machine",
    "Order",
    "Piece",
    "Plan",
    "fastest_chunk",
    "machine_of",
    "plan",
    "single",
    "sizes_of",
]
