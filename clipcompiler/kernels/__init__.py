"""Squared norms of per-example gradients that are never written to memory: ops of torch, in Triton on a GPU."""

from clipcompiler.kernels.ops import (
    HAS_TRITON,
    convolution_sqnorm,
    embedding_sqnorm,
    gram_sqnorm,
    instantiate_sqnorm,
    layer_norm_sqnorm,
)

__all__ = [
    "HAS_TRITON",
    "convolution_sqnorm",
    "embedding_sqnorm",
    "gram_sqnorm",
    "instantiate_sqnorm",
    "layer_norm_sqnorm",
]
