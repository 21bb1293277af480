"""Ops that move elements without changing them."""

from collections.abc import Sequence
from typing import Any

import sympy

from clipcompiler.dsl import Form, Operand, aligned, aten, expands, indices, mixes, moves, op_rule, pointwise, regroups

(s,) = indices("*s")


def kept(input: Operand, without: Sequence[int]) -> list[int]:
    """The dims of ``input`` but for those in ``without``."""
    gone = {d % input.ndim for d in without} if input.ndim else set()
    return [d for d in range(input.ndim) if d not in gone]


@op_rule(aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.view_copy.default)
def view(self: Operand, size: Any) -> Form:
    """y = x under other dims, the elements in the same order"""
    return regroups(self)


@op_rule(aten.flatten.using_ints, aten.unflatten.int)
def flatten(self: Operand, *dims: Any, **options: Any) -> Form:
    """y = x with neighbouring dims merged, or one dim split"""
    return regroups(self)


@op_rule(aten.permute.default, aten.permute_copy.default)
def permute(self: Operand, dims: Sequence[int]) -> Form:
    """y[…] = x[…], dim j of y being dim dims[j] of x"""
    return moves(self, [d % self.ndim for d in dims])


@op_rule(aten.transpose.int, aten.transpose_copy.int)
def transpose(self: Operand, dim0: int, dim1: int) -> Form:
    """y = x with two dims exchanged"""
    order = list(range(self.ndim))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return moves(self, order)


@op_rule(aten.t.default, aten.numpy_T.default)
def t(self: Operand) -> Form:
    """y[j,i] = x[i,j]"""
    return moves(self, list(reversed(range(self.ndim))))


@op_rule(aten.movedim.intlist, aten.movedim.int)
def movedim(self: Operand, source: Any, destination: Any) -> Form:
    """y = x with dims moved to other places"""
    sources = [d % self.ndim for d in ([source] if isinstance(source, int) else source)]
    targets = [d % self.ndim for d in ([destination] if isinstance(destination, int) else destination)]
    rest = iter(kept(self, sources))
    placed = dict(zip(targets, sources, strict=True))
    return moves(self, [placed[j] if j in placed else next(rest) for j in range(self.ndim)])


@op_rule(aten.unsqueeze.default)
def unsqueeze(self: Operand, dim: int) -> Form:
    """y = x with a new dim of extent 1"""
    order: list[int | None] = list(range(self.ndim))
    order.insert(dim % (self.ndim + 1), None)
    return moves(self, order)


@op_rule(aten.squeeze.dim, aten.squeeze.dims)
def squeeze(self: Operand, dim: Any) -> Form:
    """y = x without the dims named, where their extent is 1"""
    dims = [dim] if isinstance(dim, int) else dim
    return moves(self, kept(self, [d for d in dims if self.ndim and self.shape[d] == 1]))


@op_rule(aten.select.int)
def select(self: Operand, dim: int, index: Any) -> Form:
    """y[s] = x[s, index]"""
    return aligned(*([(self, d)] for d in kept(self, [dim])))


