"""Tensor networks and the orders of summing them. Knows nothing of torch or of models."""

from clipcompiler.algebra.contraction import Square
from clipcompiler.algebra.convolution import Convolution, convolution
from clipcompiler.algebra.cross import Cross, cross
from clipcompiler.algebra.network import Affine, Factor, Index, Letter, Network, Tensor
from clipcompiler.algebra.tree import Leaf, Pair, Tree, Windows, extent

__all__ = [
    "Affine",
    "Convolution",
    "Cross",
    "Factor",
    "Index",
    "Leaf",
    "Letter",
    "Network",
    "Pair",
    "Square",
    "Tensor",
    "Tree",
    "Windows",
    "convolution",
    "cross",
    "extent",
]
