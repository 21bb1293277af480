"""g of W.t() as y[n,s,o] = Σ_i x[n,s,i] W.t()[o,i]  →  g of W: the same network, its output letters in W's order.

Where the value of a use is another value's elements in another order, or repeated, the gradient of the other value
is a network too: g_W[i,o] = g_V[o,i] where V = Wᵀ, and g_w[o] = Σ_h g_V[h,o] where V[h,o] = w[o].
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, fx

from clipcompiler.algebra import Letter
from clipcompiler.derive.derived import Term

__all__ = ["COPYING", "PERMUTING", "REGROUPING", "substitute"]

aten = torch.ops.aten
#: The same elements in the same places.
COPYING = (aten.alias.default, aten.clone.default, aten.contiguous.default, aten.lift_fresh_copy.default)
#: The same, perhaps in another dtype.
CASTING = (
    aten._to_copy.default, aten.to.dtype, aten.to.dtype_layout, aten.to.device, aten.to.other, aten.type_as.default,
)  # fmt: skip
#: The same elements in the same order, under other dims.
REGROUPING = (
    aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.view_copy.default,
    aten.flatten.using_ints, aten.unflatten.int, aten.view_as.default, aten.reshape_as.default,
    aten.unsqueeze.default, aten.squeeze.dim, aten.squeeze.dims,
)  # fmt: skip
#: The dims in another order.
PERMUTING = (
    aten.t.default, aten.numpy_T.default, aten.transpose.int, aten.permute.default, aten.permute_copy.default,
    aten.transpose_copy.int, aten.movedim.int, aten.movedim.intlist, aten.swapaxes.default, aten.swapdims.default,
)  # fmt: skip


def substitute(term: Term) -> Term:
    """A term of the gradient of the value that an op uses → one of the value whose elements that value repeats.

    It goes back through every op that only permutes, regroups, copies or repeats; where there is none, or where the
    rows that are looked up are repeated ones, the term comes back as it is.
    """
    source, letters = term.source, term.letters
    while (found := before(source, letters)) is not None:
        source, letters = found
    if source is term.source or term.network.determined - {*letters}:
        return term
    network = replace(term.network, output=(term.network.output[0], *letters))
    return replace(term, network=network, root=source)


def before(node: fx.Node, letters: tuple[Letter, ...]) -> tuple[fx.Node, tuple[Letter, ...]] | None:
    """The operand of an op that moves elements only, and the letters of its gradient in the order of its elements."""
    if node.op != "call_function" or not node.args or not isinstance(node.args[0], fx.Node):
        return None
    operand = node.args[0]
    if not (is_real(node) and is_real(operand)) or node.meta["val"].numel() == 0:
        return None
    if node.target in (*COPYING, *CASTING, *REGROUPING):
        return operand, letters
    groups = grouped(letters, node.meta["val"].shape)
    if groups is None:
        return None
    if node.target in PERMUTING:
        own: list[tuple[Letter, ...]] = [()] * len(groups)
        for dim, group in zip(order_of(node), groups, strict=True):
            own[dim] = group
        return operand, tuple(letter for group in own for letter in group)
    if node.target is aten.expand.default:
        return operand, unrepeated(groups, operand.meta["val"].shape)
    return None


def is_real(node: fx.Node) -> bool:
    """Whether a value is one tensor of real numbers."""
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point()


def order_of(node: fx.Node) -> list[int]:
    """For each dim of the output of a permutation the dim of its operand, read off extents that are all different."""
    operand = node.args[0]
    assert isinstance(operand, fx.Node)
    rank = operand.meta["val"].dim()
    told_apart = torch.empty([2 + dim for dim in range(rank)], device="meta")
    return [size - 2 for size in node.target(told_apart, *node.args[1:], **node.kwargs).shape]  # type: ignore[operator]


def grouped(letters: tuple[Letter, ...], shape: torch.Size) -> list[tuple[Letter, ...]] | None:
    """The letters dim by dim: those of a dim multiply to its extent. ``None`` where a letter runs over several dims.

    A letter of extent 1 may go with any dim; where an extent is a length of the batch the dims are not told apart.
    """
    if any(isinstance(size, torch.SymInt) for size in shape):
        return None
    groups: list[tuple[Letter, ...]] = []
    rest = list(letters)
    for size in shape:
        group: list[Letter] = []
        while rest and math.prod(int(x.extent) for x in group) < size:
            group.append(rest.pop(0))
        if math.prod(int(x.extent) for x in group) != size:
            return None
        groups.append(tuple(group))
    return None if any(x.extent != 1 for x in rest) else groups


def unrepeated(groups: list[tuple[Letter, ...]], shape: torch.Size) -> tuple[Letter, ...]:
    """The letters of the dims that were there before an ``expand``; the others are summed."""
    behind = groups[len(groups) - len(shape) :]
    extents = (math.prod(int(x.extent) for x in group) for group in behind)
    kept = (group for group, size, extent in zip(behind, shape, extents, strict=True) if size == extent)
    return tuple(letter for group in kept for letter in group)
