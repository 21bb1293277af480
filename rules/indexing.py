"""Ops that look values up by index."""

from typing import Any

from clipcompiler.dsl import Form, Operand, aligned, aten, mixes, op_rule


@op_rule(aten.index.Tensor)
def index(self: Operand, indices: list[Operand | None]) -> Form:
    """y[s, t] = x[i[s], j[s], t]: the indexed dims are read anywhere, the others run along"""
    given = [d for d, i in enumerate(indices) if i is not None]
    tensors = [i for i in indices if i is not None]
    rank = max(i.ndim for i in tensors)
    looked_up: list[list[tuple[Operand, int]]] = [[] for _ in range(rank)]
    for i in tensors:
        for d in range(i.ndim):
            if i.shape[d] != 1:
                looked_up[rank - i.ndim + d].append((i, d))
    kept: list[list[tuple[Operand, int]]] = [[(self, d)] for d in range(self.ndim) if d not in given]
    front = given[0] if given == list(range(given[0], given[-1] + 1)) else 0
    return aligned(*kept[:front], *looked_up, *kept[front:])


@op_rule(aten.embedding.default)
def embedding(weight: Operand, indices: Operand, *options: Any) -> Form:
    """y[s,d] = W[i[s], d]"""
    return aligned(*([(indices, d)] for d in range(indices.ndim)), [(weight, 1)])


@op_rule(aten.index_select.default)
def index_select(self: Operand, dim: int, index: Operand) -> Form:
    """y[t, s] = x[i[t], s] along one dim"""
    gone = dim % self.ndim
    return aligned(*([(index, 0)] if d == gone else [(self, d)] for d in range(self.ndim)))


@op_rule(aten.one_hot.default)
def one_hot(self: Operand, num_classes: int = -1) -> Form:
    """y[s,c] = 1 where i[s] = c, else 0"""
    return aligned(*([(self, d)] for d in range(self.ndim)), [])


@op_rule(aten.tril.default, aten.triu.default)
def triangle(self: Operand, diagonal: int = 0) -> Form:
    """y[i,j] = x[i,j] on one side of a diagonal of the last two dims, 0 on the other"""
    return mixes(self, [-2, -1])


@op_rule(aten.unfold.default)
def windows(self: Operand, dimension: int, size: int, step: int) -> Form:
    """y[u,…,k] = x[step·u + k] along one dim"""
    gone = dimension % self.ndim
    return aligned(*([] if d == gone else [(self, d)] for d in range(self.ndim)), [])


@op_rule(aten.im2col.default)
def im2col(self: Operand, *options: Any) -> Form:
    """y[n,ck,u] = x[n, c, stride·u + dilation·k − padding]"""
    return aligned([], []) if self.ndim == 3 else aligned([(self, 0)], [], [])


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


@op_rule(aten.index_add.default, aten.index_copy.default, aten.index_fill.int_Scalar, aten.index_fill.int_Tensor)
def index_add(self: Operand, dim: int, index: Operand, source: Any, *, alpha: float = 1) -> Form:
    """y[n, index[s]] = z[n,s], or is added z[n,s], along one dim; x elsewhere"""
    operands = [self, *([source] if isinstance(source, Operand) and source.ndim else [])]
    gone = dim % max(self.ndim, 1)
    return aligned(*([] if d == gone else [(o, d) for o in operands] for d in range(self.ndim)))


@op_rule(aten.isin.Tensor_Tensor)
def isin(elements: Operand, test_elements: Operand, **options: Any) -> Form:
    """y[s] = whether x[s] is among the elements of z"""
    return mixes(elements, [])


@op_rule(aten.bucketize.Tensor)
def bucketize(self: Operand, boundaries: Operand, **options: Any) -> Form:
    """y[s] = the number of boundaries below x[s]"""
    return mixes(self, [])


@op_rule(aten.searchsorted.Tensor)
def searchsorted(sorted_sequence: Operand, self: Operand, **options: Any) -> Form:
    """y[n,s] = the number of elements of z[n,:] below x[n,s]; z may have no n"""
    if sorted_sequence.ndim == 1 or self.ndim == 0:
        return mixes(self, [])
    batch = [[(self, d), (sorted_sequence, d)] for d in range(self.ndim - 1)]
    return aligned(*batch, [(self, self.ndim - 1)])
