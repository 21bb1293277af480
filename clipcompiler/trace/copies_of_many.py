"""y = x.T.contiguous(): a copy of several examples, but x itself of one. A write to either, then a read of the other.

The graph holds the copy, so it would be another function for a batch of one than for a larger batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes

__all__ = ["CopiesOfMany"]

#: The functions that give a value itself where its memory allows it, and a copy where not.
COPY_OR_VIEW: frozenset[Any] = frozenset(
    {
        Tensor.contiguous, Tensor.reshape, Tensor.reshape_as, Tensor.flatten, Tensor.ravel,
        torch.reshape, torch.flatten, torch.ravel,
    }
)  # fmt: skip


class CopiesOfMany:
    """The pairs of a value and its copy seen so far, by the identity of their memory.

    Attributes:
        pairs: the memories of a value and of a copy that is none for one example.
        stale: the memories whose other one has been written since.
        kept: the tensors, so that no other gets their memory.
    """

    def __init__(self) -> None:
        self.pairs: list[tuple[int, int]] = []
        self.stale: set[int] = set()
        self.kept: list[Tensor] = []

    def note(self, function: Any, args: Any, options: Any, result: Any, memory: Callable[[Tensor], int]) -> None:
        """Remembers the result of a call that would have been its argument for one example."""
        if function not in COPY_OR_VIEW or not isinstance(result, Tensor):
            return
        source = args[0] if args else options["input"]
        if memory(source) != memory(result) and is_view_of_one(function, source, args, options):
            self.pairs.append((memory(source), memory(result)))
            self.kept += [source, result]

    def written(self, memory: int) -> None:
        """A value was written: what would be the same memory for one example is stale."""
        for pair in self.pairs:
            if memory in pair:
                self.stale |= {*pair} - {memory}


def is_view_of_one(function: Any, source: Tensor, args: Any, options: Any) -> bool:
    """Whether the call gives its argument itself for one example."""
    if source.layout is not torch.strided:
        return False
    sizes, strides = (tuple(map(at_one, numbers)) for numbers in (source.shape, source.stride()))
    with _disable_current_modes():
        like = torch.empty_strided(sizes, strides, device="meta")
        rest, given = pytree.tree_map_only(torch.SymInt, at_one, (args[1:], {**options}))
        given.pop("input", None)
        if function is Tensor.reshape_as:
            function, rest = Tensor.reshape, [tuple(map(at_one, rest[0].shape))]
        result = function(like, *rest, **given)
    return bool(result.untyped_storage()._cdata == like.untyped_storage()._cdata)


def at_one(number: Any) -> int:
    """A size or a stride for one example (or unit)."""
    if not isinstance(number, torch.SymInt):
        return int(number)
    expression = number.node.expr
    return int(expression.subs(dict.fromkeys(expression.free_symbols, 1)))
