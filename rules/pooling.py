"""Pooling, padding, interpolation: each reads neighbours in the last dims of one channel of one example."""

from collections.abc import Sequence
from typing import Any

from clipcompiler.dsl import Form, Operand, aligned, aten, mixes, op_rule


@op_rule(
    aten.max_pool1d.default, aten.avg_pool1d.default, aten.adaptive_avg_pool1d.default,
    aten.adaptive_max_pool1d.default, aten.max_pool1d_with_indices.default,
    aten.upsample_linear1d.vec, aten.upsample_nearest1d.vec, aten._upsample_nearest_exact1d.vec,
)  # fmt: skip
def pool1d(input: Operand, *options: Any, **more: Any) -> Form:
    """y[n,c,u] = max or mean or interpolation of x[n,c,·] about u"""
    return mixes(input, [-1])


@op_rule(
    aten.max_pool2d.default, aten.max_pool2d_with_indices.default, aten.avg_pool2d.default,
    aten.adaptive_avg_pool2d.default, aten.adaptive_max_pool2d.default, aten._adaptive_avg_pool2d.default,
    aten.upsample_bilinear2d.vec, aten.upsample_nearest2d.vec, aten.upsample_bicubic2d.vec,
    aten._upsample_bilinear2d_aa.vec, aten._upsample_bicubic2d_aa.vec, aten._upsample_nearest_exact2d.vec,
)  # fmt: skip
def pool2d(input: Operand, *options: Any, **more: Any) -> Form:
    """y[n,c,u,v] = max or mean or interpolation of x[n,c,·,·] about (u,v)"""
    return mixes(input, [-2, -1])


@op_rule(
    aten.max_pool3d.default, aten.max_pool3d_with_indices.default, aten.avg_pool3d.default,
    aten.adaptive_avg_pool3d.default, aten.adaptive_max_pool3d.default,
    aten.upsample_trilinear3d.vec, aten.upsample_nearest3d.vec, aten._upsample_nearest_exact3d.vec,
)  # fmt: skip
def pool3d(input: Operand, *options: Any, **more: Any) -> Form:
    """y[n,c,u,v,w] = max or mean or interpolation of x[n,c,·,·,·] about (u,v,w)"""
    return mixes(input, [-3, -2, -1])


@op_rule(aten.pad.default, aten.constant_pad_nd.default)
def pad(self: Operand, pad: Sequence[Any], *options: Any) -> Form:
    """y[n,s] = x[n, s − front], and a number, a mirror image or the other end outside; last dims first"""
    touched = [-1 - d for d in range(len(pad) // 2) if pad[2 * d] != 0 or pad[2 * d + 1] != 0]
    return mixes(self, touched)


@op_rule(aten.max_unpool2d.default)
def unpool2d(self: Operand, indices: Operand, output_size: Sequence[Any]) -> Form:
    """y[n,c,index[n,c,u]] = x[n,c,u], 0 elsewhere"""
    return mixes(self, [-2, -1], indices)


@op_rule(aten.max_unpool3d.default)
def unpool3d(self: Operand, indices: Operand, output_size: Sequence[Any], stride: Any, padding: Any) -> Form:
    """y[n,c,index[n,c,u]] = x[n,c,u], 0 elsewhere"""
    return mixes(self, [-3, -2, -1], indices)


@op_rule(aten.col2im.default)
def col2im(self: Operand, *options: Any) -> Form:
    """y[n, c, stride·u + dilation·k − padding] += x[n,ck,u]"""
    return aligned([], [], []) if self.ndim == 2 else aligned([(self, 0)], [], [], [])


@op_rule(aten.grid_sampler.default)
def grid_sampler(input: Operand, grid: Operand, *options: Any) -> Form:
    """y[n,c,u] = x[n,c,·] interpolated at the place g[n,u,:]"""
    return aligned([(input, 0), (grid, 0)], [(input, 1)], *([(grid, d)] for d in range(1, grid.ndim - 1)))


@op_rule(aten.affine_grid_generator.default)
def affine_grid(theta: Operand, size: Sequence[Any], align_corners: bool) -> Form:
    """y[n,u,:] = θ[n,:,:] (u, 1)"""
    return aligned([(theta, 0)], *([] for _ in range(len(size) - 1)), sizes=True)
