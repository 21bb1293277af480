"""Plan, machine, N → how many examples at a time are predicted to be fastest.

    seconds(c) = ⌈N/c⌉ · (overhead of a chunk) + N · (fresh memory) + N · (traffic that misses the cache)

A chunk reads every parameter in the forward, the backward and the norms, and adds to every sum once more; each op is
called again. In return its tensors are small: the allocator hands memory out again that the system need not clear, and
what one op writes the next finds in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sympy
from torch import Tensor, fx

from clipcompiler.axes.analyse import Axes
from clipcompiler.derive.by_unit import MEMBERS, UNITS
from clipcompiler.plan.machine import NOMINAL_UNIT, Machine
from clipcompiler.plan.plan import Plan
from clipcompiler.trace.traced import N

__all__ = ["Sizes", "fastest_chunk", "sizes_of"]

#: How often a chunk reads or writes a parameter's bytes, and an op is called for one of the forward.
PASSES, CALLS = 10, 4
#: How often the bytes of an activation are written anew (itself and its cotangent), and read.
WRITTEN, READ = 2, 4
#: The share of a step that must be gained for less than all examples at a time.
WORTH = 0.04
ITEMSIZE = 4


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a step holds.

    Attributes:
        tensors: the bytes that one example adds to each value of the forward, and to each gradient kept.
        parameters: the bytes of the trained parameters.
        ops: the number of ops that are called, one of a recurrent layer at every position.
        flops: those of an ordinary step, for one example.
    """

    tensors: tuple[int, ...]
    parameters: int
    ops: int
    flops: float

    @property
    def activations(self) -> int:
        """The bytes of one example."""
        return sum(self.tensors)

    def seconds(self, chunk: int, examples: int, machine: Machine) -> float:
        """The predicted time that depends on the examples at a time."""
        each = PASSES * self.parameters / machine.bytes + CALLS * self.ops * machine.call
        fresh = sum(t for t in self.tensors if chunk * t > machine.reused) * WRITTEN / machine.fresh
        held = 2 * chunk * self.activations
        missed = max(0.0, 1 - machine.cache / held) if held else 0.0
        return math.ceil(examples / chunk) * each + examples * (
            fresh + missed * self.activations * READ / machine.bytes
        )


def fastest_chunk(sizes: Sizes, examples: int, machine: Machine) -> int:
    """Of N, N/2, N/4, … 1 the one of the least predicted time; N where that gains less than ``WORTH`` of a step."""
    if examples < 2:
        return examples
    ways = list(dict.fromkeys(math.ceil(examples / 2**k) for k in range(examples.bit_length() + 1)))
    best = min(ways, key=lambda chunk: sizes.seconds(chunk, examples, machine))
    gained = sizes.seconds(examples, examples, machine) - sizes.seconds(best, examples, machine)
    return best if gained > WORTH * examples * sizes.flops / machine.flops else examples


def sizes_of(plan: Plan) -> Sizes:
    """The sizes of a plan's step."""
    axes, usual = plan.derived.axes, plan.derived.axes.traced.usual
    forward = activations(axes)
    formed = [choice for choice in plan.choices if choice.instantiates and choice.terms]
    kept = [ITEMSIZE * one(choice.terms[0].each.size, usual) for choice in formed]
    trained = [p.shape for p in axes.traced.parameters.values() if p.trainable]
    calls = sum(calls_of(axes, node) for node in axes.traced.ops())
    return Sizes((*forward, *kept), ITEMSIZE * sum(map(math.prod, trained)), calls, float(one(plan.ordinary, usual)))


def calls_of(axes: Axes, node: fx.Node) -> int:
    """How many kernels an op calls, where it is no view: a recurrent layer about 12 at each of its positions."""
    if is_view(node.target):
        return 0
    layer = str(node.target).startswith("clipcompiler.") and "_layer" in str(node.target)
    return 12 * one(axes.traced.shape(node, 0)[0], axes.traced.usual) if layer else 1


def activations(axes: Axes) -> list[int]:
    """The bytes that one example adds to the value of each op; views have none."""
    found = []
    for node in axes.traced.ops():
        if axes.carries(node) and not is_view(node.target):
            value = node.meta.get("val")
            values = value if isinstance(value, (list, tuple)) else [value]
            tensors = [v for v in values if isinstance(v, Tensor)]
            found += [
                one(sympy.prod([axes.traced.extent(x) for x in v.shape]), axes.traced.usual) * v.element_size()
                for v in tensors
            ]
    return found


def one(size: Any, usual: Mapping[sympy.Symbol, int]) -> int:
    """An extent for one example, of the usual lengths."""
    return int(sympy.sympify(size).subs({N: 1, UNITS: 1, MEMBERS: NOMINAL_UNIT, **usual}))


def is_view(target: Any) -> bool:
    """Whether an op returns its argument under other dims."""
    schema = getattr(target, "_schema", None)
    return schema is None or any(r.alias_info is not None for r in schema.returns)
