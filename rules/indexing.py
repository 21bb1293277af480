"""Ops that look values up by index."""

from typing import Any

from clipcompiler.dsl import Form, Operand, aligned, at, aten, equation, index_family, indices, mixes, op_rule, out

s, d = indices("*s d")


@op_rule(aten.index.Tensor)
def index(self: Operand, indices: list[Operand | None]) -> Form:
    """y[s, t] = x[i[s], j[s], t]: the indexed dims are read where the indices say, the others run along"""
    given = [d for d, i in enumerate(indices) if i is not None]
    tensors = [i for i in indices if i is not None]
    if len(given) == 1:
        return rows_of(self, given[0], tensors[0])
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


def rows_of(self: Operand, dim: int, index: Operand) -> Form:
    """y[a,s,b] = x[a, i[s], b]"""
    before, behind = index_family("a", dim), index_family("b", self.ndim - dim - 1)
    places = index_family("s", index.ndim)
    row = at(index[places], wraps=True)
    return equation(out[(*before, *places, *behind)], self[(*before, row, *behind)])


@op_rule(aten.embedding.default)
def embedding(
    weight: Operand, indices: Operand, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Form:
    """y[s,d] = W[i[s], d];  the row of the padding gets no gradient"""
    if scale_grad_by_freq:
        raise ValueError("scale_grad_by_freq divides a gradient by how often the whole batch has the token")
    skipped = padding_idx if padding_idx >= 0 else None
    return equation(out[s, d], weight[at(indices[s], skipped=skipped), d])


@op_rule(aten.index_select.default)
def index_select(self: Operand, dim: int, index: Operand) -> Form:
    """y[a,s,b] = x[a, i[s], b] along one dim"""
    return rows_of(self, dim % self.ndim, index)


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
