"""Affine maps and matrix products."""

import math
from collections.abc import Sequence
from typing import Any

from clipcompiler.dsl import Equation, Operand, aten, equation, index_family, indices, op_rule, out

n, s, i, o = indices("n *s i o")  # the leading dim, further positions, input feature, output feature
b, j, k = indices("*b j k")  # batch dims (broadcast), column, summed


@op_rule(aten.linear.default)
def linear(input: Operand, weight: Operand, bias: Any = 0) -> Equation:
    """y[n,s,o] = Σ_i x[n,s,i] W[o,i] + b[o]"""
    return equation(out[n, s, o], input[n, s, i] * weight[o, i] + (bias[o] if bias else 0))


@op_rule(aten.mm.default)
def mm(self: Operand, mat2: Operand) -> Equation:
    """y[i,j] = Σ_k a[i,k] b[k,j]"""
    return equation(out[i, j], self[i, k] * mat2[k, j])


@op_rule(aten.bmm.default)
def bmm(self: Operand, mat2: Operand) -> Equation:
    """y[n,i,j] = Σ_k a[n,i,k] b[n,k,j]"""
    return equation(out[n, i, j], self[n, i, k] * mat2[n, k, j])


@op_rule(aten.dot.default, aten.mv.default, aten.matmul.default)
def matmul(self: Operand, other: Operand) -> Equation:
    """y[b,i,j] = Σ_k a[b,i,k] c[b,k,j], b broadcast; a vector has no i, or no j"""
    left = self[k] if self.ndim == 1 else self[b, i, k]
    right = other[k] if other.ndim == 1 else other[b, k, j]
    rows = [] if self.ndim == 1 else [i]
    columns = [] if other.ndim == 1 else [j]
    return equation(out[(b, *rows, *columns)], left * right)


@op_rule(aten.addmm.default, aten.baddbmm.default)
def addmm(self: Operand, mat1: Operand, mat2: Operand, *, beta: float = 1, alpha: float = 1) -> Equation:
    """y[n,i,j] = β d[n,i,j] + α Σ_k a[n,i,k] b[n,k,j], d broadcast; addmm has no n"""
    product = mat1[n, i, k] * mat2[n, k, j]
    letters = (n, i, j)[3 - mat1.ndim :]
    addend = self[letters[mat1.ndim - self.ndim :]]
    return equation(out[letters], beta * addend + alpha * product)


@op_rule(aten.addmv.default)
def addmv(self: Operand, mat: Operand, vec: Operand, *, beta: float = 1, alpha: float = 1) -> Equation:
    """y[i] = β d[i] + α Σ_k a[i,k] v[k], d broadcast"""
    return equation(out[i,], beta * self[(i,)[1 - self.ndim :]] + alpha * mat[i, k] * vec[k])


@op_rule(aten.addr.default)
def addr(self: Operand, vec1: Operand, vec2: Operand, *, beta: float = 1, alpha: float = 1) -> Equation:
    """y[i,j] = β d[i,j] + α u[i] v[j], d broadcast"""
    return equation(out[i, j], beta * self[(i, j)[2 - self.ndim :]] + alpha * vec1[i] * vec2[j])


@op_rule(aten.addbmm.default)
def addbmm(self: Operand, batch1: Operand, batch2: Operand, *, beta: float = 1, alpha: float = 1) -> Equation:
    """y[i,j] = β d[i,j] + α Σ_nk a[n,i,k] c[n,k,j], d broadcast"""
    product = batch1[n, i, k] * batch2[n, k, j]
    return equation(out[i, j], beta * self[(i, j)[2 - self.ndim :]] + alpha * product)


@op_rule(aten.inner.default)
def inner(self: Operand, other: Operand) -> Equation:
    """y[s,t] = Σ_k a[s,k] c[t,k]"""
    if not self.ndim or not other.ndim:
        raise ValueError("a product with a number is no inner product: write a * c")
    (rows,), (columns,) = indices("*s"), indices("*t")
    return equation(
        out[(*rows.letters(self.ndim - 1), *columns.letters(other.ndim - 1))], self[rows, k] * other[columns, k]
    )


@op_rule(aten.tensordot.default)
def tensordot(self: Operand, other: Operand, dims_self: Sequence[int], dims_other: Sequence[int]) -> Equation:
    """y[s,t] = Σ_k a[s,k] c[t,k], k the dims named"""
    summed = index_family("k", len(dims_self))
    left = dict(zip((d % self.ndim for d in dims_self), summed, strict=True))
    right = dict(zip((d % other.ndim for d in dims_other), summed, strict=True))
    rows = [left.get(d, r) for d, r in enumerate(index_family("s", self.ndim))]
    columns = [right.get(d, c) for d, c in enumerate(index_family("t", other.ndim))]
    letters = [x for x in (*rows, *columns) if x not in summed]
    return equation(out[tuple(letters)], self[tuple(rows)] * other[tuple(columns)])


@op_rule(aten.bilinear.default)
def bilinear(input1: Operand, input2: Operand, weight: Operand, bias: Any = 0) -> Equation:
    """y[n,s,o] = Σ_jk x[n,s,j] W[o,j,k] z[n,s,k] + b[o]"""
    product = input1[n, s, j] * weight[o, j, k] * input2[n, s, k]
    return equation(out[n, s, o], product + (bias[o] if bias else 0))


@op_rule(aten.einsum.default)
def einsum(equation_text: str, tensors: list[Operand], *, path: Any = None) -> Equation:
    """y = Σ Π_m x_m, with the letters of the einsum's own text"""
    left, _, right = equation_text.replace(" ", "").partition("->")
    letters = {c: indices(c)[0] for c in sorted(set(equation_text)) if c.isalpha()}
    terms = [spread(part, letters) for part in left.split(",")]
    if not right and "->" not in equation_text:
        once = sorted(c for c in letters if left.count(c) == 1)
        right = ("..." if "..." in left else "") + "".join(once)
    value = math.prod(x[term] for x, term in zip(tensors, terms, strict=True))
    return equation(out[spread(right, letters)], value)


def spread(text: str, letters: dict[str, Any]) -> tuple[Any, ...]:
    """``"...ij"`` → (b, i, j), b standing for the dots."""
    head, dots, tail = text.partition("...")
    return (*(letters[c] for c in head), *([b] if dots else []), *(letters[c] for c in tail))
