"""Ops that look values up by index."""

from typing import Any

from clipcompiler.dsl import Form, Operand, aligned, aten, mixes, op_rule


@op_rule(aten.index.Tensor)
def index(self: Operand, indices: list[Operand | None]) -> Form:
    """y[s, t] = x[i[s], j[s], t]: the indexed dims are read where the indices say, the others run along"""
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
    lookups = [(self, d, i) for d, i in enumerate(indices) if i is not None]
    return aligned(*kept[:front], *looked_up, *kept[front:], lookups=lookups)


@op_rule(aten.embedding.default)
def embedding(weight: Operand, indices: Operand, *options: Any) -> Form:
    """y[s,d] = W[i[s], d]"""
    return aligned(*([(indices, d)] for d in range(indices.ndim)), [(weight, 1)], lookups=[(weight, 0, indices)])


@op_rule(aten.index_select.default)
def index_select(self: Operand, dim: int, index: Operand) -> Form:
    """y[t, s] = x[i[t], s] along one dim"""
    gone = dim % self.ndim
    rows = ([(index, 0)] if d == gone else [(self, d)] for d in range(self.ndim))
    return aligned(*rows, lookups=[(self, gone, index)])


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
