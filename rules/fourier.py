"""Discrete Fourier transforms: each mixes the dims it transforms and keeps the others apart."""

from collections.abc import Sequence
from typing import Any

from clipcompiler.dsl import Form, Operand, aten, mixes, op_rule


@op_rule(
    aten.fft_fft.default, aten.fft_ifft.default, aten.fft_rfft.default, aten.fft_irfft.default,
    aten.fft_hfft.default, aten.fft_ihfft.default,
)  # fmt: skip
def fourier(self: Operand, n: Any = None, dim: int = -1, norm: Any = None) -> Form:
    """y[…,k] = Σ_t x[…,t] exp(−2πi·k·t/T) along one dim, or its inverse, or the half that a real x needs"""
    return mixes(self, [dim])


@op_rule(
    aten.fft_fft2.default, aten.fft_ifft2.default, aten.fft_rfft2.default, aten.fft_irfft2.default,
    aten.fft_hfft2.default, aten.fft_ihfft2.default,
)  # fmt: skip
def fourier_of_planes(self: Operand, s: Any = None, dim: Sequence[int] = (-2, -1), norm: Any = None) -> Form:
    """as fourier, along two dims"""
    return mixes(self, dim)


@op_rule(
    aten.fft_fftn.default, aten.fft_ifftn.default, aten.fft_rfftn.default, aten.fft_irfftn.default,
    aten.fft_hfftn.default, aten.fft_ihfftn.default,
)  # fmt: skip
def fourier_of_dims(self: Operand, s: Any = None, dim: Any = None, norm: Any = None) -> Form:
    """as fourier, along the dims named; along the last len(s), or all, where none is"""
    return mixes(self, range(self.ndim) if dim is None else dim)


@op_rule(aten.fft_fftshift.default, aten.fft_ifftshift.default)
def half_turn(self: Operand, dim: Any = None) -> Form:
    """y[…,k] = x[…, k + T/2] around the end, along the dims named; along all where none is"""
    return mixes(self, range(self.ndim) if dim is None else dim)
