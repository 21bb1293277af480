"""The kernels in Triton; importing one needs it."""
