"""Plan, machine, N → how many examples at a time are predicted to be fastest.

    seconds(c) = ⌈N/c⌉ · (overhead of a chunk + what it holds and the allocator gave back)
               + N · (memory of large tensors + traffic that misses the cache)

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
import torch
from torch import Tensor, fx

from clipcompiler.axes.analyse import Axes
from clipcompiler.derive.by_unit import MEMBERS, UNITS
from clipcompiler.plan.machine import NOMINAL_UNIT, Machine
from clipcompiler.plan.plan import Plan
from clipcompiler.trace.traced import N

__all__ = ["Sizes", "fastest_chunk", "sizes_of"]

#: How often a chunk reads or writes the bytes of a trained parameter, of another, and calls an op of the forward.
PASSES, READS, CALLS = 7, 4, 10
#: The kernels that a convolution calls: it orders its input and its weights anew.
CONVOLVING = 8
#: How often the bytes of an activation are written anew (itself and its cotangent), and read where no cache has them.
WRITTEN, READ = 2, 1
#: The share of the memory above ``Machine.kept`` that the allocator gives back: it gives all, or nothing where anything
#: lies above it.
GIVEN_BACK = 0.4
#: The share of a step that must be gained for less than all examples at a time; and by which fewer than are fastest may
#: take longer: they hold less, and the products of fewer rows find more of them in the cache, which is not priced.
WORTH, EVEN = 0.04, 0.003
ITEMSIZE = 4


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a step holds.

    Attributes:
        tensors: the bytes that one example adds to each value of the forward, and to each gradient kept.
        parameters: the bytes of the trained parameters.
        ops: the number of kernels that are called in the forward, those of a recurrent layer at every position.
        flops: those of an ordinary step, for one example.
        frozen: the bytes of the other parameters.
        peak: the bytes that one example adds to the peak of a step; 0 where it is not known.
    """

    tensors: tuple[int, ...]
    parameters: int
    ops: int
    flops: float
    frozen: int = 0
    peak: int = 0

    @property
    def activations(self) -> int:
        """The bytes of one example."""
        return sum(self.tensors)

    def seconds(self, chunk: int, examples: int, machine: Machine) -> float:
        """The predicted time that depends on the examples at a time."""
        passes = PASSES * self.parameters + READS * self.frozen
        each = passes / machine.bytes + CALLS * self.ops * machine.call
        large = sum(t for t in self.tensors if chunk * t > machine.reused)
        small = max(0, (self.peak or self.activations) - large)
        each += GIVEN_BACK * max(0.0, chunk * small - machine.kept) / machine.fresh
        held = 2 * chunk * self.activations
        missed = max(0.0, 1 - machine.cache / held) if held else 0.0
        return math.ceil(examples / chunk) * each + examples * (
            WRITTEN * large / machine.fresh + missed * self.activations * READ / machine.bytes
        )


def fastest_chunk(sizes: Sizes, examples: int, machine: Machine) -> int:
    """The least of N, N/2, N/3, … 1 whose predicted time is the least, or ``EVEN``; N where ``WORTH`` is not gained."""
    if examples < 2:
        return examples
    seconds = {
        chunk: sizes.seconds(chunk, examples, machine)
        for chunk in {math.ceil(examples / parts) for parts in range(1, examples + 1)}
    }
    least, step = min(seconds.values()), examples * sizes.flops / machine.flops
    best = min(chunk for chunk, time in seconds.items() if time <= least + EVEN * step)
    return best if seconds[examples] - seconds[best] > WORTH * step else examples


def sizes_of(plan: Plan) -> Sizes:
    """The sizes of a plan's step."""
    axes, usual = plan.derived.axes, plan.derived.axes.traced.usual
    forward = activations(axes)
    formed = [choice for choice in plan.choices if choice.instantiates and choice.terms]
    kept = [ITEMSIZE * one(choice.terms[0].each.size, usual) for choice in formed]
    sizes = {True: 0, False: 0}
    for placeholder, p in axes.traced.parameters.items():
        if p.trainable or not is_looked_up(axes, placeholder):
            sizes[p.trainable] += ITEMSIZE * math.prod(p.shape)
    calls = sum(calls_of(axes, node) for node in axes.traced.ops())
    return Sizes((*forward, *kept), sizes[True], calls, float(one(plan.ordinary, usual)), sizes[False])


def is_looked_up(axes: Axes, placeholder: str) -> bool:
    """Whether a parameter is a table alone: of it a chunk reads the rows of its own tokens."""
    users = [user for node in axes.traced.graph.nodes if node.name == placeholder for user in node.users]
    return all(user.target is torch.ops.aten.embedding.default for user in users)


def calls_of(axes: Axes, node: fx.Node) -> int:
    """How many kernels an op calls, where it is no view: a recurrent layer about 12 at each of its positions."""
    if is_view(node.target):
        return 0
    name = str(node.target)
    if name.startswith("clipcompiler.") and "_layer" in name:
        return 12 * one(axes.traced.shape(node, 0)[0], axes.traced.usual)
    return CONVOLVING if "conv" in name else 1


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
