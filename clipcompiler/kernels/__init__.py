"""Squared norms of per-example gradients that are never written to memory, and backward scans of recurrent layers.

They are ops of torch: in Triton on a GPU, in plain torch elsewhere.
"""

from clipcompiler.kernels.ops import (
    HAS_TRITON,
    convolution_sqnorm,
    embedding_sqnorm,
    gram_sqnorm,
    gru_scan,
    instantiate_sqnorm,
    lstm_scan,
    rnn_scan,
)

__all__ = [
    "HAS_TRITON",
    "convolution_sqnorm",
    "embedding_sqnorm",
    "gram_sqnorm",
    "gru_scan",
    "instantiate_sqnorm",
    "lstm_scan",
    "rnn_scan",
]
