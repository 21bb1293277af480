"""Ops that write values to places given by indices."""

from typing import Any

from clipcompiler.dsl import Form, Operand, aligned, aten, op_rule


@op_rule(
    aten.scatter.src, aten.scatter.value, aten.scatter.reduce, aten.scatter.value_reduce, aten.scatter_add.default,
    aten.scatter_reduce.two,
)  # fmt: skip
def scatter(self: Operand, dim: int, index: Operand, source: Any, *options: Any, **more: Any) -> Form:
    """y[n, index[n,s]] = z[n,s], or is added z[n,s], along one dim; x elsewhere"""
    operands = [self, index, *([source] if isinstance(source, Operand) else [])]
    if not self.ndim or not index.ndim:
        return aligned(*([] for _ in range(self.ndim)))
    whole = [d != dim % self.ndim and all(o.shape[d] == self.shape[d] for o in operands) for d in range(self.ndim)]
    return aligned(*([(o, d) for o in operands] if whole[d] else [] for d in range(self.ndim)))


@op_rule(
    aten.index_add.default, aten.index_copy.default, aten.index_fill.int_Scalar, aten.index_fill.int_Tensor,
    aten.index_reduce.default,
)  # fmt: skip
def index_add(self: Operand, dim: int, index: Operand, source: Any, *options: Any, **more: Any) -> Form:
    """y[n, index[s]] = z[n,s], or is added z[n,s], along one dim; x elsewhere"""
    operands = [self, *([source] if isinstance(source, Operand) and source.ndim else [])]
    gone = dim % max(self.ndim, 1)
    return aligned(*([] if d == gone else [(o, d) for o in operands] for d in range(self.ndim)))


@op_rule(aten.index_put.default)
def index_put(self: Operand, indices: list[Operand | None], values: Operand, accumulate: bool = False) -> Form:
    """y[i[s], j[s], t] = z[s, t], or is added z[s, t]; x elsewhere: the indexed dims are written anywhere"""
    given = [d for d, i in enumerate(indices) if i is not None]
    rank = max(i.ndim for i in indices if i is not None)
    front = given[0] if given == list(range(given[0], given[-1] + 1)) else 0
    kept = [d for d in range(self.ndim) if d not in given]
    shape: list[int | None] = [*kept[:front], *([None] * rank), *kept[front:]]
    rows: list[list[tuple[Operand, int]]] = [[(self, d)] if d in kept else [] for d in range(self.ndim)]
    for d, into in zip(range(1, values.ndim + 1), reversed(shape), strict=False):
        if into is not None and values.shape[-d] == self.shape[into]:
            rows[into].append((values, values.ndim - d))
    return aligned(*rows)


@op_rule(aten.masked_scatter.default)
def masked_scatter(self: Operand, mask: Operand, source: Operand) -> Form:
    """y[s] = the next element of z where the mask is true, x[s] elsewhere: which one depends on all places before"""
    return aligned(*([] for _ in range(max(self.ndim, mask.ndim))))


@op_rule(aten.diagonal_scatter.default)
def diagonal_scatter(self: Operand, src: Operand, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Form:
    """y[s, i, i + offset] = z[s,i], x elsewhere"""
    square = {dim1 % self.ndim, dim2 % self.ndim}
    rest = [d for d in range(self.ndim) if d not in square]
    return aligned(*([] if d in square else [(self, d), (src, rest.index(d))] for d in range(self.ndim)))