@op_rule(aten.slice.Tensor)
def slice(self: Operand, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Form:
    """y[s] = x[start + step·s] along one dim"""
    whole = start in (None, 0) and step == 1 and (end is None or is_end(end, self.shape[dim]))
    return moves(self, range(self.ndim)) if whole else mixes(self, [dim])


def is_end(end: Any, size: Any) -> bool:
    """Whether a slice that ends at ``end`` reaches the end of a dim of ``size``."""
    return bool(end == size) or (isinstance(end, int) and (end >= 2**31 or (isinstance(size, int) and end >= size)))


@op_rule(aten.narrow.default, aten.narrow_copy.default)
def narrow(self: Operand, dim: int, start: Any, length: Any) -> Form:
    """y[s] = x[start + s] along one dim"""
    whole = start == 0 and length == self.shape[dim]
    return moves(self, range(self.ndim)) if whole else mixes(self, [dim])


@op_rule(
    aten.split.Tensor, aten.split_with_sizes.default, aten.chunk.default, aten.tensor_split.sections,
    aten.unsafe_split.Tensor, aten.split_copy.Tensor,
)  # fmt: skip
def split(self: Operand, sizes: Any, dim: int = 0) -> Form:
    """y_m = x from one place to another along one dim"""
    return mixes(self, [dim])


@op_rule(aten.unbind.int)
def unbind(self: Operand, dim: int = 0) -> Form:
    """y_m[s] = x[s, m]"""
    return moves(self, kept(self, [dim]))


@op_rule(aten.cat.default)
def cat(tensors: list[Operand], dim: int = 0) -> Form:
    """y = x₁, x₂, … one after another along one dim"""
    full = [x for x in tensors if x.shape != (0,)]
    return mixes(full[0], [dim], *full[1:])


@op_rule(aten.stack.default)
def stack(tensors: list[Operand], dim: int = 0) -> Form:
    """y[s, m] = x_m[s]"""
    form = mixes(tensors[0], [], *tensors[1:])
    rows = list(form.dims)
    rows.insert(dim % (tensors[0].ndim + 1), ())
    return type(form)(tuple(rows))


@op_rule(aten.flip.default)
def flip(self: Operand, dims: Sequence[int]) -> Form:
    """y[s] = x[−s] along dims"""
    return mixes(self, dims)


@op_rule(aten.fliplr.default)
def fliplr(self: Operand) -> Form:
    """y[s] = x[−s] along dim 1"""
    return mixes(self, [1])


@op_rule(aten.roll.default)
def roll(self: Operand, shifts: Any, dims: Sequence[int] = ()) -> Form:
    """y[s] = x[s − shift] along dims, around the end; without dims over all elements"""
    return mixes(self, dims or range(self.ndim))


@op_rule(aten.expand.default)
def expand(self: Operand, size: Sequence[Any], *, implicit: bool = False) -> Form:
    """y[…, s] = x[s], repeated along new dims and dims of extent 1"""
    lead = len(size) - self.ndim
    return expands(self, [self.shape[d - lead] if v == -1 else v for d, v in enumerate(size)])


@op_rule(aten.broadcast_to.default)
def broadcast_to(self: Operand, size: Sequence[Any]) -> Form:
    """y[…, s] = x[s], repeated along new dims and dims of extent 1"""
    form: Form = expand.function(self, size)
    return form


@op_rule(aten.repeat.default)
def repeat(self: Operand, repeats: Sequence[Any]) -> Form:
    """y[r, s] = x[s], each dim of y the product of a repetition r and a dim of x"""
    lead = len(repeats) - self.ndim
    form = expands(self, [1] * lead + list(self.shape))
    rows = [
        e if r == 1 else sympy.Tuple(sympy.Symbol(f"r{d}"), e)
        for d, (r, e) in enumerate(zip(repeats, form.index, strict=True))
    ]
    extents = tuple((sympy.Symbol(f"r{d}"), r) for d, r in enumerate(repeats) if r != 1)
    return type(form)(tuple(rows), form.value, extents, (), True)


@op_rule(aten.tile.default)
def tile(self: Operand, dims: Sequence[Any]) -> Form:
    """y[r, s] = x[s], as repeat; dims not named are repeated once"""
    form: Form = repeat.function(self, [1] * (self.ndim - len(dims)) + list(dims))
    return form


@op_rule(aten.repeat_interleave.self_int)
def repeat_interleave(self: Operand, repeats: int, dim: int | None = None, **options: Any) -> Form:
    """y[s·r + q] = x[s] for q < r, along one dim"""
    return aligned([]) if dim is None else mixes(self, [dim])


@op_rule(aten.pixel_shuffle.default, aten.pixel_unshuffle.default)
def pixel_shuffle(self: Operand, factor: int) -> Form:
    """y = x with channels turned into places, or back"""
    return mixes(self, range(self.ndim - 3, self.ndim))


@op_rule(aten.channel_shuffle.default)
def channel_shuffle(self: Operand, groups: int) -> Form:
    """y[n,cg,s] = x[n,gc,s]"""
    return mixes(self, [1])


@op_rule(aten.broadcast_tensors.default)
def broadcast_tensors(tensors: list[Operand]) -> Form:
    """y_m[s] = x_m[s], each repeated to the dims of all"""
    return pointwise(None, *tensors)


@op_rule(aten.diagonal.default)
def diagonal(self: Operand, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Form:
    """y[s,i] = x[…, i, …, i + offset, …]"""
    return aligned(*([(self, d)] for d in kept(self, [dim1, dim2])), [])


@op_rule(aten.diag_embed.default)
def diag_embed(self: Operand, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Form:
    """y[…, i, …, i + offset, …] = x[s,i], 0 elsewhere"""
    rank = self.ndim + 1
    rest = iter(range(self.ndim - 1))
    square = {dim1 % rank, dim2 % rank}
    return aligned(*([] if d in square else [(self, next(rest))] for d in range(rank)))


@op_rule(aten.rot90.default)
def rot90(self: Operand, k: int = 1, dims: Sequence[int] = (0, 1)) -> Form:
    """y = x turned by quarters in the plane of two dims"""
    return mixes(self, dims)
