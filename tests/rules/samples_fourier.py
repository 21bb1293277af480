"""Samples of Fourier transforms."""

from sampling import of, real

from clipcompiler.dsl import aten

ONE = ("fft_fft", "fft_ifft", "fft_rfft", "fft_irfft", "fft_hfft", "fft_ihfft")
TWO = ("fft_fft2", "fft_ifft2", "fft_rfft2", "fft_irfft2", "fft_hfft2", "fft_ihfft2")
MANY = ("fft_fftn", "fft_ifftn", "fft_rfftn", "fft_irfftn", "fft_hfftn", "fft_ihfftn")
SHIFTS = ("fft_fftshift", "fft_ifftshift")

SAMPLES = [
    *(of(getattr(aten, name).default, real(4, 5)) for name in ONE),
    *(of(getattr(aten, name).default, real(4, 5, 3), 6, 1) for name in ONE),
    *(of(getattr(aten, name).default, real(4, 5, 3)) for name in TWO),
    *(of(getattr(aten, name).default, real(4, 5, 3), None, [-1]) for name in TWO),
    *(of(getattr(aten, name).default, real(4, 5)) for name in MANY),
    *(of(getattr(aten, name).default, real(4, 5, 3), None, [1, 2]) for name in MANY),
    *(of(getattr(aten, name).default, real(4, 5, 3), [-1]) for name in SHIFTS),
    *(of(getattr(aten, name).default, real(4, 5)) for name in SHIFTS),
]
