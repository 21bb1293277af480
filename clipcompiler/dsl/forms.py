"""What a rule can say of an op besides an equation: how its dims correspond."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from clipcompiler.dsl.operand import Absent, Extent, Operand

__all__ = [
    "Aligned",
    "Created",
    "Regrouped",
    "Source",
    "aligned",
    "broadcast_sources",
    "copies",
    "created",
    "mixes",
    "moves",
    "reduces",
    "regroups",
]

#: One dim of one operand, by the operand's name.
Source = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Aligned:
    """Dim j of every output is, place by place, the dims in ``dims[j]``; every dim not named is mixed.

    Attributes:
        dims: for each dim of the output, the operand dims it runs along with.
        pointwise: the op acts on each element alone; its derivative for an operand is elementwise too.
        sizes: the arguments that are numbers are sizes, and may contain the batch size.
        moves: every element of the output is an element of the only operand.
        lookups: the dims of operands that are read at the places which another operand, an index, holds.
    """

    dims: tuple[tuple[Source, ...], ...]
    pointwise: bool = False
    sizes: bool = False
    moves: bool = False
    lookups: tuple[tuple[Source, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Regrouped:
    """The same elements in the same order, under other dims: view, reshape, flatten, unflatten."""

    operand: str


@dataclass(frozen=True, slots=True)
class Created:
    """A value that reads no tensor's elements: zeros, full, arange.

    Attributes:
        sizes: the arguments that contain the batch size are extents of the output, and do not enter its elements.
        places: element s is the number s.
    """

    sizes: bool = True
    places: bool = False


def wrap(dim: int, ndim: int) -> int:
    """A dim counted from the left, also where it was given from the right."""
    return dim + ndim if dim < 0 else dim


def aligned(
    *dims: Sequence[tuple[Operand, int]],
    sizes: bool = False,
    moves: bool = False,
    lookups: Sequence[tuple[Operand, int, Operand]] = (),
) -> Aligned:
    """Output dim j runs along with each ``(operand, dim)`` of ``dims[j]``; all other dims are mixed.

    ``lookups`` are (operand, dim, index): that dim is read at the places that the elements of ``index`` name, at an
    element of the output that runs along with the index.
    """
    rows = tuple(tuple((o.name, wrap(d, o.ndim)) for o, d in row) for row in dims)
    looked_up = tuple(((o.name, wrap(d, o.ndim)), index.name) for o, d, index in lookups)
    return Aligned(rows, sizes=sizes, moves=moves, lookups=looked_up)


def mixes(input: Operand, over: Sequence[int], *others: Operand | Absent) -> Aligned:
    """An op that keeps the dims of ``input`` and reads along those in ``over``: softmax, cumsum, pad.

    ``others`` are operands of the same dims as ``input``.
    """
    mixed = {wrap(d, input.ndim) for d in over}
    operands = [input, *(o for o in others if isinstance(o, Operand))]
    return aligned(*([] if d in mixed else [(o, d) for o in operands] for d in range(input.ndim)))


def reduces(input: Operand, over: Sequence[int] | None, keepdim: bool = False) -> Aligned:
    """An op that sums, averages or picks along ``over`` (``None``: along every dim) and drops those dims."""
    gone = set(range(input.ndim)) if not over else {wrap(d, input.ndim) for d in over}
    rows = ([] if d in gone else [(input, d)] for d in range(input.ndim) if keepdim or d not in gone)
    return aligned(*rows)


def moves(input: Operand, order: Sequence[int | None]) -> Aligned:
    """Output dim j is dim ``order[j]`` of ``input``; ``None`` is a new dim."""
    return aligned(*([] if d is None else [(input, d)] for d in order), sizes=True, moves=True)


def copies(input: Operand) -> Aligned:
    """The same elements in the same places, as another tensor: of another dtype or layout, or without a gradient."""
    return replace(moves(input, range(input.ndim)), pointwise=True, sizes=False)


def regroups(input: Operand) -> Regrouped:
    """The elements of ``input``, in their order, under the dims of the output."""
    return Regrouped(input.name)


def created(*, sizes: bool = True, places: bool = False) -> Created:
    """A value made from sizes alone; ``sizes=False`` where its elements depend on the sizes too.

    ``places=True`` where element s is the number s, as of ``arange(S)``.
    """
    return Created(sizes, places)


def broadcast_sources(operands: Sequence[Operand]) -> tuple[tuple[Source, ...], ...]:
    """The dims of operands that broadcast against each other, aligned from the right."""
    ndim = max((o.ndim for o in operands), default=0)
    rows: list[list[Source]] = [[] for _ in range(ndim)]
    for o in operands:
        for d, size in enumerate(o.shape):
            if not is_one(size):
                rows[ndim - o.ndim + d].append((o.name, d))
    return tuple(tuple(row) for row in rows)


def is_one(size: Extent) -> bool:
    """Whether a dim has the number 1 as its extent, and broadcasts."""
    return bool(size == 1)
