"""Ops that copy values: to another dtype or layout, out of the gradient's way, or into a part of another value."""

from typing import Any

from clipcompiler.dsl import Form, Operand, aligned, aten, copies, expands, mixes, op_rule


@op_rule(
    aten.detach.default, aten._to_copy.default, aten.clone.default, aten.contiguous.default, aten.alias.default,
    aten.lift_fresh_copy.default,
)  # fmt: skip
def copy(self: Operand, *options: Any, **more: Any) -> Form:
    """y = x, in another dtype or layout, or (detach) without its gradient"""
    return copies(self)


@op_rule(aten.copy.default, aten.fill.Tensor)
def overwrite(self: Operand, src: Operand, non_blocking: bool = False) -> Form:
    """y[…, s] = z[s], repeated to the dims of x, which is not read"""
    return expands(src, self.shape)


@op_rule(aten.slice_scatter.default)
def slice_scatter(self: Operand, src: Operand, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Form:
    """y[s] = z[t] where s = start + step·t along one dim, x[s] elsewhere"""
    whole = src.shape == self.shape
    return mixes(self, [] if whole else [dim], src)


@op_rule(aten.select_scatter.default)
def select_scatter(self: Operand, src: Operand, dim: int, index: Any) -> Form:
    """y[s] = z where the place along one dim is the index, x[s] elsewhere"""
    gone = dim % self.ndim
    shorter = [d for d in range(self.ndim) if d != gone]
    return aligned(*([] if d == gone else [(self, d), (src, shorter.index(d))] for d in range(self.ndim)))
